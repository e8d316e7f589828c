"""The rows of one commit in the making: numbers, hashes, idempotency. Imports history and errors.

In: events written here, entries of other logs, look-ups of what is stored.  Out: rows to a store, entries to callers.

The *row chain* covers every row in the order of this log. The *chain of a reader* covers the own events of one source
that have this reader, numbered without gaps; it travels with them, so that who copies them sees a gap or a fork.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import msgspec

from reconciler.errors import ChainBroken, ForkFound, GapFound, WrongExpectedVersion
from reconciler.history import codec
from reconciler.history.events import EMPTY, Entry, Event, Head, Origin
from reconciler.history.readers import name_of, reader_of


class Tip(NamedTuple):
    """Where a chain ends: its last position and the hash there, and the row that holds it (0: none does)."""

    position: int
    hash: bytes
    seq: int


NO_TIP: Final = Tip(*EMPTY, 0)


class EntryRow(NamedTuple):
    """One row. source: empty for the log's own events.

    chain: the reader of an own event, the source of a copied one; empty without a reader. tip: its end with this row.
    prior: the row before it there.
    """

    seq: int
    hash: bytes
    stream: str
    version: int
    source: str
    id: str
    chain: str
    tip: Tip
    prior: int
    recorded: str
    body: bytes


# As their classes make them, at a third of the price.
_tip, _row, _entry = partial(tuple.__new__, Tip), partial(tuple.__new__, EntryRow), partial(tuple.__new__, Entry)


class Tail(NamedTuple):
    """Where a log ends: in the row chain, in the number of its own events, and in recorded time."""

    head: Head
    own: int
    recorded: str


class Lookup(Protocol):
    """What stamping must know of what is stored."""

    def stored(self, source: str, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries of `source` that have one of these ids, by id."""
        ...

    def versions_of(self, streams: Collection[str]) -> dict[str, int]:
        """The last version of each of these streams; 0 where there is none."""
        ...

    def tip(self, chain: str) -> Tip:
        """Where a chain ends; NO_TIP where there is none of this name."""
        ...

    def hash_at(self, chain: str, position: int) -> bytes | None:
        """The hash at a position of a chain, where what holds it is here."""
        ...


class Batch:
    """The rows of one commit in the making; recorded: the time that they get. One that raised is thrown away."""

    def __init__(self, lookup: Lookup, source: str, tail: Tail, recorded: str) -> None:
        self.rows: list[EntryRow] = []
        self.entries: list[Entry] = []
        self.recorded = recorded
        self._lookup = lookup
        self._source = source
        (self._seq, self._hash), self._own_seq, _ = tail
        self._is_first = not self._own_seq  # of its source, so that its readers' chains begin
        self._ids: dict[str, dict[str, Entry]] = {}  # source -> id
        self._versions: dict[str, int] = {}
        self._tips: dict[str, Tip] = {}

    @property
    def tail(self) -> Tail:
        """Where the log ends once this is stored."""
        return Tail(Head(self._seq, self._hash), self._own_seq, self.recorded)

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

    def _tip(self, chain: str) -> Tip:
        if chain not in self._tips:
            begins = self._is_first and not chain.startswith("/")
            self._tips[chain] = NO_TIP if begins else self._lookup.tip(chain)
        return self._tips[chain]

    def _stamp(self, event: Event) -> Entry:
        """The hot path. The version of its stream was looked up with those of all others."""
        stream, prev = event.partitionkey, self._hash
        version = self._versions[stream] + 1
        own_seq = self._own_seq + 1
        stamped = msgspec.structs.replace(
            event,
            source=self._source,
            sequence=f"{own_seq:020d}",
            version=version,
            recordedtime=self.recorded,
        )
        body = codec.encode(stamped)
        hash_ = sha256(prev + body).digest()
        seq, tip, prior, reader = self._seq + 1, NO_TIP, 0, reader_of(self._source, stream)
        if reader:
            position, before, prior = self._tips.get(reader) or self._tip(reader)
            # An edge's chain is its row chain until something is copied, and so are the hashes.
            tip = _tip((position + 1, hash_ if before == prev else sha256(before + body).digest(), seq))
        self._own_seq = own_seq
        row = _row((seq, hash_, stream, version, "", event.id, reader, tip, prior, self.recorded, body))
        return self._add(row, stamped, None)

    def _is_held(self, origin: Origin) -> bool:
        if origin.source == self._source:
            raise ForkFound(f"{origin.source} is this log itself: its copy was written by somebody else")
        if origin.position > self._tip(origin.source).position:
            return False
        known = self._lookup.hash_at(origin.source, origin.position)
        if known is not None and known.hex() != origin.hash:
            raise ForkFound(f"{origin.source} has two different events {origin.position}")
        return True

    def _arrive(self, origin: Origin, body: bytes) -> Entry:
        event = self._check_arrival(origin, body)
        version, seq = self._version(event.partitionkey) + 1, self._seq + 1
        arrival = codec.Arrival(
            **msgspec.structs.asdict(origin),
            localsequence=seq,
            localversion=version,
            recordedtime=self.recorded,
        )
        wrapped = codec.wrap(body, arrival)
        tip = Tip(origin.position, bytes.fromhex(origin.hash), seq)
        place = (origin.source, tip, self._tip(origin.source).seq)
        hash_, stream = codec.chain(self._hash, wrapped), event.partitionkey
        row = EntryRow(seq, hash_, stream, version, origin.source, event.id, *place, self.recorded, wrapped)
        return self._add(row, event, origin)

    def _check_arrival(self, origin: Origin, body: bytes) -> Event:
        """The event in `body`. Raises GapFound, ChainBroken, ForkFound unless it follows what is held and is ours."""
        source, held = origin.source, self._tip(origin.source)
        if origin.position != held.position + 1:
            raise GapFound(f"{source}: event {held.position + 1} is missing before {origin.position}")
        if codec.chain(bytes.fromhex(origin.prev), body).hex() != origin.hash:
            raise ChainBroken(f"{source}: event {origin.position} does not have the hash it came with")
        if origin.prev != held.hash.hex():
            raise ForkFound(
                f"{source}: event {origin.position} follows another event {held.position} than the one held"
            )
        event, nested = codec.decode(body)
        if nested or event.source != source or not event.sequence.isdecimal():
            raise ChainBroken(f"{source}: event {origin.position} calls itself {event.source} {event.sequence}")
        try:
            reader, here = reader_of(source, event.partitionkey), name_of(self._source)
        except ValueError as error:
            raise ChainBroken(f"{source}: nobody knows who reads event {origin.position}: {error}") from error
        if reader != here:
            raise ChainBroken(f"{source}: event {origin.position} is for {reader or 'nobody'}, not for {here}")
        if event.id in self._ids.setdefault(source, {}) or self._lookup.stored(source, [event.id]):
            raise ForkFound(f"{source}: the id {event.id} of event {origin.position} is already taken")
        return event

    def _add(self, row: EntryRow, event: Event, origin: Origin | None) -> Entry:
        self._seq, self._hash = row.seq, row.hash
        if row.chain:
            self._tips[row.chain] = row.tip
        entry = _entry((row.seq, row.hash, event, origin))
        self.rows.append(row)
        self.entries.append(entry)
        self._ids[event.source][row.id] = entry
        self._versions[row.stream] = row.version
        return entry
