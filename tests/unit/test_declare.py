"""Git -> objects of a cluster, by the real loop over a log in memory; the cluster is a dictionary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from reconciler.controller.declare import Declare, Drift
from reconciler.controller.loop import Loop, Order
from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.recorder import Recorder, StageRecorder
from reconciler.errors import ApiUnavailable, LeaseLost
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import State
from reconciler.history.status import status
from reconciler.history.why import why
from reconciler.planning.declared import Object
from reconciler.planning.diff import Observed
from reconciler.planning.drifted import CORRECT, REPORT, Field
from tests.fleets import NOW, edge, fleet, model_set, plain
from tests.log_events import StillClock
from tests.stations import Branch, drain, types

MODEL = Key("InferenceModel", "default", "m", "")


class Objects:
    """Target, and what the stage asks of its cluster."""

    def __init__(self, record: StageRecorder) -> None:
        self.record = record
        self.there: dict[Key, dict[str, Any]] = {}
        self.asked: list[list[Key]] = []
        self.drifts: dict[Key, Drift] = {}
        self.away = False
        self.waits: dict[Key, dict[str, str]] = {}
        self.again_count = self.forgotten = self.published = 0
        self.fights: Event | None = None

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        keys = list(keys)
        self.asked.append(keys)
        if self.away:
            raise ApiUnavailable("no answer")
        there = (key for key in keys if key in self.there)
        return {key: Observed(self.there[key], waits=self.waits.get(key, {})) for key in there}

    def apply(self, batches: Iterable[Sequence[Order]]) -> Iterable[Sequence[Event]]:
        for orders in batches:
            for step, intent in orders:
                if step.action == "delete":
                    del self.there[step.key]
                else:
                    self.there[step.key] = step.spec
                data = {"live": {"uid": "u", "resourceVersion": "7", "generation": 1}}
                operation = intent.event.operationid
                yield [
                    self.record.event(
                        ev.APPLY_SUCCEEDED, step.key, data, causationid=intent.event.id, operationid=operation
                    )
                ]

    def drift(self, key: Key) -> Drift | None:
        return self.drifts.get(key)

    def fought(self, key: Key, drift: Drift) -> Event | None:
        return self.fights

    def settle(self) -> Sequence[Event]:
        if self.away:
            raise ApiUnavailable("no answer")
        return ()

    def ended(self, key: Key) -> Event | None:  # nothing here waits for others
        return None

    def unknown(self) -> Sequence[Event]:
        known = self.record.mine.keys
        new = [(key, spec) for key, spec in self.there.items() if str(key) not in known]
        return [self.record.event(ev.OBJECT_ADOPTED, key, {"uid": "u", "spec": spec}) for key, spec in new]

    def adopted(self, key: Key) -> Event | None:
        return None

    def look(self, key: Key) -> str:
        return ""

    def suspended(self) -> Mapping[str, Mapping[str, str]]:
        return {}

    def publish(self) -> None:
        self.published += 1

    def lacks(self, key: Key) -> bool:
        return key not in self.there

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        self.again_count += 1

    def forbidden(self, key: Key) -> Mapping[str, str]:
        return self.waits.get(key, {})

    def stands(self, key: Key, spec: Mapping[str, Any]) -> Event | None:
        return self.record.event(ev.OBJECT_ADOPTED, key, {"uid": "u", "spec": spec, "reason": "again"})

    def may_write(self) -> None:
        if self.away:
            raise LeaseLost("held by another")

    def forget(self) -> None:
        self.forgotten += 1


class Station:
    def __init__(self) -> None:
        self.clock = StillClock()
        self.log = MemoryLog("/hub", self.clock)
        self.record = Recorder(self.log, self.clock, State(), "hub")
        self.branch, self.queue = Branch(), Queue(self.clock)
        self.branch.attach(self.record.state)
        mine = self.record.stage(DECLARE)
        self.mine, self.cluster = mine.mine, Objects(mine)
        self.declare = Declare(self.branch, self.record, self.cluster)
        self.loop = Loop(self.declare, self.cluster, mine, self.queue)

    def turn(self, cause: str, subject: str = "") -> list[Entry]:
        before = self.log.head().seq
        self.loop.turn(Trigger(cause, subject))
        drain(self.loop)
        return list(self.log.read(before))

    def push(self, *objects: Object, **notes: Any) -> list[Entry]:
        self.branch.commit(*objects, **notes)
        return self.turn("commit")

    def names(self) -> set[str]:
        return {f"{key.kind}/{key.name}" for key in self.cluster.there}


@pytest.fixture
def station() -> Station:
    return Station()


def test_a_commit_becomes_objects_and_a_set_one_for_each_of_its_edges(station: Station) -> None:
    seen = station.push(edge("e1"), edge("e2"), model_set("digits"), plain("m"))
    assert station.names() == {
        *("Edge/e1", "Edge/e2", "InferenceModelSet/digits", "InferenceModel/m"),
        *("InferenceModel/digits-e1", "InferenceModel/digits-e2"),
    }
    assert types(seen)[:2] == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    spec = station.cluster.there[Key("InferenceModel", "default", "digits-e1", "")]["spec"]
    assert (spec["nodeName"], spec["targetVersion"], "modelRef" in spec) == ("e1", "1", False)
    assert spec["manifest"][0]["size"] == 100  # so that an order needs no look-up


def test_a_commit_asks_only_for_the_objects_that_it_concerns(station: Station) -> None:
    station.push(*(edge(f"e{n}") for n in range(20)), model_set("digits"), *(plain(f"m{n}") for n in range(20)))
    station.cluster.asked.clear()
    seen = station.push(edge("e7", pins=[{"model": "digits", "version": "2"}]))
    assert station.cluster.asked == [
        [one for one in station.cluster.asked[0] if one.name in {"e7", "digits-e7"}],
    ]
    assert types(seen).count(ev.APPLY_INTENDED) == 2  # the Edge's mirror and its model
    assert station.turn("commit") == []


def test_what_leaves_git_leaves_the_cluster_under_the_limits(station: Station) -> None:
    models = [plain(f"m{n}") for n in range(30)]
    station.push(*models)
    station.branch.commit(without=models)
    assert types(station.turn("commit")) == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    assert len(station.cluster.there) == 30
    assert station.mine.held_plan is not None


def test_a_drift_is_told_with_its_writer_and_taken_back(station: Station) -> None:
    station.push(plain("m"))
    ordered = station.cluster.there[MODEL]
    station.cluster.there[MODEL] = {**ordered, "spec": {**ordered["spec"], "targetVersion": "2"}}
    field = Field("spec.targetVersion", "kubectl-edit", "1", "2", CORRECT)
    station.cluster.drifts[MODEL] = Drift("changed", "kubectl-edit", CORRECT, (field,), "u", "9")
    seen = station.turn("object", str(MODEL))
    assert types(seen) == [ev.DRIFT_DETECTED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert seen[0].event.actor == "kubectl-edit"
    assert seen[0].event.data["fields"] == [
        {"field": "spec.targetVersion", "manager": "kubectl-edit", "old": "1", "new": "2"}
    ]
    assert seen[1].event.causationid == seen[0].event.id
    assert station.cluster.there[MODEL] == ordered


def test_a_drift_that_is_only_reported_is_told_once_and_its_end_too(station: Station) -> None:
    station.push(plain("m"))
    field = Field("spec.replicas", "kubectl", None, 3, REPORT)
    station.cluster.drifts[MODEL] = Drift("changed", "kubectl", REPORT, (field,))
    assert types(station.turn("object", str(MODEL))) == [ev.DRIFT_DETECTED]
    assert station.turn("object", str(MODEL)) == []
    station.cluster.drifts.clear()
    assert types(station.turn("object", str(MODEL))) == [ev.DRIFT_RESOLVED]
    assert station.turn("object", str(MODEL)) == []


def test_an_object_that_is_none_of_ours_is_not_looked_at(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.asked.clear()
    assert station.turn("object", "InferenceModel/default/by-hand") == []
    assert station.cluster.asked in ([], [[]])


def test_a_commit_that_the_cluster_did_not_answer_is_planned_without_another(station: Station) -> None:
    station.cluster.away = True
    station.branch.commit(plain("m"))
    station.loop.turn(Trigger("commit"))
    assert types(station.log.read(1)) == [ev.REF_ADVANCED]
    station.cluster.away = False
    seen = station.turn("commit")
    assert [entry.event.type for entry in seen] == [ev.CHANGE_PLANNED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert station.record.state.ref.accepted == station.record.state.ref.commit


def test_objects_with_our_mark_that_the_log_does_not_know_are_adopted_and_pruned(station: Station) -> None:
    station.push(plain("m"))
    orphan = Key("InferenceModel", "default", "orphan", "")
    station.cluster.there[orphan] = {"labels": {}, "spec": {}}
    seen = station.turn("start")
    assert [entry.event.type for entry in seen] == [ev.OBJECT_ADOPTED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert orphan not in station.cluster.there


def test_what_gets_no_answer_is_sent_again_by_its_own_trigger(station: Station) -> None:
    assert station.turn("again") == []
    assert station.cluster.again_count == 1


def test_the_lease_that_comes_back_settles_what_was_open(station: Station) -> None:
    station.push(plain("m"))
    station.turn("lease")
    assert station.cluster.forgotten == 1


def test_a_start_behind_the_lease_does_not_look_at_everything_once_more(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.away = True
    station.loop.turn(Trigger("lease"))  # has looked at nothing
    station.cluster.away = False
    station.cluster.asked.clear()
    for _ in range(2):  # a start whose plan could not be made comes again
        station.turn("start")
    assert station.cluster.asked == [[MODEL], [MODEL]]
    station.cluster.asked.clear()
    station.turn("lease")
    station.turn("start")
    assert station.cluster.asked == [[MODEL], []]


def test_what_was_done_while_nobody_watched_is_told_also_where_nothing_is_done_about_it(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.drifts[MODEL] = Drift("changed", "k", REPORT, (Field("spec.replicas", "k", None, "3", REPORT),))
    (told,) = station.turn("lease")
    assert (told.event.type, told.event.actor) == (ev.DRIFT_DETECTED, "k")


def test_why_walks_from_an_object_to_its_line(station: Station) -> None:
    station.push(edge("e1"), model_set("digits"))
    station.push(model_set("digits", "2"))
    key = Key("InferenceModel", "default", "digits-e1", "")
    links = why(DECLARE, key, station.record.state, station.log.find, lambda name: station.log.read(stream=name))
    assert [link.what for link in links] == ["applied", "outcome", "order", "plan", "line"]
    assert "version 2" in links[0].text
    assert links[-1].place == "deployments/digits.yaml:7"


def test_what_waits_is_recorded_once_and_again_when_it_waits_no_more(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.waits = {MODEL: {"": "suspended on the object itself"}}
    seen = station.push(plain("m", "2"))
    assert ev.STEPS_WAITING in types(seen)
    assert station.mine.waits == {str(MODEL): "suspended on the object itself"}
    (row,) = status(station.record.state, NOW).objects
    assert (row.settled, row.waits) == (False, "suspended on the object itself")
    assert station.turn("audit") == []
    station.cluster.waits = {}
    assert types(station.turn("audit")) == [ev.STEPS_WAITING, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert status(station.record.state, NOW).converged


def test_an_object_that_waits_to_be_adopted_is_shown_though_it_was_never_ordered(station: Station) -> None:
    station.cluster.there[MODEL] = {"labels": {}, "spec": {"targetVersion": "9"}}
    station.cluster.waits = {MODEL: {"update": "kubectl made it; `adopt: true` in the Fleet takes it over"}}
    station.push(plain("m"))
    (row,) = status(station.record.state, NOW).objects
    assert (row.phase, row.settled) == ("Waiting", False)


def test_an_adopted_object_is_in_the_inventory_as_it_was_found(station: Station) -> None:
    station.push(plain("m"))
    again = Station()
    again.cluster.there = dict(station.cluster.there)
    again.branch.commit(plain("m"))
    seen = again.turn("start") + again.turn("commit")
    assert ev.APPLY_INTENDED not in types(seen)
    (row,) = status(again.record.state, NOW).objects
    assert row.settled


def test_other_rules_of_the_fleet_look_at_everything_again(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.asked.clear()
    station.push(fleet(drift=[{"policy": "ignore", "fields": ["spec.replicas"]}]))
    assert any(MODEL in asked for asked in station.cluster.asked)


def test_why_reaches_the_line_also_after_a_correction(station: Station) -> None:
    station.push(plain("m"))
    ordered = station.cluster.there[MODEL]
    station.cluster.there[MODEL] = {**ordered, "spec": {**ordered["spec"], "targetVersion": "2"}}
    station.cluster.drifts[MODEL] = Drift(
        "changed", "k", CORRECT, (Field("spec.targetVersion", "k", "1", "2", CORRECT),)
    )
    station.turn("object", str(MODEL))
    links = why(DECLARE, MODEL, station.record.state, station.log.find, lambda name: station.log.read(stream=name))
    assert [link.what for link in links] == ["applied", "outcome", "order", ev.DRIFT_DETECTED, "order", "plan", "line"]


def test_a_standby_takes_a_suspension_without_asking_the_cluster(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.asked.clear()
    request = {"verb": "suspend", "actor": "ada", "scope": "*", "reason": "night"}
    station.loop.turn(Trigger("verb", "suspend", request=request))
    assert station.cluster.asked == [[]]


def test_nothing_is_taken_for_gone_before_a_commit_was_read(station: Station) -> None:
    for n in range(3):
        station.cluster.there[Key("InferenceModel", "default", f"m{n}", "")] = {"labels": {}, "spec": {}}
    seen = station.turn("start") + station.turn("audit") + station.turn("object", "InferenceModel/default/m0")
    assert set(types(seen)) <= {ev.OBJECT_ADOPTED}
    assert len(station.cluster.there) == 3


def test_what_was_never_made_and_is_no_longer_declared_is_forgotten(station: Station) -> None:
    station.push(plain("m"), plain("other"))
    del station.cluster.there[MODEL]  # as if it had been refused
    station.branch.commit(without=[plain("m")])
    assert ev.OBJECT_GONE in types(station.turn("commit"))
    assert str(MODEL) not in station.mine.keys
    assert status(station.record.state, NOW).converged
