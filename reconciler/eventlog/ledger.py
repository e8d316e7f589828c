"""What every store of the log has in common: group commit, listeners, one writer's lock. Imports history, ports.

In: events from writers, entries of other logs.  Out: rows to the store below (`Ledger._store`), entries to listeners.
"""

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from reconciler.errors import HistoryError, LogWriteFailed
from reconciler.eventlog.batch import Batch, EntryRow, Lookup, Tail
from reconciler.history.events import LOG_GENESIS, Entry, Event, Origin, event_id, rfc3339
from reconciler.ports import Clock

GROUP = 512  # events that share one commit, at most, unless one call brings more


def genesis(log_id: str, source: str, time: str, follows: str = "") -> Event:
    """The first event of a log: it names itself, so no two logs are ever the same source.

    follows: the source under which this log was written before, where a new epoch begins.
    """
    return Event(
        id=event_id("genesis", source),
        type=LOG_GENESIS,
        partitionkey="log",
        time=time,
        subject=source,
        data={"log": log_id} | ({"follows": follows} if follows else {}),
    )


def new_log_id() -> str:
    """A random name for a new log, 32 hex digits."""
    return uuid.uuid4().hex


class _Ticket:
    """One caller's part of a commit, and what became of it."""

    def __init__(self, stamp: Callable[[Batch], list[Entry]], size: int) -> None:
        self.stamp = stamp
        self.size = size
        self.entries: list[Entry] = []
        self.error: Exception | None = None
        self.done = False


class Ledger(ABC):
    """The writing half of `ports.EventLog`. A store gives it the look-ups and `_store`."""

    _ended: HistoryError | None = None  # why nothing more is written or read here: a failed write, or `close`
    _new_id: Callable[[], str] = staticmethod(new_log_id)

    def __init__(self, source: str, clock: Clock, tail: Tail) -> None:
        self._source = source
        self._clock = clock
        self._tail = tail
        self._writing = threading.Lock()
        self._queue: list[_Ticket] = []
        self._queue_lock = threading.Lock()
        self._listeners: list[Callable[[list[Entry]], None]] = []

    @abstractmethod
    def _store(self, rows: list[EntryRow]) -> None:
        """Make `rows` durable, all or none. Raises LogWriteFailed, having set `_ended` to it."""

    @abstractmethod
    def _lookup(self) -> Lookup:
        """What is stored, as the writer sees it."""

    @property
    def source(self) -> str:
        """See `ports.EventLog`."""
        return self._source

    def append(self, events: Sequence[Event], *, expected: Mapping[str, int] | None = None) -> list[Entry]:
        """See `ports.EventLog`."""
        return self._submit(_Ticket(lambda batch: batch.own(events, expected or {}), len(events)))

    def copy(self, entries: Sequence[tuple[Origin, bytes]]) -> list[Entry]:
        """See `ports.EventLog`."""
        return self._submit(_Ticket(lambda batch: batch.copied(entries), len(entries)))

    def renew(self) -> None:
        """See `ports.EventLog`."""
        with self._writing:
            log_id, old = self._new_id(), self._source
            source = f"{old.rpartition('/')[0]}/{log_id}"
            batch = Batch(self._lookup(), source, self._tail._replace(own=0), self._batch().recorded)
            batch.own([genesis(log_id, source, batch.recorded, old)], {})
            self._begin(batch, source)
            self._source, self._tail = source, batch.tail
            self._tell(batch.entries)

    @abstractmethod
    def _begin(self, batch: Batch, source: str) -> None:
        """Make the rows of `batch` durable in a new segment. A new `source`: its readers' chains begin anew."""

    def subscribe(self, listener: Callable[[list[Entry]], None]) -> None:
        """See `ports.EventLog`. A listener must not append: it runs under the writer's lock."""
        with self._writing:
            self._listeners.append(listener)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _submit(self, ticket: _Ticket) -> list[Entry]:
        with self._queue_lock:
            self._queue.append(ticket)
        with self._writing:  # whoever comes first commits for all who queued while the last commit was under way
            while not ticket.done:  # a lock is no queue: who came later may get it first
                self._commit(self._take() or [ticket])
        if ticket.error is not None:
            raise ticket.error
        return ticket.entries

    def _take(self) -> list[_Ticket]:
        """The oldest tickets up to GROUP events; the oldest in any case."""
        with self._queue_lock:
            taken, size = list[_Ticket](), 0
            for ticket in self._queue:
                if taken and size + ticket.size > GROUP:
                    break
                taken.append(ticket)
                size += ticket.size
            del self._queue[: len(taken)]
            return taken

    def _commit(self, tickets: list[_Ticket]) -> None:
        batch = self._stamp_all(tickets)
        if batch.rows:
            try:
                self._store(batch.rows)
            except LogWriteFailed as error:
                for ticket in tickets:
                    ticket.error = ticket.error or error
            else:
                self._tail = batch.tail
        for ticket in tickets:
            ticket.done = True
        if batch.rows and self._ended is None:
            self._tell(batch.entries)

    def _tell(self, entries: list[Entry]) -> None:
        for listener in self._listeners:
            listener(entries)

    def _stamp_all(self, tickets: list[_Ticket]) -> Batch:
        """One batch of all tickets that can be stamped. One that cannot leaves no trace: the rest is stamped again."""
        batch, accepted = self._batch(), list[_Ticket]()
        for ticket in tickets:
            try:
                self._check_open()
                ticket.entries = ticket.stamp(batch)
            except Exception as error:  # noqa: BLE001  # raised again in the thread of its own caller
                ticket.error = error
                batch = self._batch()
                for earlier in accepted:
                    earlier.entries = earlier.stamp(batch)
            else:
                accepted.append(ticket)
        return batch

    def _batch(self) -> Batch:
        recorded = max(rfc3339(self._clock.now()), self._tail.recorded)
        return Batch(self._lookup(), self._source, self._tail, recorded)
