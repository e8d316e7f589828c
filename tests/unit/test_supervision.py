"""The agents of a machine, played by shell scripts: started, ended, started again, and left to serve."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from reconciler.edge import supervision
from reconciler.edge.paths import StateDirectory
from reconciler.edge.supervision import Agents
from reconciler.serving import process

ENDLESS = "while :; do sleep 0.05; done"
DEAF = f"trap '' TERM; echo deaf; {ENDLESS}"


class Told:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.ends: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self.dues: list[tuple[str, float]] = []

    def ended(self, edge: str, words: str) -> None:
        self.ends.put((edge, words))

    def due(self, edge: str, delay_s: float) -> None:
        self.dues.append((edge, delay_s))

    def end(self) -> str:
        return self.ends.get(timeout=20)[1]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a script the agent; its answer is the file that has a line for every start: the process id."""
    script, starts = tmp_path / "agent", tmp_path / "starts"

    def write(text: str) -> Path:
        script.write_text(f"#!/bin/sh\necho $$ >> {starts}\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return starts

    return write


@pytest.fixture
def agents(state: StateDirectory, told: Told) -> Iterator[Agents]:
    made = Agents(state, lambda _: None, told)
    yield made
    made.hurry()
    made.stop()


def starts(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def until_it_says(state: StateDirectory, edge: str) -> None:
    while not (output := state.edge(edge).output).exists() or not output.read_text():
        os.sched_yield()


def test_an_agent_that_does_not_listen_yet_is_ended_too(
    play: Callable[[str], Path], agents: Agents, state: StateDirectory, told: Told
) -> None:
    started = play(f"echo begun; {ENDLESS}")
    agents.want(["edge-1"])
    until_it_says(state, "edge-1")
    agents.stop()
    assert told.end() == ""
    assert not lives(*starts(started))


def test_agents_that_do_not_end_are_killed_when_the_time_of_all_is_over(
    play: Callable[[str], Path], agents: Agents, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_S", 0.1)
    started = play(DEAF)
    agents.want(["edge-1", "edge-2"])
    for edge in ("edge-1", "edge-2"):
        until_it_says(state, edge)
    agents.stop()
    assert [lives(pid) for pid in starts(started)] == [False, False]


def test_a_hub_in_a_hurry_waits_for_no_agent(
    play: Callable[[str], Path], agents: Agents, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_S", 3600.0)
    started = play(DEAF)
    agents.want(["edge-1"])
    until_it_says(state, "edge-1")
    agents.hurry()
    agents.stop()
    assert not lives(*starts(started))


def test_runtimes_that_an_agent_could_not_end_are_ended(
    play: Callable[[str], Path], agents: Agents, state: StateDirectory
) -> None:
    directory = state.edge("edge-1").services / "digits" / "runtime-1"
    directory.mkdir(parents=True)
    runtime = subprocess.Popen(["sleep", "600"], cwd=directory)
    receipt = {"model": "digits", "address": "127.0.0.1", "port": 1, "pid": runtime.pid}
    (directory / process.RECEIPT).write_text(json.dumps(receipt | {"born": process.born(runtime.pid)}))
    play(ENDLESS)
    agents.want(["edge-1"])
    agents.stop()
    runtime.wait(20)
    assert not lives(runtime.pid)


def test_an_agent_that_dies_again_and_again_waits_longer_each_time_and_says_why(
    play: Callable[[str], Path], agents: Agents, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    started = play("printf 'error[RX502]: entry 7\\033 is damaged\\n help: restore a backup\\n'; exit 6")
    delays = []
    for count in range(1, 9):
        agents.want(["edge-1"])
        assert told.end() == "the agent ended with code 6: error[RX502]: entry 7 is damaged"
        assert len(starts(started)) == count
        agents.want(["edge-1"]) if count > 1 else None  # the first end is made good at once
        if told.dues:
            delays.append(told.dues.pop()[1])
            now[0] += delays[-1]
    assert delays == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_an_agent_that_lived_long_is_started_again_at_once(
    play: Callable[[str], Path], agents: Agents, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    started = play(ENDLESS)
    for _ in range(3):
        agents.want(["edge-1"])
        while not started.exists() or len(starts(started)) == 0:
            os.sched_yield()
        now[0] += supervision.SOUND_S + 1
        os.kill(starts(started)[-1], signal.SIGKILL)
        assert told.end() == "the agent ended by signal 9"
        started.unlink()
    assert told.dues == []


def test_an_agent_that_runs_already_is_adopted_without_a_call(
    play: Callable[[str], Path], state: StateDirectory, told: Told
) -> None:
    started = play(ENDLESS)
    earlier = subprocess.Popen(["sleep", "600"])
    adopted = Agents(state, {"edge-1": earlier.pid}.get, told)
    adopted.want(["edge-1"])
    assert not started.exists()
    adopted.want([])
    assert told.end() == ""
    earlier.wait(20)  # its end was read by the thread that watched it
    assert not lives(earlier.pid)
