"""The table of rights: what is written from it is current, and grants no more than it says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.errors import UsageError
from reconciler.kube.admin.account import write
from reconciler.kube.admin.rbac import roles
from reconciler.kube.client.resources import OURS
from reconciler.kube.client.rights import HOME, INSTALLER, OPERATOR, RULES, PolicyRule
from tests.unit.conftest import Call

WRITTEN = Path(__file__).parents[2] / "deploy" / "rbac.yaml"


def granted(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def flat(rules: tuple[PolicyRule, ...]) -> set[tuple[str, str, str]]:
    return {(rule.group, rule.resource, verb) for rule in rules for verb in rule.verbs}


def test_the_file_is_current() -> None:
    """When this fails: `reconciler crds roles > deploy/rbac.yaml`."""
    assert WRITTEN.read_text() == roles()


def test_the_roles_grant_what_the_table_says_and_no_more() -> None:
    made = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(roles("edge"))}
    assert granted(made["ClusterRole", "reconciler"]) == flat(RULES)
    assert granted(made["Role", "reconciler"]) == flat(HOME)
    assert granted(made["ClusterRole", "reconciler-installer"]) == flat(INSTALLER)
    assert granted(made["Role", "reconciler-operator"]) == flat(OPERATOR)
    assert "*" not in yaml.safe_dump(list(made.values()))
    bound = [one for one in made.values() if one["kind"].endswith("Binding")]
    assert {one["roleRef"]["name"] for one in bound} == {"reconciler"}
    for one in made.values():
        assert one["metadata"].get("namespace", "edge") == "edge"
        assert (one["kind"] in {"ClusterRole", "ClusterRoleBinding"}) is ("namespace" not in one["metadata"])


def test_no_account_takes_the_place_of_another() -> None:
    def names(*whose: str) -> set[tuple[str, str]]:
        made = yaml.safe_load_all(roles(*whose))
        return {(one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in made if "subjects" in one}

    several = [names(*whose) for whose in ((), ("edge",), ("default",), ("edge", "laptop"))]
    assert len(set().union(*several)) == sum(map(len, several))


def test_every_kind_can_be_kept_and_its_status_told() -> None:
    for resource in OURS.values():
        assert {verb for _, plural, verb in flat(RULES) if plural == resource.plural} == {
            *("get", "list", "watch", "create", "patch", "delete")
        }
        assert (resource.group, f"{resource.plural}/status", "patch") in flat(RULES)


def test_the_reconciler_may_neither_change_its_kinds_nor_read_secrets() -> None:
    assert {verb for _, plural, verb in flat(RULES) if plural == "customresourcedefinitions"} == {"get"}
    assert not {plural for _, plural, _ in flat((*RULES, *HOME))} & {"secrets", "pods", "pods/exec", "clusterroles"}


def test_a_rule_in_words() -> None:
    rule = PolicyRule("ai.kubeedge.io", "edges/status", ("get", "patch"))
    assert yaml.safe_load(rule.yaml()) == {
        "apiGroups": ["ai.kubeedge.io"],
        "resources": ["edges/status"],
        "verbs": ["get", "patch"],
    }
    assert "crds roles" not in rule.fix()  # our roles do not have `get` of it


def test_a_missing_rule_is_granted_by_the_roles_that_are_printed() -> None:
    for rule in (*RULES, *HOME):
        assert rule.fix("home").startswith("`reconciler crds roles --namespace home | kubectl apply -f -` ")
        assert rule._replace(verbs=rule.verbs[:1]).fix().startswith("`reconciler crds roles | kubectl apply -f -` ")
        assert rule.yaml() in rule.fix()
    assert PolicyRule("", "pods/exec", ("create",)).fix().startswith("put {")


def test_the_command_prints_them(call: Call) -> None:
    assert call("crds", "roles").out == roles()
    assert "namespace: edge\n" in call("crds", "roles", "--namespace", "edge").out


def test_a_secret_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "kubeconfig"
    with pytest.raises(KeyError), write(place, replace=False):
        raise KeyError("the cluster refused")
    assert list(tmp_path.iterdir()) == []
    with write(place, replace=False) as into:
        into("secret")
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("secret", 0o600)
    with pytest.raises(UsageError, match="there already"), write(place, replace=False):
        pass
    place.chmod(0o644)
    with write(place, replace=True) as into:
        into("newer")
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("newer", 0o600)
    with pytest.raises(UsageError, match="cannot be written"), write(tmp_path / "none" / "kubeconfig", replace=False):
        pass


def test_no_cluster_is_ever_guessed(call: Call, tmp_path: Path) -> None:
    for words in (("apply",), ("remove", "--confirm", "3"), ("kubeconfig", str(tmp_path / "kubeconfig"))):
        said = call("crds", *words)
        assert said.code == 2
        assert "no cluster is named" in said.err
