"""What happened can be told from the logs alone; and a runtime's own word counts, not what it was told to load."""

import shutil
import threading
from collections.abc import Callable

import pytest

from reconciler.artifacts.store import Store
from reconciler.ports import Artifact, FetchProgress, Staged
from reconciler.wiring.agent import EdgeAgent
from tests.e2e.fleet import ADDRESSES, Fleet
from tests.e2e.test_crashes import SET

pytestmark = pytest.mark.e2e

AS_OF = "2031-01-01T00:00:00Z"


def told(fleet: Fleet) -> list[str]:
    """Everything that the logs tell, as users see it."""
    commits = fleet.repository.git("rev-list", "--reverse", "HEAD").split()
    words = [
        ("status", "--as-of", AS_OF),
        ("status", "--as-of", AS_OF, "--output", "json"),
        *(("why", edge, "digits") for edge in ADDRESSES),
        *(("state", "--at", commit) for commit in commits),
        ("state", "--at", "20", "--output", "json"),
        ("history", "--output", "json"),
    ]
    return [fleet.run(*command).stdout for command in words]


def test_status_why_and_state_are_byte_identical_from_the_logs_alone(fleet: Fleet) -> None:
    hub = fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    fleet.edit(SET, "defaultVersion: '1'", "defaultVersion: '2'", "Serve the better digits")
    fleet.wait_versions(edge_1="2", edge_2="2", edge_3="2")
    fleet.wait_settled()
    fleet.repository.git("revert", "--no-edit", "HEAD")
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    fleet.stop(hub)
    before = told(fleet)
    assert all(before)
    assert '"2"' in before[-2] or "'2'" in before[-2] or "2" in before[-2]

    shutil.rmtree(fleet.state.mirror)
    kept = {fleet.state.hub.log, *(fleet.state.edge(edge).log for edge in ADDRESSES)}
    for path in fleet.state.root.rglob("*"):
        if path.is_file() and not any(path.name.startswith(log.name) and path.parent == log.parent for log in kept):
            path.unlink()
    assert told(fleet) == before


def test_a_backup_that_is_put_back_orders_again_and_keeps_what_was_said(fleet: Fleet) -> None:
    hub = fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    copy = fleet.state.root.parent / "backup" / "log.db"
    copy.parent.mkdir()
    fleet.run("log", "backup", str(copy))
    fleet.edit(SET, "defaultVersion: '1'", "defaultVersion: '2'")
    fleet.wait_versions(edge_1="2", edge_2="2", edge_3="2")
    fleet.stop(hub)
    for file in fleet.state.hub.directory.glob("log*"):
        file.unlink()
    for file in copy.parent.iterdir():
        shutil.copy(file, fleet.state.hub.directory)
    (before,) = {entry.event.source for entry in fleet.events("ref.advanced.v1")}
    fleet.hub()
    fleet.wait(lambda: len(fleet.events("log.genesis.v1")) > len(ADDRESSES) + 1, "a new epoch has begun")
    fleet.wait_settled()
    fleet.repository.git("revert", "--no-edit", "HEAD")
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    assert before in {entry.event.source for entry in fleet.entries()}  # its history is there
    fleet.run("log", "verify")
    for edge in ADDRESSES:
        fleet.run("log", "verify", "--edge", edge)


def test_fault_131_a_runtime_that_keeps_serving_the_old_file_is_never_reported_as_the_new_version(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime is told version 2, and is handed the files of version 1: its own bytes give it away."""
    honest = Store.stage
    old: list[Staged] = []

    def lying(store: Store, artifact: Artifact, progress: FetchProgress, cancelled: Callable[[], bool]) -> Staged:
        staged = honest(store, artifact, progress, cancelled)
        if "model.onnx" in staged.files:
            old.append(staged)
            return staged._replace(path=old[0].path)
        return staged

    monkeypatch.setattr(Store, "stage", lying)
    fleet.hub("--no-agents")
    fleet.wait(lambda: fleet.events("apply.intended.v1"), "orders are durable")
    agent = EdgeAgent("edge-1", fleet.state)
    running = threading.Thread(target=agent.run)
    running.start()
    try:
        fleet.wait_versions(edge_1="1")
        fleet.edit(SET, "defaultVersion: '1'", "defaultVersion: '2'")
        fleet.wait(lambda: fleet.events("apply.failed.v1"), "the edge says that it cannot")
    finally:
        agent.stop()
        running.join()
    assert len({staged.sha256 for staged in old}) == 2
    lives = [entry.event.data["live"] for entry in fleet.entries() if entry.event.data.get("live")]
    assert {live["version"] for live in lives if "digest" in live} == {"1"}
    assert fleet.events("apply.failed.v1")[0].event.data["phase"] == "RolledBack"
    (row,) = [
        row for row in fleet.read("status")["rows"] if row["edge"] == "edge-1" and row["kind"] == "InferenceModel"
    ]
    assert (row["wanted"], row["serving"], row["phase"]) == ("2", "1", "RolledBack")
