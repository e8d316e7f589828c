"""The hub, put together. In: settings.  Out: `HubProcess`, ready to run, and what else acts on the hub's log."""

import os
import random
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, Final

from reconciler.controller import control
from reconciler.controller.hub import Hub
from reconciler.controller.loop import Loop
from reconciler.controller.queue import Queue, Trigger
from reconciler.edge.paths import StateDirectory
from reconciler.edge.supervision import Agents
from reconciler.errors import GitUnavailable, HubUnreachable, SettingInvalid
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.events import rfc3339
from reconciler.history.status import Status, status
from reconciler.model.shape import NAME
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Credentials, Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.sources.watch import Watcher, next_poll_s, watch_head
from reconciler.wiring.process import AUDIT_S, SystemClock, jittered, recorded, writer_of

VERB_S: Final = 60.0


class HubProcess:
    """The hub, and this machine's edges. `run` blocks; `stop` ends it in an orderly way from any thread."""

    def __init__(self, settings: Any, *, supervise: bool = True) -> None:
        """settings: what it follows.  supervise: start this machine's agents, and end them with the hub.

        Raises SecondWriter when a hub runs here already, SettingInvalid, GitRefused, GitUnavailable.
        """
        self.settings = settings
        self._state = StateDirectory(Path(settings.state_dir))
        home, remote = self._state.hub, remote_of(settings)
        if remote.path is not None and not remote.path.exists() and not home.log.exists():
            raise SettingInvalid(
                f"--repo: there is no {remote.path}", hint="name a repository; `reconciler init` makes one"
            )
        home.directory.mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        self.queue = Queue(clock)
        self.log = SqliteLog(home.log, "/hub", clock)
        self.record = recorded(self.log, home, clock, "hub")
        mirror = Mirror(self._state.mirror, remote, settings.branch)
        repository = DocumentRepository(
            mirror, self.record.state, self.log.blob, DocumentCache(self._state.cache), settings.path
        )
        self._stopping = threading.Event()
        self._agents = Agents(self._state, lambda edge: writer_of(self._state.edge(edge).log), self)
        hub = Hub(
            repository,
            self.record,
            link_to=lambda edge: FileLink(self._state.edge(edge).log, self.log),
            ring=lambda edge: control.ring(self._state.edge(edge).control),
            fleet_changed=self._agents.want if supervise else lambda _: None,
        )
        every = {
            "commit": lambda: next_poll_s(0, random.random(), settings.poll_s),  # noqa: S311  # jitter, not a secret
            "audit": lambda: jittered(AUDIT_S),
        }
        self._hub, self._loop = hub, Loop(hub, hub, self.record, self.queue, every)
        self._remote = remote
        self._control = control.serve(home.control, self._answer)

    def ended(self, edge: str, words: str) -> None:
        """See `supervision.Listener`."""
        self.queue.add(Trigger("edge", edge, request={"error": words} if words else {}))

    def due(self, edge: str, delay_s: float) -> None:
        """See `supervision.Listener`."""
        self.queue.add(Trigger("edge", edge), delay_s)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("verb"):
            case "ring":
                caller = str(request.get("caller", ""))
                if re.fullmatch(NAME, caller):  # a name only: a path would lead out of the edges' directory
                    self.queue.add(Trigger("edge", caller))
            case "stop":
                threading.Thread(target=self.stop, name="stop", daemon=True).start()
            case "sync":
                self.queue.add(Trigger("commit"))
            case "status":
                facts = {"repo": self.settings.repo, "branch": self.settings.branch, "path": self.settings.path}
                return {"pid": os.getpid(), **facts}
            case "seal":
                return {"sealed": str(self.log.seal())}
            case _:
                return ask(self.queue, request)
        return {}

    def run(self) -> None:
        """Reconcile until `stop`; where this ends otherwise, agents serve on, and the next hub adopts them."""
        watcher = self._watcher()
        self.queue.add(Trigger("commit"))
        try:
            self._loop.run()
        finally:
            if watcher is not None:
                watcher.close()
            self._close(stop_agents=self._stopping.is_set())

    def _watcher(self) -> Watcher | None:
        """Notices a commit at once where that can be; a repository that is not there yet is polled for."""
        try:
            return watch_head(self._remote, lambda: self.queue.add(Trigger("commit")), branch=self.settings.branch)
        except GitUnavailable:
            return None

    def once(self, timeout_s: float) -> Status:
        """Read the branch, and reconcile until everything is as it says or the time is over. Raises GitUnavailable."""
        timer = threading.Timer(timeout_s, self.stop)
        timer.start()
        try:
            self._loop.turn(Trigger("start"))
            self._loop.reconcile(self._hub.take(Trigger("commit")))
            self._loop.until(lambda: self._seen().still)
            return self._seen()
        finally:
            timer.cancel()
            self._close(stop_agents=True)

    def _seen(self) -> Status:
        return status(self.record.state, rfc3339(time.time()))

    def _close(self, *, stop_agents: bool) -> None:
        self.queue.abandon()  # before the socket: it finishes the request in hand, which may wait for the loop
        self._control.close()
        if stop_agents:
            self._agents.stop()
        self.log.close()

    def stop(self) -> None:
        """End `run`. A second time: wait no longer for agents to end in an orderly way."""
        if self._stopping.is_set():
            self._agents.hurry()
        self._stopping.set()
        self.queue.close()


def remote_of(settings: Any) -> Remote:
    """The Git remote that the settings name. Raises GitRefused."""
    credentials = Credentials(
        token_env=settings.token_env or "",
        token_file=settings.token_file,
        ssh_key=settings.ssh_key_file,
    )
    return Remote.parse(settings.repo, credentials)


def ask(queue: Queue, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have the loop do what a person asked, and its answer. Raises what the loop raised, HubUnreachable at its end."""
    reply: Future[dict[str, Any]] = Future()
    queue.add(Trigger("verb", str(request.get("verb")), request=request, reply=reply))
    try:
        return reply.result(timeout=VERB_S)
    except CancelledError as error:
        raise HubUnreachable("the reconciler is ending") from error
