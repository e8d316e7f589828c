"""The end of a hub: what ends with it, what serves on without it."""

import os
import signal

import pytest

from reconciler.engine.loop import Loop
from reconciler.engine.queue import Trigger
from reconciler.settings import Settings
from reconciler.wiring.hub import HubProcess
from reconciler.wiring.process import writer_of
from tests.e2e.fleet import ADDRESSES, Fleet

pytestmark = pytest.mark.e2e


def agents(fleet: Fleet) -> dict[str, int | None]:
    return {edge: writer_of(fleet.state.edge(edge).log) for edge in ADDRESSES}


def test_a_hub_that_is_stopped_while_its_agents_start_leaves_no_process(fleet: Fleet) -> None:
    hub = fleet.hub()
    fleet.wait(lambda: len(list(fleet.state.root.glob("edges/*/output.log"))) == len(ADDRESSES), "agents are started")
    fleet.stop(hub)
    assert hub.returncode == 0
    fleet.wait(lambda: list(fleet.pids()) == [], "everything has ended")


def test_a_hub_whose_terminal_is_closed_leaves_no_process(fleet: Fleet) -> None:
    hub = fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    hub.send_signal(signal.SIGHUP)
    assert hub.wait(60) == 0
    fleet.wait(lambda: list(fleet.pids()) == [], "everything has ended")


def test_a_hub_that_crashes_leaves_its_edges_to_serve_and_the_next_one_adopts_and_ends_them(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    before = agents(fleet)
    first.kill()
    first.wait()

    original = Loop.turn

    def turn(loop: Loop, trigger: Trigger) -> None:
        original(loop, trigger)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Loop, "turn", turn)
    crashing = HubProcess(Settings(repo=str(fleet.repository.path), state_dir=fleet.state.root))
    with pytest.raises(RuntimeError, match="a bug"):
        crashing.run()
    assert agents(fleet) == before
    assert None not in before.values()

    last = fleet.hub()
    os.kill(before["edge-2"] or 0, signal.SIGSTOP)  # it can neither answer nor end
    fleet.wait(lambda: writer_of(fleet.state.hub.log) == last.pid, "the next hub runs")
    fleet.edit("deployments/digits.yaml", "defaultVersion: '1'", "defaultVersion: '2'")
    fleet.wait_versions(edge_1="2", edge_3="2")  # no edge waits for the one that hangs
    last.send_signal(signal.SIGTERM)
    fleet.wait(lambda: agents(fleet)["edge-1"] is agents(fleet)["edge-3"] is None, "those that can have ended")
    fleet.stop(last)  # the second time it waits no longer
    fleet.wait(lambda: list(fleet.pids()) == [], "everything has ended")
