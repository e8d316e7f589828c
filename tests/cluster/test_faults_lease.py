"""Two hubs, one Lease: who lost it writes nothing more."""

import signal
from datetime import datetime
from pathlib import Path

import pytest

from reconciler.history.timeline import words
from reconciler.kube.client.resources import OURS
from tests.cluster.cluster_hub import World, fleet, models, started

COUNT = 500


@pytest.mark.timeout(180)
def test_fault_042_a_hub_stopped_in_the_midst_of_an_apply_writes_nothing_more(world: World, tmp_path: Path) -> None:
    world.commit({**fleet(), **models(COUNT)})
    first = world.process()
    world.proxy.wait(lambda all_: sum(one.verb == "patch" and one.status == 201 for one in all_) > 100, 60)
    first.send_signal(signal.SIGSTOP)
    made = len(world.versions())
    assert 0 < made < COUNT
    other = World(world.plane, tmp_path / "other", "other", world.home)
    other.repository = world.repository
    try:
        other.hub(other.direct)
        other.wait_event("lease.acquired")
        taken = datetime.fromisoformat(_lease(world)["acquireTime"])
        other.wait_settled()
        assert set(other.versions().values()) == {"1"}
        sent = len(world.writes())
        first.send_signal(signal.SIGCONT)
        world.wait_event("lease.lost")
        other.commit(models(COUNT, "2"))
        other.wait_settled()
        assert set(other.versions().values()) == {"2"}
        world.wait(lambda: world.state.ref.commit == world.repository.head() or not world.state.lease.held, "it looks")
        assert len(world.writes()) <= sent + 16  # one each worker: what it had begun when it was stopped
        late = [row for row in world.audited() if datetime.fromisoformat(row[0]) > taken and row[3] < 300]
        assert late == []
        items = world.plane.get(OURS["InferenceModel"].path())["items"]
        assert {one["metadata"]["generation"] for one in items} == {2}
        assert len(other.events("object.adopted")) >= made
        other.check()
        world.check()
    finally:
        other.close()


def _lease(world: World) -> dict[str, str]:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{world.home}/leases/reconciler"
    found: dict[str, str] = world.plane.get(path)["spec"]
    return found


def test_a_standby_says_for_whom_it_waits(world: World, tmp_path: Path) -> None:
    started(world, fleet())
    other = World(world.plane, tmp_path / "other", "other", world.home)
    other.repository = world.repository
    try:
        other.hub(other.direct)
        told = other.wait_event("lease.lost").event
        assert told.data["holder"] == world.state.lease.holder
        assert words(told) == f"does not hold the lease, {world.state.lease.holder} does"
        assert other.status().lease_holder == world.state.lease.holder
        world.stop()
        other.wait_event("lease.acquired")
        assert len(other.events("lease.lost")) == 1
    finally:
        other.close()
