"""Parsed documents by blob id, so that a file is parsed once in its life. May import: planning.declared.

In: objects of files without problems.  Out: the same, at the next start. Derived: it may be deleted at any time.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

import reconciler
from reconciler.planning.declared import Object

_DECODER: Final = msgspec.json.Decoder(list[Object])


class DocumentCache:
    """A SQLite file beside the mirror. A damaged one, or one of another release, begins anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, list[Object]] = {}

    def load(self, oids: Iterable[str]) -> dict[str, list[Object]]:
        """The objects of the files among `oids` that are here. Paths are those of the file that was parsed."""
        wanted = set(oids)
        with contextlib.suppress(sqlite3.Error, msgspec.DecodeError), contextlib.closing(self._open()) as rows:
            return {
                oid: _DECODER.decode(objects)
                for oid, objects in rows.execute("SELECT oid, objects FROM parsed")
                if oid in wanted
            }
        return {}

    def keep(self, parsed: Mapping[str, list[Object]]) -> None:
        """Remember the objects of files. Failing to is no failure: they are parsed again."""
        if not parsed:
            return
        rows = [(oid, msgspec.json.encode(objects)) for oid, objects in parsed.items()]
        with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(self._open()) as database, database:
            database.executemany("INSERT OR REPLACE INTO parsed VALUES (?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        version = crc32(reconciler.__version__.encode()) >> 1  # SQLite keeps 31 bits and a sign
        for attempt in range(2):
            database = sqlite3.connect(self._path)
            try:
                if database.execute("PRAGMA user_version").fetchone()[0] not in {0, version}:
                    database.execute("DROP TABLE IF EXISTS parsed")
                database.execute("CREATE TABLE IF NOT EXISTS parsed (oid TEXT PRIMARY KEY, objects BLOB) STRICT")
                database.execute(f"PRAGMA user_version = {version}")
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = OFF")
            except sqlite3.DatabaseError:
                database.close()
                if attempt:
                    raise
                self._path.unlink(missing_ok=True)
            else:
                return database
        raise sqlite3.DatabaseError(str(self._path))  # not reached: the second attempt returns or raises
