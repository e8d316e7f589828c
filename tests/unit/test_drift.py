"""Drift rules: which word counts for which field, by kind, path and writer."""

from typing import Any

import pytest

from reconciler.planning.drift_rules import Rule, covers, policy_for, policy_of, rules_of
from reconciler.planning.fields import leaves

FLEET = {
    "drift": [
        {"kinds": ["InferenceModel"], "fields": ["spec.replicas"], "managers": [], "policy": "ignore"},
        {"kinds": [], "fields": ["spec.manifest"], "managers": ["kubectl*"], "policy": "report"},
        {"kinds": ["InferenceModel"], "fields": [], "managers": ["hpa"], "policy": "ignore"},
        {"kinds": ["Edge"], "fields": ["*"], "managers": [], "policy": "report"},
    ]
}


def test_without_rules_everything_is_corrected() -> None:
    fleets: list[dict[str, Any]] = [{}, {"drift": []}, {"drift": None}]
    for fleet in fleets:
        assert policy_of("InferenceModel", "spec.replicas", "kubectl-edit", rules_of(fleet)) == "correct"


@pytest.mark.parametrize(
    ("kind", "path", "manager", "policy"),
    [
        ("InferenceModel", "spec.replicas", "kubectl-edit", "ignore"),
        ("InferenceModel", "spec.replicas", "", "ignore"),
        ("InferenceModelSet", "spec.replicas", "kubectl-edit", "correct"),
        ("InferenceModel", "spec.manifest[version=3].downloadURL", "kubectl-edit", "report"),
        ("Edge", "spec.manifest", "kubectl", "report"),
        ("InferenceModel", "spec.manifest[version=3].downloadURL", "my-kubectl", "correct"),
        ("InferenceModel", "spec.manifest[version=3].downloadURL", "", "correct"),
        ("InferenceModel", "spec.targetVersion", "hpa", "ignore"),
        ("InferenceModel", "spec.targetVersion", "hpa2", "correct"),
        ("Edge", 'labels["a/b"]', "", "report"),
    ],
)
def test_the_first_rule_that_matches_counts(kind: str, path: str, manager: str, policy: str) -> None:
    assert policy_of(kind, path, manager, rules_of(FLEET)) == policy
    assert (policy_for(kind, FLEET)(path, manager) or "correct") == policy


def test_order_decides() -> None:
    ignore, correct = Rule("ignore", fields=("spec.replicas",)), Rule("correct", fields=("spec",))
    assert policy_of("InferenceModel", "spec.replicas", "x", (ignore, correct)) == "ignore"
    assert policy_of("InferenceModel", "spec.replicas", "x", (correct, ignore)) == "correct"


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("spec.replicas", "spec.replicas", True),
        ("spec.replicas", "spec.replicasMax", False),
        ("spec", "spec.template.spec.image", True),
        ("spec", "specification", False),
        ("spec.manifest[version=3]", "spec.manifest[version=3].downloadURL", True),
        ("spec.manifest[version=3]", "spec.manifest[version=30].downloadURL", False),
        ("spec.manifest[version=*].sha256sum", "spec.manifest[version=1.10].sha256sum", True),
        ("spec.*.sha256sum", "spec.versions[version=1].sha256sum", True),
        ("*.image", "spec.template.spec.image", True),
        ("labels", 'labels["a/b"]', True),
        ('labels["a/*"]', 'labels["a/b.c"]', True),
        ('labels["a/*"]', 'labels["b/a"]', False),
        ("labels.team", "labels.team", True),
        ("labels.team", 'labels["team/x"]', False),
        ("spec.a+b", "spec.aab", False),  # nothing but * is special
    ],
)
def test_a_field_covers_what_is_in_it(pattern: str, path: str, covered: bool) -> None:
    assert covers(pattern, path) is covered


def test_the_paths_are_those_of_the_differ() -> None:
    tree = {"labels": {"a/b": "c"}, "spec": {"manifest": [{"version": "1", "sha256sum": "x"}], "servingPort": 1}}
    paths = [path for path, _ in leaves(tree)]
    assert [path for path in paths if covers("spec.manifest", path)] == [path for path in paths if "manifest" in path]
    assert [path for path in paths if covers('labels["a/b"]', path)] == ['labels["a/b"]']
