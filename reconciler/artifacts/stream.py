"""The bytes of an archive, front to back, plain or inflated, in bounded pieces. Standard library and errors only."""

import os
import zlib
from collections.abc import Iterator
from typing import Protocol

from reconciler.errors import ArchiveRefused

READ = 1 << 17
PIECE = 1 << 18  # at most this much comes out of one step, whatever went in
MAGIC = {"gzip": b"\x1f\x8b\x08", "xz": b"\xfd7zXZ\0", "bzip2": b"BZh"}
XZ_MEMORY = 128 << 20  # bytes for its dictionary: `xz -9` needs 65 MiB


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
    """The same of a compressed file, with all of its members. Raises ArchiveRefused for damage and for a tail.

    coding: a name in MAGIC. Source: RFC 1952; The .xz File Format 1.2.1; bzip2 has no standard but its program.
    """

    def __init__(self, fd: int, coding: str = "gzip", piece: int = PIECE) -> None:
        super().__init__(fd)
        self._coding, self._size = coding, piece
        self._inflater = _inflater(coding)
        self._rest = b""
        self._ended = False

    def _produce(self) -> bytes:
        while not self._ended:
            data = b""
            if self._inflater.needs_input:
                data, self._rest = self._rest or self._input(), b""
                if not data:
                    raise ArchiveRefused(f"the {self._coding} stream ends in the middle, after {self.read} bytes")
            try:
                out = self._inflater.decompress(data, self._size)
            except MemoryError:
                raise
            except Exception as error:  # zlib, bz2 and lzma have errors of their own, without a common base
                raise ArchiveRefused(f"the {self._coding} stream is damaged: {error}") from error
            if self._inflater.eof:
                self._next_member()
            if out:
                return out
        return b""

    def _next_member(self) -> None:
        """Go on with the member behind this one, or with nothing but zeros (padding) to the end."""
        self._rest = self._inflater.unused_data or self._input()
        if self._rest[:1] == MAGIC[self._coding][:1]:
            self._inflater = _inflater(self._coding)
            return
        while self._rest:
            if self._rest.strip(b"\0"):
                raise ArchiveRefused(f"something other than {self._coding} follows the {self._coding} stream")
            self._rest = self._input()
        self._ended = True


class _Inflater(Protocol):
    """One member of a compressed file, as bz2 and lzma have it: it keeps what it was given and has not undone yet."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gunzip:
    """zlib's, which gives back what it has not undone."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)


def _inflater(coding: str) -> _Inflater:
    """Raises ArchiveRefused where this Python was built without it. Imported when needed: most archives are gzip."""
    if coding == "gzip":
        return _Gunzip()
    try:
        if coding == "xz":
            import lzma

            return lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)
        import bz2

        return bz2.BZ2Decompressor()
    except ImportError as error:
        raise ArchiveRefused(f"this Python cannot read {coding}", hint="pack it as tar.gz or zip") from error
