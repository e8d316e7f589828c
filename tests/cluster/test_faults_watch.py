"""What was missed while nobody could watch: expired versions, silence, an etcd that was set back. With a whole hub."""

from collections.abc import Callable
from typing import Final

import pytest

from reconciler.kube.watch import reflector as watching
from tests.api_proxy import GONE, Hold, Rule
from tests.cluster.cluster_hub import World, fleet, key, model, models, started, uids, written

COUNT: Final = 20
WATCH: Final = "inferencemodels"


def begun(world: World) -> dict[str, str]:
    """uid by name."""
    started(world, models(COUNT))
    return uids(world)


def harm(world: World) -> None:
    """One is deleted, one changed."""
    world.delete("m00001")
    world.edit("m00002", {"spec": {"nodeName": "elsewhere"}})


def mended(world: World, uids: dict[str, str]) -> None:
    """Both are told as drift and put right; nothing else is touched, nothing done twice."""
    world.wait_event("drift.detected", key("m00001"), what="deleted")
    told = world.wait_event("drift.detected", key("m00002"), what="changed")
    assert told.event.data["writer"] == "kubectl-edit"
    world.wait(lambda: len(world.versions()) == COUNT, "made again")
    world.wait(lambda: (world.there("m00002") or {})["spec"]["nodeName"] == "berlin", "taken back")
    world.wait_settled()
    now = {name: (world.there(name) or {})["metadata"]["uid"] for name in uids}
    assert {name for name in uids if now[name] != uids[name]} == {"m00001"}
    assert written(world) == ["m00001", "m00002"]
    assert len(world.events("drift.detected")) == 2
    world.check()


def test_fault_029_gone_in_the_stream_misses_nothing(world: World) -> None:
    uids = begun(world)
    world.proxy.add(Rule(Hold(), verb="watch", path=WATCH))
    world.delete("m00003")  # the line from which on nothing is heard
    harm(world)
    world.proxy.add(Rule(GONE, verb="watch", path=WATCH))
    world.proxy.clear()
    world.wait_event("drift.detected", count=3)
    world.wait(lambda: len(world.versions()) == COUNT, "made again")
    world.wait(lambda: (world.there("m00002") or {})["spec"]["nodeName"] == "berlin", "taken back")
    world.wait_settled()
    assert [one for one in world.sent("list") if WATCH in one.path and "limit=500" in one.query]
    assert len({one.path for one in world.writes()}) == len(world.writes()) == 3
    assert len(uids) == COUNT
    world.check()


def test_fault_031_history_compacted_while_nobody_watched_misses_nothing(world: World) -> None:
    plane = world.plane.local()
    uids = begun(world)
    world.proxy.outage()
    harm(world)
    plane.compact()
    world.proxy.clear()
    world.wait_served()
    mended(world, uids)


def test_fault_030_a_watch_that_went_silent_misses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SILENCE_S", 2.0)
    uids = begun(world)
    world.proxy.add(Rule(Hold(), verb="watch", path=WATCH, times=1))
    harm(world)
    mended(world, uids)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_fault_029_what_happened_while_no_hub_ran_is_told(world: World, how: str) -> None:
    uids = begun(world)
    world.stop()
    restarted: Callable[[], object] = world.hub
    if how == "killed":
        dying = world.process(failpoint="loop.seen:kill")
        assert dying.wait(60) == -9
        world.bury()
    world.proxy.forget()
    harm(world)
    restarted()
    mended(world, uids)


def test_fault_032_an_etcd_that_was_set_back_is_brought_to_what_git_says(world: World) -> None:
    plane = world.plane.local()
    world.commit({**fleet(), **models(COUNT), **model("later-gone")})
    world.hub()
    world.wait_settled()
    snapshot = plane.snapshot()
    world.commit({**models(COUNT, "2"), **model("new"), "models/later-gone.yaml": None})
    world.wait_settled()
    assert "later-gone" not in world.versions()
    plane.restore(snapshot)
    world.wait_served()
    world.wait(lambda: world.versions().get("new") == "1", "what was made later is made again")
    world.wait(lambda: list(world.versions().values()).count("2") == COUNT, "what was changed later is so again")
    world.wait_event("object.adopted", key("later-gone"))
    world.wait(lambda: "later-gone" not in world.versions(), "what went later goes again")
    world.wait_settled()
    assert len(world.events("ref.advanced")) == 2
    world.check()
