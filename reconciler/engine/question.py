"""Requests to Git and to links, made on workers beside the loop. May import: errors, ports, engine.queue.

In: what waits for the world (a look at a branch, at another log).  Out: its answer, taken in by the loop's thread.
While one is asked everything else goes on; a question without an answer ends by its deadline.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Generic, NamedTuple, TypeVar

from reconciler.engine.queue import StageQueue, Trigger
from reconciler.errors import ReconcilerError, WorldUnavailable
from reconciler.ports import Clock, Workers

T = TypeVar("T")
ENDED: Final = "ended"  # in the request of a trigger: the number of the look that it is the end of


class Answered(NamedTuple, Generic[T]):
    """An answer, which may be None."""

    value: T


class Question(Generic[T]):
    """One question, asked again and again, at most once at a time."""

    def __init__(
        self,
        begin: Callable[[], Callable[[], T]],
        trigger: Trigger,
        *,
        queue: StageQueue,
        workers: Workers,
        clock: Clock,
        deadline_s: float,
    ) -> None:
        """begin: on the loop's thread, makes what is asked on a worker.  trigger: has `answer` called again."""
        self._begin, self._trigger = begin, trigger
        self._queue, self._workers, self._clock, self._deadline_s = queue, workers, clock, deadline_s
        self._answers: deque[tuple[int, T | None, BaseException | None]] = deque()
        self._number, self._asked_at, self._due = 0, -1.0, -1.0
        self._is_asked = self._again = self._is_submitting = False

    def answer(self, trigger: Trigger) -> Answered[T] | None:
        """What was answered since; None while it is asked, which this begins where it is not.

        trigger: why this is called: something was noticed, or the question's own, that there is an answer.
        Raises what the question raised, and WorldUnavailable past its deadline.
        """
        ended = trigger.request.get(ENDED)
        if ended is not None and ended != self._number:
            return None  # one that was given up
        if not self._is_asked:
            self._ask()
        elif ended is None:
            self._again = True  # this answer may be too old
        while self._answers:
            number, value, failure = self._answers.popleft()
            if number == self._number:
                return self._answered(value, failure)
        left_s = self._asked_at + self._deadline_s - self._clock.monotonic()
        if left_s <= 0:
            self._is_asked = self._again = False
            self._number += 1
            raise WorldUnavailable(f"there was no answer within {self._deadline_s:.0f} s")
        self._due = self._queue.add(self._trigger, left_s)
        return None

    def _answered(self, value: T | None, failure: BaseException | None) -> Answered[T]:
        self._queue.forget(self._trigger, self._due)
        again, self._is_asked, self._again = self._again, False, False
        if again:
            self._queue.add(self._trigger)
        if failure is not None:
            raise failure
        return Answered(value)  # type: ignore[arg-type]  # None only where T has it

    def _ask(self) -> None:
        self._number += 1
        self._is_asked, self._asked_at = True, self._clock.monotonic()
        number, ask = self._number, self._begin()

        def work() -> None:
            try:
                self._answers.append((number, ask(), None))
            except ReconcilerError as failure:
                self._answers.append((number, None, failure))
            except BaseException as bug:  # noqa: BLE001  # risen again in the loop's thread
                self._queue.fail(bug)
            if not self._is_submitting:  # else it is taken at once
                self._queue.add(replace(self._trigger, request={ENDED: number}))

        self._is_submitting = True
        try:
            self._workers.submit(work)
        finally:
            self._is_submitting = False
