"""Room on the store's disk: admission before the first byte, and disk errors in our words. May import errors.

In: sizes and statvfs.  Out: StorageExhausted naming bytes needed and free, or the reason of a failed write.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import ArtifactUnavailable, StorageExhausted

REASONS = {
    errno.ENOSPC: "no space or inodes left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EMFILE: "this process has too many open files",
    errno.ENFILE: "the machine has too many open files",
    errno.EFBIG: "the file system does not take a file that large",
}
INODES_NEEDED = 64


@dataclass(frozen=True, slots=True)
class Room:
    """The file system that the store is on.

    reserve_bytes: what stays free for logs and for what serves.  statvfs: os.statvfs, or a test's.
    """

    directory: Path
    reserve_bytes: int
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs

    def admit(self, size: int, *, have: int) -> None:
        """Raise StorageExhausted unless an artifact of `size` bytes fits: archive and files beside each other.

        have: bytes of it that are on the disk already.
        """
        state = self.statvfs(self.directory)
        needed, free = 2 * size - have + self.reserve_bytes, state.f_bavail * state.f_frsize
        if free < needed:
            raise StorageExhausted(
                f"{needed} bytes needed (2 × {size} of the artifact, less {have} here, plus {self.reserve_bytes} of "
                f"reserve), {free} free at {self.directory}"
            )
        if state.f_files and state.f_favail < INODES_NEEDED:  # some file systems count no inodes
            raise StorageExhausted(f"{INODES_NEEDED} inodes needed, {state.f_favail} free at {self.directory}")


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Translate every OSError of the store's own files: StorageExhausted, or ArtifactUnavailable for a failing disk."""
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0)
        if reason is not None:
            raise StorageExhausted(f"{reason} at {directory}: {error}") from error
        raise ArtifactUnavailable(
            f"the disk at {directory} failed: {error}", hint="check the disk (`dmesg`); it is tried again by itself"
        ) from error
