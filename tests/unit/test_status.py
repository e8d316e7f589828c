"""Status is a fold of the log, and never shows what it does not know."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from reconciler.cli.status import show
from reconciler.errors import DIAGNOSTICS
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.state import EdgeSeen, HeldPlan, Ref, Served, StageState, State, Wish
from reconciler.history.status import NEVER, Counted, Row, age, status

NOW = "2026-11-30T15:00:00.000000Z"
KEY = "InferenceModel/default/defect-a@a"
ORDER = {"version": "2", "model": "defect"}


def a_state(**served: object) -> State:
    known = {"order": ORDER, "operation": "o", "phase": "Committed", "phase_time": "2026-11-30T14:00:00.000000Z"}
    state = State(seq=7, time="2026-11-30T14:30:00.000000Z", ref=Ref(commit="c", accepted="c"))
    state.stage(DELIVER).keys[KEY] = Served(**known | {"live": {"version": "2", "url": "http://x"}} | served)  # type: ignore[arg-type]  # test data
    state.edges["a"] = EdgeSeen(present=True, since="2026-11-30T13:00:00.000000Z", last_sequence=4)
    return state


def only(state: State) -> Row:
    (row,) = status(state, NOW).rows
    return row


def test_a_settled_row_has_wanted_and_serving() -> None:
    row = only(a_state())
    assert (row.edge, row.model, row.wanted, row.serving, row.phase) == ("a", "defect", "2", "2", "Committed")
    assert row.settled
    assert status(a_state(), NOW).converged


def test_serving_is_what_the_edge_answered_not_what_was_ordered() -> None:
    row = only(a_state(live={}, phase="Downloading", open=True))
    assert (row.wanted, row.serving) == ("2", "")
    assert not row.settled


def test_a_model_that_nobody_has_asked_a_real_question_is_settled_and_said_to_be_unproven() -> None:
    live = {"version": "2", "unproven": "no golden.json in the archive"}
    row = only(a_state(live=live))
    assert (row.settled, row.said) == (True, "RX230: unproven: no golden.json in the archive")
    assert status(a_state(live=live), NOW).converged
    failed = only(a_state(live=live, phase="RolledBack", message="it misreads", code="RX404"))
    assert failed.said == "RX404: it misreads"  # what stands against the order comes first
    assert "RX230" in DIAGNOSTICS


def test_an_edge_that_is_lost_is_unknown_since_then() -> None:
    state = a_state()
    state.edges["a"] = EdgeSeen(present=False, since="2026-11-30T14:02:00.000000Z", last_sequence=881)
    row = only(state)
    assert (row.unknown_since, row.last_sequence) == ("2026-11-30T14:02:00.000000Z", 881)
    assert not row.settled
    assert not status(state, NOW).is_heard


def test_an_edge_that_was_never_heard_is_unknown_since_never() -> None:
    state = a_state()
    del state.edges["a"]
    assert only(state).unknown_since == NEVER


def test_a_pin_is_seen_by_its_reason() -> None:
    assert only(a_state(reason="pinned on a: night shift")).pinned
    assert not only(a_state(reason="the default version of defect")).pinned


def test_a_key_that_was_only_reported_is_no_row() -> None:
    assert status(a_state(operation=""), NOW).rows == ()


def test_a_suspension_ends_by_itself() -> None:
    state = a_state()
    state.suspended = {
        "*": {"actor": "ada", "reason": "night", "until": "2026-11-30T14:59:59.000000Z"},
        "a": {"actor": "ada", "reason": "moves", "until": "2026-11-30T15:00:01.000000Z"},
    }
    assert [one.scope for one in status(state, NOW).suspended] == ["a"]


def test_rows_say_who_suspended_them() -> None:
    state = a_state()
    for scope, said in (("*", "suspended by ada: night"), ("a", "suspended by ada: night"), ("b", "")):
        state.suspended = {scope: {"actor": "ada", "reason": "night"}}
        assert only(state).waits == said
    state.suspended = {"*": {"actor": "ada", "reason": "night", "until": "2026-11-30T14:59:59.000000Z"}}
    assert only(state).waits == ""


ONCE_MORE = "publish a new version or revert; `reconciler release a defect` tries the same bytes once more"


def holding(phase: str, version: str) -> State:
    state = a_state(phase=phase)
    state.stage(DELIVER).holds = {
        KEY: {"abcdef0123456789": {"reason": "wrong", "code": "RX404", "seq": 3, "time": "t", "version": version}}
    }
    return state


@pytest.mark.parametrize("phase", ["Rejected", "RolledBack"])
def test_a_row_says_what_is_held_back_and_who_lets_it_go(phase: str) -> None:
    assert only(holding(phase, "2")).waits == f"it is held back: {ONCE_MORE}"


def test_what_waits_as_it_is_held_back_is_named_by_its_version() -> None:
    state = holding("Committed", "3")
    state.stage(DELIVER).waits[KEY] = "RX404: wrong"
    state.stage(DELIVER).wishes[KEY] = Wish(action="update", version="3")
    assert only(state).waits == f"RX404: wrong; version 3 is held back: {ONCE_MORE}"


@pytest.mark.parametrize(("phase", "version"), [("Committed", "3"), ("Committed", "2"), ("Rejected", "3")])
def test_what_is_held_back_and_wanted_by_nobody_is_listed_and_in_no_row(phase: str, version: str) -> None:
    state = holding(phase, version)
    assert only(state).waits == ""
    (held,) = status(state, NOW).holds
    assert (held.what, held.ends) == (f"version {version}", "reconciler release a defect")


def test_of_content_whose_version_an_old_log_does_not_say_there_is_the_digest() -> None:
    state = holding("Rejected", "")
    del state.stage(DELIVER).holds[KEY]["abcdef0123456789"]["version"]
    assert status(state, NOW).holds[0].what == "abcdef012345"
    assert only(state).waits == f"it is held back: {ONCE_MORE}"


def test_holds_links_problems_and_a_held_plan_are_listed() -> None:
    state = a_state()
    state.stage(DELIVER).holds = {KEY: {"ab": {"reason": "wrong", "code": "RX404", "seq": 3, "time": "t"}}}
    state.links = {"a": "a gap"}
    state.problems = {"b.yaml": [{"code": "RX201", "message": "no", "path": "b.yaml"}]}
    state.stage(DELIVER).held_plan = HeldPlan(digest="d", reason="too much", keys=[KEY], counts={"delete": 4})
    seen = status(state, NOW)
    assert [(one.key, one.digest, one.code) for one in seen.holds] == [(KEY, "ab", "RX404")]
    assert [(one.peer, one.error) for one in seen.links] == [("a", "a gap")]
    assert seen.refused
    assert seen.held is not None
    assert seen.held.reason == "too much"
    assert not seen.converged


def test_a_warning_refuses_nothing() -> None:
    state = a_state()
    state.problems = {"b.yaml": [{"code": "RX217", "message": "quote it", "path": "b.yaml", "severity": "warning"}]}
    assert status(state, NOW).converged


def test_rows_stand_by_edge_and_models_first() -> None:
    state = a_state()
    state.stage(DELIVER).keys["Dataset/default/a@a"] = replace_key(state, {"dataset": "a", "version": "1"})
    state.stage(DELIVER).keys["InferenceModel/default/x-b@b"] = replace_key(state, {"model": "x", "version": "1"})
    assert [(row.edge, row.kind) for row in status(state, NOW).rows] == [
        ("a", "InferenceModel"),
        ("a", "Dataset"),
        ("b", "InferenceModel"),
    ]


def replace_key(state: State, order: dict[str, str]) -> Served:
    found = state.stage(DELIVER).keys[KEY]
    return Served(order=order, operation="p", phase=found.phase)


def test_the_same_state_and_time_give_the_same_value() -> None:
    assert status(a_state(), NOW) == status(a_state(), NOW)
    assert replace(status(a_state(), NOW), as_of="") != status(a_state(), NOW)


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("2026-11-30T14:59:48Z", "12s"),
        ("2026-11-30T14:57:01Z", "2m"),
        ("2026-11-30T12:59:00Z", "2h"),
        ("2026-11-25T15:00:00Z", "5d"),
        ("2026-11-30T15:00:01Z", "0s"),
        ("", ""),
        (NEVER, ""),
    ],
)
def test_ages_in_their_largest_unit(since: str, said: str) -> None:
    assert age(since, NOW) == said


def of_the_cluster(name: str, **served: Any) -> tuple[str, Served]:
    known = {"order": {"spec": {}}, "operation": "o", "phase": "Committed", "phase_time": NOW}
    return f"InferenceModel/default/{name}", Served(**known | served)


def test_objects_are_counted_by_kind_and_those_that_wait_are_listed_with_all_that_stands_against_them() -> None:
    drift = {"what": "changed", "writer": "kubectl", "policy": "report", "fields": []}
    mine = StageState(
        keys=dict(
            [
                of_the_cluster("a"),
                of_the_cluster("b", phase="Rejected", code="RX411", message="quota"),
                of_the_cluster("c", drift=drift),
                of_the_cluster("d"),
            ]
        ),
        waits={"InferenceModel/default/b": "frozen", "Edge/default/e": "frozen"},
    )
    state = State(
        stages={DECLARE: mine},
        suspended={"InferenceModel/default/d": {"actor": "ada", "reason": "moving"}},
    )
    seen = status(state, NOW)
    assert seen.counted == (
        Counted(kind="Edge", objects=1, settled=0, waits=1, failing=0, pending=1, drifted=0),
        Counted(kind="InferenceModel", objects=4, settled=1, waits=2, failing=1, pending=1, drifted=1),
    )
    now = "reconciler reconcile InferenceModel/default/b"
    assert [(one.name, one.stands, one.said) for one in seen.unsettled] == [
        ("e", "Waiting", "frozen"),
        ("b", "Rejected", f"RX411: quota; frozen; tried again as soon as it can be, or now: `{now}`"),
        ("c", "Drifted", "changed by kubectl: the object"),
        ("d", "Committed", "suspended by ada: moving"),
    ]


def several(**phases: str) -> State:
    """The one row once more for each of these edges, in that phase."""
    state = a_state()
    one = state.stage(DELIVER).keys.pop(KEY)
    for edge, phase in phases.items():
        text = str(Key.parse(KEY)._replace(edge=edge))
        state.stage(DELIVER).keys[text] = msgspec.structs.replace(one, phase=phase, message="", open=phase == "Staged")
        state.edges[edge] = state.edges["a"]
    return state


def summed(state: State, capsys: pytest.CaptureFixture[str], **about: str) -> str:
    show(status(state, NOW), about=about)
    return capsys.readouterr().out


def test_a_sum_counts_all_that_is_not_as_git_says(capsys: pytest.CaptureFixture[str]) -> None:
    state = several(b="Committed", c="Staged", d="Rejected", e="Rejected")
    assert "failing: 1 of 4 as Git says; 1 wait; 2 of 4 are failing\n" in summed(state, capsys)
    state.problems = {"a.yaml": [{"code": "RX202", "message": "no", "path": "a.yaml", "line": 1}]}
    said = "failing: 1 of 4 as the last accepted commit says; 1 wait; 2 are failing; a document is refused"
    assert said in summed(state, capsys)


def test_where_nothing_asked_for_fails_a_refused_document_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    state = several()
    state.problems = {"a.yaml": [{"code": "RX202", "message": "no", "path": "a.yaml", "line": 1}]}
    assert "nothing of that is failing, but a document is refused\n" in summed(state, capsys, standing="failing")
    assert "nothing of that waits\n" in summed(state, capsys, standing="waiting")


def test_what_is_suspended_with_nothing_to_change_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    state = several(b="Committed", c="Committed", d="Committed")
    state.suspended = {edge: {"actor": "ada", "reason": "night"} for edge in ("b", "c")}
    text = str(Key.parse(KEY)._replace(edge="c"))
    state.stage(DELIVER).waits[text] = "suspended by ada: night"
    state.stage(DELIVER).wishes[text] = Wish(action="update", version="3")
    said = "waits: 1 of 3 as Git says; 2 of 3 wait (1 of them only suspended, with nothing to change): suspended by ada"
    assert said in summed(state, capsys)
