"""Git -> objects of a cluster, by the real loop over a log in memory; the cluster is live objects in a dictionary."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, StageQueue, Trigger
from reconciler.engine.recorder import Recorder, StageRecorder
from reconciler.engine.stage import Order, Stage
from reconciler.errors import ApiUnavailable, LeaseLost, NameUnknown
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event, rfc3339
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import State
from reconciler.history.status import status
from reconciler.history.why import why
from reconciler.kube.client.resources import OURS
from reconciler.kube.watch.object import Live
from reconciler.kube.write.annotations import REASON, RECONCILE, suspension
from reconciler.kube.write.apply import seen_tree
from reconciler.model.identity import OPERATION, STAGE
from reconciler.planning import declare
from reconciler.planning.contention import MOST, PAUSE_S
from reconciler.planning.declare import OWN_LABELS, as_sent
from reconciler.planning.declared import Object
from reconciler.planning.desired import Expansion
from reconciler.planning.diff import Observed
from reconciler.planning.drift_rules import policy_for
from reconciler.planning.look import DISABLED, Look, Rules
from reconciler.stages.declare import Declare
from reconciler.wiring.process import Inline
from tests.fleets import NOW, edge, fleet, model_set, plain
from tests.log_events import StillClock
from tests.stations import Branch, drain, types

MODEL = Key("InferenceModel", "default", "m", "")


def made(name: str, spec: Mapping[str, Any] | None = None, *, by: str = "") -> Live:
    """A live object. by: who made it; "" is a reconciler."""
    labels = {} if by else dict(OWN_LABELS)
    foreign = {f"spec.{field}": by for field in spec or {}} if by else {}
    return Live(f"u-{name}", "1", 1, labels, {}, dict(spec or {}), {}, foreign, not by, by, NOW, deleting=False)


class Nothing:
    """What annotations ask beyond the object that carries them."""

    def read(self) -> None:
        pass

    def look(self, key: Key) -> str:
        return ""

    def suspended(self) -> Mapping[str, Mapping[str, str]]:
        return {}


class Objects:
    """Target, and what the stage asks of its cluster: each field of a spec has one owner."""

    def __init__(self, record: StageRecorder, queue: StageQueue, policy: Callable[[], Mapping[str, Any]]) -> None:
        self.record, self.queue, self.policy = record, queue, policy
        self.asked = Nothing()
        self.outcomes: list[Event] = []
        self.there: dict[Key, Live] = {}
        self.observed: list[list[Key]] = []
        self.away = False
        self.again_count = self.forgotten = 0

    # ── what others do ────────────────────────────────────────────────────────────────────────────────────────────

    def edit(self, key: Key, manager: str, **fields: Any) -> None:
        """Somebody writes fields of the spec."""
        live = self.there[key]
        foreign = live.foreign | {f"spec.{name}": manager for name in fields}
        self.there[key] = _moved(live, spec=live.spec | fields, foreign=foreign, writer=manager)

    def annotate(self, key: Key, manager: str, annotations: dict[str, str]) -> None:
        """Somebody's annotations are these."""
        live = self.there[key]
        foreign = {path: owner for path, owner in live.foreign.items() if not path.startswith("annotations")}
        foreign |= {f'annotations["{name}"]': manager for name in annotations}
        self.there[key] = _moved(live, annotations=annotations, foreign=foreign, writer=manager)

    # ── the target ────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        keys = list(keys)
        self.observed += [keys] if keys else []
        found = ((key, self.look(key).observed()) for key in keys)
        return {key: observed for key, observed in found if observed is not None}

    @property
    def in_flight(self) -> int:
        return 0

    def send(self, orders: Sequence[Order]) -> None:
        for step, intent in orders:
            if step.action == "delete":
                del self.there[step.key]
                data = {}
            else:
                self.there[step.key] = self._applied(step.key, step.spec, step.left, step.forced)
                data = {"live": self.there[step.key].told}
            about = {"causationid": intent.event.id, "operationid": intent.event.operationid}
            self.outcomes.append(self.record.event(ev.APPLY_SUCCEEDED, step.key, data, **about))
        self.queue.add(Trigger(Cause.DONE))

    def _applied(self, key: Key, order: Mapping[str, Any], left: Sequence[str], forced: Sequence[str]) -> Live:
        """The object after an apply: what is sent is ours, what is another's and not sent stays, unless it is taken."""
        before = self.there.get(key) or made(key.name)
        sent = as_sent(key.kind, dict(order["spec"]))
        theirs = {
            path: owner
            for path, owner in before.foreign.items()
            if path not in forced and (path in left or path[len("spec.") :] not in sent)
        }
        kept = {name: value for name, value in before.spec.items() if f"spec.{name}" in theirs}
        labels = dict(order.get("labels", {}))
        return _moved(before, spec=sent | kept, labels=labels, foreign=theirs, ours=True)

    def answered(self) -> Sequence[Event]:
        found, self.outcomes = self.outcomes, []
        return found

    # ── what the stage asks ───────────────────────────────────────────────────────────────────────────────────────

    def look(self, key: Key) -> Look:
        if self.away:
            raise ApiUnavailable("no answer")
        live, now = self.there.get(key), rfc3339(self.record.clock.now())
        rules = Rules(policy_for(key.kind, self.policy()), bool(self.policy().get("adopt")))
        tree = {} if live is None else seen_tree(OURS[key.kind], live)
        known = self.record.mine.known(key)
        return Look(key, known, live, tree, rules, suspension(live, now) if live else {}, known.fought > now)

    def strangers(self) -> Iterator[Look]:
        looks = [self.look(key) for key in self.there if str(key) not in self.record.mine.keys]
        return iter([look for look in looks if look.is_marked])

    @property
    def unanswered(self) -> frozenset[Key]:
        return frozenset(Key.parse(outcome.subject) for outcome in self.outcomes)

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        self.again_count += 1

    def forget(self) -> None:
        self.forgotten += 1

    def may_write(self) -> None:
        if self.away:
            raise LeaseLost("held by another")


def _moved(live: Live, **parts: Any) -> Live:
    return replace(live, version=str(int(live.version) + 1), generation=live.generation + 1, **parts)


def report(*fields: str) -> Object:
    """A Fleet that only tells of drift in these fields."""
    rule = {"kinds": [], "fields": list(fields), "managers": [], "policy": "report"}
    return Object(kind="Fleet", name="fleet", spec={**fleet().spec, "drift": [rule]}, path="fleet.yaml", line=1)


class Station:
    def __init__(self, log: type[MemoryLog] = MemoryLog) -> None:
        self.clock = StillClock()
        self.log = log("/hub", self.clock)
        self.branch = Branch()
        self.begin({})

    def begin(self, there: dict[Key, Live]) -> None:
        """A hub over this log, of a cluster in which this is."""
        self.log._listeners.clear()
        self.record, self.queue = Recorder(self.log, self.clock, State(), "hub"), Queue(self.clock)
        self.branch.attach(self.record.state)
        mine = self.record.stage(DECLARE)
        self.mine = mine.mine
        self.cluster = Objects(mine, self.queue.stage(DECLARE), self.policy)
        self.cluster.there = there
        self.declare = Declare(self.branch, self.record, self.queue, Inline(), self.cluster)
        self.loop = Loop([Stage(DECLARE, self.declare, self.cluster)], self.record, self.queue)

    def policy(self) -> Mapping[str, Any]:
        return self.declare.git.fleet()

    def turn(self, cause: str, subject: str = "") -> list[Entry]:
        before = self.log.head().seq
        self.queue.stage(DECLARE).add(Trigger(Cause(cause), subject))
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
    spec = station.cluster.there[Key("InferenceModel", "default", "digits-e1", "")].spec
    assert (spec["nodeName"], spec["targetVersion"], "modelRef" in spec) == ("e1", "1", False)
    assert spec["manifest"][0]["size"] == 100  # so that an order needs no look-up


def test_a_commit_asks_only_for_the_objects_that_it_concerns(station: Station) -> None:
    station.push(*(edge(f"e{n}") for n in range(20)), model_set("digits"), *(plain(f"m{n}") for n in range(20)))
    station.cluster.observed.clear()
    seen = station.push(edge("e7", pins=[{"model": "digits", "version": "2"}]))
    assert station.cluster.observed == [
        [one for one in station.cluster.observed[0] if one.name in {"e7", "digits-e7"}],
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
    station.cluster.edit(MODEL, "kubectl-edit", targetVersion="2")
    seen = station.turn("object", str(MODEL))
    assert types(seen) == [ev.DRIFT_DETECTED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert seen[0].event.actor == "kubectl-edit"
    assert seen[0].event.data["fields"] == [
        {"field": "spec.targetVersion", "manager": "kubectl-edit", "old": "1", "new": "2"}
    ]
    assert seen[1].event.causationid == seen[0].event.id
    live = station.cluster.there[MODEL]
    assert (live.spec, live.labels, live.foreign) == (ordered.spec, ordered.labels, {})


def test_a_drift_that_is_only_reported_is_told_once_and_its_end_too(station: Station) -> None:
    station.push(report("spec.targetVersion"), plain("m"))
    station.cluster.edit(MODEL, "kubectl", targetVersion="2")
    assert types(station.turn("object", str(MODEL))) == [ev.DRIFT_DETECTED]
    assert station.turn("object", str(MODEL)) == []
    station.cluster.edit(MODEL, "kubectl", targetVersion="1")
    assert types(station.turn("object", str(MODEL))) == [ev.DRIFT_RESOLVED]
    assert station.turn("object", str(MODEL)) == []


def test_who_writes_a_field_again_and_again_is_left_alone_for_a_while(station: Station) -> None:
    station.push(plain("m"))
    for _ in range(MOST):
        station.cluster.edit(MODEL, "robot", targetVersion="2")
        assert types(station.turn("object", str(MODEL))) == [ev.DRIFT_DETECTED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    station.cluster.edit(MODEL, "robot", targetVersion="2")
    seen = station.turn("object", str(MODEL))
    assert types(seen) == [ev.DRIFT_DETECTED, ev.DRIFT_FOUGHT]
    assert seen[1].event.data["fields"] == [{"field": "spec.targetVersion", "manager": "robot"}]
    assert ev.APPLY_INTENDED not in types(station.turn("audit"))
    assert station.cluster.there[MODEL].spec["targetVersion"] == "2"
    station.clock.seconds += PAUSE_S
    station.turn("object", str(MODEL))
    assert station.cluster.there[MODEL].spec["targetVersion"] == "1"


def test_an_object_that_is_none_of_ours_is_not_looked_at(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.observed.clear()
    assert station.turn("object", "InferenceModel/default/by-hand") == []
    assert station.cluster.observed == []


def test_a_commit_that_the_cluster_did_not_answer_is_planned_without_another(station: Station) -> None:
    station.cluster.away = True
    station.branch.commit(plain("m"))
    station.loop.turn(Trigger(Cause.COMMIT))
    assert types(station.log.read(1)) == [ev.REF_ADVANCED]
    station.cluster.away = False
    seen = station.turn("commit")
    assert [entry.event.type for entry in seen] == [ev.CHANGE_PLANNED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert station.record.state.ref.accepted == station.record.state.ref.commit


def test_objects_with_our_mark_that_the_log_does_not_know_are_adopted_and_pruned(station: Station) -> None:
    station.push(plain("m"))
    orphan = Key("InferenceModel", "default", "orphan", "")
    station.cluster.there[orphan] = made("orphan")
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
    station.loop.turn(Trigger(Cause.LEASE))  # has looked at nothing
    station.cluster.away = False
    drain(station.loop)  # Git was asked all the same
    station.cluster.observed.clear()
    for _ in range(2):  # a start whose plan could not be made comes again
        station.turn("start")
    assert station.cluster.observed == [[MODEL], [MODEL]]
    station.cluster.observed.clear()
    station.turn("lease")
    station.turn("start")
    assert station.cluster.observed == [[MODEL]]


def test_what_was_done_while_nobody_watched_is_told_also_where_nothing_is_done_about_it(station: Station) -> None:
    station.push(report("spec.targetVersion"), plain("m"))
    station.cluster.edit(MODEL, "k", targetVersion="2")
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
    station.cluster.annotate(MODEL, "ada", {RECONCILE: DISABLED, REASON: "night"})
    seen = station.push(plain("m", "2"))
    assert ev.STEPS_WAITING in types(seen)
    assert station.mine.waits == {str(MODEL): "suspended by ada: night"}
    (row,) = status(station.record.state, NOW).objects
    assert (row.settled, row.waits) == (False, "suspended by ada: night")
    assert station.turn("audit") == []
    station.cluster.annotate(MODEL, "ada", {})
    assert types(station.turn("audit")) == [ev.STEPS_WAITING, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert status(station.record.state, NOW).converged


def test_an_object_that_waits_to_be_adopted_is_shown_though_it_was_never_ordered(station: Station) -> None:
    station.cluster.there[MODEL] = theirs = made("m", {"targetVersion": "9"}, by="kubectl")
    station.push(plain("m"))
    (row,) = status(station.record.state, NOW).objects
    assert (row.phase, row.settled) == ("Waiting", False)
    assert row.waits == "kubectl made it; `adopt: true` in the Fleet takes it over"
    assert station.cluster.there[MODEL] is theirs


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
    station.cluster.observed.clear()
    station.push(fleet(drift=[{"policy": "ignore", "fields": ["spec.replicas"]}]))
    assert any(MODEL in asked for asked in station.cluster.observed)


def test_why_reaches_the_line_also_after_a_correction(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.edit(MODEL, "k", targetVersion="2")
    station.turn("object", str(MODEL))
    links = why(DECLARE, MODEL, station.record.state, station.log.find, lambda name: station.log.read(stream=name))
    assert [link.what for link in links] == ["applied", "outcome", "order", ev.DRIFT_DETECTED, "order", "plan", "line"]


def test_a_standby_takes_a_suspension_without_asking_the_cluster(station: Station) -> None:
    station.push(plain("m"))
    station.cluster.observed.clear()
    request = {"verb": "suspend", "actor": "ada", "scope": "*", "reason": "night"}
    station.loop.turn(Trigger(Cause.VERB, "suspend", request=request))
    assert station.cluster.observed == []


# ── suspensions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def says(station: Station, verb: str, scope: str = "*", **words: str) -> dict[str, Any]:
    """The answer to a person's verb. Raises what it raised."""
    reply: Future[dict[str, Any]] = Future()
    request = {"verb": verb, "actor": "ada", "scope": scope, "reason": "a visit", **words}
    station.queue.stage(DECLARE).add(Trigger(Cause.VERB, request=request, reply=reply))
    drain(station.loop)
    return reply.result(0)


def on(name: str, version: str = "1") -> Object:
    """A model that only its nodeName brings to an edge: no label says so."""
    return plain("m", version, nodeName=name)


def test_what_is_to_move_away_from_a_suspended_edge_stays_there_as_does_what_is_to_come(station: Station) -> None:
    station.push(edge("e1"), edge("e2"), edge("e3"), on("e1"))
    for scope in ("e1", "e2"):
        says(station, "suspend", scope)
    station.push(on("e3"))
    assert station.cluster.there[MODEL].spec["nodeName"] == "e1"
    says(station, "resume", "e1")
    station.push(on("e2"))
    assert station.cluster.there[MODEL].spec["nodeName"] == "e3"
    says(station, "resume", "e2")
    assert station.cluster.there[MODEL].spec["nodeName"] == "e2"


def test_what_leaves_git_together_with_its_suspended_edge_stays(station: Station) -> None:
    objects = [edge("e1", nodeName="n1"), edge("e2"), plain("m", nodeName="n1"), fleet(9, "100%")]
    station.push(*objects)
    says(station, "suspend", "e1")
    station.push(without=[objects[0], objects[2]])
    station.turn("audit")
    assert {"InferenceModel/m", "Edge/e1"} <= station.names()
    assert set(station.mine.waits) == {str(MODEL), "Edge//e1"}
    says(station, "resume", "e1")
    assert not {"InferenceModel/m", "Edge/e1"} & station.names()


def test_what_is_there_is_suspended_though_nobody_declares_it_and_what_is_not_is_refused(station: Station) -> None:
    station.push(edge("e1"), fleet(9, "100%"))
    station.cluster.there[MODEL] = theirs = made("m", {"targetVersion": "9"}, by="kubectl")
    says(station, "suspend", str(MODEL))
    taking = fleet(9, "100%")
    taken_over = replace(taking, spec=taking.spec | {"adopt": True})
    station.push(taken_over)
    station.push(plain("m"))
    assert station.cluster.there[MODEL] is theirs
    for scope in ("InferenceModel/default/other", "Gadget/default/m"):
        with pytest.raises(NameUnknown):
            says(station, "suspend", scope)


def test_an_object_whose_document_is_gone_can_be_suspended_and_stays_so_when_it_is_declared_again(
    station: Station,
) -> None:
    model = plain("m")
    station.push(edge("e1"), fleet(9, "100%"), model)
    station.push(fleet(0, "0%"))
    station.push(without=[model])  # held
    says(station, "suspend", str(MODEL))
    station.push(fleet(9, "100%"))
    station.push(edge("e2"))
    station.turn("audit")
    assert station.mine.waits == {str(MODEL): "suspended by ada: a visit"}
    station.push(plain("m", "2"))
    assert station.cluster.there[MODEL].spec["targetVersion"] == "1"
    says(station, "resume", str(MODEL))
    assert station.cluster.there[MODEL].spec["targetVersion"] == "2"


def test_a_suspension_outlives_other_rules_and_the_drift_under_it_is_told_by_the_new_one(station: Station) -> None:
    station.push(edge("e1"), plain("m"))
    says(station, "suspend", str(MODEL))
    station.cluster.edit(MODEL, "k", targetVersion="9")
    station.turn("object", str(MODEL))
    assert station.mine.known(MODEL).drift["policy"] == "correct"
    station.push(report("spec.targetVersion"))
    assert station.cluster.there[MODEL].spec["targetVersion"] == "9"
    assert station.mine.known(MODEL).drift["policy"] == "report"
    assert not status(station.record.state, NOW).converged


@pytest.mark.parametrize("value", ["Disabled", "off", "false", "", "true"])
def test_an_annotation_whose_value_nobody_knows_suspends_and_is_named(station: Station, value: str) -> None:
    station.push(plain("m"))
    station.cluster.annotate(MODEL, "ada", {RECONCILE: value})
    station.push(plain("m", "2"))
    (why_,) = station.mine.waits.values()
    assert why_.startswith("suspended by ada: (ai.kubeedge.io/reconcile is")
    assert f"{value!r}, which is neither disabled nor enabled: taken for disabled" in why_
    station.cluster.annotate(MODEL, "ada", {RECONCILE: "enabled"})
    station.turn("object", str(MODEL))
    assert station.cluster.there[MODEL].spec["targetVersion"] == "2"


def test_nothing_is_taken_for_gone_before_a_commit_was_read(station: Station) -> None:
    for n in range(3):
        station.cluster.there[Key("InferenceModel", "default", f"m{n}", "")] = made(f"m{n}")
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


def test_a_bug_in_what_one_key_should_be_is_that_key_s_problem(
    station: Station, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    station.push(plain("m", "1"))
    expand = declare.expand

    def broken(key: Key, *more: Any) -> Expansion:
        if key == MODEL:
            raise KeyError("spec")
        return expand(key, *more)

    git, whole = station.declare.git, station.declare.git._expand
    monkeypatch.setattr(git, "_expand", whole._replace(one=broken))
    station.push(plain("m", "2"), plain("other"))
    assert station.names() == {"InferenceModel/m", "InferenceModel/other"}
    assert station.cluster.there[MODEL].spec["targetVersion"] == "1"
    (problem,) = station.record.state.stage(DECLARE).problems[str(MODEL)]
    assert (problem["code"], "KeyError: 'spec'" in problem["message"]) == ("RX600", True)
    assert "Traceback" in capfd.readouterr().err
    monkeypatch.setattr(git, "_expand", whole)
    station.turn("audit")
    assert station.cluster.there[MODEL].spec["targetVersion"] == "2"
    assert station.record.state.all_problems == []


def test_what_another_stage_made_is_not_taken_up(station: Station) -> None:
    ours, theirs = (MODEL._replace(name=name) for name in ("ours", "theirs"))
    station.cluster.there |= {ours: made("ours"), theirs: replace(made("theirs"), annotations={STAGE: "children"})}
    station.push(plain("m"))
    seen = station.turn("found")
    assert [one.event.subject for one in seen if one.event.type == ev.OBJECT_ADOPTED] == [str(ours)]
    assert theirs in station.cluster.there


def test_an_order_that_was_given_up_and_has_had_its_effect_after_all_is_no_drift(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.push(plain("m", "1"))
    with monkeypatch.context() as patch:
        patch.setattr(station.cluster, "send", lambda _: None)  # nobody answers
        station.push(plain("m", "2"))
    served, live = station.mine.known(MODEL), station.cluster.there[MODEL]
    given_up = {"reason": "nobody works on it", "settled": True}
    about = station.record.stage(DECLARE).event(ev.APPLY_ABANDONED, MODEL, given_up, operationid=served.operation)
    station.record.append([about])  # by what the watch had brought until then
    late = {**live.spec, "targetVersion": "2", "manifest": plain("m", "2").spec["manifest"][::-1]}
    station.cluster.there[MODEL] = _moved(live, spec=late, annotations={OPERATION: served.operation})
    seen = types(station.turn("object", str(MODEL)))
    assert (ev.OBJECT_ADOPTED in seen, ev.DRIFT_DETECTED in seen) == (True, False)
    assert station.mine.known(MODEL).order["spec"]["targetVersion"] == "2"
