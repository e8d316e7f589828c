"""One file of the log, opened for reading. Imports history, errors.

In: a connection.  Out: rows and entries. Any thread may read; the connection serves one at a time.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from reconciler.errors import ChainBroken, WorldUnavailable
from reconciler.eventlog.batch import NO_TIP, Tip
from reconciler.eventlog.columns import OWN, asked, id_key
from reconciler.history import codec
from reconciler.history.events import EMPTY, Entry, Head

PAGE: Final = 1024  # entries read in one go: no read keeps the writer from checkpointing
LIVE: Final = 2**63 - 1
_VERSIONS: Final = "SELECT name, (SELECT max(version) FROM entry WHERE stream = number) FROM stream"
_PAGE: Final = "SELECT seq, hash, body FROM entry WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_STREAM_PAGE: Final = (
    "SELECT seq, hash, body FROM entry WHERE stream = (SELECT number FROM stream WHERE name = ?) "
    "AND seq > ? AND seq <= ? ORDER BY version LIMIT ?"
)
_TIPS: Final = (
    "SELECT chain.name, coalesce(entry.position, chain.position), coalesce(entry.linkhash, entry.hash, chain.hash), "
    "head.seq FROM chain JOIN head ON head.chain = chain.number LEFT JOIN entry ON entry.seq = head.seq"
)
# From an entry back along its chain, as far as this file goes.
_BACK: Final = """
WITH RECURSIVE back (seq, position, prior) AS (
  SELECT seq, position, prior FROM entry WHERE seq = ?1
  UNION ALL
  SELECT entry.seq, entry.position, entry.prior FROM back JOIN entry ON entry.seq = back.prior WHERE back.position > ?2
)
SELECT * FROM back
"""


class Volume:
    """One file. first, prev: where it begins in the row chain. own: how many own events came before. last: LIVE while
    it is written.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, sealed: bool = False) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.path = path
        self.sealed = sealed
        rows = self.query("SELECT source, first, prev, own FROM segment")
        if not rows:
            raise ChainBroken(f"{path} does not say where it begins")
        self.source, self.first, self.prev, self.own = rows[0]
        self.last = self.head().seq if sealed else LIVE
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

    def own_count(self) -> int:
        """How many own events there are up to the end of this file."""
        rows = self.query("SELECT seq, hash, body FROM entry WHERE source = 0 ORDER BY seq DESC LIMIT 1")
        return int(next(codec.entries(rows)).event.sequence) if rows else self.own

    def tips(self) -> dict[str, Tip]:
        """Where every chain ends here."""
        return {name: Tip(*tip) for name, *tip in self.query(_TIPS)}

    def tip(self, chain: str) -> Tip:
        """Where a chain ends here."""
        rows = self.query(f"{_TIPS} WHERE chain.name = ?", (chain,))
        return Tip(*rows[0][1:]) if rows else NO_TIP

    def begin(self, chain: str) -> Head:
        """Where a chain stood when the file began."""
        rows = self.query("SELECT position, hash FROM chain WHERE name = ?", (chain,))
        return Head(*rows[0]) if rows else EMPTY

    def back(self, seq: int, position: int) -> list[tuple[int, int, int]]:
        """(seq, position, prior) of an entry and those before it in its chain, newest first, to `position` or as far as
        this file goes.
        """
        return self.query(_BACK, (seq, position))

    def links(self, seqs: Sequence[int]) -> Iterator[tuple[int, bytes, bytes]]:
        """(position, hash, body) of these entries in their chain, oldest first."""
        for some, marks in asked(seqs):
            sql = f"SELECT position, coalesce(linkhash, hash), body FROM entry WHERE seq IN ({marks}) ORDER BY seq"  # noqa: S608  # marks
            yield from self.query(sql, some)

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
            rows = self.query("SELECT number FROM chain WHERE name = ?", (source,))
            if not rows:
                return None
            self._numbers[source] = rows[0][0]
        return self._numbers[source]

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self._lock:
            self._connection.close()
