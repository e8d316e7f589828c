"""A content-addressed store of artifacts in one directory. May import this room, engine.failpoints, ports, errors.

    <sha256>/files/...         what is served; <sha256>/receipt.json says what it is
    <sha256>.tmp/              being unpacked, or being removed; swept at the start
    <sha256>.partial[.json]    being downloaded; named by the URL's hash where no digest is known yet
    <sha256>.refused.json      what came in its place last, so that it is not fetched again unchanged

In: an Artifact.  Out: a Staged. An entry exists when its directory has its final name, which is one rename of a
synced tree. One directory has one Store at a time, in one process.
"""

import hashlib
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.artifacts import receipt as receipts
from reconciler.artifacts.limits import MIB, FetchLimits, UnpackLimits
from reconciler.artifacts.pace import SLICE_S, Watch
from reconciler.artifacts.partial import remove_partial
from reconciler.artifacts.room import Room, disk_errors
from reconciler.errors import ArtifactRefused, DigestMismatch
from reconciler.ports import Artifact, Clock, FetchProgress, Staged

SHA256 = re.compile(r"[0-9a-f]{64}")


class Store:
    """The ArtifactStore of one directory; the port says what each method promises."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        reserve_bytes: int = 64 * MIB,
        fetch_limits: FetchLimits | None = None,
        unpack_limits: UnpackLimits | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        """Open the store, made where missing, and sweep what a crash left half done. Raises StorageExhausted."""
        self._directory = directory
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._fetch_limits = fetch_limits or FetchLimits()
        self._unpack_limits = unpack_limits or UnpackLimits(reserve_bytes=reserve_bytes)
        self._room = Room(directory, reserve_bytes, statvfs)
        self._turns: dict[str, threading.Lock] = {}
        self._turns_lock = threading.Lock()
        self._make()
        with disk_errors(directory):
            for left in directory.glob("*.tmp"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _make(self) -> None:
        """Make the directory where there is none: at the start, or because somebody removed it."""
        with disk_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)

    def stage(self, artifact: Artifact, progress: FetchProgress, cancelled: Callable[[], bool]) -> Staged:
        """Have the artifact, verified and unpacked: at once where it is here. The port lists the errors."""
        artifact = artifact._replace(sha256=artifact.sha256.lower())
        if artifact.sha256:
            must_be_sha256(artifact.sha256)
        watch = Watch(self._clock, progress, cancelled, self._sleep)
        key = artifact.sha256 or "url-" + hashlib.sha256(artifact.url.encode()).hexdigest()
        with self._turn(key, watch):
            staged = self.staged(artifact.sha256)
            if staged is not None and artifact.size not in {None, staged.size}:
                raise DigestMismatch(
                    f"sha256 {artifact.sha256[:12]} has {staged.size} bytes, and {artifact.size} are declared: "
                    "correct its `size`"
                )
            staged = staged or self._fetch(artifact, self._directory / f"{key}.partial", watch)
        watch.tell("staged", staged.size, staged.size)
        return staged

    def staged(self, sha256: str) -> Staged | None:
        """What is here under this digest, complete."""
        receipt = self._receipt(sha256)
        if receipt is None:
            return None
        files = {file.path: file.sha256 for file in receipt.files}
        return Staged(sha256, self._directory / sha256 / "files", receipt.tree, receipt.size, 0, files)

    def check(self, sha256: str) -> bool:
        """Whether the files on disk still have the hashes of the receipt."""
        receipt = self._receipt(sha256)
        if receipt is None:
            return False
        try:
            directory = os.open(self._directory / sha256 / "files", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return receipts.verify_tree(directory, receipt)
        finally:
            os.close(directory)

    def held(self) -> dict[str, int]:
        """Every complete artifact here: sha256 -> bytes on disk."""
        self._make()
        with disk_errors(self._directory):
            names = sorted(entry.name for entry in self._directory.iterdir())
        found = {name: self._receipt(name) for name in names}
        return {name: receipt.bytes_on_disk for name, receipt in found.items() if receipt is not None}

    def evict(self, sha256: str) -> None:
        """Remove an artifact and its partial file. Nobody sees it half removed."""
        from reconciler.artifacts.place import remove_entry

        must_be_sha256(sha256)
        remove_partial(self._directory / f"{sha256}.partial")
        (self._directory / f"{sha256}.refused.json").unlink(missing_ok=True)
        with disk_errors(self._directory):
            remove_entry(self._directory / sha256)

    def _receipt(self, sha256: str) -> receipts.Receipt | None:
        return receipts.read_receipt(self._directory / sha256) if SHA256.fullmatch(sha256) else None

    @contextmanager
    def _turn(self, key: str, watch: Watch) -> Iterator[None]:
        """One thread a key; the others wait, and then find it here."""
        with self._turns_lock:
            lock = self._turns.setdefault(key, threading.Lock())
        while not lock.acquire(timeout=SLICE_S):
            watch.check()
        try:
            yield
        finally:
            lock.release()

    def _fetch(self, artifact: Artifact, partial: Path, watch: Watch) -> Staged:
        from reconciler.artifacts.staging import Staging

        self._make()
        staging = Staging(artifact, self._room, self._fetch_limits, self._unpack_limits, watch, self._jitter)
        staged = self.staged(staging.run(partial))
        assert staged is not None
        return staged._replace(fetched=staging.received)


def must_be_sha256(text: str) -> None:
    """Raise ArtifactRefused unless this is a sha256 in lower-case hex, and so no path."""
    if not SHA256.fullmatch(text):
        raise ArtifactRefused(f"{text!r} is not a sha256: 64 hexadecimal digits")
