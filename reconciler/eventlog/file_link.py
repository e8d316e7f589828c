"""The link between two logs on one machine: reads the other's file. Imports reader, lock, ports.

In: another log's file, with or without a writer.  Out: those of its events for us that our log does not hold. The link
remembers nothing: where to go on is what our log holds of that source.
"""

from itertools import islice
from pathlib import Path
from typing import Final

from reconciler.errors import ForkFound, WorldUnavailable
from reconciler.eventlog.lock import is_held
from reconciler.eventlog.reader import SqliteReader
from reconciler.history.events import Origin
from reconciler.history.readers import name_of
from reconciler.ports import EventLog

AT_ONCE: Final = 1024  # entries copied by one commit


class FileLink:
    """`ports.Link` from the log at `other` into `log`. A new log under the old name is a new source and starts at 0."""

    def __init__(self, other: Path, log: EventLog) -> None:
        self._other = other
        self._log = log
        self._reader: SqliteReader | None = None

    @property
    def source(self) -> str:
        """See `ports.Link`."""
        return self._open().source

    def fetch(self) -> list[tuple[Origin, bytes]]:
        """See `ports.Link`. Nothing new costs one indexed query on either side."""
        reader, name = self._open(), name_of(self._log.source)
        source, end = reader.source, reader.end(name)
        held = self._log.held(source)
        if held == end:
            return []
        if held.seq > end.seq:
            raise ForkFound(f"{self._other} ends at event {end.seq}, but {held.seq} of it are held: an older copy")
        if held.seq == end.seq:
            raise ForkFound(f"{source} has two different events {held.seq}")
        return list(islice(reader.raw(name, held.seq), AT_ONCE))

    def alive(self) -> bool:
        """See `ports.Link`."""
        return is_held(self._other)

    def close(self) -> None:
        """Let go of the other's file. Idempotent; a later `fetch` opens it again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _open(self) -> SqliteReader:
        if self._reader is None:
            if not self._other.exists():
                raise WorldUnavailable(f"there is no log at {self._other} yet")
            self._reader = SqliteReader(self._other)
        return self._reader
