"""What others do to objects that Git declares, seen by the whole hub at a real API server."""

import json
import time
from typing import Any
from uuid import uuid4

import pytest

from reconciler.kube.write import apply as sending
from reconciler.planning.contention import MOST, PAUSE_S
from reconciler.planning.look import Look
from reconciler.stages import keeping
from reconciler.wiring import hub as wiring
from reconciler.wiring.process import SystemClock
from tests.api_proxy import Repeat, Rule, Swap
from tests.cluster.cluster_hub import EDITOR, World, fleet, key, manifest, model, models, port, service, started, uid

ONE = key("one")


class Shifted(SystemClock):
    """This machine's clock, put forward."""

    by_s = 0.0

    def now(self) -> float:
        return super().now() + self.by_s

    def monotonic(self) -> float:
        return super().monotonic() + self.by_s


def begun(world: World, *more: dict[str, str], **policy: Any) -> None:
    """A hub that keeps `one`, on port 1, and what more there is."""
    files = model("one", servingPort=1)
    for each in more:
        files |= each
    started(world, files, **policy)


def taken_back(world: World, times: int) -> None:
    """Another controller writes a field of `one`, and each time it is as Git says again."""
    for number in range(times):
        world.edit("one", {"spec": {"servingPort": 100 + number}}, "other-controller")
        world.wait(lambda: port(world) == 1, "taken back")
        world.wait_settled()


def rule(policy: str, **more: Any) -> dict[str, Any]:
    return {"kinds": ["InferenceModel"], "policy": policy, **more}


def test_fault_038_an_edit_is_taken_back_and_its_writer_named(world: World) -> None:
    begun(world, model("two", servingPort=1))
    world.edit("one", {"spec": {"servingPort": 2, "replicas": 1}}, "kubectl-edit")
    world.wait(lambda: port(world) == 1, "taken back")
    told = world.wait_event("drift.detected", ONE).event
    assert (told.actor, told.data["writer"], told.data["what"]) == ("kubectl-edit", "kubectl-edit", "changed")
    assert told.data["fields"] == [  # also a field that Git does not name, where people set it
        {"field": "spec.replicas", "manager": "kubectl-edit", "old": None, "new": 1},
        {"field": "spec.servingPort", "manager": "kubectl-edit", "old": 1, "new": 2},
    ]
    world.wait_settled()
    found = world.there("one")
    assert found is not None
    assert "replicas" not in found["spec"]
    assert all("/one" in write.path for write in world.writes())
    done = len(world.writes())
    intent = world.events("apply.intended", ONE)[-1].event
    assert intent.causationid == told.id
    assert world.status().cluster_lost == ()
    world.look()
    world.look("object", ONE)
    world.wait_settled()
    assert len(world.writes()) == done
    world.check()


@pytest.mark.parametrize("policy", ["report", "ignore"])
def test_fault_038_an_edit_is_left_where_a_rule_says_so(world: World, policy: str) -> None:
    begun(world, drift=[rule(policy, fields=["spec.servingPort"], managers=["kubectl*"])])
    world.edit("one", {"spec": {"servingPort": 2}})
    if policy == "report":
        told = world.wait_event("drift.detected", ONE)
        assert told.event.data["policy"] == "report"
        (row,) = [one for one in world.status().objects if one.name == "one"]
        assert "kubectl-edit" in row.drift
    world.edit("one", {"spec": {"replicas": 1}}, "another")  # an event behind it, so that the first was looked at
    world.edit("one", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}, "another")
    world.wait_event("drift.detected", ONE, writer="another")
    world.wait_settled()
    world.look()
    world.commit(model("one", "2", servingPort=1))
    world.wait_settled()
    found = world.there("one")
    assert found is not None
    assert (found["spec"]["servingPort"], found["spec"]["targetVersion"]) == (2, "2")
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "reconciler"
    told_of = {row["field"] for one in world.events("drift.detected") for row in one.event.data["fields"]}
    assert ("spec.servingPort" in told_of) == (policy == "report")
    world.edit("one", {"spec": {"servingPort": 1}})
    if policy == "report":
        world.wait_event("drift.resolved", ONE)


def test_fault_038_what_was_deleted_or_made_again_by_hand_is_told_by_uid(world: World) -> None:
    begun(world)
    first = uid(world)
    world.delete("one")
    told = world.wait_event("drift.detected", ONE, what="deleted")
    assert told.event.data["uid"] == first
    world.wait(lambda: uid(world) not in {"", first}, "made again by us")
    world.wait_settled()
    second = uid(world)
    assert world.served("one").live["uid"] == second
    found = world.there("one")
    assert found is not None
    made = {"apiVersion": found["apiVersion"], "kind": found["kind"], "spec": {**found["spec"], "servingPort": 7}}
    world.stop()  # so that both happen before it looks
    world.delete("one")
    path = world.path("one").rpartition("/")[0]
    world.plane.post(path, {**made, "metadata": {"name": "one"}})
    third = uid(world)
    world.hub()
    world.wait(lambda: port(world) == 1, "taken back")
    world.wait_settled()
    assert uid(world) == third
    assert world.served("one").live["uid"] == third
    told = world.wait_event("drift.detected", ONE, what="made again")
    assert told.event.data["uid"] == third
    world.check()


def test_fault_038_made_again_by_hand_while_the_hub_watches(world: World) -> None:
    begun(world, drift=[rule("report")])
    first = uid(world)
    found = world.there("one")
    assert found is not None
    world.delete("one")
    world.wait_event("drift.detected", ONE, what="deleted")
    world.look()
    world.commit(model("two"))
    world.wait(lambda: "two" in world.versions(), "others go on")
    assert "one" not in world.versions()  # a rule leaves it deleted
    made = {"apiVersion": found["apiVersion"], "kind": found["kind"], "spec": {**found["spec"], "servingPort": 7}}
    world.plane.post(world.path("one").rpartition("/")[0], {**made, "metadata": {"name": "one"}})
    world.wait_event("drift.detected", ONE, what="made again")
    world.wait_settled()
    assert uid(world) not in {"", first}


@pytest.mark.parametrize("adopt", [False, True])
def test_fault_038_what_somebody_else_made_is_taken_over_only_where_that_is_allowed(world: World, adopt: bool) -> None:
    theirs = json.loads(model("one", servingPort=7)["models/one.yaml"])
    world.plane.post(world.path("one").rpartition("/")[0], theirs)
    made = uid(world)
    taken = [{"policy": "correct", "fields": ["spec"]}]  # without a rule nothing is taken of what others have
    world.commit({**fleet(adopt=adopt, drift=taken), **model("one", servingPort=1), **model("two")})
    world.hub()
    if adopt:
        world.wait(lambda: port(world) == 1, "taken over")
        world.wait_settled()
        assert uid(world) == made
    else:
        world.wait(lambda: "two" in world.versions(), "the others go on")
        world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
        assert port(world) == 7
        assert world.events("apply.intended", ONE) == []
    world.commit({"models/one.yaml": None})
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
    if adopt:
        world.wait(lambda: uid(world) == "", "ours now, and pruned")
    else:
        world.look()
        world.commit(model("three"))
        world.wait(lambda: "three" in world.versions(), "three")
        assert uid(world) == made  # never deleted
        assert world.mine.waits == {}  # and nothing waits for what Git no longer speaks of
    world.check()


def test_fault_028_two_writers_of_one_field_are_named_and_given_up_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "SystemClock", Shifted)
    monkeypatch.setattr(Shifted, "by_s", 0.0)
    begun(world)
    taken_back(world, 5)
    assert world.events("drift.fought") == []
    for number in range(3):
        world.edit("one", {"spec": {"servingPort": 200 + number}}, "other-controller")
        if not number:
            told = world.wait_event("drift.fought", ONE).event.data
    assert told["count"] == 5
    assert told["fields"] == [{"field": "spec.servingPort", "manager": "other-controller"}]
    world.wait(lambda: len(world.events("drift.detected", ONE)) >= 6, "seen")
    world.look()
    world.look("object", ONE)
    world.commit(model("two"))
    world.wait(lambda: "two" in world.versions(), "others go on")
    assert port(world) == 202
    assert len([one for one in world.writes() if one.path.endswith("/one")]) == 5
    (row,) = [one for one in world.status().objects if one.name == "one"]
    assert "other-controller" in row.message
    assert "reconciler" in row.message
    monkeypatch.setattr(Shifted, "by_s", PAUSE_S + 1)
    world.look("again")  # wakes the queue, whose clock has moved
    world.wait(lambda: port(world) == 1, "taken back after the pause")
    assert len(world.events("drift.fought")) == 1


def test_fault_028_a_fight_is_over_after_its_pause_without_anybody_looking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "PAUSE_S", 4.0)
    begun(world)
    taken_back(world, 5)
    world.edit("one", {"spec": {"servingPort": 200}}, "other-controller")
    world.wait_event("drift.fought", ONE)
    world.edit("one", {"spec": {"servingPort": 201}}, "other-controller")  # looked at, and still left alone
    world.wait(lambda: "201" in str(world.events("drift.detected", ONE)[-1].event.data["fields"]), "looked at")
    assert port(world) == 201
    world.wait(lambda: port(world) == 1, "taken back after the pause", 30)
    world.wait_settled()
    world.check()


@pytest.mark.parametrize("fault", [Repeat(), Swap()])
def test_fault_034_events_twice_or_out_of_order_change_nothing(world: World, fault: Repeat | Swap) -> None:
    world.commit({**fleet(), **models(20)})
    world.hub()
    world.wait_settled()
    world.proxy.forget()
    every = 1 if isinstance(fault, Repeat) else 2
    world.proxy.add(*[Rule(fault, verb="watch", path="inferencemodels", after=n) for n in range(0, 80, every)])
    world.commit(models(20, "2"))
    world.wait_settled()
    world.edit("m00003", {"spec": {"nodeName": "elsewhere"}})

    def taken_back() -> bool:
        beat = {"beat": uuid4().hex}  # a line behind, so that all are passed; another's label is none of ours
        world.edit("m00007", {"metadata": {"labels": beat}}, "another")
        return bool((world.there("m00003") or {})["spec"]["nodeName"] == "berlin")

    world.wait(taken_back, "taken back")
    world.wait_settled()
    world.look()
    world.commit(model("last"))
    world.wait_settled()
    assert len(world.writes()) == 22
    assert len(world.events("drift.detected")) == 1
    world.check()


def test_fault_038_a_set_of_an_edge_and_its_objects_are_kept_alike(world: World) -> None:
    spec = {"modelName": "faces", "deployToLayer": "edge", "frameworkType": "onnx", "modelRef": "faces"}
    entry = {"version": "1", "downloadURL": "https://models.example.com/1.tar.gz", "sha256sum": "a" * 64}
    files = {
        "set.yaml": manifest(
            "InferenceModelSet",
            "faces",
            {"edgeSelector": {"matchLabels": {"ring": "a"}}, "defaultVersion": "1", "template": {"spec": spec}},
        ),
        "model.yaml": manifest("Model", "faces", {"frameworkType": "onnx", "versions": [entry]}),
        "edge.yaml": manifest("Edge", "e1", {"nodeName": "n1"}, labels={"ring": "a"}),
    }
    begun(world, files)
    made = "faces-e1"
    assert made in world.versions()
    first = uid(world, made)
    world.edit("e1", {"spec": {"nodeName": "n2"}}, kind="Edge")
    world.delete(made)
    world.wait_event("drift.detected", key("e1", "Edge"))
    world.wait(lambda: uid(world, made) not in {"", first}, "made again")
    world.wait(lambda: (world.there("e1", "Edge") or {})["spec"]["nodeName"] == "n1", "taken back")
    world.check()


def test_fault_038_drift_is_told_within_seconds(world: World) -> None:
    """By watch, not by the audit, which comes each five minutes."""
    begun(world, models(200))
    began = time.monotonic()
    for number in range(0, 200, 10):
        world.edit(f"m{number:05}", {"spec": {"nodeName": "elsewhere"}})
    world.wait_event("drift.detected", count=20)
    world.wait_settled()
    assert time.monotonic() - began < 120  # an audit is 240 s away at least
    world.proxy.wait(lambda _: len(world.writes()) >= 20)
    assert len(world.writes()) == 20


def test_fault_028_a_fight_over_existence_is_left_alone_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "GONE_PAUSE_S", 6.0)
    started(world, model("one"))
    for _ in range(MOST + 1):
        world.wait(lambda: world.there("one"), "made again")
        world.wait(lambda: not world.served("one").open, "answered")
        world.delete("one")
    fought = world.wait_event("drift.fought", key("one")).event
    assert fought.data["fields"] == [{"field": "the object itself", "manager": ""}]
    made = len(world.events("apply.intended", key("one")))
    assert made == 1 + MOST
    assert world.served("one").message == "somebody and reconciler fight over it"
    world.look()
    assert len(world.events("apply.intended", key("one"))) == made
    world.wait(lambda: world.there("one"), "made again when that was over", 30)
    world.check()


def ruled(policy: str) -> dict[str, str]:
    return fleet(drift=[{"policy": policy, "fields": ["spec.servingPort"]}])


@pytest.mark.parametrize(("before", "after"), [("report", "ignore"), ("ignore", "report"), ("ignore", "correct")])
def test_fault_038_other_rules_count_for_what_drifted_before(world: World, before: str, after: str) -> None:
    world.commit({**ruled(before), **model("one", servingPort=1)})
    world.hub()
    world.wait_settled()
    world.edit("one", {"spec": {"servingPort": 5}})
    world.wait(lambda: bool(world.served("one").drift) == (before == "report"), "told, or not")
    world.commit(ruled(after))
    if after == "ignore":
        world.wait(lambda: not world.served("one").drift, "nothing stands against it")
    else:
        told = world.wait_event("drift.detected", key("one"), policy=after).event
        assert told.actor == EDITOR
    if after == "correct":
        world.wait(lambda: port(world) == 1, "taken back")
    else:
        assert port(world) == 5
    world.check()


def test_fault_038_a_reported_value_that_git_takes_up_is_no_drift(world: World) -> None:
    world.commit({**ruled("report"), **model("one", servingPort=1)})
    world.hub()
    world.wait_settled()
    world.edit("one", {"spec": {"servingPort": 5}})
    world.wait_event("drift.detected", key("one"))
    world.commit(model("one", servingPort=5))
    world.wait_settled()
    world.look()
    world.wait_event("drift.resolved", key("one"))
    assert not world.served("one").drift
    assert world.status().converged
    world.check()


# kind -> its spec as first, by hand, in the commit: every field that differs is left to others.
LEFT: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "Edge": ({"address": "10.0.0.1"}, {"address": "10.9.9.9"}, {"address": "10.0.1.1"}),
    "InferenceModel": (service(servingPort=1), service(servingPort=9, nodeName="paris"), service(servingPort=2)),
}


@pytest.mark.parametrize("policy", ["report", "ignore"])
@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("found", ["edited", "adopted"])
def test_fault_038_an_object_whose_every_field_is_left_to_others_ends_nothing(
    world: World, kind: str, policy: str, found: str
) -> None:
    first, by_hand, later = LEFT[kind]
    if found == "adopted":  # by a hub with an empty log
        world.plane.post(world.path("x", kind).rpartition("/")[0], json.loads(manifest(kind, "x", by_hand)))
    rule = {"kinds": [kind], "fields": ["spec.*"], "policy": policy}
    started(world, {"x.yaml": manifest(kind, "x", first)}, drift=[rule], adopt=True)
    if found == "edited":
        world.edit("x", {"spec": by_hand}, kind=kind)
    world.commit({"x.yaml": manifest(kind, "x", later, labels={"moved": "yes"}), **model("other")})
    world.wait(lambda: "other" in world.versions(), "others go on")
    world.wait_settled()
    there = world.there("x", kind) or {}
    assert there["spec"] == by_hand
    assert there["metadata"]["labels"]["moved"] == "yes"  # what is not left to others is ours
    world.stop()
    world.hub()
    world.edit("x", {"metadata": {"labels": {"moved": "no"}}}, kind=kind)
    world.wait(lambda: (world.there("x", kind) or {})["metadata"]["labels"]["moved"] == "yes", "taken back")
    world.check()


@pytest.mark.parametrize("where", ["sent", "observed"])
def test_a_bug_that_meets_one_object_is_that_object_s_condition(
    world: World, where: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begun(world, model("two", servingPort=1))
    room, name = (sending, "document") if where == "sent" else (Look, "observed")
    sound = getattr(room, name)

    def broken(*given: Any, **parts: Any) -> Any:
        if ONE in {str(one.key if isinstance(one, Look) else one) for one in given}:
            raise KeyError("spec")
        return sound(*given, **parts)

    monkeypatch.setattr(room, name, broken)
    world.edit("one", {"spec": {"servingPort": 5}})  # whoever looks at it meets the bug
    world.commit({**model("one", servingPort=2), **model("two", servingPort=2)})
    world.wait(lambda: port(world, "two") == 2, "others go on")

    def told() -> bool:
        (row,) = [one for one in world.status().objects if one.name == "one"]
        return not row.settled and "this is a bug: KeyError: 'spec'" in row.said

    world.wait(told, "its condition")
    world.stop()
    world.hub()  # and again when started anew
    world.commit(model("two", servingPort=3))
    world.wait(lambda: port(world, "two") == 3, "others go on")
    world.wait(told, "its condition")
    assert "Traceback" in capfd.readouterr().err
    monkeypatch.setattr(room, name, sound)
    world.look()
    world.wait(lambda: port(world) == 2, "done when it is mended")
    world.wait_settled()
    world.check()
