"""The watch cache and a real API server on a real etcd."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import _GeneratorContextManager
from pathlib import Path
from typing import Any, Self

import pytest

from reconciler.errors import ApiUnavailable, KindMissing, ReconcilerError
from reconciler.history.keys import Key
from reconciler.kube.client.api import Api, Page
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.resources import OURS, Resource
from reconciler.kube.watch.cache import Cache
from reconciler.kube.watch.object import Live
from tests.control_plane.local import LocalControlPlane
from tests.control_plane.plane import ControlPlane

MODELS = OURS["InferenceModel"]
MANAGER = "reconciler"
COLLECTION = MODELS.path("default")
COUNT = 10_000
MEMORY_MAX = 80 << 20  # of 250 MB for the whole process


def key(name: str) -> Key:
    return Key("InferenceModel", "default", name, "")


def document(name: str, version: str = "1", operation: str = "", **spec: Any) -> dict[str, Any]:
    manifest = [{"version": each, "downloadURL": f"https://models.example.com/{name}-{each}.tar.gz"} for each in "12"]
    fields: dict[str, Any] = {"modelName": "digits", "deployToLayer": "edge", "frameworkType": "onnx"}
    fields |= {"nodeName": "edge-1", "targetVersion": version}
    metadata: dict[str, Any] = {"name": name, "namespace": "default"}
    metadata |= {"annotations": {"ai.kubeedge.io/operation-id": operation}} if operation else {}
    head = {"apiVersion": MODELS.api_version, "kind": MODELS.kind, "metadata": metadata}
    return head | {"spec": fields | {"manifest": manifest} | spec}


class Gate(Api):
    """While it is shut, no LIST and no watch is begun. `between` is called after a LIST's first page, once."""

    def __init__(self, connection: Connection, counted: Callable[[str, str, int], None]) -> None:
        super().__init__(connection, counted=counted)
        self.shut = False
        self.between: Callable[[], None] | None = None

    def pages(self, resource: Resource, *, limit: int = 500, labels: str = "") -> Iterator[Page]:
        self._pass()
        between = self.between if resource is MODELS and limit > 1 else None
        for page in super().pages(resource, limit=2 if between else limit, labels=labels):
            yield page
            if between is not None and self.between is not None:
                self.between = None
                between()

    def watch(
        self, resource: Resource, version: str, *, silence_s: float = 90.0
    ) -> _GeneratorContextManager[Iterator[bytes], None, None]:
        self._pass()
        return super().watch(resource, version, silence_s=silence_s)

    def _pass(self) -> None:
        if self.shut:
            raise ApiUnavailable("shut")


class Watched:
    """A cache of a cluster, and what it told."""

    def __init__(self, kubeconfig: Path, *kinds: Resource) -> None:
        self.asked: Counter[tuple[str, str, int]] = Counter()
        self.told: list[tuple[str, str, str]] = []  # name, version wanted before, after
        self.troubles: list[str] = []
        self.kinds = kinds
        self.api = Gate(Connection.open(kubeconfig=kubeconfig), self._count)
        self.cache = Cache(self.api, kinds, manager=MANAGER, changed=self._changed, trouble=self._trouble)

    def __enter__(self) -> Self:
        self.cache.start()
        assert self.cache.wait(60)
        self.until(lambda: sum(self.asked["watch", kind.kind, 200] for kind in self.kinds) == len(self.kinds))
        return self

    def __exit__(self, *_: object) -> None:
        self.cache.close()
        self.api.connection.close()

    def apply(self, name: str, version: str = "1", operation: str = "") -> None:
        """As the reconciler does it."""
        body = json.dumps(document(name, version, operation)).encode()
        with self.cache.sending(key(name), operation):
            self.cache.put(key(name), self.api.apply(MODELS, name, "default", body, manager=MANAGER, force=True))

    def versions(self) -> dict[str, str]:
        return {key.name: live.spec["targetVersion"] for key, live in self.cache.all("InferenceModel")}

    def until(self, done: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, (self.told, self.troubles, self.asked, self.versions())
            time.sleep(0.01)

    def _changed(self, key: Key, before: Live | None, after: Live | None) -> None:
        old, new = (live.spec["targetVersion"] if live else "" for live in (before, after))
        self.told.append((key.name, old, new))

    def _trouble(self, kind: str, error: ReconcilerError | None) -> None:
        self.troubles.append(error.code if error else "")

    def _count(self, verb: str, kind: str, status: int) -> None:
        self.asked[verb, kind, status] += 1


def write(plane: ControlPlane, name: str, version: str = "1") -> None:
    """As somebody else does it."""
    path = f"{COLLECTION}/{name}"
    if plane.request("GET", path)[0] == 404:
        plane.post(COLLECTION, document(name, version))
    else:
        status, answer = plane.request("PATCH", path, {"spec": {"targetVersion": version}})
        assert status == 200, answer


def delete(plane: ControlPlane, name: str) -> None:
    assert plane.request("DELETE", f"{COLLECTION}/{name}")[0] == 200


def served(plane: ControlPlane) -> None:
    """Waits: an API server that is ready still answers 429 for a kind of ours until its watch cache is filled."""
    deadline = time.monotonic() + 60
    for resource in OURS.values():
        while plane.request("GET", resource.path(), query={"limit": "1"})[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def watched(cluster: ControlPlane) -> Iterator[Watched]:
    """InferenceModels a, b and c, made by somebody else and listed."""
    for name in "abc":
        write(cluster, name)
    with Watched(cluster.kubeconfig, MODELS) as watched:
        yield watched


def test_our_own_answers_do_not_come_back_as_changes(cluster: ControlPlane, watched: Watched) -> None:
    for number in range(50):
        watched.apply(f"m-{number}", operation=f"o-{number}")
    for number in range(25):
        watched.apply(f"m-{number}", "2", operation=f"p-{number}")
    live = watched.cache.get(key("m-0"))
    assert live is not None
    with watched.cache.sending(key("m-0")):
        assert watched.api.delete(MODELS, "m-0", "default", uid=live.uid)
        watched.cache.remove(key("m-0"), live.uid)
        assert watched.cache.get(key("m-0")) is None
        write(cluster, "last")
        watched.until(lambda: bool(watched.told))
    assert watched.told == [("last", "", "1")]
    assert len(watched.versions()) == 53


def test_a_pass_with_nothing_changed_asks_nothing(cluster: ControlPlane, watched: Watched) -> None:
    before, asked = cluster.calls(), watched.asked.copy()
    for _ in range(1000):
        assert all(watched.cache.get(found) is live for found, live in watched.cache.all("InferenceModel"))
    since = cluster.calls() - before
    assert sum(count for (_, resource), count in since.items() if resource == MODELS.plural) == 0
    assert watched.asked == asked


def test_an_edit_by_hand_names_the_writer_and_the_field(cluster: ControlPlane, watched: Watched) -> None:
    watched.apply("m", operation="o")
    query = {"fieldManager": "kubectl-edit"}
    cluster.request("PATCH", f"{COLLECTION}/m", {"spec": {"targetVersion": "2"}}, query=query)
    watched.until(lambda: bool(watched.told))
    live = watched.cache.get(key("m"))
    assert live is not None
    assert live.foreign == {"spec.targetVersion": "kubectl-edit"}
    assert (live.ours, live.writer, watched.told) == (True, "kubectl-edit", [("m", "1", "2")])
    watched.apply("m", operation="p")  # taken back
    live = watched.cache.get(key("m"))
    assert live is not None
    assert (live.foreign, live.spec["targetVersion"], len(watched.told)) == ({}, "1", 1)


def test_fault_029_deletes_during_a_compaction_are_noticed(cluster: ControlPlane, watched: Watched) -> None:
    plane = cluster.local()
    watched.api.shut = True
    watched.api.end_watches()
    write(cluster, "a", "2")
    delete(cluster, "b")
    write(cluster, "d")
    write(cluster, "e")
    delete(cluster, "e")
    plane.compact()
    served(plane)
    watched.api.shut = False
    watched.until(lambda: len(watched.told) == 3)
    assert sorted(watched.told) == [("a", "1", "2"), ("b", "1", ""), ("d", "", "1")]
    assert watched.versions() == {"a": "2", "c": "1", "d": "1"}
    write(cluster, "f")
    watched.until(lambda: watched.told[-1] == ("f", "", "1"))


def test_fault_031_a_page_token_that_expires_leaves_no_partial_snapshot(cluster: ControlPlane) -> None:
    plane = cluster.local()
    for name in "abcde":
        write(cluster, name)
    watched = Watched(cluster.kubeconfig, MODELS)
    begun, goes_on = threading.Event(), threading.Event()

    def between() -> None:
        begun.set()
        assert goes_on.wait(60)

    watched.api.between = between
    watched.cache.start()
    try:
        assert begun.wait(60)
        with pytest.raises(ApiUnavailable, match="not listed yet"):
            watched.cache.get(key("a"))
        delete(cluster, "e")
        write(cluster, "f")
        plane.compact()
        served(plane)
        goes_on.set()
        assert watched.cache.wait(60)
        assert sorted(watched.versions()) == ["a", "b", "c", "d", "f"]
        assert watched.asked["list", "InferenceModel", 410] == 1
        assert watched.told == []
    finally:
        goes_on.set()
        watched.__exit__()


def test_fault_032_a_restored_etcd_is_compared_with_what_was_known(cluster: ControlPlane, watched: Watched) -> None:
    plane = cluster.local()
    snapshot = plane.snapshot()
    watched.apply("a", "2", operation="o")
    delete(cluster, "b")
    write(cluster, "d")
    watched.until(lambda: len(watched.told) == 2)
    watched.told.clear()
    plane.restore(snapshot)
    served(plane)
    watched.until(lambda: len(watched.told) == 3)
    assert sorted(watched.told) == [("a", "2", "1"), ("b", "", "1"), ("d", "1", "")]
    assert watched.versions() == {"a": "1", "b": "1", "c": "1"}
    write(cluster, "c", "2")
    watched.until(lambda: watched.told[-1] == ("c", "1", "2"))


def test_fault_043_a_kind_that_is_taken_away_comes_back_empty(cluster: ControlPlane, watched: Watched) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    name = f"{MODELS.plural}.{MODELS.group}"
    crd = cluster.get(f"{path}/{name}")
    cluster.request("DELETE", f"{path}/{name}")
    watched.until(lambda: "RX414" in watched.troubles)
    with pytest.raises(KindMissing):
        watched.cache.get(key("a"))
    watched.until(lambda: cluster.request("GET", f"{path}/{name}")[0] == 404)
    metadata = {"name": name, "annotations": crd["metadata"].get("annotations", {})}
    cluster.post(path, {**crd, "metadata": metadata, "status": None})
    watched.until(lambda: watched.troubles[-1] == "")
    assert watched.versions() == {}
    assert sorted(watched.told) == [(name, "1", "") for name in "abc"]


def test_a_restart_of_the_api_server_loses_nothing_and_tells_nothing_twice(
    cluster: ControlPlane, watched: Watched
) -> None:
    plane = cluster.local()
    write(cluster, "d")
    watched.until(lambda: len(watched.told) == 1)
    plane.restart(graceful_s=0)
    served(plane)
    write(cluster, "d", "2")
    watched.until(lambda: len(watched.told) == 2)
    assert watched.told == [("d", "", "1"), ("d", "1", "2")]


def fill(plane: LocalControlPlane, count: int) -> None:
    """Straight into etcd, because ten thousand requests take a minute."""
    operations = []
    for number in range(count):
        name = f"m-{number}"
        found = document(name, "4", f"{number:032x}", nodeName=f"node-{number}", servingPort=8080)
        found["spec"]["manifest"] = [
            {
                "version": version,
                "downloadURL": f"https://models.example.com/{number}/model_{version}.tar.gz",
                "sha256sum": f"{number * 7 + int(version):064x}",
            }
            for version in "34"
        ]
        found["metadata"] |= {"uid": f"{number:08x}-0000-4000-8000-000000000000", "generation": 1}
        found["metadata"] |= {"creationTimestamp": "2026-11-22T10:00:00Z"}
        where = f"/registry/{MODELS.group}/{MODELS.plural}/default/{name}"
        operations.append({"requestPut": {"key": b64(where), "value": b64(json.dumps(found))}})
    for start in range(0, count, 100):
        plane._home.ask_etcd("/v3/kv/txn", {"success": operations[start : start + 100]})


def empty(plane: LocalControlPlane) -> None:
    prefix = f"/registry/{MODELS.group}/{MODELS.plural}/"
    plane._home.ask_etcd("/v3/kv/deleterange", {"key": b64(prefix), "range_end": b64(prefix[:-1] + "0")})


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_fault_046_ten_thousand_objects_are_listed_within_the_memory_cap(cluster: ControlPlane) -> None:
    plane = cluster.local()
    fill(plane, COUNT)
    try:
        before = resident()
        with Watched(cluster.kubeconfig, MODELS) as watched:
            used = resident() - before
            assert len(watched.cache.all("InferenceModel")) == COUNT
            assert watched.asked["list", "InferenceModel", 200] == COUNT // 500
            print(f"{used / COUNT:.0f} bytes of resident memory an object")
            assert used < MEMORY_MAX
            calls = cluster.calls()
            for number in range(COUNT):
                assert watched.cache.get(key(f"m-{number}")) is not None
            since = cluster.calls() - calls
            assert sum(count for (_, resource), count in since.items() if resource == MODELS.plural) == 0
            delete(cluster, "m-7")
            watched.until(lambda: bool(watched.told))
            assert watched.told == [("m-7", "4", "")]
    finally:
        empty(plane)
