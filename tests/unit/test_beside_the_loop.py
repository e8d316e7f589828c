"""What waits for the world hangs beside the loop: everything else goes on, and ends by its deadline."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.engine.loop import Loop
from reconciler.engine.stage import Stage
from reconciler.errors import GitUnavailable
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER
from reconciler.stages.deliver import Deliver
from reconciler.stages.git import Reading
from reconciler.stages.replication import DEADLINE_S
from tests.fleets import catalogue, edge, fleet, model_set
from tests.stations import Branch, EdgeStation, HubStation, drain, settle, types

E1, E2 = edge("e1"), edge("e2")
MODEL, OPEN = catalogue("digits", "1 2"), fleet(100, "100%")


class Threads:
    """`ports.Workers` whose work is done when a test says so; or at once."""

    def __init__(self) -> None:
        self.is_held: Callable[[], bool] = lambda: False
        self.hanging: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None], /) -> None:
        if self.is_held():
            self.hanging.append(work)
        else:
            work()

    def answer(self) -> None:
        """Everything that hangs is answered."""
        while self.hanging:
            self.hanging.popleft()()


class Hanging(HubStation):
    """A hub that looks at the world on threads of the test."""

    def __init__(self, *args: Any) -> None:
        self.threads = Threads()
        super().__init__(*args)
        self.hub = Deliver(self.branch, self.record, self.queue, self.threads, self)
        self.loop = Loop([Stage(DELIVER, self.hub, self.hub)], self.record, self.queue)


@pytest.fixture
def hub() -> Hanging:
    station = Hanging()
    station.push(E1, E2, MODEL, OPEN, model_set("digits", "1", ref="digits"))
    settle(station, EdgeStation("e1", station), EdgeStation("e2", station))
    return station


def test_while_git_hangs_people_are_answered_and_edges_are_heard(hub: Hanging) -> None:
    hub.threads.is_held = lambda: True
    hub.branch.commit(model_set("digits", "2", ref="digits"))
    assert hub.turn("commit") == []
    hub.threads.is_held = lambda: False
    assert types(hub.verb("suspend", scope="e1", reason="is measured")) == [ev.RECONCILE_SUSPENDED]
    assert types(hub.verb("resume", scope="e1")) == [ev.RECONCILE_RESUMED]
    hub.links["e2"].is_alive = False
    assert types(hub.turn("edge", "e2")) == [ev.EDGE_LOST]
    hub.threads.answer()
    drain(hub.loop)
    assert hub.orders()  # the commit is read once it was answered
    assert hub.state.ref.accepted == hub.state.ref.commit


def test_a_commit_noticed_while_git_is_asked_is_asked_for_again(hub: Hanging) -> None:
    hub.threads.is_held = lambda: True
    hub.turn("commit")
    assert len(hub.threads.hanging) == 1
    hub.turn("commit")
    assert len(hub.threads.hanging) == 1  # one question at a time
    hub.threads.is_held = lambda: False
    hub.threads.answer()
    hub.branch.commit(model_set("digits", "2", ref="digits"))  # behind the look that was made
    drain(hub.loop)
    assert hub.state.ref.commit == hub.state.ref.accepted != ""
    assert "update 2" in hub.orders().values()


def test_while_the_link_of_one_edge_hangs_the_others_deliver(hub: Hanging) -> None:
    hub.threads.is_held = lambda: True
    hub.turn("edge", "e1")
    hub.threads.is_held = lambda: False
    hub.push(model_set("digits", "2", ref="digits"))
    two = EdgeStation("e2", hub, hub.links["e2"].other)
    two.work_off()
    assert ev.APPLY_SUCCEEDED in types(hub.turn("edge", "e2"))
    assert types(hub.verb("suspend", scope="*", reason="stop")) == [ev.RECONCILE_SUSPENDED]


def test_a_link_that_never_answers_is_away_once_its_deadline_has_passed(hub: Hanging) -> None:
    hub.threads.is_held = lambda: True
    hub.turn("edge", "e1")
    assert hub.state.edges["e1"].present
    hub.clock.seconds += DEADLINE_S
    drain(hub.loop)
    assert not hub.state.edges["e1"].present
    late, hub.threads.is_held = hub.threads.hanging.popleft(), lambda: False
    hub.turn("edge", "e1")
    head = hub.log.head()
    late()
    drain(hub.loop)
    assert (hub.state.edges["e1"].present, hub.log.head()) == (True, head)  # an answer that was given up says nothing


def test_a_start_plans_nothing_before_git_has_answered_and_verbs_answer_meanwhile(hub: Hanging) -> None:
    hub.branch.commit(model_set("digits", "2", ref="digits"))
    again = Hanging(hub.clock, hub.log, hub.branch)
    again.links = hub.links
    again.threads.is_held = lambda: True
    hub.log._listeners[:] = hub.log._listeners[-1:]
    assert again.turn("start") == []
    assert again.turn("audit") == []
    assert types(again.verb("suspend", scope="e1", reason="is measured")) == [ev.RECONCILE_SUSPENDED]
    assert again.orders(again.turn("audit")) == {}
    again.threads.is_held = lambda: False
    before = again.log.head().seq
    again.threads.answer()
    drain(again.loop)
    assert set(again.orders(again.log.read(before)).values()) == {"update 2"}
    assert len(again.orders(again.log.read(before))) == 1  # the other edge is suspended


def test_a_start_goes_on_with_what_is_known_where_git_does_not_answer(
    hub: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> Reading | None:
        raise GitUnavailable("nobody there")

    again = Hanging(hub.clock, hub.log, hub.branch)
    again.links = hub.links
    monkeypatch.setattr(Branch, "reading", lambda _: refused)
    again = Hanging(hub.clock, hub.log, hub.branch)
    again.links = hub.links
    hub.log._listeners[:] = hub.log._listeners[-1:]
    assert types(again.turn("start")) == [ev.REF_LOST]
    assert not again.hub.git.is_starting
