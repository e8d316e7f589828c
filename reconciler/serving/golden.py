"""Golden inputs: what a version must answer before it may serve. May import: tensors, errors.

In: `golden.json` of an archive, `{"inputs": [v2 tensors], "outputs": [v2 tensors], "tolerance": "0.001"}` or several
such under `cases`.  Out: silence, or ProbeFailed with what was expected and what was found.
Without the file nobody knows what is right: zeros are asked, and whatever comes of it the version is `unproven`.
`encoded` writes such a file. docs/golden.md is its reference.
"""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from reconciler.errors import PreflightRefused, ProbeFailed
from reconciler.serving.loaded import Loaded
from reconciler.serving.tensors import Array, Tensor, TensorRefused, finite, to_array, to_tensor

FILE: Final = "golden.json"
MOST_BYTES: Final = 16 << 20  # of the file; a question and its answer, not a data set
TOLERANCE: Final = 0.001
Arrays = dict[str, Array]
Ask = Callable[[Arrays], Arrays]


class _Written(msgspec.Struct, omit_defaults=True):
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    tolerance: str | float = str(TOLERANCE)
    cases: list["_Written"] = []


class Case(msgspec.Struct, frozen=True):
    """One probe. tolerance: the largest absolute difference of a floating-point value; all else must be equal."""

    name: str
    inputs: Arrays
    outputs: Arrays
    tolerance: float

    def replaced(self, **fields: Any) -> "Case":
        """It, with other inputs, outputs or tolerance."""
        return msgspec.structs.replace(self, **fields)


def cases(loaded: Loaded) -> list[Case]:
    """The probes of a loaded version; none without a golden.json. Raises PreflightRefused when it cannot be read."""
    found = sorted(loaded.directory.rglob(FILE))
    return read(found[0]) if found else []


def read(path: Path) -> list[Case]:
    """What a golden.json asks. Raises PreflightRefused: unreadable, too large, no JSON, or tensors that are none."""
    try:
        written = msgspec.json.decode(bounded(path), type=_Written)
        return [_case(number, each) for number, each in enumerate(written.cases or [written], start=1)]
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise PreflightRefused(
            f"{path.name} cannot be used: {error}",
            hint="write v2 tensors under inputs and outputs, or have `reconciler package` write it (docs/golden.md)",
        ) from error


def bounded(path: Path) -> bytes:
    """A file of questions. Raises OSError, ValueError above MOST_BYTES."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, and at most {MOST_BYTES:,} are read")
    return path.read_bytes()


def encoded(probes: Sequence[Case]) -> bytes:
    """The golden.json that asks these. Raises ValueError above MOST_BYTES; TensorRefused for NaN and infinity."""
    written = [_Written(_tensors(case.inputs), _tensors(case.outputs), _text(case)) for case in probes]
    said: Any = written[0] if len(written) == 1 else {"cases": written}
    content = msgspec.json.encode(said) + b"\n"
    if len(content) > MOST_BYTES:
        raise ValueError(f"it makes a {FILE} of {len(content):,} bytes, and edges read at most {MOST_BYTES:,}")
    return content


def _tensors(arrays: Arrays) -> list[Tensor]:
    return [to_tensor(*each) for each in arrays.items()]


def _text(case: Case) -> str:
    """The tolerance as a file has it: text, so that no parser rounds it."""
    return f"{case.tolerance:.17g}" if float(f"{case.tolerance:g}") != case.tolerance else f"{case.tolerance:g}"


def unproven(loaded: Loaded) -> str:
    """Why nobody knows that this version, which has no golden.json, answers rightly. A crash while it is asked zeros
    is the process's; a good model may refuse zeros in the smallest shape, or answer them with NaN.
    """
    try:
        zeros = loaded.zeros()
        asked = ", ".join(f"{name} {list(array.shape)}" for name, array in zeros.items())
        answers = loaded.infer(zeros)
    except TensorRefused as error:
        came = "are refused"
        print(f"zeros are refused: {error}", file=sys.stderr)  # the runtime's log
    except (MemoryError, ValueError):
        asked, came = "its smallest input", "do not fit into memory"
    else:
        came = "are answered" if all(map(finite, answers.values())) else "are answered with NaN or infinity"
    return f"no {FILE} (`reconciler package` packs one); zeros ({asked}) {came}"


def probe(version: str, probes: list[Case], ask: Ask) -> None:
    """Ask each case. Raises ProbeFailed: no answer, NaN or infinity, another shape, or values beyond the tolerance."""
    for case in probes:
        try:
            found = ask(case.inputs)
        except TensorRefused as error:
            raise ProbeFailed(f"version {version}, {case.name}: {error}") from error
        problem = _difference(case, found)
        if problem:
            raise ProbeFailed(f"version {version}, {case.name}: {problem}")


def _case(number: int, written: _Written) -> Case:
    inputs, outputs = ({each.name: to_array(each) for each in side} for side in (written.inputs, written.outputs))
    tolerance = float(written.tolerance)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance {written.tolerance!r} is no number from 0 on")
    return Case(f"golden case {number}", inputs, outputs, tolerance)


def _difference(case: Case, found: Arrays) -> str:
    for name, array in found.items():
        if not finite(array):
            return f"output {name} has NaN or infinite values"
    for name, expected in case.outputs.items():
        if name not in found:
            return f"expected output {name}, found {sorted(found)}"
        problem = _unlike(expected, found[name], case.tolerance)
        if problem:
            return f"output {name}: {problem}"
    return ""


def _unlike(expected: Array, found: Array, tolerance: float) -> str:
    if (expected.dtype, expected.shape) != (found.dtype, found.shape):
        return f"expected {expected.dtype}{list(expected.shape)}, found {found.dtype}{list(found.shape)}"
    is_float = expected.dtype.kind == "f"  # a label is right or wrong, text and integers alike
    far = np.abs(expected - found) > tolerance if is_float else expected != found
    if not far.any():
        return ""
    first = tuple(int(index) for index in np.argwhere(far)[0])
    by = f" by more than {tolerance:g}" if is_float else ""
    return (
        f"expected {expected[first]} at {list(first)}, found {found[first]} "
        f"({int(far.sum())} of {far.size} values differ{by})"
    )
