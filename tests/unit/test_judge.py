"""From the fold to what a plan is judged by."""

from reconciler.history.keys import DECLARE
from reconciler.history.state import EdgeSeen, HeldPlan, Ref, Served, StageState, State
from reconciler.planning.gate import judge_by

NOW = "2027-01-15T08:00:00.000000Z"


def test_only_deletes_of_the_last_hour_count_and_what_was_there_before_them() -> None:
    times = ["2027-01-15T06:59:59.000000Z", "2027-01-15T07:00:01.000000Z", "2027-01-15T07:59:00.000000Z"]
    keys = {
        "a": Served(order={"version": "1"}, action="create"),
        "b": Served(order={}, action="delete"),
        "c": Served(live={"version": "1"}),  # an edge has it, by an order of a log that was lost
    }
    judged = judge_by(
        State(stages={DECLARE: StageState(deletes=times, keys=keys)}), DECLARE, {}, now=NOW, unreadable=(), approved=""
    )
    assert (judged.deleted_lately, judged.inventory()) == (2, 4)


def test_suspensions_end_at_their_time_in_whatever_zone_it_is_given() -> None:
    until = {
        "*": "2027-01-15T08:00:00Z",
        "e1": "2027-01-15T09:00:01+01:00",
        "e2": "",
        "e3": "2027-01-15T08:59:59+01:00",
    }
    state = State(suspended={scope: {"until": time} if time else {} for scope, time in until.items()})
    assert sorted(judge_by(state, DECLARE, {}, now=NOW, unreadable=(), approved="").suspended) == ["e1", "e2"]


def test_the_rest_is_passed_on() -> None:
    state = State(ref=Ref(rewritten_from="f" * 40), edges={"e1": EdgeSeen(artifacts={"d": 5})})
    state.stage(DECLARE).holds = {"k": {"d": {}}}
    fleet: dict[str, object] = {"prune": {"maxDeletes": 3}}
    judged = judge_by(state, DECLARE, fleet, now=NOW, unreadable=("a:1",), approved="x")
    assert (judged.limits, judged.holds, judged.rewritten_from) == ({"maxDeletes": 3}, {"k": {"d": {}}}, "f" * 40)
    assert (judged.unreadable, judged.approved, judged.held_bytes) == (("a:1",), "x", {"e1": {"d": 5}})
    assert judge_by(state, DECLARE, {}, now=NOW, unreadable=(), approved="").limits == {}


def test_a_stage_is_judged_by_nothing_of_another() -> None:
    other = StageState(
        deletes=["2027-01-15T07:59:00.000000Z"],
        keys={"a": Served(order={"version": "1"}, action="create")},
        holds={"k": {"d": {}}},
        held_plan=HeldPlan(digest="d", reason="too much", keys=["a"], counts={}),
    )
    state = State(stages={DECLARE: other}, ref=Ref(rewritten_from="f" * 40))
    judged = judge_by(state, "run", {}, now=NOW)
    assert (judged.deleted_lately, judged.inventory(), judged.holds, judged.ordered) == (0, 0, {}, {})
    assert (judged.rewritten_from, judge_by(state, DECLARE, {}, now=NOW).rewritten_from) == ("f" * 40, "")
