"""The log against pyeventsourcing's SQLite recorder: appends, replay, verification. Both durable, in turns.

The peer keeps its defaults (WAL, synchronous FULL). Both sides begin and end with the same Event objects, through the
same encoder and decoder; the peer has no hash chain, no unique id, no guards.
"""

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import codec
from reconciler.history.events import APPLY_SUCCEEDED, Event, event_id
from tests.bench import Figure
from tests.log_events import StillClock

PEER = "peer: pyeventsourcing"
STREAMS = 1000


def figures(small: bool) -> Iterator[Figure]:
    """Rows of the log's targets."""
    sizes = Sizes(singles=20, batches=2, replay=2_000, rounds=2) if small else Sizes()
    with tempfile.TemporaryDirectory() as directory:
        yield from _append_figures(Path(directory), sizes)
        yield from _reader_figures(Path(directory), sizes)
        yield from _replay_figures(Path(directory), sizes)


@dataclass(frozen=True)
class Sizes:
    """How many appends of one, batches of 100 and replayed events a round has."""

    singles: int = 300
    batches: int = 30
    replay: int = 200_000
    rounds: int = 7


@dataclass
class Rounds:
    """Rates of both sides, measured in turns so that a busy machine is busy for both."""

    ours: list[float] = field(default_factory=list)
    peers: list[float] = field(default_factory=list)

    def measure(self, number: int, ours: Callable[[], object], peers: Callable[[], object]) -> None:
        """One turn; `number` events each. Who goes first changes."""
        sides = [(self.ours, ours), (self.peers, peers)]
        for rates, work in sides if len(self.ours) % 2 else reversed(sides):
            start = time.perf_counter()
            work()
            rates.append(number / (time.perf_counter() - start))

    def figure(self, name: str, factor: float = 1.0) -> Figure:
        """Medians of both sides."""
        return Figure(name, median(self.ours), "per s", "higher", PEER, median(self.peers), factor)


def make_events(first: int, count: int) -> list[Event]:
    """Outcomes as the loop writes them, about 700 bytes stored."""
    return [_make_event(number) for number in range(first, first + count)]


def _make_event(number: int) -> Event:
    edge = f"berlin-{number % STREAMS:04d}"
    return Event(
        id=event_id("bench", number),
        type=APPLY_SUCCEEDED,
        partitionkey=f"deploy/{edge}/InferenceModel/default/facialexpression",
        time="2027-01-15T08:00:00.000000Z",
        subject=f"InferenceModel/default/facialexpression@{edge}",
        actor="reconciler",
        causationid=event_id("cause", number),
        operationid=event_id("operation", number),
        prevdigest="7d793037a0760186",
        newdigest="9f86d081884c7d65",
        data={"live": {"version": "4", "ready": True, "generation": 3}, "attempt": 1, "took": "0.25"},
    )


class Peer:
    """pyeventsourcing's recorder over a file of its own, with its defaults; events in our bytes, encoded as we do."""

    def __init__(self, path: Path) -> None:
        from eventsourcing.persistence import StoredEvent
        from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

        self._make: Callable[..., Any] = StoredEvent
        self._store = SQLiteDatastore(str(path))
        self._recorder = SQLiteApplicationRecorder(self._store)
        self._recorder.create_table()
        self._originators = [uuid.uuid5(uuid.NAMESPACE_OID, str(number)) for number in range(STREAMS)]

    def append(self, first: int, events: Sequence[Event]) -> None:
        """One durable append of the events numbered from `first`."""
        self._recorder.insert_events(
            [
                self._make(self._originators[number % STREAMS], number // STREAMS, event.type, codec.encode(event))
                for number, event in enumerate(events, start=first)
            ]
        )

    def replay(self, decode: Callable[[bytes], object]) -> int:
        """How many events were read, each decoded by the decoder that we use."""
        count = last = 0
        while page := self._recorder.select_notifications(start=last + 1, limit=1024):
            for notification in page:
                decode(notification.state)
            count, last = count + len(page), page[-1].id
        return count

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()


def _append_figures(directory: Path, sizes: Sizes) -> Iterator[Figure]:
    number = 0
    with (
        closing(SqliteLog(directory / "append.db", "/hub", StillClock())) as log,
        closing(Peer(directory / "append-peer.db")) as peer,
    ):
        for size, times, name in ((1, sizes.singles, "one by one"), (100, sizes.batches, "in batches of 100")):
            rounds = Rounds()
            for _ in range(sizes.rounds):
                work = Work(log, peer, number, [make_events(number + i * size, size) for i in range(times)])
                rounds.measure(size * times, work.ours, work.theirs)
                number += size * times
            if log.head().seq != number + 1:
                raise RuntimeError(f"{log.head().seq - 1} events are stored of {number}")
            yield rounds.figure(f"durable append {name}")


@dataclass
class Work:
    """Batches to append, for either side."""

    log: SqliteLog
    peer: Peer
    first: int
    batches: list[list[Event]]

    def ours(self) -> None:
        """With hash chain, unique id and guards."""
        for events in self.batches:
            self.log.append(events)

    def theirs(self) -> None:
        """Without; the bytes are as long as ours."""
        first = self.first
        for events in self.batches:
            self.peer.append(first, events)
            first += len(events)


def _reader_figures(directory: Path, sizes: Sizes) -> Iterator[Figure]:
    """A log that a thousand edges read beside one that nobody reads: the same events, for their streams."""
    number, rounds = 0, Rounds()
    with (
        closing(SqliteLog(directory / "read.db", "/hub", StillClock())) as read,
        closing(SqliteLog(directory / "unread.db", "/hub", StillClock())) as unread,
    ):
        for _ in range(sizes.rounds):
            some = [make_events(number + n * 100, 100) for n in range(sizes.batches)]
            others = [[_for_nobody(event) for event in events] for events in some]
            rounds.measure(
                100 * sizes.batches,
                lambda some=some: [read.append(events) for events in some],  # type: ignore[misc]  # this round's
                lambda others=others: [unread.append(events) for events in others],  # type: ignore[misc]  # as above
            )
            number += 100 * sizes.batches
        readers = read.verify().readers
    rate, limit = median(rounds.ours), median(rounds.peers)
    yield Figure(f"batches of 100, {readers} readers", rate, "per s", "higher", "the same with none", limit, 0.95)


def _for_nobody(event: Event) -> Event:
    return msgspec.structs.replace(event, partitionkey=event.partitionkey.replace("deploy/", "object/", 1))


def _replay_figures(directory: Path, sizes: Sizes) -> Iterator[Figure]:
    replay, verified, decode = Rounds(), list[float](), msgspec.json.Decoder(Event).decode
    counts: list[int] = []
    with (
        closing(SqliteLog(directory / "replay.db", "/hub", StillClock())) as log,
        closing(Peer(directory / "replay-peer.db")) as peer,
    ):
        for first in range(0, sizes.replay, 1000):
            peer.append(first, [entry.event for entry in log.append(make_events(first, 1000))])
        for _ in range(sizes.rounds):
            replay.measure(
                sizes.replay,
                lambda: counts.append(sum(1 for _ in log.read(1))),
                lambda: counts.append(peer.replay(decode)),
            )
            began = time.perf_counter()
            found = log.verify()
            verified.append(found.entries / (time.perf_counter() - began))
    if set(counts) != {sizes.replay}:
        raise RuntimeError(f"{counts} events were replayed of {sizes.replay}")
    yield replay.figure("replay, decoded", factor=2.0)
    yield Figure("verify the chain", median(verified), "per s", "higher", "absolute, 2 cores", 150_000)
