"""The control plane that the other tests here stand on: what it can do, and that it is gone when they are."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.control_plane import home
from tests.control_plane.local import LocalControlPlane
from tests.control_plane.plane import ControlPlane
from tests.control_plane.process import CannotStart, Program
from tests.control_plane.start import start

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
OURS = "/apis/ai.kubeedge.io/v1alpha1"
CONFIGMAPS = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create"]}


@pytest.fixture(scope="module")
def own() -> Iterator[LocalControlPlane]:
    """Another one than the other tests use: these tests break it."""
    with start() as plane:
        yield plane.local()


def until(done: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def config_map(plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    return plane.post(f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": name}})


def test_our_kinds_are_there_and_none_of_our_objects(cluster: ControlPlane) -> None:
    for plural in ("inferencemodels", "inferencemodelsets", "models", "datasets", "edges", "fleets"):
        assert cluster.get(f"{OURS}/{plural}")["items"] == []


def test_what_a_test_left_is_gone_before_the_next(cluster: ControlPlane, request: pytest.FixtureRequest) -> None:
    metadata = {"name": "left", "finalizers": ["reconciler.test/never"]}
    cluster.post(f"{OURS}/edges", {"apiVersion": "ai.kubeedge.io/v1alpha1", "kind": "Edge", "metadata": metadata})
    cluster.request("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/fleets.ai.kubeedge.io")
    request.getfixturevalue("our_objects").clean()
    assert cluster.get(f"{OURS}/edges")["items"] == []
    assert cluster.get(f"{OURS}/fleets")["items"] == []


def test_a_user_has_its_rules_and_no_others(control_plane: ControlPlane) -> None:
    namespace = control_plane.fresh_namespace()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    user = control_plane.client(control_plane.kubeconfig_for("writer", CONFIGMAPS))
    assert user.request("POST", path, {"metadata": {"name": "one"}})[0] == 201
    status, refused = user.request("DELETE", f"{path}/one")
    assert (status, refused["reason"]) == (403, "Forbidden")
    control_plane.kubeconfig_for("writer", {**CONFIGMAPS, "verbs": ["get"]})
    until(lambda: user.request("POST", path, {"metadata": {"name": "two"}})[0] == 403, "the old rule to be gone")


def test_a_user_of_one_namespace_sees_no_other(control_plane: ControlPlane) -> None:
    mine, other = control_plane.fresh_namespace(), control_plane.fresh_namespace()
    user = control_plane.client(control_plane.kubeconfig_for("tenant", CONFIGMAPS, namespace=mine))
    body = {"metadata": {"name": "one"}}
    assert user.request("POST", f"/api/v1/namespaces/{mine}/configmaps", body)[0] == 201
    assert user.request("POST", f"/api/v1/namespaces/{other}/configmaps", body)[0] == 403


def test_nobody_is_nobody(control_plane: ControlPlane) -> None:
    answer = urllib3.PoolManager(cert_reqs="CERT_NONE", assert_hostname=False)
    with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        assert answer.request("GET", f"{control_plane.server}/api/v1/namespaces", retries=False).status in {401, 403}
    answer.clear()


def test_each_call_is_counted_once(control_plane: ControlPlane) -> None:
    namespace = control_plane.fresh_namespace()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    before = control_plane.calls()
    config_map(control_plane, namespace, "one")
    for _ in range(3):
        control_plane.get(f"{path}/one")
    control_plane.request(
        "PATCH",
        f"{path}/one",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "b"}},
        query={"fieldManager": "test", "force": "true"},
        content_type="application/apply-patch+yaml",
    )
    since = control_plane.calls() - before
    found = {verb: count for (verb, resource), count in since.items() if resource == "configmaps"}
    assert found == {"POST": 1, "GET": 3, "APPLY": 1}


def test_the_audit_log_says_who_sent_what(control_plane: ControlPlane) -> None:
    control_plane.need("audit")
    local = control_plane.local()
    namespace = local.fresh_namespace()
    user = local.client(local.kubeconfig_for("audited", CONFIGMAPS))
    user.post(f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "one"}})

    def who() -> list[str]:
        events = local.audited("configmaps")
        return [one["user"]["username"] for one in events if one["objectRef"].get("namespace") == namespace]

    until(who, "the audit line")
    assert who() == ["system:serviceaccount:reconciler-tests:audited"]


def test_history_before_a_compaction_is_gone(own: LocalControlPlane) -> None:
    namespace = own.fresh_namespace()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for number in range(3):
        config_map(own, namespace, f"of-{number}")
    page = own.get(path, limit="1")["metadata"]
    config_map(own, namespace, "later")  # a revision between the page and the compaction
    own.compact()
    status, answer = own.request("GET", path, query={"limit": "1", "continue": page["continue"]})
    assert (status, answer["reason"]) == (410, "Expired")
    status, body = own.admin.raw(
        "GET", path, query={"watch": "1", "resourceVersion": page["resourceVersion"], "timeoutSeconds": "5"}
    )
    gone = json.loads(body.splitlines()[0]) if status == 200 else {"object": json.loads(body)}
    assert gone["object"]["code"] == 410


def test_a_restored_snapshot_takes_back_what_came_after(own: LocalControlPlane) -> None:
    namespace = own.fresh_namespace()
    config_map(own, namespace, "before")
    snapshot = own.snapshot()
    versions = [int(config_map(own, namespace, f"after-{n}")["metadata"]["resourceVersion"]) for n in range(200)]
    own.restore(snapshot)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert [one["metadata"]["name"] for one in own.get(path)["items"]] == ["before"]
    assert int(config_map(own, namespace, "anew")["metadata"]["resourceVersion"]) < versions[-1]


def test_a_restart_keeps_address_users_and_data(own: LocalControlPlane) -> None:
    namespace = own.fresh_namespace()
    user = own.client(own.kubeconfig_for("stays", CONFIGMAPS))
    user.post(f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "one"}})
    pids = own.pids
    own.restart(graceful_s=0)
    own.restart_etcd()
    assert not set(pids.values()) & set(own.pids.values())
    assert user.get(f"/api/v1/namespaces/{namespace}/configmaps/one")


def test_a_paused_api_server_is_silent_and_comes_back(own: LocalControlPlane) -> None:
    own.pause()
    try:
        with pytest.raises(urllib3.exceptions.TimeoutError):
            own.request("GET", "/api/v1/namespaces", timeout_s=0.3)
    finally:
        own.resume()
    assert own.request("GET", "/api/v1/namespaces")[0] == 200


def test_fake_nodes_run_pods(own: LocalControlPlane) -> None:
    own.need("controller-manager", "scheduler", "kwok")
    own.fake_nodes("edge-1")
    namespace = own.fresh_namespace()
    base = f"/api/v1/namespaces/{namespace}"
    until(lambda: own.request("GET", f"{base}/serviceaccounts/default")[0] == 200, "the controller-manager")
    own.post(f"{base}/pods", {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "c", "image": "none"}]}})
    until(lambda: own.get(f"{base}/pods/one")["status"]["phase"] == "Running", "the Pod to run")
    assert own.get(f"{base}/pods/one")["spec"]["nodeName"] == "edge-1"


def test_a_smaller_control_plane_skips_with_the_reason(own: LocalControlPlane, tmp_path: Path) -> None:
    small = object.__new__(LocalControlPlane)
    small._home = object.__new__(home.Home)
    small._home.programs, small._home.audit = tmp_path, False
    with pytest.raises(pytest.skip.Exception, match=rf"needs kwok: {tmp_path} holds no kwok"):
        small.need("kwok")
    with pytest.raises(pytest.skip.Exception, match=r"needs audit: .* without an audit log"):
        small.need("audit")
    given = ControlPlane(own.kubeconfig)
    with pytest.raises(pytest.skip.Exception, match=r"needs processes: .* used as it is"):
        given.local()
    given.stop()


def test_a_program_that_ends_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such flag\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(CannotStart, match="broken ended with 3; its log ends:\nno such flag"):
        Program(broken, [], tmp_path).wait_until(lambda: False)


@contextmanager
def child() -> Iterator[tuple["subprocess.Popen[str]", dict[str, int], Path]]:
    """Another test run with a control plane of its own: its process, its programs, its directory."""
    code = (
        "import json, sys; from tests.control_plane.start import start; plane = start().local();"
        "print(json.dumps([plane.pids, str(plane.directory)]), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        pids: dict[str, int] = {}
        try:
            assert process.stdout
            pids, directory = json.loads(process.stdout.readline())
            yield process, pids, Path(directory)
        finally:
            process.kill()
            for pid in filter(alive, pids.values()):  # only where what is tested here failed
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether it runs: what is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_killed_run_leaves_no_process_and_no_directory(own: LocalControlPlane, stopped: bool) -> None:
    with child() as (process, pids, directory):
        assert set(pids) == {"etcd", "kube-apiserver"}
        if stopped:  # as a test of SIGSTOP leaves it when it is killed
            os.kill(pids["kube-apiserver"], signal.SIGSTOP)
        assert all(map(alive, pids.values()))
        home.sweep()
        assert directory.is_dir(), "the directory of a living run was removed"
        process.kill()
        process.wait()
        until(lambda: not any(map(alive, pids.values())), f"{pids} to end")
    home.sweep()
    assert not directory.exists()
    assert own.directory.is_dir()
