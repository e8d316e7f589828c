"""The fold, entry by entry."""

from typing import Any

import pytest

from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event, event_id, rfc3339
from reconciler.history.fold import fold
from reconciler.history.keys import DECLARE, DELIVER, Key, stage_of, stream_of
from reconciler.history.state import FAILED, StageState, State, ordering
from reconciler.history.status import status
from tests.log_events import T0, StillClock

KEY = Key("InferenceModel", "default", "m", "e1")


class Story:
    """Two logs, the hub's and an edge's, and the fold of the hub's."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.hub, self.edge = MemoryLog("/hub", self.clock), MemoryLog("/edge/e1", self.clock)
        self.state = fold(State(), list(self.hub.read()))
        self.count = 0

    def _event(self, type_: str, about: Key | str, data: dict[str, Any], **attributes: str) -> Event:
        self.count += 1
        stream, subject = (about, "") if isinstance(about, str) else (stream_of(DELIVER, about), str(about))
        time = rfc3339(self.clock.seconds)
        return Event(
            id=event_id(self.count),
            type=type_,
            partitionkey=stream,
            subject=subject,
            time=time,
            data=data,
            **attributes,  # type: ignore[arg-type]  # every attribute that is passed here is text
        )

    def hubs(self, type_: str, about: Key | str, data: dict[str, Any], **attributes: str) -> None:
        fold(self.state, self.hub.append([self._event(type_, about, data, **attributes)]))

    def edges(self, type_: str, about: Key | str, data: dict[str, Any], **attributes: str) -> None:
        self.edge.append([self._event(type_, about, data, **attributes)])
        fold(self.state, self.hub.copy(list(self.edge.raw("hub", self.hub.held(self.edge.source).seq))))

    def order(self, operation: str, version: str = "1", action: str = "update") -> None:
        spec = {"version": version} if action != "delete" else {}
        self.hubs(ev.APPLY_INTENDED, KEY, {"action": action, "spec": spec, "reason": "because"}, operationid=operation)

    @property
    def mine(self) -> StageState:
        return self.state.stage(DELIVER)

    @property
    def row(self) -> tuple[str, bool, str]:
        served = self.mine.known(KEY)
        return served.phase, served.open, str(served.live.get("version", ""))


@pytest.fixture
def story() -> Story:
    return Story()


LIVE_1, LIVE_2 = {"live": {"version": "1"}}, {"live": {"version": "2"}}
BAD = {"error": "the probe failed", "code": "RX404", "phase": "RolledBack", "quarantine": "d" * 64, **LIVE_1}


def test_an_order_goes_through_its_phases_to_committed(story: Story) -> None:
    story.order("op")
    seen = [story.row[0]]
    for type_, data in (
        (ev.DOWNLOAD_STARTED, {}),
        (ev.ARTIFACT_VERIFIED, {}),
        (ev.ARTIFACT_STAGED, {"sha256": "d" * 64, "size": 5}),
        (ev.MODEL_ACTIVATED, LIVE_1),
        (ev.APPLY_SUCCEEDED, LIVE_1),
    ):
        story.edges(type_, KEY, data, operationid="op")
        seen.append(story.row[0])
    assert seen == ["Desired", "Downloading", "Verified", "Staged", "Active", "Committed"]
    assert story.row == ("Committed", False, "1")
    assert story.state.edges["e1"].artifacts == {"d" * 64: 5}
    story.edges(ev.ARTIFACT_EVICTED, "edge/e1", {"sha256": "d" * 64, "edge": "e1"})
    assert story.state.edges["e1"].artifacts == {}


def test_fault_57_an_outcome_of_an_older_order_tells_what_is_live_and_closes_nothing(story: Story) -> None:
    story.order("old", "1")
    story.order("new", "2")
    for type_, data in ((ev.DOWNLOAD_STARTED, {}), (ev.APPLY_SUCCEEDED, LIVE_1), (ev.APPLY_FAILED, BAD)):
        story.edges(type_, KEY, data, operationid="old")
        assert story.row[:2] == ("Desired", True)
    assert story.row == ("Desired", True, "1")
    story.edges(ev.APPLY_SUCCEEDED, KEY, LIVE_2, operationid="new")
    assert story.row == ("Committed", False, "2")


def test_a_refusal_places_a_hold_by_content_and_a_delete_forgets_all(story: Story) -> None:
    story.order("op")
    story.edges(ev.APPLY_FAILED, KEY, BAD, operationid="op")
    served = story.mine.known(KEY)
    assert (served.phase, served.message, served.code) == ("RolledBack", "the probe failed", "RX404")
    assert served.phase in FAILED
    assert story.mine.holds[str(KEY)]["d" * 64]["reason"] == "the probe failed"
    story.order("gone", action="delete")
    story.edges(ev.APPLY_SUCCEEDED, KEY, {"live": {}}, operationid="gone")
    assert (story.mine.keys, story.mine.holds) == ({}, {})


def test_a_transient_failure_leaves_the_order_open_and_says_why(story: Story) -> None:
    story.order("op")
    story.edges(ev.DOWNLOAD_STARTED, KEY, {}, operationid="op")
    story.edges(ev.APPLY_ABANDONED, KEY, {"error": "cut", "code": "RX302"}, operationid="op")
    assert (story.row, story.mine.known(KEY).message) == (("Downloading", True, ""), "cut")


SETTLED = {"reason": "the reconciler ended", "settled": True}


@pytest.mark.parametrize("action", ["update", "delete"])
def test_what_was_ordered_before_survives_orders_that_were_given_up(story: Story, action: str) -> None:
    story.order("first")
    story.hubs(ev.APPLY_SUCCEEDED, KEY, LIVE_1, operationid="first")
    for operation in ("second", "third"):
        story.order(operation, "2", action)
        story.hubs(ev.APPLY_ABANDONED, KEY, SETTLED, operationid=operation)
        assert (story.row, story.state.stage(DELIVER).known(KEY).order) == (("Desired", False, "1"), {"version": "1"})
        assert story.state.stage(DELIVER).known(KEY).action == "update"
    assert story.state.stage(DELIVER).deletes == []
    story.order("fourth", "3")
    story.order("fifth", "4")  # before the fourth was answered
    assert story.state.stage(DELIVER).known(KEY).before == {"version": "1"}
    story.hubs(ev.APPLY_FAILED, KEY, {"error": "no", "code": "RX411"}, operationid="fifth")
    story.order("sixth", "5")
    assert story.state.stage(DELIVER).known(KEY).before == {"version": "1"}
    story.hubs(ev.APPLY_SUCCEEDED, KEY, LIVE_2, operationid="sixth")
    assert (story.state.stage(DELIVER).known(KEY).order, story.state.stage(DELIVER).known(KEY).before) == (
        {"version": "5"},
        {},
    )


def test_of_a_first_order_that_was_given_up_nothing_stands(story: Story) -> None:
    story.order("op")
    story.hubs(ev.APPLY_ABANDONED, KEY, SETTLED, operationid="op")
    assert (story.row[:2], story.state.stage(DELIVER).known(KEY).order) == (("Desired", False), {})


def test_a_runtime_that_died_is_degraded_unless_the_order_was_refused(story: Story) -> None:
    story.order("op")
    story.edges(ev.APPLY_SUCCEEDED, KEY, LIVE_1, operationid="op")
    story.edges(ev.MODEL_DEGRADED, KEY, {"error": "it ended", "live": {}})
    assert (story.row, story.mine.known(KEY).message) == (("Degraded", False, ""), "it ended")
    story.edges(ev.MODEL_ACTIVATED, KEY, LIVE_1, operationid="op")
    assert story.row == ("Committed", False, "1")
    story.order("worse", "2")
    story.edges(ev.APPLY_FAILED, KEY, BAD, operationid="worse")
    refused = story.mine.known(KEY).message
    for error in ("it ended", "it ended again"):
        story.edges(ev.MODEL_DEGRADED, KEY, {"error": error, "live": {}})
        assert story.mine.known(KEY).message == f"{refused}; what serves instead: {error}"
    story.edges(ev.APPLY_SUCCEEDED, KEY, LIVE_1, operationid="the edge's own")
    assert (story.row, story.mine.known(KEY).message) == (("RolledBack", False, "1"), refused)


def test_flips_that_are_told_together_are_no_older_failure_s(story: Story) -> None:
    story.order("op")
    story.edges(ev.APPLY_ABANDONED, KEY, {"error": "nobody answers", "code": "RX302"}, operationid="op")
    story.edges(ev.STATE_UNSTABLE, KEY, {"live": {}, "count": 7, "seconds": 600})
    served = story.mine.known(KEY)
    assert (served.code, served.message) == ("", "it was served or lost 7 times in 10 minutes")


def test_an_edge_s_own_intent_is_open_in_its_own_log_and_no_order_anywhere(story: Story) -> None:
    story.order("op")
    intent = {"action": "update", "spec": {"version": "1"}, "reason": ""}
    story.edges(ev.APPLY_INTENDED, KEY, intent, operationid="op")
    assert story.mine.known(KEY).own == ""
    state = fold(State(), list(story.edge.read()))
    own = state.stage(DELIVER)
    assert (own.known(KEY).own, own.known(KEY).own_spec, own.known(KEY).order) == ("op", {"version": "1"}, {})
    story.edges(ev.APPLY_ABANDONED, KEY, {"reason": "superseded"}, operationid="op")
    assert fold(state, list(story.edge.read(state.seq))).stage(DELIVER).known(KEY).own == ""


def test_the_plans_of_a_stage_are_counted_and_nothing_beside_them(story: Story) -> None:
    story.hubs(ev.RECONCILE_SUSPENDED, "suspensions", {"scope": "*", "reason": "night"}, actor="ada")
    story.hubs(ev.CHANGE_PLANNED, "plan/deliver", {"counts": {}})
    story.hubs(ev.CHANGE_APPROVED, "plan/deliver", {"digest": "x"})
    story.hubs(ev.CHANGE_PLANNED, "plan/declare", {"counts": {}})
    assert (story.mine.plans, story.state.stage(DECLARE).plans) == (2, 1)
    story.hub.append(
        [story._event(ev.CHANGE_PLANNED, "plan/deliver", {"counts": {}})], expected={"plan/deliver": story.mine.plans}
    )


def test_a_suspension_is_known_until_it_is_resumed(story: Story) -> None:
    story.hubs(ev.RECONCILE_SUSPENDED, "suspensions", {"scope": "e1", "reason": "visit", "until": "later"}, actor="ada")
    assert story.state.suspended["e1"] == {
        "reason": "visit",
        "until": "later",
        "actor": "ada",
        "time": rfc3339(T0),
    }
    story.hubs(ev.RECONCILE_RESUMED, "suspensions", {"scope": "e1"})
    assert story.state.suspended == {}


def planned(story: Story, held: str = "", keys: tuple[str, ...] = (), commit: str = "", **data: Any) -> None:
    more = {"held": held, "keys": list(keys)} if held else {}
    story.hubs(
        ev.CHANGE_PLANNED, "plan/deliver", {"counts": {}, **more, **data}, gitcommit=commit, newdigest="x" + held
    )


def test_a_plan_is_held_replaced_or_accepted(story: Story) -> None:
    planned(story, "too much", ("a",), "c1")
    assert story.mine.held_plan is not None
    assert (story.mine.held_plan.commit, story.state.ref.accepted) == ("c1", "")
    planned(story, "an audit's, too much", ("b",))
    assert (story.mine.held_plan.commit, story.mine.held_plan.keys) == ("c1", ["a", "b"])
    planned(story)  # nothing about it
    assert story.mine.held_plan is not None
    planned(story, commit="c2", fleet={"prune": {}})
    assert (story.mine.held_plan is None, story.state.ref.accepted) == (True, "c2")
    assert story.state.fleet == {"prune": {}}
    planned(story, commit="c3")
    assert story.state.fleet == {"prune": {}}


def test_rewritten_history_is_told_by_the_first_commit_that_was_left(story: Story) -> None:
    story.hubs(ev.REF_REWRITTEN, "git", {"from": "a", "to": "b"})
    story.hubs(ev.REF_REWRITTEN, "git", {"from": "b", "to": "c"})
    assert story.state.ref.rewritten_from == "a"
    planned(story, commit="c")
    assert story.state.ref.rewritten_from == ""


def test_deletes_are_remembered_for_an_hour(story: Story) -> None:
    story.order("1", action="delete")
    story.clock.seconds += 1800
    story.order("2", action="delete")
    assert len(story.mine.deletes) == 2
    story.clock.seconds += 1801
    story.order("3", action="delete")
    assert story.mine.deletes == [rfc3339(T0 + 1800), rfc3339(T0 + 3601)]


def test_files_documents_and_problems_come_and_go(story: Story) -> None:
    facts = {"committed": "t", "author": "Ada", "subject": "s"}
    documents: dict[str, Any] = {"a": ["1#0"]}
    story.hubs(ev.REF_ADVANCED, "git", {"commit": "c1", **facts, "files": {"a": "1"}, "documents": documents})
    story.hubs(ev.REF_ADVANCED, "git", {"commit": "c2", **facts, "files": {"a": None}, "documents": {"a": None}})
    assert (story.state.files, story.state.documents, story.state.ref.commit) == ({}, {}, "c2")
    story.hubs(ev.MANIFESTS_CHECKED, "git", {"problems": {"a": [{"code": "RX201"}]}})
    story.hubs(ev.MANIFESTS_CHECKED, "git", {"problems": {"a": [], "b": []}})
    assert story.state.problems == {}


def test_problems_of_one_key_are_each_stage_s_own(story: Story) -> None:
    for stage in ("declare", "pods"):
        story.hubs(
            ev.MANIFESTS_CHECKED, f"problems/{stage}", {"problems": {"InferenceModel/default/m": [{"code": stage}]}}
        )
    story.hubs(ev.MANIFESTS_CHECKED, "problems/pods", {"problems": {"InferenceModel/default/m": []}})
    assert [one["code"] for one in story.state.all_problems] == ["declare"]


def test_an_edge_is_heard_found_and_lost(story: Story) -> None:
    story.hubs(ev.EDGE_FOUND, "edge/e1", {"edge": "e1"})
    story.edges(ev.MODEL_DEGRADED, KEY, {"error": "", "live": {}})
    seen = story.state.edges["e1"]
    assert (seen.present, seen.last_sequence, seen.source) == (True, 2, story.edge.source)
    story.hubs(ev.EDGE_LOST, "edge/e1", {"edge": "e1"})
    assert not story.state.edges["e1"].present


def test_an_unknown_type_counts_as_seen_and_changes_nothing_else(story: Story) -> None:
    before = story.state.seq
    story.hubs("weather.changed.v1", "weather", {})
    assert (story.state.seq, story.mine.keys) == (before + 1, {})


def test_reading_what_is_not_known_leaves_no_trace(story: Story) -> None:
    assert story.mine.known(KEY).phase == "Desired"
    assert story.mine.keys == {}


def test_keys_have_a_text_form_and_a_stream_of_their_stage() -> None:
    assert Key.parse(str(KEY)) == KEY
    plain, wide = KEY._replace(edge=""), Key("Edge", "", "e1", "")
    for stage, key, stream in (
        (DELIVER, KEY, "deploy/e1/InferenceModel/default/m"),
        (DECLARE, plain, "object/InferenceModel/default/m"),
        (DECLARE, wide, "object/Edge//e1"),
        ("run", plain, "run/InferenceModel/default/m"),
        ("run", KEY, "run/e1/InferenceModel/default/m"),
    ):
        assert (stream_of(stage, key), stage_of(stream)) == (stream, stage)
    assert [stage_of(f"{name}/run") for name in ("plan", "waits")] == ["run", "run"]
    for none in ("git", "suspensions", "cluster", "log", "edge/e1", "link/e1", "plan", ""):
        assert stage_of(none) == ""  # text
    for text in ("m@e1", "a/b@e1", "a/b/c/d@e1", ""):
        with pytest.raises(ValueError, match="values to unpack"):
            Key.parse(text)


def test_a_log_says_of_which_stages_it_has_ordered_something(story: Story) -> None:
    assert ordering(story.state) == frozenset()
    story.hubs(ev.OBJECT_ADOPTED, KEY, {"uid": "u"})  # only found there
    assert ordering(story.state) == frozenset()
    story.order("op")
    assert ordering(story.state) == {DELIVER}
    story.hubs(ev.LEASE_ACQUIRED, "cluster", {"holder": "a", "transitions": 1})  # before the first order of objects
    assert ordering(story.state) == {DECLARE, DELIVER}


def test_a_row_that_waits_says_since_when_it_waits_whatever_for() -> None:
    story = Story()
    story.order("o1")
    story.hubs(ev.APPLY_SUCCEEDED, KEY, {"live": {"version": "1"}}, operationid="o1")
    served = story.mine.known(KEY).phase_time

    def since(**waits: list[str]) -> tuple[str, str]:
        story.clock.seconds += 60
        wants = [{"action": "update", "version": "2", "keys": [str(KEY)]}]
        data = {"waits": waits or {"": [str(KEY)]}} | ({"wants": wants} if waits else {})
        story.hubs(ev.STEPS_WAITING, f"waits/{DELIVER}", data)
        (row,) = status(story.state, rfc3339(story.clock.seconds)).rows
        return row.phase, row.since

    first = rfc3339(story.clock.seconds + 60)
    assert since(suspended=[str(KEY)]) == ("Waiting", first)
    assert since(frozen=[str(KEY)]) == ("Waiting", first)
    assert since() == ("Committed", served)
    assert since(suspended=[str(KEY)]) == ("Waiting", rfc3339(story.clock.seconds))


def test_a_row_of_a_held_plan_waits_since_that_was_held() -> None:
    story = Story()
    story.order("o1")
    story.hubs(ev.APPLY_SUCCEEDED, KEY, {"live": {"version": "1"}}, operationid="o1")
    story.clock.seconds += 60
    wants = [{"action": "delete", "version": "", "keys": [str(KEY)]}]
    facts = {"held": "it deletes 9", "keys": [str(KEY)], "counts": {"delete": 1}, "wants": wants}
    story.hubs(ev.CHANGE_PLANNED, f"plan/{DELIVER}", facts, newdigest="ab12")
    (row,) = status(story.state, rfc3339(story.clock.seconds)).rows
    assert (row.phase, row.since) == ("Waiting", rfc3339(story.clock.seconds))
