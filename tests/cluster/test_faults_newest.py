"""Only what is wanted now is done: not what was wanted before, by a retry, at a start, or for want of a read."""

import contextlib
import json
import shutil
from typing import Any

import pytest

from reconciler.engine.recorder import Recorder
from reconciler.errors import SettingInvalid
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import events as ev
from reconciler.history.state import State
from reconciler.kube.client.resources import OURS
from reconciler.wiring import cluster as wiring
from reconciler.wiring.hub import ask
from reconciler.wiring.preview import preview
from reconciler.wiring.process import SystemClock
from tests.api_proxy import GONE, Answer, Delay, Rule
from tests.cluster.cluster_hub import World, fleet, key, model, models, port, started, uid

BUSY = Answer(503)
NOT_SERVED = Answer(404, body=b"404 page not found")
ONE = "inferencemodels/one$"


def path_of(kind: str) -> str:
    """All of a kind, as a pattern."""
    return f"/{OURS[kind].plural}$"


def unreadable(kind: str, fault: Answer, times: int | None = None) -> tuple[Rule, Rule]:
    """From now on a kind cannot be listed, and its watch ends."""
    return (
        Rule(fault, verb="list", path=path_of(kind), times=times),
        Rule(GONE, verb="watch", path=path_of(kind)),
    )


def accepted(world: World) -> bool:
    return world.state.ref.accepted == world.repository.head()


def edit_fleet(world: World, **annotations: str) -> None:
    values = {f"ai.kubeedge.io/{name}": value for name, value in annotations.items()}
    world.edit("fleet", {"metadata": {"annotations": values}}, "kubectl-annotate", "Fleet")


# ── an order that is sent again ───────────────────────────────────────────────────────────────────────────────────────


def in_flight_again(world: World, verb: str) -> None:
    """An order on `one` got no answer, and its second try is on its way and gets none either."""
    world.proxy.add(Rule(BUSY, verb=verb, path=ONE, times=2))
    world.proxy.add(Rule(Delay(2.0), verb=verb, path=ONE, after=1))


def nothing_waits(world: World) -> None:
    """Until no order is on its way or is to be sent again."""
    stage = world.hubs[-1][0].stage
    assert isinstance(stage, wiring.ClusterStage)
    world.look("again")
    world.wait(lambda: not stage.target.unanswered, "nothing is to be sent again")


def test_fault_026_a_retry_never_undoes_what_a_newer_commit_ordered(world: World) -> None:
    started(world, model("one"))
    in_flight_again(world, "patch")
    world.commit(model("one", "2"))
    world.wait(lambda: "Delay" in "".join(one.fault for one in world.sent("patch")), "sent again")
    world.commit(model("one", "3"))
    world.wait(lambda: accepted(world) and world.served("one").phase == "Committed", "answered")
    nothing_waits(world)
    assert world.versions() == {"one": "3"}
    assert world.served("one").order["spec"]["targetVersion"] == "3"
    world.check()


def test_fault_026_a_retried_delete_never_takes_what_was_declared_again(world: World) -> None:
    started(world, model("one"))
    before = uid(world)
    in_flight_again(world, "delete")
    world.commit({"models/one.yaml": None})
    world.wait(lambda: "Delay" in "".join(one.fault for one in world.sent("delete")), "sent again")
    world.commit(model("one", "2"))
    world.wait(lambda: accepted(world) and world.served("one").phase == "Committed", "answered")
    nothing_waits(world)
    assert (uid(world), world.versions()) == (before, {"one": "2"})
    assert not any(one.status == 200 for one in world.sent("delete"))
    world.check()


# ── a suspension that is still there ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", [NOT_SERVED, Answer(403), BUSY], ids=["404", "403", "503"])
def test_fault_040_a_suspension_holds_where_another_kind_cannot_be_read(world: World, fault: Answer) -> None:
    started(world, model("one"))
    edit_fleet(world, reconcile="disabled")
    world.wait(lambda: _reason(world) == "Suspended", "noticed")
    world.proxy.add(*unreadable("Dataset", fault))
    world.proxy.add(*unreadable("InferenceModel", BUSY, times=3))
    world.wait_event("cluster.found", what="InferenceModel")
    world.commit(model("one", "2"))
    world.wait(lambda: accepted(world), "the commit judged")
    assert world.versions() == {"one": "1"}
    assert "suspended by kubectl-annotate" in world.mine.waits[key("one")]


@pytest.mark.parametrize("kind", ["Dataset", "Fleet"])
def test_fault_040_a_restart_that_cannot_read_a_kind_drops_no_suspension(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what suspends others nothing is guessed: all waits until it can be read."""
    monkeypatch.setattr(wiring, "LISTED_S", 0.2)
    started(world, model("one"))
    edit_fleet(world, reconcile="disabled")
    world.wait(lambda: _reason(world) == "Suspended", "noticed")
    world.stop()
    world.commit(model("one", "2"))
    world.proxy.add(*unreadable(kind, NOT_SERVED))
    world.hub()
    world.wait(lambda: accepted(world), "the commit judged")
    assert world.versions() == {"one": "1"}
    told = "suspended by kubectl-annotate" if kind == "Dataset" else "suspended by reconciler: whether anything is"
    assert told in world.mine.waits[key("one")]
    world.proxy.clear()
    world.wait(lambda: "by kubectl-annotate" in world.mine.waits[key("one")], "known again")
    assert world.versions() == {"one": "1"}
    world.edit("fleet", {"metadata": {"annotations": {"ai.kubeedge.io/reconcile": None}}}, kind="Fleet")
    world.wait(lambda: world.versions() == {"one": "2"}, "taken up again")
    world.check()


def _reason(world: World) -> str:
    status: dict[str, Any] = (world.there("fleet", "Fleet") or {}).get("status", {})
    return next((one["reason"] for one in status.get("conditions", ()) if one["type"] == "Ready"), "")


# ── a start ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fault_057_what_was_rolled_back_while_the_hub_was_away_is_not_rolled_out_again(world: World) -> None:
    started(world, model("one", servingPort=1))
    world.commit(model("one", servingPort=2))
    world.wait_settled()
    world.stop()
    world.commit(model("one", servingPort=1))
    world.edit("one", {"spec": {"servingPort": 1}})
    world.proxy.forget()
    world.hub()
    world.wait(lambda: accepted(world), "the commit judged")
    world.wait(lambda: not world.served("one").open, "answered")
    sent = [one.event.data["spec"]["spec"]["servingPort"] for one in world.events("apply.intended", key("one"))[2:]]
    assert 2 not in sent
    assert port(world) == 1
    world.check()


def test_fault_038_what_git_dropped_and_somebody_made_anew_while_the_hub_was_away_is_theirs(world: World) -> None:
    started(world, {**model("one"), **model("two")})
    world.stop()
    world.commit({"models/one.yaml": None})
    world.delete("one")
    spec = {"metadata": {"name": "one", "namespace": "default"}, "spec": _spec("9")}
    resource = OURS["InferenceModel"]
    document = {"apiVersion": resource.api_version, "kind": resource.kind, **spec}
    code, made = world.plane.request("POST", resource.path("default"), document)
    assert code == 201, made
    world.hub()
    world.wait(lambda: accepted(world), "the commit judged")
    world.look()
    world.commit(model("two", "2"))
    world.wait_settled()
    assert uid(world) == made["metadata"]["uid"]
    assert world.versions() == {"one": "9", "two": "2"}
    world.check()


def _spec(version: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(model("one", version)["models/one.yaml"])["spec"]
    return spec


def test_fault_053_a_start_without_git_still_takes_back_what_others_did(world: World) -> None:
    started(world, model("one", servingPort=1))
    world.stop()
    world.edit("one", {"spec": {"servingPort": 2}})
    away = world.repository.path.rename(world.repository.path.with_name("away"))
    world.hub()
    world.wait(lambda: port(world) == 1, "taken back")
    away.rename(world.repository.path)
    world.check()


@pytest.mark.parametrize("kind", ["Model", "Edge"])
def test_fault_043_a_start_without_one_kind_settles_and_heals_the_others(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an Edge, which may say that others are to be left alone, there is more to wait for."""
    monkeypatch.setattr(wiring, "LISTED_S", 0.2)
    world.commit({**fleet(), **model("one", servingPort=1)})
    dying = world.process(failpoint="cluster.answered:kill:1")
    assert dying.wait(60) == -9
    world.bury()
    assert any(one.open for one in world.mine.keys.values())
    world.edit("one", {"spec": {"servingPort": 2}})
    world.proxy.add(*unreadable(kind, NOT_SERVED))
    world.hub()
    world.wait(lambda: not any(one.open for one in world.mine.keys.values()), "settled")
    if kind == "Edge":
        world.wait(lambda: "cannot be read" in world.mine.waits.get(key("one"), ""), "it waits")
        assert port(world) == 2
        world.proxy.clear()
    world.wait(lambda: port(world) == 1, "taken back")
    world.wait_settled()
    world.check()


# ── an answer that is none ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"metadata":{"resourceVersion":7}}', b"<html>"])
def test_fault_042_an_odd_answer_for_the_lease_is_no_lease(world: World, body: bytes) -> None:
    started(world, model("one"))
    world.proxy.add(Rule(Answer(200, body=body), path="/leases/", times=2))
    world.wait_event("cluster.lost", what="Lease")
    world.wait_event("cluster.found", what="Lease")
    world.commit(model("one", "2"))
    world.wait_settled()
    assert world.versions() == {"one": "2"}
    world.check()


@pytest.mark.parametrize("body", [b"{}", b'{"kind":"InferenceModel"}', b'{"kind":1}', b'{"kind":"Pod","metadata":{}}'])
def test_fault_040_an_odd_answer_to_a_write_is_no_success(world: World, body: bytes) -> None:
    started(world, models(2))
    world.proxy.add(Rule(Answer(200, body=body), verb="delete", path="m00000"))
    world.proxy.add(Rule(Answer(200, body=body), verb="patch", path="m00001$"))
    rows = models(2, "2")["models/0.yaml"].split("\n---\n")
    world.commit({"models/0.yaml": rows[1]})
    world.wait_settled()
    world.wait(lambda: world.versions() == {"m00001": "2"}, "as Git says")
    world.check()


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_hub_whose_log_is_older_than_the_cluster_waits_for_git(world: World, restarts: int) -> None:
    started(world, {**model("one"), **model("gone"), **model("same")})
    world.stop()
    newest = world.commit({**model("one", "2"), **model("new"), "models/gone.yaml": None})
    world.hub(state_dir=world.root / "theirs")
    world.wait(lambda: world.versions() == {"one": "2", "new": "1", "same": "1"}, "applied by another one")
    world.stop()
    away = world.repository.path.rename(world.root / "away")
    seq = world.state.seq
    for _ in range(restarts):
        world.hub()
        world.wait(lambda: world.state.ref.ahead and world.state.ref.lost, "it waits for Git")
        world.look()
        world.edit("same", {"spec": {"nodeName": "elsewhere"}})
        world.wait_event("drift.detected", key("same"))
        if restarts == 2:
            world.stop()
    if restarts == 2:
        world.hub()
    world.look()
    for verb in ("suspend", "resume"):  # which ends what people suspended, and no more
        ask(world.hubs[-1][0].queue, {"verb": verb, "scope": "*", "actor": "ada", "reason": "a try"})
    assert world.versions() == {"one": "2", "new": "1", "same": "1"}
    assert not [one for one in world.entries() if one.seq > seq and one.event.type == "apply.intended.v1"]
    assert {one.event.subject for one in world.events("drift.detected")} == {key("same")}  # nobody's hand did the rest
    (told,) = world.status().suspended
    assert (told.scope, told.ends) == ("*", "")
    assert newest[:12] in told.reason
    assert "Git" in world.mine.waits[key("new")]
    away.rename(world.repository.path)
    world.look("commit")
    world.wait(lambda: (world.there("same") or {})["spec"]["nodeName"] == "berlin", "drift is taken back")
    world.wait_settled()
    assert not world.status().suspended
    assert world.versions() == {"one": "2", "new": "1", "same": "1"}
    assert {one.event.subject for one in world.events("drift.detected")} == {key("same")}
    world.wait(lambda: key("gone") not in world.mine.keys, "forgotten")


def test_a_hub_with_an_older_log_takes_over_what_another_one_made_where_git_answers(world: World) -> None:
    started(world, {**model("one"), **model("gone")})
    world.stop()
    world.commit({**model("one", "2"), **model("new"), "models/gone.yaml": None})
    world.hub(state_dir=world.root / "theirs")
    world.wait(lambda: world.versions() == {"one": "2", "new": "1"}, "applied by another one")
    world.stop()
    world.hub()
    world.wait_settled()
    world.look()
    ask(world.hubs[-1][0].queue, {"verb": "reconcile", "scope": "*", "actor": "ada"})
    assert world.versions() == {"one": "2", "new": "1"}
    assert world.events("drift.detected") == []
    assert not world.state.ref.ahead
    assert world.status().converged


def test_what_a_log_that_was_put_back_does_not_know_is_no_hand_edit(world: World) -> None:
    """It knows the commit, but not what came of it: the object itself says that a reconciler made it so."""
    started(world, {**model("one"), **model("two")})
    ask(world.hubs[-1][0].queue, {"verb": "suspend", "scope": "*", "actor": "ada", "reason": "a copy is made"})
    world.commit(model("one", "2"))
    world.wait(lambda: key("one") in world.mine.waits, "waits")
    world.stop()
    later = world.root / "later"
    shutil.copytree(world.state_dir.root, later)
    hub = world.hub(state_dir=later)
    ask(hub.queue, {"verb": "resume", "scope": "*", "actor": "ada"})
    world.wait(lambda: world.versions()["one"] == "2", "applied by what goes on")
    world.wait(lambda: not hub.record.state.stage("declare").known(key("one")).open, "answered")
    world.stop()
    world.hub()  # from the copy
    world.wait(lambda: key("one") not in world.mine.waits, "it is as Git says already")
    world.edit("two", {"spec": {"nodeName": "elsewhere"}})
    world.wait_event("drift.detected", key("two"))
    assert {one.event.subject for one in world.events("drift.detected")} == {key("two")}
    assert len(world.events("apply.intended", key("one"))) == 1
    assert world.served("one").reason.startswith("another reconciler made it so, of commit")


def test_a_log_that_was_put_back_waits_for_git_and_what_git_has_no_longer_is_held(world: World) -> None:
    started(world, {**model("one"), **model("same")})
    known = world.repository.head()
    world.stop()
    backup = world.root / "backup"
    shutil.copytree(world.state_dir.root, backup)
    lost = world.commit(model("one", "2"))
    world.hub()
    world.wait_settled()
    world.stop()
    shutil.rmtree(world.state_dir.root)
    backup.rename(world.state_dir.root)
    world.forget()
    away = world.repository.path.rename(world.root / "away")
    hub = world.hub()
    world.wait(lambda: world.state.ref.ahead == [lost] and world.state.ref.lost, "it waits for Git")
    world.look()
    assert any(lost[:12] in one and "before Git was read" in one for one in hub.vitals.waits())
    assert world.versions() == {"one": "2", "same": "1"}
    away.rename(world.repository.path)
    world.repository.reset(known)
    world.look("commit")
    world.wait(lambda: world.status().held, "held")
    held = world.status().held
    assert held is not None
    assert held.reason == f"history was rewritten: commit {lost[:12]} is no longer in the branch"
    assert (hub.vitals.waits(), world.versions()) == ([], {"one": "2", "same": "1"})
    assert world.events("drift.detected") == []
    ask(hub.queue, {"verb": "approve", "digest": held.digest, "actor": "ada"})
    world.wait(lambda: world.versions() == {"one": "1", "same": "1"}, "as the branch says")
    world.wait_settled()
    assert not world.status().held


def test_a_log_that_is_lost_too_holds_what_would_undo_a_commit_that_git_does_not_have(world: World) -> None:
    started(world, model("one", "2"))
    lost = world.repository.head()
    world.stop()
    shutil.rmtree(world.state_dir.root)
    world.forget()
    world.repository.git("commit", "--quiet", "--amend", "-m", "Forced")
    world.commit(model("one", "1"))
    world.hub()
    world.wait(lambda: world.status().held, "held")
    held = world.status().held
    assert held is not None
    assert lost[:12] in held.reason
    world.look()
    assert world.versions() == {"one": "2"}


def test_another_cluster_under_the_same_state_is_refused_before_anything_is_written(world: World) -> None:
    started(world, model("one"))
    uid = world.plane.request("GET", "/api/v1/namespaces/kube-system")[1]["metadata"]["uid"]
    assert world.state.cluster == uid
    world.stop()
    with contextlib.closing(SqliteLog(world.state_dir.hub.log, "/hub", SystemClock())) as log:
        record = Recorder(log, SystemClock(), State(), "hub")
        data = {"holder": "x", "transitions": 9, "cluster": "of another one"}
        record.append([record.event(ev.LEASE_ACQUIRED, "cluster", data)])
    world.commit(model("one", "2"))
    world.proxy.forget()
    hub = world.hub()
    world.hubs[-1][1].join(30)
    assert not world.hubs[-1][1].is_alive()
    (failure,) = world.failures
    world.failures.clear()
    assert isinstance(failure, SettingInvalid)
    assert "of another one" in failure.message
    assert uid in failure.message
    assert "--state" in failure.advice
    assert world.writes() == []
    with pytest.raises(SettingInvalid, match="keeps another cluster"), preview(hub.settings):
        pass
