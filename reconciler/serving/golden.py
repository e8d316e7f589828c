"""Golden inputs: what a version must answer before it may serve. May import: tensors, errors.

In: `golden.json` of an archive, `{"inputs": [v2 tensors], "outputs": [v2 tensors], "tolerance": "0.001"}` or several
such under `cases`.  Out: silence, or ProbeFailed with what was expected and what was found.
Without the file nobody knows what is right: zeros are asked, and whatever comes of it the version is `unproven`.
"""

import sys
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from reconciler.errors import PreflightRefused, ProbeFailed
from reconciler.serving.loaded import Loaded
from reconciler.serving.tensors import Array, Tensor, TensorRefused, finite, to_array

FILE: Final = "golden.json"
Arrays = dict[str, Array]
Ask = Callable[[Arrays], Arrays]


class _Written(msgspec.Struct):
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    tolerance: str = "0.001"
    cases: list["_Written"] = []


class Case(msgspec.Struct, frozen=True):
    """One probe. tolerance: the largest absolute difference of a floating-point value; all else must be equal."""

    name: str
    inputs: Arrays
    outputs: Arrays
    tolerance: float


def cases(loaded: Loaded) -> list[Case]:
    """The probes of a loaded version; none without a golden.json. Raises PreflightRefused when it cannot be read."""
    found = sorted(loaded.directory.rglob(FILE))
    if not found:
        return []
    try:
        written = msgspec.json.decode(found[0].read_bytes(), type=_Written)
        many = written.cases or [written]
        return [_case(number, each) for number, each in enumerate(many, start=1)]
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise PreflightRefused(
            f"{FILE} cannot be used: {error}", hint="write v2 tensors under inputs and outputs"
        ) from error


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
    how = "`reconciler explain RX230` shows one"
    return f"no {FILE} in the archive, so nothing says what it must answer ({how}); zeros ({asked}) {came}"


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
    return Case(f"golden case {number}", inputs, outputs, float(written.tolerance))


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
    far = np.abs(expected - found) > tolerance if expected.dtype.kind == "f" else expected != found
    if not far.any():
        return ""
    first = tuple(int(index) for index in np.argwhere(far)[0])
    return (
        f"expected {expected[first]} at {list(first)}, found {found[first]} "
        f"({int(far.sum())} of {far.size} values differ by more than {tolerance:g})"
    )
