"""The runtimes of an edge that it cannot reach, or that nobody remembers, on real processes."""

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.edge.runtimes import Runtimes, runtime_spec
from reconciler.errors import PortTaken
from reconciler.history.keys import Key
from reconciler.serving import holder, process
from tests.digits import free_port

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow]

KEY = Key("InferenceModel", "default", "digits", "edge-1")


@pytest.fixture
def services(tmp_path: Path) -> Path:
    return tmp_path / "services"


@pytest.fixture
def runtimes(services: Path) -> Iterator[Runtimes]:
    made = Runtimes(services, lambda *_: None)
    yield made
    made.close(stop=True)


@pytest.mark.parametrize(
    ("number", "at_fault"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGSEGV, True)]
)
def test_how_a_runtime_ended_tells_whose_fault_it_was(
    services: Path, number: signal.Signals, *, at_fault: bool
) -> None:
    told: queue.Queue[tuple[Key, int, process.End]] = queue.Queue()
    runtimes = Runtimes(services, lambda *said: told.put(said))
    try:
        runtime = runtimes.start(terms(services, "digits", free_port()))
        runtimes.register(KEY, runtime)
        os.kill(runtime.pid, number)
        key, pid, end = told.get(timeout=60)
        assert (key, pid, end.at_fault) == (KEY, runtime.pid, at_fault)
        assert runtimes.of(KEY) is None
    finally:
        runtimes.close(stop=True)


def terms(services: Path, service: str, port: int) -> process.RuntimeSpec:
    return runtime_spec(services / service, {"model": service, "address": "127.0.0.1", "port": port})


def test_a_runtime_whose_directory_was_deleted_gives_way(runtimes: Runtimes, services: Path) -> None:
    port = free_port()
    lost = runtimes.start(terms(services, "old", port))
    shutil.rmtree(services)
    try:
        runtimes.register(KEY, runtimes.start(terms(services, "new", port)))
        assert lost.exited()
    finally:
        lost.stop()


def test_a_runtime_that_lost_its_receipt_gives_way_to_one_for_the_same_service(
    runtimes: Runtimes, services: Path
) -> None:
    wanted = terms(services, "digits", free_port())
    lost = runtimes.start(wanted)
    (wanted.directory / process.RECEIPT).unlink()
    try:
        runtimes.register(KEY, runtimes.start(wanted))
        assert lost.exited()
    finally:
        lost.stop()


def test_a_runtime_of_another_service_keeps_its_port(runtimes: Runtimes, services: Path, tmp_path: Path) -> None:
    port = free_port()
    runtimes.register(KEY, other := runtimes.start(terms(services, "other", port)))
    with pytest.raises(PortTaken):
        runtimes.start(terms(services, "digits", port))
    shutil.rmtree(other.spec.directory)
    process.end_orphan(terms(services, "digits", port), tmp_path / "another edge's services")
    assert not other.exited()


def test_a_runtime_that_cannot_be_told_anything_is_dropped_and_another_starts(
    runtimes: Runtimes, services: Path
) -> None:
    wanted = terms(services, "digits", free_port())
    runtimes.register(KEY, deaf := runtimes.start(wanted))
    (wanted.directory / process.CONTROL).unlink()
    runtimes.drop(KEY)
    assert deaf.exited()
    runtimes.register(KEY, again := runtimes.start(wanted))
    assert again.status()["pid"] != deaf.pid


@pytest.mark.parametrize(
    ("bound", "found"), [("127.0.0.1", False), ("127.0.0.2", True), ("0.0.0.0", True), ("::", True)]
)
def test_who_listens_is_known_by_address_and_port(bound: str, found: bool) -> None:
    family = "AF_INET6" if ":" in bound else "AF_INET"
    code = (
        f"import socket; s = socket.create_server(('{bound}', 0), family=socket.{family});"
        "print(s.getsockname()[1], flush=True); input()"
    )
    if family == "AF_INET6" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert holder.pid_of("127.0.0.2", port) == (other.pid if found else None)
        other.communicate("\n", timeout=10)


@pytest.mark.parametrize(
    ("below", "said"), [("edges/edge-1/services/m/x", ""), ("elsewhere", "/elsewhere")], ids=["agent", "by hand"]
)
def test_a_runtime_of_another_state_directory_is_named_by_it(tmp_path: Path, below: str, said: str) -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    command = [sys.executable, "-c", code, holder.SERVER, f"--directory={tmp_path}/{below}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        with pytest.raises(PortTaken) as caught:
            holder.check_free("127.0.0.1", port)
        other.communicate("\n", timeout=10)
    ours = f"(pid {other.pid}) listens there, a runtime of state directory {tmp_path}{said}"
    assert caught.value.message.endswith(ours)
    assert ("servingPort" in caught.value.advice, "--listen" in caught.value.advice) == (True, False)
