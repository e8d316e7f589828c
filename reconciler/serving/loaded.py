"""One model version in memory, on onnxruntime. May import: tensors, errors.

In: a directory from the artifact store.  Out: arrays for arrays, and the digest of exactly the bytes that were loaded.
onnxruntime's own errors share no base class; they are translated here and pass no further.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from reconciler.errors import PreflightRefused
from reconciler.serving.tensors import DATATYPES, Array, Signature, TensorRefused

ONNX_TYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class Loaded:
    """A model that can answer. Immutable, and safe to ask from several threads; freed when the last request lets go.

    digest: sha256 of the model file's bytes, taken of the same bytes that the session was built from.
    """

    def __init__(self, directory: Path, version: str, *, threads: int = 1) -> None:
        """Raises PreflightRefused: no or several model files, a file, opset or type that cannot be served here."""
        self.directory = directory
        self.version = version
        file = _model_file(directory)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise PreflightRefused(f"{file.name} cannot be read: {error.strerror}") from error
        self.digest = hashlib.sha256(content).hexdigest()
        self._session = _session(content, file.name, threads)
        self.inputs = [_signature(node, "input") for node in self._session.get_inputs()]
        self.outputs = [_signature(node, "output") for node in self._session.get_outputs()]

    def infer(self, inputs: Mapping[str, Array], wanted: Sequence[str] = ()) -> dict[str, Array]:
        """The outputs named in `wanted`, or all, by name.

        Raises TensorRefused when inputs are missing, unknown, of another datatype or shape, or the model fails on them.
        """
        self._check(inputs, wanted)
        names = list(wanted) or [output.name for output in self.outputs]
        try:
            results = self._session.run(names, dict(inputs))
        except Exception as error:  # see the module; a model is a function, so its input made it fail
            raise TensorRefused(f"the model fails on this input: {_brief(error)}") from error
        return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}

    def zeros(self) -> dict[str, Array]:
        """The smallest input of zeros that the model takes."""
        return {signature.name: signature.zeros() for signature in self.inputs}

    def _check(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> None:
        known = {signature.name: signature for signature in self.inputs}
        if inputs.keys() != known.keys():
            raise TensorRefused(f"inputs are {sorted(inputs)}, the model takes {sorted(known)}")
        for name, array in inputs.items():
            signature = known[name]
            if array.dtype != DATATYPES[signature.datatype] or not signature.takes(array.shape):
                raise TensorRefused(f"{name} is {array.dtype}{list(array.shape)}, the model takes {signature}")
        unknown = set(wanted) - {output.name for output in self.outputs}
        if unknown:
            raise TensorRefused(f"no output {sorted(unknown)}; there are {[output.name for output in self.outputs]}")


def check_same_inputs(new: Loaded, serving: Loaded) -> None:
    """Raises PreflightRefused when clients of `serving` would have to ask `new` in another way."""
    if sorted(map(str, new.inputs)) != sorted(map(str, serving.inputs)):
        expected, found = (", ".join(map(str, each.inputs)) for each in (serving, new))
        raise PreflightRefused(
            f"version {new.version} takes other inputs than {serving.version}: expected {expected}, found {found}",
            hint="serve it under another name, or allow the change of signature",
        )


def _model_file(directory: Path) -> Path:
    found = sorted(path for path in directory.rglob("*.onnx") if path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise PreflightRefused(f"one *.onnx file is needed in the artifact, found: {names}")
    return found[0]


def _session(content: bytes, name: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see the module
        raise PreflightRefused(f"{name} cannot be loaded: {_brief(error)}") from error


def _signature(node: Any, role: str) -> Signature:
    datatype = ONNX_TYPES.get(node.type)
    if datatype is None:
        raise PreflightRefused(f"{role} {node.name} is {node.type}: the protocol carries tensors only")
    return Signature(node.name, datatype, [size if isinstance(size, int) else -1 for size in node.shape])


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
