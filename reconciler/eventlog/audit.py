"""Reading a whole log again to see whether it can be trusted. Imports volume, codec.

In: the files of a log.  Out: a Verification, or ChainBroken naming the first entry that does not fit.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from reconciler.errors import ChainBroken
from reconciler.eventlog import schema, segments
from reconciler.eventlog.columns import OWN, id_text
from reconciler.eventlog.volume import Volume
from reconciler.history import codec
from reconciler.history.events import EMPTY, Head
from reconciler.ports import Verification

_ROWS: Final = (
    "SELECT seq, hash, stream, version, source, id, sequence, own, sourcehash, body FROM entry "
    "WHERE seq > ? ORDER BY seq LIMIT 1024"
)
_BLOBS: Final = "SELECT rowid, oid, content FROM blob WHERE rowid > ? ORDER BY rowid LIMIT 64"


def verify_volumes(log: Path, volumes: Sequence[Volume], progress: Callable[[int], None] | None = None) -> Verification:
    """Every entry and blob of every file of `log`: chains, columns against bodies, ids, tables against the schema."""
    audit = _Audit(volumes[-1].source, progress or (lambda _: None))
    for volume in volumes:
        if volume.first > audit.head.seq + 1:
            raise segments.missing(log, audit.head.seq + 1, volume.first - 1)
        audit.volume(volume)
    return Verification(audit.head.seq, audit.head, len(volumes))


class _Audit:
    """How far the log was read: the end of the row chain, and of the chain of each source."""

    def __init__(self, source: str, progress: Callable[[int], None]) -> None:
        self.head = EMPTY
        self._source = source
        self._heads: dict[str, Head] = {}
        self._streams: dict[int, str] = {}
        self._sources: dict[int, str] = {}
        self._progress = progress
        self._columns = msgspec.json.Decoder(codec.Columns).decode
        self._arrived = msgspec.json.Decoder(codec.Arrived).decode

    def volume(self, volume: Volume) -> None:
        """Go on through one file."""
        if volume.own == EMPTY:  # a new epoch: its first event names its source
            self._source = volume.source
        begins = (volume.source, volume.first - 1, volume.prev, volume.own)
        if begins != (self._source, *self.head, self._heads.get(self._source, EMPTY)):
            raise ChainBroken(f"{volume.path.name} does not follow entry {self.head.seq}")
        if altered := volume.ask(schema.changed_objects):
            raise ChainBroken(f"{volume.path.name}: somebody changed the schema: {', '.join(altered)}")
        self._streams = dict(volume.query("SELECT number, name FROM stream"))
        self._sources = dict(volume.query("SELECT number, name FROM source"))
        for (seq,) in volume.query("SELECT seq FROM entry WHERE seq < ? ORDER BY seq LIMIT 1", (volume.first,)):
            raise _unfit(seq, "it stands before the file begins")
        while rows := self._fetch(volume, _ROWS, self.head.seq):
            self._rows(rows)
            self._progress(self.head.seq)
        after = 0
        while blobs := self._fetch(volume, _BLOBS, after):
            for _, oid, content in blobs:
                if codec.blob_id(content, digits=len(oid)) != oid:
                    raise ChainBroken(f"{volume.path.name}: source file {oid} has other bytes than its name says")
            after = blobs[-1][0]

    def _fetch(self, volume: Volume, sql: str, after: int) -> list[Any]:
        try:
            return volume.query(sql, (after,))
        except ChainBroken as error:
            raise ChainBroken(f"{error.message}, behind entry {self.head.seq}") from error

    def _rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """The hot loop: own events are checked in place, copied ones apart."""
        columns, own_source, streams = self._columns, self._source, self._streams
        seq, prev = self.head
        own_seq, own_prev = self._heads.get(own_source, EMPTY)
        for row in rows:
            row_seq, row_hash, stream, version, source, id_, sequence, own, source_hash, body = row
            seq += 1
            hash_ = sha256(prev + body).digest()
            if row_seq != seq or row_hash != hash_:
                raise _unfit(seq, "its hash does not cover its bytes")
            try:
                if body.startswith(codec.COPIED):
                    self._copied(row, own_seq)
                else:
                    own_seq += 1
                    own_prev = hash_ if own_prev == prev else sha256(own_prev + body).digest()
                    said = columns(body)
                    if (
                        id_text(id_) != said.id
                        or said.partitionkey != streams.get(stream)
                        or said.version != version
                        or said.source != own_source
                        or source != OWN
                        or sequence != own_seq
                        or own != own_seq
                        or int(said.sequence) != own_seq
                        or source_hash != (None if own_prev == hash_ else own_prev)
                    ):
                        raise _unfit(seq, "its columns differ from its bytes")
            except (msgspec.DecodeError, ValueError) as error:
                raise _unfit(seq, f"its bytes are not an event: {error}") from error
            prev = hash_
        self.head = Head(seq, prev)
        self._heads[own_source] = Head(own_seq, own_prev)

    def _copied(self, row: tuple[Any, ...], own_seq: int) -> None:
        """One copied event: its own bytes against the chain of its source, and its columns."""
        seq, _, stream, version, number, id_, sequence, own, source_hash, body = row
        source = self._sources.get(number, "")
        arrived = self._arrived(body)
        origin, raw = arrived.origin, bytes(arrived.event)
        said = self._columns(raw)
        held = self._heads.get(source, EMPTY)
        at = Head(sequence, sha256(held.hash + raw).digest())
        if at.seq != held.seq + 1 or at.hash != source_hash or origin.hash != at.hash.hex():
            raise _unfit(seq, f"it does not follow event {held.seq} of {source}")
        if (said.partitionkey, said.id, said.source, int(said.sequence), own_seq) != (
            self._streams.get(stream),
            id_text(id_),
            source,
            sequence,
            own,
        ) or (origin.source, origin.sequence, origin.localsequence, origin.localversion) != (
            source,
            sequence,
            seq,
            version,
        ):
            raise _unfit(seq, "its columns differ from its bytes")
        self._heads[source] = at


def _unfit(seq: int, why: str) -> ChainBroken:
    return ChainBroken(f"entry {seq} does not fit the chain: {why}")
