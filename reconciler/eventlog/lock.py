"""One writer for one log: an advisory lock on a file beside it. Imports errors.

In: the log's path.  Out: a held lock, or who holds it. The lock ends with its process, however that ends.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

from reconciler.errors import LogWriteFailed, SecondWriter

_TRIES, _PAUSE_S = 10, 0.005  # `is_held` takes the lock for an instant: a writer that meets it there tries again


def lock_path(log: Path) -> Path:
    """The lock file of `log`."""
    return log.with_name(log.name + ".lock")


class WriterLock:
    """The right to write one log, held until `release`. Raises SecondWriter naming the holder."""

    def __init__(self, log: Path) -> None:
        path = lock_path(log)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogWriteFailed(f"{path} cannot be opened: {error}") from error
        if not _lock(self._fd):
            holder = os.pread(self._fd, 4096, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(self._fd)
            raise SecondWriter(f"{log} is being written by {holder}")
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} ({' '.join(sys.argv)})".encode(), 0)

    def release(self) -> None:
        """Let the next writer in. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_held(log: Path) -> bool:
    """Whether a process writes `log` right now."""
    try:
        fd = os.open(lock_path(log), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _lock(fd: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return True
    return False
