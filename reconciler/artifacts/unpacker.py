"""The unpacking process: one archive on stdin, one directory on a descriptor, limits on itself; then it ends.

Started by `unpack` without site-packages, so it imports the standard library and this room's light modules only.
Out: lines of JSON on stdout, `{"done": bytes}` now and then and one `Outcome` at the end; the files with their receipt.
"""

import errno
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from typing import Any

from reconciler import child_process
from reconciler.artifacts.budget import Budget
from reconciler.artifacts.extract_tar import TarExtractor
from reconciler.artifacts.flush import sync_all
from reconciler.artifacts.kind import CODINGS
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.receipt import File, make_receipt, write_receipt
from reconciler.artifacts.stream import Inflated, Stream
from reconciler.artifacts.tree import DIRECTORY, Tree
from reconciler.errors import ArchiveRefused

ARCHIVE = 0
FILES, UNSORTED = "files", "unsorted"
TOLD_EVERY_S = 0.1


@dataclass(frozen=True)
class UnpackJob:
    """What to unpack: an archive of this digest, size and kind, below the descriptor `directory`."""

    sha256: str
    size: int
    kind: str
    directory: int
    limits: UnpackLimits

    @classmethod
    def from_json(cls, text: str) -> "UnpackJob":
        """The inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "limits": UnpackLimits(**fields["limits"])})

    def to_json(self) -> str:
        """As the process takes it on its command line."""
        return json.dumps(asdict(self))

    @property
    def seconds(self) -> float:
        """How long it may take."""
        return self.limits.seconds + self.size / (1 << 20)


@dataclass(frozen=True)
class Outcome:
    """How it ended: `unpacked`, `refused` (reason, hint), `disk` (number, reason), or `bug` (reason: a traceback)."""

    outcome: str
    reason: str = ""
    hint: str = ""
    number: int = 0


def main() -> None:
    """Do the job named on the command line."""
    job = UnpackJob.from_json(sys.argv[1])
    confine(job)
    say(asdict(attempt(job)))


def confine(job: UnpackJob) -> None:
    """Limit what this process may use, and end it with its parent."""
    most = job.limits
    child_process.limit(seconds=job.seconds, file_bytes=most.max_bytes, RLIMIT_AS=most.memory_bytes)
    os.umask(0o022)


def attempt(job: UnpackJob) -> Outcome:
    """Unpack, and say how it went; an exception never passes."""
    try:
        unpack_all(job)
    except ArchiveRefused as refusal:
        return Outcome("refused", refusal.message, refusal.advice)
    except MemoryError:
        return Outcome("refused", f"unpacking needs more than {job.limits.memory_bytes} bytes of memory")
    except OSError as error:
        if error.errno == errno.EFBIG:
            return Outcome("refused", f"a file has more than {job.limits.max_bytes} bytes")
        return Outcome("disk", error.strerror or str(error), number=error.errno or errno.EIO)
    except Exception:  # noqa: BLE001  # a bug: its traceback is raised again in the parent
        return Outcome("bug", traceback.format_exc())
    return Outcome("unpacked")


def unpack_all(job: UnpackJob) -> None:
    """Files, receipt and sync. Raises ArchiveRefused, OSError."""
    os.mkdir(UNSORTED, 0o755, dir_fd=job.directory)
    root = os.open(UNSORTED, DIRECTORY, dir_fd=job.directory)
    try:
        with Tree(root, job.limits.reserve_bytes) as tree:
            budget = Budget(job.size, job.limits, Teller())
            if job.kind == "zip":
                from reconciler.artifacts.extract_zip import extract_zip  # most archives need none of what it needs

                extract_zip(ARCHIVE, tree, job.limits, budget)
            else:
                coding = next((coding for coding, kind in CODINGS.items() if kind == job.kind), "")
                stream = Inflated(ARCHIVE, coding) if coding else Stream(ARCHIVE)
                TarExtractor(stream, tree, job.limits, budget).run()
            files = tree.finish()
        top = sole_directory(root)
    finally:
        os.close(root)
    if not files:
        raise ArchiveRefused("the archive holds no file")
    # The one top directory is taken off by moving it: paths in the archive were judged as they are written there.
    source = f"{UNSORTED}/{top}" if top else UNSORTED
    os.rename(source, FILES, src_dir_fd=job.directory, dst_dir_fd=job.directory)
    if top:
        os.rmdir(UNSORTED, dir_fd=job.directory)
        files = [File(file.path.removeprefix(f"{top}/"), file.size, file.sha256) for file in files]
    write_receipt(make_receipt(job.sha256, job.size, job.kind, files), job.directory)
    sync_all(job.directory)


def sole_directory(root: int) -> str:
    """The name of the only entry, where that is a directory; else empty."""
    with os.scandir(root) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    return found[0][0] if len(found) == 1 and found[0][1] else ""


class Teller:
    """Says how many bytes of the archive are read, at most ten times a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + TOLD_EVERY_S
            say({"done": done})


def say(what: dict[str, Any]) -> None:
    """One line to the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
