"""The digest of a directory: what an artifact is once it is unpacked. Standard library only."""

import hashlib
from collections.abc import Iterable


def tree_hash(files: Iterable[tuple[str, int, str]]) -> str:
    """sha256 over (path, size, sha256) of each file, in the order of their paths, each field ended by a NUL."""
    digest = hashlib.sha256()
    for path, size, sha256 in sorted(files):
        digest.update(f"{path}\0{size}\0{sha256}\0".encode())
    return digest.hexdigest()
