"""The rows of one commit in the making: numbers, hashes, idempotency. Imports history and errors.

In: events written here, entries of other logs, look-ups of what is stored.  Out: rows to a store, entries to callers.

A log holds two chains. The *row chain* covers every row in the order of this log. The *source chain* covers the own
events of one source, numbered without gaps; it travels with them, so whoever copies them can see a gap or a fork.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from reconciler.errors import ChainBroken, ForkFound, GapFound, WrongExpectedVersion
from reconciler.history import codec
from reconciler.history.events import Entry, Event, Head, Origin


class Row(NamedTuple):
    """One row, in the order of the table's columns. sequence and sourcehash: its place in the chain of its source."""

    seq: int
    hash: bytes
    stream: str
    version: int
    source: str
    id: str
    sequence: int
    sourcehash: bytes
    recorded: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a log ends: in the row chain, in its own source chain, and in recorded time."""

    head: Head
    own: Head
    recorded: str


class Lookup(Protocol):
    """What stamping must know of what is stored."""

    def stored(self, source: str, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries of `source` that have one of these ids, by id."""
        ...

    def version_of(self, stream: str) -> int:
        """The last version of `stream`; 0 where there is none."""
        ...

    def held(self, source: str) -> Head:
        """The last entry held of `source`, in its own chain."""
        ...

    def source_hash(self, source: str, sequence: int) -> bytes | None:
        """The hash, in its own chain, of what is held of `source` under `sequence`."""
        ...


@dataclass
class Batch:
    """The rows of one commit in the making."""

    lookup: Lookup
    source: str
    tail: Tail
    recorded: str
    rows: list[Row] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    _ids: dict[tuple[str, str], Entry] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)
    _heads: dict[str, Head] = field(default_factory=dict)

    def own(self, events: Sequence[Event], expected: Mapping[str, int]) -> list[Entry]:
        """Stamp events written here. One that is already stored, or twice in this commit, yields its first entry."""
        stored = self.lookup.stored(self.source, [event.id for event in events])
        known = {**stored, **{id_: entry for (source, id_), entry in self._ids.items() if source == self.source}}
        if any(event.id not in known for event in events):
            self._expect(expected)
        result = []
        for event in events:
            entry = known.get(event.id)
            if entry is None:
                entry = known[event.id] = self._stamp(event)
            result.append(entry)
        return result

    def copied(self, entries: Sequence[tuple[Origin, bytes]]) -> list[Entry]:
        """Stamp entries of other logs; those already held are skipped."""
        return [self._arrive(origin, body) for origin, body in entries if not self._is_held(origin)]

    def _expect(self, expected: Mapping[str, int]) -> None:
        for stream, version in expected.items():
            actual = self._version(stream)
            if actual != version:
                raise WrongExpectedVersion(f"stream {stream} has version {actual}, not {version}")

    def _version(self, stream: str) -> int:
        if stream not in self._versions:
            self._versions[stream] = self.lookup.version_of(stream)
        return self._versions[stream]

    def _held(self, source: str) -> Head:
        if source not in self._heads:
            self._heads[source] = self.lookup.held(source)
        return self._heads[source]

    def _stamp(self, event: Event) -> Entry:
        version, own = self._version(event.partitionkey) + 1, self.tail.own
        stamped = msgspec.structs.replace(
            event,
            source=self.source,
            sequence=f"{own.seq + 1:020d}",
            version=version,
            recordedtime=self.recorded,
        )
        body = codec.encode(stamped)
        at = Head(own.seq + 1, codec.chain(own.hash, body))
        return self._add(stamped, None, body, at)

    def _is_held(self, origin: Origin) -> bool:
        if origin.source == self.source:
            raise ForkFound(f"{origin.source} is this log itself: its copy was written by somebody else")
        held = self._held(origin.source)
        if origin.sequence > held.seq:
            return False
        known = self.lookup.source_hash(origin.source, origin.sequence)
        if known is not None and known.hex() != origin.hash:
            raise ForkFound(f"{origin.source} has two different events {origin.sequence}")
        return True

    def _arrive(self, origin: Origin, body: bytes) -> Entry:
        source, held = origin.source, self._held(origin.source)
        if origin.sequence != held.seq + 1:
            raise GapFound(f"{source}: event {held.seq + 1} is missing before {origin.sequence}")
        if codec.chain(bytes.fromhex(origin.prev), body).hex() != origin.hash:
            raise ChainBroken(f"{source}: event {origin.sequence} does not have the hash it came with")
        if origin.prev != held.hash.hex():
            raise ForkFound(f"{source}: event {origin.sequence} follows another event {held.seq} than the one held")
        event, nested = codec.decode(body)
        if nested or (event.source, int(event.sequence or 0)) != (source, origin.sequence):
            raise ChainBroken(f"{source}: event {origin.sequence} calls itself {event.source} {event.sequence}")
        if (source, event.id) in self._ids or self.lookup.stored(source, [event.id]):
            raise ForkFound(f"{source}: the id {event.id} of event {origin.sequence} is already taken")
        arrival = codec.Arrival(
            source=source,
            sequence=origin.sequence,
            hash=origin.hash,
            prev=origin.prev,
            localsequence=self.tail.head.seq + 1,
            localversion=self._version(event.partitionkey) + 1,
            recordedtime=self.recorded,
        )
        return self._add(event, origin, codec.wrap(body, arrival), Head(origin.sequence, bytes.fromhex(origin.hash)))

    def _add(self, event: Event, origin: Origin | None, body: bytes, at: Head) -> Entry:
        """at: its place in the chain of its source."""
        before = self.tail.head
        head = Head(before.seq + 1, codec.chain(before.hash, body))
        stream, version = event.partitionkey, self._version(event.partitionkey) + 1
        entry = Entry(head.seq, head.hash, event, origin)
        self.rows.append(Row(*head, stream, version, event.source, event.id, *at, self.recorded, body))
        self.entries.append(entry)
        self._ids[event.source, event.id] = entry
        self._versions[stream] = version
        if origin is not None:
            self._heads[event.source] = at
        self.tail = Tail(head, self.tail.own if origin else at, self.recorded)
        return entry
