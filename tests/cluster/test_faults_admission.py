"""Admission webhooks, quotas, finalizers and namespaces that are in the way, with a whole hub behind them."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.admission import Asked, allow, deny, patch, webhook
from tests.cluster.cluster_hub import World, fleet, key, manifest, model, service

ONE = key("one")
CORE = "/api/v1/namespaces"


def only(name: str, judge: Any) -> Any:
    """This judgement of one object; others are let through."""
    return lambda asked: judge(asked) if asked["name"] == name else allow(asked)


def test_fault_035_a_webhook_that_denies_is_quoted_and_others_go_on(world: World) -> None:
    world.commit({**fleet(), **model("zero")})
    world.hub()
    world.wait_settled()
    with webhook(world, only("one", deny("models need an owner"))) as hook:
        world.commit({**model("one"), **model("two")})
        failed = world.wait_event("apply.failed", ONE)
        assert "models need an owner" in failed.event.data["error"]
        assert failed.event.data["code"] == "RX411"
        world.wait(lambda: "two" in world.versions(), "others go on")
        world.wait(lambda: world.state.ref.accepted == world.repository.head(), "accepted")
        (row,) = [one for one in world.status().objects if one.name == "one"]
        assert (row.phase, row.open) == ("Rejected", False)
        assert "models need an owner" in row.message
        assert len([one for one in hook.asked if one["name"] == "one"]) == 1  # not sent again and again
        hook.judge = allow
        world.look()  # the audit tries it again
        world.wait(lambda: "one" in world.versions(), "made")
        world.wait_settled()
    world.check()


def test_fault_035_an_update_that_was_denied_is_tried_again_where_drift_is_only_reported(world: World) -> None:
    rule = {"kinds": ["InferenceModel"], "policy": "report"}
    world.commit({**fleet(drift=[rule]), **model("one")})
    world.hub()
    world.wait_settled()
    with webhook(world, deny("not on fridays")) as hook:
        world.commit(model("one", "2"))
        world.wait_event("apply.failed", ONE)
        hook.judge = allow
        world.look()
        world.wait(lambda: world.versions()["one"] == "2", "tried again")
        world.wait_settled()
    assert world.events("drift.detected") == []
    world.check()


def test_fault_035_a_webhook_that_does_not_answer_is_waited_for_no_longer_than_it_may_take(world: World) -> None:
    go_on = threading.Event()

    def hang(asked: Asked) -> dict[str, Any]:
        go_on.wait(20)
        return allow(asked)

    with webhook(world, only("one", hang)):
        world.commit({**fleet(), **model("one"), **model("two")})
        world.hub()
        world.proxy.wait(lambda all_: any(one.status >= 500 and "/one" in one.path for one in all_))
        world.wait(lambda: "two" in world.versions(), "others go on")
        go_on.set()
        world.wait_settled()
        assert set(world.versions()) == {"one", "two"}
    assert world.events("apply.failed") == []
    world.check()


MUTATION = {"op": "add", "path": "/spec/servingPort", "value": 9999}


@pytest.mark.parametrize("declared", [{"servingPort": 1}, {}])
def test_fault_035_a_webhook_that_changes_what_is_sent_makes_no_endless_drift(
    world: World, declared: dict[str, Any]
) -> None:
    with webhook(world, patch(MUTATION), mutating=True):
        world.commit({**fleet(), **model("one", **declared)})
        world.hub()
        world.wait_settled()
        for number in range(3):
            world.look()
            world.look("object", ONE)
            world.commit(model(f"other{number}", servingPort=9999))
            world.wait_settled()
        found = world.there("one")
        assert found is not None
        assert found["spec"]["servingPort"] == 9999
        assert len([one for one in world.writes() if one.path.endswith("/one")]) == 1
        assert world.events("drift.detected") == []
        # What a person does to another field is still drift.
        world.edit("one", {"spec": {"nodeName": "elsewhere"}})
        world.wait_event("drift.detected", ONE)
        world.wait(lambda: (world.there("one") or {})["spec"]["nodeName"] == "berlin", "taken back")
        world.wait_settled()
        world.look()
        world.commit(model("last", servingPort=9999))
        world.wait_settled()
        assert len([one for one in world.writes() if one.path.endswith("/one")]) == 2
    world.check()


def test_fault_036_a_prune_that_a_webhook_refuses_stays_and_is_tried_again(world: World) -> None:
    world.commit({**fleet(), **model("one"), **model("two")})
    world.hub()
    world.wait_settled()
    with webhook(world, only("one", deny("it is needed")), operations=("DELETE",)) as hook:
        world.commit({"models/one.yaml": None, "models/two.yaml": None})
        failed = world.wait_event("apply.failed", ONE)
        assert "it is needed" in failed.event.data["error"]
        world.wait(lambda: set(world.versions()) - {"probe"} == {"one"}, "others go")
        assert ONE in world.mine.keys  # in the inventory
        asked = len(hook.asked)
        world.look()
        world.wait_event("apply.failed", ONE, count=2)
        assert len(hook.asked) == asked + 1
        assert ONE in world.mine.keys
        hook.judge = allow
        world.look()
        world.wait(lambda: "one" not in world.versions(), "gone at last")
        world.wait(lambda: ONE not in world.mine.keys, "and forgotten")
    world.check()


def test_fault_037_a_finalizer_that_is_stuck_is_named_and_waited_for(world: World) -> None:
    world.commit({**fleet(), **model("one"), **model("two")})
    world.hub()
    world.wait_settled()
    world.edit("one", {"metadata": {"finalizers": ["example.com/slow"]}}, "slow-controller")
    world.proxy.forget()
    world.commit({"models/one.yaml": None, "models/two.yaml": None})
    world.wait(lambda: set(world.versions()) == {"one"}, "others go")
    waits = world.wait_event("apply.abandoned", ONE)
    assert "example.com/slow" in waits.event.data["error"]
    world.look()
    world.commit(model("three"))
    world.wait(lambda: "three" in world.versions(), "others go on")
    assert len([one for one in world.writes() if one.path.endswith("/one")]) == 1
    (row,) = [one for one in world.status().objects if one.name == "one"]
    assert "example.com/slow" in row.message
    world.edit("one", {"metadata": {"finalizers": None}}, "slow-controller")
    world.wait(lambda: ONE not in world.mine.keys, "forgotten when it is gone")
    world.check()


def test_fault_037_one_that_waits_for_its_end_is_made_again_behind_it(world: World) -> None:
    """Somebody deletes an object that Git still wants, and a finalizer keeps it for a while."""
    world.commit({**fleet(), **model("one")})
    world.hub()
    world.wait_settled()
    world.edit("one", {"metadata": {"finalizers": ["example.com/slow"]}}, "slow-controller")
    world.delete("one")
    world.look()
    world.commit(model("two"))
    world.wait(lambda: "two" in world.versions(), "others go on")
    old = (world.there("one") or {})["metadata"]["uid"]
    world.edit("one", {"metadata": {"finalizers": None}}, "slow-controller")
    world.wait(lambda: (world.there("one") or {"metadata": {"uid": old}})["metadata"]["uid"] != old, "made again")
    world.wait_settled()
    world.check()


def test_fault_037_a_namespace_that_ends_is_named_and_others_go_on(world: World) -> None:
    namespace = world.plane.fresh_namespace()
    path = f"{CORE}/{namespace}"
    world.plane.request("PATCH", path, {"metadata": {"finalizers": ["example.com/slow"]}})
    world.plane.request("DELETE", path)
    there = manifest("InferenceModel", "there", service(), namespace)
    world.commit(
        {**fleet(), "there.yaml": there, "nowhere.yaml": manifest("InferenceModel", "x", service(), "nowhere")}
    )
    world.commit(model("one"))
    world.hub()
    terminating = world.wait_event("apply.failed", f"InferenceModel/{namespace}/there")
    assert "terminated" in terminating.event.data["error"]
    missing = world.wait_event("apply.failed", "InferenceModel/nowhere/x")
    assert "nowhere" in missing.event.data["error"]
    world.wait(lambda: "one" in world.versions(), "others go on")
    world.plane.request("PATCH", path, {"metadata": {"finalizers": None}})
    world.check()


@pytest.fixture
def counted(world: World) -> Iterator[None]:
    """Somebody counts what a quota is about."""
    world.plane.need("controller-manager")
    yield
    world.plane.end("controller-manager")


@pytest.mark.usefixtures("counted")
def test_fault_037_a_quota_that_is_used_up_is_named_and_others_go_on(world: World) -> None:
    namespace = world.plane.fresh_namespace()
    hard = {"count/inferencemodels.ai.kubeedge.io": "1"}
    quota = f"{CORE}/{namespace}/resourcequotas"
    world.plane.post(quota, {"metadata": {"name": "few"}, "spec": {"hard": hard}})
    world.wait(lambda: world.plane.get(f"{quota}/few").get("status", {}).get("used") is not None, "the quota counted")
    files = {f"{name}.yaml": manifest("InferenceModel", name, service(), namespace) for name in ("a", "b")}
    world.commit({**fleet(), **files, **model("one")})
    world.hub()
    failed = world.wait_event("apply.failed")
    assert "exceeded quota: few" in failed.event.data["error"]
    world.wait(lambda: {"one"} < set(world.versions()), "others go on")
    world.wait(lambda: not any(one.open for one in world.mine.keys.values()), "answered")
    assert len(world.versions()) == 2
    world.plane.request("PATCH", f"{quota}/few", {"spec": {"hard": {"count/inferencemodels.ai.kubeedge.io": "5"}}})

    def raised() -> bool:
        status = world.plane.get(f"{quota}/few")["status"]["hard"]
        return bool(status["count/inferencemodels.ai.kubeedge.io"] == "5")

    world.wait(raised, "the quota raised")
    world.look()
    world.wait(lambda: set(world.versions()) == {"one", "a", "b"}, "tried again")
    world.wait_settled()
    world.check()
