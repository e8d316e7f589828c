"""One file of the log, opened for reading. Imports history, errors.

In: a connection.  Out: rows and entries. Any thread may read; the connection serves one at a time.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from reconciler.errors import ChainBroken, WorldUnavailable
from reconciler.eventlog.columns import OWN, asked, id_key
from reconciler.history import codec
from reconciler.history.events import Entry, Head

PAGE: Final = 1024  # entries read in one go: no read keeps the writer from checkpointing
LIVE: Final = 2**63 - 1
_VERSIONS: Final = "SELECT name, (SELECT max(version) FROM entry WHERE stream = number) FROM stream"
_PAGE: Final = "SELECT seq, hash, body FROM entry WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_STREAM_PAGE: Final = (
    "SELECT seq, hash, body FROM entry WHERE stream = (SELECT number FROM stream WHERE name = ?) "
    "AND seq > ? AND seq <= ? ORDER BY version LIMIT ?"
)
# Own events before anything was copied are found by seq, later ones by the index that begins there.
_OWN_HEAD: Final = """
WITH last (place) AS (SELECT own FROM entry ORDER BY seq DESC LIMIT 1)
SELECT sequence, coalesce(sourcehash, hash) FROM entry JOIN last ON seq = place WHERE source = 0 AND sequence = seq
UNION ALL
SELECT sequence, coalesce(sourcehash, hash) FROM entry JOIN last ON sequence = place WHERE source = 0 AND sequence < seq
"""
_OWN_PAGE: Final = """
SELECT sequence, coalesce(sourcehash, hash), body FROM entry
WHERE seq > ?1 AND seq <= ?1 + ?2 AND source = 0 AND sequence = seq
UNION ALL
SELECT sequence, coalesce(sourcehash, hash), body FROM entry
WHERE source = 0 AND sequence > ?1 AND sequence <= ?1 + ?2 AND sequence < seq
ORDER BY 1
"""


class Volume:
    """One file. first, prev: where it begins in the row chain; own: where the log's own source chain stood then.

    last, own_last: where it ends in either; LIVE while it is written.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, sealed: bool = False) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.path = path
        self.sealed = sealed
        rows = self.query("SELECT source, first, prev, sequence, sourcehash FROM segment")
        if not rows:
            raise ChainBroken(f"{path} does not say where it begins")
        self.source, self.first, self.prev = rows[0][:3]
        self.own = Head(*rows[0][3:])
        self.last = self.head().seq if sealed else LIVE
        self.own_last = LIVE
        self._numbers = {self.source: OWN}

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows. Raises WorldUnavailable when the file cannot be read now, ChainBroken when it is damaged."""
        try:
            with self._lock:
                return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            raise WorldUnavailable(f"{self.path} cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ChainBroken(f"{self.path} is damaged: {error}") from error

    def ask(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        """What `question` answers about the connection, alone with it."""
        with self._lock:
            return question(self._connection)

    def page(self, after: int, upto: int, stream: str) -> list[tuple[int, bytes, bytes]]:
        """(seq, hash, body) of up to PAGE entries with after < seq <= upto."""
        if stream:
            return self.query(_STREAM_PAGE, (stream, after, upto, PAGE))
        return self.query(_PAGE, (after, upto, PAGE))

    def head(self) -> Head:
        """The last entry; where the file begins while it has none."""
        rows = self.query("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1")
        return Head(*rows[0]) if rows else Head(self.first - 1, self.prev)

    def held(self, source: str) -> Head | None:
        """The last entry of `source` in this file, in its own chain."""
        if source == self.source:
            rows = self.query(_OWN_HEAD)
        else:
            rows = self.query(
                "SELECT sequence, sourcehash FROM entry WHERE source = ? AND sequence < seq "
                "ORDER BY sequence DESC LIMIT 1",
                (self._number(source),),
            )
        return Head(*rows[0]) if rows else None

    def source_hash(self, source: str, sequence: int) -> bytes | None:
        """The hash of one entry in the chain of its source."""
        if source == self.source:
            rows = self.query(_OWN_PAGE, (sequence - 1, 1))
            return bytes(rows[0][1]) if rows else None
        rows = self.query(
            "SELECT sourcehash FROM entry WHERE source = ? AND sequence = ? AND sequence < seq",
            (self._number(source), sequence),
        )
        return bytes(rows[0][0]) if rows else None

    def own_after(self, sequence: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """(sequence, hash, body) of the log's own events behind `sequence`, in its own chain."""
        return self.query(_OWN_PAGE, (sequence, limit))

    def versions_of(self, streams: Sequence[str]) -> dict[str, int]:
        """The last version of those of these streams that are in this file."""
        found: dict[str, int] = {}
        for some, marks in asked(streams):
            sql = f"{_VERSIONS} WHERE name IN ({marks})"
            found |= dict(self.query(sql, some))
        return found

    def stored(self, source: str, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries of `source` that have one of these ids."""
        rows = []
        for some, marks in asked(ids):
            sql = f"SELECT seq, hash, body FROM entry WHERE id IN ({marks}) AND source = ?"  # noqa: S608  # marks
            rows += self.query(sql, (*map(id_key, some), self._number(source)))
        if not rows:  # nearly always
            return {}
        return {entry.event.id: entry for entry in codec.entries(rows)}

    def find(self, event_id: str) -> Entry | None:
        """The first entry with this id."""
        rows = self.query("SELECT seq, hash, body FROM entry WHERE id = ? ORDER BY seq LIMIT 1", (id_key(event_id),))
        return next(codec.entries(rows), None)

    def recorded(self, seq: int) -> str:
        """When the entry `seq` was recorded."""
        rows = self.query("SELECT body FROM entry WHERE seq = ?", (seq,))
        return codec.recorded_time(rows[0][0]) if rows else ""

    def blob(self, oid: str) -> bytes | None:
        """A source file."""
        rows = self.query("SELECT content FROM blob WHERE oid = ?", (oid,))
        return bytes(rows[0][0]) if rows else None

    def known_blobs(self, oids: Sequence[str]) -> set[str]:
        """Those of `oids` that this file has."""
        known = set()
        for some, marks in asked(oids):
            sql = f"SELECT oid FROM blob WHERE oid IN ({marks})"  # noqa: S608  # only question marks
            known |= {oid for (oid,) in self.query(sql, some)}
        return known

    def _number(self, source: str) -> int | None:
        """The number of `source` in this file, which never changes; None where nothing of it is here."""
        if source not in self._numbers:
            rows = self.query("SELECT number FROM source WHERE name = ?", (source,))
            if not rows:
                return None
            self._numbers[source] = rows[0][0]
        return self._numbers[source]

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self._lock:
            self._connection.close()
