"""What happened can be told from the logs alone; and a runtime's own word counts, not what it was told to load."""

import shutil

import pytest

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
