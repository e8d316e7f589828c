"""Models as exporters write them, and what is said of those that cannot be served."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from reconciler.artifacts.receipt import File, make_receipt
from reconciler.errors import PreflightRefused, ProbeFailed
from reconciler.serving import onnx_file
from reconciler.serving.loaded import Loaded
from reconciler.serving.service import Service
from reconciler.serving.tensors import TensorRefused

WEIGHTS = np.arange(16, dtype=np.float32).reshape(4, 4)
ASKED = {"x": np.ones((1, 4), np.float32)}
F, ANY = TensorProto.FLOAT, helper.make_tensor_value_info


def external(location: str, offset: int = 0, length: int = WEIGHTS.nbytes, name: str = "w") -> Any:
    """An initializer whose bytes lie in a file, as PyTorch writes them."""
    tensor = TensorProto(name=name, data_type=F, dims=WEIGHTS.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def onnx(
    initializers: tuple[Any, ...] = (numpy_helper.from_array(WEIGHTS, "w"),),
    nodes: tuple[Any, ...] = (helper.make_node("MatMul", ["x", "w"], ["y"]),),
    inputs: tuple[Any, ...] = (ANY("x", F, ["batch", 4]),),
    outputs: tuple[Any, ...] = (ANY("y", F, None),),
    **versions: Any,
) -> bytes:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    opsets = [helper.make_opsetid("", versions.get("opset", 17)), helper.make_opsetid("com.acme", 1)]
    opsets += [helper.make_opsetid("ai.onnx.ml", versions["ml"])] if "ml" in versions else []
    model = helper.make_model(graph, opset_imports=opsets, ir_version=versions.get("ir", 8))
    return bytes(model.SerializeToString())


def placed(directory: Path, **files: bytes) -> Path:
    """A directory with these files: `__` stands for `/`, `_` for `.`."""
    for name, content in files.items():
        path = directory / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


# Weights in files beside the model.


@pytest.mark.parametrize(
    ("location", "files"),
    [
        ("model.onnx.data", {"model_onnx": "", "model_onnx_data": "w"}),
        ("./weights/w.bin", {"model_onnx": "", "weights__w_bin": "w"}),
        ("../w.bin", {"onnx__model_onnx": "", "w_bin": "w"}),
        ("a/../w.bin", {"model_onnx": "", "w_bin": "w", "a__other": "o"}),
    ],
)
def test_weights_beside_the_model_are_loaded_and_the_digest_is_over_all_files(
    tmp_path: Path, location: str, files: dict[str, str]
) -> None:
    contents = {"": onnx((external(location),)), "w": WEIGHTS.tobytes(), "o": b"other"}
    loaded = Loaded(placed(tmp_path, **{name: contents[what] for name, what in files.items()}), "1")
    assert np.array_equal(loaded.infer(ASKED)["y"], ASKED["x"] @ WEIGHTS)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    receipt = make_receipt(
        "", 0, "tar", [File(str(p.relative_to(tmp_path)), p.stat().st_size, _sha256(p.read_bytes())) for p in found]
    )
    assert loaded.digest == receipt.tree


def test_several_files_parts_of_one_and_constants_are_loaded(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["v"], value=external("b.bin", offset=64, name="v"))
    nodes = helper.make_node("MatMul", ["x", "w"], ["z"]), constant, helper.make_node("MatMul", ["z", "v"], ["y"])
    files = {"a_bin": WEIGHTS.tobytes(), "b_bin": bytes(64) + np.eye(4, dtype=np.float32).tobytes()}
    loaded = Loaded(placed(tmp_path, model_onnx=onnx((external("a.bin"),), nodes), **files), "1")
    assert np.array_equal(loaded.infer(ASKED)["y"], ASKED["x"] @ WEIGHTS)


def test_what_was_read_serves_whatever_becomes_of_the_files(tmp_path: Path) -> None:
    place = placed(tmp_path, model_onnx=onnx((external("w.bin"),)), w_bin=WEIGHTS.tobytes())
    loaded = Loaded(place, "1")
    (place / "w.bin").write_bytes(bytes(64))
    assert np.array_equal(loaded.infer(ASKED)["y"], ASKED["x"] @ WEIGHTS)
    assert Loaded(place, "1").digest != loaded.digest


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/etc/hostname", "leads out of the archive"),
        ("../../etc/hostname", "leads out of the archive"),
        ("", "leads out of the archive"),
        ("*/_ORT_MEM_ADDR_/*", "not in the archive"),  # onnxruntime takes the offset for an address in memory
        ("link.bin", "leads out of the archive"),
        ("sub", "not in the archive"),
        ("sub/gone.bin", "not in the archive"),
        ("short.bin", "needs 64 bytes of 'short.bin', which has 9"),
    ],
)
def test_weights_that_are_elsewhere_are_refused(tmp_path: Path, location: str, said: str) -> None:
    place = placed(tmp_path / "a", model_onnx=onnx((external(location),)), short_bin=b"too short", sub__other=b"")
    (tmp_path / "outside").write_bytes(WEIGHTS.tobytes())
    (place / "link.bin").symlink_to("../outside")
    with pytest.raises(PreflightRefused, match=said) as refusal:
        Loaded(place, "1")
    assert refusal.value.advice != PreflightRefused.hint


def test_the_working_directory_is_no_place_for_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnxruntime itself would look for those of a model that it has from memory."""
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PreflightRefused, match="not in the archive"):
        Loaded(placed(tmp_path / "a", model_onnx=onnx((external("w.bin"),))), "1")


# What is served as it is.


def serves(directory: Path, **asked: Any) -> dict[str, Any]:
    return Loaded(directory, "1").infer(asked)


@pytest.mark.parametrize("name", ["model_onnx", "MODEL_ONNX", "download", "resolve"])
def test_a_model_is_known_by_what_is_in_it_where_its_name_says_nothing(tmp_path: Path, name: str) -> None:
    place = placed(tmp_path, **{name: onnx()}, golden_txt=b"{}", README_md=b"a model", labels_bin=bytes(100))
    assert serves(place, **ASKED)["y"].shape == (1, 4)


def test_a_model_in_onnxruntimes_own_format_is_served(tmp_path: Path) -> None:
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    InferenceSession(onnx(), options, providers=["CPUExecutionProvider"])
    assert serves(tmp_path, **ASKED)["y"].shape == (1, 4)
    (tmp_path / "model.ort").rename(tmp_path / "artifact")
    assert serves(tmp_path, **ASKED)["y"].shape == (1, 4)


def identity(type_: int, shape: list[Any] | None) -> bytes:
    node = (helper.make_node("Identity", ["x"], ["y"]),)
    return onnx((), node, (ANY("x", type_, shape),), (ANY("y", type_, shape),))


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (identity(F, []), np.array(2, np.float32)),
        (identity(F, ["n", "m"]), np.zeros((0, 3), np.float32)),
        (identity(F, None), np.zeros((2, 1, 3), np.float32)),
        (identity(TensorProto.FLOAT16, ["n"]), np.array([0.5], np.float16)),
        (identity(TensorProto.STRING, ["n"]), np.array(["größe", ""], object)),
        (identity(TensorProto.BOOL, [None]), np.array([True])),
    ],
    ids=["scalar", "empty batch", "no rank", "float16", "text", "truth"],
)
def test_shapes_and_types_of_every_exporter(tmp_path: Path, model: bytes, x: Any) -> None:
    loaded = Loaded(placed(tmp_path, model_onnx=model), "1")
    found = loaded.infer({"x": x})["y"]
    assert (found.tolist(), found.shape) == (x.tolist(), x.shape)
    assert loaded.inputs[0].takes(loaded.zeros()["x"].shape)


def int4(asked: tuple[str, ...]) -> bytes:
    """Four-bit numbers dequantized, which come from outside or are weights."""
    nodes = (
        helper.make_node("DequantizeLinear", ["x" if asked else "w", "scale"], ["f"]),
        helper.make_node("Add", ["f", "b"], ["y"]),
    )
    weights = TensorProto(name="w", data_type=TensorProto.INT4, dims=[2], raw_data=b"\x21")
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    inputs = (*(ANY(name, TensorProto.INT4, [2]) for name in asked), ANY("b", F, [2]))
    return onnx((scale, *(() if asked else (weights,))), nodes, inputs, opset=21, ir=10)


def test_weights_of_four_bits_are_served(tmp_path: Path) -> None:
    found = serves(placed(tmp_path, model_onnx=int4(())), b=np.zeros(2, np.float32))
    assert found["y"].tolist() == [0.5, 1.0]


def test_an_optional_input_may_be_left_out(tmp_path: Path) -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(F, ["n"]))
    nodes = helper.make_node("OptionalHasElement", ["o"], ["y"]), helper.make_node("Identity", ["x"], ["z"])
    inputs = helper.make_value_info("o", kind), ANY("x", F, ["n"])
    outputs = ANY("y", TensorProto.BOOL, []), ANY("z", F, ["n"])
    loaded = Loaded(placed(tmp_path, model_onnx=onnx((), nodes, inputs, outputs, opset=18)), "1")
    x = np.ones(1, np.float32)
    assert [bool(loaded.infer(asked)["y"]) for asked in ({"x": x}, {"x": x, "o": x})] == [False, True]
    with pytest.raises(TensorRefused, match="the model takes"):
        loaded.infer({"o": x})


# What cannot be loaded: one plain sentence, and the way out.

SCORES = helper.make_tensor_type_proto(F, [])
ZIPPED = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, SCORES))
REFUSED: dict[str, tuple[dict[str, bytes], str, str]] = {
    "IR version": (
        {"model_onnx": onnx(ir=99)},
        r"it is of IR version 99, and onnxruntime \S+ here reads up to \d+",
        "save",
    ),
    "opset": (
        {"model_onnx": onnx(opset=4711)},
        r"of opset 4711 of ai\.onnx, .* reads up to opset \d+",
        "opset_version=",
    ),
    "custom operator": (
        {"model_onnx": onnx(nodes=(helper.make_node("Glow", ["x", "w"], ["y"], domain="com.acme"),))},
        r"the operator Glow of com\.acme",
        "operators of ONNX",
    ),
    "unknown operator": (
        {"model_onnx": onnx(nodes=(helper.make_node("Glow", ["x", "w"], ["y"]),))},
        "the operator Glow, which opset 17 does not have",
        "newer opset",
    ),
    "types": (
        {"model_onnx": onnx((numpy_helper.from_array(WEIGHTS.astype(np.int64), "w"),))},
        "its graph contradicts itself",
        "check_model",
    ),
    "a type that an operator lacks": (
        {
            "model_onnx": onnx(
                (),
                (
                    helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16),
                    helper.make_node("Softplus", ["b"], ["c"]),
                    helper.make_node("Cast", ["c"], ["y"], to=F),
                ),
            )
        },
        "it computes Softplus in bfloat16, which ONNX does not have in its opset",
        "float32",
    ),
    "shapes": ({"model_onnx": onnx((numpy_helper.from_array(WEIGHTS[:3], "w"),))}, "contradicts itself", "check_model"),
    "half of it": ({"model_onnx": onnx()[:-40]}, "not the whole of one", "export it again"),
    "nothing": ({"model_onnx": b""}, "no ONNX model", "export it again"),
    "a page": ({"model_onnx": b"<html>please log in</html>"}, "no ONNX model", "export it again"),
    "a pointer": (
        {"model_onnx": b"version https://git-lfs.github.com/spec/v1\n"},
        "pointer of Git LFS",
        "git lfs pull",
    ),
    "two models": ({"a_onnx": onnx(), "sub__b_onnx": onnx()}, "found: a.onnx, b.onnx", "one archive"),
    "no model": ({"README": b"see the other archive"}, r"found: none \(README\)", "pack the exported"),
    "bfloat16": ({"model_onnx": identity(TensorProto.BFLOAT16, [1])}, r"input x is tensor\(bfloat16\)", "Cast"),
    "ZipMap": (
        {
            "model_onnx": onnx(
                (),
                (helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3]),),
                outputs=(helper.make_value_info("y", ZIPPED),),
                ml=3,
            )
        },
        r"output y is seq\(map",
        "zipmap",
    ),
    "int4": ({"model_onnx": int4(("x",))}, r"input x is tensor\(int4\)", "Cast"),
}


@pytest.mark.parametrize(("files", "said", "way_out"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_loaded_is_said_in_one_sentence_with_the_way_out(
    tmp_path: Path, files: dict[str, bytes], said: str, way_out: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PreflightRefused, match=said) as refusal:
        Loaded(placed(tmp_path, **files), "1")
    assert "ONNXRuntimeError" not in refusal.value.message
    assert "\n" not in refusal.value.message
    assert any(each in refusal.value.advice for each in way_out.split("|"))


def test_the_whole_error_stands_in_the_runtimes_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PreflightRefused):
        Loaded(placed(tmp_path, model_onnx=onnx(ir=99)), "1")
    assert "[ONNXRuntimeError]" in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"\x0a", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"\x3b", b"\x3a\x02\x2a\x05"])
def test_bytes_that_are_not_framed_as_a_model_are_no_model(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        onnx_file.read(content)


# What was never asked a real question.


def power(operator: str, **attributes: Any) -> tuple[Any, ...]:
    return (helper.make_node(operator, ["x"], ["y"], **attributes),)


PADS = numpy_helper.from_array(np.array([0, 2, 0, 2], np.int64), "w")
REFLECT = helper.make_node("Pad", ["x", "w"], ["y"], mode="reflect")
UNPROVEN: dict[str, tuple[bytes, str]] = {
    "refuses zeros": (onnx((PADS,), (REFLECT,), (ANY("x", F, [None, None]),)), r"zeros \(x \[1, 1\]\) are refused"),
    "NaN": (onnx((), power("Log"), (ANY("x", F, ["n"]),)), "are answered with NaN or infinity"),
    "answers": (onnx((), power("Neg"), (ANY("x", F, ["n"]),)), "are answered$"),
    "takes nothing": (onnx((), (helper.make_node("Constant", [], ["y"], value_float=1.0),), ()), "are answered$"),
}  # fmt: skip


def never(_: Any) -> Any:
    raise AssertionError


@pytest.mark.parametrize(("model", "said"), UNPROVEN.values(), ids=UNPROVEN.keys())
def test_a_model_without_golden_inputs_serves_and_is_unproven(tmp_path: Path, model: bytes, said: str) -> None:
    service = Service("m", never)
    place = placed(tmp_path, model_onnx=model)
    answer = service.load(place, "1", allow_signature_change=False)
    assert re.search(said, answer.unproven)
    assert service.activate() == answer
    assert answer.ready


@pytest.mark.parametrize(
    ("golden", "refused"),
    [
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], "outputs": []}, False),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [0]}], "outputs": []}, True),
        ({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}], "outputs": []}, True),
    ],
)
def test_only_a_real_question_proves_or_refuses(tmp_path: Path, golden: dict[str, Any], refused: bool) -> None:
    place = placed(tmp_path, model_onnx=UNPROVEN["NaN"][0], golden_json=json.dumps(golden).encode())
    service = Service("m", lambda inputs: Loaded(place, "1").infer(inputs))
    load: Callable[[], Any] = lambda: service.load(place, "1", allow_signature_change=False)  # noqa: E731
    if refused:
        with pytest.raises(ProbeFailed):
            load()
    else:
        assert not load().unproven
        assert not service.activate().unproven


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
