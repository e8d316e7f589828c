"""Suspend, resume and reconcile now, by annotation and by the command line, with a whole hub at a real API server."""

import time
from typing import Any

import pytest

from reconciler.errors import GitUnavailable
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key
from reconciler.wiring import hub as wiring
from reconciler.wiring.cluster import ClusterStage
from tests.cluster.cluster_hub import World, fleet, key, model
from tests.cluster.test_status import a_set, edge, ready, rest, started
from tests.unit.conftest import Call, call

__all__ = ["call"]  # a fixture

pytestmark = pytest.mark.enable_socket
GROUP = "ai.kubeedge.io"
ONE = key("one")


def annotate(world: World, name: str, kind: str = "InferenceModel", **values: str | None) -> None:
    """What `kubectl annotate` does. Names have `_` for `-`."""
    annotations = {f"{GROUP}/{what.replace('_', '-')}": value for what, value in values.items()}
    world.edit(name, {"metadata": {"annotations": annotations}}, "kubectl-annotate", kind)


def noticed(world: World, kind: str = "InferenceModel", name: str = "one") -> None:
    """Until the hub has looked at a suspension."""
    world.wait(lambda: ready(world, name, kind)[1] == "Suspended", "noticed")


def port(world: World, name: str = "one") -> int:
    found: int = (world.there(name) or {})["spec"]["servingPort"]
    return found


def passed(world: World) -> None:
    """Until everything was looked at once more."""
    hub = world.hubs[-1][0]
    wiring.ask(hub.queue, {"verb": "reconcile", "scope": "*", "actor": "test"})


def heard(world: World, name: str) -> None:
    """Until the hub knows a model as it is at the API server: a watch tells it a moment after the answer of a write."""
    stage = world.hubs[-1][0].stage
    assert isinstance(stage, ClusterStage)

    def same() -> bool:
        live = stage.cache.get(Key.parse(key(name)))
        return live is not None and live.version == (world.there(name) or {})["metadata"]["resourceVersion"]

    world.wait(same, "heard")


def soon(seconds: float) -> str:
    return rfc3339(time.time() + seconds)


# ── by annotation ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_suspended_object_is_left_alone_until_the_annotation_goes(world: World) -> None:
    started(world, model("one", servingPort=1), model("two", servingPort=1))
    annotate(world, "one", reconcile="disabled", suspend_reason="is measured")
    noticed(world)
    status = (world.there("one") or {})["status"]
    assert status["suspended"] == {"actor": "kubectl-annotate", "reason": "is measured"}
    world.proxy.forget()
    world.edit("one", {"spec": {"servingPort": 2}})
    world.commit({**model("one", servingPort=3), **model("two", servingPort=3)})
    world.wait(lambda: port(world, "two") == 3, "the other one goes on")
    passed(world)
    assert port(world) == 2
    assert [one.path.rpartition("/")[2] for one in world.writes()] == ["two"]
    world.commit({"models/one.yaml": None})
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "read")
    passed(world)
    assert world.there("one") is not None  # what is suspended is not deleted either
    world.commit(model("one", servingPort=4))
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "read")
    annotate(world, "one", reconcile=None, suspend_reason=None)
    world.wait(lambda: port(world) == 4, "taken up again")


def test_a_suspension_ends_by_itself_in_time(world: World) -> None:
    started(world, model("one", servingPort=1))
    annotate(world, "one", reconcile="disabled", suspend_until=soon(8))
    noticed(world)
    world.edit("one", {"spec": {"servingPort": 2}})
    heard(world, "one")
    passed(world)
    assert port(world) == 2
    world.wait(lambda: port(world) == 1, "taken up again", 20)
    world.wait(lambda: ready(world, "one")[1] == "Applied", "told")


@pytest.mark.parametrize(("kind", "name"), [("Edge", "a"), ("InferenceModelSet", "faces"), ("Fleet", "fleet")])
def test_what_is_said_of_an_edge_a_set_or_the_fleet_is_about_all_of_it(world: World, kind: str, name: str) -> None:
    started(world, fleet(), edge("a"), edge("b"), a_set(), model("one", servingPort=1))
    annotate(world, name, kind, reconcile="disabled", suspend_reason="is moved", suspend_until=soon(3600))
    noticed(world, kind, name)
    world.edit("faces-a", {"spec": {"modelName": "mine"}})
    world.edit("faces-b", {"spec": {"modelName": "mine"}})
    world.edit("one", {"spec": {"servingPort": 2}})
    passed(world)
    left = {one for one in ("faces-a", "faces-b") if (world.there(one) or {})["spec"]["modelName"] == "mine"}
    left |= {"one"} if port(world) == 2 else set()
    assert left == {"Edge": {"faces-a"}, "InferenceModelSet": {"faces-a", "faces-b"}}.get(
        kind, {"faces-a", "faces-b", "one"}
    )
    annotate(world, name, kind, reconcile=None)
    world.wait(lambda: (world.there("faces-a") or {})["spec"]["modelName"] == "faces", "taken up again")
    world.wait(lambda: (world.there("faces-b") or {})["spec"]["modelName"] == "faces", "taken up again")
    world.wait(lambda: port(world) == 1, "taken up again")


@pytest.mark.parametrize(
    ("kind", "name", "scope"), [("Fleet", "fleet", "*"), ("Edge", "a", "a"), ("InferenceModel", "one", ONE)]
)
def test_the_log_has_who_suspends_by_annotation(world: World, call: Call, kind: str, name: str, scope: str) -> None:
    started(world, fleet(), edge("a"), model("one"))
    annotate(world, name, kind, reconcile="disabled", suspend_reason="is moved")
    told = world.wait_event("reconcile.suspended", scope=scope, reason="is moved", annotated=True).event
    assert told.actor == "kubectl-annotate"
    (row,) = world.status().suspended
    assert (row.scope, row.actor, row.reason, row.annotated) == (scope, "kubectl-annotate", "is moved", True)
    assert row.ends.startswith(f"kubectl annotate {kind.lower()} {name}")
    said = call("resume", *([scope] if scope != "*" else []), "--state", world.state_dir.root)
    assert said.code == 2
    assert f"`{row.ends}` ends it" in said.err
    world.stop()
    world.hub()
    world.wait_event("lease.acquired", count=2)
    passed(world)
    annotate(world, name, kind, reconcile=None)
    world.wait_event("reconcile.resumed", scope=scope, annotated=True)
    assert len(world.events("reconcile.suspended")) == 1  # a start that finds what the log says is no news
    assert world.status().suspended == ()


def test_nothing_is_made_or_deleted_for_what_is_suspended(world: World) -> None:
    started(world, fleet(), edge("a"), a_set())
    annotate(world, "a", "Edge", reconcile="disabled")
    noticed(world, "Edge", "a")
    world.commit(a_set("more"))
    world.commit({"sets/faces.yaml": None})
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "read")
    passed(world)
    assert set(world.versions()) == {"faces-a"}
    annotate(world, "a", "Edge", reconcile=None)
    world.wait(lambda: set(world.versions()) == {"more-a"}, "taken up again")


def test_the_end_of_an_edges_suspension_is_noticed_without_anything_else(world: World) -> None:
    started(world, edge("a"), a_set())
    annotate(world, "a", "Edge", reconcile="disabled", suspend_until=soon(8))
    noticed(world, "Edge", "a")
    world.edit("faces-a", {"spec": {"modelName": "mine"}})
    passed(world)
    assert (world.there("faces-a") or {})["spec"]["modelName"] == "mine"
    world.wait(lambda: (world.there("faces-a") or {})["spec"]["modelName"] == "faces", "taken up again", 20)


def test_a_restart_knows_what_is_suspended(world: World) -> None:
    started(world, edge("a"), a_set())
    annotate(world, "a", "Edge", reconcile="disabled")
    noticed(world, "Edge", "a")
    world.stop()
    world.edit("faces-a", {"spec": {"modelName": "mine"}})
    world.hub()
    world.wait(lambda: world.hubs[-1][0].record.state.lease.held, "held")
    passed(world)
    assert (world.there("faces-a") or {})["spec"]["modelName"] == "mine"


def test_annotations_of_ours_are_no_drift(world: World) -> None:
    started(world, model("one", servingPort=1))
    world.proxy.forget()
    annotate(world, "one", requestedAt="1", prune="disabled")
    annotate(world, "one", prune=None)
    annotate(world, "one", operation_id=None, seq=None, commit=None)
    annotate(world, "one", operation_id="mine")
    annotate(world, "one", requestedAt=None)
    passed(world)
    assert world.events("drift.detected") == []
    assert world.writes() == []
    world.commit(model("one", servingPort=2))
    world.wait(lambda: port(world) == 2, "applied all the same")
    world.wait_settled()
    assert world.events("apply.failed") == []


# ── now ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_new_value_of_requested_at_is_answered_once(world: World) -> None:
    started(world, model("one", servingPort=1))

    def handled() -> str:
        found: dict[str, Any] = (world.there("one") or {}).get("status", {})
        return str(found.get("lastHandledReconcileAt", ""))

    for value in ("first", "second"):
        annotate(world, "one", requestedAt=value)
        world.wait(lambda value=value: handled() == value, "answered")  # type: ignore[misc]
    rest(world)
    assert len(world.statuses()) == 2
    assert len(world.writes()) == 1


def test_requested_at_on_the_fleet_polls_git_and_looks_at_everything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_watches(*_: object, **__: object) -> None:
        raise GitUnavailable("not watched here")

    monkeypatch.setattr(wiring, "watch_head", nobody_watches)
    world.commit({**fleet(), **model("one", servingPort=1)})
    world.hub(poll_s=86_400)
    world.wait_settled()
    rest(world)
    world.commit(model("one", servingPort=2))
    passes = len(world.events("ref.advanced"))
    annotate(world, "fleet", "Fleet", requestedAt="now")
    world.wait(lambda: port(world) == 2, "polled")
    assert len(world.events("ref.advanced")) == passes + 1
    world.wait(
        lambda: (world.there("fleet", "Fleet") or {})["status"].get("lastHandledReconcileAt") == "now", "answered"
    )


# ── by the command line ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_line_suspends_and_resumes_one_object(world: World, call: Call) -> None:
    started(world, fleet(), model("one", servingPort=1), model("two", servingPort=1))
    state = ("--state", world.state_dir.root)
    said = call("suspend", "im/one", "--reason", "is measured", *state)
    assert (said.code, said.out) == (0, "suspended im/one; `reconciler resume im/one` ends it\n")
    noticed(world)
    world.edit("one", {"spec": {"servingPort": 2}})
    world.edit("two", {"spec": {"servingPort": 2}})
    world.wait(lambda: port(world, "two") == 1, "the other one")
    heard(world, "one")
    said = call("reconcile", "--wait", *state)
    assert (said.code, said.out.splitlines()[0]) == (5, "looked at everything: 1 waiting")
    assert "InferenceModel/default/one: waits: suspended by" in said.out
    assert port(world) == 2
    assert "is measured" in call("status", *state).out
    said = call("resume", "InferenceModel/default/one", *state)
    assert (said.code, said.out) == (0, "resumed InferenceModel/default/one: 1 to update\n")
    world.wait(lambda: port(world) == 1, "taken back")


def test_the_command_line_suspends_a_set_until_a_time(world: World, call: Call) -> None:
    started(world, fleet(), edge("a"), a_set())
    state = ("--state", world.state_dir.root)
    assert call("suspend", "ims/faces", "--reason", "x", "--until", soon(8), *state).code == 0
    noticed(world, "InferenceModelSet", "faces")
    world.edit("faces-a", {"spec": {"modelName": "mine"}})
    heard(world, "faces-a")
    assert call("reconcile", "ims/faces", "--wait", *state).out == "looked at ims/faces: 1 waiting\n"
    world.wait(lambda: (world.there("faces-a") or {})["spec"]["modelName"] == "faces", "taken up again", 20)


def test_reconcile_looks_at_what_is_named_and_says_what_is_not_there(world: World, call: Call) -> None:
    started(world, fleet(), edge("a"), a_set(), model("one"))
    state = ("--state", world.state_dir.root)
    assert call("reconcile", "a", "--wait", *state).out == "looked at a: nothing to do\n"
    assert call("reconcile", "im/one", *state).out == "it looks at im/one now\n"
    for wrong, words in {
        "im/none": "there is no InferenceModel/default/none",
        "pod/x": "there is no kind pod",
        "nowhere": "nothing is called nowhere",
    }.items():
        said = call("reconcile", wrong, *state)
        assert (said.code, words in said.err) == (2, True)


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59"])
@pytest.mark.parametrize("kind", ["InferenceModel", "Fleet"])
def test_fault_017_a_suspension_to_the_end_of_all_years_ends_nobody(world: World, kind: str, until: str) -> None:
    started(world, fleet(), model("one", servingPort=1))
    annotate(world, "one" if kind == "InferenceModel" else "fleet", kind, reconcile="disabled", suspend_until=until)
    world.wait_event("reconcile.suspended", annotated=True)
    for count in range(2):
        world.commit(model("one", servingPort=2), message=f"again {count}")
        passed(world)
        rest(world)
        assert port(world) == 1
        world.stop()
        world.hub()
    assert world.failures == []


LONG = "e" * 70  # more than a label holds


@pytest.mark.parametrize("how", ["verb", "annotation"])
@pytest.mark.parametrize("name", ["a", LONG])
def test_what_is_said_of_an_edge_is_about_all_that_runs_there(world: World, how: str, name: str) -> None:
    models = {**model("one", servingPort=1, nodeName=name), **model("two", servingPort=1)}
    started(world, fleet(), edge(name), edge("b"), a_set(), models)
    if how == "verb":
        ask = {"verb": "suspend", "scope": name, "reason": "on the bench", "actor": "ada"}
        wiring.ask(world.hubs[-1][0].queue, ask)
    else:
        annotate(world, name, "Edge", reconcile="disabled")
        world.wait_event("reconcile.suspended", scope=name)
    world.commit({**model("one", servingPort=2, nodeName=name), **model("two", servingPort=2)})
    world.wait(lambda: port(world, "two") == 2, "others go on")
    passed(world)
    assert port(world, "one") == 1
    world.commit({"models/one.yaml": None})
    world.wait(lambda: world.state.ref.accepted == world.repository.head(), "read")
    passed(world)
    assert port(world, "one") == 1
    made = [one for one in world.versions() if (world.there(one) or {})["spec"]["nodeName"] == name]
    assert len(made) == 2
    for one in made:
        world.edit(one, {"spec": {"modelName": "mine"}})
    passed(world)
    assert all((world.there(one) or {})["spec"]["modelName"] == "mine" for one in made)
