"""The reading half of `ports.EventLog` over the files of one log, for any process, without a lock. Imports volume.

In: the log's path.  Out: entries, blobs, heads. It follows the log when a segment is sealed behind its back.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from reconciler.errors import ChainBroken, HistoryError, WorldUnavailable
from reconciler.eventlog import chains, schema, segments
from reconciler.eventlog.audit import verify_volumes
from reconciler.eventlog.volume import Volume
from reconciler.history import codec
from reconciler.history.events import Entry, Head, Origin
from reconciler.ports import Verification

_T = TypeVar("_T")


class SqliteReader:
    """Reads a log that this or another process writes, or nobody. Thread-safe. Raises WorldUnavailable without one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = threading.Lock()
        self._inode = 0
        self._open: list[Volume] = []
        self._retired: list[Volume] = []
        self._closed = False
        self._volumes()

    @property
    def source(self) -> str:
        """See `ports.EventLog`."""
        return str(self._volumes()[-1].source)

    def read(self, after: int = 0, upto: int | None = None, *, stream: str = "") -> Iterator[Entry]:
        """See `ports.EventLog`."""
        for page in self._pages(after, upto, stream):
            yield from codec.entries(page)

    def stored_rows(self, after: int = 0, upto: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, hash, stored body) of the entries with after < seq <= upto."""
        for page in self._pages(after, upto, ""):
            yield from page

    def find(self, event_id: str) -> Entry | None:
        """See `ports.EventLog`."""
        return self._newest(lambda volume: volume.find(event_id))

    def seq_at(self, time: str) -> int:
        """See `ports.EventLog`. A binary search: recordedtime never goes back."""
        volumes = self._holding(0)
        low, high = 0, volumes[-1].head().seq
        while low < high:
            middle = (low + high + 1) // 2
            volume = next(volume for volume in reversed(volumes) if volume.first <= middle)
            if volume.recorded(middle) <= time:
                low = middle
            else:
                high = middle - 1
        return low

    def head(self) -> Head:
        """See `ports.EventLog`."""
        return self._volumes()[-1].head()

    def blob(self, oid: str) -> bytes | None:
        """See `ports.EventLog`."""
        return self._newest(lambda volume: volume.blob(oid))

    def held(self, source: str) -> Head:
        """See `ports.EventLog`."""
        return self.end(source)

    def end(self, chain: str) -> Head:
        """The end of a reader's chain, by one indexed query: a link sees whether there is anything new."""
        return Head(*self._volumes()[-1].tip(chain)[:2])

    def raw(self, reader: str, after: int = 0) -> Iterator[tuple[Origin, bytes]]:
        """See `ports.EventLog`."""
        return chains.after(self._volumes()[::-1], reader, after)

    def verify(self, progress: Callable[[int], None] | None = None) -> Verification:
        """See `ports.EventLog`. Also compares columns with bodies, blobs with their ids, and tables with the schema."""
        return verify_volumes(self._path, self._volumes(), progress)

    def close(self) -> None:
        """Let go of the files. Idempotent."""
        with self._opening:
            self._closed = True
            for volume in (*self._open, *self._retired):
                volume.close()

    def _pages(self, after: int, upto: int | None, stream: str) -> Iterator[list[tuple[int, bytes, bytes]]]:
        end = self.head().seq
        end = end if upto is None else min(upto, end)
        for volume in self._holding(after):
            last = min(end, volume.last)
            while after < last and (page := volume.page(after, last, stream)):
                yield page
                after = page[-1][0]
            after = max(after, last)

    def _newest(self, ask: Callable[[Volume], _T | None]) -> _T | None:
        return next((found for volume in reversed(self._volumes()) if (found := ask(volume)) is not None), None)

    def _holding(self, after: int) -> list[Volume]:
        """The files with the entries behind `after`. Raises ChainBroken when one of them is not here."""
        held, wanted = [], after + 1
        for volume in self._volumes():
            if volume.last < wanted:
                continue
            if volume.first > wanted:
                raise segments.missing(self._path, wanted, volume.first - 1)
            held.append(volume)
            wanted = volume.last + 1
        return held

    def _volumes(self) -> list[Volume]:
        """The open files, oldest first; opened anew when the log's name leads to another live file."""
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            raise WorldUnavailable(f"there is no log at {self._path}") from error
        if inode != self._inode or self._closed:
            with self._opening:
                self._reopen(inode)
        return self._open

    def _reopen(self, inode: int) -> None:
        if self._closed:
            raise HistoryError(f"{self._path} was closed")
        if inode == self._inode:
            return
        live = open_volume(self._path.resolve())
        known = {volume.path: volume for volume in self._open if volume.sealed}
        sealed = [
            known.get(file.path) or open_volume(file.path, sealed=True)
            for file in segments.sealed_files(self._path, live.first)
        ]
        self._retired += [volume for volume in self._open if volume not in sealed]  # other threads may be reading
        self._open, self._inode = [*sealed, live], inode


def open_volume(path: Path, *, sealed: bool = False) -> Volume:
    """One file, opened for reading. Raises WorldUnavailable, ChainBroken, LogTooNew."""
    try:
        connection = schema.connect_reader(path, sealed=sealed)
        try:
            schema.check_made(connection, path)
            return Volume(connection, path, sealed=sealed)
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        raise WorldUnavailable(f"{path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ChainBroken(f"{path} is damaged: {error}") from error
