"""How keys stand against Git: three words from one place, for every reason that there is."""

from typing import Any

import pytest

from reconciler.cli.run import HELD, REFUSED, UNANSWERED, verdict
from reconciler.history import events as ev
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.object_status import Around, of_fleet
from reconciler.history.standing import AS_GIT, FAILING, WAITS, Standing
from reconciler.history.state import FAILED, EdgeSeen, HeldPlan, Ref, Served, State, Wish
from reconciler.history.status import ObjectRow, Row, status
from reconciler.history.why import why
from reconciler.web.page import rendered
from tests.fleets import edge, fleet, model_set
from tests.stations import EdgeStation, HubStation, settle
from tests.unit.test_hub import DIGITS, E2, MODEL, ON_E1, OPEN, hub
from tests.unit.test_published import Log, Object

__all__ = ["hub"]

NOW = "2026-11-30T15:00:00.000000Z"
LATER = "2026-11-30T16:00:00.000000Z"
OBJECT, ON_EDGE = "InferenceModel/default/m", "InferenceModel/default/m@e1"
DRIFT: dict[str, Any] = {
    "what": "changed",
    "writer": "kubectl-edit",
    "policy": "report",
    "fields": [{"field": "spec.targetVersion", "manager": "kubectl-edit", "old": "1", "new": "7"}],
    "time": NOW,
}
ADA = {"actor": "ada", "reason": "bench", "until": LATER}


def a_state(stage: str, text: str, **served: Any) -> State:
    """One key that is as Git says but for what is given of it."""
    spec = {"version": "1", "model": "m"} if stage == DELIVER else {"spec": {"targetVersion": "1"}}
    known = {"order": spec, "operation": "o", "phase": "Committed", "phase_time": NOW, "live": {"version": "1"}}
    state = State(seq=7, time=NOW, ref=Ref(commit="c" * 40, accepted="c" * 40))
    state.stage(stage).keys[text] = Served(**known | served)
    state.edges["e1"] = EdgeSeen(present=True, since=NOW)
    return state


def only(state: State, now: str = NOW) -> Row | ObjectRow:
    seen = status(state, now)
    every: list[Row | ObjectRow] = [*seen.rows, *seen.objects]
    assert len(every) == 1
    return every[0]


def stands(state: State, now: str = NOW) -> Standing:
    """Of the only key. Whatever counts has the same count."""
    seen, one = status(state, now), only(state, now)
    assert dict(seen.tally) == {word: int(word == one.standing.word) for word in (AS_GIT, WAITS, FAILING)}
    assert one.settled == seen.converged == one.standing.is_as_git == (not one.standing.why)
    assert (verdict(seen) == 0) == seen.converged
    assert f"<title>reconciler: {seen.standing.word}</title>" in rendered(seen)
    if isinstance(one, ObjectRow):
        _, ready = of_fleet(Key("Fleet", "", "fleet", ""), state, Object(), Around(now=now))
        assert ready is not None
        assert (ready.ready == "True") == seen.converged
    return one.standing


BOTH = [(DELIVER, ON_EDGE), (DECLARE, OBJECT)]


@pytest.mark.parametrize(("stage", "text"), BOTH)
def test_what_was_answered_well_is_as_git_says(stage: str, text: str) -> None:
    assert stands(a_state(stage, text)) == Standing()


@pytest.mark.parametrize(("stage", "text"), BOTH)
@pytest.mark.parametrize("phase", ["Rejected", "RolledBack", "Degraded"])
def test_what_was_refused_or_is_gone_is_failing(stage: str, text: str, phase: str) -> None:
    ends = f"reconciler release {ON_EDGE.rpartition('@')[2]} m" if text == ON_EDGE and phase in FAILED else ""
    told = stands(a_state(stage, text, phase=phase, code="RX404", message="no"))
    assert told == Standing(word=FAILING, why="RX404: no", ends=ends)


@pytest.mark.parametrize(("stage", "text"), BOTH)
def test_what_is_under_way_waits(stage: str, text: str) -> None:
    said = "its edge has it, and is to load it" if "@" in text else "the API server has not answered yet"
    assert stands(a_state(stage, text, open=True, phase="Staged")).why == said


@pytest.mark.parametrize(("stage", "text"), BOTH)
@pytest.mark.parametrize("is_pending", [True, False])
def test_what_is_suspended_waits_for_who_suspended_it(stage: str, text: str, *, is_pending: bool) -> None:
    state = a_state(stage, text)
    state.suspended["*"] = ADA
    if is_pending:
        state.stage(stage).waits[text] = "suspended by ada until 2026-11-30T16:00:00Z: bench"
        state.stage(stage).wishes[text] = Wish(action="update", version="2", origin="a.yaml:3", until=LATER)
    said = Standing(
        word=WAITS,
        why="suspended by ada until 2026-11-30T16:00:00Z: bench",
        until=LATER,
        ends="reconciler resume",
        idle=not is_pending,
    )
    assert stands(state) == said
    one = only(state)
    assert (one.wanted, one.phase) == (("2", "Waiting") if is_pending else ("1", "Committed"))


@pytest.mark.parametrize(("stage", "text"), BOTH)
def test_what_waits_for_the_end_of_a_freeze_says_until_when(stage: str, text: str) -> None:
    state = a_state(stage, text)
    state.stage(stage).waits[text] = "frozen until 2026-11-30T16:00:00Z: shops"
    state.stage(stage).wishes[text] = Wish(action="delete", until=LATER)
    assert (stands(state).until, stands(state).ends) == (LATER, "")
    one = only(state)
    assert (one.wanted, one.phase) == ("", "Waiting")


@pytest.mark.parametrize(("stage", "text"), BOTH)
def test_what_a_held_plan_would_change_waits_for_its_approval(stage: str, text: str) -> None:
    state = a_state(stage, text)
    held = HeldPlan(digest="d1", reason="too much", keys=[text], counts={"update": 1})
    held.wishes[text] = Wish(action="update", version="2")
    state.stage(stage).held_plan = held
    seen, one = status(state, NOW), only(state)
    assert (one.standing.word, one.standing.ends, one.wanted) == (WAITS, "reconciler approve d1", "2")
    assert one.said == "held: too much; `reconciler approve d1` releases it"
    assert verdict(seen) == HELD


def test_an_edge_that_is_not_heard_is_waited_for() -> None:
    state = a_state(DELIVER, ON_EDGE)
    state.edges["e1"] = EdgeSeen(present=False, since=NOW)
    assert stands(state).why == "e1 is not heard since 2026-11-30T15:00:00Z"


def test_what_is_served_and_lost_again_and_again_is_failing_for_as_long_as_it_was_counted() -> None:
    state = a_state(DELIVER, ON_EDGE, unstable="2026-11-30T14:55:00.000000Z")
    assert stands(state).word == FAILING
    assert stands(state, "2026-11-30T15:05:01.000000Z").word == AS_GIT


def test_a_value_that_a_rule_lets_stand_waits_for_a_person_and_both_are_shown() -> None:
    state = a_state(DECLARE, OBJECT, drift=DRIFT)
    assert stands(state).why == "changed by kubectl-edit: spec.targetVersion by kubectl-edit"
    (one,) = status(state, NOW).objects
    assert (one.wanted, one.there, one.stands) == ("1", "7", "Drifted")
    _, ready = of_fleet(Key("Fleet", "", "fleet", ""), state, Object(), Around(now=NOW))
    assert ready is not None
    assert (ready.reason, ready.message.startswith("1 of 1 objects wait: changed by")) == ("DriftReported", True)


def test_a_fight_is_told_once_and_until_when() -> None:
    state = a_state(DECLARE, OBJECT, drift=DRIFT, fought=LATER, message="k and reconciler fight over it", code="RX412")
    standing = stands(state)
    assert (standing.word, standing.until) == (WAITS, LATER)
    (one,) = status(state, NOW).objects
    assert one.said.count("fight over it") == 1


@pytest.mark.parametrize(
    ("answered", "word", "said"),
    [
        (["2", "3", "helm"], WAITS, "spec.replicas stays 3, which is helm's; Git says 2"),
        (["2", "3", ""], AS_GIT, "the API server has spec.replicas 3; Git says 2"),
        (["2", "3"], AS_GIT, "the API server has spec.replicas 3; Git says 2"),
        ([None, "3", "helm"], AS_GIT, "spec.replicas stays 3, which is helm's"),
    ],
)
def test_what_the_api_server_has_otherwise_is_shown_as_what_it_is(answered: list[str], word: str, said: str) -> None:
    state = a_state(DECLARE, OBJECT, live={"uid": "u", "mutated": {"spec.replicas": answered}})
    assert stands(state).word == word
    (one,) = status(state, NOW).objects
    assert one.stays == said
    assert status(state, NOW).unsettled == (one,)


def test_a_drift_of_which_a_part_was_taken_back_is_what_a_rule_lets_stand() -> None:
    log, key = Log(), Key.parse(OBJECT)
    log.state.ref = Ref(commit="c", accepted="c")
    log.applied(key)
    fields = [
        {"field": "spec.servingPort", "manager": "k", "old": 1, "new": 2},
        {"field": "spec.replicas", "manager": "k", "old": 1, "new": 3, "policy": "report"},
    ]
    log.add(ev.DRIFT_DETECTED, key, what="changed", writer="k", policy="correct", fields=fields, uid="u")
    intent: dict[str, Any] = {"action": "update", "spec": {"spec": {}}, "reason": "declared", "left": ["spec.replicas"]}
    log.add(ev.APPLY_INTENDED, key, operationid="two", **intent)
    log.done(key, "two", uid="u")
    drift = log.state.stage(DECLARE).known(key).drift
    assert [one["field"] for one in drift["fields"]] == ["spec.replicas"]
    assert stands(log.state).why == "changed by k: spec.replicas by k"
    log.add(ev.DRIFT_DETECTED, key, what="changed", writer="k", policy="correct", fields=fields[:1], uid="u")
    log.add(ev.APPLY_INTENDED, key, operationid="three", **intent)  # what it leaves, a rule ignores
    log.done(key, "three", uid="u")
    assert stands(log.state).is_as_git


def test_what_further_stages_make_has_rows_too_and_counts() -> None:
    state = a_state(DECLARE, OBJECT)
    state.stage("run").keys["Deployment/default/m"] = Served(order={"spec": {}}, operation="o", phase="Rejected")
    seen = status(state, NOW)
    assert [(one.stage, one.kind, one.settled) for one in seen.objects] == [
        (DECLARE, "InferenceModel", True),
        ("run", "Deployment", False),
    ]
    assert (seen.tally[FAILING], [one.kind for one in seen.unsettled]) == (1, ["Deployment"])


@pytest.mark.parametrize("what", ["lost", "cluster", "nothing read"])
def test_what_nobody_answered_for_is_not_as_git_says(what: str) -> None:
    state = a_state(DELIVER, ON_EDGE)
    if what == "lost":
        state.ref.lost, state.ref.lost_since = "no route to host", NOW
    elif what == "cluster":
        state.lost["Edge"] = {"error": "no route to host", "code": "RX305", "since": NOW}
    else:
        state.ref = Ref()
    seen = status(state, NOW)
    assert (seen.standing.word, verdict(seen)) == (WAITS, UNANSWERED)


def test_a_refused_document_is_failing_whatever_stands() -> None:
    state = a_state(DELIVER, ON_EDGE)
    state.problems = {"b.yaml": [{"code": "RX201", "message": "no", "path": "b.yaml"}]}
    seen = status(state, NOW)
    assert (seen.standing.word, verdict(seen)) == (FAILING, REFUSED)


def test_applied_means_applied() -> None:
    """The Fleet moves on to a commit when all of that was done, and not before."""
    before = {"lastAppliedRevision": "main@sha1:before"}
    state = a_state(DECLARE, OBJECT)

    def applied() -> str:
        facts, _ = of_fleet(Key("Fleet", "", "fleet", ""), state, Object(status=before), Around(now=NOW))
        return str(facts["lastAppliedRevision"])

    assert applied() == f"main@sha1:{'c' * 40}"
    state.stage(DECLARE).waits[OBJECT] = "suspended by ada: bench"
    assert applied() == "main@sha1:before"
    state.stage(DECLARE).waits.clear()
    state.stage(DECLARE).keys[OBJECT].open = True
    assert applied() == "main@sha1:before"
    state.stage(DECLARE).keys[OBJECT] = Served(order={"spec": {}}, operation="o", phase="Rejected")
    assert applied() == "main@sha1:before"


# ── edges without a cluster ───────────────────────────────────────────────────────────────────────────────────────────


def row_of(hub: HubStation, name: str) -> Row:
    return next(row for row in status(hub.state, NOW_THERE).rows if row.edge == name)


NOW_THERE = "2027-01-15T08:00:00.000000Z"


def test_d4_a_suspended_edge_shows_what_git_wants_and_what_serves(hub: HubStation) -> None:
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    assert status(hub.state, NOW_THERE).converged
    hub.verb("suspend", scope="e1", reason="bench")
    hub.push(model_set("digits", "2", ref="digits"))
    settle(hub, one, other)
    row = row_of(hub, "e1")
    assert (row.wanted, row.serving, row.phase, row.standing.word) == ("2", "1", "Waiting", WAITS)
    assert row_of(hub, "e2").settled
    assert status(hub.state, NOW_THERE).tally[AS_GIT] == 1
    links = why(DELIVER, ON_E1, hub.state, hub.log.find, lambda name: hub.log.read(stream=name))
    (held,) = [link for link in links if link.what == "held back"]
    assert held.text == "suspended by ada: bench; Git says 2 (deployments/digits.yaml:7)"
    hub.push(model_set("digits", "3", ref="digits"))  # another wish, for the same reason
    assert row_of(hub, "e1").wanted == "3"
    hub.verb("resume", scope="e1")
    settle(hub, one, other)
    assert (row_of(hub, "e1").serving, status(hub.state, NOW_THERE).converged) == ("3", True)


def test_an_edge_that_waits_for_the_end_of_a_freeze_is_not_as_git_says(hub: HubStation) -> None:
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    window = {"from": "2027-01-01T00:00:00Z", "until": "2027-02-01T00:00:00Z", "reason": "shops"}
    frozen = fleet(100, "100%")
    frozen.spec["freeze"] = [window]
    hub.push(frozen)
    hub.push(model_set("digits", "2", ref="digits"), edge("e3"))
    settle(hub, one, other)
    row = row_of(hub, "e1")
    assert (row.wanted, row.serving, row.phase) == ("2", "1", "Waiting")
    assert row.standing.until.startswith("2027-02-01T00:00:00")
    new = row_of(hub, "e3")  # never ordered anything
    assert (new.wanted, new.serving, new.phase) == ("2", "", "Waiting")
    recorded = hub.log.head().seq
    hub.turn("audit")
    assert hub.log.head().seq == recorded  # told once


def test_a_plan_that_is_held_says_what_it_would_make_of_each(hub: HubStation) -> None:
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    hub.push(fleet(0, "0%"))
    hub.push(DIGITS, MODEL, OPEN, without=[E2])
    row = row_of(hub, "e2")
    assert (row.wanted, row.serving, row.standing.word) == ("", "1", WAITS)
    assert row.standing.ends.startswith("reconciler approve ")
