"""Snapshots of projections beside the log, so that a state need not be folded from the first event. Derivable.

In: bytes that a projection made of itself at one entry, opaque here.  Out: the nearest that still fits the log. Losing
this file costs time only: it is not fsynced, and thrown away when damaged. Imports ports, errors.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from reconciler.errors import StorageExhausted
from reconciler.history.events import Entry, Head

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS snapshot (
  seq INTEGER NOT NULL,
  code INTEGER NOT NULL,
  hash BLOB NOT NULL,
  digest BLOB NOT NULL,
  content BLOB NOT NULL,
  PRIMARY KEY (code, seq)
) STRICT
"""


class Readable(Protocol):
    """As much of a log as a snapshot is checked against, and a replay needs."""

    def head(self) -> Head:
        """See `ports.EventLog`."""
        ...

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        """See `ports.EventLog`."""
        ...


class Snapshot(NamedTuple):
    """A projection's bytes as of the entry `seq`, whose hash they name."""

    seq: int
    hash: bytes
    content: bytes


class Snapshots:
    """The snapshots of one log, made by one version of the code. code: changes whenever a fold or its bytes do."""

    def __init__(self, log: Path, code: int) -> None:
        self._path = log.with_name(f"{log.stem}.snapshots.db")
        self._code = code

    def save(self, snapshot: Snapshot) -> None:
        """Keep it, and drop what other code made. Raises StorageExhausted where it does not fit: nothing is lost."""
        row = (snapshot.seq, self._code, snapshot.hash, sha256(snapshot.content).digest(), snapshot.content)
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute("DELETE FROM snapshot WHERE code <> ?", (self._code,))
                connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise StorageExhausted(f"no snapshot was kept at {self._path}: {error}") from error
        except sqlite3.DatabaseError:
            self._throw_away()

    def nearest(self, seq: int, log: Readable) -> Snapshot | None:
        """The newest one at or before `seq` whose hash `log` still has; those that it does not have are dropped."""
        while found := self._newest(seq):
            snapshot = Snapshot(found[0], bytes(found[1]), bytes(found[3]))
            entry = next(log.read(snapshot.seq - 1, snapshot.seq), None)
            if entry and entry.hash == snapshot.hash and sha256(snapshot.content).digest() == found[2]:
                return snapshot
            self._drop(snapshot.seq)
        return None

    def _newest(self, seq: int) -> Any:
        sql = "SELECT seq, hash, digest, content FROM snapshot WHERE code = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
        if not self._path.exists():
            return None
        try:
            with closing(self._connect()) as connection:
                return connection.execute(sql, (self._code, seq)).fetchone()
        except sqlite3.DatabaseError:
            self._throw_away()
            return None

    def _drop(self, seq: int) -> None:
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute("DELETE FROM snapshot WHERE code = ? AND seq = ?", (self._code, seq))
        except sqlite3.DatabaseError:
            self._throw_away()

    def _throw_away(self) -> None:
        with suppress(OSError):
            self._path.unlink()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        return connection
