"""The verbs of the API against a real API server: what its answers mean, counted by its own metrics."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from reconciler.errors import (
    ApiRefused,
    ApiUnavailable,
    CredentialsRefused,
    FieldConflict,
    KindMissing,
    LeaseLost,
    RightMissing,
)
from reconciler.kube.client.api import Api, Expired
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.resources import CRDS, OURS
from tests.control_plane.plane import ControlPlane
from tests.git_server import make_certificate

MODELS = OURS["InferenceModel"]
EDGES = OURS["Edge"]
MANY = 23


@pytest.fixture
def api(cluster: ControlPlane) -> Iterator[Api]:
    line = Connection.open(kubeconfig=cluster.kubeconfig)
    yield Api(line)
    line.close()


@pytest.fixture
def namespace(cluster: ControlPlane) -> str:
    return cluster.fresh_namespace()


def model(name: str, version: str = "1", **spec: Any) -> bytes:
    wanted = {"modelName": "faces", "deployToLayer": "edge", "frameworkType": "onnx", "targetVersion": version}
    return document(name, wanted | {"servingPort": 8080, "nodeName": "berlin", "modelRef": "faces"} | spec)


def document(name: str, spec: dict[str, Any], **meta: Any) -> bytes:
    head = {"apiVersion": MODELS.api_version, "kind": "InferenceModel", "metadata": {"name": name, **meta}}
    return json.dumps(head | {"spec": spec}).encode()


def test_an_object_from_its_creation_to_its_end(api: Api, namespace: str) -> None:
    made = json.loads(api.apply(MODELS, "one", namespace, model("one"), manager="reconciler"))
    assert json.loads(api.get(MODELS, "one", namespace) or b"") == made
    again = json.loads(api.apply(MODELS, "one", namespace, model("one"), manager="reconciler"))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    told = json.dumps({**json.loads(model("one")), "status": {"servingVersion": "1"}}).encode()
    with_status = json.loads(
        api.apply(MODELS, "one", namespace, told, manager="reconciler-status", sub="status", force=True)
    )
    assert with_status["status"] == {"servingVersion": "1"}
    assert with_status["metadata"]["generation"] == 1
    changed = {**with_status, "spec": {**with_status["spec"], "targetVersion": "2"}}
    replaced = json.loads(api.replace(MODELS, "one", namespace, json.dumps(changed).encode()))
    assert replaced["spec"]["targetVersion"] == "2"
    with pytest.raises(FieldConflict) as raised:  # of an older version
        api.replace(MODELS, "one", namespace, json.dumps(changed).encode())
    assert raised.value.fields == ()
    uid, version = replaced["metadata"]["uid"], replaced["metadata"]["resourceVersion"]
    for conditions in ({"uid": "another"}, {"uid": uid, "version": with_status["metadata"]["resourceVersion"]}):
        with pytest.raises(FieldConflict):
            api.delete(MODELS, "one", namespace, **conditions)
    assert api.delete(MODELS, "one", namespace, uid=uid, version=version)
    assert api.get(MODELS, "one", namespace) is None
    assert not api.delete(MODELS, "one", namespace, uid=uid)


def test_fault_027_a_field_of_another_manager_is_named_with_it(api: Api, namespace: str) -> None:
    api.apply(MODELS, "one", namespace, model("one"), manager="kubectl-edit")
    with pytest.raises(FieldConflict, match=r"spec\.targetVersion belongs to kubectl-edit") as raised:
        api.apply(MODELS, "one", namespace, model("one", "2"), manager="reconciler")
    assert raised.value.fields == (("spec.targetVersion", "kubectl-edit"),)
    taken = json.loads(api.apply(MODELS, "one", namespace, model("one", "2"), manager="reconciler", force=True))
    assert taken["spec"]["targetVersion"] == "2"


def test_a_name_that_is_taken_is_a_conflict_without_fields(api: Api, namespace: str) -> None:
    api.create(MODELS, namespace, model("one"))
    with pytest.raises(FieldConflict) as raised:
        api.create(MODELS, namespace, model("one"))
    assert raised.value.fields == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (model("one", frameworkTyp="onnx"), r"frameworkTyp"),
        (model("one", servingPort="eighty"), r"servingPort"),
        (model("one", deployToLayer="moon"), r"spec\.deployToLayer: Unsupported value"),
        (model("two"), r"name"),
        (b'{"apiVersion":"v1","kind":"Pod"}', r"Pod"),
        (b"{nonsense", r"."),
    ],
)
def test_fault_043_what_the_schema_refuses_is_said_by_field(api: Api, namespace: str, body: bytes, words: str) -> None:
    with pytest.raises(ApiRefused, match=words):
        api.apply(MODELS, "one", namespace, body, manager="reconciler")
    assert api.get(MODELS, "one", namespace) is None


def test_fault_043_a_kind_that_is_not_served(api: Api, namespace: str) -> None:
    for missing in (
        MODELS._replace(plural="nonsense"),
        MODELS._replace(group="nonsense.example.com"),
        MODELS._replace(version="v9"),
    ):
        with pytest.raises(KindMissing, match=missing.plural):
            api.get(missing, "one", namespace)
        with pytest.raises(KindMissing):
            api.apply(missing, "one", namespace, model("one"), manager="reconciler")
        with pytest.raises(KindMissing):
            list(api.pages(missing))


def test_a_namespace_that_is_missing_is_no_missing_kind(api: Api) -> None:
    with pytest.raises(ApiRefused, match="there is no namespace nowhere") as raised:
        api.apply(MODELS, "one", "nowhere", model("one"), manager="reconciler")
    assert raised.value.advice == "`kubectl create namespace nowhere`"
    assert api.get(MODELS, "one", "nowhere") is None


@pytest.mark.parametrize("name", ["../pods", "a/b", "a?x=y", "a%2fb", "a b", "-a", "ä", "a" * 254])
def test_a_name_cannot_lead_elsewhere(api: Api, cluster: ControlPlane, name: str) -> None:
    before = cluster.calls()
    with pytest.raises(ApiRefused, match="a name cannot be"):
        api.get(EDGES, name)
    spent = cluster.calls() - before
    assert not [one for one in spent if "edges" in str(one)]


def test_a_list_in_pages_is_of_one_version(api: Api, namespace: str) -> None:
    for number in range(MANY):
        api.apply(MODELS, f"m{number}", namespace, model(f"m{number}"), manager="reconciler")
    pages = []
    for page in api.pages(MODELS, limit=10):
        pages.append(page)
        api.apply(MODELS, "late", namespace, model("late"), manager="reconciler")  # between two pages
    assert [len(page.items) for page in pages] == [10, 10, 3]
    assert len({page.version for page in pages}) == 1
    names = {json.loads(bytes(item))["metadata"]["name"] for page in pages for item in page.items}
    assert names == {f"m{number}" for number in range(MANY)}
    labelled = json.loads(model("late"))
    labelled["metadata"]["labels"] = {"ring": "canary"}
    api.apply(MODELS, "late", namespace, json.dumps(labelled).encode(), manager="reconciler")
    (page,) = api.pages(MODELS._replace(selector={"ring": "canary"}))
    assert len(page.items) == 1


def test_a_watch_goes_on_from_a_list_and_ends_when_closed(api: Api, namespace: str) -> None:
    (page,) = api.pages(MODELS)
    api.apply(MODELS, "one", namespace, model("one"), manager="reconciler")
    with api.watch(MODELS, page.version, silence_s=30) as lines:
        event = json.loads(next(lines))
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")
        api.apply(MODELS, "one", namespace, model("one", "2"), manager="reconciler")
        assert json.loads(next(lines))["type"] == "MODIFIED"
    with pytest.raises(Expired), api.watch(MODELS, "1", silence_s=30) as lines:
        list(lines)


def test_fault_041_rights_taken_away_at_run_time_are_named(
    cluster: ControlPlane, namespace: str, request: pytest.FixtureRequest
) -> None:
    rule = {"apiGroups": ["ai.kubeedge.io"], "resources": ["inferencemodels"]}
    wide = cluster.kubeconfig_for("narrowed", {**rule, "verbs": ["get", "patch", "create"]})
    api = Api(Connection.open(kubeconfig=wide))
    request.addfinalizer(api.connection.close)
    api.apply(MODELS, "one", namespace, model("one"), manager="reconciler")
    cluster.kubeconfig_for("narrowed", {**rule, "verbs": ["get"]})  # the same user, with fewer rights
    with pytest.raises(RightMissing, match=r"may not patch inferencemodels.*verbs: \[patch\]") as raised:
        until_refused(api, namespace)
    assert f"in namespace {namespace}" in raised.value.message
    assert "reconciler crds roles" in raised.value.advice
    assert api.get(MODELS, "one", namespace) is not None  # others go on


def until_refused(api: Api, namespace: str) -> None:
    """The API server's authorizer learns of changed roles by watching them, a moment later."""
    for number in range(10_000):
        api.apply(MODELS, "one", namespace, model("one", str(number)), manager="reconciler")


def test_fault_041_an_unknown_token_is_refused_without_being_shown(cluster: ControlPlane, tmp_path: Path) -> None:
    document = json.loads(cluster.kubeconfig_for("stranger").read_text())
    document["users"][0]["user"]["token"] = "canary-5ecre7"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(document))
    line = Connection.open(kubeconfig=path)
    with pytest.raises(CredentialsRefused) as raised:
        Api(line).get(CRDS, "x")
    line.close()
    assert "canary" not in json.dumps(raised.value.as_dict())


def test_a_server_of_another_authority_is_not_trusted(cluster: ControlPlane, tmp_path: Path) -> None:
    document = json.loads(cluster.kubeconfig_for("stranger").read_text())
    cluster_there = document["clusters"][0]["cluster"]
    cluster_there.pop("certificate-authority-data")
    cluster_there["certificate-authority"] = str(make_certificate(tmp_path))
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(document))
    line = Connection.open(kubeconfig=path)
    with pytest.raises(ApiUnavailable, match="certificate is not trusted") as raised:
        line.exchange("PATCH", "/x", body=b"{}")
    assert raised.value.unknown is False
    line.close()


def test_sixteen_workers_share_sixteen_sockets_and_lose_nothing(api: Api, namespace: str) -> None:
    names = iter([f"w{number}" for number in range(160)])
    lock, failed = threading.Lock(), []

    def work() -> None:
        for _ in range(10):
            with lock:
                name = next(names)
            try:
                answer = json.loads(api.apply(MODELS, name, namespace, model(name), manager="reconciler"))
                assert answer["metadata"]["name"] == name
            except Exception as error:  # noqa: BLE001  # told below
                failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(16)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert failed == []
    assert sum(len(page.items) for page in api.pages(MODELS)) == 160
    assert len(api.connection._idle) <= 16


def test_a_write_without_a_permit_never_reaches_the_server(api: Api, cluster: ControlPlane, namespace: str) -> None:
    def lost() -> float:
        raise LeaseLost("another one holds it")

    before = cluster.calls()
    held = Api(api.connection, lost)
    with pytest.raises(LeaseLost):
        held.apply(MODELS, "one", namespace, model("one"), manager="reconciler")
    with pytest.raises(LeaseLost):
        held.delete(MODELS, "one", namespace, uid="u")
    assert held.get(MODELS, "one", namespace) is None
    spent = cluster.calls() - before
    assert not [one for one in spent if one[1] == "inferencemodels" and one[0] not in {"get", "list", "watch", "GET"}]


def test_a_proxy_carries_tls_without_seeing_into_it(cluster: ControlPlane, tmp_path: Path) -> None:
    document = json.loads(cluster.kubeconfig_for("behind-a-proxy").read_text())
    with Tunnel() as tunnel:
        document["clusters"][0]["cluster"]["proxy-url"] = f"http://127.0.0.1:{tunnel.port}"
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(document))
        line = Connection.open(kubeconfig=path)
        for _ in range(3):
            assert line.exchange("GET", "/version").status == 200
        line.close()
    assert tunnel.asked == [f"CONNECT {cluster.server.removeprefix('https://')} HTTP/1.0"]


class Tunnel:
    """A proxy on loopback for one connection, which is made by CONNECT."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._threads:
            one.join()
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.asked.append(head.split(b"\r\n")[0].decode())
        host, _, port = self.asked[0].split()[1].rpartition(":")
        with client, socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pour, args=(server, client))
            back.start()
            pour(client, server)
            back.join()


def pour(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
