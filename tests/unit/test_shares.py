"""A share is moved to us: what is taken is ours, what is not stays whose it was, bound to what was read."""

import json
from typing import Any

import pytest

from reconciler.kube.write.shares import taken_over
from reconciler.planning.drift import Owners, otherwise, view
from reconciler.planning.drift_rules import people_of, policy_for
from reconciler.planning.fields import BY_VERSION
from reconciler.planning.look import Rules
from tests.kube_objects import API_VERSION, model, owner

KUBECTL: dict[str, Any] = {
    "f:metadata": {"f:labels": {".": {}, "f:old": {}}, "f:annotations": {"f:ai.kubeedge.io/prune": {}}},
    "f:spec": {"f:replicas": {}},
}


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: Any) -> dict[str, Any]:
    return owner(manager, fields) | {"operation": operation, "apiVersion": API_VERSION} | more


def patched(*entries: dict[str, Any], takes: Any = lambda _path, _manager: True) -> Any:
    said = taken_over(model("m", "7", managedFields=list(entries)), "reconciler", takes, BY_VERSION)
    return None if said is None else json.loads(said)


def test_what_is_taken_becomes_an_apply_of_ours_bound_to_the_version_that_was_read() -> None:
    managed, version = patched(entry("kubectl", KUBECTL))
    assert (version["path"], version["value"]) == ("/metadata/resourceVersion", "7")
    (ours,) = managed["value"]
    assert (ours["manager"], ours["operation"], ours["apiVersion"]) == ("reconciler", "Apply", API_VERSION)
    assert ours["fieldsV1"] == KUBECTL


def test_it_is_united_with_what_is_ours_and_the_rest_stays_theirs() -> None:
    mine = entry("reconciler", {"f:spec": {"f:modelName": {}}}, "Apply")
    managed, _ = patched(mine, entry("kubectl", KUBECTL), takes=lambda path, _: not path.startswith("annotations"))
    ours, theirs = managed["value"]
    assert ours["fieldsV1"]["f:spec"] == {"f:modelName": {}, "f:replicas": {}}
    assert theirs["manager"] == "kubectl"
    assert theirs["fieldsV1"] == {"f:metadata": {"f:annotations": {"f:ai.kubeedge.io/prune": {}}}}


@pytest.mark.parametrize(
    "theirs",
    [
        entry("kubectl", KUBECTL, subresource="status"),
        entry("kubectl", KUBECTL, apiVersion="ai.kubeedge.io/v9"),
        entry("reconciler", KUBECTL),
    ],
)
def test_what_is_of_a_subresource_of_another_version_or_ours_is_not_moved(theirs: dict[str, Any]) -> None:
    assert patched(theirs) is None


def test_a_share_of_which_nothing_is_taken_makes_no_patch() -> None:
    assert patched(entry("helm", KUBECTL), takes=lambda _path, manager: manager != "helm") is None


# ── whose a field is ──────────────────────────────────────────────────────────────────────────────────────────────────

HELM = {"drift": [{"policy": "correct", "managers": ["helm"]}]}


@pytest.mark.parametrize(
    ("fleet", "manager", "takes"),
    [
        ({}, "kubectl-edit", True),
        ({}, "before-first-apply", True),
        ({}, "helm", False),
        (HELM, "helm", True),
        ({"drift": [{"policy": "report"}]}, "kubectl", False),
        ({"drift": [{"policy": "ignore", "managers": ["kubectl*"]}]}, "kubectl", False),
        ({"overrideManagers": ["argocd-*"]}, "argocd-controller", True),
        ({"overrideManagers": ["argocd-*"]}, "kubectl", False),
        ({"overrideManagers": []}, "kubectl", True),
    ],
)
def test_what_people_have_is_taken_and_of_others_what_a_rule_says(
    fleet: dict[str, Any], manager: str, *, takes: bool
) -> None:
    rules = Rules(policy_for("InferenceModel", fleet), people=people_of(fleet))
    assert rules.takes("spec.replicas", manager) == takes


ORDERED = {"spec": {"modelName": "m"}}


def seen(found: dict[str, Any], foreign: dict[str, str], answered: dict[str, Any], **fleet: Any) -> Any:
    said = policy_for("InferenceModel", fleet)
    owners = Owners(foreign, "", said, people_of(fleet))
    return view(ORDERED, found, owners, lambda path, manager: said(path, manager) or "correct", answered)


@pytest.mark.parametrize(("manager", "is_drift"), [("kubectl-edit", True), ("autoscaler", False), ("", False)])
def test_what_people_set_that_git_does_not_name_is_drift_and_what_others_set_is_theirs(
    manager: str, *, is_drift: bool
) -> None:
    found = seen({"spec": {"modelName": "m", "replicas": 3}}, {"spec.replicas": manager}, {})
    assert [one.path for one in found.fields] == (["spec.replicas"] if is_drift else [])
    assert ("spec.replicas" in found.seen) == is_drift


def test_by_annotations_people_speak_to_controllers() -> None:
    found = seen({**ORDERED, "annotations": {"x": "1"}}, {"annotations.x": "kubectl-annotate"}, {})
    assert found.fields == ()


def test_what_another_manager_kept_is_not_sent_again_and_is_theirs_until_a_rule_says_otherwise() -> None:
    there, foreign = {"spec": {"modelName": "theirs"}}, {"spec.modelName": "helm"}
    answered = {"spec.modelName": ["m", "theirs", "helm"]}
    found = seen(there, foreign, answered)
    assert (found.fields, found.left, found.seen) == ((), ("spec.modelName",), {"spec.modelName": "m"})
    moved = seen({"spec": {"modelName": "again"}}, foreign, answered)
    assert [(one.path, one.policy) for one in moved.fields] == [("spec.modelName", "report")]
    assert seen(there, foreign, answered, **HELM).forced == ("spec.modelName",)
    assert seen(there, {"spec.modelName": "kubectl"}, answered).forced == ("spec.modelName",)
    people = {"spec.modelName": ["m", "theirs", "kubectl"]}
    assert seen(there, {"spec.modelName": "kubectl"}, people).forced == ("spec.modelName",)  # they keep nothing


def test_an_answer_says_what_is_otherwise_and_whose_it_is() -> None:
    wanted = {"labels": {"a": "1"}, "spec": {"port": 1, "name": "n"}}
    found = {"labels": {"a": "1", "b": "2", "old": "x"}, "spec": {"port": 7, "name": "N", "replicas": 3, "size": 1}}
    foreign = {"labels.b": "c", "labels.old": "helm", "spec.port": "helm", "spec.replicas": "hpa", "spec.size": ""}
    assert otherwise(wanted, found, foreign, going=["labels.old"]) == {
        "labels.old": [None, "x", "helm"],  # it left Git
        "spec.name": ["n", "N"],  # a webhook
        "spec.port": [1, 7, "helm"],
        "spec.replicas": [None, 3, "hpa"],  # a field that nobody declared; another label is none of ours
    }
    assert otherwise(wanted, wanted, {}) == {}
    assert "spec.port" not in otherwise(wanted, found, foreign, told=["spec.port"])
    assert "spec.port" not in otherwise(wanted, found, foreign, kept=[])  # changed afterwards: a hand edit
    assert "spec.port" in otherwise(wanted, found, foreign, kept=["spec.port"])
