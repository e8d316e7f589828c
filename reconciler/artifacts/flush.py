"""Getting bytes onto the disk early, and being sure of it at the end. Linux calls that Python lacks; ctypes only."""

import ctypes
import os

FLUSH_EVERY = 8 << 20
SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Flusher:
    """Begins the write-out of a growing file every few MiB, so that the sync at the end finds little left."""

    def __init__(self, fd: int, at: int = 0) -> None:
        self._fd, self._flushed = fd, at

    def grown(self, size: int) -> None:
        """Say how long the file is now. Does not wait, and tells no error: that is the sync's to do."""
        if size - self._flushed >= FLUSH_EVERY:
            _libc.sync_file_range(self._fd, self._flushed, size - self._flushed, SYNC_FILE_RANGE_WRITE)
            self._flushed = size


def sync_all(directory: int) -> None:
    """Everything on the file system of this directory is durable. Raises OSError. One call, however many files."""
    if _libc.syncfs(directory):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
