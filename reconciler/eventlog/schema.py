"""The tables of one log file, their guards, and how a connection is opened. Imports batch, errors.

In: paths.  Out: connections. The guards stop a stray connection; the chain finds what the guards cannot stop.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from reconciler.errors import ChainBroken, HistoryError, LogTooNew, WorldUnavailable
from reconciler.eventlog.batch import Tip

APPLICATION_ID: Final = 0x52434C47  # "RCLG"
VERSION: Final = 2

# `segment` has one row: where this file begins, in the row chain and in the number of the log's own events.
# `stream` and `chain` number names by the seq of the first entry here that bears one; chains that the file begins with
# are numbered from 1. A chain goes by its reader, or by the source that it was copied from: that one is entry.source,
# which is 0 for the log itself. entry.prior: the entry before it in its chain; linkhash: its hash there, NULL where it
# is `hash`. head: the newest entry of each chain: what an index
# would be, as unguarded, and compared with the entries by `verify`.
# No AUTOINCREMENT, no index of chains: docs/decisions/0009.
TABLES: Final = """
CREATE TABLE segment (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  source TEXT NOT NULL,
  first INTEGER NOT NULL,
  prev BLOB NOT NULL,
  own INTEGER NOT NULL
) STRICT;
CREATE TABLE stream (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE chain (
  name TEXT PRIMARY KEY,
  number INTEGER NOT NULL,
  position INTEGER NOT NULL DEFAULT 0,
  hash BLOB NOT NULL DEFAULT (zeroblob(32))
) STRICT, WITHOUT ROWID;
CREATE TABLE head (chain INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  hash BLOB NOT NULL,
  stream INTEGER NOT NULL,
  version INTEGER NOT NULL,
  source INTEGER NOT NULL,
  id ANY NOT NULL,
  chain INTEGER,
  position INTEGER,
  prior INTEGER,
  linkhash BLOB,
  body BLOB NOT NULL,
  UNIQUE (id, source),
  UNIQUE (stream, version)
) STRICT;
CREATE TABLE blob (
  oid TEXT NOT NULL UNIQUE,
  content BLOB NOT NULL
) STRICT;
"""

# INSERT OR REPLACE and OR IGNORE get round constraints, and REPLACE round DELETE triggers: hence the look-ups here.
_STANDS: Final = """\
CREATE TRIGGER TABLE_update BEFORE UPDATE ON TABLE BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER TABLE_delete BEFORE DELETE ON TABLE BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""
_NAMED_ONCE: Final = """\
CREATE TRIGGER TABLE_insert BEFORE INSERT ON TABLE BEGIN
  SELECT RAISE(ABORT, 'the log is append-only')
    WHERE NEW.number <= (SELECT max(seq) FROM entry) OR EXISTS (SELECT 1 FROM TABLE WHERE name = NEW.name);
END;
"""
_OTHERS: Final = """\
CREATE TRIGGER entry_insert BEFORE INSERT ON entry
WHEN NEW.seq IS NOT 1 + coalesce((SELECT max(seq) FROM entry), (SELECT first - 1 FROM segment))
  OR EXISTS (SELECT 1 FROM entry WHERE id = NEW.id AND source = NEW.source)
  OR EXISTS (SELECT 1 FROM entry WHERE stream = NEW.stream AND version = NEW.version)
BEGIN SELECT RAISE(ROLLBACK, 'the log is append-only and has no gaps'); END;
CREATE TRIGGER blob_insert BEFORE INSERT ON blob BEGIN
  SELECT RAISE(ABORT, 'the log is append-only') WHERE EXISTS (SELECT 1 FROM blob WHERE oid = NEW.oid);
END;
CREATE TRIGGER segment_insert BEFORE INSERT ON segment BEGIN
  SELECT RAISE(ABORT, 'the log is append-only') WHERE EXISTS (SELECT 1 FROM segment);
END;
"""
GUARDS: Final = "".join(
    [
        _OTHERS,
        *(_NAMED_ONCE.replace("TABLE", name) for name in ("stream", "chain")),
        *(_STANDS.replace("TABLE", name) for name in ("entry", "blob", "segment", "stream", "chain")),
    ]
)

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
    """Where a file begins: its log's source, its first entry and the hash before it, how many own events came before.

    tips: where each chain stood, by its name.
    """

    source: str
    first: int
    prev: bytes
    own: int
    tips: Mapping[str, Tip]


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
        connection.execute("INSERT INTO segment VALUES (1, ?, ?, ?, ?)", begins[:4])
        for number, (name, tip) in enumerate(begins.tips.items(), start=1):
            connection.execute("INSERT INTO chain VALUES (?, ?, ?, ?)", (name, number, tip.position, tip.hash))
            connection.execute("INSERT INTO head VALUES (?, ?)", (number, tip.seq))


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
        told = "was written by a release that lays out its tables in another way"
        if version < VERSION:
            told = f"has format {version}; this release reads {VERSION}, in which every edge has a chain of its own"
        hint = "use the release that wrote it, or move the log away: a new one is begun"
        raise HistoryError(f"{path} {told}", hint=hint)


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
