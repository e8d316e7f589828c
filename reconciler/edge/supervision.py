"""The agents of this machine's edges, as processes that outlive the hub. May import: control, edge.paths.

In: which edges there are.  Out: one agent process each, started, started again when it dies, or adopted when an earlier
hub left it running; a call whenever one has ended, from a watching thread.
"""

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from reconciler.controller import control
from reconciler.edge.paths import StateDirectory
from reconciler.errors import ReconcilerError

AGAIN_S: Final = 2.0  # an agent that ends sooner than this after its start waits this long
STOP_S: Final = 60.0


@dataclass
class Agent:
    """One running agent. A pidfd holds the process, so that a reused pid is never signalled."""

    pid: int
    pidfd: int
    started: float


class Agents:
    """Sees to it that every wanted edge has an agent. Used from the hub's loop; each agent has a watching thread."""

    def __init__(self, state: StateDirectory, ended: Callable[[str, float], None]) -> None:
        """ended: told the edge, and after how many seconds it should be seen to again."""
        self._state, self._ended = state, ended
        self._agents: dict[str, Agent] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def want(self, edges: Iterable[str]) -> None:
        """Start what is missing; stop what is no longer wanted."""
        wanted = set(edges)
        with self._lock:
            missing, extra = wanted - self._agents.keys(), self._agents.keys() - wanted
        for edge in sorted(missing):
            if not self._stopping:
                self._watch(edge, self._running(edge) or self._spawn(edge))
        for edge in sorted(extra):
            self._tell_to_stop(edge)

    def _running(self, edge: str) -> int | None:
        """The pid of an agent that an earlier hub, or a person, started."""
        with contextlib.suppress(ReconcilerError):
            return int(control.call(self._state.edge(edge).control, {"verb": "status"})["pid"])
        return None

    def _spawn(self, edge: str) -> int:
        home = self._state.edge(edge)
        home.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "reconciler", "agent", edge, "--state", str(self._state.root)]
        with home.output.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        process.returncode = 0  # its end is read through the pidfd; Popen must not warn that it goes on
        return process.pid

    def _watch(self, edge: str, pid: int) -> None:
        try:
            agent = Agent(pid, os.pidfd_open(pid), time.monotonic())
        except ProcessLookupError:  # it ended already
            self._ended(edge, AGAIN_S)
            return
        with self._lock:
            self._agents[edge] = agent
        threading.Thread(target=self._wait, args=(edge, agent), name=f"agent {edge}", daemon=True).start()

    def _wait(self, edge: str, agent: Agent) -> None:
        poll = select.poll()
        poll.register(agent.pidfd, select.POLLIN)
        poll.poll()
        with contextlib.suppress(ChildProcessError):  # adopted: not our child
            os.waitid(os.P_PIDFD, agent.pidfd, os.WEXITED)
        with self._lock:
            self._agents.pop(edge, None)
            os.close(agent.pidfd)
        lived_s = time.monotonic() - agent.started
        self._ended(edge, 0.0 if lived_s > AGAIN_S else AGAIN_S)

    def _tell_to_stop(self, edge: str) -> None:
        with contextlib.suppress(ReconcilerError):
            control.call(self._state.edge(edge).control, {"verb": "stop"})

    def stop(self) -> None:
        """End every agent, and with it its runtimes, in an orderly way."""
        self._stopping = True
        with self._lock:
            waiting = {edge: os.dup(agent.pidfd) for edge, agent in self._agents.items()}
        for edge in waiting:
            self._tell_to_stop(edge)
        for pidfd in waiting.values():
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(STOP_S * 1000)
            os.close(pidfd)
