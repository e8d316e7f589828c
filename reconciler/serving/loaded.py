"""One model version in memory, on onnxruntime. May import: onnx_file, refusals, tensors, tree_hash,
errors.

In: a directory from the artifact store.  Out: arrays for arrays, and the digest of exactly the bytes that were loaded.
onnxruntime's own errors share no base class; they are translated here and pass no further.
"""

import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import onnxruntime

from reconciler.errors import PreflightRefused
from reconciler.serving import onnx_file, refusals
from reconciler.serving.tensors import DATATYPES, NAMES, Array, Signature, TensorRefused
from reconciler.tree_hash import tree_hash

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
OPTIONAL: Final = re.compile(r"optional\((.*)\)")
TENSORS_HINT: Final = "export it with tensors (scikit-learn: options={'zipmap': False})"


class Loaded:
    """A model that can answer. Immutable once it serves, and safe to ask from several threads; freed when the last
    request lets go.

    sizes: of the dimensions of its weights.  digest: sha256 of the model file's bytes, taken of the same bytes that the
    session was built from; of a model whose weights lie in files beside it the tree hash of all files of its directory,
    likewise.  unproven: why nobody knows that it answers rightly; "" where golden inputs say so.
    """

    unproven: str = ""

    def __init__(self, directory: Path, version: str, *, threads: int = 1) -> None:
        """Raises PreflightRefused: no or several model files, a file, opset or type that cannot be served here."""
        self.directory = directory
        self.version = version
        files = ModelFiles(directory)
        self.digest = files.digest
        self._session = _session(files, threads)
        unranked, self.sizes = files.said.unranked, files.said.sizes
        self.inputs = [_signature(node, "input", unranked) for node in self._session.get_inputs()]
        self.outputs = [_signature(node, "output", unranked) for node in self._session.get_outputs()]

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

    def symbols(self) -> dict[str, list[str]]:
        """Input -> what the model calls each of its dimensions; "" where it is a number or has no name."""
        return {
            node.name: [size if isinstance(size, str) else "" for size in node.shape]
            for node in self._session.get_inputs()
        }

    def zeros(self) -> dict[str, Array]:
        """The smallest input of zeros that the model takes."""
        return {signature.name: signature.zeros() for signature in self.inputs if not signature.optional}

    def _check(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> None:
        known = {signature.name: signature for signature in self.inputs}
        if not known.keys() >= inputs.keys() >= {each.name for each in self.inputs if not each.optional}:
            raise TensorRefused(f"inputs are {sorted(inputs)}, the model takes {sorted(known)}")
        for name, array in inputs.items():
            signature = known[name]
            if array.dtype != DATATYPES[signature.datatype] or not signature.takes(array.shape):
                given = f"{NAMES.get(array.dtype, array.dtype)}{list(array.shape)}"
                raise TensorRefused(f"{name} is {given}, the model takes {signature}")
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


class ModelFiles:
    """The files of one version, read once: what is hashed here is what is loaded."""

    def __init__(self, directory: Path) -> None:
        """Raises PreflightRefused."""
        file = _model_file(directory)
        self.name = file.name
        self.content = _read(file)
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.said = self._said()
        self.beside: dict[str, bytes] = {}  # location as the model writes it -> what the file has there
        if not self.said.external:
            return
        root = directory.resolve()
        read = {file.resolve(): self.content}
        for location, needed in self.said.external.items():
            path = self._resolved(root, file.resolve().parent, location)
            self.beside[location] = read[path] = read[path] if path in read else _read(path)
            if len(self.beside[location]) < needed:
                raise PreflightRefused(
                    f"{self.name} needs {needed} bytes of {location!r}, which has {len(self.beside[location])}",
                    hint="pack the two files that one export wrote, whole",
                )
        self.digest = tree_hash(
            (str(path.relative_to(root)), len(content), hashlib.sha256(content).hexdigest())
            for path in root.rglob("*")
            if path.is_file()
            for content in (read[path] if path in read else _read(path),)
        )

    def _said(self) -> onnx_file.OnnxFile:
        if self.content[4:8] == onnx_file.ORT:
            return onnx_file.OnnxFile()
        try:
            return onnx_file.read(self.content)
        except ValueError as error:
            if self.content.startswith(onnx_file.LFS):
                what, hint = "it is a pointer of Git LFS", "call `git lfs pull` before you pack it"
            else:
                what, hint = (
                    "it is no ONNX model, or not the whole of one",
                    "export it again, and pack what was written",
                )
            raise PreflightRefused(f"{self.name} cannot be loaded: {what}", hint=hint) from error

    def _resolved(self, root: Path, folder: Path, location: str) -> Path:
        """The regular file of the archive that a location names. Raises PreflightRefused: outside, a link, missing."""
        named = PurePosixPath(location)
        path = Path(os.path.normpath(folder / named))
        leads_out = not location or "\0" in location or named.is_absolute() or not path.is_relative_to(root)
        if leads_out or path.resolve() != path:
            raise PreflightRefused(
                f"{self.name} has its weights in {location[:200]!r}, which leads out of the archive",
                hint="save its external data beside it, under a relative name, and pack both",
            )
        try:
            is_file = path.is_file()
        except OSError:  # a name that no file can have
            is_file = False
        if not is_file:
            raise PreflightRefused(
                f"{self.name} has its weights in {location[:200]!r}, which is not in the archive",
                hint="pack every file that the export wrote",
            )
        return path


def _model_file(directory: Path) -> Path:
    """By its suffix; where no file has one, by what is in it: the name comes from a URL, which may say nothing."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    found = [path for path in files if path.suffix.lower() in onnx_file.SUFFIXES]
    if not found:
        found = [path for path in files if onnx_file.is_model(_read(path))]
    if len(found) == 1:
        return found[0]
    if found:
        raise PreflightRefused(
            f"one *.onnx file is needed in the artifact, found: {', '.join(path.name for path in found)}",
            hint="pack one model into one archive, and serve each under a name of its own",
        )
    there = ", ".join(path.name for path in files[:3]) + (", …" if len(files) > 3 else "")
    raise PreflightRefused(
        "one *.onnx file is needed in the artifact, found: none" + (f" ({there})" if there else ""),
        hint="pack the exported *.onnx file, not packed a second time, into a tar.gz or zip",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PreflightRefused(f"{path.name} cannot be read: {error.strerror}") from error


def _session(files: ModelFiles, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    if files.beside:
        if not hasattr(options, "add_external_initializers_from_files_in_memory"):
            raise PreflightRefused(
                f"{files.name} has its weights in files beside it, which onnxruntime {onnxruntime.__version__} "
                "cannot take from memory",
                hint="install a newer onnxruntime on the edge, or export the model as one file",
            )
        contents = list(files.beside.values())
        options.add_external_initializers_from_files_in_memory(list(files.beside), contents, list(map(len, contents)))
    try:
        return onnxruntime.InferenceSession(files.content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see the module
        print(f"{files.name}: {error}", file=sys.stderr)  # the runtime's log has it whole
        reason, hint = refusals.in_words(str(error), onnxruntime.__version__)
        raise PreflightRefused(f"{files.name} cannot be loaded: {reason}", hint=hint) from error


def _signature(node: Any, role: str, unranked: set[str]) -> Signature:
    optional = OPTIONAL.fullmatch(node.type)
    datatype = ONNX_TYPES.get(optional[1] if optional else node.type)
    if datatype is None:
        is_tensor = node.type.startswith("tensor(")
        raise PreflightRefused(
            f"{role} {node.name} is {node.type}: the protocol carries tensors only"
            + (" of integers, float16 to float64, truths and text" if is_tensor else ""),
            hint="Cast it to float32 or an integer in the model" if is_tensor else TENSORS_HINT,
        )
    shape = [size if isinstance(size, int) else -1 for size in node.shape]
    if node.name in unranked and not shape:
        return Signature(node.name, datatype, [-1], optional=bool(optional), unranked=True)
    return Signature(node.name, datatype, shape, optional=bool(optional))


def _brief(error: Exception) -> str:
    return refusals.first_line(str(error)) or type(error).__name__
