"""Orders on their way: of one object one at a time, and the newest wins."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest

from reconciler.engine.queue import Queue
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Order
from reconciler.errors import ApiUnavailable
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import State
from reconciler.kube.write.apply import Sender
from reconciler.kube.write.dispatcher import Dispatcher
from reconciler.planning.plan import Step
from tests.log_events import StillClock

KEY = Key("InferenceModel", "default", "m", "")


class Api:
    """A sender whose answers a test lets through."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.queue = Queue(self.clock)
        log = MemoryLog("/hub", self.clock)
        self.record = Recorder(log, self.clock, State(), "hub").stage(DECLARE)
        self.sent: list[str] = []
        self.is_away = False
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)
        self.busy = self.most = 0

    def order(self, version: str, key: Key = KEY) -> Order:
        step = Step(key, "update", {"v": version}, {}, (), "because")
        data = {"action": "update", "spec": step.spec, "reason": step.reason}
        intent = self.record.event(ev.APPLY_INTENDED, key, data, operationid=version)
        return Order(step, self.record.append([intent])[0])

    def send(self, order: Order) -> list[Event]:
        self.busy += 1
        self.most = max(self.most, self.busy)
        self.begun.release()
        assert self.may_end.acquire(timeout=30)
        self.busy -= 1
        if self.is_away:
            raise ApiUnavailable("no answer")
        self.sent.append(order.step.spec["v"])
        return [self.record.event(ev.APPLY_SUCCEEDED, KEY, {"live": {}}, operationid=order.intent.event.operationid)]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def deliveries(api: Api) -> Iterator[Dispatcher]:
    with closing(Dispatcher(cast("Sender", api), api.queue.stage(DECLARE), workers=4)) as made:
        yield made


def ended(api: Api, deliveries: Dispatcher) -> list[str]:
    """The operations that were answered, once nothing is being sent any more."""
    found: list[Event] = []
    while deliveries.in_flight:
        api.clock.seconds += 1
        api.queue.take()
        found += deliveries.answered()
    return [event.operationid for event in [*found, *deliveries.answered()]]


def test_what_a_newer_order_takes_the_place_of_is_not_sent(api: Api, deliveries: Dispatcher) -> None:
    deliveries.send([api.order("1")])
    assert api.begun.acquire(timeout=30)  # it is on its way
    deliveries.send([api.order("2")])
    deliveries.send([api.order("3")])
    api.may_end.release(3)
    assert ended(api, deliveries) == ["1", "3"]
    assert (api.sent, api.most, deliveries.unanswered) == (["1", "3"], 1, frozenset())


def test_what_waits_to_be_sent_again_gives_way_to_a_newer_order(api: Api, deliveries: Dispatcher) -> None:
    api.is_away = True
    api.may_end.release(1)
    deliveries.send([api.order("1")])
    assert ended(api, deliveries) == []
    assert deliveries.unanswered == {KEY}
    api.is_away = False
    api.may_end.release(2)
    deliveries.send([api.order("2")])
    deliveries.again(lambda orders: {})
    assert ended(api, deliveries) == ["2"]
    assert api.sent == ["2"]


def test_what_was_answered_is_nobody_s_to_settle_before_its_outcome_was_taken(api: Api, deliveries: Dispatcher) -> None:
    deliveries.send([api.order("1")])
    api.may_end.release()
    api.queue.take()  # there is an outcome
    assert (deliveries.in_flight, deliveries.unanswered) == (0, frozenset({KEY}))
    assert ended(api, deliveries) == ["1"]
    assert deliveries.unanswered == frozenset()


SPACE = Key("Namespace", "", "berlin", "")


def berlin(api: Api) -> list[Order]:
    """A namespace, and more of what lives in it than there are workers; something that lives elsewhere."""
    space = api.order("space", SPACE)
    inside = [api.order(f"in {n}", KEY._replace(namespace="berlin", name=f"m{n}")) for n in range(7)]
    return [space, *inside, api.order("elsewhere")]


def test_what_lives_in_a_namespace_waits_until_that_is_made(api: Api, deliveries: Dispatcher) -> None:
    orders = berlin(api)
    deliveries.send(orders)
    for _ in range(2):
        assert api.begun.acquire(timeout=30)
    assert not api.begun.acquire(timeout=0.2)  # the namespace and what lives elsewhere, nothing more
    api.may_end.release(len(orders))
    assert sorted(ended(api, deliveries)) == sorted(order.step.spec["v"] for order in orders)
    first = [one for one in api.sent if one != "elsewhere"]
    assert first[0] == "space"
    assert deliveries.unanswered == frozenset()


def test_a_namespace_without_an_answer_is_made_first_when_all_is_sent_again(api: Api, deliveries: Dispatcher) -> None:
    orders = berlin(api)[:-1]
    api.is_away = True
    api.may_end.release(1)
    deliveries.send(orders)
    assert ended(api, deliveries) == []
    assert deliveries.unanswered == {order.step.key for order in orders}
    api.is_away = False
    api.may_end.release(len(orders))
    deliveries.again(lambda orders: {})
    api.clock.seconds += 1
    while len(api.sent) < len(orders):
        api.queue.take()
        deliveries.answered()
    assert api.sent[0] == "space"


def test_a_namespace_that_is_ordered_anew_holds_nothing_up_for_good(api: Api, deliveries: Dispatcher) -> None:
    orders = [api.order("space", SPACE), api.order("in", KEY._replace(namespace="berlin"))]
    deliveries.send(orders)
    deliveries.send([api.order("space again", SPACE)])
    api.may_end.release(3)
    assert "in" in ended(api, deliveries)
    assert deliveries.unanswered == frozenset()
