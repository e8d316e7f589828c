"""kill -9 of the hub at each step of an apply, with a thousand objects in flight: what was ordered is done, once.

Each round is one commit that gives every object another version, one process that dies at a step, and one that ends
what it began. The API server counts what changed an object in its `generation`, and keeps who sent what.
"""

import signal
from typing import Any, Final

import pytest

from reconciler.kube.client.resources import OURS
from tests.cluster.cluster_hub import World, fleet, key, model, models

COUNT: Final = 1000
BATCHES: Final = 2

# Where it dies: the step, and the how-manyth time. Those of the log are in the midst of the outcomes.
STEPS: Final = (
    "loop.seen:kill:3",
    f"loop.intended:kill:{BATCHES}",
    "cluster.sent:kill:700",
    "cluster.answered:kill:9",
    "log.commit:kill:16",
    "loop.applied:kill",
)


def items(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.plane.get(OURS["InferenceModel"].path())["items"]
    return found


@pytest.mark.timeout(300)
def test_fault_039_killed_at_each_step_with_a_thousand_objects_in_flight(world: World) -> None:
    world.commit({**fleet(), **models(COUNT, "0")})
    world.hub(world.direct)
    world.wait_settled()
    world.stop()
    uids = {one["metadata"]["name"]: one["metadata"]["uid"] for one in items(world)}
    for number, step in enumerate(STEPS, 1):
        world.commit(models(COUNT, str(number)))
        dying = world.process(failpoint=step, kubeconfig=world.direct)
        assert dying.wait(60) == -signal.SIGKILL, (step, world.output())
        world.bury()
        world.hub(world.direct)
        world.wait_settled()
        world.stop()
        found = items(world)
        assert {one["spec"]["targetVersion"] for one in found} == {str(number)}, step
        assert {one["metadata"]["generation"] for one in found} == {number + 1}, step  # none twice
        assert {one["metadata"]["name"]: one["metadata"]["uid"] for one in found} == uids, step  # none made again
        assert not [served for served in world.mine.keys.values() if served.open], step
    world.check()
    assert any(one.event.data.get("recovered") for one in world.events("apply.succeeded"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("step", ["cluster.sent:kill:400", "loop.intended:kill"])
def test_fault_039_what_was_made_before_a_kill_is_owned_and_pruned_after_it(world: World, step: str) -> None:
    world.commit({**fleet(), **models(COUNT)})
    dying = world.process(failpoint=step, kubeconfig=world.direct)
    assert dying.wait(60) == -signal.SIGKILL, world.output()
    world.bury()
    world.commit(dict.fromkeys(models(COUNT)))  # and nothing of it is wanted any more when it starts again
    world.plane.post(OURS["InferenceModel"].path("default"), foreign("theirs"))
    world.hub(world.direct)
    world.wait(lambda: set(world.versions()) == {"theirs"}, "what was made is gone")
    world.wait(lambda: set(world.mine.keys) == {key("fleet", "Fleet")}, "and forgotten")
    world.stop()
    world.check()


def test_fault_039_killed_in_the_midst_of_a_prune(world: World) -> None:
    world.commit({**fleet(), **models(COUNT), **model("kept")})
    world.hub(world.direct)
    world.wait_settled()
    world.stop()
    world.commit(dict.fromkeys(models(COUNT)))
    dying = world.process(failpoint="cluster.sent:kill:300", kubeconfig=world.direct)
    assert dying.wait(60) == -signal.SIGKILL, world.output()
    assert 1 < len(world.versions()) < COUNT
    world.bury()
    world.hub(world.direct)
    world.wait(lambda: set(world.versions()) == {"kept"}, "all gone but one")
    world.wait_settled()
    assert len([one for one in world.events("apply.intended") if one.event.data["action"] == "delete"]) >= COUNT
    world.check()


def foreign(name: str) -> dict[str, Any]:
    """An object that somebody else made."""
    import json

    made: dict[str, Any] = json.loads(model(name)[f"models/{name}.yaml"])
    return made
