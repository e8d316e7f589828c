"""Runs the unpacking process and translates how it ended. May import unpacker (for its words), pace, room, errors.

In: a verified archive and an empty directory.  Out: the directory filled, with its receipt, synced; or an error, and a
directory to throw away. The process has limits, a deadline, and no descriptor but the archive, the directory and pipes.
"""

import signal
import subprocess
import sys
from pathlib import Path

import reconciler
from reconciler import child_process
from reconciler.artifacts.pace import Watch
from reconciler.artifacts.unpacker import Outcome, UnpackJob
from reconciler.errors import ArchiveRefused, ArtifactUnavailable

START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from reconciler.artifacts.unpacker import main; main()"


def unpack(archive: int, job: UnpackJob, watch: Watch) -> None:
    """Unpack the archive open at this descriptor. Raises ArchiveRefused, ArtifactUnavailable, Cancelled, OSError."""
    root = str(Path(reconciler.__file__).parent.parent)
    command = [sys.executable, "-I", "-S", "-B", "-c", START, root, job.to_json()]
    process = subprocess.Popen(
        command, stdin=archive, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        pass_fds=(job.directory,), cwd="/", env={},
    )  # fmt: skip
    assert process.stdout is not None
    with process:
        try:
            outcome = _listen(process.stdout.fileno(), job, watch)
            if outcome is not None:
                process.wait()
        finally:
            process.kill()
    judge(outcome, process.returncode)


def _listen(pipe: int, job: UnpackJob, watch: Watch) -> Outcome | None:
    """Follow what the process says until it ends. None where it ended without a word. Raises ArchiveRefused."""
    ends_at = watch.clock.monotonic() + job.seconds

    def look() -> None:
        watch.check()
        if watch.clock.monotonic() >= ends_at:
            raise ArchiveRefused(f"unpacking took longer than {job.seconds:.0f} s")

    for words in child_process.said(pipe, look):
        if "outcome" in words:
            return Outcome(**words)
        watch.tell("unpacking", words["done"], job.size)
    return None


def judge(outcome: Outcome | None, code: int) -> None:
    """Return for success; raise what the outcome, or the end without one, means."""
    if outcome is None:
        if code == -signal.SIGXCPU:
            raise ArchiveRefused("unpacking took more CPU time than it may")
        raise ArtifactUnavailable(f"the unpacking process ended unexpectedly ({code})", hint="look at `dmesg`")
    if outcome.outcome == "refused":
        raise ArchiveRefused(outcome.reason, hint=outcome.hint)
    if outcome.outcome == "disk":
        raise OSError(outcome.number, outcome.reason)
    if outcome.outcome != "unpacked":
        raise RuntimeError(f"the unpacking process failed:\n{outcome.reason}")
