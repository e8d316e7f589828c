"""The work queue: due times, merging, closing."""

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.errors import HubUnreachable
from reconciler.history.events import Event
from reconciler.wiring.hub import ask
from reconciler.wiring.process import failed_by_threads
from tests.log_events import StillClock, an_event


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def queue(clock: StillClock) -> Queue:
    return Queue(clock)


def taken(queue: Queue, count: int) -> list[str]:
    found = [queue.take() for _ in range(count)]
    return [one.subject for one in found if one is not None]


def waiting(queue: Queue) -> int:
    return len([row for row in queue._heap if not queue._is_stale(row)])


def test_triggers_come_in_the_order_in_which_they_are_due_then_added(queue: Queue, clock: StillClock) -> None:
    for subject, delay_s in (("c", 2.0), ("a", 0.0), ("b", 0.0)):
        queue.add(Trigger(Cause.KEYS, subject), delay_s)
    assert taken(queue, 2) == ["a", "b"]
    clock.seconds += 2
    assert taken(queue, 1) == ["c"]


def test_equal_triggers_that_wait_are_one_at_the_earlier_time(queue: Queue, clock: StillClock) -> None:
    queue.add(Trigger(Cause.COMMIT), 30.0)
    queue.add(Trigger(Cause.COMMIT), 60.0)
    queue.add(Trigger(Cause.COMMIT))
    assert queue.take() == Trigger(Cause.COMMIT)
    clock.seconds += 100
    assert waiting(queue) == 0


def test_a_trigger_that_was_taken_may_be_added_again(queue: Queue) -> None:
    for _ in range(2):
        queue.add(Trigger(Cause.KEYS, "a"))
        assert queue.take() == Trigger(Cause.KEYS, "a")


def test_what_carries_events_or_a_question_is_never_merged(queue: Queue) -> None:
    event: Event = an_event(1)
    for _ in range(2):
        queue.add(Trigger(Cause.HAPPENED, "a", (event,)))
        queue.add(Trigger(Cause.VERB, "approve", reply=Future()))
    assert waiting(queue) == 4


def test_take_waits_until_something_is_due(queue: Queue) -> None:
    found: list[Trigger | None] = []
    taker = threading.Thread(target=lambda: found.append(queue.take()))
    taker.start()
    queue.add(Trigger(Cause.COMMIT))
    taker.join(30)
    assert found == [Trigger(Cause.COMMIT)]


def test_a_closed_queue_gives_nothing_and_answers_nobody_late(queue: Queue) -> None:
    early: Future[dict[str, Any]] = Future()
    late: Future[dict[str, Any]] = Future()
    queue.add(Trigger(Cause.VERB, reply=early))
    queue.add(Trigger(Cause.COMMIT))
    queue.close()
    queue.add(Trigger(Cause.VERB, reply=late))
    assert queue.take() is None
    assert early.cancelled()
    assert late.cancelled()


def test_closing_ends_a_take_that_waits(queue: Queue) -> None:
    found: list[Trigger | None] = []
    taker = threading.Thread(target=lambda: found.append(queue.take()))
    taker.start()
    queue.close()
    taker.join(30)
    assert found == [None]


def test_what_is_due_in_some_hundred_years_is_waited_for_in_pieces(queue: Queue) -> None:
    queue.add(Trigger(Cause.KEYS, "a pin until 2400"), 1.2e10)  # more than a lock can wait for at once
    found: list[Trigger | None] = []
    taker = threading.Thread(target=lambda: found.append(queue.take()))
    taker.start()
    queue.add(Trigger(Cause.COMMIT))
    taker.join(30)
    assert found == [Trigger(Cause.COMMIT)]


def test_a_question_in_hand_is_answered_after_closing_and_cancelled_only_when_nobody_takes_any_more(
    queue: Queue,
) -> None:
    for answered in (True, False):
        reply: Future[dict[str, Any]] = Future()
        queue.add(Trigger(Cause.VERB, reply=reply))
        queue.take()
        if answered:
            reply.set_result({})
    queue.close()
    assert not reply.cancelled()
    queue.abandon()
    assert reply.cancelled()


def test_who_asks_a_reconciler_that_ends_is_told_so(queue: Queue) -> None:
    def end() -> None:
        queue.take()
        queue.abandon()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(HubUnreachable, match="the reconciler is ending"):
        ask(queue, {"verb": "resume"})
    ending.join()


def test_triggers_that_tell_something_are_never_merged(queue: Queue) -> None:
    queue.add(Trigger(Cause.EDGE, "edge-1"))
    queue.add(Trigger(Cause.EDGE, "edge-1", request={"error": "it ended"}))
    assert waiting(queue) == 2


def test_who_takes_ends_by_the_bug_that_ended_another_thread(queue: Queue) -> None:
    bug = ValueError("of a worker")
    with failed_by_threads(queue.fail):
        ended = threading.Thread(target=_raise, args=(bug,))
        ended.start()
        ended.join()
    queue.add(Trigger(Cause.AUDIT))
    with pytest.raises(ValueError, match="of a worker"):
        queue.take()


def _raise(bug: Exception) -> None:
    raise bug
