"""The bytes of an archive, front to back, plain or inflated, in bounded pieces. Standard library and errors only."""

import os
import zlib
from collections.abc import Iterator

from reconciler.errors import ArchiveRefused

READ = 1 << 17
PIECE = 1 << 18  # at most this much comes out of one step, whatever went in


class Stream:
    """Reads a descriptor from its start, whatever its position. `taken` counts bytes out, `read` bytes in."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.read = self.taken = 0
        self._piece = memoryview(b"")

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end. For headers: `size` is small."""
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes in pieces; fewer at the end of the stream."""
        while size > 0:
            piece = self._piece[:size] if self._piece else self._next()[:size]
            if not piece:
                return
            self._piece = self._piece[len(piece) :]
            self.taken += len(piece)
            size -= len(piece)
            yield piece

    def _next(self) -> memoryview:
        self._piece = memoryview(self._produce())
        return self._piece

    def _produce(self) -> bytes:
        return self._input()

    def _input(self) -> bytes:
        data = os.pread(self._fd, READ, self.read)
        self.read += len(data)
        return data


class Inflated(Stream):
    """The same of a gzip file, with all of its members (RFC 1952). Raises ArchiveRefused for damage and for a tail."""

    def __init__(self, fd: int, piece: int = PIECE) -> None:
        super().__init__(fd)
        self._size = piece
        self._inflater = zlib.decompressobj(31)
        self._rest = b""
        self._ended = False

    def _produce(self) -> bytes:
        while not self._ended:
            data = self._rest or self._input()
            if not data:
                raise ArchiveRefused(f"the gzip stream ends in the middle, after {self.read} bytes")
            try:
                out = self._inflater.decompress(data, self._size)
            except zlib.error as error:
                raise ArchiveRefused(f"the gzip stream is damaged: {error}") from error
            self._rest = self._inflater.unconsumed_tail
            if self._inflater.eof:
                self._next_member()
            if out:
                return out
        return b""

    def _next_member(self) -> None:
        """Go on with the member behind this one, or with nothing but zeros (padding) to the end."""
        self._rest = self._inflater.unused_data or self._input()
        if self._rest[:1] == b"\x1f":
            self._inflater = zlib.decompressobj(31)
            return
        while self._rest:
            if self._rest.strip(b"\0"):
                raise ArchiveRefused("something other than gzip follows the gzip stream")
            self._rest = self._input()
        self._ended = True
