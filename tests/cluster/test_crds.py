"""`reconciler crds apply` and `remove` against a real API server: nothing that is stored is lost unasked."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import main
from reconciler.kube.client.resources import OURS
from tests.api_proxy import Answer, ApiProxy, Cut, Rule
from tests.control_plane.plane import ControlPlane

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
EDGES = "/apis/ai.kubeedge.io/v1alpha1/edges"
LONG = "a" * 300
EDGE_CRD = f"{CRDS}/edges.ai.kubeedge.io"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def bare(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """A cluster without our kinds."""
    _without_kinds(cluster)
    yield cluster
    _without_kinds(cluster)


def _without_kinds(plane: ControlPlane) -> None:
    names = {f"{resource.plural}.{resource.group}" for resource in OURS.values()}
    for name in names:
        plane.request("DELETE", f"{CRDS}/{name}")
    until(lambda: not names & versions(plane).keys())


@pytest.fixture
def call(
    bare: ControlPlane, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    for name in ("RECONCILER_KUBECONFIG", "RECONCILER_CONTEXT", "RECONCILER_IN_CLUSTER"):
        monkeypatch.delenv(name, raising=False)

    def called(*words: object) -> Said:
        capsys.readouterr()
        verb, *rest = map(str, words)
        code = main(["crds", verb, "--kubeconfig", str(bare.kubeconfig), *rest])
        return Said(code, *capsys.readouterr())

    return called


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def did(said: Said) -> dict[str, str]:
    assert said.code == 0, said.err
    return dict(line.split(": ", 1) for line in said.out.splitlines())


def edge(plane: ControlPlane, name: str, **spec: Any) -> dict[str, Any]:
    document = {"apiVersion": "ai.kubeedge.io/v1alpha1", "kind": "Edge", "metadata": {"name": name}, "spec": spec}
    return plane.post(EDGES, document)


def rewrite(plane: ControlPlane, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the schema of Edge.spec as another release of ours would have had it, and wait until it counts."""
    live = plane.get(EDGE_CRD)
    change(live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    live["metadata"] = {"name": live["metadata"]["name"]}
    del live["status"]
    path = f"{EDGE_CRD}?fieldManager=reconciler&force=true"
    status, answer = plane.request("PATCH", path, live, content_type="application/apply-patch+yaml")
    assert status == 200, answer


def versions(plane: ControlPlane) -> dict[str, str]:
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in plane.get(CRDS)["items"]}


def test_kinds_are_installed_once_and_then_unchanged(bare: ControlPlane, call: Call) -> None:
    assert did(call("apply")) == dict.fromkeys(OURS, "installed")
    for resource in OURS.values():  # served when it says so
        assert bare.get(f"/apis/{resource.group}/{resource.version}/{resource.plural}")["items"] == []
    before = versions(bare)
    assert did(call("apply")) == dict.fromkeys(OURS, "unchanged")
    assert versions(bare) == before
    said = call("apply", "--output", "json")
    assert {one["did"] for one in json.loads(said.out)["kinds"]} == {"unchanged"}


@pytest.mark.parametrize(
    "busy",
    [
        Rule(Answer(429, {"Retry-After": "1"}, "storage is (re)initializing"), verb="list", path="/models$"),
        Rule(Answer(503), verb="list", path="/edges$", times=3),
        Rule(Cut(), verb="get", path="/models.ai.kubeedge.io$", after=1),
    ],
    ids=["asks to wait", "fails", "cuts"],
)
def test_kinds_are_waited_for_while_the_api_server_is_busy_with_them(
    bare: ControlPlane, call: Call, tmp_path: Path, busy: Rule
) -> None:
    rules = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    with ApiProxy(bare.kubeconfig_for("installer", rules), tmp_path / "proxy") as proxy:
        proxy.add(busy)
        assert did(call("apply", "--kubeconfig", proxy.kubeconfig)) == dict.fromkeys(OURS, "installed")
        assert [request for request in proxy.requests() if request.fault]
        proxy.add(Rule(Answer(503), verb="get", path="/models.ai.kubeedge.io$", after=1))
        assert did(call("remove", "--kubeconfig", proxy.kubeconfig)) == dict.fromkeys(OURS, "removed")


def test_an_older_release_is_upgraded(bare: ControlPlane, call: Call) -> None:
    call("apply")

    def older(spec: dict[str, Any]) -> None:
        del spec["properties"]["pins"]

    rewrite(bare, older)
    assert did(call("apply")) == {**dict.fromkeys(OURS, "unchanged"), "Edge": "upgraded"}
    assert did(call("apply")) == dict.fromkeys(OURS, "unchanged")


def test_fault_043_an_upgrade_that_would_drop_a_stored_field_is_refused(bare: ControlPlane, call: Call) -> None:
    call("apply")
    rewrite(bare, lambda spec: spec["properties"].update(colour={"type": "string"}))
    until(lambda: _keeps_colours(bare))
    bare.post(EDGES, _coloured("berlin-07"))
    edge(bare, "plain")
    before = versions(bare)
    said = call("apply")
    assert said.code == 5
    assert "error[RX411]" in said.err
    assert "1 Edge would lose data: berlin-07: spec.colour would be dropped" in said.err
    assert "plain" not in said.err
    assert versions(bare) == before
    bare.request("DELETE", f"{EDGES}/berlin-07")
    assert did(call("apply"))["Edge"] == "upgraded"


def _keeps_colours(plane: ControlPlane) -> bool:
    """Whether the new schema counts; while it is taken in, a busy API server may answer with a Status instead."""
    status, answer = plane.request("POST", f"{EDGES}?dryRun=All", _coloured("probe"))
    return status == 201 and answer["spec"] == {"colour": "red"}


def _coloured(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "ai.kubeedge.io/v1alpha1",
        "kind": "Edge",
        "metadata": {"name": name},
        "spec": {"colour": "red"},
    }


def test_fault_043_an_upgrade_that_would_refuse_a_stored_value_is_refused(bare: ControlPlane, call: Call) -> None:
    call("apply")

    def looser(spec: dict[str, Any]) -> None:
        spec["properties"]["nodeName"] = {"type": "string"}

    rewrite(bare, looser)
    until(lambda: bare.request("POST", f"{EDGES}?dryRun=All", _named("probe", LONG))[0] == 201)
    bare.post(EDGES, _named("berlin-07", LONG))
    said = call("apply")
    assert said.code == 5
    assert "berlin-07: spec.nodeName would be above its maxLength, 253" in said.err


def _named(name: str, node: str) -> dict[str, Any]:
    return _coloured(name) | {"spec": {"nodeName": node}}


def test_a_kind_with_another_scope_or_stored_version_is_refused(bare: ControlPlane, call: Call) -> None:
    crd = _definition("Edge")
    crd["spec"]["scope"] = "Namespaced"
    bare.post(CRDS, crd)
    said = call("apply")
    assert said.code == 5
    assert "edges.ai.kubeedge.io is Namespaced, and would have to be Cluster" in said.err
    bare.request("DELETE", EDGE_CRD)
    until(lambda: bare.request("GET", EDGE_CRD)[0] == 404)
    crd = _definition("Edge")
    crd["spec"]["versions"][0]["name"] = "v1alpha0"
    bare.post(CRDS, crd)
    until(lambda: bool(bare.get(EDGE_CRD).get("status", {}).get("storedVersions")))
    said = call("apply")
    assert said.code == 5
    assert "stored as v1alpha0" in said.err
    assert bare.request("GET", f"{CRDS}/models.ai.kubeedge.io")[0] == 404  # no other kind was touched


def _definition(kind: str) -> dict[str, Any]:
    from reconciler.model.crds import definition
    from reconciler.planning.kinds import models

    return json.loads(json.dumps(definition(models()[kind])))  # type: ignore[no-any-return]


def test_a_kind_that_another_one_installed_is_taken_over_only_when_told(bare: ControlPlane, call: Call) -> None:
    crd = _definition("Edge")
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["pins"]
    bare.request("PATCH", f"{EDGE_CRD}?fieldManager=helm", crd, content_type="application/apply-patch+yaml")
    said = call("apply")
    assert said.code == 5
    assert "edges.ai.kubeedge.io was installed by helm" in said.err
    assert "--take-over" in said.err
    assert bare.request("GET", f"{CRDS}/models.ai.kubeedge.io")[0] == 404
    assert did(call("apply", "--take-over"))["Edge"] == "upgraded"


def test_fault_044_kinds_with_objects_are_removed_only_when_their_number_is_named(
    bare: ControlPlane, call: Call
) -> None:
    call("apply")
    for number in range(7):
        edge(bare, f"berlin-{number}")
    for words in ((), ("--confirm", "6"), ("--confirm", "8")):
        said = call("remove", *words)
        assert said.code == 5
        assert "7 Edge (berlin-0, berlin-1, berlin-2, berlin-3, berlin-4 and 2 more)" in said.err
        assert "--confirm 7" in said.err
    assert len(bare.get(EDGES)["items"]) == 7
    said = call("remove", "--confirm", "7", "--output", "json")
    assert said.code == 0
    removed = {one["kind"]: (one["did"], one["objects"]) for one in json.loads(said.out)["kinds"]}
    assert removed == {**dict.fromkeys(OURS, ("removed", 0)), "Edge": ("removed", 7)}
    assert not [name for name in versions(bare) if name.endswith(".ai.kubeedge.io")]
    assert did(call("remove")) == dict.fromkeys(OURS, "absent")


def test_fault_044_what_cannot_be_counted_is_not_removed(bare: ControlPlane, call: Call) -> None:
    call("apply")
    rights = {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["*"]}
    user = bare.kubeconfig_for("installer", rights)
    code = main(["crds", "remove", "--kubeconfig", str(user), "--confirm", "0"])
    assert code == 5
    assert len([name for name in versions(bare) if name.endswith(".ai.kubeedge.io")]) == len(OURS)


def test_fault_044_kinds_of_others_are_not_removed(bare: ControlPlane, call: Call) -> None:
    bare.post(f"{CRDS}?fieldManager=helm", _definition("Edge"))
    said = call("remove")
    assert said.code == 5
    assert "edges.ai.kubeedge.io was installed by helm" in said.err
    assert bare.request("GET", EDGE_CRD)[0] == 200
    assert did(call("remove", "--take-over"))["Edge"] == "removed"


def test_rights_to_install_are_named_when_missing(bare: ControlPlane, call: Call) -> None:
    user = bare.kubeconfig_for("nobody")
    assert main(["crds", "apply", "--kubeconfig", str(user)]) == 5
    assert not [name for name in versions(bare) if name.endswith(".ai.kubeedge.io")]
