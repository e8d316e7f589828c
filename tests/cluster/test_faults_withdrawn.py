"""What was ordered and not answered meets what people did since: suspended, froze, took back, made by hand."""

import json
import signal
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from reconciler.errors import LeaseLost
from reconciler.history.keys import Key
from reconciler.kube.client.resources import OURS
from reconciler.model.identity import COMMIT, GROUP
from reconciler.wiring import hub as wiring
from reconciler.wiring.cluster import ClusterStage
from tests.api_proxy import Answer, Rule
from tests.cluster.cluster_hub import World, fleet, key, manifest, model, models, port, service, started, uid

BUSY: Final = Answer(503)
Files = Mapping[str, str | bytes | None]


def verb(world: World, name: str, **request: str) -> dict[str, Any]:
    """What a person asks the hub for."""
    return wiring.ask(world.hubs[-1][0].queue, {"verb": name, "actor": "ada", "scope": "*", **request})


def annotate(world: World, name: str, kind: str = "InferenceModel", **values: str | None) -> None:
    annotations = {f"{GROUP}/{what}": value for what, value in values.items()}
    world.edit(name, {"metadata": {"annotations": annotations}}, "kubectl-annotate", kind)


def accept(world: World, files: Files) -> None:
    """A commit whose plan was made."""
    world.commit(files)
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")


def ordered_in_vain(world: World, files: Files, method: str = "patch", name: str = "one") -> None:
    """A commit whose order on an object waits to be sent again, until the proxy is cleared."""
    world.proxy.add(Rule(BUSY, verb=method, path=f"inferencemodels/{name}$", times=None))
    world.commit(files)
    world.wait(lambda: any(one.path.endswith(f"/{name}") for one in world.sent(method)), "tried")


def answered_again(world: World) -> None:
    """The API server answers, and nothing waits to be sent again any more."""
    stage = world.hubs[-1][0].stage
    assert isinstance(stage, ClusterStage)
    world.proxy.clear()
    world.look("again")
    world.wait(lambda: not stage.target.unanswered, "nothing is to be sent again")
    verb(world, "reconcile")


def by_hand(world: World, name: str, version: str = "9", **annotations: str) -> str:
    """The uid of what somebody makes."""
    resource = OURS["InferenceModel"]
    meta = {"name": name, "namespace": "default", "annotations": {f"{GROUP}/{n}": v for n, v in annotations.items()}}
    document = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": service(version)}
    code, made = world.plane.request("POST", resource.path("default"), document)
    assert code == 201, made
    return str(made["metadata"]["uid"])


def heard(world: World, name: str) -> None:
    """Until the hub knows an object as it is at the API server."""
    stage = world.hubs[-1][0].stage
    assert isinstance(stage, ClusterStage)

    def same() -> bool:
        live = stage.cache.get(Key.parse(key(name)))
        return live is not None and live.version == (world.there(name) or {})["metadata"]["resourceVersion"]

    world.wait(same, "heard")


def window(**more: str) -> dict[str, Any]:
    """A freeze that holds now."""
    now = datetime.now(UTC)
    ends = {"from": now - timedelta(hours=1), "until": now + timedelta(hours=1)}
    return {name: at.isoformat(timespec="seconds").replace("+00:00", "Z") for name, at in ends.items()} | {
        "reason": "the fair",
        **more,
    }


# ── an order that waits to be sent again ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["verb", "fleet", "object", "freeze"])
def test_fault_025_what_was_stopped_meanwhile_is_not_sent_again(world: World, how: str) -> None:
    started(world, model("one", servingPort=1))
    ordered_in_vain(world, model("one", servingPort=2))
    asked_by = world.repository.head()
    if how == "verb":
        verb(world, "suspend", reason="on the bench")
    elif how == "freeze":
        accept(world, fleet(freeze=[window(scope="all")]))
    else:
        annotate(world, *(("fleet", "Fleet") if how == "fleet" else ("one",)), reconcile="disabled")
        world.wait_event("reconcile.suspended")
    answered_again(world)
    assert port(world) == 1
    assert world.mine.waits[key("one")].startswith("frozen" if how == "freeze" else "suspended by")
    assert not world.served("one").open
    if how == "verb":
        verb(world, "resume")
    elif how == "freeze":
        accept(world, fleet())
    else:
        annotate(world, *(("fleet", "Fleet") if how == "fleet" else ("one",)), reconcile=None)
    world.wait(lambda: port(world) == 2, "taken up again")
    world.wait(lambda: not world.mine.waits, "told")
    commit = (world.there("one") or {})["metadata"]["annotations"][COMMIT]
    assert commit == (world.repository.head() if how == "freeze" else asked_by)  # accepted then, not what was there
    world.check()


def test_fault_025_what_may_no_longer_be_deleted_is_not(world: World) -> None:
    started(world, {**model("one"), **model("two")})
    ordered_in_vain(world, {"models/one.yaml": None}, "delete")
    annotate(world, "one", prune="disabled")
    heard(world, "one")
    answered_again(world)
    assert uid(world)
    assert "prune: disabled" in world.mine.waits[key("one")]
    world.check()


def test_fault_038_what_may_no_longer_be_adopted_is_not(world: World) -> None:
    started(world, model("two"))
    theirs = by_hand(world, "one", "1")
    heard(world, "one")
    accept(world, model("one", "2"))
    ordered_in_vain(world, fleet(adopt=True))
    accept(world, fleet(adopt=False))
    answered_again(world)
    assert (uid(world), world.versions()["one"]) == (theirs, "1")
    accept(world, {"models/one.yaml": None})
    verb(world, "reconcile")
    assert uid(world) == theirs
    assert key("one") not in world.mine.keys
    world.check()


def test_fault_038_what_somebody_made_while_ours_was_to_be_made_is_theirs(world: World) -> None:
    started(world, model("two"))
    ordered_in_vain(world, model("one"))
    theirs = by_hand(world, "one", prune="disabled")
    heard(world, "one")
    accept(world, {"models/one.yaml": None})
    answered_again(world)
    accept(world, model("two", "2"))
    verb(world, "reconcile")
    assert uid(world) == theirs
    assert world.sent("delete") == []
    world.check()


def test_fault_038_what_somebody_made_anew_while_ours_was_to_be_changed_is_theirs(world: World) -> None:
    started(world, model("one", servingPort=1))
    ordered_in_vain(world, model("one", servingPort=2))
    world.delete("one")
    theirs = by_hand(world, "one")
    heard(world, "one")
    accept(world, {"models/one.yaml": None})
    answered_again(world)
    verb(world, "reconcile")
    assert uid(world) == theirs
    world.check()


def test_an_object_that_is_suspended_while_its_order_waits_gets_no_other_one(world: World) -> None:
    started(world, model("one", servingPort=1))
    ordered_in_vain(world, model("one", servingPort=2))
    annotate(world, "one", reconcile="disabled")
    world.wait_event("reconcile.suspended")
    accept(world, model("one", servingPort=3))
    answered_again(world)
    assert port(world) == 1
    world.check()


@pytest.mark.parametrize("how", ["verb", "annotation"])
def test_a_long_plan_stops_at_its_next_batch(world: World, how: str) -> None:
    started(world, models(2500))
    world.commit(models(2500, "2"))
    world.wait(lambda: len(world.events("apply.succeeded")) > 2501 + 50, "under way")
    if how == "verb":
        verb(world, "suspend", reason="stop")
    else:
        annotate(world, "fleet", "Fleet", reconcile="disabled")
    world.wait(lambda: len(world.mine.waits) > 0, "what is left waits")
    left = len(world.mine.waits)
    assert left >= 2500 - 3 * 512 - 256
    begun = 2500 - left  # what was on its way then arrives
    world.wait(lambda: sum(version == "2" for version in world.versions().values()) == begun, "begun, and no more")
    if how == "verb":
        verb(world, "resume")
    else:
        annotate(world, "fleet", "Fleet", reconcile=None)
    world.wait(lambda: not world.mine.waits, "taken up again")
    world.wait(lambda: set(world.versions().values()) == {"2"}, "all of it")
    world.check()


# ── freezes, rewritten history, held plans ────────────────────────────────────────────────────────────────────────────


def test_a_revert_in_a_freeze_takes_nothing_else_with_it(world: World) -> None:
    started(world, {**model("a", servingPort=1), **model("b", servingPort=1)})
    world.commit(model("b", servingPort=2))
    world.wait_settled()
    accept(world, fleet(freeze=[window()]))
    accept(world, model("a", servingPort=2))
    world.repository.revert("HEAD~2")
    world.wait(lambda: port(world, "b") == 1, "reverted")
    verb(world, "reconcile")
    assert port(world, "a") == 1
    assert world.mine.waits[key("a")].startswith("frozen")
    world.edit("a", {"spec": {"nodeName": "elsewhere"}})
    world.wait(lambda: (world.there("a") or {})["spec"]["nodeName"] == "berlin", "a hand edit is taken back")
    assert port(world, "a") == 1
    world.check()


def test_fault_049_rewritten_history_waits_for_a_person_also_where_all_of_it_waits(world: World) -> None:
    started(world, {**model("a", servingPort=1), **model("b", servingPort=1), **model("c", servingPort=1)})
    base = world.repository.head()
    world.commit(model("b", servingPort=2))
    world.wait_settled()
    verb(world, "suspend", reason="it is night")
    world.repository.reset(base)
    world.commit(model("a", servingPort=7))
    world.wait(lambda: world.mine.held_plan, "held")
    verb(world, "resume")
    world.edit("c", {"spec": {"servingPort": 9}})
    world.wait(lambda: port(world, "c") == 1, "a hand edit of something else is taken back")
    verb(world, "reconcile")
    assert (port(world, "a"), port(world, "b")) == (1, 2)
    held = world.mine.held_plan
    assert held is not None
    first = verb(world, "approve", digest=held.digest)
    if first["held"]:  # what waited when it was held is part of it now
        verb(world, "approve", digest=first["digest"])
    world.wait(lambda: (port(world, "a"), port(world, "b")) == (7, 1), "approved")
    world.check()


def test_what_a_held_plan_is_about_stays_as_it_was_ordered(world: World) -> None:
    started(world, {**models(10), **model("one", servingPort=1)}, prune={"maxDeletes": 2, "maxShare": "100%"})
    rows = models(10)["models/0.yaml"].split("\n---\n")
    world.commit({"models/0.yaml": "\n---\n".join(rows[5:]), **model("one", servingPort=2)})
    world.wait(lambda: world.mine.held_plan, "held")
    held = world.mine.held_plan
    world.wait(lambda: port(world) == 2, "what else the commit asks for")
    world.edit("m00007", {"spec": {"nodeName": "elsewhere"}})
    world.wait(lambda: (world.there("m00007") or {})["spec"]["nodeName"] == "berlin", "taken back")
    assert (port(world), len(world.versions())) == (2, 11)
    assert world.mine.held_plan == held
    verb(world, "approve", digest=held.digest if held else "")
    world.wait(lambda: (port(world), len(world.versions())) == (2, 6), "done")
    world.check()


@pytest.mark.parametrize("what", ["resume", "approve"])
def test_fault_042_a_verb_without_the_lease_is_refused_before_it_is_recorded(world: World, what: str) -> None:
    started(world, models(10), prune={"maxDeletes": 2, "maxShare": "100%"})
    verb(world, "suspend", reason="it is night")
    if what == "approve":
        verb(world, "resume")
        world.commit({"models/0.yaml": models(1)["models/0.yaml"]})
        world.wait(lambda: world.mine.held_plan, "held")
    digest = world.mine.held_plan.digest if world.mine.held_plan else ""
    world.proxy.add(Rule(BUSY, path="leases", times=None))
    world.wait_event("lease.lost")
    before = len(world.events("reconcile.resumed")) + len(world.events("change.approved"))
    with pytest.raises(LeaseLost):
        verb(world, what, digest=digest)
    assert len(world.events("reconcile.resumed")) + len(world.events("change.approved")) == before
    world.proxy.clear()
    world.wait_event("lease.acquired", count=2)
    verb(world, what, digest=digest)
    world.check()


# ── what is as Git says again ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["refused", "killed"])
def test_what_was_refused_and_taken_back_is_as_git_says(world: World, fault: str) -> None:
    started(world, model("one", servingPort=1))
    if fault == "refused":
        world.proxy.add(Rule(Answer(422), verb="patch", path="one$", times=None))
        world.commit(model("one", servingPort=2))
        world.wait(lambda: world.served("one").phase == "Rejected", "refused")
        world.proxy.clear()
        world.repository.revert("HEAD")
    else:
        world.stop()
        world.proxy.add(Rule(BUSY, verb="patch", path="one$", times=None))
        dying = world.process()
        world.commit(model("one", servingPort=2))
        world.wait(lambda: world.sent("patch"), "tried")
        dying.kill()
        dying.wait()
        world.bury()
        world.proxy.clear()
        world.repository.revert("HEAD")
        world.hub()
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    world.wait(lambda: world.served("one").phase == "Committed", "as Git says")
    assert world.status().converged
    world.edit("one", {"spec": {"servingPort": 5}})
    world.wait(lambda: port(world) == 1, "kept so")
    world.wait_event("drift.detected", key("one"))
    world.check()


OFF: Final = {f"{GROUP}/reconcile": "disabled"}


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [("InferenceModel", "one", "models/one.yaml"), ("Fleet", "fleet", "fleet.yaml"), ("Edge", "e", "e.yaml")],
)
def test_what_git_suspends_by_annotation_git_takes_up_again(world: World, kind: str, name: str, path: str) -> None:
    spec = {"Fleet": json.loads(fleet()["fleet.yaml"])["spec"], "InferenceModel": service(servingPort=1)}.get(kind, {})
    world.commit({**fleet(), **model("one", servingPort=1), path: manifest(kind, name, spec, annotations=OFF)})
    world.hub()
    world.wait_settled()
    verb(world, "reconcile")
    if kind == "InferenceModel":
        accept(world, {path: manifest(kind, name, {**spec, "servingPort": 2}, annotations=OFF)})
        assert "suspended by Git" in world.mine.waits[key("one")]
    else:
        assert [(one.actor, one.annotated) for one in world.status().suspended] == [("Git", True)]
    accept(world, {path: manifest(kind, name, spec)})
    accept(world, model("one", servingPort=3))
    world.wait(lambda: port(world) == 3, "taken up again")
    world.wait_settled()
    verb(world, "reconcile")
    assert (world.mine.waits, world.status().suspended) == ({}, ())
    world.check()


# ── an API server that comes back ─────────────────────────────────────────────────────────────────────────────────────


def test_fault_025_an_api_server_killed_in_the_midst_of_a_plan_comes_back(world: World) -> None:
    """For a moment it refuses everybody, as it has not read its roles yet."""
    started(world, models(600))
    world.commit(models(600, "2"))
    world.wait(lambda: len(world.events("apply.succeeded")) > 601 + 50, "under way")
    world.proxy.add(Rule(Answer(403), after=5, times=40))  # the moment itself is too short to be met each time
    world.plane.local().restart(graceful_s=0)
    world.wait_served()
    world.wait(lambda: set(world.versions().values()) == {"2"}, "all of it")
    world.wait(lambda: world.status().converged, "and known")
    world.wait(lambda: not world.status().cluster_lost, "and no right is said to be missing")
    assert world.failures == []


# ── what the order before said ────────────────────────────────────────────────────────────────────────────────────────


def digits(version: str) -> dict[str, str]:
    """A set on two edges, with all its versions declared."""
    served = {"modelName": "digits", "deployToLayer": "edge", "frameworkType": "onnx", "modelRef": "digits"}
    on = {"edgeSelector": {"matchLabels": {"ring": "a"}}, "defaultVersion": version, "template": {"spec": served}}
    versions = [entry for one in "123" for entry in service(one)["manifest"]]
    files = {"set.yaml": manifest("InferenceModelSet", "digits", on)}
    files["model.yaml"] = manifest("Model", "digits", {"frameworkType": "onnx", "versions": versions})
    return files | {f"{e}.yaml": manifest("Edge", e, {"nodeName": e}, labels={"ring": "a"}) for e in ("e1", "e2")}


def staged(world: World) -> list[list[str]]:
    """The versions in the manifest of each InferenceModel."""
    found = [world.there(f"digits-{edge}") or {} for edge in ("e1", "e2")]
    return [[entry["version"] for entry in one["spec"]["manifest"]] for one in found]


@pytest.mark.parametrize("how", ["killed", "stopped", "withdrawn", "refused"])
def test_the_version_before_stays_staged_when_an_order_came_to_nothing(world: World, how: str) -> None:
    started(world, digits("1"))
    assert staged(world) == [["1"], ["1"]]
    if how == "killed":
        world.stop()
        world.commit(digits("2"))
        dying = world.process(failpoint="loop.intended:kill")
        assert dying.wait(60) == -signal.SIGKILL, world.output()
        world.bury()
        world.hub()
    elif how == "refused":
        world.proxy.add(Rule(Answer(422), verb="patch", path="inferencemodels/digits-e.$", times=None))
        world.commit(digits("2"))
        world.wait_event("apply.failed", count=2)
        world.proxy.clear()
        world.commit(digits("3"))
    else:
        world.proxy.add(Rule(BUSY, verb="patch", path="inferencemodels/digits-e.$", times=None))
        world.commit(digits("2"))
        world.wait(lambda: any("digits-e" in one.path for one in world.sent("patch")), "tried")
        if how == "stopped":
            world.stop()
            world.proxy.clear()
            world.hub()
        else:
            verb(world, "suspend", reason="on the bench")
            answered_again(world)
            verb(world, "resume")
    world.wait_settled()
    newest = "3" if how == "refused" else "2"
    assert staged(world) == [[newest, "1"], [newest, "1"]]
    world.commit(digits("1"))
    world.wait_settled()
    assert staged(world) == [["1", newest], ["1", newest]]
    world.check()
