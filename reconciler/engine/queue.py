"""The work queue: what may have to be looked at again, and when. Imports nothing of ours but ports and history.

In: whoever notices something (a watcher, a control socket, a worker).  Out: triggers, one at a time, to the loop.
A trigger names what may have changed and carries no state to act on; equal ones that wait are one.
"""

import heapq
import itertools
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from reconciler.history.events import Event
from reconciler.ports import Clock

WAIT_S: Final = 3600.0  # one wait; a due in some hundred years is more than a lock can wait for


class Cause(StrEnum):
    """The cause of a trigger. The loop's own are BEGIN, DONE and SLICE; what the others mean a source says."""

    START = "start"  # a process begins
    AUDIT = "audit"  # time has come to look at everything
    KEYS = "keys"  # one key is due
    VERB = "verb"  # a person asks
    HAPPENED = "happened"  # something is to be recorded, and nothing to be done
    COMMIT = "commit"  # the branch may have moved, or a look at it has ended
    RULES = "rules"  # the policy in force is another one
    EDGE = "edge"  # an edge may have said something, or a look at its log has ended
    ORDERS = "orders"  # the hub may have ordered something
    OBJECT = "object"  # an object of the API server is not as it was
    FOUND = "found"  # a kind of object can be read
    LEASE = "lease"  # this process alone may write
    AGAIN = "again"  # what got no answer may be sent once more
    DONE = "done"  # orders were answered
    BEGIN = "begin"  # a plan under way may go on
    SLICE = "slice"  # an audit under way may go on
    FOLLOW = "follow"  # for who follows the log on the loop's thread


NEEDED: Final = frozenset({Cause.START, Cause.LEASE, Cause.FOUND})  # nothing else would bring them again


@dataclass(frozen=True)
class Trigger:
    """Something happened that may concern a stage.

    subject: which (an edge, a key), or "".  stage: its name; "" is the stage that answers people.
    events: what a worker did, to be recorded.  request and reply: a person's verb, answered when it has been done;
    of an EDGE whose agent ended by itself: `error`, how it ended.
    """

    cause: Cause
    subject: str = ""
    events: tuple[Event, ...] = ()
    stage: str = ""
    request: Mapping[str, Any] = field(default_factory=dict, compare=False)
    reply: "Future[dict[str, Any]] | None" = field(default=None, compare=False)

    @property
    def mergeable(self) -> bool:
        """Whether an equal trigger that already waits says the same."""
        return self.reply is None and not self.events and not self.request

    @property
    def name(self) -> tuple[str, str, str]:
        """What equal triggers have in common."""
        return self.stage, self.cause, self.subject


class Queue:
    """Triggers by due time. Thread-safe; `take` blocks without a timer when nothing is due later."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = clock.gate()
        self._heap: list[tuple[float, int, Trigger]] = []
        self._due: dict[tuple[str, str, str], float] = {}
        self._order = itertools.count()
        self._in_hand: Trigger | None = None
        self._bug: BaseException | None = None
        self._closed = False

    def add(self, trigger: Trigger, delay_s: float = 0.0) -> float:
        """Have `trigger` taken in `delay_s` seconds, or earlier where an equal one is due earlier. When it is due."""
        due = self._clock.monotonic() + delay_s
        with self._changed:
            if self._closed and trigger.reply is not None:
                trigger.reply.cancel()  # nobody will answer
            if trigger.mergeable:
                earlier = self._due.get(trigger.name)
                if earlier is not None and earlier <= due:
                    return earlier
                self._due[trigger.name] = due
            heapq.heappush(self._heap, (due, next(self._order), trigger))
            self._changed.notify_all()
            return due

    def forget(self, trigger: Trigger, due: float) -> None:
        """Take back a trigger that was added for `due`, unless an equal one became due earlier."""
        with self._changed:
            if self._due.get(trigger.name) == due:
                del self._due[trigger.name]

    def take(self) -> Trigger | None:
        """The next trigger that is due; blocks until there is one. None once the queue is closed.

        Raises what `fail` was told.
        """
        with self._changed:
            self._in_hand = None
            while not self._closed:
                if self._bug is not None:
                    raise self._bug
                due = self._next_due()
                now = self._clock.monotonic()
                if due is not None and due <= now:
                    _, _, trigger = heapq.heappop(self._heap)
                    if trigger.mergeable:
                        del self._due[trigger.name]
                    self._in_hand = trigger
                    return trigger
                self._changed.wait(None if due is None else min(due - now, WAIT_S))
            return None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is due now."""
        with self._changed:
            due = self._next_due()
            return due is None or due > self._clock.monotonic()

    def _next_due(self) -> float | None:
        while self._heap and self._is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _is_stale(self, row: tuple[float, int, Trigger]) -> bool:
        due, _, trigger = row
        return trigger.mergeable and self._due.get(trigger.name) != due

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

    def stage(self, name: str) -> "StageQueue":
        """This queue, for one stage."""
        return StageQueue(self, name)


class StageQueue:
    """The queue as one stage has it: what it adds names the stage."""

    def __init__(self, queue: Queue, stage: str) -> None:
        self._queue, self._stage = queue, stage

    def add(self, trigger: Trigger, delay_s: float = 0.0) -> float:
        """See `Queue.add`."""
        return self._queue.add(replace(trigger, stage=self._stage), delay_s)

    def forget(self, trigger: Trigger, due: float) -> None:
        """See `Queue.forget`."""
        self._queue.forget(replace(trigger, stage=self._stage), due)

    def fail(self, bug: BaseException) -> None:
        """See `Queue.fail`."""
        self._queue.fail(bug)
