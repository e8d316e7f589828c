"""Judges what zipfile reads of a zip, and unpacks it. Standard library only.

In: a descriptor.  Out: a Tree. All entries are judged before the first byte is written; every byte belongs to one entry
only. Source: PKWARE APPNOTE 6.3.9, sections 4.3 and 4.4; Unix modes in the external attributes as Info-ZIP writes.
"""

import contextlib
import errno
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from reconciler.artifacts.budget import Budget
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.names import Names, Parts, is_left_behind
from reconciler.artifacts.stream import PIECE
from reconciler.artifacts.tree import Tree
from reconciler.errors import ArchiveRefused

END = struct.Struct("<4s4H2LH")
LOCAL = struct.Struct("<4s5H3L2H")
ENCRYPTED = 0x1 | 0x40 | 0x2000
UTF8 = 0x800
WINDOWS = frozenset({0, 10, 11, 14})  # systems on which an entry was packed (MS-DOS, NTFS, ...): `\` divides names
SET_ID = 0o6000
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)


def extract_zip(fd: int, tree: Tree, limits: UnpackLimits, budget: Budget) -> None:
    """Unpack a whole zip file. Raises ArchiveRefused, OSError."""
    with io.FileIO(fd, closefd=False) as file:
        with _damage("the zip"):
            archive = zipfile.ZipFile(file)
        for entry, parts, is_directory in _judged(fd, archive, limits, budget):
            if is_directory:
                tree.directory(parts)
            elif tree.file(parts, entry.file_size, _content(archive, entry, budget)) != entry.file_size:
                raise ArchiveRefused(f"entry {_shown(entry)} is shorter than it says")


def _judged(
    fd: int, archive: zipfile.ZipFile, limits: UnpackLimits, budget: Budget
) -> list[tuple[zipfile.ZipInfo, Parts, bool]]:
    """The entries to unpack, where to, and which are directories. Raises ArchiveRefused for one that may not be."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    if not entries:
        raise ArchiveRefused("the archive has no members")
    if os.pread(fd, 4, os.fstat(fd).st_size - END.size - len(archive.comment)) != b"PK\5\6":
        raise ArchiveRefused("something follows the end of the zip")
    names, free_from, wanted = Names(limits), 0, []
    for entry in entries:
        names.count()
        raw = _name(entry)
        is_directory = raw.endswith(b"/")
        _judge(entry, is_directory=is_directory)
        end = _body(fd, entry) + entry.compress_size
        if entry.header_offset < free_from or end > archive.start_dir:
            raise ArchiveRefused(f"entry {_shown(entry)} overlaps another")
        free_from = end
        if not is_left_behind(raw):
            budget.spend(entry.file_size)
            wanted.append((entry, names.claim(raw, directory=is_directory), is_directory))
    if any(parts[-1:] == ("data.pkl",) for _, parts, _ in wanted):
        raise ArchiveRefused(
            "the archive holds a Python pickle (data.pkl), which can run code when loaded",
            hint="export the model as ONNX or safetensors",
        )
    return wanted


def _name(entry: zipfile.ZipInfo) -> bytes:
    """The entry's name in UTF-8, which most programs write also where they do not say so; else it is code page 437."""
    raw = entry.orig_filename.encode()
    if not entry.flag_bits & UTF8:
        written = entry.orig_filename.encode("cp437")
        with contextlib.suppress(UnicodeDecodeError):
            written.decode()
            raw = written
    return raw.replace(b"\\", b"/") if entry.create_system in WINDOWS else raw


def _judge(entry: zipfile.ZipInfo, *, is_directory: bool) -> None:
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFDIR if is_directory else stat.S_IFREG}:
        raise ArchiveRefused(
            f"entry {_shown(entry)} is a link, a device or something else that is no file",
            hint="pack what links lead to: `zip -r` follows them, without `-y`",
        )
    if mode & SET_ID and not is_directory:
        raise ArchiveRefused(f"entry {_shown(entry)} is setuid or setgid")
    if entry.flag_bits & ENCRYPTED:
        raise ArchiveRefused(f"entry {_shown(entry)} is encrypted", hint="pack it without a password")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ArchiveRefused(
            f"entry {_shown(entry)} is compressed by method {entry.compress_type}, which is not read here",
            hint="pack it anew with ordinary deflate, or as tar.gz",
        )
    if is_directory and entry.file_size:
        raise ArchiveRefused(f"entry {_shown(entry)} has a size that cannot be")


def _body(fd: int, entry: zipfile.ZipInfo) -> int:
    """Where the entry's bytes begin. Raises ArchiveRefused."""
    head = os.pread(fd, LOCAL.size, entry.header_offset) if 0 <= entry.header_offset < 1 << 62 else b""
    if len(head) < LOCAL.size or head[:4] != b"PK\3\4":
        raise ArchiveRefused(f"entry {_shown(entry)} has no local header")
    *_, name_size, extra_size = LOCAL.unpack(head)
    return entry.header_offset + LOCAL.size + int(name_size) + int(extra_size)


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> Iterator[memoryview]:
    """The entry's bytes, as many as announced. Raises ArchiveRefused for damage."""
    with _damage(f"entry {_shown(entry)}"), archive.open(entry) as member:
        while piece := member.read(PIECE):
            budget.tell(entry.header_offset)
            yield memoryview(piece)


@contextlib.contextmanager
def _damage(what: str) -> Iterator[None]:
    """What zipfile raises for bytes that are no zip, in its own words. A disk's errors pass."""
    try:
        yield
    except DAMAGE as error:
        raise ArchiveRefused(f"{what} is damaged: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the file's beginning
            raise
        raise ArchiveRefused(f"{what} is damaged: it leads out of the file") from error


def _shown(entry: zipfile.ZipInfo) -> str:
    return repr(entry.orig_filename[:80])
