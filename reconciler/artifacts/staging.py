"""One artifact from its URL to its place in the store. May import this room, engine.failpoints, ports, errors.

In: an Artifact and the path of its partial file.  Out: a store entry, or an error with nothing left that misleads.
Imported when something is fetched: http.client and ssl are not for an agent at rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.artifacts.address import file_name, shown
from reconciler.artifacts.decode import decode
from reconciler.artifacts.fetch import Answer, Download, wrong_size
from reconciler.artifacts.limits import FetchLimits, UnpackLimits
from reconciler.artifacts.pace import Watch
from reconciler.artifacts.partial import Partial
from reconciler.artifacts.place import Placing
from reconciler.artifacts.refusal import Refusal, keep, recall
from reconciler.artifacts.room import Room
from reconciler.engine.failpoints import reached
from reconciler.errors import ArchiveRefused, ArtifactRefused, DigestMismatch, StorageExhausted
from reconciler.ports import Artifact


@dataclass
class Staging:
    """Download, verify, unpack. received: bytes that came over the network."""

    artifact: Artifact
    room: Room
    fetch_limits: FetchLimits
    unpack_limits: UnpackLimits
    watch: Watch
    jitter: Callable[[], float]
    received: int = 0
    refused: Refusal | None = None
    answer: Answer = field(default_factory=Answer)

    def run(self, path: Path) -> str:
        """The sha256 under which the artifact now is in the store. See ArtifactStore.stage for the errors."""
        memory = path.with_suffix(".refused.json")
        if not self.artifact.anew:
            self.refused = recall(memory, shown(self.artifact.url), self._pinned)
        with Partial(path, self.watch) as partial:
            partial.recall()
            if self.artifact.size is not None:
                self.room.admit(self.artifact.size, have=partial.length)
            try:
                sha256 = self._download(partial)
                reached("store.verified")
                name = file_name(self.artifact.url)
                Placing(path.parent, name, self.unpack_limits, self.watch).run(partial, sha256)
            except (StorageExhausted, DigestMismatch, ArchiveRefused) as failure:
                partial.remove()  # no use to anyone; and what serves, and the log, need the room
                if isinstance(failure, DigestMismatch) and urlsplit(self.artifact.url).scheme != "file":
                    keep(memory, Refusal(shown(self.artifact.url), self._pinned, *self.answer, failure.message))
                raise
            partial.remove()
            memory.unlink(missing_ok=True)
            reached("store.cleared")
        return sha256

    @property
    def _pinned(self) -> str:
        return f"{self.artifact.sha256} {self.artifact.size}"

    def _download(self, partial: Partial) -> str:
        """The digest of the bytes, which is the pinned one.

        A mismatch after a resume is tried once more from nothing: the fault may be in what the disk kept.
        """
        inherited = partial.length > 0
        while True:
            limits, watch = self.fetch_limits, self.watch
            download = Download(self.artifact, partial, self.room, limits, watch, self.jitter, self.refused)
            try:
                download.run()
            finally:
                self.received += download.received
                self.answer = download.answer
            partial.settle()
            reached("store.downloaded")
            self.watch.tell("verifying", partial.length, partial.length)
            found = partial.digest()
            if download.encoded and found != self.artifact.sha256:
                found = self._decoded(partial)
            problem = self._mismatch(partial.length, found)
            if not problem:
                return found
            if not inherited:
                raise DigestMismatch(problem)
            inherited = False
            partial.restart()

    def _decoded(self, partial: Partial) -> str:
        """The digest after undoing a compression that nobody asked for."""
        if not self.artifact.sha256:
            raise ArtifactRefused(f"{shown(self.artifact.url)} compresses the body, so its own bytes cannot be told")
        decode(partial, self.artifact.size or self.fetch_limits.max_bytes)
        return partial.digest()

    def _mismatch(self, length: int, found: str) -> str:
        """What is not as Git pinned it; empty where all is."""
        whole = length if self.answer.length is None else self.answer.length  # reading ends at the declared size
        sha256, size = self.artifact.sha256 or found, self.artifact.size
        if size not in {None, whole} and (found, length) != (sha256, size):
            return wrong_size(self.artifact, whole)
        same = f", both have {length} bytes" if size is not None else f" (it has {length} bytes)"
        return "" if found == sha256 else f"{shown(self.artifact.url)} has sha256 {found}; pinned is {sha256}{same}"
