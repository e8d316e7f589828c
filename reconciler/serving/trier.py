"""The process that tries a model before it is packed: `python -m reconciler.serving.trier JOB`. Started by `trial`.

In: a directory with a model, and examples.  Out: lines of JSON on stdout, `{"doing": words}` now and then and one
`Outcome` at the end; and the golden.json that was made, where none was there. It limits itself: a model is a program.
"""

import json
import os
import sys
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reconciler import child_process


@dataclass(frozen=True)
class TrialJob:
    """directory: has one version's files.  golden: where golden.json is written, where the directory has none.

    tolerance: of what is written; None where nobody said.  seconds: of CPU.  file_bytes: what it may write into a file.
    memory_bytes: what it may have of its own.
    """

    directory: str
    version: str
    golden: str
    examples: tuple[str, ...]
    tolerance: float | None
    seconds: float
    file_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Outcome:
    """How it ended: `answered`; `refused` (code of reconciler.errors, reason, hint); or `bug` (reason: a traceback).

    inputs, outputs: what the model takes and gives.  cases: how many questions.  asked: the first, in words.
    tries: how many were asked to find it; 0 where it was given.  remarks: to be told.
    """

    outcome: str
    reason: str = ""
    hint: str = ""
    code: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    cases: int = 0
    asked: str = ""
    tries: int = 0
    remarks: list[str] = field(default_factory=list)


def main() -> None:
    """Do the job named on the command line."""
    job = TrialJob(**json.loads(sys.argv[1]))
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no word of ours
    confine(job)

    def say(what: dict[str, Any]) -> None:
        said.write(json.dumps(what) + "\n")
        said.flush()

    say(asdict(attempt(job, lambda words: say({"doing": words}))))


def confine(job: TrialJob) -> None:
    """Limit what this process may use, and end it with its parent. Data, not addresses: libraries reserve freely."""
    child_process.limit(seconds=job.seconds, file_bytes=job.file_bytes, RLIMIT_DATA=job.memory_bytes)


def attempt(job: TrialJob, tell: Any) -> Outcome:
    """Try the model, and say how it went; an exception never passes."""
    from reconciler.errors import MachineUnfit, ReconcilerError, StorageExhausted

    try:
        return try_out(job, tell)
    except ReconcilerError as refusal:
        return Outcome("refused", refusal.message, refusal.advice, refusal.code)
    except ImportError as error:  # what is not installed was said before this process began
        return Outcome("refused", f"a library cannot be loaded: {error}", "install it anew", MachineUnfit.code)
    except OSError as error:
        return Outcome("refused", f"{error.filename}: {error.strerror}", "is its disk full?", StorageExhausted.code)
    except MemoryError:
        return Outcome(
            "refused",
            f"trying the model needs more than {job.memory_bytes:,} bytes of memory, which is all that it gets",
            "make the model smaller or quantize it; or ask less by --example",
            "RX405",
        )
    except Exception:  # noqa: BLE001  # a bug: its traceback is raised again in the parent
        return Outcome("bug", traceback.format_exc())


def try_out(job: TrialJob, tell: Any) -> Outcome:
    """Load it as an edge does; hold it to its golden.json, or make one. Raises ReconcilerError, ImportError."""
    tell("starting onnxruntime")
    from reconciler.errors import ProbeFailed, UsageError
    from reconciler.serving import examples, golden, questions
    from reconciler.serving.loaded import Loaded
    from reconciler.serving.tensors import TensorRefused

    tell("loading the model")
    loaded = Loaded(Path(job.directory), job.version)
    probes, remarks, tries = golden.cases(loaded), [], 0
    is_given = bool(probes)
    for example in job.examples:
        tell(f"reading {Path(example).name}")
        more, casts = examples.read(Path(example), loaded)
        probes += more
        remarks += casts
    if not probes:
        found = questions.find(loaded, tell)
        probes, tries = [golden.Case("question", found.inputs, {}, golden.TOLERANCE)], found.tries
    if job.tolerance is not None:
        probes = [case.replaced(tolerance=job.tolerance) for case in probes]
    tell("asking the model")
    try:
        golden.probe(job.version, [case for case in probes if case.outputs], loaded.infer)
    except ProbeFailed as error:
        raise ProbeFailed(
            error.message,
            hint="what the file asks and says is right is not what the model takes and gives: mend one of them",
        ) from error
    answered = [examples.asked(loaded, case) for case in probes]
    try:
        golden.probe(job.version, answered, loaded.infer)
    except ProbeFailed as error:
        raise ProbeFailed(
            f"asked the same twice, the model answers otherwise, or with no number: {error.message}",
            hint="take out what is random (dropout, sampling: export in eval mode), or give a larger --tolerance",
        ) from error
    if not is_given:
        remarks += [] if job.tolerance is not None else questions.far_reaching(answered)
        try:
            Path(job.golden).write_bytes(golden.encoded(answered))
        except (ValueError, TensorRefused) as error:
            raise UsageError(
                f"the question and its answer cannot be packed: {error}",
                hint="give a smaller question by --example, or export the model with a smaller answer",
            ) from error
    return Outcome(
        "answered",
        inputs=list(map(str, loaded.inputs)),
        outputs=list(map(str, loaded.outputs)),
        cases=len(answered),
        asked=questions.shown(answered[0].inputs),
        tries=tries,
        remarks=remarks,
    )


if __name__ == "__main__":
    main()
