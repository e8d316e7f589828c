"""Two installs in one cluster, what an older release left, and the namespaces that a repository brings along."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import main
from reconciler.history.keys import Key
from reconciler.kube.client.resources import OURS
from reconciler.model.identity import INSTALL, STAMPS, install_label
from reconciler.planning.declare import OWN_LABELS
from reconciler.planning.look import PRUNE
from tests.api_proxy import ROOT
from tests.cluster.cluster_hub import EDITOR, World, fleet, key, manifest, model, port, service, started, uid, written
from tests.control_plane.plane import ControlPlane

OF_THE_HUB = "/api/v1/namespaces/reconciler-system"


@pytest.fixture
def other(cluster: ControlPlane, tmp_path: Path) -> Iterator[World]:
    """Another install in the same cluster: a repository, a log and a Lease of its own."""
    made = World(cluster, tmp_path / "other", "other")
    try:
        yield made
    finally:
        made.close()


def policy(name: str, **spec: Any) -> dict[str, str]:
    """The Fleet of one of two installs: a name is one object."""
    return {"fleet.yaml": fleet(**spec)["fleet.yaml"].replace('"name": "fleet"', f'"name": "{name}"')}


def mark(world: World, name: str = "one") -> tuple[str, str]:
    """The install that an object says it is of, and the hash that selects it."""
    metadata = (world.there(name) or {}).get("metadata", {})
    return metadata.get("annotations", {}).get(INSTALL, ""), metadata.get("labels", {}).get(INSTALL, "")


def own(world: World) -> tuple[str, str]:
    """The same, of the hub of a world."""
    install = f"{world.home}/reconciler"
    return install, install_label(install)


def test_what_another_install_has_is_left_alone_until_it_is_adopted(world: World, other: World) -> None:
    started(world, model("one", servingPort=8001) | model("two"))
    assert mark(world) == mark(world, "two") == own(world)
    first = uid(world)

    other.commit({**policy("others"), **model("one", servingPort=9001), **model("two"), **model("mine")})
    other.hub()
    other.wait(lambda: mark(world, "mine") == own(other), "the second hub has made what is nobody's")
    theirs = f"the install {own(world)[0]} has it; `adopt: true` in the Fleet takes it over"
    other.wait(lambda: other.mine.waits.get(key("one")) == theirs, "who has the other one is said")
    assert port(world) == 8001

    other.commit({"models/one.yaml": None, "models/two.yaml": None})  # no longer declared, and never its own
    other.wait_settled()
    world.edit("one", {"spec": {"servingPort": 8002}}, EDITOR)
    world.wait(lambda: port(world) == 8001, "its own hub takes the hand edit back")
    assert (uid(world), port(world), mark(world)) == (first, 8001, own(world))
    assert written(other) == ["mine", "others"]

    other.commit({**policy("others", adopt=True), **model("one", servingPort=9001)})
    other.wait(lambda: (port(world), mark(world)) == (9001, own(other)), "what is adopted is the second hub's")
    taken = world.wait_event("drift.detected", key("one"), what="taken over").event
    assert (taken.actor, taken.data["policy"]) == (f"the install {own(other)[0]}", "report")
    world.commit({"models/one.yaml": None})
    world.wait(lambda: key("one") not in world.mine.keys, "the first hub forgets what it has no more")
    assert (uid(world), port(world)) == (first, 9001)

    def said(name: str) -> dict[str, str]:
        told = (world.there(name, "Fleet") or {}).get("status", {})
        return {one["type"]: one["status"] for one in told.get("conditions", ())}

    each = {name: {"Ready": "True"} for name in ("others", "fleet")}
    world.wait(lambda: {name: said(name) for name in each} == each, "each tells of its own alone")


def test_what_an_older_release_made_is_marked_by_its_next_change(world: World) -> None:
    started(world, model("one") | model("two"))
    for name in ("one", "two"):
        unmarked = {"annotations": {INSTALL: None}, "labels": {INSTALL: None}}
        world.edit(name, {"metadata": unmarked}, "reconciler")
    world.look()
    world.commit(model("one", "2"))
    world.wait_settled()
    assert (mark(world), mark(world, "two")) == (own(world), ("", ""))
    assert written(world) == ["one"]
    world.stop()
    world.commit({"models/two.yaml": None})
    world.hub()
    world.wait(lambda: not uid(world, "two"), "it is still its own")


def test_an_uninstall_leaves_the_objects_or_takes_them_all(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """By the commands of deploy/README.md."""
    kubectl = shutil.which("kubectl") or pytest.skip("there is no kubectl")
    text = (ROOT / "deploy" / "README.md").read_text().partition("\n## Uninstall\n")[2]
    commands = [line[2:].split() for line in text.splitlines() if line.startswith("$ ")]

    def run(*which: str, extra: tuple[str, ...] = ()) -> None:
        for words in (words for words in commands if words[:2] == [*which]):
            done = [kubectl, "--kubeconfig", str(world.plane.kubeconfig), *words[1:], *extra]
            subprocess.run(done, cwd=ROOT, check=True, capture_output=True)

    def end_namespace() -> None:
        """The namespace controller does not run here, and `kubectl delete` would wait for it for ever."""
        code, document = world.plane.request("GET", OF_THE_HUB)
        assert (code, document["status"]["phase"]) == (200, "Terminating")
        world.plane.request("PUT", f"{OF_THE_HUB}/finalize", document | {"spec": {"finalizers": []}})
        assert world.plane.request("GET", OF_THE_HUB)[0] == 404

    def of(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        (found,) = world.plane.get(OURS[kind].path())["items"]
        return {"uid": found["metadata"]["uid"], "spec": found["spec"]}, found["metadata"]

    started(world, model("one", servingPort=8001))
    world.commit({"edges/berlin.yaml": manifest("Edge", "berlin", {}, labels={"site": "berlin"})})
    world.wait_settled()
    before = {kind: of(kind)[0] for kind in ("InferenceModel", "Edge", "Fleet")}
    world.stop()
    world.plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": OF_THE_HUB.rpartition("/")[2]}})
    run("kubectl", "delete", extra=("--wait=false",))
    end_namespace()
    run("kubectl", "annotate")
    run("kubectl", "label")
    for kind, was in before.items():
        now, metadata = of(kind)
        assert now == was
        assert not {"finalizers", "ownerReferences"} & metadata.keys()
        assert not [name for name in metadata.get("annotations", {}) if name in STAMPS]
        assert not {INSTALL, *OWN_LABELS} & metadata.get("labels", {}).keys()
    assert of("Edge")[1]["labels"] == {"site": "berlin"}

    (remove,) = [words for words in commands if words[:3] == ["reconciler", "crds", "remove"]]
    words = [*remove[1:3], "--take-over", "--kubeconfig", str(world.plane.kubeconfig)]
    assert main([*words, "--confirm", "2"]) == 5
    assert "deletes 1 InferenceModel" in capfd.readouterr().err
    assert {kind: of(kind)[0] for kind in before} == before
    assert main([*words, "--confirm", "3"]) == 0
    assert world.plane.request("GET", OURS["Edge"].path())[0] == 404


def test_a_namespace_is_made_before_what_lives_in_it_and_stays(world: World) -> None:
    name = f"{world.home}-berlin"
    space = str(Key("Namespace", "", name, ""))

    def file(**annotations: str) -> dict[str, str]:
        head = {"apiVersion": "v1", "kind": "Namespace"}
        about = {"name": name, "labels": {"team": "vision"}, "annotations": annotations}
        return {"a.yaml": json.dumps(head | {"metadata": about})}

    def there() -> dict[str, Any] | None:
        code, document = world.plane.request("GET", f"/api/v1/namespaces/{name}")
        return document if code == 200 else None

    many = "\n---\n".join(manifest("InferenceModel", f"m{n:02}", service(), name) for n in range(40))
    started(world, file(**{PRUNE: "disabled"}) | {"models.yaml": many})
    assert not world.events("apply.failed")
    made = there()
    assert made is not None
    assert made["metadata"]["labels"]["team"] == "vision"
    assert len(world.plane.request("GET", OURS["InferenceModel"].path(name))[1]["items"]) == 40
    world.plane.request(
        "PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": {"team": "x"}}}, query={"fieldManager": EDITOR}
    )
    world.wait_event("drift.detected", space)
    world.wait(lambda: (there() or made)["metadata"]["labels"]["team"] == "vision", "taken back")

    world.commit({"a.yaml": None, "models.yaml": None})
    world.wait(lambda: space not in world.mine.keys, "it is no longer told of")
    assert there() is not None
    assert not world.mine.waits

    world.commit(file(**{PRUNE: "enabled"}))
    world.wait_settled()
    world.commit({"a.yaml": None})
    world.wait_event("apply.intended", space, action="delete")
