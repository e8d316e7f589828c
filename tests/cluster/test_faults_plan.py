"""What a plan refuses, holds or leaves alone, at a real API server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.queue import Cause, Trigger
from reconciler.errors import ReconcilerError
from reconciler.history.keys import DECLARE
from reconciler.kube.client.resources import OURS
from reconciler.kube.watch import reflector as watching
from reconciler.planning.plan import Plan
from reconciler.settings import Settings
from reconciler.wiring.hub import ask
from reconciler.wiring.preview import preview
from tests.cluster.cluster_hub import World, fleet, key, manifest, model, models, service, started
from tests.control_plane.our_objects import CRDS, OurObjects

ONE = key("one")
GROUP = "ai.kubeedge.io"


def settled_but(world: World) -> None:
    """The newest commit is accepted, and `marker` of it applied: what else it asks for had its turn."""
    world.wait(lambda: "marker" in world.versions(), "the marker")
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")


def problems(world: World) -> str:
    return str(world.state.all_problems)


def test_fault_045_what_the_api_server_could_not_keep_is_refused_in_the_plan(world: World) -> None:
    started(world, {})
    long_value = "x" * 64
    bad = {
        "big.yaml": manifest("InferenceModel", "big", service(), annotations={"example.com/a": "x" * (260 << 10)}),
        "label.yaml": manifest("InferenceModel", "label", service(), labels={"example.com/a": long_value}),
        "name.yaml": manifest("InferenceModel", "n" * 254, service()),
    }
    world.commit({**bad, **model("marker")})
    settled_but(world)
    assert set(world.versions()) == {"marker"}
    (write,) = world.writes()  # the marker: nothing of the others was sent
    assert "/marker" in write.path
    assert {path for path in bad if path in problems(world)} == set(bad)
    world.check()


@pytest.mark.parametrize("count", [2000])
def test_fault_046_a_pass_over_many_objects_that_are_as_wanted_asks_nothing(world: World, count: int) -> None:
    """Two thousand here; ten thousand in `make bench-cluster`, and of the cache alone in test_cache."""
    started(world, models(count))
    before = world.plane.calls()
    for _ in range(3):
        world.look()
    seq = world.state.seq
    hub = world.hubs[-1][0]
    answered = ask(hub.queue, {"verb": "suspend", "scope": "*", "actor": "ada"})  # behind the audits in the queue
    assert answered["counts"] == {}
    assert [one for one in world.sent() if one.verb != "watch"] == []
    spent = world.plane.calls() - before
    assert not {verb for verb, resource in spent if resource == "inferencemodels"} - {"LIST", "WATCH"}
    assert {one.event.type for one in world.entries()[seq:]} <= {"reconcile.suspended.v1"}
    world.check()


def test_fault_047_a_wrong_node_and_a_port_that_is_taken_are_refused_in_the_plan(world: World) -> None:
    edge = manifest("Edge", "e1", {"nodeName": "n1"}, labels={"ring": "a"})
    files = {"edge.yaml": edge, **model("first", nodeName="n1", servingPort=9000)}
    started(world, files)
    world.commit(
        {
            **model("second", nodeName="n1", servingPort=9000),
            **model("third", nodeName="n1", nodeSelector={"ring": "b"}, servingPort=9001),
            **model("marker"),
        }
    )
    settled_but(world)
    assert set(world.versions()) == {"first", "marker"}
    assert "RX220" in str(world.state.stage(DECLARE).problems[key("second")])
    assert "RX224" in str(world.state.stage(DECLARE).problems[key("third")])
    assert not [one for one in world.writes() if "second" in one.path or "third" in one.path]
    world.check()


def test_fault_048_a_pod_that_needs_an_immutable_change() -> None:
    pytest.skip("needs Pods: nothing here makes any yet")


def test_prune_is_held_over_a_sliding_hour_and_done_when_it_is_approved(world: World) -> None:
    started(world, models(30), prune={"maxDeletes": 3, "maxShare": "100%"})
    rows = models(30)["models/0.yaml"].split("\n---\n")
    world.commit({"models/0.yaml": "\n---\n".join(rows[2:])})
    world.wait_settled()
    assert len(world.versions()) == 28
    world.commit({"models/0.yaml": "\n---\n".join(rows[4:]), **model("marker")})  # two and two are four in an hour
    world.wait(lambda: world.mine.held_plan is not None, "held")
    held = world.mine.held_plan
    assert held is not None
    assert "2 in the last hour" in held.reason
    world.wait(lambda: "marker" in world.versions(), "what else the commit asks for")
    world.look()
    assert len(world.versions()) == 29
    hub = world.hubs[-1][0]
    with pytest.raises(ReconcilerError):
        ask(hub.queue, {"verb": "approve", "digest": "0" * 16, "actor": "ada"})
    assert len(world.versions()) == 29
    ask(hub.queue, {"verb": "approve", "digest": held.digest, "actor": "ada"})
    world.wait(lambda: len(world.versions()) == 27, "26 and the marker")
    world.wait_settled()
    assert world.events("change.approved")[-1].event.actor == "ada"
    world.check()


def test_what_says_so_is_not_pruned_and_what_others_made_never_is(world: World) -> None:
    started(world, {**model("kept"), **model("gone")})
    world.plane.post(OURS["InferenceModel"].path("default"), _body("theirs"))
    world.edit("kept", {"metadata": {"annotations": {f"{GROUP}/prune": "disabled"}}})
    world.wait(lambda: world.there("kept") is not None, "there")
    world.commit({"models/kept.yaml": None, "models/gone.yaml": None, **model("marker")})
    settled_but(world)
    world.wait(lambda: "gone" not in world.versions(), "pruned")
    world.look()
    ask(world.hubs[-1][0].queue, {"verb": "suspend", "scope": "*", "actor": "ada"})
    assert set(world.versions()) == {"kept", "theirs", "marker"}
    ask(world.hubs[-1][0].queue, {"verb": "resume", "scope": "*", "actor": "ada"})
    world.edit("kept", {"metadata": {"annotations": {f"{GROUP}/prune": None}}})
    world.wait(lambda: set(world.versions()) == {"theirs", "marker"}, "pruned when it no longer says so")
    world.check()


def test_a_suspension_on_the_object_holds_until_it_is_taken_away(world: World) -> None:
    started(world, model("one"))
    suspended = {f"{GROUP}/reconcile": "disabled", f"{GROUP}/suspend-reason": "I look into it"}
    world.edit("one", {"metadata": {"annotations": suspended}})
    world.edit("one", {"spec": {"nodeName": "elsewhere"}})
    world.wait_event("drift.detected", ONE)
    world.commit({**model("one", "2"), **model("marker")})
    settled_but(world)
    world.look()
    found = world.there("one") or {}
    assert (found["spec"]["nodeName"], found["spec"]["targetVersion"]) == ("elsewhere", "1")
    assert not [one for one in world.writes() if one.path.endswith("/one")]
    world.edit("one", {"metadata": {"annotations": dict.fromkeys(suspended)}})
    world.wait(lambda: world.versions()["one"] == "2", "done after it")
    world.wait_settled()
    world.check()


@pytest.mark.parametrize("scope", ["changes", "all"])
def test_a_freeze_holds_a_change_and_lets_a_revert_pass_unless_it_is_of_all(world: World, scope: str) -> None:
    now = datetime.now(UTC)
    times = {"from": now - timedelta(hours=1), "until": now + timedelta(hours=1)}
    window = {name: at.isoformat(timespec="seconds").replace("+00:00", "Z") for name, at in times.items()}
    started(world, model("one", "1"))
    world.commit(model("one", "2"))
    world.wait_settled()
    frozen = {**window, "reason": "it is Christmas", "scope": scope}
    world.commit(fleet(freeze=[frozen]))
    world.wait(lambda: world.state.fleet.get("freeze"), "frozen")
    world.commit(model("two"), "A change")
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    world.edit("one", {"spec": {"nodeName": "elsewhere"}})
    world.wait(lambda: (world.there("one") or {})["spec"]["nodeName"] == "berlin", "drift is still taken back")
    assert set(world.versions()) == {"one"}
    world.repository.revert("HEAD")  # of the change: nothing waits any more
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    world.repository.revert("HEAD~3")  # version 2 of `one`
    if scope == "changes":
        world.wait(lambda: world.versions()["one"] == "1", "gone back")
    else:
        world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
        world.look()
        ask(world.hubs[-1][0].queue, {"verb": "suspend", "scope": "*", "actor": "ada"})
        assert world.versions()["one"] == "2"
    world.check()


def test_in_a_freeze_a_delete_that_is_no_revert_waits_and_one_that_is_passes(world: World) -> None:
    edges = {f"{name}.yaml": manifest("Edge", name, {"address": f"10.0.0.{n}"}) for n, name in enumerate("abc")}
    started(world, model("one"))
    three = world.commit(edges, "Three more")
    world.wait_settled()
    world.commit(fleet(freeze=[{"from": "2020-01-01", "until": "2099-01-01", "reason": "the shops are full"}]))
    world.wait(lambda: world.state.fleet.get("freeze"), "frozen")
    world.commit({"b.yaml": manifest("Edge", "b", {"address": "10.9.9.9"})})
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    world.repository.revert("HEAD")
    one_less = world.commit({"c.yaml": None})
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    world.look()
    world.wait(lambda: "the shops are full" in world.mine.waits.get(key("c", "Edge"), ""), "waits")
    assert world.there("c", "Edge") is not None
    world.repository.revert(one_less)
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    world.repository.revert(three)
    world.wait(lambda: not any(world.there(name, "Edge") for name in "abc"), "gone back")
    world.check()


def test_fault_043_a_kind_that_is_installed_late_is_used_without_a_human(
    world: World, our_objects: OurObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "DELAY_MAX_S", 2.0)  # half a minute between two looks otherwise
    name = f"{OURS['InferenceModel'].plural}.{GROUP}"
    world.plane.request("DELETE", f"{CRDS}/{name}")
    world.wait(lambda: world.plane.request("GET", OURS["InferenceModel"].path())[0] == 404, "not served")
    world.commit({**fleet(), **model("one")})
    hub = world.hub()
    lost = world.wait_event("cluster.lost", what="InferenceModel")
    assert lost.event.data["code"] == "RX414"
    world.wait(lambda: world.there("fleet", "Fleet"), "other kinds go on")
    our_objects.install()
    hub.queue.add(Trigger(Cause.HAPPENED))
    world.wait(lambda: "one" in world.versions(), "made without a human", 90)
    world.wait_settled()
    assert not world.state.lost
    world.check()


def test_fault_044_a_kind_that_goes_while_objects_live_is_told_and_comes_back(
    world: World, our_objects: OurObjects
) -> None:
    model_of = manifest("Model", "m", {"frameworkType": "onnx", "versions": service()["manifest"]})
    started(world, {**model("one"), "model.yaml": model_of})
    name = f"{OURS['InferenceModel'].plural}.{GROUP}"
    world.plane.request("DELETE", f"{CRDS}/{name}")
    world.wait_event("cluster.lost", what="InferenceModel")
    world.edit("m", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}, kind="Model")
    world.wait_event("drift.detected", key("m", "Model"))

    def others_go_on() -> bool:
        found = world.there("m", "Model") or {}
        return bool(found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "reconciler")

    world.wait(others_go_on, "others go on")
    our_objects.install()  # again; its objects went with it
    world.delete("m", "Model")
    world.wait(lambda: "one" in world.versions(), "made again", 90)
    world.wait(lambda: world.there("m", "Model") is not None, "and the rest")
    world.wait_settled()
    assert not world.state.lost
    world.check()


def test_fault_043_what_the_schema_refuses_is_told_by_field(world: World, our_objects: OurObjects) -> None:
    """A cluster whose kind is older than the file that was checked."""
    path = f"{CRDS}/{OURS['InferenceModel'].plural}.{GROUP}"
    crd = world.plane.get(path)
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]
    status, answer = world.plane.request("PUT", path, {**crd, "status": None})
    assert status == 200, answer
    try:
        body = _body("probe", replicas=1)
        collection = OURS["InferenceModel"].path("default")
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        world.wait(lambda: world.plane.request("POST", collection, body, query=query)[0] == 400, "the older schema")
        started(world, model("zero"))
        world.commit({**model("one", replicas=1), **model("marker")})
        failed = world.wait_event("apply.failed", ONE)
        assert "replicas" in failed.event.data["error"]
        settled_but(world)
        assert set(world.versions()) == {"zero", "marker"}
        world.check()
    finally:
        our_objects.clean()


def _body(name: str, **spec: Any) -> dict[str, Any]:
    import json

    made: dict[str, Any] = json.loads(model(name, **spec)[f"models/{name}.yaml"])
    return made


def test_a_plan_made_without_the_log_counts_what_it_deletes(world: World, tmp_path: Path) -> None:
    """Also where the commit changes something else too, whose plan would say nothing of what goes."""
    started(world, models(4) | model("one"), prune={"maxDeletes": 2})
    world.commit({**fleet(prune={"maxDeletes": 2}, adopt=True), "models/0.yaml": None})

    def planned(state: Path) -> Plan:
        with preview(Settings(**{**world.settings(), "state_dir": str(state)})) as ahead:
            return ahead.plan()

    world.stop()
    mine, others = planned(world.state_dir.root), planned(tmp_path / "laptop")
    assert {step.key.name for step in others.steps if step.action == "delete"} == {f"m{n:05}" for n in range(4)}
    assert others.held.startswith("it deletes 4 of 6")
    assert (others.digest, others.counts) == (mine.digest, mine.counts)
