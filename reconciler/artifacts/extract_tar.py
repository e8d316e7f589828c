"""Reads a tar stream, one header at a time, and unpacks regular files and directories. Standard library only.

In: a Stream.  Out: a Tree. A header is judged whole before a byte of its member is written, and one bad header refuses
the archive, whose directory nobody sees yet: so a compressed archive is inflated once, not once to look and once to
write. Source: POSIX.1-2017 pax (ustar and extended headers); GNU tar manual, "Basic Tar Format".
"""

from dataclasses import dataclass

from reconciler.artifacts.budget import Budget
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.names import Names, is_left_behind
from reconciler.artifacts.stream import Stream
from reconciler.artifacts.tree import Tree
from reconciler.errors import ArchiveRefused

BLOCK = 512
REGULAR, DIRECTORY, CONTIGUOUS = b"0", b"5", b"7"
PAX, PAX_GLOBAL, GNU_LONG_NAME = b"x", b"g", b"L"
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"K": "a link with a long name",
    b"S": "a sparse file",
}
EXTENSION_BYTES = 1 << 20  # macOS keeps attributes of a file there
SET_ID = 0o6000
LINKS_HINT = "pack what the links lead to: `tar czf model.tar.gz --dereference --hard-dereference -C DIR .`"
SPARSE_HINT = "pack it without `--sparse` (GNU tar), or with `--no-read-sparse` (bsdtar)"


@dataclass
class Header:
    """One 512-byte header. name is still bytes: nothing is believed yet."""

    name: bytes
    kind: bytes
    size: int
    mode: int


@dataclass
class Extension:
    """What headers before a member say about it, GNU long name or pax; nothing is said twice."""

    path: bytes | None = None
    size: int | None = None

    def say(self, field: str, value: bytes) -> None:
        """Set `path` or `size`. Raises ArchiveRefused for what is said twice, or is no number."""
        if getattr(self, field) is not None:
            raise ArchiveRefused(f"a member's {field} is given twice")
        if field == "path":
            self.path = value
        elif value.isdigit() and len(value) < 19:
            self.size = int(value)
        else:
            raise ArchiveRefused("an extended tar header has a size that is no number")


class TarExtractor:
    """One tar stream on its way into a tree."""

    def __init__(self, stream: Stream, tree: Tree, limits: UnpackLimits, budget: Budget) -> None:
        self._stream, self._tree, self._budget = stream, tree, budget
        self._names = Names(limits)

    def run(self) -> None:
        """Unpack the whole stream. Raises ArchiveRefused, OSError."""
        extension = Extension()
        while block := self._stream.take(BLOCK):
            if not block.strip(b"\0"):
                self._end(extension)
                return
            self._names.count()
            header = read_header(block)
            if header.kind in {PAX, PAX_GLOBAL, GNU_LONG_NAME}:
                self._extend(extension, header)
            else:
                self._member(header, extension)
                extension = Extension()
        raise ArchiveRefused("the tar archive has no end: it was cut off")

    def _member(self, header: Header, extension: Extension) -> None:
        raw = header.name if extension.path is None else extension.path
        size = header.size if extension.size is None else extension.size
        shown = repr(raw[:80].decode("utf-8", "backslashreplace"))
        if header.kind not in {REGULAR, DIRECTORY}:
            what = KINDS.get(header.kind, f"of unknown type {header.kind!r}")
            hint = LINKS_HINT if "link" in what else SPARSE_HINT if "sparse" in what else ""
            raise ArchiveRefused(f"{shown} is {what}", hint=hint)
        if header.kind == DIRECTORY and size:
            raise ArchiveRefused(f"directory {shown} has a size")
        left_out = is_left_behind(raw)
        if header.kind == DIRECTORY:
            if not left_out:
                self._tree.directory(self._names.claim(raw, directory=True))
            return
        if header.mode & SET_ID:
            raise ArchiveRefused(f"{shown} is setuid or setgid", hint="take it off with `chmod a-s`, and pack it anew")
        parts = () if left_out else self._names.claim(raw, directory=False)
        self._budget.spend(size)
        pieces = self._budget.watched(self._stream, size)
        came = sum(map(len, pieces)) if left_out else self._tree.file(parts, size, pieces)
        if came != size:
            raise ArchiveRefused(f"the tar archive ends inside {shown}")
        self._padding(size)

    def _extend(self, extension: Extension, header: Header) -> None:
        if header.size > EXTENSION_BYTES:
            raise ArchiveRefused(f"an extended tar header has more than {EXTENSION_BYTES} bytes")
        data = self._stream.take(header.size)
        if len(data) != header.size:
            raise ArchiveRefused("the tar archive ends inside an extended header")
        self._padding(header.size)
        if header.kind == GNU_LONG_NAME:
            extension.say("path", data.removesuffix(b"\0"))
            return
        for key, value in pax_records(data):
            if key.startswith(b"GNU.sparse"):
                raise ArchiveRefused("the archive has a sparse file", hint=SPARSE_HINT)
            if key == b"linkpath":
                raise ArchiveRefused("the archive has a link, in an extended header (linkpath)", hint=LINKS_HINT)
            if key in {b"path", b"size"}:
                if header.kind == PAX_GLOBAL:
                    raise ArchiveRefused(f"a global tar header sets {key!r} for every member")
                extension.say(key.decode(), value)

    def _padding(self, size: int) -> None:
        rest = -size % BLOCK
        if len(self._stream.take(rest)) != rest:
            raise ArchiveRefused("the tar archive ends inside a member")

    def _end(self, extension: Extension) -> None:
        if extension != Extension():
            raise ArchiveRefused("the tar archive ends with an extended header that has no member")
        for piece in self._stream.pieces(1 << 62):
            if bytes(piece).strip(b"\0"):
                raise ArchiveRefused("something follows the end of the tar archive")


def is_header(block: bytes) -> bool:
    """Whether a block is a tar header: its checksum fits, which chance does not bring about."""
    return len(block) == BLOCK and bool(block.strip(b"\0")) and _checksum_fits(block)


def read_header(block: bytes) -> Header:
    """The header in this block. Raises ArchiveRefused."""
    if len(block) < BLOCK:
        raise ArchiveRefused("the tar archive ends inside a header")
    if not _checksum_fits(block):
        raise ArchiveRefused("a tar header is damaged: its checksum does not fit")
    name = block[:100].partition(b"\0")[0]
    # Only POSIX ustar has a prefix; old GNU headers keep times there.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    if prefix:
        name = prefix + b"/" + name
    kind = REGULAR if block[156:157] == CONTIGUOUS else block[156:157]
    if kind == b"\0":
        kind = DIRECTORY if name.endswith(b"/") else REGULAR
    return Header(name, kind, number(block[124:136]), number(block[100:108]))


def number(field: bytes) -> int:
    """A numeric field: octal text, or base 256 where its first bit says so. Never negative. Raises ArchiveRefused."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value >= 1 << 63:
            raise ArchiveRefused("a tar header has a negative or absurd number")
        return value
    text = field.strip(b" \0")
    if not all(0x30 <= digit <= 0x37 for digit in text):
        raise ArchiveRefused("a tar header has a number that is not octal")
    return int(text or b"0", 8)


def _checksum_fits(block: bytes) -> bool:
    text = block[148:156].strip(b" \0")
    if not text or not all(0x30 <= digit <= 0x37 for digit in text):
        return False
    blanked = block[:148] + b" " * 8 + block[156:]
    signed = sum(blanked) - 256 * sum(byte > 127 for byte in blanked)  # some old tars summed signed bytes
    return int(text, 8) in {sum(blanked), signed}


def pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    r"""The records of a pax header, `<length> <key>=<value>\n` each. Raises ArchiveRefused. Linear in its length."""
    records, at = [], 0
    while at < len(data):
        digits, space, _ = data[at : at + 8].partition(b" ")
        length = int(digits) if digits.isdigit() and space else 0
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) + 1 or at + length > len(data) or not equals or not value.endswith(b"\n") or not key:
            raise ArchiveRefused("an extended tar header is damaged")
        records.append((key, value[:-1]))
        at += length
    return records
