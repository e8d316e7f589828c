"""What a file is, by its first bytes; never by its name or Content-Type. Standard library and errors only."""

import os
from typing import Final, Literal

from reconciler.artifacts.extract_tar import BLOCK, is_header
from reconciler.artifacts.stream import MAGIC, Inflated
from reconciler.errors import ArchiveRefused

Kind = Literal["tar", "tar.gz", "tar.xz", "tar.bz2", "zip", "file"]

CODINGS: Final[dict[str, Kind]] = {"gzip": "tar.gz", "xz": "tar.xz", "bzip2": "tar.bz2"}  # as stream names them
UNREADABLE: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}


def kind_of(fd: int) -> Kind:
    """Archive or plain file, which what is compressed and no tar is too. Raises ArchiveRefused for a pickle, and for
    what may be an archive and cannot be looked into here.
    """
    head = os.pread(fd, BLOCK, 0)
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return "zip"
    for coding, kind in CODINGS.items():
        if head.startswith(MAGIC[coding]):
            return kind if is_header(first_block(fd, coding)) else "file"
    if is_header(head[:BLOCK]):
        return "tar"
    for magic, name in UNREADABLE.items():
        if head.startswith(magic):
            raise ArchiveRefused(f"it is packed by {name}; tar, tar.gz, tar.xz, tar.bz2 and zip are read")
    if is_pickle(head):
        raise ArchiveRefused("the file is a Python pickle, which can run code when loaded", hint=PICKLE_HINT)
    return "file"


PICKLE_HINT = "export the model as ONNX or safetensors"


def is_pickle(head: bytes) -> bool:
    """Whether bytes begin like a pickle of protocol 2 to 5.

    A safetensors file of the wrong header length begins alike, but with a zero third byte, which no pickle has.
    """
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] != 0


def first_block(fd: int, coding: str) -> bytes:
    """The first 512 bytes inside a compressed file; fewer where it is damaged, or this Python cannot read it."""
    try:
        return Inflated(fd, coding, BLOCK).take(BLOCK)
    except ArchiveRefused:
        return b""
