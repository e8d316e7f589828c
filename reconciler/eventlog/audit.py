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
from reconciler.history.readers import name_of, reader_of
from reconciler.ports import Verification

_ROWS: Final = (
    "SELECT seq, hash, stream, version, source, id, chain, position, linkhash, prior, body FROM entry "
    "WHERE seq > ? ORDER BY seq LIMIT 1024"
)
_CHAINS: Final = "SELECT number, name, position, hash FROM chain"
_HEADS: Final = "SELECT (SELECT max(seq) FROM entry), chain, seq FROM head"
_START: Final = (0, EMPTY.hash, 0)
_NOWHERE: Final[tuple[Any, ...]] = ("", None, None, None)  # the place of an entry that nobody reads
_BLOBS: Final = "SELECT rowid, oid, content FROM blob WHERE rowid > ? ORDER BY rowid LIMIT 64"


def verify_volumes(log: Path, volumes: Sequence[Volume], progress: Callable[[int], None] | None = None) -> Verification:
    """Every entry and blob of every file of `log`: chains, columns against bodies, ids, tables against the schema."""
    audit = _Audit(volumes[-1].source, progress or (lambda _: None))
    for volume in volumes:
        if volume.first > audit.head.seq + 1:
            raise segments.missing(log, audit.head.seq + 1, volume.first - 1)
        audit.volume(volume)
    return Verification(audit.head.seq, audit.head, len(volumes), audit.readers)


class _Audit:
    """How far the log was read: the end of the row chain, and of each reader's, all by what the bytes say."""

    def __init__(self, source: str, progress: Callable[[int], None]) -> None:
        self.head = EMPTY
        self._source, self._own = source, 0
        self._tips: dict[str, tuple[int, bytes, int]] = {}  # chain -> position, hash, seq, as batch.Tip
        self._named = 0  # up to which entry the names of this file were read
        self._streams: dict[int, str] = {}
        self._chains: dict[int | None, str] = {}
        self._progress = progress
        self._columns = msgspec.json.Decoder(codec.Columns).decode
        self._arrived = msgspec.json.Decoder(codec.Arrived).decode

    @property
    def readers(self) -> int:
        """How many read this log."""
        return sum(not name.startswith("/") for name in self._tips)

    def volume(self, volume: Volume) -> None:
        """Go on through one file."""
        self._begin(volume)
        while True:
            while rows := self._fetch(volume, _ROWS, self.head.seq):
                if rows[-1][0] > self._named:
                    self._read_names(volume)
                self._rows(rows)
                self._progress(self.head.seq)
            heads = volume.query(_HEADS)
            if not heads or heads[0][0] in {None, self.head.seq}:  # else somebody wrote meanwhile
                break
        ends = {self._chains.get(number): seq for _, number, seq in heads}
        if ends != {name: seq for name, (_, _, seq) in self._tips.items()}:
            raise ChainBroken(f"{volume.path.name} does not say where the chains of its readers end")
        after = 0
        while blobs := self._fetch(volume, _BLOBS, after):
            for _, oid, content in blobs:
                if codec.blob_id(content, digits=len(oid)) != oid:
                    raise ChainBroken(f"{volume.path.name}: source file {oid} has other bytes than its name says")
            after = blobs[-1][0]

    def _begin(self, volume: Volume) -> None:
        """What the file says of where it begins, against where the last one ended."""
        if volume.source != self._source and not volume.own:  # a new epoch: the chains of its readers begin anew
            self._source, self._own = volume.source, 0
            self._tips = {name: tip for name, tip in self._tips.items() if name.startswith("/")}
        begins = {name: at for _, name, *at in volume.query(_CHAINS) if at != [*EMPTY]}
        ended = {name: [*tip[:2]] for name, tip in self._tips.items()}
        where = (volume.source, Head(volume.first - 1, volume.prev), volume.own, begins)
        if where != (self._source, self.head, self._own, ended):
            raise ChainBroken(f"{volume.path.name} does not follow entry {self.head.seq}")
        if altered := volume.ask(schema.changed_objects):
            raise ChainBroken(f"{volume.path.name}: somebody changed the schema: {', '.join(altered)}")
        self._read_names(volume)
        for (seq,) in volume.query("SELECT seq FROM entry WHERE seq < ? ORDER BY seq LIMIT 1", (volume.first,)):
            raise _unfit(seq, "it stands before the file begins")

    def _read_names(self, volume: Volume) -> None:
        """The names in the file by their numbers; somebody may be adding some."""
        self._named = volume.head().seq
        self._streams = dict(volume.query("SELECT number, name FROM stream"))
        self._chains = {None: ""} | {number: name for number, name, *_ in volume.query(_CHAINS)}

    def _fetch(self, volume: Volume, sql: str, after: int) -> list[Any]:
        try:
            return volume.query(sql, (after,))
        except ChainBroken as error:
            raise ChainBroken(f"{error.message}, behind entry {self.head.seq}") from error

    def _rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """The hot loop: own events are checked in place, copied ones apart."""
        columns, own_source, streams = self._columns, self._source, self._streams
        (seq, prev), own_seq, tips, chains = self.head, self._own, self._tips, self._chains
        for row in rows:
            row_seq, row_hash, stream, version, source, id_, chain, position, link, prior, body = row
            seq += 1
            hash_ = sha256(prev + body).digest()
            if row_seq != seq or row_hash != hash_:
                raise _unfit(seq, "its hash does not cover its bytes")
            try:
                if body.startswith(codec.COPIED):
                    self._copied(row)
                else:
                    own_seq += 1
                    said = columns(body)
                    place, reader = _NOWHERE, reader_of(own_source, said.partitionkey)
                    if reader:
                        number, before, last = tips.get(reader, _START)
                        at = hash_ if before == prev else sha256(before + body).digest()
                        tips[reader] = (number + 1, at, seq)
                        place = (reader, number + 1, None if at == hash_ else at, last)
                    if (
                        id_text(id_) != said.id
                        or said.partitionkey != streams.get(stream)
                        or said.version != version
                        or said.source != own_source
                        or source != OWN
                        or int(said.sequence) != own_seq
                        or (chains.get(chain), position, link, prior) != place
                    ):
                        raise _unfit(seq, "its columns differ from its bytes")
            except (msgspec.DecodeError, ValueError) as error:
                raise _unfit(seq, f"its bytes are not an event: {error}") from error
            prev = hash_
        self.head, self._own = Head(seq, prev), own_seq

    def _copied(self, row: tuple[Any, ...]) -> None:
        """One copied event: its own bytes against the chain of its source, and its columns."""
        seq, row_hash, stream, version, number, id_, chain, position, link, prior, body = row
        source = self._chains.get(number) or ""
        arrived = self._arrived(body)
        origin, raw = arrived.origin, bytes(arrived.event)
        said = self._columns(raw)
        held, before, last = self._tips.get(source, _START)
        at = sha256(before + raw).digest()
        if (origin.position, origin.hash, origin.prev) != (held + 1, at.hex(), before.hex()):
            raise _unfit(seq, f"it does not follow event {held} of {source}")
        reader, here = reader_of(said.source, said.partitionkey), name_of(self._source)
        if reader != here:
            raise _unfit(seq, f"it is for {reader or 'nobody'}, not for {here}")
        stored = (self._streams.get(stream), id_text(id_), source, chain, position, link, prior)
        told = (origin.source, origin.localsequence, origin.localversion)
        if stored != (
            said.partitionkey,
            said.id,
            said.source,
            number,
            held + 1,
            None if at == row_hash else at,
            last,
        ) or (told != (source, seq, version)):
            raise _unfit(seq, "its columns differ from its bytes")
        self._tips[source] = (held + 1, at, seq)


def _unfit(seq: int, why: str) -> ChainBroken:
    return ChainBroken(f"entry {seq} does not fit the chain: {why}")
