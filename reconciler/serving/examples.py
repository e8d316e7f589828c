"""Examples as users have them, as questions to a model. May import: golden, loaded, tensors, errors.

In: .npz (names and arrays), .npy (for a model of one input), .json (a v2 request, `{name: nested lists}`, or a
golden.json with the answers that are right).  Out: cases whose inputs the model takes, and a line for each value that
was cast. Nothing is cast where it would be another value; but float64, in which numpy computes, becomes float32.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np

from reconciler.errors import UsageError
from reconciler.serving import golden
from reconciler.serving.loaded import Loaded
from reconciler.serving.tensors import DATATYPES, NAMES, Array, Signature, TensorRefused, finite

SUFFIXES: Final = (".npz", ".npy", ".json")
Named = Mapping[str, Any]


class Room(NamedTuple):
    """What a golden.json can hold: a value and its comma have two bytes there, and one has at most 16 in numpy."""

    values: int = golden.MOST_BYTES // 2
    bytes: int = golden.MOST_BYTES * 8


MOST: Final = Room()


def read(path: Path, loaded: Loaded) -> tuple[list[golden.Case], list[str]]:
    """The cases of one file, those without answers with no outputs; and what was cast.

    Raises UsageError: unreadable, or not what the model takes; PreflightRefused for a golden.json that is none.
    """
    try:
        match path.suffix.lower():
            case ".npz" | ".npy":
                return _one(path, loaded, _arrays(path))
            case ".json":
                return _json(path, loaded)
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    raise UsageError(
        f"{path}: an example is a file {', '.join(SUFFIXES)}", hint="np.savez(FILE, NAME=ARRAY) writes one"
    )


def _unreadable(path: Path, error: Exception) -> UsageError:
    said = str(error) or type(error).__name__
    return UsageError(f"{path} cannot be read: {said}", hint="write it with np.savez(FILE, NAME=ARRAY), or as JSON")


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file of numpy, none of them read before all are known to be small enough. Raises UsageError."""
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                _require_room(path, file, MOST)
                file.seek(0)
                return {"": np.lib.format.read_array(file, allow_pickle=False)}
        with zipfile.ZipFile(path) as archive:
            room = MOST
            for member in archive.infolist():
                with archive.open(member) as file:
                    room = _require_room(path, file, room)
            found = {}
            for member in archive.infolist():
                with archive.open(member) as file:
                    found[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
            return found
    except UsageError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise what they like of bytes, and these are the user's
        raise _unreadable(path, error) from error


def _require_room(path: Path, file: IO[bytes], room: Room) -> Room:
    """What is left when an array is in, by what its header says of it. Raises UsageError where it has no place."""
    if (version := np.lib.format.read_magic(file)) != (1, 0):  # whose header has at most 64 KiB
        raise ValueError(f"an array in format {version} is one of records, and no input's")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of {list(shape)} is none")
    count = math.prod(shape)
    left = Room(room.values - count, room.bytes - count * dtype.itemsize)
    if min(left) < 0:
        raise UsageError(
            f"{path}: an array of {dtype}{list(shape)} has {count:,} values, and a {golden.FILE} of "
            f"{golden.MOST_BYTES:,} bytes holds at most {MOST.values:,}",
            hint="give a smaller one: a question, not a data set",
        )
    return left


def _json(path: Path, loaded: Loaded) -> tuple[list[golden.Case], list[str]]:
    said = json.loads(golden.bounded(path))
    if not isinstance(said, dict):
        raise ValueError('it is no object: {"NAME": [...]} or {"inputs": [...]}')  # noqa: TRY004  # of the file
    if not _is_written(said):
        return _one(path, loaded, said)
    cases, casts = [], []
    for case in golden.read(path):
        inputs, cast = _fitted(path, loaded, case.inputs)
        cases.append(case.replaced(inputs=inputs))
        casts += cast
    return cases, casts


def _is_written(said: Named) -> bool:
    """Whether it is as a golden.json or a v2 request, and not the values of inputs by their names."""
    listed = said.get("inputs", said.get("cases"))
    return isinstance(listed, list) and all(isinstance(each, dict) for each in listed)


def _one(path: Path, loaded: Loaded, given: Named) -> tuple[list[golden.Case], list[str]]:
    inputs, casts = _fitted(path, loaded, given)
    return [golden.Case(path.name, inputs, {}, golden.TOLERANCE)], casts


def _fitted(path: Path, loaded: Loaded, given: Named) -> tuple[dict[str, Array], list[str]]:
    """The inputs as the model takes them. Raises UsageError with what it takes and what was given."""
    signatures = {each.name: each for each in loaded.inputs}
    takes = f"the model takes {', '.join(map(str, loaded.inputs)) or 'nothing'}"
    if len(given) == len(signatures) == 1 and given.keys() != signatures.keys() and next(iter(given)) in {"", "arr_0"}:
        given = {next(iter(signatures)): next(iter(given.values()))}
    needed = {name for name, each in signatures.items() if not each.optional}
    if not signatures.keys() >= given.keys() >= needed:
        names = ", ".join(name or "one array without a name" for name in given) or "nothing"
        raise UsageError(f"{path} has {names}; {takes}", hint="name every array as the model names its input")
    inputs, casts = {}, []
    for name, value in given.items():
        signature = signatures[name]
        array = _array(value)
        if not finite(array):
            hint = "a question has numbers alone: JSON, in which clients ask, has no other"
            raise UsageError(f"{path}: {name} has NaN or infinity", hint=hint)
        fitting = _cast(array, DATATYPES[signature.datatype])
        if fitting is None or not signature.takes(array.shape):
            raise UsageError(
                f"{path}: {name} is {_kind(array)}{list(array.shape)}; {takes}", hint=_how(array, fitting, signature)
            )
        if array.dtype != fitting.dtype:
            casts.append(f"{name}: {_kind(array)} became {signature.datatype}")
        inputs[name] = fitting
    return inputs, casts


def _array(value: Any) -> Array:
    """Numbers as numpy reads them; text as objects, as a model of text takes it."""
    array: Array = np.asarray(value)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return array.astype(object) if array.dtype.kind == "U" else array


def _cast(array: Array, wanted: np.dtype[Any]) -> Array | None:
    """The same values in another type; None where they would be others."""
    if array.dtype == wanted or array.size == 0:
        return array.astype(wanted)
    if "O" in {array.dtype.kind, wanted.kind} or array.dtype.kind not in "biuf":
        return None
    with np.errstate(all="ignore"):
        made = array.astype(wanted)
        is_same = bool(np.array_equal(made.astype(array.dtype), array))
    is_rounded = array.dtype.kind == wanted.kind == "f" and bool(np.isfinite(made).all())
    return made if is_same or is_rounded else None


def _how(array: Array, fitting: Array | None, signature: Signature) -> str:
    if fitting is None and array.dtype.kind == DATATYPES[signature.datatype].kind == "f":
        return f"its largest number is {np.abs(array).max():.3g}, and {signature.datatype} ends before that"
    if fitting is None:
        return f"give values that are {signature.datatype}: array.astype({DATATYPES[signature.datatype].name!r})"
    if signature.takes((1, *array.shape)):
        return "a batch of one is array[None]"
    if array.ndim and signature.shape and signature.takes((signature.shape[0], *array.shape[1:])):
        batch = signature.shape[0]
        return f"give {batch} at once, or export the model with a free first dimension: docs/own-model.md says how"
    return "-1 stands for any size" if -1 in signature.shape else "the model has no free dimension"


def _kind(array: Array) -> str:
    return NAMES.get(array.dtype, array.dtype.name)


def asked(loaded: Loaded, case: golden.Case) -> golden.Case:
    """The case with the model's answers where it has none. Raises UsageError where the model refuses the question."""
    if case.outputs:
        return case
    try:
        return case.replaced(outputs=loaded.infer(case.inputs))
    except TensorRefused as error:
        raise UsageError(f"{case.name}: {error}", hint="give a question that the model answers") from error
