"""Tries a model in a process of its own, and says how that ended. May import trier (for its words), process, errors.

In: a directory as an edge would have it, and examples.  Out: what it takes and answers, and golden.json where none was
there; or an error in the words of the edge. Whatever the model does, this process goes on.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Final

from reconciler import child_process
from reconciler.errors import (
    PreflightRefused,
    ProbeFailed,
    ReconcilerError,
    RuntimeUnavailable,
    error_classes,
)
from reconciler.packages import RUNTIME
from reconciler.serving.process import FAULTS, LOAD_S, TAIL, environment
from reconciler.serving.trier import Outcome, TrialJob

TRIER: Final = "reconciler.serving.trier"
FILE_BYTES: Final = 64 << 20
MEMORY_BYTES: Final = 4 << 30
COPIES: Final = 8  # of the model, that loading and optimizing it may make

Tell = Callable[[str], None]


def try_model(
    directory: Path,
    version: str,
    golden: Path,
    examples: Sequence[Path] = (),
    *,
    tolerance: float | None = None,
    tell: Tell,
    seconds: float = LOAD_S,
) -> Outcome:
    """What the model takes, and that it answers as its golden.json, the examples or its own first answer say.

    golden: where golden.json is written where `directory` has none.  tolerance: of that one; None as examples say it,
    else golden.TOLERANCE.  tell: is told several times a second what is
    done.  seconds: what an edge gives a model to be loaded and asked. Raises PreflightRefused, ProbeFailed, UsageError,
    MachineUnfit without the libraries, RuntimeUnavailable for an end from outside.
    """
    RUNTIME.require("trying a model")
    names = tuple(str(each.absolute()) for each in examples)
    job = TrialJob(str(directory), version, str(golden), names, tolerance, seconds, FILE_BYTES, _memory(directory))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", TRIER, json.dumps(asdict(job))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
        )
        assert process.stdout is not None
        doing = "starting"

        def said(words: str) -> None:
            nonlocal doing
            doing = words
            tell(words)

        with process:
            try:
                outcome = _listen(process.stdout.fileno(), time.monotonic() + seconds, said)
                if outcome is not None:
                    process.wait()
            except TimeoutError as error:
                raise PreflightRefused(
                    f"{doing} was not done within {seconds:.0f} s, which is all that an edge gives a model",
                    hint="make the model smaller or quantize it; or ask less by --example",
                ) from error
            finally:
                process.kill()
        if outcome is None:
            raise _ended(process.returncode, doing, log)
    return _judged(outcome)


def _memory(directory: Path) -> int:
    """The bytes that a try may have: enough for the model's copies and a large answer, and no more than there are."""
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return min(MEMORY_BYTES + COPIES * size, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _listen(pipe: int, ends_at: float, tell: Tell) -> Outcome | None:
    """Follow what the process says until it ends. None where it ended without a word. Raises TimeoutError."""
    doing = "starting"

    def look() -> None:
        if time.monotonic() >= ends_at:
            raise TimeoutError
        tell(doing)

    for words in child_process.said(pipe, look):
        if "outcome" in words:
            return Outcome(**words)
        doing = words["doing"]
        tell(doing)
    return None


def _judged(outcome: Outcome) -> Outcome:
    """It, where the model answers; raises what it means elsewhere."""
    if outcome.outcome == "refused":
        kind = next((cls for cls in error_classes() if cls.code == outcome.code), ReconcilerError)
        raise kind(outcome.reason, hint=outcome.hint)
    if outcome.outcome != "answered":
        raise RuntimeError(f"trying the model failed:\n{outcome.reason}")
    return outcome


def _ended(code: int, doing: str, log: IO[bytes]) -> ReconcilerError:
    """The error for a process that ended without an outcome."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL))
    words = log.read().decode(errors="replace").strip()
    last = f"; its last words: {words.splitlines()[-1]}" if words else ""
    if code == -signal.SIGXCPU:
        return PreflightRefused(f"{doing} took more CPU time than an edge gives a model", hint="make the model smaller")
    if code >= 0 or -code in FAULTS:
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        return ProbeFailed(
            f"the model ended the process that tries it, while {doing}: {how}{last}",
            hint="it would end an edge's runtime too: export it again, or with another version of the exporter",
        )
    return RuntimeUnavailable(
        f"the process that tries the model was ended from outside, while {doing}: signal {-code}{last}",
        hint="was memory short? `dmesg` tells",
    )
