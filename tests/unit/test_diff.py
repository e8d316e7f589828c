"""Wanted against observed, field by field."""

from typing import Any

from reconciler.diagnostics import Diagnostic
from reconciler.history.keys import Key
from reconciler.planning.desired import Desired, Expansion, Frozen, Gone
from reconciler.planning.diff import Difference, FieldChange, Observed, diff

A, B = (Key("InferenceModel", "default", name, "e1") for name in "ab")
SPEC = {"version": "1", "port": 8080}


def differences(expansion: Expansion, *there: Observed) -> list[Difference]:
    return diff([expansion], dict.fromkeys([expansion.key], there[0]) if there else {})


def fields(expansion: Expansion, *there: Observed) -> list[tuple[str, Any, Any]]:
    (found,) = differences(expansion, *there)
    return [(change.field, change.old, change.new) for change in found.changes]


def test_what_is_as_it_should_be_makes_no_difference() -> None:
    assert differences(Desired(A, SPEC), Observed(dict(SPEC))) == []
    assert differences(Gone(A)) == []


def test_what_is_not_there_is_created_with_every_field() -> None:
    (found,) = differences(Desired(A, SPEC))
    assert (found.action, found.changes) == (
        "create",
        (FieldChange("port", None, 8080), FieldChange("version", None, "1")),
    )


def test_an_update_names_the_fields_that_differ_came_or_went() -> None:
    there = Observed({"version": "1", "port": 9000, "size": 5})
    assert fields(Desired(A, {**SPEC, "url": "u"}), there) == [
        ("port", 9000, 8080),
        ("size", 5, None),
        ("url", None, "u"),
    ]


def test_what_nothing_declares_is_deleted_once() -> None:
    (found,) = differences(Gone(A), Observed(SPEC))
    assert (found.action, found.wanted) == ("delete", None)
    assert fields(Gone(A), Observed(SPEC)) == [("port", 8080, None), ("version", "1", None)]
    assert differences(Gone(A), Observed({}, under_way=True, deleting=True)) == []


def test_what_is_being_deleted_and_wanted_again_is_created() -> None:
    (found,) = differences(Desired(A, SPEC), Observed({}, under_way=True, deleting=True))
    assert (found.action, len(found.changes)) == ("create", 2)


def test_what_cannot_be_said_is_left_alone() -> None:
    frozen = Frozen(A, Diagnostic(code="RX215", message="no such version"))
    assert differences(frozen) == differences(frozen, Observed(SPEC)) == []


def test_a_policy_counts_only_while_it_could_help() -> None:
    wanted = Desired(A, SPEC, {"allowLoopback": True})
    settled = Observed(SPEC, {"allowLoopback": False})
    assert differences(wanted, settled) == []
    change = [("policy.allowLoopback", False, True)]
    assert fields(wanted, Observed(SPEC, {"allowLoopback": False}, under_way=True)) == change
    assert fields(wanted, Observed(SPEC, {"allowLoopback": False}, failed=True)) == change


def test_differences_stand_in_order_of_keys() -> None:
    assert [one.key for one in diff([Desired(B, SPEC), Desired(A, SPEC)], {})] == [A, B]


def test_what_is_there_is_told_where_it_is_somebody_elses_until_now() -> None:
    there = Observed({"spec": {"address": "10.7.7.7", "node": "n"}}, seen={})  # nothing of it is ours
    assert fields(Desired(A, {"spec": {"address": "10.0.0.1", "node": "n"}}), there) == [
        ("spec.address", "10.7.7.7", "10.0.0.1"),
        ("spec.node", "n", "n"),  # it becomes ours
    ]
    assert (
        differences(
            Desired(A, {"spec": {"address": "10.7.7.7"}}), Observed({"spec": {}}, seen={"spec.address": "10.7.7.7"})
        )
        == []
    )
