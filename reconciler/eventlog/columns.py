"""An entry's columns as they are stored: names as numbers, UUIDs as 16 bytes. Imports batch.

In: rows of one commit.  Out: the live file's tables, inside the caller's transaction. What the indexes hold is what a
commit writes beside its events, so it is kept small; `verify` compares every column with the event's own bytes.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from reconciler.eventlog.batch import Row

OWN: Final = 0  # the log itself, in the column `source`
_INSERT: Final = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REMEMBERED: Final = 65_536  # streams whose number is known without asking


def id_key(id_: str) -> bytes | str:
    """How an event's id is stored: 16 bytes where it is a UUID as RFC 9562 writes it, else as it is."""
    digits = id_.replace("-", "")
    if len(id_) == 36 and len(digits) == 32 and id_[8] == id_[13] == id_[18] == id_[23] == "-":
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            return id_
        if key.hex() == digits:  # not with capitals: two texts are never one key
            return key
    return id_


class Numbers:
    """The numbers of streams and sources in one live file, as its writer knows them."""

    def __init__(self) -> None:
        self._streams: dict[str, int] = {}
        self._sources: dict[str, int] = {"": OWN}

    def insert(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Add rows of `entry`, and the names that are new here."""
        self._learn(connection, "stream", self._streams, {row.stream for row in rows})
        self._learn(connection, "source", self._sources, {row.source for row in rows})
        streams, sources = self._streams, self._sources
        stored = [
            (
                seq,
                hash_,
                streams[stream],
                version,
                sources[source],
                id_key(id_),
                sequence,
                own,
                None if source_hash == hash_ else source_hash,
                body,
            )
            for seq, hash_, stream, version, source, id_, sequence, source_hash, own, _, body in rows
        ]
        connection.executemany(_INSERT, stored)

    def _learn(self, connection: sqlite3.Connection, table: str, known: dict[str, int], names: set[str]) -> None:
        new = sorted(names - known.keys())
        if len(known) + len(new) > _REMEMBERED:
            known.clear()
            known |= {"": OWN} if known is self._sources else {}
            new = sorted(names - known.keys())
        for name in new:
            row = connection.execute(f"SELECT number FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608  # one of our two tables
            if row is None:
                row = connection.execute(f"INSERT INTO {table} (name) VALUES (?) RETURNING number", (name,)).fetchone()  # noqa: S608  # as above
            known[name] = row[0]
