"""An entry's columns as they are stored: names as numbers, UUIDs as 16 bytes. Imports batch.

In: rows of one commit.  Out: the live file's tables, inside the caller's transaction. What the indexes hold is what a
commit writes beside its events, so it is kept small; `verify` compares every column with the event's own bytes.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from reconciler.eventlog.batch import EntryRow

OWN: Final = 0  # the log itself, in the column `source`
# ROLLBACK: what is refused ends the log object, so no statement needs a journal of its own.
_INSERT: Final = "INSERT OR ROLLBACK INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NO_PLACE: Final[tuple[Any, ...]] = (None, None, None, None)  # of an entry that nobody reads
_AT_ONCE: Final = 500  # values in one question
_REMEMBERED: Final = 65_536  # streams whose number is known without asking
_T = TypeVar("_T")


@lru_cache(maxsize=1024)  # asked when it is looked up and again when it is stored
def id_key(id_: str) -> bytes | str:
    """How an event's id is stored: 16 bytes where it is a UUID as RFC 9562 writes it, else as it is."""
    if len(id_) != 36 or id_[8:24:5] != "----":
        return id_
    digits = id_.replace("-", "")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        return id_
    return key if len(digits) == 32 and key.hex() == digits else id_  # no capitals: two texts are never one key


def id_text(key: bytes | str) -> str:
    """The id that is stored as `key`: the inverse of `id_key`, at a third of its price; "" for what it never makes."""
    if isinstance(key, str):
        return key if id_key(key) == key else ""
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def asked(values: Sequence[_T]) -> Iterator[tuple[Sequence[_T], str]]:
    """As many of these values as one question takes, and their question marks for `IN (…)`."""
    for start in range(0, len(values), _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        yield some, ",".join("?" * len(some))


class Numbers:
    """The numbers of streams and chains in one live file, as its writer knows them: the seq of their first entry."""

    def __init__(self) -> None:
        self._streams: dict[str, int] = {}
        self._chains: dict[str, int] = {}

    def insert(self, connection: sqlite3.Connection, rows: Sequence[EntryRow]) -> None:
        """Add rows of `entry`, and the names that are new here; move the heads of chains on."""
        streams, chains = self._streams, self._chains
        if len(streams) > _REMEMBERED:
            streams.clear()
        _number(connection, "stream", streams, ((row.stream, row.seq) for row in rows))
        _number(connection, "chain", chains, ((row.chain, row.seq) for row in rows if row.chain))
        stored: list[tuple[Any, ...]] = []
        heads: dict[int, int] = {}
        for seq, hash_, stream, version, source, id_, chain, tip, prior, _, body in rows:
            number, place = OWN, _NO_PLACE
            if chain:
                number = chains[chain]
                heads[number] = seq
                place = (number, tip.position, prior, None if tip.hash == hash_ else tip.hash)
            from_ = number if source else OWN
            stored.append((seq, hash_, streams[stream], version, from_, id_key(id_), *place, body))
        connection.executemany(_INSERT, stored)
        begun = [head for head in heads.items() if head[0] >= rows[0].seq]
        connection.executemany("INSERT INTO head VALUES (?, ?)", begun)
        connection.executemany("UPDATE head SET seq = ?2 WHERE chain = ?1", heads.items() - begun)


def _number(
    connection: sqlite3.Connection, table: str, known: dict[str, int], named: Iterable[tuple[str, int]]
) -> None:
    """Make `known` the numbers of these (name, seq): a name that has none in the file gets its first seq as its own."""
    new: dict[str, int] = {}
    for name, seq in named:
        if name not in known:
            new.setdefault(name, seq)
    if not new:  # nearly always
        return
    for some, marks in asked(list(new)):
        sql = f"SELECT name, number FROM {table} WHERE name IN ({marks})"  # noqa: S608  # ours
        known.update(connection.execute(sql, some))
    added = [(name, seq) for name, seq in new.items() if name not in known]
    connection.executemany(f"INSERT INTO {table} (name, number) VALUES (?, ?)", added)  # noqa: S608  # as above
    known.update(added)
