"""The rows of one commit in the making: numbers, hashes, idempotency. Imports history and errors.

In: events written here, entries of other logs, look-ups of what is stored.  Out: rows to a store, entries to callers.

A log holds two chains. The *row chain* covers every row in the order of this log. The *source chain* covers the own
events of one source, numbered without gaps; it travels with them, so whoever copies them can see a gap or a fork.
"""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

import msgspec

from reconciler.errors import ChainBroken, ForkFound, GapFound, WrongExpectedVersion
from reconciler.history import codec
from reconciler.history.events import Entry, Event, Head, Origin


class Row(NamedTuple):
    """One row. sequence and sourcehash: its place in the chain of its source.

    source: empty for the log's own events. own: how many of them there are up to and including this row.
    """

    seq: int
    hash: bytes
    stream: str
    version: int
    source: str
    id: str
    sequence: int
    sourcehash: bytes
    own: int
    recorded: str
    body: bytes


class Tail(NamedTuple):
    """Where a log ends: in the row chain, in its own source chain, and in recorded time."""

    head: Head
    own: Head
    recorded: str


class Lookup(Protocol):
    """What stamping must know of what is stored."""

    def stored(self, source: str, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries of `source` that have one of these ids, by id."""
        ...

    def versions_of(self, streams: Collection[str]) -> dict[str, int]:
        """The last version of each of these streams; 0 where there is none."""
        ...

    def held(self, source: str) -> Head:
        """The last entry held of `source`, in its own chain."""
        ...

    def source_hash(self, source: str, sequence: int) -> bytes | None:
        """The hash, in its own chain, of what is held of `source` under `sequence`."""
        ...


class Batch:
    """The rows of one commit in the making; recorded: the time that they get. One that raised is thrown away."""

    def __init__(self, lookup: Lookup, source: str, tail: Tail, recorded: str) -> None:
        self.rows: list[Row] = []
        self.entries: list[Entry] = []
        self.recorded = recorded
        self._lookup = lookup
        self._source = source
        (self._seq, self._hash), (self._own_seq, self._own_hash), _ = tail
        self._ids: dict[str, dict[str, Entry]] = {}  # source -> id
        self._versions: dict[str, int] = {}
        self._heads: dict[str, Head] = {}

    @property
    def tail(self) -> Tail:
        """Where the log ends once this is stored."""
        return Tail(Head(self._seq, self._hash), Head(self._own_seq, self._own_hash), self.recorded)

    def own(self, events: Sequence[Event], expected: Mapping[str, int]) -> list[Entry]:
        """Stamp events written here. One that is already stored, or twice in this commit, yields its first entry."""
        known = self._ids.setdefault(self._source, {})
        known |= self._lookup.stored(self._source, [event.id for event in events if event.id not in known])
        streams = {event.partitionkey for event in events} - self._versions.keys()
        if streams:  # all at once: one look-up each is dear where a thousand are new
            self._versions |= self._lookup.versions_of(streams)
        if expected and any(event.id not in known for event in events):
            self._expect(expected)
        return [known.get(event.id) or self._stamp(event) for event in events]

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
            self._versions |= self._lookup.versions_of((stream,))
        return self._versions[stream]

    def _held(self, source: str) -> Head:
        if source not in self._heads:
            self._heads[source] = self._lookup.held(source)
        return self._heads[source]

    def _stamp(self, event: Event) -> Entry:
        """The hot path. The version of its stream was looked up with those of all others."""
        stream, prev = event.partitionkey, self._hash
        version = self._versions[stream] + 1
        own_seq = self._own_seq = self._own_seq + 1
        stamped = msgspec.structs.replace(
            event,
            source=self._source,
            sequence=f"{own_seq:020d}",
            version=version,
            recordedtime=self.recorded,
        )
        body = codec.encode(stamped)
        hash_ = sha256(prev + body).digest()
        # As long as nothing was copied both chains are one, and so are their hashes.
        self._own_hash = hash_ if self._own_hash == prev else codec.chain(self._own_hash, body)
        row = Row(
            self._seq + 1,
            hash_,
            stream,
            version,
            "",
            event.id,
            own_seq,
            self._own_hash,
            own_seq,
            self.recorded,
            body,
        )
        return self._add(row, stamped, None)

    def _is_held(self, origin: Origin) -> bool:
        if origin.source == self._source:
            raise ForkFound(f"{origin.source} is this log itself: its copy was written by somebody else")
        held = self._held(origin.source)
        if origin.sequence > held.seq:
            return False
        known = self._lookup.source_hash(origin.source, origin.sequence)
        if known is not None and known.hex() != origin.hash:
            raise ForkFound(f"{origin.source} has two different events {origin.sequence}")
        return True

    def _arrive(self, origin: Origin, body: bytes) -> Entry:
        event = self._check_arrival(origin, body)
        version, at = self._version(event.partitionkey) + 1, Head(origin.sequence, bytes.fromhex(origin.hash))
        arrival = codec.Arrival(
            source=origin.source,
            sequence=origin.sequence,
            hash=origin.hash,
            prev=origin.prev,
            localsequence=self._seq + 1,
            localversion=version,
            recordedtime=self.recorded,
        )
        wrapped = codec.wrap(body, arrival)
        hash_ = codec.chain(self._hash, wrapped)
        self._heads[origin.source] = at
        row = Row(
            self._seq + 1,
            hash_,
            event.partitionkey,
            version,
            origin.source,
            event.id,
            *at,
            self._own_seq,
            self.recorded,
            wrapped,
        )
        return self._add(row, event, origin)

    def _check_arrival(self, origin: Origin, body: bytes) -> Event:
        """The event in `body`. Raises GapFound, ChainBroken, ForkFound unless it follows what is held of its source."""
        source, held = origin.source, self._held(origin.source)
        if origin.sequence != held.seq + 1:
            raise GapFound(f"{source}: event {held.seq + 1} is missing before {origin.sequence}")
        if codec.chain(bytes.fromhex(origin.prev), body).hex() != origin.hash:
            raise ChainBroken(f"{source}: event {origin.sequence} does not have the hash it came with")
        if origin.prev != held.hash.hex():
            raise ForkFound(f"{source}: event {origin.sequence} follows another event {held.seq} than the one held")
        event, nested = codec.decode(body)
        if nested or (event.source, event.sequence) != (source, f"{origin.sequence:020d}"):
            raise ChainBroken(f"{source}: event {origin.sequence} calls itself {event.source} {event.sequence}")
        if event.id in self._ids.setdefault(source, {}) or self._lookup.stored(source, [event.id]):
            raise ForkFound(f"{source}: the id {event.id} of event {origin.sequence} is already taken")
        return event

    def _add(self, row: Row, event: Event, origin: Origin | None) -> Entry:
        self._seq, self._hash = row.seq, row.hash
        entry = Entry(row.seq, row.hash, event, origin)
        self.rows.append(row)
        self.entries.append(entry)
        self._ids[event.source][row.id] = entry
        self._versions[row.stream] = row.version
        return entry
