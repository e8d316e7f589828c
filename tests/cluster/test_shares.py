"""Whose the fields of an object are: what people applied becomes ours, of others nothing that no rule speaks of."""

import json
from typing import Any

import pytest

from tests.cluster.cluster_hub import World, fleet, key, manifest, service, started

ONE = key("one")
MORE = {"version": "9", "downloadURL": "https://models.example.com/9.tar.gz", "sha256sum": "b" * 64}
SUSPEND = "ai.kubeedge.io/prune"


def one(labels: dict[str, str], note: dict[str, str], **spec: Any) -> dict[str, str]:
    return {"one.yaml": manifest("InferenceModel", "one", service(**spec), labels=labels, annotations=note)}


def rich() -> dict[str, str]:
    entry = service()["manifest"]
    return one({"tier": "gold", "old": "x"}, {"note": "x"}, replicas=1, manifest=[*entry, MORE])


def plain() -> dict[str, str]:
    return one({"tier": "gold"}, {})


def theirs(world: World, files: dict[str, str], manager: str) -> None:
    document = json.loads(files["one.yaml"])
    path = world.path("one").rpartition("/")[0]
    code, said = world.plane.request("POST", path, document, query={"fieldManager": manager})
    assert code == 201, said


def left(world: World) -> list[str]:
    """What is still there of what left Git."""
    there = world.there("one") or {}
    labels, notes = there["metadata"].get("labels", {}), there["metadata"].get("annotations", {})
    versions = [entry["version"] for entry in there["spec"]["manifest"]]
    found = {"label": "old" in labels, "annotation": "note" in notes, "replicas": "replicas" in there["spec"]}
    return [name for name, is_there in {**found, "entry": "9" in versions}.items() if is_there]


def row(world: World) -> Any:
    return next(each for each in world.status().objects if each.name == "one")


@pytest.mark.parametrize("how", ["adopted", "shared"])
@pytest.mark.parametrize("manager", ["kubectl-client-side-apply", "kubectl", "before-first-apply"])
def test_what_people_applied_goes_with_what_leaves_git(world: World, how: str, manager: str) -> None:
    """kustomize-controller#486: made by kubectl and taken over, or made by us and applied by kubectl since."""
    if how == "adopted":
        theirs(world, rich(), manager)
    started(world, rich(), adopt=True)
    if how == "shared":
        world.edit("one", {"metadata": {"labels": {"old": "y"}}}, manager)  # taken back by sharing it
        world.wait(lambda: (world.there("one") or {})["metadata"]["labels"]["old"] == "x", "taken back")
        world.edit("one", json.loads(rich()["one.yaml"]), manager)
    world.edit("one", {"metadata": {"annotations": {SUSPEND: "disabled", "mine": "1"}}}, "kubectl-annotate")
    assert left(world) == ["label", "annotation", "replicas", "entry"]
    world.commit(plain())
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    world.wait_settled()
    assert left(world) == []
    notes = (world.there("one") or {})["metadata"]["annotations"]
    assert (notes[SUSPEND], notes["mine"]) == ("disabled", "1")  # by these people speak to controllers
    assert row(world).settled
    before = len(world.writes())
    world.look()
    assert len(world.writes()) == before
    world.check()


def test_of_another_manager_nothing_is_taken_until_a_rule_says_so_and_what_stays_is_named(world: World) -> None:
    theirs(world, one({"old": "x"}, {}, servingPort=7), "helm")
    started(world, one({"old": "x"}, {}, servingPort=1), adopt=True)
    assert (world.there("one") or {})["spec"]["servingPort"] == 7
    said = world.wait_event("apply.succeeded", ONE).event.data["live"]["mutated"]
    assert said["spec.servingPort"] == [1, 7, "helm"]
    assert row(world).standing.word == "waits"
    assert "spec.servingPort stays 7, which is helm's; Git says 1" in row(world).said
    before = len(world.writes())
    world.look()
    assert (len(world.writes()), len(world.events("drift.detected"))) == (before, 0)  # told once
    world.commit(one({}, {}, servingPort=2))  # a label leaves Git that helm has too
    world.wait_settled()
    there = world.there("one") or {}
    assert (there["spec"]["servingPort"], there["metadata"]["labels"]["old"]) == (7, "x")
    assert "labels.old stays x, which is helm's" in row(world).stays
    assert "spec.servingPort stays 7, which is helm's; Git says 2" in row(world).stays
    world.commit(fleet(adopt=True, drift=[{"policy": "correct", "managers": ["helm"]}]))
    world.wait(lambda: (world.there("one") or {})["spec"]["servingPort"] == 2, "taken, as a rule says so")
    world.wait(lambda: "old" not in (world.there("one") or {})["metadata"]["labels"], "gone")
    world.wait_settled()
    assert (row(world).settled, row(world).stays) == (True, "")
    world.check()
