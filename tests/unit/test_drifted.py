"""What the diff is to see of an object that others write too."""

from typing import Any

import pytest

from reconciler.history.keys import Key
from reconciler.planning.desired import Desired
from reconciler.planning.diff import Observed, diff
from reconciler.planning.drift import Owners, View, view

KEY = Key("InferenceModel", "default", "m", "")
ORDERED: dict[str, Any] = {
    "labels": {"app": "m"},
    "spec": {"targetVersion": "2", "manifest": [{"version": "2", "downloadURL": "https://x.example.com/2"}]},
}


def seen(found: dict[str, Any], foreign: dict[str, str] | None = None, said: str = "correct", **more: Any) -> View:
    ordered = more.pop("ordered", ORDERED)
    answered = more.pop("answered", {})
    return view(ordered, found, Owners(foreign or {}, "kubectl-edit"), lambda _path, _manager: said, answered)


def changes(found: View, wanted: dict[str, Any] = ORDERED) -> dict[str, tuple[Any, Any]]:
    there = Observed({}, seen=found.seen)
    return {one.field: (one.old, one.new) for d in diff([Desired(KEY, wanted)], {KEY: there}) for one in d.changes}


def spec(**fields: Any) -> dict[str, Any]:
    return {**ORDERED, "spec": {**ORDERED["spec"], **fields}}


def test_what_is_as_ordered_is_no_drift() -> None:
    found = seen(ORDERED)
    assert found.fields == ()
    assert changes(found) == {}


def test_a_field_that_somebody_changed_names_who_has_it_now() -> None:
    found = seen(spec(targetVersion="1"), {"spec.targetVersion": "kubectl"})
    (one,) = found.fields
    assert (one.path, one.manager, one.old, one.new, one.policy) == (
        "spec.targetVersion",
        "kubectl",
        "2",
        "1",
        "correct",
    )
    assert changes(found) == {"spec.targetVersion": ("1", "2")}
    assert (found.forced, found.left) == (("spec.targetVersion",), ())


def test_a_field_that_somebody_removed_names_who_wrote_last() -> None:
    found = seen({"labels": {"app": "m"}, "spec": {"manifest": ORDERED["spec"]["manifest"]}})
    assert [(one.path, one.manager, one.new) for one in found.fields] == [("spec.targetVersion", "kubectl-edit", None)]
    assert changes(found) == {"spec.targetVersion": (None, "2")}


def test_a_field_of_somebodys_own_is_none_of_ours() -> None:
    found = seen(spec(replicas=3), {"spec.replicas": "autoscaler"})
    assert found.fields == ()
    assert changes(found) == {}


def test_an_entry_that_somebody_added_to_a_list_of_versions_is_theirs() -> None:
    theirs = [*ORDERED["spec"]["manifest"], {"version": "9", "downloadURL": "https://x.example.com/9"}]
    foreign = {"spec.manifest[version=9].version": "k", "spec.manifest[version=9].downloadURL": "k"}
    found = seen(spec(manifest=theirs), foreign)
    assert changes(found) == {}


def test_what_we_set_before_and_no_longer_want_goes() -> None:
    found = seen(spec(replicas=3), ordered=spec(replicas=3))
    assert changes(found) == {"spec.replicas": (3, None)}


@pytest.mark.parametrize("policy", ["report", "ignore"])
def test_what_a_rule_lets_stand_counts_as_declared_and_is_not_sent(policy: str) -> None:
    found = seen(spec(targetVersion="1"), {"spec.targetVersion": "kubectl"}, policy)
    assert changes(found) == {}
    assert (found.forced, found.left, found.policy) == ((), ("spec.targetVersion",), policy)


def test_the_strictest_policy_of_several_fields_is_that_of_the_object() -> None:
    found = view(
        ORDERED,
        spec(targetVersion="1", replicas=2) | {"labels": {"app": "other"}},
        Owners({}, "k"),
        lambda path, _: "correct" if path == "labels.app" else "ignore",
        {},
    )
    assert found.policy == "correct"
    assert found.forced == ("labels.app",)


def test_what_a_webhook_made_of_what_was_sent_is_no_drift() -> None:
    answered = {"spec.targetVersion": ["2", "2-mutated"]}
    found = seen(spec(targetVersion="2-mutated"), answered=answered)
    assert found.fields == ()
    assert changes(found) == {}


def test_a_field_that_a_webhook_added_is_no_drift() -> None:
    found = seen(spec(replicas=1), answered={"spec.replicas": [None, 1]})
    assert found.fields == ()
    assert changes(found) == {}


def test_a_webhooks_change_that_somebody_changed_again_is_drift() -> None:
    found = seen(spec(targetVersion="7"), answered={"spec.targetVersion": ["2", "2-mutated"]})
    assert [one.path for one in found.fields] == ["spec.targetVersion"]


def test_a_new_value_from_git_is_sent_although_a_webhook_changed_the_one_before() -> None:
    found = seen(spec(targetVersion="2-mutated"), answered={"spec.targetVersion": ["2", "2-mutated"]})
    assert changes(found, spec(targetVersion="3")) == {"spec.targetVersion": ("2", "3")}


def test_an_object_of_nobodys_orders_is_compared_as_it_is() -> None:
    found = seen(spec(replicas=1), {"spec.replicas": "k"}, ordered={})
    assert found.fields == ()
    assert changes(found) == {}
