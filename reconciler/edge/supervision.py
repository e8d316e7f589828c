"""The agents of this machine's edges, as processes that outlive the hub. May import: engine.retry,
serving.process, edge.paths.

In: which edges there are.  Out: one agent process each, started, started again when it dies, or adopted when an earlier
hub left it running; a call whenever one has ended, from a watching thread.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from reconciler.edge.paths import StateDirectory
from reconciler.engine.retry import Backoff
from reconciler.serving import process

AGAIN_S, AGAIN_CAP_S = 2.0, 60.0  # before an agent that dies again and again is started again, each time twice as long
SOUND_S: Final = 60.0  # an agent that lived this long did not die of its start
STOP_S: Final = 60.0  # for all agents together, and what each is busy with
WORDS: Final = 300  # characters of an agent's last words
TAIL: Final = 8192  # bytes of its output among which they are looked for


class Listener(Protocol):
    """Who is told about agents, from any thread."""

    def ended(self, edge: str, words: str) -> None:
        """The edge's agent ended. words: how, and the last that it said, on one line; "" when it was told to."""
        ...

    def due(self, edge: str, delay_s: float) -> None:
        """The edge should be wanted again after so many seconds."""
        ...


@dataclass
class Agent:
    """One running agent. A pidfd holds the process, so that a reused pid is never signalled."""

    pidfd: int
    started: float
    said: int  # bytes of its output file when it started
    dismissed: bool = False


class Agents:
    """Sees to it that every wanted edge has an agent. Used from the hub's loop; each agent has a watching thread."""

    def __init__(self, state: StateDirectory, running: Callable[[str], int | None], listener: Listener) -> None:
        """running: the pid of the agent that an earlier hub, or a person, started for an edge. Must not wait."""
        self._state, self._running, self._listener = state, running, listener
        self._agents: dict[str, Agent] = {}
        self._early = Backoff(AGAIN_S, AGAIN_CAP_S, sample=lambda: 1.0)
        self._due: dict[str, float] = {}  # when an edge's agent may be started again
        self._wanted: set[str] = set()
        self._changed = threading.Condition()
        self._stopping = self._hurried = False
        self.stopped: tuple[str, ...] = ()  # the edges whose agents `stop` ended

    def want(self, edges: Iterable[str]) -> None:
        """Start what is missing; stop what is no longer wanted."""
        with self._changed:
            if self._stopping:
                return
            self._wanted = set(edges)
            missing, extra = self._wanted - self._agents.keys(), self._agents.keys() - self._wanted
            for edge in extra:
                self._dismiss(edge, signal.SIGTERM)
        for edge in sorted(missing):
            self._see_to(edge)

    def _see_to(self, edge: str) -> None:
        said = _size(self._state.edge(edge).output)
        pid = self._running(edge)
        if pid is None:
            early_s = self._due.get(edge, 0.0) - time.monotonic()
            if early_s > 0:
                self._listener.due(edge, early_s)
                return
            pid = self._spawn(edge)
        try:
            agent = Agent(os.pidfd_open(pid), time.monotonic(), said)
        except ProcessLookupError:  # adopted, and it ended just now
            self._listener.due(edge, AGAIN_S)
            return
        with self._changed:
            self._agents[edge] = agent
        threading.Thread(target=self._wait, args=(edge, agent), name=f"agent {edge}", daemon=True).start()

    def _spawn(self, edge: str) -> int:
        home = self._state.edge(edge)
        home.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "reconciler", "agent", edge, "--state", str(self._state.root)]
        with home.output.open("ab") as output:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        started.returncode = 0  # its end is read through the pidfd; Popen must not warn that it goes on
        return started.pid

    def _wait(self, edge: str, agent: Agent) -> None:
        poll = select.poll()
        poll.register(agent.pidfd, select.POLLIN)
        poll.poll()
        how, told = "the agent ended", True
        with contextlib.suppress(ChildProcessError):  # adopted: not our child
            end = os.waitid(os.P_PIDFD, agent.pidfd, os.WEXITED)
            if end is not None and end.si_code == os.CLD_EXITED:
                how += f" with code {end.si_status}"
            elif end is not None:
                how, told = f"{how} by signal {end.si_status}", end.si_status in process.FAULTS
        said = _last_words(self._state.edge(edge).output, agent.said) if told else ""  # else of something earlier
        words = ": ".join(filter(None, [how, said]))[:WORDS]
        with self._changed:
            self._agents.pop(edge, None)
            os.close(agent.pidfd)
            self._due[edge] = time.monotonic() + self._delay_s(edge, agent)
            self._changed.notify_all()
        self._listener.ended(edge, "" if agent.dismissed else words)

    def _delay_s(self, edge: str, agent: Agent) -> float:
        """The first end is made good at once; those that follow it closely wait, each twice as long."""
        if agent.dismissed or time.monotonic() - agent.started > SOUND_S:
            self._early.succeeded(edge)
            return 0.0
        return self._early.failed(edge, free=1)

    def _dismiss(self, edge: str, number: signal.Signals) -> None:
        """By a signal, not by its socket: an agent that has not come to listen ends too. With the lock held."""
        agent = self._agents[edge]
        agent.dismissed = True
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            signal.pidfd_send_signal(agent.pidfd, number)

    def _dismiss_all(self, number: signal.Signals) -> None:
        for edge in self._agents:
            self._dismiss(edge, number)

    def stop(self) -> None:
        """End every agent, and with it its runtimes, in an orderly way; by force after STOP_S, or when hurried."""
        with self._changed:
            self._stopping = True
            self.stopped = tuple(self._agents)
            self._dismiss_all(signal.SIGTERM)
            self._changed.wait_for(lambda: self._hurried or not self._agents, STOP_S)
            self._dismiss_all(signal.SIGKILL)
            self._changed.wait_for(lambda: not self._agents, AGAIN_S)
        for edge in sorted(self._wanted):
            self._stop_runtimes(edge)

    def hurry(self) -> None:
        """Have `stop`, now or later, wait for no agent."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def _stop_runtimes(self, edge: str) -> None:
        """What an agent left behind that was ended by force, or before it could adopt what an earlier one left."""
        for receipt in self._state.edge(edge).services.rglob(process.RECEIPT):
            runtime = process.find(receipt.parent)
            if runtime is not None:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(runtime.fileno(), signal.SIGTERM)  # its answers in flight come first
                runtime.close()


def _size(output: Path) -> int:
    try:
        return output.stat().st_size
    except OSError:
        return 0


def _last_words(output: Path, said: int) -> str:
    """The last line that begins in the first column (a hint, or where a traceback leads, does not), made printable."""
    try:
        with output.open("rb") as file:
            file.seek(max(said, _size(output) - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line[:1].strip()]
    return "".join(letter for letter in lines[-1] if letter.isprintable()) if lines else ""
