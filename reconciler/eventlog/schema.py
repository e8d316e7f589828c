"""The tables of one log file, their guards, and how a connection is opened. Imports errors.

In: paths.  Out: connections. The guards stop a stray connection; the chain finds what the guards cannot stop.
"""

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from reconciler.errors import ChainBroken, HistoryError, LogTooNew, WorldUnavailable

APPLICATION_ID: Final = 0x52434C47  # "RCLG"
VERSION: Final = 1

# `segment` has one row: where this file begins, in the row chain and in the log's own source chain.
# `stream` and `source` number names by the seq of the first entry here that bears one; source 0 is the log itself.
# entry.own: the log's own events up to and including this row. entry.sourcehash: NULL where it is `hash`.
# Until something is copied the place of an own event in its source chain is its seq, which needs no index.
# No AUTOINCREMENT: docs/decisions/0009.
TABLES: Final = """
CREATE TABLE segment (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  source TEXT NOT NULL,
  first INTEGER NOT NULL,
  prev BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  sourcehash BLOB NOT NULL
) STRICT;
CREATE TABLE stream (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE source (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  hash BLOB NOT NULL,
  stream INTEGER NOT NULL,
  version INTEGER NOT NULL,
  source INTEGER NOT NULL,
  id ANY NOT NULL,
  sequence INTEGER NOT NULL,
  own INTEGER NOT NULL,
  sourcehash BLOB,
  body BLOB NOT NULL,
  UNIQUE (id, source),
  UNIQUE (stream, version)
) STRICT;
CREATE UNIQUE INDEX entry_sequence ON entry (source, sequence) WHERE sequence < seq;
CREATE TABLE blob (
  oid TEXT NOT NULL UNIQUE,
  content BLOB NOT NULL
) STRICT;
"""

# INSERT OR REPLACE and OR IGNORE get round constraints, and REPLACE round DELETE triggers: hence the look-ups here.
GUARDS: Final = """
CREATE TRIGGER entry_insert BEFORE INSERT ON entry
WHEN NEW.seq IS NOT 1 + coalesce((SELECT max(seq) FROM entry), (SELECT first - 1 FROM segment))
  OR EXISTS (SELECT 1 FROM entry WHERE id = NEW.id AND source = NEW.source)
  OR EXISTS (SELECT 1 FROM entry WHERE stream = NEW.stream AND version = NEW.version)
  OR NEW.sequence > NEW.seq
  OR NEW.sequence < NEW.seq AND (
    EXISTS (SELECT 1 FROM entry WHERE source = NEW.source AND sequence = NEW.sequence AND sequence < seq)
    OR EXISTS (SELECT 1 FROM entry WHERE seq = NEW.sequence AND source = NEW.source AND sequence = NEW.sequence))
BEGIN SELECT RAISE(ROLLBACK, 'the log is append-only and has no gaps'); END;
CREATE TRIGGER entry_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER entry_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER blob_insert BEFORE INSERT ON blob BEGIN
  SELECT RAISE(ABORT, 'the log is append-only') WHERE EXISTS (SELECT 1 FROM blob WHERE oid = NEW.oid);
END;
CREATE TRIGGER blob_update BEFORE UPDATE ON blob BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER blob_delete BEFORE DELETE ON blob BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER stream_insert BEFORE INSERT ON stream BEGIN
  SELECT RAISE(ABORT, 'the log is append-only')
    WHERE NEW.number <= (SELECT max(seq) FROM entry) OR EXISTS (SELECT 1 FROM stream WHERE name = NEW.name);
END;
CREATE TRIGGER stream_update BEFORE UPDATE ON stream BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER stream_delete BEFORE DELETE ON stream BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER source_insert BEFORE INSERT ON source BEGIN
  SELECT RAISE(ABORT, 'the log is append-only')
    WHERE NEW.number <= (SELECT max(seq) FROM entry) OR EXISTS (SELECT 1 FROM source WHERE name = NEW.name);
END;
CREATE TRIGGER source_update BEFORE UPDATE ON source BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER source_delete BEFORE DELETE ON source BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER segment_insert BEFORE INSERT ON segment BEGIN
  SELECT RAISE(ABORT, 'the log is append-only') WHERE EXISTS (SELECT 1 FROM segment);
END;
CREATE TRIGGER segment_update BEFORE UPDATE ON segment BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER segment_delete BEFORE DELETE ON segment BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""

# What `user_version` says: the format in the highest byte, then which layout of it, so that a file of another layout is
# called that and not a broken chain.
LAYOUT: Final = VERSION << 24 | crc32((TABLES + GUARDS).encode()) & 0xFFFFFF

_COMMON: Final = """
PRAGMA busy_timeout = 5000;
PRAGMA foreign_keys = ON;
PRAGMA recursive_triggers = ON;
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
"""
_WRITER: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 1000;
PRAGMA journal_size_limit = 67108864;
"""


class Begins(NamedTuple):
    """Where a file begins: its log's source, its first entry and the hash before it, and the same in the source chain.

    sequence, sourcehash: the last own event before this file.
    """

    source: str
    first: int
    prev: bytes
    sequence: int
    sourcehash: bytes


def known_faults() -> list[str]:
    """What is known against the SQLite library in use. The bug needs two connections that write or checkpoint."""
    if sqlite3.sqlite_version_info >= (3, 51, 3):
        return []
    return [
        f"let nothing else write or checkpoint the log: SQLite {sqlite3.sqlite_version} can damage it (fixed in 3.51.3)"
    ]


def connect_writer(path: Path) -> sqlite3.Connection:
    """A connection that may write, creating the file where there is none. The caller holds the writer's lock.

    Raises LogTooNew or ChainBroken before anything in the file was touched.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        if is_created(connection):
            check_format(connection, path)
        connection.executescript(_COMMON + _WRITER)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, sealed: bool = False) -> sqlite3.Connection:
    """A connection that cannot write. A sealed file never changes again, which spares it every lock and side file."""
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if sealed else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.executescript(_COMMON + "PRAGMA query_only = ON;")
    return connection


def create(connection: sqlite3.Connection, begins: Begins | None = None) -> None:
    """The tables and guards, and where the file begins. Inside the caller's transaction."""
    for statement in (*_statements(TABLES), *_statements(GUARDS)):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {LAYOUT}")
    if begins:
        connection.execute("INSERT INTO segment VALUES (1, ?, ?, ?, ?, ?)", begins)


def is_created(connection: sqlite3.Connection) -> bool:
    """Whether the file has any table: one whose creation was cut short has none."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").fetchone()[0])


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raises LogTooNew for a newer release's log, HistoryError for another layout, ChainBroken for what is no log."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    version = layout >> 24
    if application_id != APPLICATION_ID:
        raise ChainBroken(f"{path} is not an event log of the reconciler")
    if version > VERSION:
        raise LogTooNew(f"{path} has format {version}; this release reads up to {VERSION}")
    if layout != LAYOUT:
        raise HistoryError(
            f"{path} was written by a release that lays out its tables in another way",
            hint="use the release that wrote it, or move the log away: a new one is begun",
        )


def check_made(connection: sqlite3.Connection, path: Path) -> None:
    """`check_format` for who only reads. Raises WorldUnavailable while the file is being made."""
    if not is_created(connection):
        raise WorldUnavailable(f"the log at {path} is being made")
    check_format(connection, path)


def changed_objects(connection: sqlite3.Connection) -> list[str]:
    """Names of tables, indexes and triggers that are not as this release makes them: added, dropped or altered."""
    pristine = sqlite3.connect(":memory:", isolation_level=None)
    try:
        create(pristine)
        expected, found = _objects(pristine), _objects(connection)
    finally:
        pristine.close()
    return sorted({name for name, _ in expected.items() ^ found.items()})


def _objects(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, type || ' ' || tbl_name || ' ' || coalesce(sql, '') FROM sqlite_schema")
    return dict(rows.fetchall())


def _statements(script: str) -> list[str]:
    statements, lines = [], list[str]()
    for line in script.strip().splitlines():
        lines.append(line)
        if sqlite3.complete_statement("\n".join(lines)):
            statements.append("\n".join(lines))
            lines = []
    return statements
