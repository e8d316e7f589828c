"""Closing a segment: the live file gets its sealed name, and the log's name leads to the next one. Imports segments.

In: the log's path and where its live file ends.  Out: files. The one moment that counts is the rename of a link in
`switch`: whatever was cut short before it is taken back by `settle`, whatever after it is finished.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from reconciler.engine.failpoints import reached
from reconciler.errors import HistoryError
from reconciler.eventlog import schema, segments
from reconciler.eventlog.batch import EntryRow
from reconciler.eventlog.columns import Numbers


def checkpoint(writer: sqlite3.Connection, log: Path) -> None:
    """Everything into the database file itself. Raises HistoryError while somebody reads for longer than the wait."""
    (busy, _, _) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise HistoryError(f"{log} is being read; nothing was sealed", hint="try again when the reader is done")
    reached("log.seal.checkpoint")


def prepare(new: Path, begins: schema.Begins, rows: Sequence[EntryRow]) -> None:
    """The next live file, complete and durable, with `rows` in it. Nothing leads to it yet."""
    if new.exists():
        raise HistoryError(f"{new} is in the way of the next segment", hint="move it away: it is not part of this log")
    unfinished = new.with_name(new.name + ".new")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        schema.create(connection, begins)
        Numbers().insert(connection, rows)
        connection.execute("COMMIT")
    unfinished.rename(new)
    sync_directory(new)
    reached("log.seal.prepare")


def switch(log: Path, sealed: Path, new: Path) -> None:
    """Give the live file of `log` its sealed name, then let `log` lead to `new`."""
    os.link(log.resolve(), sealed)
    sync_directory(log)
    reached("log.seal.link")
    pointer = log.with_name(log.name + ".next")
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(new.name)
    pointer.replace(log)
    sync_directory(log)
    reached("log.seal.switch")


def settle(log: Path) -> None:
    """Finish or take back a seal that was cut short, and make what is sealed read-only. The caller holds the lock."""
    live = log.resolve()
    if not live.exists():
        return
    for file in segments.sealed_files(log):
        if file.path.samefile(live):
            file.path.unlink()
        else:
            file.path.chmod(0o444)
            _drop_name(segments.live_path(log, file.first), file.path)
            _drop_name(log, file.path)
    for prepared in segments.live_files(log):
        if prepared != live and _holds_nothing_else(prepared):
            prepared.unlink()


def _drop_name(old: Path, sealed: Path) -> None:
    """Remove the name that a file had before it was sealed, and that name's side files, which are empty by then."""
    if old.is_symlink():
        old.with_name(old.name + "-wal").unlink(missing_ok=True)
        old.with_name(old.name + "-shm").unlink(missing_ok=True)
    elif old.exists() and old.samefile(sealed):
        for name in (old.name, old.name + "-wal", old.name + "-shm"):
            old.with_name(name).unlink(missing_ok=True)


def _holds_nothing_else(prepared: Path) -> bool:
    """Whether the file has only the event with which a seal begins it, so that nobody ever was told of it."""
    with closing(schema.connect_reader(prepared, sealed=True)) as connection:
        (entries,) = connection.execute("SELECT count(*) FROM (SELECT 1 FROM entry LIMIT 2)").fetchone()
    return bool(entries < 2)


def sync_directory(file: Path) -> None:
    """Make the directory's own entries durable: a name that is not synced may be gone after a power cut."""
    fd = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
