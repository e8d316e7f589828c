"""The work queue: what may have to be looked at again, and when. Imports nothing of ours but ports.

In: whoever notices something (a watcher, a control socket, a worker).  Out: triggers, one at a time, to the loop.
A trigger names what may have changed and carries no state to act on; equal ones that wait are one.
"""

import heapq
import itertools
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.history.events import Event
from reconciler.ports import Clock

WAIT_S: Final = 3600.0  # one wait; a due in some hundred years is more than a lock can wait for


@dataclass(frozen=True)
class Trigger:
    """Something happened that may concern us.

    cause: its kind (`start`, `commit`, `edge`, `orders`, `audit`, `rules`, `keys`, `happened`, `done`, `verb`).
    subject: which (an edge, a key), or "".
    events: what a worker did, to be recorded.  request and reply: a person's verb, answered when it has been done;
    of an `edge` whose agent ended by itself: `error`, how it ended.
    """

    cause: str
    subject: str = ""
    events: tuple[Event, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict, compare=False)
    reply: "Future[dict[str, Any]] | None" = field(default=None, compare=False)

    @property
    def mergeable(self) -> bool:
        """Whether an equal trigger that already waits says the same."""
        return self.reply is None and not self.events and not self.request


class Queue:
    """Triggers by due time. Thread-safe; `take` blocks without a timer when nothing is due later."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Trigger]] = []
        self._due: dict[tuple[str, str], float] = {}
        self._order = itertools.count()
        self._in_hand: Trigger | None = None
        self._bug: BaseException | None = None
        self._closed = False

    def add(self, trigger: Trigger, delay_s: float = 0.0) -> None:
        """Have `trigger` taken in `delay_s` seconds, or earlier where an equal one is due earlier."""
        due = self._clock.monotonic() + delay_s
        with self._changed:
            if self._closed and trigger.reply is not None:
                trigger.reply.cancel()  # nobody will answer
            if trigger.mergeable:
                if self._due.get((trigger.cause, trigger.subject), float("inf")) <= due:
                    return
                self._due[trigger.cause, trigger.subject] = due
            heapq.heappush(self._heap, (due, next(self._order), trigger))
            self._changed.notify()

    def take(self) -> Trigger | None:
        """The next trigger that is due; blocks until there is one. None once the queue is closed.

        Raises what `fail` was told.
        """
        with self._changed:
            self._in_hand = None
            while not self._closed:
                if self._bug is not None:
                    raise self._bug
                now = self._clock.monotonic()
                while self._heap and self._is_stale(self._heap[0]):
                    heapq.heappop(self._heap)
                if self._heap and self._heap[0][0] <= now:
                    _, _, trigger = heapq.heappop(self._heap)
                    if trigger.mergeable:
                        del self._due[trigger.cause, trigger.subject]
                    self._in_hand = trigger
                    return trigger
                self._changed.wait(min(self._heap[0][0] - now, WAIT_S) if self._heap else None)
            return None

    def taken(self, cause: str, subject: str) -> list[Trigger]:
        """Those of one kind that are due and carry something of their own, out of their turn."""
        with self._changed:
            now = self._clock.monotonic()
            found = [
                row
                for row in self._heap
                if row[0] <= now and not row[2].mergeable and (row[2].cause, row[2].subject) == (cause, subject)
            ]
            for row in found:
                self._heap.remove(row)
            heapq.heapify(self._heap)
            return [trigger for _, _, trigger in sorted(found)]  # due and number tell any two apart

    def _is_stale(self, row: tuple[float, int, Trigger]) -> bool:
        due, _, trigger = row
        return trigger.mergeable and self._due.get((trigger.cause, trigger.subject)) != due

    def fail(self, bug: BaseException) -> None:
        """End with `bug` who takes: a thread that everything relies on has ended by it."""
        with self._changed:
            self._bug = self._bug or bug
            self._changed.notify_all()

    def close(self) -> None:
        """End every `take`, now and later. What waits is dropped: it is found again from state at the next start."""
        with self._changed:
            self._closed = True
            for _, _, trigger in self._heap:
                if trigger.reply is not None:
                    trigger.reply.cancel()
            self._changed.notify_all()

    def abandon(self) -> None:
        """Close, once nobody takes any more: what was taken last is not answered either, unless it was."""
        self.close()
        with self._changed:
            if self._in_hand is not None and self._in_hand.reply is not None:
                self._in_hand.reply.cancel()  # without effect on one that was answered
