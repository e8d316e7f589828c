"""Simulated lines between a hub and its edges, the links and rings that go over them, and the logs at their ends."""

import copy
from collections.abc import Callable
from itertools import islice
from typing import Any

from reconciler.errors import ForkFound, WorldUnavailable
from reconciler.eventlog.memory import MemoryLog
from reconciler.history.events import Head, Origin
from reconciler.history.readers import name_of
from reconciler.ports import Clock, EventLog


class SimLog(MemoryLog):
    """A log in memory that outlives its writers, as a file would."""

    def __init__(self, name: str, clock: Clock, new_id: Callable[[], str]) -> None:
        super().__init__(name, clock, new_id=new_id)
        self.is_written = True

    def end(self, reader: str) -> Head:
        """The end of the chain of a reader."""
        return self.held(reader)

    def open(self, clock: Clock) -> "SimLog":
        """The same for its next writer."""
        self._listeners.clear()
        self._clock, self.is_written = clock, True
        return self

    def close(self) -> None:
        self.is_written = False

    def backup(self) -> tuple[Any, ...]:
        """All that is in it now."""
        return copy.deepcopy((self._rows, self._by_id, self._by_stream, self._by_chain, self._tail, self._source))

    def restore(self, backup: tuple[Any, ...]) -> None:
        """Have in it what was in it then."""
        kept = copy.deepcopy(backup)
        self._rows, self._by_id, self._by_stream, self._by_chain, self._tail, self._source = kept


class Line:
    """One direction of a line."""

    def __init__(self) -> None:
        self.is_up, self.is_slow = True, False


class SimLink:
    """`ports.Link` over a line, a few entries at a time."""

    def __init__(
        self, there: SimLog, here: EventLog, line: Line, few: Callable[[], int], hang: Callable[[], None]
    ) -> None:
        """few: how many entries are brought at once.  hang: passes the time of a transfer over a slow line."""
        self._there, self._here, self._line, self._few, self._hang = there, here, line, few, hang

    @property
    def source(self) -> str:
        self._must_be_up()
        return self._there.source

    def _must_be_up(self) -> None:
        if self._line.is_slow:
            self._hang()
        if not self._line.is_up:
            raise WorldUnavailable("the line is cut")

    def fetch(self) -> list[tuple[Origin, bytes]]:
        self._must_be_up()
        name, held = name_of(self._here.source), self._here.held(self._there.source)
        end = self._there.end(name)
        if held.seq > end.seq:
            raise ForkFound(f"it ends at event {end.seq}, but {held.seq} of it are held: an older copy")
        if held.seq and self._there.hash_at(name, held.seq) != held.hash:
            raise ForkFound(f"there are two different events {held.seq}")
        return list(islice(self._there.raw(name, held.seq), self._few()))

    def alive(self) -> bool:
        return self._line.is_up and self._there.is_written
