"""A stage that only tests have, in the hub and on a real API server: nothing of the product knows of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from reconciler.history.keys import Key
from tests.cluster.children_stage import WATCHED, children, children_stage
from tests.cluster.cluster_hub import World, fleet, key, model
from tests.control_plane.client import Document
from tests.control_plane.plane import ControlPlane

VERBS: Final = ["get", "list", "watch", "create", "patch", "delete"]
RIGHTS: Final = (
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": VERBS},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": VERBS},
)
FURTHER: Final = [children_stage]


class Family(World):
    """A world whose hub has the stage, unless it is left out."""

    def by_hand(self, name: str, version: str = "1", **metadata: Any) -> None:
        """Somebody makes an InferenceModel."""
        document = json.loads(model(name, version)[f"models/{name}.yaml"])
        document["metadata"] |= metadata
        self.plane.post(self.path("", "InferenceModel").rstrip("/"), document)

    def child(self, name: str, kind: str = "Deployment") -> Document | None:
        code, found = self._read(WATCHED[kind].path("default", name))
        return found if code == 200 else None

    def version(self, name: str, kind: str = "Deployment") -> str:
        """Of a child; "" where there is none."""
        found = self.child(name, kind)
        if found is None:
            return ""
        if kind == "ConfigMap":
            return str(found["data"]["version"])
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]).partition(":")[2]

    def wait_versions(self, **wanted: str) -> None:
        """Until the children of these parents are of these versions; "" for gone."""
        for name, version in wanted.items():
            for kind in WATCHED:
                self.wait(lambda: self.version(name, kind) == version, f"{kind} {name} {version!r}")  # noqa: B023

    def made(self, name: str) -> list[str]:
        """The kinds of the orders of a parent's children, in the order in which they were intended."""
        subjects = {str(child) for child in children(Key.parse(key(name)))}
        found = [one.event for one in self.events("apply.intended") if one.event.subject in subjects]
        return [f"{one.data['action']} {one.subject.partition('/')[0]}" for one in found]


@pytest.fixture
def family(cluster: ControlPlane, tmp_path: Path) -> Iterator[Family]:
    made = Family(cluster, tmp_path, "hub", "", *RIGHTS)
    try:
        yield made
    finally:
        made.close()
        for row in WATCHED.values():
            cluster.request("DELETE", row.path("default"), query={"labelSelector": row.label_selector})
        for item in cluster.get("/apis/ai.kubeedge.io/v1alpha1/inferencemodels")["items"]:
            path = made.path(item["metadata"]["name"])
            cluster.request("PATCH", path, {"metadata": {"finalizers": None}})


def test_a_parent_made_by_hand_gets_both_children_the_second_after_the_first(family: Family) -> None:
    family.commit(fleet())
    family.hub(further=FURTHER)
    family.wait_settled()
    family.by_hand("one")
    family.wait_versions(one="1")
    assert family.made("one") == ["create ConfigMap", "create Deployment"]
