"""Rights against a real API server: what is granted suffices, what is missing is named, before anything is applied."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from reconciler.cli.main import main
from reconciler.errors import RightMissing, SettingInvalid
from reconciler.kube.admin.access import missing
from reconciler.kube.admin.hub_pod import Pod
from reconciler.kube.client.api import Api
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.resources import OURS
from reconciler.kube.client.rights import HOME, INSTALLER, OPERATOR, RULES, PolicyRule
from tests.control_plane.plane import ControlPlane

HERE = "default"
Open = Callable[[Path], Api]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def policy(*rules: PolicyRule) -> list[dict[str, list[str]]]:
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


def test_an_account_of_its_own_in_one_command(
    cluster: ControlPlane, api: Open, call: Callable[..., Said], tmp_path: Path
) -> None:
    home, file = cluster.fresh_namespace("account"), tmp_path / "fleet.kubeconfig"
    asked = ("crds", "kubeconfig", file, "--kubeconfig", cluster.kubeconfig, "--namespace", home, "--days", "1")
    said = call(*asked)
    assert said.code == 0, said.err
    assert f"account {home}/reconciler" in said.err
    assert "good until 20" in said.err
    assert file.stat().st_mode & 0o777 == 0o600
    assert missing(api(file), namespace=home) == []
    assert missing(api(file), INSTALLER, namespace=home)
    before = file.read_text()
    assert call(*asked).code == 2
    assert file.read_text() == before
    assert call(*asked, "--replace").code == 0
    found = json.loads(call("doctor", "--kubeconfig", file, "--lease-namespace", home, "--output", "json").out)
    (ends,) = [one for one in found["findings"] if one["check"] == "credentials"]
    assert (ends["verdict"], "good until" in ends["found"]) == ("warn", True)  # in less than three days


def test_doctor_is_content_with_an_admin(cluster: ControlPlane, call: Callable[..., Said]) -> None:
    said = call("doctor", "--kubeconfig", cluster.kubeconfig, "--lease-namespace", HERE, "--output", "json")
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
    user = cluster.kubeconfig_for("partly", *policy(*RULES[:-4], lease, *RULES[-2:]))
    said = call("doctor", "--kubeconfig", user, "--lease-namespace", "edge", "--output", "json")
    assert said.code == 4
    lacking = [one for one in json.loads(said.out)["findings"] if one["check"] == "right"]
    assert len(lacking) == 3
    assert "may not create, update leases in namespace edge" in lacking[-1]["found"]
    for one in lacking:
        assert one["fix"].startswith("`reconciler crds roles --namespace edge | kubectl apply -f -` grants it")
    assert '["coordination.k8s.io"], resources: ["leases"], verbs: [create, update]' in lacking[-1]["fix"]


def test_doctor_says_who_holds_the_lease_and_what_it_lacks(cluster: ControlPlane, call: Callable[..., Said]) -> None:
    namespace = cluster.fresh_namespace("lease")
    hub = cluster.kubeconfig_for("looker", *policy(*RULES, *HOME))  # who may not read namespaces

    def lease(home: str, user: Path) -> dict[str, str]:
        said = call("doctor", "--kubeconfig", user, "--lease-namespace", home, "--output", "json")
        found: dict[str, str]
        (found,) = [one for one in json.loads(said.out)["findings"] if one["check"] == "lease"]
        assert said.code == (0 if found["verdict"] == "ok" else 4)
        return found

    for user in (cluster.kubeconfig, hub):
        found = lease("nowhere", user)
        assert (found["verdict"], found["fix"]) == ("fail", "`kubectl create namespace nowhere`")
        assert "there is no namespace nowhere" in found["found"]
        found = lease(namespace, user)
        assert (found["verdict"], "held by nobody" in found["found"]) == ("ok", True)
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    assert cluster.get(leases)["items"] == []  # looking made none
    cluster.post(leases, {"metadata": {"name": "reconciler"}, "spec": {"holderIdentity": "hub-7"}})
    assert f"{namespace}/reconciler is held by hub-7" in lease(namespace, hub)["found"]


def acting(cluster: ControlPlane, path: Path, **user: object) -> Path:
    """The admin's kubeconfig, with more in its user."""
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] |= user
    path.write_text(yaml.safe_dump(document))
    return path


def test_who_acts_for_another_has_no_right_but_that_ones(cluster: ControlPlane, api: Open, tmp_path: Path) -> None:
    bob = api(acting(cluster, tmp_path / "bob", **{"as": "bob"}))
    edges = OURS["Edge"]
    with pytest.raises(RightMissing, match="user bob may not list edges"):
        next(bob.pages(edges))
    with pytest.raises(RightMissing, match="user bob may not watch edges"), bob.watch(edges, "", silence_s=30):
        pass
    with pytest.raises(RightMissing, match="user bob may not patch edges"):
        bob.apply(edges, "berlin", "", b"{}", manager="reconciler")
    assert len(missing(bob, namespace=HERE)) == len((*RULES, *HOME))
    whole = {"as": "bob é", "as-uid": "7", "as-groups": ["a", "system:masters"], "as-user-extra": {"a/B%": ["x", "y"]}}
    line = api(acting(cluster, tmp_path / "whole", **whole)).connection
    review = b'{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}'
    reply = line.exchange("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    seen = json.loads(reply.body)["status"]["userInfo"]
    assert (seen["username"], seen["uid"]) == ("bob é", "7")
    assert {"a", "system:masters"} <= {*seen["groups"]}
    assert seen["extra"] == {"a/b%": ["x", "y"]}  # keys are header names, whose case is lost
    assert missing(Api(line), namespace=HERE) == []


def test_doctor_says_what_the_one_acted_for_lacks(
    cluster: ControlPlane, call: Callable[..., Said], tmp_path: Path
) -> None:
    bob = acting(cluster, tmp_path / "bob", **{"as": "bob"})
    said = call("doctor", "--kubeconfig", bob, "--lease-namespace", HERE, "--output", "json")
    found = json.loads(said.out)["findings"]
    assert said.code == 4
    assert [one["found"].endswith(", acting for bob") for one in found if one["check"] == "cluster"] == [True]
    assert len([one for one in found if one["check"] == "right"]) == len((*RULES, *HOME))


def test_nobody_reaches_into_a_pod_for_another(cluster: ControlPlane, tmp_path: Path) -> None:
    bob = acting(cluster, tmp_path / "bob", **{"as": "bob"})
    with pytest.raises(SettingInvalid, match="acts for bob") as raised, Pod.of_hub("", bob, HERE):
        pass
    assert "kubectl --as=bob exec" in raised.value.advice


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
