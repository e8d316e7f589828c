"""Creates the files of one archive below one directory, and nothing else. Standard library, lanes, receipt only.

In: path components that `names` let pass, and pieces of bytes.  Out: files on disk and their hashes; the caller syncs.
Every component is opened relative to a descriptor without following links; no file is opened that existed before.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from reconciler.artifacts.flush import Flusher
from reconciler.artifacts.lanes import Lane
from reconciler.artifacts.names import Parts
from reconciler.artifacts.receipt import File

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
ROOM_ASKED_EVERY = 16 << 20


class _Growing:
    """A file on its way through the two lanes."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd, self.path = fd, path
        self.written = self.hashed = 0
        self.flusher = Flusher(fd)
        self.hash = hashlib.sha256()


class Tree:
    """One directory being filled. Use as a context manager; `finish` before its end."""

    def __init__(self, root: int, reserve_bytes: int) -> None:
        self._root, self._reserve = root, reserve_bytes
        self._unasked = ROOM_ASKED_EVERY
        self._stack = ExitStack()
        self._open: tuple[Parts, int] = ((), root)
        self._done: list[File] = []

    def __enter__(self) -> Self:
        self._writer: Lane[tuple[_Growing, memoryview | None]] = self._stack.enter_context(Lane(self._write))
        self._hasher: Lane[tuple[_Growing, memoryview | None]] = self._stack.enter_context(Lane(self._hash))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, tb)
        self._close_directory()

    def directory(self, parts: Parts) -> None:
        """Have this directory."""
        self._enter(parts)

    def file(self, parts: Parts, size: int, pieces: Iterable[memoryview]) -> int:
        """Create this file from pieces, `size` bytes by its header; how many came."""
        self._ask_for_room(size)
        parent = self._enter(parts[:-1])
        growing = _Growing(os.open(parts[-1], NEW_FILE, 0o644, dir_fd=parent), "/".join(parts))
        came = 0
        for piece in pieces:
            came += len(piece)
            self._writer.put((growing, piece))
            self._hasher.put((growing, piece))
        self._writer.put((growing, None))
        self._hasher.put((growing, None))
        return came

    def finish(self) -> list[File]:
        """Every file with its hash, once all is written."""
        self._writer.drain()
        self._hasher.drain()
        return self._done

    def _enter(self, parts: Parts) -> int:
        """A descriptor of this directory, made where missing. The last one is kept: members come grouped."""
        if self._open[0] == parts:
            return self._open[1]
        self._close_directory()
        fd = self._root
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=fd)
            below = os.open(part, DIRECTORY, dir_fd=fd)
            if fd != self._root:
                os.close(fd)
            fd = below
        self._open = (parts, fd)
        return fd

    def _close_directory(self) -> None:
        if self._open[1] != self._root:
            os.close(self._open[1])
        self._open = ((), self._root)

    def _ask_for_room(self, size: int) -> None:
        self._unasked += size
        if self._unasked < ROOM_ASKED_EVERY:
            return
        state = os.fstatvfs(self._root)
        needed, free = self._unasked + self._reserve, state.f_bavail * state.f_frsize
        if free < needed:
            raise OSError(errno.ENOSPC, f"{needed} bytes needed to unpack, {free} free")
        self._unasked = 0

    def _write(self, item: tuple[_Growing, memoryview | None]) -> None:
        growing, piece = item
        if piece is None:
            os.close(growing.fd)
            return
        while piece:
            written = os.write(growing.fd, piece)
            growing.written += written
            piece = piece[written:]
        growing.flusher.grown(growing.written)

    def _hash(self, item: tuple[_Growing, memoryview | None]) -> None:
        growing, piece = item
        if piece is None:
            self._done.append(File(growing.path, growing.hashed, growing.hash.hexdigest()))
        else:
            growing.hash.update(piece)
            growing.hashed += len(piece)
