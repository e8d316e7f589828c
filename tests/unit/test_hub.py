"""The hub's stage over a branch and links in memory: what each trigger records, orders and leaves alone."""

from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.diagnostics import BLOCKS_PRUNING, Diagnostic
from reconciler.engine.queue import Cause, Trigger
from reconciler.errors import Defect, ForkFound, HistoryError, NameUnknown, PlanHeld, UsageError, WorldUnavailable
from reconciler.eventlog.batch import Tail
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Head, rfc3339
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import HeldPlan
from reconciler.history.status import status
from reconciler.planning.declared import Object
from reconciler.stages.verbs import Verbs
from tests.fleets import catalogue, dataset, edge, fleet, model_set, plain, sha
from tests.log_events import T0
from tests.stations import EdgeStation, HubStation, MemoryLink, drain, settle, types

E1, E2 = edge("e1", {"ring": "canary"}), edge("e2")
DIGITS = model_set("digits", "1", ref="digits")
MODEL = catalogue("digits", "1 2 3")
OPEN = fleet(100, "100%")
ON_E1, ON_E2 = Key("InferenceModel", "default", "digits-e1", "e1"), Key("InferenceModel", "default", "digits-e2", "e2")


@pytest.fixture
def hub() -> HubStation:
    station = HubStation()
    station.push(E1, E2, MODEL, DIGITS, OPEN)
    return station


def test_a_commit_is_read_judged_planned_and_ordered_in_this_sequence() -> None:
    hub = HubStation()
    entries = hub.push(E1, MODEL, DIGITS)
    assert types(entries) == [ev.REF_ADVANCED, ev.CHANGE_PLANNED, ev.APPLY_INTENDED]
    advanced, planned, order = (entry.event for entry in entries)
    assert (planned.causationid, order.causationid) == (advanced.id, planned.id)
    assert {event.gitcommit for event in (advanced, planned, order)} == {hub.state.ref.accepted}
    assert (order.subject, order.data["reason"]) == (str(ON_E1), "the default version of digits")
    assert (order.data["origin"], order.newdigest) == (
        "deployments/digits.yaml:7",
        MODEL.spec["versions"][0]["sha256sum"],
    )
    assert hub.rung == ["e1"]


def test_a_commit_that_moves_one_version_orders_it_with_the_fields_that_differ(hub: HubStation) -> None:
    entries = hub.push(model_set("digits", "2", ref="digits"))
    assert hub.orders(entries) == {str(ON_E1): "update 2", str(ON_E2): "update 2"}
    first = next(entry.event for entry in entries if entry.event.type == ev.APPLY_INTENDED)
    assert [change[0] for change in first.data["changes"]] == ["sha256", "url", "version"]
    assert first.data["changes"][2] == ["version", "1", "2"]
    assert first.prevdigest == MODEL.spec["versions"][0]["sha256sum"]


def test_an_unmoved_branch_an_audit_and_a_commit_of_nothing_order_nothing(hub: HubStation) -> None:
    assert hub.turn("commit") == []
    settle(hub, EdgeStation("e1", hub), EdgeStation("e2", hub))
    assert hub.turn("audit") == []
    assert types(hub.push(DIGITS)) == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]


def test_fault_55_commits_between_two_looks_each_get_their_event_in_order(hub: HubStation) -> None:
    first = hub.branch.commit(model_set("digits", "2", ref="digits"))
    second = hub.branch.commit(model_set("digits", "3", ref="digits"))
    entries = hub.turn("commit")
    assert types(entries)[:3] == [ev.REF_ADVANCED, ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    assert [entry.event.gitcommit for entry in entries[:2]] == [first, second]
    assert hub.orders(entries) == {str(ON_E1): "update 3", str(ON_E2): "update 3"}  # only where the branch is now
    assert hub.state.ref.accepted == second


def test_waiting_never_orders_twice_and_a_newer_order_supersedes(hub: HubStation) -> None:
    assert hub.orders(hub.turn("audit")) == {}  # both orders are open, no edge has answered
    superseding = hub.orders(hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "2"}])))
    assert superseding == {str(ON_E1): "update 2"}
    operation = hub.mine.served(ON_E1).operation
    edge_1 = EdgeStation("e1", hub)
    settle(hub, edge_1)
    assert edge_1.work.begun == [(str(ON_E1), "2")]
    assert (hub.mine.served(ON_E1).open, hub.mine.served(ON_E1).operation) == (False, operation)


def test_a_restart_orders_nothing_again(hub: HubStation) -> None:
    station = hub.again()
    assert station.orders(station.turn("start")) == {}
    assert station.state == hub.state


def test_a_killed_hub_plans_what_it_had_read(hub: HubStation) -> None:
    reading_of = hub.branch.commit(model_set("digits", "2", ref="digits"))
    batch = hub.hub.take(Trigger(Cause.COMMIT))
    hub.record.append(batch.events)  # and here it is killed
    assert hub.state.ref.commit == reading_of != hub.state.ref.accepted
    station = hub.again()
    entries = station.turn("start")
    assert station.orders(entries) == {str(ON_E1): "update 2", str(ON_E2): "update 2"}
    assert station.state.ref.accepted == reading_of


# ── limits, approval, suspension ──────────────────────────────────────────────────────────────────────────────────────


def crowd(limits: Object, count: int = 20) -> tuple[HubStation, list[Object]]:
    hub = HubStation()
    many = [plain(f"m{n:02}", servingPort=9000 + n, nodeName="e1") for n in range(count)]
    hub.push(E1, limits, *many)
    return hub, many


def test_fault_51_a_commit_that_empties_the_repository_is_held_and_approved_by_its_digest() -> None:
    hub, many = crowd(fleet(10, "100%"))
    entries = hub.push(without=[E1, *many])
    assert types(entries) == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    held = hub.mine.held_plan
    assert held is not None
    assert (held.counts, held.reason.partition(" (")[0]) == (
        {"delete": 20},
        "it deletes 20 of 20; Fleet allows 10 an hour",
    )
    assert hub.state.ref.accepted != hub.state.ref.commit
    assert hub.turn("audit") == []  # its keys are held from audits too
    with pytest.raises(PlanHeld, match="not 0000"):
        hub.verb("approve", digest="0000")
    approved = hub.verb("approve", digest=held.digest)
    assert types(approved)[:2] == [ev.CHANGE_APPROVED, ev.CHANGE_PLANNED]
    assert list(hub.orders(approved).values()) == ["delete"] * 20
    assert (hub.mine.held_plan, hub.state.ref.accepted) == (None, hub.state.ref.commit)
    with pytest.raises(NameUnknown, match="no plan is held"):
        hub.verb("approve", digest=held.digest)


def test_ten_small_commits_meet_the_same_limit_as_one() -> None:
    hub, many = crowd(fleet(100, "50%"), 6)
    for one in many[:3]:
        assert list(hub.orders(hub.push(without=[one])).values()) == ["delete"]
    assert hub.orders(hub.push(without=[many[3]])) == {}
    assert hub.mine.held_plan is not None
    said = "it deletes 1 of 6 after 3 in the last hour; Fleet allows 3 an hour"
    assert hub.mine.held_plan.reason.startswith(said)
    hub.clock.seconds += 3601
    assert list(hub.orders(hub.push(edge("e9"))).values()) == ["delete"]  # a newer commit, and the hour is over


def test_time_alone_does_not_release_a_held_plan() -> None:
    hub, many = crowd(fleet(5, "100%"))
    hub.push(without=many[:5])
    hub.push(without=many[5:6])
    assert hub.mine.held_plan is not None
    hub.clock.seconds += 3601  # its one delete would pass now
    assert hub.turn("audit") == hub.turn("keys", str(Key("InferenceModel", "default", "m05", "e1"))) == []
    assert len(hub.orders(hub.verb("approve", digest=hub.mine.held_plan.digest))) == 1


def test_a_commit_cannot_approve_itself() -> None:
    hub, many = crowd(fleet(5, "100%"))
    hub.push(fleet(100, "100%"), without=many[:10])
    assert hub.mine.held_plan is not None
    assert hub.state.fleet["prune"]["maxDeletes"] == 5
    hub.verb("approve", digest=hub.mine.held_plan.digest)
    assert hub.state.fleet["prune"]["maxDeletes"] == 100
    assert len(hub.orders(hub.push(without=many[10:]))) == 10


def held_of(hub: HubStation) -> HeldPlan:
    held = hub.mine.held_plan
    assert held is not None
    return held


def test_what_is_held_stays_so_beside_a_newer_commit_until_it_is_taken_back() -> None:
    hub, many = crowd(fleet(5, "100%"))
    hub.push(without=many[:6])
    first = held_of(hub)
    assert hub.state.ref.accepted != hub.state.ref.commit == first.commit
    assert list(hub.orders(hub.push(without=many[6:8])).values()) == ["delete", "delete"]  # within the limit by itself
    assert (held_of(hub).digest, held_of(hub).commit) == (first.digest, first.commit)
    assert held_of(hub).reason.startswith("it deletes 6 of 20 after 2 in the last hour")
    assert hub.state.ref.accepted == hub.state.ref.commit != first.commit
    assert types(hub.push(*many[:6])) == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]  # taken back: nothing is left to hold
    assert (hub.mine.held_plan, hub.state.ref.accepted) == (None, hub.state.ref.commit)


def test_deletes_above_the_limit_join_those_that_are_held_under_one_digest_which_one_approval_releases() -> None:
    hub, many = crowd(fleet(5, "100%"))
    hub.push(without=many[:6])
    first = held_of(hub)
    assert hub.orders(hub.push(without=many[6:12])) == {}
    assert (len(held_of(hub).keys), held_of(hub).counts) == (12, {"delete": 12})
    assert held_of(hub).reason.startswith("it deletes 12 of 20; Fleet allows 5 an hour")
    with pytest.raises(PlanHeld, match=f"{held_of(hub).digest}, not {first.digest}") as refused:
        hub.verb("approve", digest=first.digest)
    assert "it now has InferenceModel/default/m06@e1" in refused.value.message
    assert len(hub.orders(hub.verb("approve", digest=held_of(hub).digest))) == 12
    assert (hub.mine.held_plan, hub.state.ref.accepted) == (None, hub.state.ref.commit)


def test_a_held_plan_of_which_half_is_taken_back_is_a_smaller_one_or_goes() -> None:
    hub, many = crowd(fleet(5, "100%"))
    hub.push(without=many[:8])
    hub.push(*many[:2])
    assert held_of(hub).counts == {"delete": 6}
    assert hub.state.ref.accepted == hub.state.ref.commit
    assert len(hub.orders(hub.push(many[2]))) == 5  # what is left is within the limit
    assert hub.mine.held_plan is None


def test_a_held_delete_holds_no_other_change_of_its_commit_nor_of_anybody_s(hub: HubStation) -> None:
    hub.push(fleet(1, "100%"))
    hub.push(model_set("digits", "2", ref="digits"))
    extra = [plain(f"m{n}", servingPort=9000 + n, nodeName="e2") for n in range(3)]
    hub.push(*extra)
    moved = hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "3"}]), without=extra)
    assert hub.orders(moved) == {str(ON_E1): "update 3"}
    digest = held_of(hub).digest
    assert hub.orders(hub.push(edge("e2", pins=[{"model": "digits", "version": "1"}]))) == {str(ON_E2): "update 1"}
    assert hub.orders(hub.push(edge("e2"))) == {str(ON_E2): "update 2"}
    assert held_of(hub).digest == digest
    assert len(hub.orders(hub.verb("approve", digest=digest))) == 3


def test_the_policy_that_came_with_what_is_held_is_in_force_when_that_is_released_and_not_by_somebody_s_commit() -> (
    None
):
    hub, many = crowd(fleet(2, "100%"))
    hub.push(fleet(50, "100%"), without=many[:5])
    hub.push(edge("e9"))
    assert hub.state.ref.accepted == hub.state.ref.commit
    assert hub.state.fleet["prune"]["maxDeletes"] == 2
    assert hub.orders(hub.push(without=many[5:8])) == {}  # judged by what is in force
    hub.verb("approve", digest=held_of(hub).digest)
    assert hub.state.fleet["prune"]["maxDeletes"] == 50


def test_the_policy_that_came_with_what_is_held_is_in_force_too_when_that_is_taken_back() -> None:
    hub, many = crowd(fleet(2, "100%"))
    hub.push(fleet(50, "100%"), without=many[:5])
    hub.push(*many[:5])
    assert hub.state.fleet["prune"]["maxDeletes"] == 50


def test_what_was_approved_beside_a_newer_commit_does_not_go_back_to_the_older_one() -> None:
    hub, many = crowd(fleet(2, "100%"))
    hub.push(without=many[:5])
    digest = held_of(hub).digest
    hub.push(edge("e9"))
    newest = hub.state.ref.accepted
    assert len(hub.orders(hub.verb("approve", digest=digest))) == 5
    assert (hub.mine.held_plan, hub.state.ref.accepted, hub.state.ref.commit) == (None, newest, newest)


def test_a_pin_to_the_version_that_serves_orders_nothing_and_is_told(hub: HubStation) -> None:
    pin = {"model": "digits", "version": "1", "reason": "4 misreads"}
    pinned = hub.push(edge("e1", {"ring": "canary"}, [pin]))
    assert types(pinned) == [ev.REF_ADVANCED, ev.ORDER_EXPLAINED, ev.CHANGE_PLANNED]
    rows = {row.edge: (row.pinned, row.reason) for row in status(hub.state, rfc3339(T0)).rows}
    assert rows == {"e1": (True, "pinned on e1: 4 misreads"), "e2": (False, "the default version of digits")}
    assert hub.orders(hub.push(model_set("digits", "2", ref="digits"))) == {str(ON_E2): "update 2"}
    hub.push(model_set("digits", "1", ref="digits"))
    assert ev.ORDER_EXPLAINED in types(hub.push(edge("e1", {"ring": "canary"})))
    assert not any(row.pinned for row in status(hub.state, rfc3339(T0)).rows)
    assert hub.turn("audit") == []


# ── an approval is kept or refused ────────────────────────────────────────────────────────────────────────────────────


def test_an_approval_given_while_all_is_suspended_is_kept_until_it_is_resumed_also_over_a_restart() -> None:
    hub, many = crowd(fleet(2, "100%"))
    hub.push(without=many[:5])
    digest = held_of(hub).digest
    hub.verb("suspend", scope="*", reason="wait")
    answer = hub.asked("approve", digest=digest)
    assert (answer["held"], answer["counts"]) == ("", {"waiting": 5})
    again = hub.again()
    again.turn("start")
    assert len(again.orders(again.verb("resume", scope="*"))) == 5
    assert again.mine.held_plan is None


def test_an_approval_of_what_a_later_commit_takes_back_is_over_with_it() -> None:
    hub, many = crowd(fleet(2, "100%"))
    hub.push(without=many[:5])
    hub.verb("suspend", scope="*", reason="wait")
    hub.verb("approve", digest=held_of(hub).digest)
    hub.push(*many[:5])
    hub.verb("resume", scope="*")
    assert hub.orders(hub.push(without=many[:5])) == {}
    assert held_of(hub).counts == {"delete": 5}


def test_the_same_deletes_in_a_later_commit_are_approved_still() -> None:
    hub, many = crowd(fleet(2, "100%"))
    hub.push(without=many[:5])
    hub.verb("suspend", scope="*", reason="wait")
    hub.verb("approve", digest=held_of(hub).digest)
    hub.push(without=[E1])  # which concerns them, and leaves them gone
    before = hub.log.head().seq
    hub.verb("resume", scope="*")
    gone = hub.orders(hub.log.read(before))
    assert {str(Key("InferenceModel", "default", f"m{n:02}", "e1")) for n in range(5)} <= set(gone)


def test_an_approval_that_is_refused_is_not_recorded(hub: HubStation) -> None:
    hub.push(model_set("digits", "2", ref="digits"), rewritten_from="f" * 40)
    digest = held_of(hub).digest
    hub.mine.held_plan = replace(held_of(hub), keys=held_of(hub).keys[:1])  # it comes to something else by now
    before = hub.log.head().seq
    answer = hub.asked("approve", digest=digest)
    assert answer["held"]
    assert answer["digest"] != digest
    assert types(hub.log.read(before)) == [ev.CHANGE_PLANNED]
    assert hub.state.ref.accepted != hub.state.ref.commit


def test_who_resumes_is_told_what_was_ordered_and_not_what_is_held() -> None:
    hub, many = crowd(fleet(2, "100%"))
    hub.push(without=many[:5])
    hub.verb("suspend", scope="*", reason="wait")
    answer = hub.asked("resume", scope="*")
    assert (answer["counts"], answer["held"]) == ({}, held_of(hub).reason)


def test_an_audit_s_plan_is_held_beside_a_commit_s() -> None:
    hub, many = crowd(fleet(3, "100%"))
    hub.verb("suspend", scope="*", reason="stocktaking")
    hub.push(without=many[:5])  # all of it waits, so the commit is accepted
    assert hub.mine.held_plan is None
    hub.verb("resume", scope="*")
    held = hub.mine.held_plan
    assert held is not None
    assert (len(held.keys), held.counts) == (5, {"delete": 5})
    hub.push(without=many[5:6])
    assert hub.mine.held_plan is not None
    assert hub.mine.held_plan.counts == {"delete": 5}
    assert hub.mine.deletes  # one within the limit goes


def test_fault_49_rewritten_history_is_held_until_approved(hub: HubStation) -> None:
    before = hub.state.ref.commit
    entries = hub.push(model_set("digits", "2", ref="digits"), rewritten_from=before)
    assert types(entries) == [ev.REF_REWRITTEN, ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    held = hub.mine.held_plan
    assert held is not None
    assert held.reason == f"history was rewritten: commit {before[:12]} is no longer in the branch"
    hub.push(plain("p", nodeName="e2", servingPort=9001))  # a commit on top of it is held with it
    assert hub.mine.held_plan is not None
    assert hub.orders(hub.verb("approve", digest=hub.mine.held_plan.digest)) == {
        str(ON_E1): "update 2",
        str(ON_E2): "update 2",
        "InferenceModel/default/p@e2": "create 1",
    }
    assert hub.state.ref.rewritten_from == ""
    assert len(hub.orders(hub.push(model_set("digits", "3", ref="digits")))) == 2


def test_people_s_verbs_do_not_stop_the_next_plan(hub: HubStation) -> None:
    hub.verb("suspend", scope="e2", reason="a visit")
    assert hub.orders(hub.push(model_set("digits", "2", ref="digits"))) == {str(ON_E1): "update 2"}
    assert hub.orders(hub.verb("resume", scope="e2")) == {str(ON_E2): "update 2"}
    with pytest.raises(NameUnknown, match="e2 is not suspended"):
        hub.verb("resume", scope="e2")


@pytest.mark.parametrize("name", ["InferenceModel/default/odd", "im/odd", "inferencemodels/default/odd"])
def test_what_is_there_though_nobody_declares_it_is_suspended_by_its_key(hub: HubStation, name: str) -> None:
    odd = Key("InferenceModel", "default", "odd", "")
    with pytest.raises(NameUnknown, match="there is no InferenceModel/default/odd"):
        hub.verb("suspend", scope=name, reason="a visit")
    hub.hub._verbs = Verbs(hub.hub.git, hub.record.stage(DELIVER), lambda key: key == odd)
    hub.verb("suspend", scope=name, reason="a visit")
    assert set(hub.state.suspended) == {str(odd)}
    hub.verb("resume", scope=name)
    assert hub.state.suspended == {}


def test_a_suspension_ends_at_its_time(hub: HubStation) -> None:
    hub.verb("suspend", scope="*", reason="night", until="2027-01-15T09:30:00+01:00")  # half an hour from now
    assert hub.clock.seconds == T0
    assert hub.orders(hub.push(model_set("digits", "2", ref="digits"))) == {}
    hub.clock.seconds += 1801
    assert len(hub.orders(hub.turn("audit"))) == 2


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"verb": "dance"}, "no verb 'dance'"),
        ({"verb": "approve"}, "approve needs digest"),
        ({"verb": "release"}, "release needs a name"),
        ({"verb": "release", "edge": "e1"}, "nothing is held on e1"),
        ({"verb": "suspend", "scope": ""}, "suspend needs scope"),
        ({"verb": "suspend", "scope": "e9"}, "nothing is called e9"),
        ({"verb": "suspend", "scope": "*", "until": "nonsense"}, "RFC 3339"),
        ({"verb": "suspend", "scope": "*", "until": "2027-01-15"}, "RFC 3339"),
        ({"verb": "release", "edge": "e1", "model": "digits"}, "nothing of digits is held on e1"),
    ],
)
def test_a_verb_that_cannot_be_done_says_why_and_records_nothing(
    hub: HubStation, request_: dict[str, str], message: str
) -> None:
    head = hub.log.head()
    with pytest.raises(UsageError, match=message):
        hub.verb(**request_)
    assert hub.log.head() == head


# ── what cannot be read, or cannot be had ─────────────────────────────────────────────────────────────────────────────

UNREADABLE = Diagnostic(code="RX201", message="no YAML", path="a.yaml", line=3, notes=(BLOCKS_PRUNING,)).as_dict()


def test_nothing_is_pruned_while_a_line_is_unreadable(hub: HubStation) -> None:
    blocked = {"problems": {"a.yaml": [UNREADABLE]}, "unreadable": ("a.yaml:3",)}
    entries = hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "2"}]), without=[E2], **blocked)
    assert hub.orders(entries) == {str(ON_E1): "update 2"}  # what can be read goes on
    for cause, subject in (("audit", ""), ("keys", str(ON_E2)), ("edge", "e2")):
        assert hub.orders(hub.turn(cause, subject)) == {}
    assert hub.orders(hub.push(problems={"a.yaml": []})) == {str(ON_E2): "delete"}


def test_an_approval_does_not_prune_what_an_unreadable_line_keeps(hub: HubStation) -> None:
    blocked = {"problems": {"a.yaml": [UNREADABLE]}, "unreadable": ("a.yaml:3",), "rewritten_from": "f" * 40}
    hub.push(model_set("digits", "2", ref="digits"), without=[E2], **blocked)
    assert hub.mine.held_plan is not None
    assert hub.orders(hub.verb("approve", digest=hub.mine.held_plan.digest)) == {str(ON_E1): "update 2"}


def test_who_has_everything_looked_at_is_told_what_the_commit_that_came_with_it_ordered(hub: HubStation) -> None:
    assert hub.asked("reconcile", scope="*")["counts"] == {}
    hub.branch.commit(model_set("digits", "2", ref="digits"))
    assert hub.asked("reconcile", scope="*")["counts"] == {"update": 2}
    assert hub.asked("reconcile", scope="*")["counts"] == {}


def test_who_has_everything_looked_at_is_told_of_a_held_plan_and_may_name_what_it_holds(hub: HubStation) -> None:
    hub.push(fleet(0, "0%"))
    hub.push(without=[E2])
    assert hub.mine.held_plan is not None
    assert hub.asked("reconcile", scope="*")["held"] == hub.mine.held_plan.reason
    assert hub.asked("reconcile", scope="e2")["counts"] == {}
    with pytest.raises(NameUnknown):
        hub.asked("reconcile", scope="e9")


def test_what_a_first_commit_asked_for_is_ordered_though_it_was_never_planned_and_another_one_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = HubStation()

    def away(*_: object) -> None:
        raise WorldUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(hub.hub, "observe", away)
        hub.push(E1, MODEL, DIGITS)
    assert (hub.state.ref.accepted, hub.mine.keys) == ("", {})
    again = HubStation(hub.clock, hub.log, hub.branch)
    again.branch.commit(dataset("faces"))
    assert str(ON_E1) in again.orders(again.turn("start"))


def test_an_older_plan_is_not_approved_while_a_newer_commit_has_none(
    hub: HubStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(fleet(0, "0%"))
    hub.push(without=[E2])
    held = hub.mine.held_plan
    assert held is not None
    hub.branch.commit(fleet(100, "100%"), without=[E1])

    def away(*_: object) -> None:
        raise WorldUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(hub.hub, "observe", away)
        hub.turn("commit")
    assert hub.state.ref.commit != held.commit
    with pytest.raises(PlanHeld, match="was read since"):
        hub.asked("approve", digest=held.digest)
    assert hub.orders(hub.turn("audit")) == {}
    assert hub.mine.held_plan is not None
    assert hub.mine.held_plan.digest != held.digest


@pytest.mark.parametrize(
    ("error", "request_"),
    [
        (NameUnknown, {"verb": "suspend", "scope": "InferenceModel/default@a/b"}),
        (NameUnknown, {"verb": "reconcile", "scope": "a@b/c/d"}),
        (UsageError, {"verb": "suspend", "scope": "*", "actor": True}),
        (UsageError, {"verb": "suspend", "scope": "*", "actor": "a" * 1001}),
        (UsageError, {"verb": "reconcile", "scope": "e" * 1001}),
    ],
)
def test_an_odd_request_is_refused_and_nothing_of_it_is_written(
    hub: HubStation, error: type[Exception], request_: dict[str, Any]
) -> None:
    before = hub.log.head()
    with pytest.raises(error):
        hub.asked(**request_)
    assert hub.log.head() == before


def test_a_bug_in_what_a_person_asks_for_is_told_to_that_person_alone(
    hub: HubStation, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("scope")

    monkeypatch.setattr("reconciler.stages.verbs.known_things", broken)
    with pytest.raises(Defect, match="KeyError"):
        hub.asked("suspend", scope="e1")
    assert "Traceback" in capfd.readouterr().err
    assert hub.orders(hub.push(model_set("digits", "2", ref="digits")))


def test_a_problem_of_a_key_that_nobody_knows_any_more_goes(hub: HubStation) -> None:
    hub.mine.problems["InferenceModel/default/gone@e1"] = [{"code": "RX215", "message": "no"}]
    hub.turn("audit")
    assert hub.state.all_problems == []


def test_agents_are_looked_after_once_for_all_edges_that_are_silent(
    hub: HubStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[int] = []
    monkeypatch.setattr(hub, "wanted", lambda edges: wanted.append(len(list(edges))))
    for edge_ in ("e1", "e2"):
        hub.queue.stage(DELIVER).add(Trigger(Cause.EDGE, edge_))
    drain(hub.loop)
    assert wanted == [2]


def test_problems_of_keys_come_and_go(hub: HubStation) -> None:
    hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "9"}]))
    (problem,) = hub.mine.problems[str(ON_E1)]
    assert (problem["code"], problem["path"], problem["line"]) == ("RX215", "edges/e1.yaml", 7)
    assert hub.turn("audit") == []  # what is known is not said again
    hub.push(E1)
    assert hub.state.all_problems == []


def test_a_pin_that_matches_nothing_is_a_warning_at_its_line(hub: HubStation) -> None:
    pins = [{"model": "digits", "version": "2"}, {"dataset": "faces", "version": "1"}]
    entries = hub.push(edge("e1", pins=pins), plain("faces", nodeName="e2", servingPort=9000))
    (warning,) = hub.state.problems["Edge//e1"]
    assert (warning["code"], warning["severity"]) == ("RX216", "warning")
    assert (warning["path"], warning["line"]) == ("edges/e1.yaml", 8)
    assert hub.orders(entries)[str(ON_E1)] == "update 2"
    hub.push(dataset("faces", to={}))  # now something delivers it
    assert hub.state.all_problems == []
    hub.push(without=[DIGITS])
    assert [one["line"] for one in hub.state.problems["Edge//e1"]] == [7]
    hub.push(without=[edge("e1")])
    assert hub.state.all_problems == []


def test_a_pin_s_expiry_is_a_planned_transition_at_its_time(hub: HubStation) -> None:
    hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "2", "expires": "2027-01-15T10:00:00Z"}]))
    assert hub.orders()[str(ON_E1)] == "update 2"
    hub.clock.seconds += 7199
    assert hub.turn("keys", str(ON_E2)) == []
    hub.clock.seconds += 2
    entries = hub.turn("keys", str(ON_E2))
    assert hub.orders(entries) == {str(ON_E1): "update 1"}  # nobody pushed: the timer of that key had come


def test_an_edge_that_is_not_there_keeps_no_other_waiting(hub: HubStation) -> None:
    hub.push(model_set("digits", "2", ref="digits"))  # e1 and e2 have no log yet
    assert types(hub.turn("start")) == []
    EdgeStation("e1", hub)
    assert types(hub.turn("audit")) == ["log.genesis.v1", ev.EDGE_FOUND]


def test_a_forked_log_blocks_only_its_own_source(hub: HubStation) -> None:
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    hub.links["e1"].refusal = ForkFound("two different events 7")
    settle(hub, one, other)
    assert (hub.mine.served(ON_E1).open, hub.mine.served(ON_E2).open) == (True, False)
    assert hub.state.links == {"e1": "two different events 7"}
    hub.links["e1"].refusal = None
    hub.turn("edge", "e1")
    assert (hub.mine.served(ON_E1).open, hub.state.links) == (False, {})


def as_it_was(whole: MemoryLog, seq: int) -> MemoryLog:
    """A copy of a log as it was at `seq`."""
    source, _, log_id = whole.source.rpartition("/")
    log = MemoryLog(source, whole._clock, log_id=log_id)
    log._rows.clear()
    for table in (log._by_id, log._by_stream, log._by_chain):
        table.clear()
    rows = whole._rows[:seq]
    log._store(rows)
    own = sum(not row.source for row in rows)
    log._tail = Tail(Head(seq, rows[-1].hash), own, rows[-1].recorded)
    return log


def put_back(hub: HubStation, seq: int) -> HubStation:
    """A new process over the log as it was at `seq`: a backup was put in its place, and nobody said so."""
    log = as_it_was(hub.log, seq)
    for link in hub.links.values():
        link.other._listeners[:] = link.other._listeners[:1]
    station = HubStation(hub.clock, log, hub.branch)
    for name, link in hub.links.items():
        station.links[name] = MemoryLink(link.other, log)
    return station


def rejoined(hub: HubStation, *edges: EdgeStation) -> None:
    for one in edges:
        one.link.other = hub.log


def serving(*edges: EdgeStation) -> list[str]:
    return [spec["version"] for one in edges for spec in one.work.stands.values()]


def put_back_behind_two(hub: HubStation) -> tuple[HubStation, EdgeStation, EdgeStation]:
    """A hub with its log of before version 2, and the two edges that serve that."""
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    backup = hub.log.head().seq
    hub.push(model_set("digits", "2", ref="digits"))
    settle(hub, one, other)
    again = put_back(hub, backup)
    rejoined(again, one, other)
    return again, one, other


@pytest.mark.parametrize("later", [0, 1, 7])
def test_a_hub_whose_log_was_put_back_orders_again_in_a_new_epoch(hub: HubStation, later: int) -> None:
    """later: how many commits the hub has read again before any edge hears it: the log is shorter, as long, longer."""
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    backup = hub.log.head().seq
    hub.push(model_set("digits", "2", ref="digits"))
    settle(hub, one, other)
    hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "3"}]))
    settle(hub, one)
    again = put_back(hub, backup)
    rejoined(again, one, other)
    first = again.log.source
    for number in range(later):
        again.push(fleet(100 + number, "100%"))
    again.turn("start")
    again.turn("commit")
    assert again.branch.declared.edge("e1") is not None
    settle(again, one, other)
    assert (again.log.source != first, serving(one, other)) == (True, ["3", "2"])
    again.push(edge("e1", {"ring": "canary"}), DIGITS)
    settle(again, one, other)
    assert serving(one, other) == ["1", "1"]
    seen = status(again.state, rfc3339(T0))
    assert (seen.is_heard, seen.converged, {row.message for row in seen.rows}) == (True, True, {""})
    epoch = again.log.source
    assert again.orders(again.turn("audit")) == {}
    restarted = again.again()
    assert (restarted.orders(restarted.turn("start")), restarted.log.source) == ({}, epoch)  # one restore, one epoch
    again.log.verify()
    one.log.verify()


@pytest.mark.parametrize("later", [0, 1, 9])
def test_an_edge_whose_log_was_put_back_goes_on_in_a_new_epoch(hub: HubStation, later: int) -> None:
    """later: how often its runtime has ended before the hub hears it: the log is shorter, about as long, or longer."""
    one = EdgeStation("e1", hub)
    settle(hub, one)
    backup = one.log.head().seq
    hub.push(model_set("digits", "2", ref="digits"))
    settle(hub, one)
    first, one.log = one.log.source, as_it_was(one.log, backup)
    again = one.again(hub)
    again.turn("start")
    for _ in range(later):
        again.work.say(ON_E1, ev.MODEL_DEGRADED, {"error": "it ended", "live": {}})
    hub.push(model_set("digits", "3", ref="digits"))
    again.work_off()  # its answer does not come through
    settle(hub, again)
    served = hub.mine.served(ON_E1)
    assert (serving(again), served.live["version"], served.open, hub.state.links) == (["3"], "3", False, {})
    assert again.log.source != first
    epoch = again.log.source
    restarted = again.again(hub)
    restarted.turn("start")
    settle(hub, restarted)
    assert restarted.log.source == epoch  # one restore, one epoch
    hub.log.verify()
    restarted.log.verify()


def test_what_is_said_of_a_copy_of_an_edge_s_log_is_not_said_of_itself(hub: HubStation) -> None:
    one = EdgeStation("e1", hub)
    settle(hub, one)
    source = one.log.source
    copied = EdgeStation("e1", hub, as_it_was(one.log, one.log.head().seq - 1), one.work)
    copied.work.say(ON_E1, ev.MODEL_DEGRADED, {"error": "it ended", "live": {}})
    hub.turn("edge", "e1")
    assert list(hub.state.links) == ["e1"]
    hub.links["e1"].other = one.log
    one.work._station = one
    settle(hub, one)
    assert (one.log.source, hub.state.links) == (source, {})


def test_an_edge_that_was_away_while_the_log_was_put_back_is_ordered_too(hub: HubStation) -> None:
    again, one, other = put_back_behind_two(hub)
    again.turn("start")
    settle(again, one)  # e2 is away
    again.push(DIGITS)
    settle(again, one)
    epoch = again.log.source
    settle(again, one, other)
    assert (serving(one, other), again.log.source) == (["1", "1"], epoch)  # its refusal was of the epoch before


def test_what_was_taken_away_or_given_since_the_backup_is_known_from_the_edges(hub: HubStation) -> None:
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    backup = hub.log.head().seq
    hub.push(plain("more", nodeName="e1", servingPort=9000))
    settle(hub, one, other)
    hub.push(without=[E2])
    settle(hub, one, other)
    assert (len(one.work.stands), other.work.stands) == (2, {})
    again = put_back(hub, backup)
    rejoined(again, one, other)
    again.push(E2, without=[plain("more", nodeName="e1", servingPort=9000)])
    again.turn("start")
    settle(again, one, other)
    assert (serving(one, other), len(one.work.stands)) == (["1", "1"], 1)


def test_what_is_suspended_while_the_log_is_put_back_says_so_and_is_ordered_later(hub: HubStation) -> None:
    again, one, other = put_back_behind_two(hub)
    again.verb("suspend", scope="e2", reason="on the bench")
    again.turn("start")
    settle(again, one, other)
    seen = {row.edge: row for row in status(again.state, rfc3339(T0)).rows}
    assert (serving(one, other), seen["e1"].settled) == (["2", "2"], True)
    assert (seen["e2"].settled, seen["e2"].message) == (False, "this log was put back: it is not ordered again yet")
    assert "on the bench" in seen["e2"].waits
    again.verb("resume", scope="e2")
    settle(again, one, other)
    assert status(again.state, rfc3339(T0)).converged


def test_a_freeze_lets_what_was_ordered_before_be_ordered_again(hub: HubStation) -> None:
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    backup = hub.log.head().seq
    hub.push(model_set("digits", "2", ref="digits"))
    settle(hub, one, other)
    window = {"from": "2027-01-01T00:00:00Z", "until": "2027-02-01T00:00:00Z", "reason": "shops"}
    frozen = replace(OPEN, spec=OPEN.spec | {"freeze": [window]})
    hub.push(DIGITS, frozen)
    settle(hub, one, other)
    again = put_back(hub, backup)
    rejoined(again, one, other)
    again.turn("start")
    settle(again, one, other)
    assert again.state.fleet["freeze"] == [window]
    seen = status(again.state, rfc3339(T0))
    assert (serving(one, other), seen.converged, {row.message for row in seen.rows}) == (["1", "1"], True, {""})
    assert again.orders(again.push(model_set("digits", "3", ref="digits"))) == {}


def test_while_a_new_epoch_cannot_be_begun_every_row_says_why_and_it_is_tried_again(
    hub: HubStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, one, other = put_back_behind_two(hub)

    def busy(_: MemoryLog) -> None:
        raise HistoryError("it is being read")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryLog, "renew", busy)
        again.turn("start")
        settle(again, one, other)
        again.push(DIGITS)
        settle(again, one, other)
        seen = status(again.state, rfc3339(T0))
        assert not seen.converged
        assert all("takes no orders from this log" in row.said for row in seen.rows)
    again.turn("audit")
    settle(again, one, other)
    assert (serving(one, other), status(again.state, rfc3339(T0)).converged) == (["1", "1"], True)


def test_a_log_from_before_the_newest_epoch_is_put_back_too(hub: HubStation) -> None:
    one, other = EdgeStation("e1", hub), EdgeStation("e2", hub)
    settle(hub, one, other)
    backup = hub.log.head().seq
    hub.log.renew()
    hub.push(model_set("digits", "2", ref="digits"))
    hub.turn("audit")
    settle(hub, one, other)
    assert serving(one, other) == ["2", "2"]
    hub.branch.commit(DIGITS)
    again = put_back(hub, backup)  # what the edges hold of that source is all there: nothing is missing, and all is old
    rejoined(again, one, other)
    again.turn("start")
    settle(again, one, other)
    assert (serving(one, other), status(again.state, rfc3339(T0)).converged) == (["1", "1"], True)


def test_an_edge_is_found_lost_and_given_an_agent_again(hub: HubStation) -> None:
    station = EdgeStation("e1", hub)
    assert ev.EDGE_FOUND in types(hub.turn("edge", "e1"))
    hub.links["e1"].is_alive, hub.fleet = False, []
    assert types(hub.turn("edge", "e1")) == [ev.EDGE_LOST]
    assert hub.fleet == ["e1", "e2"]
    hub.fleet = []
    assert types(hub.turn("edge", "e1")) == []  # it died again before it was seen alive
    assert hub.fleet == ["e1", "e2"]
    assert not hub.state.edges[station.name].present


def test_an_edge_that_left_keeps_its_agent_until_it_has_nothing_left(hub: HubStation) -> None:
    station = EdgeStation("e2", hub)
    settle(hub, station)
    hub.push(without=[E2])
    assert hub.fleet == ["e1", "e2"]
    settle(hub, station)
    assert station.work.stands == {}
    assert (hub.fleet, str(ON_E2) in hub.mine.keys) == (["e1"], False)


def test_fault_66_a_hold_is_kept_by_content_through_unrelated_commits_until_it_is_released(hub: HubStation) -> None:
    station = EdgeStation("e1", hub)
    settle(hub, station)
    bad = MODEL.spec["versions"][1]["sha256sum"]
    hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "2"}]))
    station.turn("orders")
    station.work.refuse(ON_E1, quarantine=bad, phase="RolledBack")
    hub.turn("edge", "e1")
    assert list(hub.mine.holds[str(ON_E1)]) == [bad]
    assert hub.orders(hub.push(plain("p", nodeName="e2", servingPort=9001))) == {
        "InferenceModel/default/p@e2": "create 1"
    }
    assert hub.orders(hub.push(E1)) == {str(ON_E1): "update 1"}
    settle(hub, station)
    assert hub.orders(hub.push(edge("e1", {"ring": "canary"}, [{"model": "digits", "version": "2"}]))) == {}
    assert hub.orders(hub.verb("release", edge="e1", model="digits")) == {str(ON_E1): "update 2"}
    settle(hub, station)
    assert station.work.stands[ON_E1]["version"] == "2"


def test_a_released_order_that_failed_is_given_once_more(hub: HubStation) -> None:
    station = EdgeStation("e1", hub)
    settle(hub, station)
    hub.push(model_set("digits", "2", ref="digits"))
    station.turn("orders")
    station.work.refuse(ON_E1, quarantine=MODEL.spec["versions"][1]["sha256sum"], phase="RolledBack")
    hub.turn("edge", "e1")
    entries = hub.verb("release", edge="e1", model="digits")
    order = next(entry.event for entry in entries if entry.event.type == ev.APPLY_INTENDED)
    assert [change[0] for change in order.data["changes"] if change[0] in {"version", "sha256"}] == [
        "sha256",
        "version",
    ]
    settle(hub, station)
    assert station.work.stands[ON_E1]["version"] == "2"
    assert hub.turn("audit") == []


def test_a_trusted_first_use_is_ordered_by_its_digest_from_then_on() -> None:
    bare = catalogue("digits")
    bare.spec["versions"] = [{"version": "1", "downloadURL": "https://models.example.com/d.tar.gz"}]
    hub = HubStation()
    hub.push(E1, bare, DIGITS)
    assert [one["code"] for one in hub.mine.problems[str(ON_E1)]] == ["RX222"]
    hub = HubStation()
    hub.push(E1, bare, DIGITS, fleet(require_digest=False))
    assert hub.mine.served(ON_E1).order["sha256"] == ""
    station = EdgeStation("e1", hub)
    station.turn("orders")
    seen = {"sha256": sha("seen"), "size": 9, "trusted": "https://models.example.com/d.tar.gz 1"}
    station.work.say(ON_E1, ev.ARTIFACT_STAGED, seen, hub.mine.served(ON_E1).operation)
    hub.turn("edge", "e1")
    assert hub.state.digests == {"https://models.example.com/d.tar.gz 1": sha("seen")}
    assert hub.orders(hub.turn("audit")) == {str(ON_E1): "update 1"}
    assert hub.mine.served(ON_E1).order["sha256"] == sha("seen")


def test_what_an_edge_has_by_an_order_of_a_lost_log_is_taken_away_when_git_no_longer_asks_for_it() -> None:
    before = HubStation()
    before.push(edge("e1"), MODEL, model_set("digits", "1", ref="digits"), fleet(100, "100%"))
    station = EdgeStation("e1", before)
    settle(before, station)

    after = HubStation()  # a new log, which ordered nothing yet
    after.links["e1"] = MemoryLink(station.log, after.log)
    after.push(edge("e1"), MODEL, fleet(100, "100%"))
    after.turn("audit")
    orders = [entry.event for entry in after.log.read() if entry.event.type == ev.APPLY_INTENDED]
    assert [(order.subject, order.data["action"]) for order in orders if order.source.startswith("/hub")] == [
        ("InferenceModel/default/digits-e1@e1", "delete")
    ]


def test_an_agent_that_ends_by_itself_is_quoted_once_for_each_reason(hub: HubStation) -> None:
    station = EdgeStation("e1", hub)
    settle(hub, station)
    hub.links["e1"].is_alive = False
    words = "the agent ended with code 6: error[RX502]: entry 7 does not fit"
    for _ in range(3):
        hub.queue.add(Trigger(Cause.EDGE, "e1", request={"error": words}))
        hub.turn("edge", "e1")
    lost = [entry.event.data for entry in hub.log.read() if entry.event.type == ev.EDGE_LOST]
    assert lost == [{"edge": "e1", "error": words}]
    assert {row.message for row in status(hub.state, rfc3339(T0)).rows if row.edge == "e1"} == {words}
