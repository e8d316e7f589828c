"""An agent as a whole, in this process, with a hub that only listens."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from reconciler import control_socket
from reconciler.edge.paths import StateDirectory
from reconciler.edge.runtimes import Runtimes
from reconciler.engine.loop import Loop
from reconciler.errors import LogWriteFailed
from reconciler.wiring.agent import EdgeAgent
from reconciler.wiring.process import writer_of

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether runtimes were ended with their agent, for each agent that ended."""
    found: list[bool] = []
    original = Runtimes.close

    def close(self: Runtimes, *, stop: bool) -> None:
        found.append(stop)
        original(self, stop=stop)

    monkeypatch.setattr(Runtimes, "close", close)
    return found


@pytest.fixture
def told(state: StateDirectory) -> Iterator[Callable[[], dict[str, Any]]]:
    """What the hub is told next."""
    heard: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def hear(request: dict[str, Any]) -> dict[str, Any]:
        heard.put(request)
        return {}

    with closing(control_socket.serve(state.hub.control, hear)):
        yield lambda: heard.get(timeout=20)


def test_an_agent_that_has_nothing_to_do_says_that_it_is_there(
    state: StateDirectory, told: Callable[[], dict[str, Any]], stopped: list[bool]
) -> None:
    agent = EdgeAgent("edge-1", state)
    running = threading.Thread(target=agent.run)
    running.start()
    assert told() == {"verb": "ring", "caller": "edge-1"}
    agent.stop()
    running.join(20)
    assert stopped == [True]


def test_an_agent_whose_log_was_removed_ends_and_leaves_its_runtimes(
    state: StateDirectory, told: Callable[[], dict[str, Any]], stopped: list[bool]
) -> None:
    home, agent = state.edge("edge-1"), EdgeAgent("edge-1", state)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(agent.run)
        told()
        control_socket.call(home.control, {"verb": "ring"})
        assert not running.done()
        for path in home.directory.glob("log.db*"):
            path.unlink()
        control_socket.ring(home.control)
        with pytest.raises(LogWriteFailed, match=r"log\.db was removed or replaced"):
            running.result(20)
    assert stopped == [False]
    assert writer_of(home.log) is None


def test_an_agent_that_crashes_leaves_its_runtimes(
    state: StateDirectory, stopped: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: Loop) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Loop, "run", crash)
    with pytest.raises(RuntimeError, match="a bug"):
        EdgeAgent("edge-1", state).run()
    assert stopped == [False]
