"""`reconciler` and `python -m reconciler`: the guard that covers even the imports, for Python's own exit code is 1."""

import contextlib
import gc
import io
import os
import sys
from typing import Any

STAY = {"run", "agent", "demo"}  # commands that go on until they are told to stop
GOES_ON = {
    "run": "its agents and runtimes go on, and the next `reconciler run` finds them",
    "agent": "its runtimes go on, and the next agent finds them",
}


class _Telling(io.FileIO):
    """A stream for messages: what it does not take (full, or closed) is dropped, and changes nothing."""

    def write(self, data: Any) -> int:
        """The bytes taken: as many as there were where they cannot be written."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def main() -> int:
    """The exit code of a command (see cli.main)."""
    name = next(iter(sys.argv[1:2]), "")
    _open_streams(stays=name in STAY)
    if name not in STAY:
        gc.disable()  # what ends soon need not look for cycles; a seventh of the time of a large plan
    elif name == "run":
        gc.set_threshold(10_000)  # a hub makes many objects and hardly a cycle; a tenth of the time of a large apply
    try:
        from reconciler.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        return 130
    except Exception as bug:  # noqa: BLE001  # a bug keeps its traceback, and is never mistaken for "differences"
        if isinstance(bug, ModuleNotFoundError) and (code := _lacks(bug, name)):
            return code
        _tell(bug, GOES_ON.get(name, "nothing that runs was touched"))
        return 70


def _open_streams(*, stays: bool) -> None:
    """See that 0, 1 and 2 are streams, whoever closed them: the next file that is opened would get that number.

    What stays writes to nowhere then; of the others an answer that cannot be written is an error. What a stream's
    encoding lacks is written as its code, as is what of a file's name is no text. Telling on stderr never fails.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 1 and not stays else os.O_RDWR)  # the lowest number is taken
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
        with contextlib.suppress(AttributeError, ValueError):
            getattr(sys, name).reconfigure(errors="backslashreplace")
    bytes_ = io.BufferedWriter(_Telling(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(bytes_, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def _lacks(error: ModuleNotFoundError, name: str) -> int:
    """The exit code where cli.main itself could not be imported for want of a package, which is told; else 0."""
    from reconciler.packages import lacking

    failure = lacking(error, name)
    if failure is None:
        return 0
    print(f"error[{failure.code}]: {failure.message}\n help: {failure.advice}", file=sys.stderr)
    return failure.exit_code


def _tell(bug: Exception, goes_on: str) -> None:
    """One line about a bug, or one JSON object, with its traceback in a file; where none can be written, on stderr."""
    import tempfile  # both are dear at every start
    import traceback

    text = traceback.format_exc()
    try:
        number, place = tempfile.mkstemp(prefix="reconciler-bug-", suffix=".txt")
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123  # it is open
            file.write(text)
    except OSError:
        place = ""
    said = f"this is a bug: {' '.join(f'{type(bug).__name__}: {bug}'.split())}"
    with contextlib.suppress(Exception):  # the bug may be in what these need
        from reconciler.cli.main import asks_for_json

        if asks_for_json(sys.argv[1:]):
            _tell_json(said, f"report it with the traceback in {place or 'this answer'}; {goes_on}", place or text)
            return
    if not place:
        print(text, file=sys.stderr)
    print(
        f"error[RX600]: {said}\n help: report it with the traceback {f'in {place}' if place else 'above'}; {goes_on}",
        file=sys.stderr,
    )


def _tell_json(said: str, hint: str, trace: str) -> None:
    import json

    from reconciler.errors import Defect
    from reconciler.web.document import failure

    print(json.dumps(failure(Defect(said, hint=hint)) | {"traceback": trace}), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
