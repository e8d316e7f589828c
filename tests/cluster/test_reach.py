"""A hub in a Pod, reached through a real API server: its listener forwarded, its verbs run beside it.

The kubelet is kwok's: it forwards a Pod's port to one of this machine, and runs a command in a Pod as its own child.
"""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.cli.verbs import actor
from reconciler.errors import HubUnreachable, RightMissing, SettingInvalid
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.kube.admin.hub_pod import UNKNOWN, Pod
from reconciler.settings import Settings
from reconciler.web.server import Door
from reconciler.wiring.hub import HubProcess
from reconciler.wiring.past import opened
from tests.control_plane.plane import ControlPlane
from tests.unit.cli_world import World, settle
from tests.unit.conftest import Call, call, settled, settled_once

__all__ = ["call", "settled", "settled_once"]  # fixtures

pytestmark = pytest.mark.enable_socket
NODE = "reach-node"
LIST = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}


class Hub(NamedTuple):
    """A hub in a Pod, as far as the API server can tell."""

    namespace: str
    world: World
    plane: ControlPlane

    @property
    def at(self) -> tuple[str, ...]:
        return ("--kubeconfig", str(self.plane.kubeconfig), "--namespace", self.namespace)

    def events(self, type_: str) -> list[Event]:
        with opened(self.world.place.root) as past:
            return [entry.event for entry in past.log.read() if entry.event.type == type_]


@pytest.fixture(scope="module")
def hub(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    control_plane.need("kwok")
    world = World(tmp_path_factory.mktemp("hub"))
    settle(world)
    settings = Settings(repo=str(world.repository.path), state_dir=world.place.root, listen="127.0.0.1:0")
    with pytest.MonkeyPatch.context() as patch, closing(Door(settings.listen)) as door:
        process = HubProcess(settings, supervise=False)
        port = int(door.open(process).rpartition(":")[2])
        image = tmp_path_factory.mktemp("image")
        patch.setenv("PATH", f"{_image(image, world)}{os.pathsep}{os.environ['PATH']}")
        control_plane.local().fake_nodes(NODE, serving={9484: port})
        namespace = control_plane.fresh_namespace("reach")
        pod(control_plane, namespace, "hub-0")
        running = threading.Thread(target=process.run)
        running.start()
        yield Hub(namespace, world, control_plane)
        process.stop()
        running.join()


def _image(directory: Path, world: World) -> Path:
    """What the commands of a Pod find, as an image sets it: `reconciler`, and where its state is."""
    command = directory / "reconciler"
    command.write_text(
        f"#!/bin/sh\nRECONCILER_STATE_DIR='{world.place.root}' exec '{sys.executable}' -m reconciler \"$@\"\n"
    )
    command.chmod(0o755)
    return directory


def pod(plane: ControlPlane, namespace: str, name: str, port: int = 9484) -> None:
    """A Pod as the Deployment of a hub makes it, running when this returns."""
    container = {"name": "reconciler", "image": "none", "ports": [{"name": "http", "containerPort": port}]}
    base = f"/api/v1/namespaces/{namespace}"
    account = {"metadata": {"name": "default"}}
    plane.request("POST", f"{base}/serviceaccounts", account)  # where no controller does it
    body = {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "reconciler"}},
        "spec": {"nodeName": NODE, "containers": [container], "automountServiceAccountToken": False},
    }
    plane.post(f"{base}/pods", body)
    until(lambda: plane.get(f"{base}/pods/{name}")["status"]["phase"] == "Running")


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--as-of", "2026-12-01"),
        ("state", "--at", "5"),
        ("why", "berlin-07", "defect"),
        ("history", "--edge", "berlin-07", "--limit", "3"),
    ],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_what_reads_answers_the_same_through_the_api_server(
    call: Call, hub: Hub, words: tuple[str, ...], form: str
) -> None:
    def is_same() -> bool:  # the hub may note just now that its edges are gone
        there = call(*words, *hub.at, "--output", form)
        assert there.code == 0, there.err
        return there.out == call(*words, "--state", hub.world.place.root, "--output", form).out != ""

    until(is_same)


def test_an_error_of_the_hub_is_the_same_error_here(call: Call, hub: Hub) -> None:
    there = call("why", "moon", "defect", *hub.at, "-o", "json")
    here = call("why", "moon", "defect", "--state", hub.world.place.root, "-o", "json")
    assert (there.code, json.loads(there.err)) == (here.code, json.loads(here.err))
    assert json.loads(there.err)["code"] == "RX103"


def test_what_writes_runs_beside_the_hub_in_the_name_of_who_asked(call: Call, hub: Hub, tmp_path: Path) -> None:
    own = ("--state", tmp_path / "own")
    said = call("suspend", "berlin-07", "--reason", "-- is 'moved' $(x)", *hub.at, *own)
    assert (said.code, said.out) == (0, "suspended berlin-07; `reconciler resume berlin-07` ends it\n"), said.err
    (suspended,) = hub.events(ev.RECONCILE_SUSPENDED)
    assert suspended.data == {"scope": "berlin-07", "reason": "-- is 'moved' $(x)"}
    assert suspended.actor == actor()
    assert "berlin-07 is suspended by" in call("status", *hub.at).out
    assert call("resume", "berlin-07", *hub.at, *own, "-o", "json").code == 0
    assert len(hub.events(ev.RECONCILE_RESUMED)) == 1
    assert not (tmp_path / "own").exists()


def test_a_refused_verb_says_the_same_and_touches_nothing(call: Call, hub: Hub, settled: World) -> None:
    with opened(settled.place.root) as past:
        before = past.log.head()
    said = call("approve", "ab", *hub.at, "--state", settled.place.root)
    assert (said.code, said.out) == (2, "")
    assert "error[RX103]" in said.err
    with opened(settled.place.root) as past:
        assert past.log.head() == before


def test_without_a_pod_a_verb_ends_and_no_local_log_is_taken(call: Call, hub: Hub, settled: World) -> None:
    at = ("--kubeconfig", hub.plane.kubeconfig, "--namespace", hub.plane.fresh_namespace("none"))
    for words in (("suspend", "--reason", "x"), ("status",)):
        said = call(*words, *at, "--state", settled.place.root)
        assert (said.code, said.out) == (HubUnreachable.exit_code, "")
        assert "no Pod with app.kubernetes.io/name=reconciler runs in the namespace none-" in said.err
    with opened(settled.place.root) as past:
        assert [entry for entry in past.log.read() if entry.event.type == ev.RECONCILE_SUSPENDED] == []


def test_a_pod_that_does_not_listen_is_said_with_what_the_node_said(call: Call, hub: Hub) -> None:
    namespace = hub.plane.fresh_namespace("deaf")
    pod(hub.plane, namespace, "deaf-0", port=9999)
    said = call("status", "--kubeconfig", hub.plane.kubeconfig, "--namespace", namespace)
    assert said.code == 4
    assert f"the Pod {namespace}/deaf-0 gave no answer at port 9999" in said.err
    assert "--listen off" in said.err


def test_a_right_that_is_missing_is_printed_with_its_rule(hub: Hub) -> None:
    nobody = hub.plane.kubeconfig_for("reach-nobody", namespace=hub.namespace)
    with (
        pytest.raises(RightMissing, match=r"resources: \[pods\], verbs: \[list\]"),
        Pod.of_hub("", nobody, hub.namespace),
    ):
        pass
    lister = hub.plane.kubeconfig_for("reach-lister", LIST, namespace=hub.namespace)
    with Pod.of_hub("", lister, hub.namespace) as found:
        with pytest.raises(RightMissing, match=r"resources: \[pods/portforward\]"), found.forwarded(9484):
            pass
        with pytest.raises(RightMissing, match=r"resources: \[pods/exec\]"):
            found.run(["reconciler", "--version"])


def test_the_rules_that_are_printed_are_enough(call: Call, hub: Hub) -> None:
    verbs = re.findall(r"verbs: \[([a-z, ]+)\]", _refused(hub))
    connect = {"apiGroups": [""], "resources": ["pods/portforward", "pods/exec"], "verbs": verbs[0].split(", ")}
    both = hub.plane.kubeconfig_for("reach-both", LIST, connect, namespace=hub.namespace)
    at = ("--kubeconfig", both, "--namespace", hub.namespace)
    assert call("status", *at).code == 0
    said = call("resume", *at)
    assert "nothing is suspended" in said.err, said.err


def _refused(hub: Hub) -> str:
    lister = hub.plane.kubeconfig_for("reach-lister", LIST, namespace=hub.namespace)
    with Pod.of_hub("", lister, hub.namespace) as found, pytest.raises(RightMissing) as refused:
        found.run(["reconciler", "--version"])
    return refused.value.message


def test_a_command_leaves_all_it_said_and_that_it_failed(hub: Hub) -> None:
    with Pod.of_hub("", hub.plane.kubeconfig, hub.namespace) as found:
        assert found.run(["reconciler", "--version"]).code == 0
        ran = found.run(["sh", "-c", "echo no >&2; exit 7"])  # kwok has its own words instead of an exit code
        assert (ran.code, ran.out, ran.err) == (UNKNOWN, "", "no\n")
        assert "exit status 7" in ran.said
        long = found.run(["sh", "-c", "seq 1 100000"])
    assert (long.code, long.out.splitlines()[-1], len(long.out.splitlines())) == (0, "100000", 100_000)


def test_an_unknown_context_is_refused_without_asking_anybody(hub: Hub) -> None:
    with (
        pytest.raises(SettingInvalid, match="has no usable context moon"),
        Pod.of_hub("moon", hub.plane.kubeconfig, "x"),
    ):
        pass
