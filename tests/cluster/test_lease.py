"""The Lease at a real API server: real processes that are stopped and killed, and what each of them sent."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.errors import ApiRefused, LeaseLost, RightMissing
from reconciler.kube.client.api import Api
from reconciler.kube.client.connection import Connection
from reconciler.kube.write.lease import Lease, new_identity
from tests.api_proxy import ROOT, ApiProxy, Cut, Delay, Request, Rule
from tests.cluster.lease_writer import DURATION_S, RENEW_S, RETRY_S
from tests.control_plane.plane import ControlPlane
from tests.control_plane.plane import Rule as Rights

LEASES: Rights = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
WRITES: Rights = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]}


class Writer:
    """One process of lease_writer, with a user of its own, so that the proxy knows its requests."""

    def __init__(self, user: str, plane: ControlPlane, proxy: ApiProxy, namespace: str) -> None:
        kubeconfig = proxy.kubeconfig_for(plane.kubeconfig_for(user, LEASES, WRITES, namespace=namespace))
        self.token = Connection.open(kubeconfig=kubeconfig)._current.identity.authorization.removeprefix("Bearer ")
        self.proxy = proxy
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.lease_writer", kubeconfig, namespace],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def sent(self, verb: str = "", since: float = 0.0) -> list[Request]:
        found = self.proxy.requests(token=self.token, **({"verb": verb} if verb else {}))
        return [request for request in found if request.at >= since]

    def until_sent(self, verb: str, count: int, since: float = 0.0) -> list[Request]:
        self.proxy.wait(lambda _: len(self.sent(verb, since)) >= count)
        return self.sent(verb, since)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        """In order: it releases."""
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(20) == 0

    def kill(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            with contextlib.suppress(OSError):
                stream.close()
        self.process.kill()
        self.process.wait()


Writers = tuple[Writer, Callable[[], Writer]]


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    return control_plane.fresh_namespace("lease")


@pytest.fixture
def writers(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Writers]:
    """The first, which holds the Lease and writes, and how to start the second."""
    users = iter((f"{namespace}-a", f"{namespace}-b"))
    started: list[Writer] = []
    kubeconfig = control_plane.kubeconfig_for(f"{namespace}-proxied")
    with ApiProxy(kubeconfig, tmp_path / "proxy") as proxy:

        def begin() -> Writer:
            started.append(Writer(next(users), control_plane, proxy, namespace))
            return started[-1]

        first = begin()
        assert first.said() == "held 1"
        first.until_sent("patch", 5)
        yield first, begin
        for writer in started:
            writer.kill()


def spec(plane: ControlPlane, namespace: str) -> dict[str, object]:
    found = plane.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/reconciler")["spec"]
    assert isinstance(found, dict)
    return found


def writes(requests: list[Request]) -> list[Request]:
    return [request for request in requests if request.method != "GET"]


def test_fault_042_a_holder_stopped_beyond_its_lease_sends_nothing_more(
    writers: Writers, control_plane: ControlPlane, namespace: str
) -> None:
    first, begin = writers
    second = begin()
    assert second.said() == "lost"
    second.until_sent("get", 3)
    assert writes(second.sent()) == []
    first.signal(signal.SIGSTOP)
    taken = second.until_sent("patch", 5)
    assert second.said() == "held 2"
    went_on = time.monotonic()
    first.signal(signal.SIGCONT)
    first.until_sent("get", 3, since=went_on)  # it lives, and looks
    assert [first.said(), first.said()] == ["lost", "lost"]  # its own term; then who has it
    assert writes(first.sent(since=went_on)) == []
    assert max(request.at for request in writes(first.sent())) < min(request.at for request in writes(taken))
    assert len(second.sent("patch")) > 5
    assert spec(control_plane, namespace)["leaseTransitions"] == 2


def test_fault_042_a_cut_off_holder_is_silent_before_another_may_write(
    writers: Writers, control_plane: ControlPlane, namespace: str
) -> None:
    """Its writes get through and its renewals do not: the Lease alone must stop it."""
    first, begin = writers
    second = begin()
    second.until_sent("get", 1)
    cut_at = time.monotonic()
    first.proxy.add(Rule(Cut(), token=first.token, path="/leases/", times=None))
    assert first.said() == "held 1"  # in trouble
    assert first.said() == "lost"
    second.until_sent("patch", 5)
    assert first.sent("patch", since=cut_at)  # to the end of its term
    assert max(request.at for request in first.sent("patch")) < min(request.at for request in second.sent("patch"))


def test_fault_042_renewals_that_arrive_too_late_change_nothing(
    writers: Writers, control_plane: ControlPlane, namespace: str
) -> None:
    first, begin = writers
    second = begin()
    second.until_sent("get", 1)
    first.proxy.add(Rule(Delay(DURATION_S + 2), token=first.token, verb="update", times=None))
    second.until_sent("patch", 5)
    first.proxy.wait(lambda _: any(request.answered for request in first.sent("update") if "Delay" in request.fault))
    late = [request for request in first.sent("update") if "Delay" in request.fault and request.answered]
    assert {request.answered for request in late} == {409}
    assert spec(control_plane, namespace)["leaseTransitions"] == 2
    assert max(request.at for request in first.sent("patch")) < min(request.at for request in second.sent("patch"))


def test_a_successor_starts_at_once_when_the_holder_ends_in_order(
    writers: Writers, control_plane: ControlPlane, namespace: str
) -> None:
    first, begin = writers
    second = begin()
    second.until_sent("get", 2)
    first.end()
    released_at = first.sent("update")[-1].at
    assert second.said() == "lost"
    while (said := second.said()) == "lost":  # it may see that nobody holds it
        pass
    assert said == "held 2"
    second.until_sent("patch", 1)
    took = second.sent("update")[0]
    assert len([request for request in second.sent("get") if released_at < request.at < took.at]) <= 1
    assert first.sent()[-1].at == released_at  # nothing after the release


def test_a_killed_holder_is_followed_after_its_lease_has_run_out(
    writers: Writers, control_plane: ControlPlane, namespace: str
) -> None:
    first, begin = writers
    second = begin()
    first.kill()
    second.until_sent("patch", 1)
    assert spec(control_plane, namespace)["leaseTransitions"] == 2
    assert max(request.at for request in first.sent("patch")) < min(request.at for request in second.sent("patch"))


def lease_of(kubeconfig: Path, namespace: str, told: list[tuple[bool, int, str]]) -> tuple[Lease, Connection]:
    connection = Connection.open(kubeconfig=kubeconfig)
    lease = Lease(
        Api(connection),
        namespace=namespace,
        name="reconciler",
        identity=new_identity(),
        changed=lambda *state: told.append(state),
        duration_s=DURATION_S,
        renew_s=RENEW_S,
        retry_s=RETRY_S / 5,
    )
    return lease, connection


def until(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_of_many_that_start_together_one_takes_it(control_plane: ControlPlane, namespace: str) -> None:
    told: list[tuple[bool, int, str]] = []
    user = control_plane.kubeconfig_for(f"{namespace}-many", LEASES, namespace=namespace)
    leases = [lease_of(user, namespace, told) for _ in range(8)]
    for lease, _ in leases:
        lease.start()
    until(lambda: all(lease.holder for lease, _ in leases))
    assert sum(lease.held for lease, _ in leases) == 1
    assert {lease.transitions for lease, _ in leases} == {1}
    holder = next(lease for lease, _ in leases if lease.held)
    for lease, _ in leases:
        if lease is not holder:
            lease.close()
    assert holder.held
    assert holder.permit() < DURATION_S
    holder.close()
    assert "holderIdentity" not in spec(control_plane, namespace)
    assert [state for state in told if state[0]] == [(True, 1, holder.identity)]
    for _, connection in leases:
        connection.close()


def test_a_missing_right_and_a_missing_namespace_are_named_and_tried_again(control_plane: ControlPlane) -> None:
    told: list[tuple[bool, int, str]] = []
    namespace = f"absent-{os.getpid()}-{threading.get_ident() % 9973}"
    lease, connection = lease_of(control_plane.kubeconfig_for(namespace), namespace, told)
    lease.start()
    until(lambda: lease.trouble is not None)
    assert isinstance(lease.trouble, RightMissing)
    assert "leases" in lease.trouble.message
    with pytest.raises(LeaseLost):
        lease.permit()
    lease.close()
    connection.close()
    told.clear()
    lease, connection = lease_of(control_plane.kubeconfig_for(namespace, LEASES), namespace, told)
    lease.start()
    until(lambda: isinstance(lease.trouble, ApiRefused))
    assert namespace in str(lease.trouble)
    control_plane.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
    control_plane._namespaces.append(namespace)
    until(lambda: lease.held)
    assert lease.trouble is None
    assert told == [(False, 0, ""), (True, 1, lease.identity)]
    lease.close()
    connection.close()


def test_a_deleted_lease_is_made_again_without_losing_it(control_plane: ControlPlane, namespace: str) -> None:
    told: list[tuple[bool, int, str]] = []
    user = control_plane.kubeconfig_for(f"{namespace}-deleted", LEASES, namespace=namespace)
    lease, connection = lease_of(user, namespace, told)
    lease.start()
    until(lambda: lease.held)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/reconciler"
    assert control_plane.request("DELETE", path)[0] == 200
    until(lambda: control_plane.request("GET", path)[0] == 200)
    assert spec(control_plane, namespace)["leaseTransitions"] == 1
    assert [state for state in told if not state[0]] == []
    lease.close()
    connection.close()
