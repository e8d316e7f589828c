"""The main job on one machine: push to Git, the edges change; revert, they change back."""

import pytest

from tests.e2e.fleet import ADDRESSES, Fleet

pytestmark = pytest.mark.e2e


def test_a_commit_changes_three_edges_and_a_revert_changes_them_back_without_a_download(fleet: Fleet) -> None:
    hub = fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()

    fleet.edit("deployments/digits.yaml", "defaultVersion: '1'", "defaultVersion: '2'", "Serve the better digits")
    fleet.wait_versions(edge_1="2", edge_2="2", edge_3="2")
    fleet.wait_settled()

    requests = len(fleet.server.requests)
    fleet.repository.git("revert", "--no-edit", "HEAD")
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    assert len(fleet.server.requests) == requests  # nothing was downloaded to go back

    newest = fleet.events("ref.advanced.v1")[-1].event
    assert newest.data["reverts"] == fleet.first  # known by its blobs
    assert [entry.event.data["counts"] for entry in fleet.events("change.planned.v1")] == [
        {"create": 6},
        {"update": 3},
        {"update": 3},
    ]
    fleet.stop(hub)
    assert hub.returncode == 0, fleet.output()
    assert list(fleet.pids()) == []  # an orderly stop ends agents and runtimes too


def test_a_pin_moves_one_edge_and_gives_the_others_no_order(fleet: Fleet) -> None:
    fleet.hub()
    fleet.wait_settled()
    before = len(fleet.events("apply.intended.v1"))

    pin = "  pins:\n    - {model: digits, version: '2', reason: \"edge 3 tries it\"}\n"
    path = "edges/edge-3.yaml"
    fleet.repository.commit({path: (fleet.repository.path / path).read_text() + pin}, "Pin edge 3")
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="2")
    fleet.wait_settled()

    orders = [entry for entry in fleet.events("apply.intended.v1")[before:] if entry.event.source.startswith("/hub")]
    assert [order.event.subject for order in orders] == ["InferenceModel/default/digits-edge-3@edge-3"]
    assert orders[0].event.data["reason"] == "pinned on edge-3: edge 3 tries it"
    assert orders[0].event.data["origin"].startswith("edges/edge-3.yaml:")


def test_every_effect_has_an_intent_before_it_and_one_outcome(fleet: Fleet) -> None:
    fleet.hub()
    fleet.wait_settled()
    for edge in ADDRESSES:
        intended: set[str] = set()
        outcomes: list[str] = []
        for entry in fleet.entries(edge):
            event = entry.event
            if entry.origin is None and event.type == "apply.intended.v1":
                intended.add(event.operationid)
            if entry.origin is None and event.type in {"artifact.staged.v1", "model.activated.v1", "dataset.synced.v1"}:
                assert event.operationid in intended
            if entry.origin is None and event.type == "apply.succeeded.v1":
                outcomes.append(event.operationid)
        assert len(intended) == 2
        assert sorted(outcomes) == sorted(intended)
