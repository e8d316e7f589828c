"""From verified bytes to a store entry. May import unpack, kind, receipt, engine.failpoints, pace, room.

In: a complete Partial and its digest.  Out: `<sha256>/`, which appears by one rename of a synced tree, or not at all.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from reconciler.artifacts.flush import sync_all
from reconciler.artifacts.kind import kind_of
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.pace import Watch
from reconciler.artifacts.partial import Partial
from reconciler.artifacts.receipt import File, make_receipt, read_receipt, write_receipt
from reconciler.artifacts.room import disk_errors
from reconciler.artifacts.tree import DIRECTORY
from reconciler.artifacts.unpack import unpack
from reconciler.artifacts.unpacker import FILES, UnpackJob
from reconciler.engine.failpoints import reached


@dataclass(frozen=True)
class Placing:
    """One artifact on its way into `directory`. file_name: for an artifact that is one plain file."""

    directory: Path
    file_name: str
    limits: UnpackLimits
    watch: Watch

    def run(self, partial: Partial, sha256: str) -> None:
        """Unpack beside the entry's place, then rename into it. Raises ArchiveRefused, StorageExhausted, Cancelled."""
        entry, temporary = self.directory / sha256, self.directory / f"{sha256}.tmp"
        if read_receipt(entry) is not None:  # another URL led here before
            return
        with disk_errors(self.directory):
            remove_entry(entry)
            shutil.rmtree(temporary, ignore_errors=True)
            try:
                temporary.mkdir(mode=0o755)
                fd = os.open(temporary, DIRECTORY)
                try:
                    self._fill(fd, partial, sha256)
                finally:
                    os.close(fd)
                reached("store.unpacked")
                temporary.rename(entry)
                reached("store.placed")
                sync_directory(self.directory)
                reached("store.kept")
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _fill(self, directory: int, partial: Partial, sha256: str) -> None:
        kind = kind_of(partial.fileno())
        self.watch.tell("unpacking", 0, partial.length)
        if kind != "file":
            unpack(partial.fileno(), UnpackJob(sha256, partial.length, kind, directory, self.limits), self.watch)
            return
        os.mkdir(FILES, 0o755, dir_fd=directory)
        # A second name instead of a second copy: until the entry is in place, the partial file stays what it is.
        os.link(partial.path, f"{FILES}/{self.file_name}", dst_dir_fd=directory)
        os.fchmod(partial.fileno(), 0o644)
        files = [File(self.file_name, partial.length, sha256)]
        write_receipt(make_receipt(sha256, partial.length, kind, files), directory)
        sync_all(directory)


def remove_entry(entry: Path) -> None:
    """Take an entry away: first its name, then its files. Idempotent. Raises OSError."""
    hidden = entry.with_name(f"{entry.name}.old.tmp")
    if entry.exists():
        shutil.rmtree(hidden, ignore_errors=True)
        entry.rename(hidden)
        sync_directory(entry.parent)
        reached("store.hidden")
    shutil.rmtree(hidden, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """The names in this directory are durable. Raises OSError."""
    fd = os.open(path, DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
