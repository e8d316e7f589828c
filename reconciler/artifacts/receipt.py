"""What is in one store entry, written when it is complete; and whether it still is. Standard library, tree_hash.

In: the files that were written, with their hashes.  Out: `receipt.json` beside them, read back at every question.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from reconciler.tree_hash import tree_hash

NAME = "receipt.json"
READ = 1 << 18


class File(NamedTuple):
    """One file of an artifact: its path below the directory, its bytes, their sha256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """An artifact as it was unpacked. sha256, size: of the archive as served.  tree: over its sorted files."""

    sha256: str
    size: int
    kind: str
    tree: str
    files: tuple[File, ...]

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def make_receipt(sha256: str, size: int, kind: str, files: Iterable[File]) -> Receipt:
    """The receipt of these files, sorted."""
    ordered = tuple(sorted(files))
    return Receipt(sha256, size, kind, tree_hash(ordered), ordered)


def write_receipt(receipt: Receipt, directory: int) -> None:
    """Write it into the entry open at `directory`. The caller syncs."""
    fd = os.open(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=directory)
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123  # a descriptor has no path
        json.dump(asdict(receipt), file)


def read_receipt(entry: Path) -> Receipt | None:
    """The receipt of a store entry; None where there is none, or it does not fit itself and the entry's name."""
    try:
        fields = json.loads((entry / NAME).read_bytes())
        files = tuple(File(str(path), int(size), str(sha256)) for path, size, sha256 in fields["files"])
        receipt = Receipt(str(fields["sha256"]), int(fields["size"]), str(fields["kind"]), str(fields["tree"]), files)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return receipt if (receipt.sha256, receipt.tree) == (entry.name, tree_hash(files)) else None


def verify_tree(directory: int, receipt: Receipt) -> bool:
    """Whether exactly the receipt's files, byte for byte, are below the directory open at this descriptor.

    Bound to the descriptor: what a path leads to meanwhile does not matter. Links are never followed.
    """
    try:
        return tuple(sorted(_files(directory, ""))) == receipt.files
    except (OSError, UnicodeError):
        return False


def _files(directory: int, prefix: str) -> Iterator[File]:
    for name in os.listdir(directory):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(name, flags, dir_fd=directory)
        try:
            state = os.fstat(fd)
            if stat.S_ISDIR(state.st_mode):
                yield from _files(fd, f"{prefix}{name}/")
            elif stat.S_ISREG(state.st_mode):
                yield File(prefix + name, state.st_size, _sha256(fd))
            else:
                raise OSError(f"{prefix}{name} is neither file nor directory")
        finally:
            os.close(fd)


def _sha256(fd: int) -> str:
    digest, at = hashlib.sha256(), 0
    while chunk := os.pread(fd, READ, at):
        digest.update(chunk)
        at += len(chunk)
    return digest.hexdigest()
