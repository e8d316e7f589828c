"""What a file is, by its first bytes; never by its name or Content-Type. Standard library and errors only."""

import os
from typing import Literal

from reconciler.artifacts.extract_tar import BLOCK, is_header
from reconciler.artifacts.stream import Inflated
from reconciler.errors import ArchiveRefused

Kind = Literal["tar", "tar.gz", "zip", "file"]

UNREADABLE = {
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}


def kind_of(fd: int) -> Kind:
    """Archive or plain file. Raises ArchiveRefused for a compression that is not read here, and for a pickle."""
    head = os.pread(fd, BLOCK, 0)
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return "zip"
    if head[:3] == b"\x1f\x8b\x08":
        return "tar.gz" if is_header(first_block(fd)) else "file"
    if is_header(head[:BLOCK]):
        return "tar"
    for magic, name in UNREADABLE.items():
        if head.startswith(magic):
            raise ArchiveRefused(f"the archive is {name}; tar, tar.gz and zip are read")
    if is_pickle(head):
        raise ArchiveRefused("the file is a Python pickle, which can run code when loaded", hint=PICKLE_HINT)
    return "file"


PICKLE_HINT = "export the model as ONNX or safetensors"


def is_pickle(head: bytes) -> bool:
    """Whether bytes begin like a pickle of protocol 2 to 5.

    A safetensors file of the wrong header length begins alike, but with a zero third byte, which no pickle has.
    """
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] != 0


def first_block(fd: int) -> bytes:
    """The first 512 bytes inside a gzip file; fewer where it is damaged."""
    try:
        return Inflated(fd, BLOCK).take(BLOCK)
    except ArchiveRefused:
        return b""
