"""Copies of a whole log: a backup that is a log again, and lines of JSON. Imports reader, schema, segments.

In: a log, read while its writer goes on.  Out: files or lines.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from reconciler.errors import HistoryError, StorageExhausted
from reconciler.eventlog import schema, seal, segments
from reconciler.eventlog.reader import SqliteReader
from reconciler.ports import Verification


def backup(log: Path, target: Path) -> Verification:
    """What was verified of the copy of `log` at `target`, with its sealed files beside it; durable.

    The writer may go on meanwhile: the copy ends at one moment. Raises HistoryError when something is at `target`
    or it cannot be written, StorageExhausted when the copy does not fit, and whatever `verify` raises about it.
    """
    live = log.resolve()
    if target.exists() or segments.sealed_files(target):
        raise HistoryError(f"{target} exists; a backup never overwrites", hint="name a new file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with closing(schema.connect_reader(live)) as source, closing(sqlite3.connect(target)) as copy:
            (first,) = source.execute("SELECT first FROM segment").fetchone()
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file; the next writer sets its own mode
        for file in segments.sealed_files(log, first):
            name = segments.sealed_path(target, file.first, file.last)
            shutil.copyfile(file.path, name)
            with name.open("rb+") as sealed:
                os.fsync(sealed.fileno())
            name.chmod(0o444)
        seal.sync_directory(target)
    except (OSError, sqlite3.OperationalError) as error:
        raise _broke_off(target, error) from error
    with closing(SqliteReader(target)) as reader:
        return reader.verify()


def _broke_off(target: Path, error: Exception) -> HistoryError | StorageExhausted:
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    words = f"the backup to {target} broke off: {error}"
    if full or "full" in str(error):
        return StorageExhausted(words)
    return HistoryError(words, hint="name a file in a directory that can be written")


def export(log: SqliteReader, after: int = 0) -> Iterator[bytes]:
    """One line of JSON an entry: seq, hash (hex), and the stored body as it is. Lines end with a newline."""
    for seq, hash_, body in log.stored_rows(after):
        yield msgspec.json.encode({"seq": seq, "hash": hash_.hex(), "body": msgspec.Raw(body)}) + b"\n"
