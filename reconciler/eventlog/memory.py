"""The log in memory: for unit tests and dry runs. Imports the ledger only.

In: events.  Out: entries. Nothing is durable; everything else is as in the SQLite log, and the contract suite says so.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from reconciler.errors import ChainBroken, GapFound
from reconciler.eventlog.batch import NO_TIP, Batch, EntryRow, Lookup, Tail, Tip
from reconciler.eventlog.ledger import Ledger, genesis, new_log_id
from reconciler.history import codec
from reconciler.history.events import EMPTY, Entry, Head, Origin, rfc3339
from reconciler.ports import Clock, Verification


class MemoryLog(Ledger):
    """`ports.EventLog` over a list. name: `/hub` or `/edge/<name>`.  blobs: of a log that this one goes on from."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        log_id: str = "",
        new_id: Callable[[], str] = new_log_id,
        blobs: Callable[[str], bytes | None] = lambda _: None,
    ) -> None:
        self._behind = blobs
        self._new_id = new_id
        log_id = log_id or new_id()
        super().__init__(f"{name}/{log_id}", clock, Tail(EMPTY, 0, ""))
        self._rows: list[EntryRow] = []
        self._by_id: dict[str, dict[str, int]] = defaultdict(dict)
        self._by_stream: dict[str, list[int]] = defaultdict(list)
        self._by_chain: dict[str, list[int]] = defaultdict(list)
        self._blobs: dict[str, bytes] = {}
        self.append([genesis(log_id, self._source, rfc3339(clock.now()))])

    def raw(self, reader: str, after: int = 0) -> Iterator[tuple[Origin, bytes]]:
        """See `ports.EventLog`."""
        prev = self.hash_at(reader, after) if after else EMPTY.hash
        if prev is None:
            raise GapFound(f"{self._source}: event {after} is not here")
        for row in [self._rows[seq - 1] for seq in self._by_chain.get(reader, [])[after:]]:
            yield (
                Origin(source=self._source, position=row.tip.position, hash=row.tip.hash.hex(), prev=prev.hex()),
                row.body,
            )
            prev = row.tip.hash

    def held(self, source: str) -> Head:
        """See `ports.EventLog`."""
        return Head(*self.tip(source)[:2])

    def read(self, after: int = 0, upto: int | None = None, *, stream: str = "") -> Iterator[Entry]:
        """See `ports.EventLog`."""
        end = len(self._rows) if upto is None else min(upto, len(self._rows))
        for seq in list(self._by_stream.get(stream, ())) if stream else range(after + 1, end + 1):
            if after < seq <= end:
                yield self._entry(seq)

    def find(self, event_id: str) -> Entry | None:
        """See `ports.EventLog`."""
        seqs = sorted(self._by_id.get(event_id, {}).values())
        return self._entry(seqs[0]) if seqs else None

    def seq_at(self, time: str) -> int:
        """See `ports.EventLog`."""
        return bisect_right(self._rows, time, key=lambda row: row.recorded)

    def head(self) -> Head:
        """See `ports.EventLog`."""
        return self._tail.head

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """See `ports.EventLog`."""
        for oid, content in blobs.items():
            codec.check_blob(oid, content)
        self._blobs.update(blobs)

    def blob(self, oid: str) -> bytes | None:
        """See `ports.EventLog`."""
        found = self._blobs.get(oid)
        return self._behind(oid) if found is None else found

    def verify(self, progress: Callable[[int], None] | None = None) -> Verification:
        """See `ports.EventLog`."""
        prev = EMPTY.hash
        for row in self._rows:
            prev = codec.chain(prev, row.body)
            if prev != row.hash:
                raise ChainBroken(f"entry {row.seq} does not fit the chain")
        if progress is not None:
            progress(len(self._rows))
        return Verification(len(self._rows), self.head(), 1, sum(not name.startswith("/") for name in self._by_chain))

    def close(self) -> None:
        """See `ports.EventLog`."""

    def _begin(self, batch: Batch, source: str) -> None:  # noqa: ARG002  # rows name none while it is the log's own
        for reader in [name for name in self._by_chain if not name.startswith("/")]:
            del self._by_chain[reader]
        for places in self._by_id.values():
            if "" in places:
                places[self._source] = places.pop("")
        self._store(batch.rows)

    def _store(self, rows: list[EntryRow]) -> None:
        for row in rows:
            self._rows.append(row)
            self._by_id[row.id][row.source] = row.seq
            self._by_stream[row.stream].append(row.seq)
            if row.chain:
                self._by_chain[row.chain].append(row.seq)

    def _key(self, source: str) -> str:
        return "" if source == self._source else source

    def _entry(self, seq: int) -> Entry:
        row = self._rows[seq - 1]
        return Entry(seq, row.hash, *codec.decode(row.body))

    def _lookup(self) -> Lookup:
        return self

    def stored(self, source: str, ids: Sequence[str]) -> dict[str, Entry]:
        key = self._key(source)
        return {id_: self._entry(self._by_id[id_][key]) for id_ in ids if key in self._by_id.get(id_, {})}

    def versions_of(self, streams: Collection[str]) -> dict[str, int]:
        return {stream: len(self._by_stream.get(stream, ())) for stream in streams}

    def tip(self, chain: str) -> Tip:
        seqs = self._by_chain.get(chain)
        return self._rows[seqs[-1] - 1].tip if seqs else NO_TIP

    def hash_at(self, chain: str, position: int) -> bytes | None:
        seqs = self._by_chain.get(chain, [])
        return self._rows[seqs[position - 1] - 1].tip.hash if 0 < position <= len(seqs) else None
