"""A commit is live when its own plan is done, and else what holds it is named."""

from typing import Any

import pytest

from reconciler.history import events as ev
from reconciler.history.awaited import Awaited, Line, awaited
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key
from reconciler.history.status import status
from reconciler.planning.names import Names, known
from tests.fleets import catalogue, edge, fleet, model_set
from tests.stations import EdgeStation, HubStation, settle

MODEL = catalogue("digits", "1 2 3")
KEYS = {name: Key("InferenceModel", "default", f"digits-{name}", name) for name in ("e1", "e2")}


class World:
    """A hub and two edges, both served."""

    def __init__(self) -> None:
        self.hub = HubStation()
        self.hub.push(edge("e1"), edge("e2"), MODEL, model_set("digits", "1", ref="digits"), fleet(100, "100%"))
        self.edges = {name: EdgeStation(name, self.hub) for name in KEYS}
        self.settle()

    def settle(self, *names: str) -> None:
        settle(self.hub, *(self.edges[name] for name in names or self.edges))

    def push(self, *objects: Any, **more: Any) -> str:
        self.hub.push(*objects, **more)
        return self.hub.state.ref.commit

    def asked(self, commit: str = "", edge: str = "", model: str = "") -> Awaited:
        seen = status(self.hub.state, rfc3339(self.hub.clock.now()))
        line = Line(self.hub.log.read(stream="git"))
        since = line.commits[commit].seq if commit else 0
        of = known(self.hub.state, Names.of(self.hub.state).sought({"edge": edge, "model": model}))
        return awaited(seen, line, self.hub.log.read(since), commit, of=of if edge else None)


@pytest.fixture
def world() -> World:
    return World()


def test_a_commit_is_live_when_all_of_its_plan_is_answered(world: World) -> None:
    commit = world.push(model_set("digits", "2", ref="digits"))
    before = world.asked(commit)
    assert (before.word, before.keys, len(before.holds)) == ("under way", 2, 2)
    world.settle("e1")
    assert [hold.what for hold in world.asked(commit).holds] == ["e2 digits"]
    assert world.asked(commit, edge="e1").word == "live"
    assert world.asked(commit, edge="e2", model="digits").word == "under way"
    world.settle()
    assert (world.asked(commit).word, world.asked(commit).keys) == ("live", 2)


def test_a_commit_is_live_in_a_newer_one_and_only_with_it(world: World) -> None:
    first = world.push(model_set("digits", "2", ref="digits"))
    second = world.push(model_set("digits", "3", ref="digits"))
    assert world.asked(first).word == "under way"
    world.settle()
    assert (world.asked(first).word, world.asked(first).accepted) == ("live", second)


def test_what_a_commit_is_not_about_does_not_hold_it(world: World) -> None:
    world.push(model_set("digits", "2", ref="digits"))
    world.edges["e2"].turn("orders")
    world.edges["e2"].work.refuse(KEYS["e2"], "RX410")
    world.settle("e1")
    world.hub.turn("edge", "e2")
    commit = world.push(edge("e3"))
    world.edges["e3"] = EdgeStation("e3", world.hub)
    world.settle("e3")
    assert (world.asked(commit).word, world.asked(commit).keys) == ("live", 1)
    assert world.asked().word == "failing"  # of everything


def test_a_refused_order_says_when_it_is_tried_again_and_how_to_have_it_now(world: World) -> None:
    commit = world.push(model_set("digits", "2", ref="digits"))
    world.edges["e2"].turn("orders")
    world.edges["e2"].work.refuse(KEYS["e2"], "RX410")
    world.settle("e1")
    world.hub.turn("edge", "e2")
    (hold,) = world.asked(commit).holds
    assert (hold.word, hold.by_itself, hold.ends) == ("failing", True, "reconciler reconcile e2 digits")
    assert hold.until == world.hub.mine.known(KEYS["e2"]).retry > rfc3339(world.hub.clock.now())
    row = next(row for row in status(world.hub.state, rfc3339(world.hub.clock.now())).rows if row.edge == "e2")
    assert "RX410: it cannot be; tried again at 20" in row.said
    assert "or now: `reconciler reconcile e2 digits`" in row.said


def test_what_is_quarantined_ends_by_nobody_but_a_person(world: World) -> None:
    commit = world.push(model_set("digits", "2", ref="digits"))
    world.edges["e2"].turn("orders")
    digest = next(one["sha256sum"] for one in MODEL.spec["versions"] if one["version"] == "2")
    world.edges["e2"].work.refuse(KEYS["e2"], "RX404", quarantine=digest)
    world.settle("e1")
    world.hub.turn("edge", "e2")
    (hold,) = world.asked(commit).holds
    assert (hold.word, hold.by_itself, hold.until) == ("failing", False, "")
    assert hold.ends == "reconciler release e2 digits"


def test_a_held_plan_and_a_suspension_wait_for_a_person(world: World) -> None:
    world.push(fleet(0, "0%"))
    held = world.push(without=[model_set("digits", "1", ref="digits")])
    holds = world.asked(held).holds
    assert {(hold.word, hold.by_itself) for hold in holds} == {("waits", False)}
    assert all(hold.ends.startswith("reconciler approve ") for hold in holds)
    world.hub.verb("suspend", scope="e1", reason="bench")
    commit = world.push(model_set("digits", "2", ref="digits"))
    world.settle("e2")
    found = world.asked(commit)
    assert [(one.what, one.word) for one in found.holds] == [("e1 digits", "waits")]
    assert found.holds[0].ends == "reconciler resume e1"
    world.hub.verb("resume", scope="e1")
    world.settle()
    assert world.asked(commit).word == "live"


def test_a_commit_that_was_read_and_is_not_planned_yet_is_not_live(world: World) -> None:
    commit = world.push(model_set("digits", "2", ref="digits"))
    world.settle()
    world.hub.state.ref.accepted = "0" * 40
    assert [hold.what for hold in world.asked(commit).holds] == [f"commit {commit[:12]}"]


def test_a_refused_document_of_the_commit_holds_it_and_an_older_one_does_not(world: World) -> None:
    wrong = {"code": "RX201", "message": "tab", "path": "edges/x.yaml", "line": 3, "severity": "error"}
    world.hub.state.problems = {"edges/x.yaml#0": [wrong]}
    commit = world.push(model_set("digits", "2", ref="digits"))
    world.settle()
    assert world.asked(commit).word == "live"
    line = Line(world.hub.log.read(stream="git"))
    path = next(iter(line.commits[commit].event.data["files"]))
    world.hub.state.problems = {f"{path}#0": [wrong | {"path": path}]}
    (hold,) = world.asked(commit).holds
    assert (hold.word, hold.what) == ("refused", f"{path}:3")


def test_what_history_lost_by_a_rewrite_is_not_in_the_line_any_more(world: World) -> None:
    log = world.hub.log
    kept, lost = world.push(edge("e3")), world.push(edge("e4"))
    record = world.hub.record
    facts = {"parents": [kept], "tree": "", "author": "", "committed": "", "subject": "", "files": {}, "documents": {}}
    new = "f" * 40
    record.append([record.event(ev.REF_REWRITTEN, "git", {"from": lost, "to": new}, gitcommit=new)])
    record.append([record.event(ev.REF_ADVANCED, "git", {"commit": new, **facts}, gitcommit=new)])
    line = Line(log.read(stream="git"))
    assert (kept in line.commits, lost in line.commits, new in line.commits) == (True, False, True)
    assert line.since(kept) == [kept, new]


def test_a_commit_whose_things_are_gone_concerns_them_and_nothing_else(world: World) -> None:
    commit = world.push(without=[model_set("digits", "1", ref="digits")])
    world.settle()
    whole, mine = world.asked(commit), world.asked(commit, edge="e1")
    assert [(one.word, one.keys, one.concerns) for one in (whole, mine)] == [("live", 0, True)] * 2
    commit = world.push(edge("e3"))
    assert (world.asked(commit, edge="e1").word, world.asked(commit, edge="e1").concerns) == ("live", False)
