"""kill -9 in the middle of a rollout: what was ordered is done, once, and what served keeps serving."""

import io
import signal
import tarfile
from hashlib import sha256

import pytest

from reconciler.engine.failpoints import STEPS
from tests.digits import ARTIFACTS
from tests.e2e.fleet import ADDRESSES, Fleet

pytestmark = pytest.mark.e2e

MODELS = "models/digits.yaml"
SET = "deployments/digits.yaml"


def new_version(fleet: Fleet, version: str) -> None:
    """Publish another build of the digits: the same model in an archive of its own. Not yet deployed."""
    name = f"digits-{version}.tar.gz"
    archive = io.BytesIO()
    with tarfile.open(ARTIFACTS / "digits-2.tar.gz") as old, tarfile.open(fileobj=archive, mode="w:gz") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        note = tarfile.TarInfo("build.txt")
        note.size = len(version)
        new.addfile(note, io.BytesIO(version.encode()))
    content = archive.getvalue()
    fleet.server.files[f"/{name}"] = content
    entry = (
        f"    - version: '{version}'\n      downloadURL: {fleet.server.url(f'/{name}')}\n"
        f"      sha256sum: {sha256(content).hexdigest()}\n      size: {len(content)}\n"
    )
    fleet.repository.write({MODELS: (fleet.repository.path / MODELS).read_text().rstrip("\n") + "\n" + entry})


def deploy(fleet: Fleet, old: str, new: str) -> None:
    """A commit that publishes and deploys a new version."""
    new_version(fleet, new)
    fleet.edit(SET, f"defaultVersion: '{old}'", f"defaultVersion: '{new}'", f"Serve {new}")


def outcomes(fleet: Fleet, edge: str) -> list[str]:
    """The operations that an edge reported done, once each it is hoped."""
    succeeded = fleet.events("apply.succeeded.v1", edge)
    return [entry.event.operationid for entry in succeeded if entry.event.subject.startswith("InferenceModel")]


def test_fault_001_a_hub_killed_after_its_orders_are_durable_leaves_edges_that_complete_them(fleet: Fleet) -> None:
    hub = fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    hub.kill()
    hub.wait()
    dying = fleet.hub(failpoint="loop.applied:kill")  # its first pass is the start; the commit is there already
    dying.wait()
    deploy(fleet, "1", "3")
    while fleet.events("change.planned.v1")[-1].event.gitcommit != fleet.repository.git("rev-parse", "HEAD"):
        dying = fleet.hub(failpoint="loop.applied:kill")
        dying.wait()
    fleet.wait_versions(edge_1="3", edge_2="3", edge_3="3")  # with no hub

    fleet.hub()
    fleet.wait_settled()
    for edge in ADDRESSES:
        operations = outcomes(fleet, edge)
        assert len(operations) == len(set(operations)) == 2


@pytest.mark.parametrize("step", ["loop.seen", "loop.intended", "log.commit", "log.blob"])
def test_fault_001_a_hub_killed_at_each_step_converges_after_its_restart(fleet: Fleet, step: str) -> None:
    first = fleet.hub(failpoint=f"{step}:kill")
    first.wait()
    assert first.returncode == -signal.SIGKILL
    fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    orders = [entry for entry in fleet.events("apply.intended.v1") if entry.event.source.startswith("/hub")]
    assert len(orders) == len({entry.event.subject for entry in orders}) == 6  # nothing was ordered twice
    assert fleet.run("log", "verify").returncode == 0


def test_fault_002_an_agent_killed_at_each_step_converges_and_never_serves_a_mixture(fleet: Fleet) -> None:
    steps = [
        name
        for name in STEPS
        if name.startswith(("edge.", "store."))
        and name not in {"edge.stopped", "edge.returned", "edge.restored", "store.hidden"}
    ]
    assert len(steps) > 8
    fleet.hub("--no-agents")
    for edge in ("edge-2", "edge-3"):
        fleet.agent(edge)
    agent = fleet.agent("edge-1")
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    serving = "1"
    for number, step in enumerate(steps):
        version = f"build-{number}"
        agent.kill()  # its runtime goes on, and is adopted by the next one
        agent.wait()
        assert fleet.ask("edge-1")[0] == serving
        dying = fleet.agent("edge-1", failpoint=f"{step}:kill")
        deploy(fleet, serving, version)
        assert dying.wait(40) == -signal.SIGKILL, step
        assert fleet.ask("edge-1")[0] in {serving, version}, step
        agent = fleet.agent("edge-1")
        fleet.wait_versions(edge_1=version, edge_2=version, edge_3=version)
        fleet.wait_settled()
        serving = version
    for edge in ADDRESSES:
        operations = outcomes(fleet, edge)
        assert len(operations) == len(set(operations)) == len(steps) + 1
