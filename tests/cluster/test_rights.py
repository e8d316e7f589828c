"""Rights against a real API server: what is granted suffices, what is missing is named, before anything is applied."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from reconciler.cli.main import main
from reconciler.kube.access import missing
from reconciler.kube.api import Api
from reconciler.kube.connection import Connection
from reconciler.kube.resources import OURS
from reconciler.kube.rights import HOME, INSTALLER, OPERATOR, RULES, Rule
from tests.control_plane.plane import ControlPlane

HERE = "default"
Open = Callable[[Path], Api]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def policy(*rules: Rule) -> list[dict[str, list[str]]]:
    return [{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)} for rule in rules]


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Open:
    def opened(kubeconfig: Path) -> Api:
        line = Connection.open(kubeconfig=kubeconfig)
        request.addfinalizer(line.close)
        return Api(line)

    return opened


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Said]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("KUBECONFIG", "RECONCILER_KUBECONFIG", "RECONCILER_CONTEXT", "RECONCILER_IN_CLUSTER"):
        monkeypatch.delenv(name, raising=False)

    def called(*words: object) -> Said:
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return called


def test_the_roles_that_are_written_lack_nothing(cluster: ControlPlane, api: Open) -> None:
    user = cluster.kubeconfig_for("hub", *policy(*RULES, *HOME))
    assert missing(api(user), namespace=HERE) == []


def test_what_is_missing_is_told_by_verb(cluster: ControlPlane, api: Open) -> None:
    edges = next(rule for rule in RULES if rule.resource == "edges")
    status = next(rule for rule in RULES if rule.resource == "edges/status")
    granted = [rule for rule in (*RULES, *HOME) if rule not in {edges, status}]
    user = cluster.kubeconfig_for("without", *policy(*granted, edges._replace(verbs=("get", "list", "watch"))))
    assert missing(api(user), namespace=HERE) == [edges._replace(verbs=("create", "patch", "delete")), status]


def test_rights_of_one_namespace_are_not_rights_in_all(cluster: ControlPlane, api: Open) -> None:
    user = cluster.kubeconfig_for("narrow", *policy(*RULES, *HOME), namespace=HERE)
    lacking = {rule.resource for rule in missing(api(user), namespace=HERE)}
    assert {"inferencemodels", "edges", "events"} <= lacking
    assert "leases" not in lacking


def test_asking_writes_nothing(cluster: ControlPlane, api: Open) -> None:
    user = api(cluster.kubeconfig_for("stranger"))
    before = cluster.calls()
    lacking = missing(user, (*RULES, *HOME, *INSTALLER, *OPERATOR), namespace=HERE)
    spent = cluster.calls() - before
    assert sum(len(rule.verbs) for rule in lacking) == spent["POST", "selfsubjectaccessreviews"]
    assert {verb for verb, resource in spent if resource in {one.plural for one in OURS.values()}} <= {"GET", "LIST"}


def test_the_hub_can_do_its_work_with_the_roles_that_are_written(cluster: ControlPlane, api: Open) -> None:
    """The verbs that the API server asks RBAC for are those of the table: server-side apply, status, delete."""
    user = api(cluster.kubeconfig_for("worker", *policy(*RULES)))
    edge = {"apiVersion": "ai.kubeedge.io/v1alpha1", "kind": "Edge", "metadata": {"name": "berlin"}}
    edges = OURS["Edge"]
    made = json.loads(user.apply(edges, "berlin", "", json.dumps(edge | {"spec": {}}).encode(), manager="reconciler"))
    user.apply(edges, "berlin", "", json.dumps(edge).encode(), manager="reconciler-status", sub="status")
    assert sum(len(page.items) for page in user.pages(edges)) == 1
    with user.watch(edges, "", silence_s=30) as lines:
        assert b"berlin" in next(lines)
    assert user.delete(edges, "berlin", "", uid=made["metadata"]["uid"])


def test_doctor_is_content_with_an_admin(cluster: ControlPlane, call: Callable[..., Said]) -> None:
    said = call("doctor", "--kubeconfig", cluster.kubeconfig, "--output", "json")
    found = {one["check"]: one for one in json.loads(said.out)["findings"]}
    assert said.code == 0
    assert found["cluster"]["verdict"] == found["rights"]["verdict"] == "ok"
    assert cluster.server in found["cluster"]["found"]
    for kind in OURS:
        assert found[f"kind {kind}"]["found"] == "installed, current"


def test_doctor_names_each_missing_right_with_the_rule_that_grants_it(
    cluster: ControlPlane, call: Callable[..., Said]
) -> None:
    lease = HOME[0]._replace(verbs=("get",))
    user = cluster.kubeconfig_for("partly", *policy(*RULES[:-3], lease, RULES[-1]))
    said = call("doctor", "--kubeconfig", user, "--lease-namespace", "edge", "--output", "json")
    assert said.code == 4
    lacking = [one for one in json.loads(said.out)["findings"] if one["check"] == "right"]
    assert len(lacking) == 3
    assert "may not create, update leases in namespace edge" in lacking[-1]["found"]
    assert "kubectl create role --namespace=edge" in lacking[-1]["fix"]
    assert "--verb=create,update --resource=leases.coordination.k8s.io" in lacking[-1]["fix"]


def test_doctor_says_what_keeps_it_from_looking(
    cluster: ControlPlane, call: Callable[..., Said], tmp_path: Path
) -> None:
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "away").write_text(yaml.safe_dump(document))
    for words, text in (
        (("--kubeconfig", tmp_path / "away"), "RX305: https://127.0.0.1:1: connection refused"),
        (("--kubeconfig", cluster.kubeconfig, "--context", "none"), "RX102"),
        (("--kubeconfig", tmp_path / "none"), "RX102"),
    ):
        said = call("doctor", *words, "--output", "json")
        assert said.code == 4
        (found,) = [one for one in json.loads(said.out)["findings"] if one["check"] == "cluster"]
        assert found["verdict"] == "fail"
        assert text in found["found"]
