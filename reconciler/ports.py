"""Every interface between the product and the world, on one page. Imports history, planning, errors; no adapter.

`wiring` alone chooses what stands behind each. A port never lets a foreign exception through: what it raises is
a ReconcilerError. Unless a method says otherwise it blocks, may be called again after a failure, and is called from
one thread at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from reconciler.history.events import Entry, Event, Head, Origin


class Gate(Protocol):
    """A lock on which a thread waits for what others do (as `threading.Condition`)."""

    def __enter__(self) -> bool:
        """Take the lock."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Give it back."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back until somebody notifies, at most so many seconds, and take it again."""
        ...

    def notify_all(self) -> None:
        """End every wait."""
        ...


class Clock(Protocol):
    """The time, as an argument for everything that is pure."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC. May jump; order never depends on it."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back. For time-outs."""
        ...

    def gate(self) -> Gate:
        """A new gate, whose waits go by this clock."""
        ...


class Workers(Protocol):
    """A bounded number of threads, for what waits for the world."""

    def submit(self, work: Callable[[], None], /) -> object:
        """Have `work` done soon, beside the caller. It raises nothing."""
        ...


class Verification(NamedTuple):
    """What `EventLog.verify` read: how many entries, up to which head, in how many files, for how many readers."""

    entries: int
    head: Head
    segments: int
    readers: int


class EventLog(Protocol):
    """An append-only, hash-chained log with one writer. Thread-safe; reads see every append that has returned."""

    @property
    def source(self) -> str:
        """The CloudEvents source of events written here, `/hub/<id>` or `/edge/<name>/<id>`; anew only by `renew`."""
        ...

    def renew(self) -> None:
        """Begin a new epoch: a new source, whose chain begins at nothing; what was written before stays and is read.

        Raises HistoryError (somebody reads just now: nothing happened), LogWriteFailed.
        """
        ...

    def append(self, events: Sequence[Event], *, expected: Mapping[str, int] | None = None) -> list[Entry]:
        """The entries of `events`, durable (fsynced) when this returns; all or none.

        Concurrent calls share one commit (group commit). An event whose (source, id) is already here is not appended:
        its stored entry is returned in its place. expected: stream -> version it must have before this append.
        Raises WrongExpectedVersion (nothing appended), LogWriteFailed (the process must end).
        """
        ...

    def copy(self, entries: Sequence[tuple[Origin, bytes]]) -> list[Entry]:
        """Append entries of another log with their own bytes: (origin, stored body) in the source's order.

        Those already held are skipped. Raises GapFound (does not follow the last held of that source), ChainBroken
        (hash does not fit, or it has another reader) or ForkFound (same position, other hash): nothing is appended.
        """
        ...

    def raw(self, reader: str, after: int = 0) -> Iterator[tuple[Origin, bytes]]:
        """This log's *own* events for `reader` (see history.readers) behind position `after` of that chain, in the form
        that `copy` takes. Raises GapFound where a file that holds some is not here.
        """
        ...

    def held(self, source: str) -> Head:
        """The last entry held of another source: its position and hash in our chain there. `EMPTY` where none."""
        ...

    def read(self, after: int = 0, upto: int | None = None, *, stream: str = "") -> Iterator[Entry]:
        """Entries with after < seq <= upto in order, of one stream or of all, through sealed segments too."""
        ...

    def find(self, event_id: str) -> Entry | None:
        """The entry with this event id, whatever its source."""
        ...

    def seq_at(self, time: str) -> int:
        """The last seq recorded at or before `time` (RFC 3339 UTC); 0 where there is none. Logarithmic."""
        ...

    def head(self) -> Head:
        """The end of the log."""
        ...

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Keep source files by their Git blob id, durable with or before the next append. Those known are skipped."""
        ...

    def blob(self, oid: str) -> bytes | None:
        """A source file by its Git blob id."""
        ...

    def subscribe(self, listener: Callable[[list[Entry]], None]) -> None:
        """Call `listener` with each commit's new entries, in log order, under the writer's lock, before append ends."""
        ...

    def verify(self, progress: Callable[[int], None] | None = None) -> Verification:
        """Re-read every entry of every segment. Raises ChainBroken naming the first seq that does not fit."""
        ...

    def close(self) -> None:
        """End writing. Idempotent."""
        ...


class Link(Protocol):
    """Copies another log's events for us into ours. The record is the logs; a link keeps nothing of its own."""

    @property
    def source(self) -> str:
        """Under which source the other log is written now. Raises as `fetch` does."""
        ...

    def fetch(self) -> list[tuple[Origin, bytes]]:
        """The next events there that our log does not hold, in the form that `EventLog.copy` takes; empty: none.

        Some of them where they are many. Raises WorldUnavailable (not there yet), GapFound, ForkFound, ChainBroken.
        """
        ...

    def alive(self) -> bool:
        """Whether the other log has a writer right now."""
        ...


class Peers(Protocol):
    """The edges of a hub, as it reaches them."""

    def link(self, edge: str, /) -> Link:
        """The link to an edge's log."""
        ...

    def ring(self, edge: str, /) -> None:
        """Tell an edge that there are orders. Never waits, never raises."""
        ...

    def wanted(self, edges: Sequence[str], /) -> None:
        """Told which edges there should be."""
        ...


class Cancelled(Exception):
    """Work was given up because its caller no longer wants it. What was durable stays."""


class Artifact(NamedTuple):
    """Bytes to have: sha256 (64 lower-case hex; empty only where policy trusts the first use), from where, how many.

    anew: what was refused last is fetched whole once more, also where the server says that it has not changed.
    """

    sha256: str
    url: str
    size: int | None = None
    allow_loopback: bool = False
    allow_file: bool = False
    anew: bool = False


class Staged(NamedTuple):
    """An artifact in the store, verified and unpacked.

    sha256: of the archive as served.  path: the directory with its files.  tree: sha256 over the sorted
    (path, size, sha256) of its files.  size: bytes as served.  fetched: bytes that came over the network for it now.
    files: path within -> sha256, by the receipt.
    """

    sha256: str
    path: Path
    tree: str
    size: int
    fetched: int
    files: Mapping[str, str] = {}


class FetchProgress(Protocol):
    """Told by the store while it works; called from the store's own thread, at most ten times a second."""

    def __call__(self, stage: str, done: int, total: int | None, /) -> None:
        """stage: `downloading`, `resuming`, `verifying`, `unpacking`, `staged`. done and total in bytes."""
        ...


class ArtifactStore(Protocol):
    """Content-addressed bytes on one edge's disk. Durable steps are named in `engine.failpoints`."""

    def stage(self, artifact: Artifact, progress: FetchProgress, cancelled: Callable[[], bool]) -> Staged:
        """Have the artifact: at once where it is here, else fetch with resume, verify, unpack. May take hours.

        Thread-safe for different digests. `cancelled` is asked between chunks; when true, raises Cancelled and keeps
        the partial file. Raises ArtifactUnavailable, StorageExhausted (both retryable), DigestMismatch,
        ArchiveRefused, AddressRefused, ArtifactRefused.
        """
        ...

    def staged(self, sha256: str) -> Staged | None:
        """What is here under this digest, complete; `fetched` is 0. A directory without its receipt does not count."""
        ...

    def check(self, sha256: str) -> bool:
        """Whether the files on disk still have the hashes of the receipt. Reads all of them."""
        ...

    def held(self) -> dict[str, int]:
        """Every complete artifact here: sha256 -> bytes on disk."""
        ...

    def evict(self, sha256: str) -> None:
        """Remove an artifact and its partial file. Idempotent."""
        ...


class Answer(NamedTuple):
    """What a runtime itself says that it serves: from the bytes it loaded, never from what it was told to load.

    digest: sha256 of the model file's bytes as loaded; the tree hash of all files where its weights lie beside it.
    version: the label it answers with; empty when unloaded.  unproven: why nobody knows that it answers rightly.
    """

    model: str
    version: str
    digest: str
    ready: bool
    unproven: str = ""


class Runtime(Protocol):
    """One running server process for one service. Survives its agent."""

    def answer(self) -> Answer:
        """What it serves now, asked through its public endpoint. Raises RuntimeUnavailable."""
        ...

    def load(self, path: Path, version: str) -> Answer:
        """Load beside what serves, ask the new one its golden inputs; it serves nobody yet. Returns what was loaded.

        Raises PreflightRefused, ProbeFailed, RuntimeUnavailable.
        """
        ...

    def activate(self) -> Answer:
        """Switch to what was loaded, with no request lost; then probe again. What served is kept until `settle`."""
        ...

    def revert(self) -> Answer:
        """Switch back to what served before `activate`."""
        ...

    def settle(self) -> None:
        """Let go of what served before `activate`."""
        ...

    def stop(self) -> None:
        """End the process in an orderly way: answers in flight first."""
        ...
