"""Status and Events as a whole hub writes them at a real API server, counted."""

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from reconciler.engine.queue import Cause, Trigger
from reconciler.engine.stage import Order
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER, Key
from reconciler.kube.watch.object import ObjectHead
from reconciler.wiring.cluster import ClusterStage
from tests.api_proxy import Answer, Rule
from tests.cluster.cluster_hub import World, fleet, key, manifest, model, models, service
from tests.control_plane.client import Document

SITE = {"matchLabels": {"site": "berlin"}}
PARTS = ("manifest", "modelName", "deployToLayer", "frameworkType")


def edge(name: str) -> dict[str, str]:
    return {f"edges/{name}.yaml": manifest("Edge", name, {}, labels={"site": "berlin"})}


def a_set(name: str = "faces", version: str = "1") -> dict[str, str]:
    """A set for all edges of the site."""
    template = {part: service(version)[part] for part in PARTS}
    spec = {"edgeSelector": SITE, "defaultVersion": version, "template": {"spec": template}}
    return {f"sets/{name}.yaml": manifest("InferenceModelSet", name, spec)}


def started(world: World, *files: dict[str, str]) -> None:
    """A hub that has done the first commit and written what there is to be told of it."""
    together: dict[str, str | bytes | None] = {}
    for each in files:
        together |= each
    world.commit(together)
    world.hub()
    world.wait_settled()
    for text in world.mine.keys:  # what sums others up is always told of
        kind, _, name = text.split("/")
        if kind in {"Fleet", "InferenceModelSet"}:
            _told(world, name, kind)
    rest(world)


def _told(world: World, name: str, kind: str) -> None:
    world.wait(lambda: "status" in (world.there(name, kind) or {}), f"{name} told")


def rest(world: World) -> None:
    """Until what is known is written."""
    hub = world.hubs[-1][0]
    stage = hub.stage
    assert isinstance(stage, ClusterStage)
    publisher, telling = stage.publisher, stage.publisher._telling

    def is_done() -> bool:
        with publisher._lock, telling._lock:
            return not any((telling._marked, telling._unresolved, telling.dirty, publisher._under_way))

    world.wait(is_done, "published")


def say(world: World, *events: Event) -> None:
    """Have these recorded, as if an edge had said them."""
    world.hubs[-1][0].queue.add(Trigger(Cause.HAPPENED, events=events))
    said = {one.id for one in events}
    world.wait(lambda: said <= {one.event.id for one in world.entries()[-20:]}, "recorded")


def serves(world: World, name: str, on: str, version: str = "1") -> None:
    """An edge that answers, and serves what it was ordered."""
    record, about = world.hubs[-1][0].record.stage(DELIVER), Key("InferenceModel", "default", name, on)
    operation = f"{name}-{version}"
    spec = {"model": "faces", "version": version}
    live = {"version": version, "url": f"http://127.0.0.1:8080/v1/models/{name}"}
    order = {"action": "update", "spec": spec, "policy": {}, "reason": "declared", "changes": []}
    say(
        world,
        record.event(ev.EDGE_FOUND, f"edge/{on}", {"edge": on}),
        record.event(ev.APPLY_INTENDED, about, order, operationid=operation),
        record.event(ev.APPLY_SUCCEEDED, about, {"live": live}, operationid=operation),
    )


def conditions(world: World, name: str, kind: str = "InferenceModel") -> dict[str, Document]:
    found = (world.there(name, kind) or {}).get("status", {})
    return {one["type"]: one for one in found.get("conditions", ())}


def ready(world: World, name: str, kind: str = "InferenceModel") -> tuple[str, str]:
    """(status, reason) of Ready."""
    found = conditions(world, name, kind).get("Ready", {})
    return found.get("status", ""), found.get("reason", "")


def told(world: World, about: str = "") -> list[Document]:
    """The Events about an object, or all."""
    items = world.plane.get("/apis/events.k8s.io/v1/events")["items"]
    mine = [one for one in items if one.get("reportingController") == "ai.kubeedge.io/reconciler"]
    return [one for one in mine if about in {"", one["regarding"]["name"]}]


@pytest.fixture(autouse=True)
def no_events(world: World) -> None:
    for one in told(world):
        meta = one["metadata"]
        world.plane.request("DELETE", f"/apis/events.k8s.io/v1/namespaces/{meta['namespace']}/events/{meta['name']}")


# ── how much is written ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cold_apply_is_one_write_an_object_and_one_event(world: World) -> None:
    started(world, models(120))
    assert len(world.sent("patch")) == 120
    assert world.statuses() == []
    world.wait(lambda: told(world), "an Event")
    (one,) = told(world)
    assert one["note"].startswith("120 of kind InferenceModel: m")
    assert one["note"].endswith(" and 117 more")
    assert one["metadata"]["annotations"]["ai.kubeedge.io/revision"] == f"main@sha1:{world.repository.head()}"
    assert one["regarding"]["kind"] == "Lease"  # there is no Fleet


def test_a_warm_start_writes_nothing(world: World) -> None:
    started(world, fleet(), edge("a"), edge("b"), a_set(), model("plain"))
    serves(world, "faces-a", "a")
    world.wait(lambda: ready(world, "faces-a") == ("True", "Succeeded"), "told")
    rest(world)
    world.stop()
    world.proxy.forget()
    world.hub()
    world.wait(lambda: world.events("lease.acquired")[1:], "a second term")
    world.wait(lambda: world.hubs[-1][0].record.state.lease.held, "held")
    rest(world)
    assert world.writes() == []
    assert world.statuses() == []


def test_a_change_writes_the_status_of_what_it_concerns(world: World) -> None:
    started(world, fleet(), edge("a"), edge("b"), a_set(), model("plain"))
    world.proxy.forget()
    serves(world, "faces-a", "a")
    world.wait(lambda: ready(world, "faces-a") == ("True", "Succeeded"), "told")
    rest(world)
    written = sorted(one.path.rpartition("v1alpha1/")[2].removesuffix("/status") for one in world.statuses())
    assert written == [
        "edges/a",
        "namespaces/default/inferencemodels/faces-a",
        "namespaces/default/inferencemodelsets/faces",
    ]
    assert world.writes() == []


# ── what is written ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_edges_say_is_there_for_kubectl(world: World) -> None:
    started(world, fleet(), edge("a"), edge("b"), a_set())
    serves(world, "faces-a", "a")
    world.wait(lambda: ready(world, "faces-a") == ("True", "Succeeded"), "told")
    found = world.there("faces-a")
    assert found is not None
    status = found["status"]
    assert (status["url"], status["servingVersion"]) == ("http://127.0.0.1:8080/v1/models/faces-a", "1")
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert status["lastAppliedRevision"] == f"main@sha1:{world.repository.head()}"
    assert "status" not in (world.there("faces-b") or {})
    rest(world)
    of_set = (world.there("faces", "InferenceModelSet") or {})["status"]["edges"]
    assert of_set == {"desired": 2, "updated": 2, "ready": 1, "pinned": 0, "failed": 0}
    assert (world.there("a", "Edge") or {})["status"]["models"] == {"wanted": 1, "serving": 1}
    written = [one["manager"] for one in found["metadata"]["managedFields"] if one.get("subresource") == "status"]
    assert written == ["reconciler-status"]


def test_the_fleet_says_which_commit_is_carried_out(world: World) -> None:
    started(world, fleet(), model("one"))
    first = f"main@sha1:{world.repository.head()}"
    status = (world.there("fleet", "Fleet") or {})["status"]
    assert (status["lastAttemptedRevision"], status["lastAppliedRevision"], status["objects"]) == (first, first, 2)
    held = manifest("Fleet", "fleet", {"prune": {"maxDeletes": 0}})
    world.commit({"fleet.yaml": held})
    world.wait_settled()
    world.commit({"models/one.yaml": None})
    world.wait(lambda: ready(world, "fleet", "Fleet") == ("False", "PlanHeld"), "held")
    status = (world.there("fleet", "Fleet") or {})["status"]
    assert status["heldPlan"]["digest"] in conditions(world, "fleet", "Fleet")["Stalled"]["message"]
    assert status["lastAppliedRevision"] != status["lastAttemptedRevision"]
    world.wait(lambda: [one for one in told(world, "fleet") if one["reason"] == "PlanHeld"], "an Event")


def test_a_refusal_is_told_at_its_line_and_goes_when_it_is_over(world: World) -> None:
    started(world, model("one", servingPort=1))
    world.proxy.add(Rule(Answer(403, message="admission webhook denies it"), verb="patch", path="models/one", times=1))
    commit = world.commit(model("one", servingPort=2))
    world.wait(lambda: ready(world, "one") == ("False", "Failed"), "refused")
    message = conditions(world, "one")["Stalled"]["message"]
    assert message.startswith(f"models/one.yaml:1@{commit[:12]}: RX411: InferenceModel default/one: admission webhook")
    assert [one["type"] for one in told(world, "one") if one["reason"] == "ApplyFailed"] == ["Warning"]
    world.look()
    world.wait(lambda: ready(world, "one") == ("Unknown", "Applied"), "mended")
    assert set(conditions(world, "one")) == {"Ready"}


def test_a_problem_in_git_is_told_on_the_object_at_its_line(world: World) -> None:
    started(world, fleet(), model("one"))
    broken = json.loads(model("one")["models/one.yaml"])
    broken["spec"]["targetVersion"] = "9"
    commit = world.commit({"models/one.yaml": json.dumps(broken)})
    world.wait(lambda: ready(world, "one") == ("False", "BuildFailed"), "told")
    assert f"models/one.yaml:1@{commit[:12]}: RX2" in conditions(world, "one")["Stalled"]["message"]
    world.wait(lambda: ready(world, "fleet", "Fleet") == ("False", "BuildFailed"), "told on the Fleet")
    assert (world.there("fleet", "Fleet") or {})["status"]["problems"] == 1


def test_a_mirror_that_is_made_by_hand_is_stalled(world: World) -> None:
    started(world, model("one"))
    by_hand: dict[str, Any] = json.loads(manifest("Edge", "mine", {}))
    world.plane.post(world.path("", "Edge").rstrip("/"), by_hand)
    world.wait(lambda: ready(world, "mine", "Edge") == ("False", "NotFromGit"), "told")
    assert "kubectl delete edge mine" in conditions(world, "mine", "Edge")["Stalled"]["message"]
    assert len(world.sent("patch")) == 1  # it is not touched otherwise


def test_what_a_freeze_holds_is_told_by_the_object_itself(world: World) -> None:
    started(world, fleet(), model("one"))
    window = {"from": "2020-01-01T00:00:00Z", "until": "2120-01-01T00:00:00Z", "reason": "it is Christmas"}
    world.commit(fleet(freeze=[window]))
    world.wait(lambda: world.state.fleet.get("freeze"), "frozen")
    world.commit(model("one", "2"))
    world.wait(lambda: ready(world, "one") == ("False", "Suspended"), "told")
    assert "a change of it waits: frozen until 2120" in conditions(world, "one")["Ready"]["message"]
    world.commit(model("one"))  # as it is: nothing waits any more
    world.wait(lambda: ready(world, "one")[0] != "False", "told")


def test_reported_drift_names_who_did_it(world: World) -> None:
    rule = {"kinds": ["InferenceModel"], "fields": ["spec.servingPort"], "policy": "report"}
    started(world, fleet(drift=[rule]), model("one", servingPort=1))
    world.edit("one", {"spec": {"servingPort": 2}})
    world.wait(lambda: ready(world, "one") == ("False", "DriftReported"), "told")
    assert "spec.servingPort by kubectl-edit" in conditions(world, "one")["Ready"]["message"]
    (one,) = [one for one in told(world, "one") if one["reason"] == "DriftReported"]
    assert one["regarding"]["uid"] == (world.there("one") or {})["metadata"]["uid"]


def test_what_is_taken_back_is_told_with_the_other_writer(world: World) -> None:
    started(world, model("one", servingPort=1))
    world.edit("one", {"spec": {"servingPort": 2}})
    world.wait(lambda: [one for one in told(world, "one") if one["reason"] == "DriftCorrected"], "told")
    (one,) = [one for one in told(world, "one") if one["reason"] == "DriftCorrected"]
    assert (one["type"], "kubectl-edit" in one["note"]) == ("Warning", True)
    assert conditions(world, "one") == {}  # it is as Git says again: nothing is known beyond that


# ── what may go wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_is_not_answered_is_written_later(world: World, status: int) -> None:
    started(world, edge("a"), a_set())
    headers = {"Retry-After": "1"} if status == 429 else {}
    world.proxy.add(Rule(Answer(status, headers=headers), verb="patch", path="faces-a/status", times=2))
    serves(world, "faces-a", "a")

    def answers() -> list[int]:
        return [one.status for one in world.statuses() if "faces-a/" in one.path]

    world.wait(lambda: len(answers()) >= 3 and 0 not in answers(), "answered")  # 0: it is still on its way
    assert answers() == [status, status, 200]
    assert ready(world, "faces-a") == ("True", "Succeeded")


@pytest.mark.parametrize("status", [404, 409, 422])
def test_what_is_refused_is_dropped_until_something_changes(world: World, status: int) -> None:
    started(world, edge("a"), a_set())
    world.proxy.add(Rule(Answer(status), verb="patch", path="faces-a/status", times=1))
    serves(world, "faces-a", "a")
    world.proxy.wait(lambda sent: [one for one in sent if one.path.endswith("faces-a/status")])
    rest(world)
    assert ready(world, "faces-a") == ("", "")
    serves(world, "faces-a", "a", "2")
    world.wait(lambda: ready(world, "faces-a")[0] != "", "told")
    assert len([one for one in world.statuses() if "faces-a/" in one.path]) == 2


def test_our_own_statuses_change_nothing(world: World) -> None:
    started(world, fleet(), edge("a"), edge("b"), a_set())
    before = len(world.entries())
    for version in ("1", "2", "3"):
        serves(world, "faces-a", "a", version)
        rest(world)
    assert {one.event.type for one in world.entries()[before:]} == {
        "edge.found.v1",
        "apply.intended.v1",
        "apply.succeeded.v1",
    }
    assert len(world.entries()) == before + 9


def test_a_status_between_an_edit_and_its_correction_does_not_stop_it(world: World) -> None:
    """The resourceVersion of a forced apply is that of the object that was seen; a status has moved it on."""
    started(world, model("one", servingPort=1))
    stage = world.hubs[-1][0].stage
    assert isinstance(stage, ClusterStage)
    send, moved = stage.target.send, threading.Event()

    def late(orders: Sequence[Order]) -> None:
        if not moved.is_set():
            moved.set()
            path = f"{world.path('one')}/status"
            code, _ = world.plane.request("PATCH", path, {"status": {"servingVersion": "1"}})
            assert code == 200
        send(orders)

    stage.target.send = late  # type: ignore[method-assign]
    world.edit("one", {"spec": {"servingPort": 2}})
    world.wait(lambda: (world.there("one") or {})["spec"]["servingPort"] == 1, "taken back")
    world.wait_event("apply.succeeded", key("one"), count=2)
    assert world.events("apply.failed") == []


def test_an_edit_right_before_a_status_is_still_seen(world: World) -> None:
    """The answer to a write of a status holds somebody's edit: the watch alone tells of it, be it later."""
    started(world, edge("a"), a_set())
    stage = world.hubs[-1][0].stage
    assert isinstance(stage, ClusterStage)
    shelf, watch = stage.cache._shelves["InferenceModel"], threading.Event()
    heard, applied, edited = shelf.event, stage.publisher._applied, threading.Event()

    def late(deed: str, head: ObjectHead, line: bytes) -> None:
        watch.wait(10)
        heard(deed, head, line)

    def after_an_edit(key: Key, status: Mapping[str, Any]) -> Any:
        if key.name != "faces-a" or edited.is_set():
            return applied(key, status)
        edited.set()
        world.edit("faces-a", {"spec": {"modelName": "mine"}})
        answer = applied(key, status)
        watch.set()
        return answer

    shelf.event = late  # type: ignore[method-assign]
    stage.publisher._applied = after_an_edit  # type: ignore[method-assign]
    serves(world, "faces-a", "a")
    world.wait_event("drift.detected", key("faces-a"))
    world.wait(lambda: (world.there("faces-a") or {})["spec"]["modelName"] == "faces", "taken back")


def test_an_object_that_was_made_again_gets_no_status_of_the_old_one(world: World) -> None:
    started(world, edge("a"), a_set())
    stage = world.hubs[-1][0].stage
    assert isinstance(stage, ClusterStage)
    live = stage.cache.get(Key.parse(key("faces-a")))
    assert live is not None
    world.delete("faces-a")
    world.wait(lambda: (world.there("faces-a") or {}).get("metadata", {}).get("uid", live.uid) != live.uid, "again")
    stage.publisher._write(Key.parse(key("faces-a")), live.uid, {"phase": "Old"}, 10**9)
    world.wait(lambda: "phase" not in (world.there("faces-a") or {}).get("status", {"phase": ""}), "told anew")
    assert ready(world, "faces-a") == ("Unknown", "Applied")
