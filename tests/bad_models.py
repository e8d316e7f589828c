"""Archives that must not get into service, made for tests: one way of being wrong each."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

Kind = Literal[
    "wrong_golden",
    "nan",
    "no_model",
    "two_models",
    "sequence_map",
    "opset",
    "other_input",
    "other_shape",
    "other_dtype",
]
OPSET: Final = 17


def make_bad_archive(directory: Path, kind: Kind) -> Path:
    """`DIRECTORY/KIND.tar.gz`. All but the way named would fit beside the digits models of the repository template."""
    archive = directory / f"{kind}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in _files(kind).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


def _files(kind: Kind) -> dict[str, bytes]:
    match kind:
        case "no_model":
            return {"README.txt": b"the weights are in another archive\n", "labels.txt": b"0\n1\n"}
        case "wrong_golden":
            return {"model.onnx": _network(), "golden.json": _golden(label=9)}
        case "other_input":
            return {"model.onnx": _network(input_name="pixels")}
        case "other_shape":
            return {"model.onnx": _network(width=100)}
        case "other_dtype":
            return {"model.onnx": _network(dtype=TensorProto.DOUBLE)}
        case "opset":
            return {"model.onnx": _network(opset=4711)}
        case "two_models":
            return {"a.onnx": _network(), "b.onnx": _network()}
        case "nan":
            return {"model.onnx": _network(ending=kind), "golden.json": _golden(label=0)}
        case "sequence_map":
            return {"model.onnx": _network(ending=kind)}


def _network(
    *, input_name: str = "image", dtype: int = TensorProto.FLOAT, width: int = 64, opset: int = OPSET, ending: str = ""
) -> bytes:
    """Softmax of a linear layer with all weights zero: on every input all ten probabilities are 0.1, the label is 0."""
    weights = numpy_helper.from_array(np.zeros((width, 10), np.float32), "weights")
    nodes = [
        helper.make_node("Cast", [input_name], ["x"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["even"]),
        helper.make_node("ArgMax", ["even"], ["label"], axis=1, keepdims=0),
        *_last(ending),
    ]
    probabilities: Any = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 10])
    if ending == "sequence_map":
        scores = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        mapped = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, scores))
        probabilities = helper.make_value_info("probabilities", mapped)
    graph = helper.make_graph(
        nodes,
        "bad",
        [helper.make_tensor_value_info(input_name, dtype, [None, width])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), probabilities],
        [weights],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    if opset == OPSET and not ending:
        checker.check_model(model)
    return bytes(model.SerializeToString())


def _last(ending: str) -> list[Any]:
    match ending:
        case "nan":  # the logarithm of numbers below zero
            return [helper.make_node("Neg", ["even"], ["below"]), helper.make_node("Log", ["below"], ["probabilities"])]
        case "sequence_map":
            named: dict[str, Any] = {"domain": "ai.onnx.ml", "classlabels_int64s": list(range(10))}
            return [helper.make_node("ZipMap", ["even"], ["probabilities"], **named)]
    return [helper.make_node("Identity", ["even"], ["probabilities"])]


def _golden(label: int) -> bytes:
    inputs = [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}]
    outputs = [{"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}]
    return json.dumps({"inputs": inputs, "outputs": outputs}).encode()
