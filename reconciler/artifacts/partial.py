"""The file that a download grows in, with its digest. May import lanes, pace, room.

In: chunks, in order.  Out: `<key>.partial`, and `<key>.partial.json` saying what it is a part of. Written and hashed in
two lanes while the next chunk arrives. The length of the file is the offset: it survives the end of the process; the
state of the hash does not, so what is found is hashed again.
"""

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.artifacts.flush import Flusher
from reconciler.artifacts.lanes import Lane
from reconciler.artifacts.pace import Watch
from reconciler.artifacts.room import disk_errors

CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class FetchOrigin:
    """What the bytes are part of. url: without its query.  etag: a strong one, else empty.  total: bytes, if known."""

    url: str
    etag: str = ""
    total: int | None = None


class Partial:
    """Bytes of one artifact so far. Use as a context manager; `length` counts what was appended."""

    def __init__(self, path: Path, watch: Watch) -> None:
        self.path, self._watch = path, watch
        self._sidecar = path.with_name(path.name + ".json")
        self.origin: FetchOrigin | None = None
        self.length = 0
        self._hash = hashlib.sha256()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with disk_errors(self.path.parent):
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._stack.callback(os.close, self._fd)
        self._stand_at(0)
        self._writer = self._stack.enter_context(Lane(self._write))
        self._hasher = self._stack.enter_context(Lane(self._hash_chunk))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with disk_errors(self.path.parent):
            self._stack.__exit__(kind, error, tb)

    def recall(self) -> None:
        """Take up what an earlier process left: hash it again. Without its sidecar it is worth nothing."""
        try:
            self.origin = FetchOrigin(**json.loads(self._sidecar.read_bytes()))
        except (OSError, ValueError, TypeError):
            self.restart()
            return
        size = os.fstat(self._fd).st_size
        while self.length < size:
            self._watch.check()
            with disk_errors(self.path.parent):
                chunk = os.pread(self._fd, CHUNK, self.length)
            self._hasher.put(chunk)
            self.length += len(chunk)
            self._watch.tell("resuming", self.length, size)
        self._stand_at(os.lseek(self._fd, 0, os.SEEK_END))

    def describe(self, origin: FetchOrigin) -> None:
        """Write down what the bytes are a part of, before the first of them."""
        if origin != self.origin:
            with disk_errors(self.path.parent):
                temporary = self._sidecar.with_suffix(".tmp")
                temporary.write_text(json.dumps(asdict(origin)))
                temporary.replace(self._sidecar)
            self.origin = origin

    def append(self, chunk: bytes) -> None:
        """Add the next bytes. Raises StorageExhausted, also for an earlier chunk."""
        with disk_errors(self.path.parent):
            self._writer.put(chunk)
        self._hasher.put(chunk)
        self.length += len(chunk)

    def restart(self) -> None:
        """Throw the bytes away: they are not a part of what comes."""
        self.settle()
        with disk_errors(self.path.parent):
            self._sidecar.unlink(missing_ok=True)
            os.ftruncate(self._fd, 0)
            self._stand_at(os.lseek(self._fd, 0, os.SEEK_SET))
        self.origin, self.length, self._hash = None, 0, hashlib.sha256()

    def settle(self) -> None:
        """Return when every byte is written and hashed."""
        with disk_errors(self.path.parent):
            self._writer.drain()
        self._hasher.drain()

    def digest(self) -> str:
        """sha256 of all bytes so far."""
        self.settle()
        return self._hash.hexdigest()

    def beside(self) -> "Partial":
        """Another, empty one, for a while. Use it as a context manager; a crash leaves nothing of it."""
        path = self.path.with_name(self.path.name + ".tmp")
        path.unlink(missing_ok=True)
        return Partial(path, self._watch)

    def take_over(self, other: "Partial") -> None:
        """Become the other: its bytes, under this name."""
        other.settle()
        with disk_errors(self.path.parent):
            self._sidecar.unlink(missing_ok=True)
            other.path.replace(self.path)
            os.dup2(other.fileno(), self._fd, inheritable=False)
        self.origin, self.length, self._hash = None, other.length, other._hash  # noqa: SLF001  # one of its own kind

    def fileno(self) -> int:
        """The open file; its position means nothing."""
        return self._fd

    def remove(self) -> None:
        """Delete the file and its sidecar. Idempotent."""
        remove_partial(self.path)

    def _stand_at(self, position: int) -> None:
        self._written, self._flusher = position, Flusher(self._fd, position)

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._fd, view) :]
        self._written += len(chunk)
        self._flusher.grown(self._written)

    def _hash_chunk(self, chunk: bytes) -> None:
        self._hash.update(chunk)


def remove_partial(path: Path) -> None:
    """Delete a partial file and its sidecar. Idempotent."""
    with disk_errors(path.parent):
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".json").unlink(missing_ok=True)
