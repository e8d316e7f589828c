"""Reads a zip's central directory, compares it with the local headers, and unpacks. Standard library only.

In: a descriptor.  Out: a Tree. All headers are judged before the first byte is written; every byte belongs to one
entry only. Source: PKWARE APPNOTE 6.3.9, sections 4.3 and 4.4; Unix modes in the external attributes as
Info-ZIP writes.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.artifacts.budget import Budget
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.names import Names, Parts
from reconciler.artifacts.stream import PIECE, READ
from reconciler.artifacts.tree import Tree
from reconciler.errors import ArchiveRefused

END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
STORED, DEFLATED = 0, 8
ENCRYPTED = 0x1 | 0x40 | 0x2000
SIZES_FOLLOW = 0x8
ZIP64_EXTRA = 1
MAX_COMMENT = 0xFFFF
FULL = 0xFFFFFFFF
SET_ID = 0o6000


@dataclass(slots=True)
class ZipEntry:
    """One entry of the central directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    at: int
    parts: Parts = ()

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory: by its name, as every zip program does it."""
        return self.name.endswith(b"/")


def extract_zip(fd: int, tree: Tree, limits: UnpackLimits, budget: Budget) -> None:
    """Unpack a whole zip file. Raises ArchiveRefused, OSError."""
    entries, start = read_directory(fd, limits)
    names, free_from = Names(limits), 0
    bodies: list[tuple[ZipEntry, int]] = []
    for entry in sorted(entries, key=lambda entry: entry.at):
        names.count()
        entry.parts = names.claim(entry.name, directory=entry.is_directory)
        _judge(entry)
        body = _local_header(fd, entry)
        if entry.at < free_from or body + entry.packed > start:
            raise ArchiveRefused(f"entry {_shown(entry)} overlaps another")
        free_from = body + entry.packed
        budget.spend(entry.size)
        bodies.append((entry, body))
    if any(entry.parts[-1:] == ("data.pkl",) for entry in entries):
        raise ArchiveRefused(
            "the archive holds a Python pickle (data.pkl), which can run code when loaded",
            hint="export the model as ONNX or safetensors",
        )
    for entry, body in bodies:
        if entry.is_directory:
            tree.directory(entry.parts)
        elif tree.file(entry.parts, entry.size, _content(fd, entry, body, budget)) != entry.size:
            raise ArchiveRefused(f"entry {_shown(entry)} is shorter than it says")


def read_directory(fd: int, limits: UnpackLimits) -> tuple[list[ZipEntry], int]:
    """The entries, and where the central directory begins. Raises ArchiveRefused; reads no more than the caps allow."""
    count, size, start, end = _find_directory(fd)
    if count > limits.max_members:
        raise ArchiveRefused(f"the archive has more than {limits.max_members} members")
    if start + size != end or size > count * (CENTRAL.size + 2 * limits.max_path_bytes):
        raise ArchiveRefused("the zip's central directory is not where or as large as it should be")
    data = os.pread(fd, size, start)
    entries, at = [], 0
    for _ in range(count):
        if at + CENTRAL.size > len(data):
            raise ArchiveRefused("the zip's central directory is cut off")
        fields = CENTRAL.unpack_from(data, at)
        name_size, extra_size, comment_size = fields[10:13]
        name_at = at + CENTRAL.size
        at = name_at + name_size + extra_size + comment_size
        if fields[0] != b"PK\x01\x02" or at > len(data):
            raise ArchiveRefused("the zip's central directory is damaged")
        name, extra = data[name_at : name_at + name_size], data[name_at + name_size : at - comment_size]
        packed, full_size, offset = _widen(extra, fields[9], fields[8], fields[16])
        mode = fields[15] >> 16
        entries.append(ZipEntry(name, fields[3], fields[4], fields[7], packed, full_size, mode, offset))
    if at != len(data):
        raise ArchiveRefused("the zip's central directory has more than its entries")
    if not entries:
        raise ArchiveRefused("the archive has no members")
    return entries, start


def _find_directory(fd: int) -> tuple[int, int, int, int]:
    """(entries, bytes, start, end) of the central directory; its end record must end the file."""
    file_size = os.fstat(fd).st_size
    tail_at = max(0, file_size - END.size - MAX_COMMENT)
    tail = os.pread(fd, file_size - tail_at, tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + END.size > len(tail):
        raise ArchiveRefused("the zip has no end record: it was cut off")
    _, disk, start_disk, here, count, size, start, comment = END.unpack_from(tail, at)
    if at + END.size + comment != len(tail):
        raise ArchiveRefused("something follows the end of the zip")
    end = tail_at + at
    if disk or start_disk or here != count:
        raise ArchiveRefused("the zip is one part of several")
    locator = os.pread(fd, END64_LOCATOR.size, max(0, end - END64_LOCATOR.size))
    if locator[:4] != b"PK\x06\x07" or len(locator) < END64_LOCATOR.size:
        return count, size, start, end
    _, _, end64_at, _ = END64_LOCATOR.unpack(locator)
    record = os.pread(fd, END64.size, end64_at) if end64_at <= end else b""
    if len(record) < END64.size or record[:4] != b"PK\x06\x06" or end64_at + END64.size != end - END64_LOCATOR.size:
        raise ArchiveRefused("the zip's 64-bit end record is damaged")
    fields = END64.unpack(record)
    return fields[7], fields[8], fields[9], end64_at


def _widen(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """(packed, size, offset) with the zip64 field's values where the 32-bit ones are full."""
    values = [size, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == ZIP64_EXTRA:
            wide = [n for (n,) in struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8])]
            for index, value in enumerate(values):
                if value == FULL and wide:
                    values[index] = wide.pop(0)
            break
        at += 4 + length
    return values[1], values[0], values[2]


def _judge(entry: ZipEntry) -> None:
    kind = stat.S_IFMT(entry.mode)
    if kind not in {0, stat.S_IFDIR if entry.is_directory else stat.S_IFREG}:
        raise ArchiveRefused(f"entry {_shown(entry)} is a link, a device or something else that is no file")
    if entry.mode & SET_ID and not entry.is_directory:
        raise ArchiveRefused(f"entry {_shown(entry)} is setuid or setgid")
    if entry.flags & ENCRYPTED:
        raise ArchiveRefused(f"entry {_shown(entry)} is encrypted")
    if entry.method not in {STORED, DEFLATED}:
        raise ArchiveRefused(f"entry {_shown(entry)} is compressed by the unknown method {entry.method}")
    if (entry.method == STORED and entry.packed != entry.size) or (entry.is_directory and entry.size):
        raise ArchiveRefused(f"entry {_shown(entry)} has a size that cannot be")


def _local_header(fd: int, entry: ZipEntry) -> int:
    """Where the entry's bytes begin. Raises ArchiveRefused where the local header says something else."""
    head = os.pread(fd, LOCAL.size, entry.at) if entry.at < 1 << 62 else b""
    if len(head) < LOCAL.size or head[:4] != b"PK\x03\x04":
        raise ArchiveRefused(f"entry {_shown(entry)} has no local header")
    _, _, flags, method, _, _, crc, packed, size, name_size, extra_size = LOCAL.unpack(head)
    rest = os.pread(fd, name_size + extra_size, entry.at + LOCAL.size)
    packed, size, _ = _widen(rest[name_size:], size, packed, 0)
    same = (crc, packed, size) == (entry.crc, entry.packed, entry.size)
    later = flags & SIZES_FOLLOW and (crc, packed, size) == (0, 0, 0)
    if rest[:name_size] != entry.name or method != entry.method or flags != entry.flags or not (same or later):
        raise ArchiveRefused(f"entry {_shown(entry)} has a local header that says something else")
    return entry.at + LOCAL.size + int(name_size) + int(extra_size)


def _content(fd: int, entry: ZipEntry, at: int, budget: Budget) -> Iterator[memoryview]:
    """The entry's bytes, at most as many as announced. Raises ArchiveRefused for damage."""
    crc, left = 0, entry.size
    pieces = _stored(fd, at, entry.packed) if entry.method == STORED else _inflated(fd, at, entry)
    for piece in pieces:
        budget.tell(at)
        left -= len(piece)
        if left < 0:
            raise ArchiveRefused(f"entry {_shown(entry)} is longer than it says")
        crc = zlib.crc32(piece, crc)
        yield memoryview(piece)
    if crc != entry.crc:
        raise ArchiveRefused(f"entry {_shown(entry)} is damaged: its checksum does not fit")


def _stored(fd: int, at: int, size: int) -> Iterator[bytes]:
    end = at + size
    while data := os.pread(fd, min(READ, end - at), at):
        at += len(data)
        yield data


def _inflated(fd: int, at: int, entry: ZipEntry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for data in _stored(fd, at, entry.packed):
            rest = data
            while rest:
                if out := inflater.decompress(rest, PIECE):
                    yield out
                rest = inflater.unconsumed_tail
        while not inflater.eof and (out := inflater.decompress(b"", PIECE)):
            yield out  # what went in before the last piece was full
    except zlib.error as error:
        raise ArchiveRefused(f"entry {_shown(entry)} is damaged: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise ArchiveRefused(f"entry {_shown(entry)} is damaged: its end is elsewhere")


def _shown(entry: ZipEntry) -> str:
    return repr(entry.name[:80].decode("utf-8", "backslashreplace"))
