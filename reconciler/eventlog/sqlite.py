"""The log in SQLite: one writer, every append fsynced, nothing ever altered. Imports ledger, reader, stored, segments.

In: events.  Out: entries, durable. The writer alone checkpoints; all reading is by connections that cannot write.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.engine.failpoints import reached
from reconciler.errors import ChainBroken, ForkFound, HistoryError, LogWriteFailed
from reconciler.eventlog import ballast, schema, seal, segments
from reconciler.eventlog.batch import Batch, EntryRow, Lookup, Tail
from reconciler.eventlog.columns import Numbers
from reconciler.eventlog.ledger import Ledger, genesis, new_log_id
from reconciler.eventlog.lock import WriterLock
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.stored import Stored
from reconciler.eventlog.volume import Volume
from reconciler.history import codec
from reconciler.history.events import EMPTY, SEGMENT_SEALED, Event, event_id, rfc3339
from reconciler.ports import Clock


class SqliteLog(Ledger, SqliteReader):
    """`ports.EventLog` over the file `path`, made when it is not there. name: `/hub` or `/edge/<name>`.

    warnings: what whoever starts it should be told, in sentences.
    Raises SecondWriter, LogTooNew, ChainBroken, LogWriteFailed, ForkFound (the log was written under another name).
    """

    def __init__(self, path: Path, name: str, clock: Clock) -> None:
        self._writer_lock = WriterLock(path)
        try:
            seal.settle(path)
            self._writer = _open_writer(path, name, clock)
        except BaseException:
            self._writer_lock.release()
            raise
        try:
            SqliteReader.__init__(self, path)
            self._stored = Stored(self._sealed(), Volume(self._writer, path.resolve()))
            Ledger.__init__(self, self._stored.live.source, clock, self._stored.tail())
            _check_name(self._source, name, path)
        except BaseException:
            self._let_go()
            raise
        told = ballast.take(path)
        self.warnings = [*schema.known_faults(), *([f"the last writer of {path} gave up: {told}"] if told else [])]

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """See `ports.EventLog`."""
        for oid, content in blobs.items():
            codec.check_blob(oid, content)
        with self._writing:
            self._check_open()
            unknown = self._stored.unknown_blobs(blobs)
            if unknown:
                rows = [(oid, blobs[oid]) for oid in unknown]
                with self._failing():
                    self._writer.execute("BEGIN IMMEDIATE")
                    self._writer.executemany("INSERT INTO blob VALUES (?, ?)", rows)
                    self._writer.execute("COMMIT")
                reached("log.blob")

    def seal(self) -> Path:
        """The live file under its sealed name, read-only from now on; a new live file carries the chains on.

        Raises HistoryError (somebody reads just now: nothing happened), LogWriteFailed (the next start settles it).
        """
        with self._writing:
            batch, sealed = self._batch(), self._sealed_path()
            batch.own([_sealed_event(self._stored.live.first, self._tail, sealed, batch.recorded)], {})
            self._begin(batch, self._source)
            self._tail = batch.tail
            self._tell(batch.entries)
        return sealed

    def _sealed_path(self) -> Path:
        return segments.sealed_path(self._path, self._stored.live.first, self._tail.head.seq)

    def _begin(self, batch: Batch, source: str) -> None:
        """See `Ledger`: in a new file, with the one before it sealed."""
        (head, own, _), tips, sealed = self._tail, self._stored.tips, self._sealed_path()
        if source != self._source:
            own, tips = 0, {name: tip for name, tip in tips.items() if name.startswith("/")}
        new = segments.live_path(self._path, head.seq + 1).resolve()
        with self._failing():
            seal.checkpoint(self._writer, self._path)
            seal.prepare(new, schema.Begins(source, head.seq + 1, head.hash, own, tips), batch.rows)
            seal.switch(self._path, sealed, new)
            self._writer.close()
            seal.settle(self._path)
            self._writer = schema.connect_writer(new)
            self._stored = Stored(self._sealed(), Volume(self._writer, new))

    def close(self) -> None:
        """See `ports.EventLog`."""
        with self._writing:
            if self._ended is None:
                with suppress(sqlite3.Error):  # a reader is busy: then the -wal file stays, complete
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                ballast.drop(self._path)
                self._ended = HistoryError(f"{self._path} was closed")
            self._let_go()

    def _let_go(self) -> None:
        SqliteReader.close(self)
        self._writer.close()
        self._writer_lock.release()

    def _volumes(self) -> list[Volume]:
        self._check_open()
        return super()._volumes()

    def _sealed(self) -> list[Volume]:
        """The sealed files, none missing: without them an id could be given twice."""
        return [volume for volume in self._holding(0) if volume.sealed]

    def _lookup(self) -> Lookup:
        return self._stored

    def _store(self, rows: list[EntryRow]) -> None:
        reached("log.begin")
        with self._failing():
            self._writer.execute("BEGIN IMMEDIATE")
            self._stored.numbers.insert(self._writer, rows)
            reached("log.insert")
            self._writer.execute("COMMIT")
        reached("log.commit")
        self._stored.remember(rows)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What the disk refuses in here ends this log object: LogWriteFailed, and from then on nothing is believed."""
        self._check_open()
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._ended = LogWriteFailed(f"{self._path} was not written: {error}")
            ballast.give_up(self._path, str(error))
            raise self._ended from error


def _sealed_event(first: int, tail: Tail, sealed: Path, time: str) -> Event:
    return Event(
        id=event_id("sealed", tail.head.seq),
        type=SEGMENT_SEALED,
        partitionkey="log",
        time=time,
        subject=sealed.name,
        data={"first": first, "last": tail.head.seq, "hash": tail.head.hash.hex()},
    )


def _check_name(source: str, name: str, path: Path) -> None:
    if not source.startswith(f"{name}/"):
        raise ForkFound(f"{path} is the log of {source}, not of {name}")


def _open_writer(path: Path, name: str, clock: Clock) -> sqlite3.Connection:
    live = path.resolve()
    if not live.exists():
        _check_new(path, live)
    try:
        writer = schema.connect_writer(live)
        try:
            if not schema.is_created(writer):
                _begin_log(writer, live, name, clock)
        except BaseException:
            writer.close()
            raise
    except sqlite3.OperationalError as error:
        raise LogWriteFailed(f"{path} cannot be written: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ChainBroken(f"{path} is damaged: {error}") from error
    return writer


def _check_new(path: Path, live: Path) -> None:
    """A log is begun only where nothing is left of another one."""
    left = [live.with_name(live.name + "-wal"), *(file.path for file in segments.sealed_files(path))]
    found = next((file for file in left if file.exists() and file.stat().st_size), None)
    if found:
        raise ChainBroken(f"{found} is here, but {live} that belongs to it is missing", hint=f"put {live.name} back")


def _begin_log(writer: sqlite3.Connection, live: Path, name: str, clock: Clock) -> None:
    log_id, now = new_log_id(), rfc3339(clock.now())
    source = f"{name}/{log_id}"
    writer.execute("BEGIN IMMEDIATE")
    schema.create(writer, schema.Begins(source, 1, EMPTY.hash, 0, {}))
    batch = Batch(Stored([], Volume(writer, live)), source, Tail(EMPTY, 0, ""), now)
    batch.own([genesis(log_id, source, now)], {})
    Numbers().insert(writer, batch.rows)
    writer.execute("COMMIT")
    reached("log.create")
