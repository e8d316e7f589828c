"""The hub, put together. In: settings.  Out: `HubProcess`, ready to run, and what else acts on the hub's log."""

import gc
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler import control_socket
from reconciler.edge.paths import StateDirectory
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.retry import jittered
from reconciler.errors import GitUnavailable, HubUnreachable, SettingInvalid, WorldUnavailable
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.events import rfc3339
from reconciler.history.keys import DECLARE, DELIVER
from reconciler.history.state import State, ordering
from reconciler.history.status import Status, status
from reconciler.model.shape import NAME
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Credentials, Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.sources.watch import Watcher, watch_head
from reconciler.wiring.basis import Followed
from reconciler.wiring.edges import EdgeStage
from reconciler.wiring.process import AUDIT_S, SystemClock, recorded
from reconciler.wiring.vitals import Vitals

if TYPE_CHECKING:
    from reconciler.wiring.cluster import ClusterStage, Further

VERB_S: Final = 60.0
CALLERS: Final = 8  # verbs that wait at a time: one for a Git that hangs keeps nobody from an emergency stop
REMEMBER_S: Final = 30.0  # between two times at which what is kept by then is looked at no more by the collector


class HubProcess:
    """The hub, and this machine's edges. `run` blocks; `stop` ends it in an orderly way from any thread."""

    def __init__(self, settings: Any, *, supervise: bool = True, further: Sequence["Further"] = ()) -> None:
        """settings: what it follows.  supervise: start this machine's agents, and end them with the hub.
        further: make stages that stand on those of a cluster.

        Raises SecondWriter when a hub runs here already, SettingInvalid, GitRefused, GitUnavailable.
        """
        self.settings = settings
        self.vitals = Vitals()
        self._state = StateDirectory(Path(settings.state_dir))
        home, remote = self._state.hub, remote_of(settings)
        if not home.log.exists():
            require_there(remote)
        home.directory.mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        self.queue = Queue(clock)
        self.log = SqliteLog(home.log, "/hub", clock)
        self.record = recorded(self.log, home, clock, "hub")
        if self.record.state.ref.source.get("repo", str(remote)) != str(remote):
            require_there(remote)  # another one than was followed: nothing was read of it yet
        mirror = _CountedMirror(self._state.mirror, remote, settings.branch)
        mirror.vitals = self.vitals
        repository = DocumentRepository(
            mirror, self.record.state, self.log.blob, DocumentCache(self._state.cache), settings.path
        )
        self._stopping = threading.Event()
        same_world(settings, self.record.state)
        self.stage = self._staged(repository, further, supervise=supervise)
        every = {
            Cause.COMMIT: lambda: jittered(settings.poll_s, random.random),
            Cause.AUDIT: lambda: jittered(AUDIT_S, random.random),
        }
        first, *others = self.stage.stages
        stages = [replace(first, every=every), *others]
        followers = {**self.stage.followers, "memory": self._remember}
        self._loop = Loop(stages, self.record, self.queue, sample=random.random, followers=followers)
        self._triggers = self.queue.stage(stages[0].name)
        self._remote = remote
        self._control = control_socket.serve(home.control, self._answer, callers=CALLERS)

    def _staged(
        self, repository: DocumentRepository, further: Sequence["Further"], *, supervise: bool
    ) -> "EdgeStage | ClusterStage":
        if not self.settings.has_cluster:
            return EdgeStage(self._state, repository, self.record, self.queue, supervise=supervise)
        from reconciler.wiring.cluster import ClusterStage  # a hub of edges needs no Kubernetes client

        return ClusterStage(self.settings, repository, self.record, self.queue, self.vitals, further=further)

    @property
    def followed(self) -> Followed:
        """What it follows, and what it sees of its cluster, from any thread."""
        return Followed(self.settings.branch, self.settings.path, self.stage.see)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("verb"):
            case "ring":
                caller = str(request.get("caller", ""))
                if re.fullmatch(NAME, caller):  # a name only: a path would lead out of the edges' directory
                    self.queue.stage(DELIVER).add(Trigger(Cause.EDGE, caller))
            case "stop":
                threading.Thread(target=self.stop, name="stop", daemon=True).start()
            case "sync":
                self._triggers.add(Trigger(Cause.COMMIT))
            case "status":
                facts = {"repo": self.settings.repo, "branch": self.settings.branch, "path": self.settings.path}
                place = {"context": self.settings.context, "kubeconfig": str(self.settings.kubeconfig or "")}
                return {"pid": os.getpid(), **facts, **place, "in_cluster": self.settings.in_cluster}
            case "reconcile" if not request.get("wait"):
                ask(self.queue, {**request, "check": True})  # a name that is wrong is told at once
                self._triggers.add(Trigger(Cause.VERB, "reconcile", request=request))
            case "seal":
                return {"sealed": str(self.log.seal())}
            case _:
                return ask(self.queue, request)
        return {}

    def run(self) -> None:
        """Reconcile until `stop`; where this ends otherwise, agents serve on, and the next hub adopts them."""
        watcher = self._watcher()
        self.queue.stage("memory").add(Trigger(Cause.FOLLOW), 1.0)
        self.stage.start(lambda: not self._stopping.is_set())
        try:
            self._loop.run()
        finally:
            if watcher is not None:
                watcher.close()
            self._close(orderly=self._stopping.is_set())

    @property
    def stopped(self) -> tuple[str, ...]:
        """The edges of this machine whose agents, with their runtimes, it ended with itself."""
        return self.stage.stopped

    def _remember(self) -> None:
        """Have the collector of cycles look no more at what is kept by now: a look at 50,000 objects takes a second."""
        gc.freeze()
        self.queue.stage("memory").add(Trigger(Cause.FOLLOW), REMEMBER_S)

    def _watcher(self) -> Watcher | None:
        """Notices a commit at once where that can be; a repository that is not there yet is polled for."""
        try:
            return watch_head(self._remote, self._sync, branch=self.settings.branch)
        except GitUnavailable:
            return None

    def _sync(self) -> None:
        self._triggers.add(Trigger(Cause.COMMIT))

    def once(self, timeout_s: float) -> Status:
        """Read the branch, and reconcile until everything is as it says or the time is over.

        Raises what kept it from looking at all that there is: GitUnavailable, ApiUnavailable, LeaseLost. What the log
        says of earlier runs is no answer.
        """
        timer = threading.Timer(timeout_s, self.stop)
        git, loop = self.stage.source.git, self._loop
        try:
            self.stage.start(lambda: not self._stopping.is_set())
            for stage in self.stage.stages:
                self.queue.stage(stage.name).add(Trigger(Cause.START))
            loop.until(lambda: git.has_answered or loop.failure is not None)
            timer.start()
            if git.failure is None:
                loop.until(
                    lambda: (
                        git.has_answered
                        and loop.has_looked
                        and self.queue.is_quiet
                        and loop.is_at_rest
                        and self._is_served()
                    )
                )
            failure = git.failure or loop.failure
            if failure is not None and not (git.has_begun and loop.has_looked):
                raise failure
            if not loop.has_looked:
                raise WorldUnavailable(f"not everything was looked at within {timeout_s:.0f} s")
            return self._seen()
        finally:
            timer.cancel()
            self._close(orderly=True)

    def _is_served(self) -> bool:
        """Whether every edge has said, since this began, that what it was given stands or cannot be had."""
        seen = self._seen()
        return self.stage.is_heard(row.edge for row in seen.rows) and not any(row.under_way for row in seen.rows)

    def _seen(self) -> Status:
        return status(self.record.state, rfc3339(time.time()))

    def _close(self, *, orderly: bool) -> None:
        self.queue.abandon()  # before the socket: it finishes the request in hand, which may wait for the loop
        self._control.close()
        self.stage.close(orderly=orderly)
        self.log.close()

    def stop(self) -> None:
        """End `run`. A second time: wait no longer for agents to end in an orderly way."""
        if self._stopping.is_set():
            self.stage.hurry()
        self._stopping.set()
        self.queue.close()


class _CountedMirror(Mirror):
    """A mirror whose looks at the remote are counted."""

    vitals: Vitals

    def fetch(self) -> str:
        outcome = "failed"
        try:
            head = super().fetch()
            outcome = "ok"
            return head
        finally:
            self.vitals.asked_git(outcome)


def same_world(settings: Any, state: State) -> None:
    """Refuse a log that kept something else: it would be taken for gone. Raises SettingInvalid."""
    ordered = ordering(state)
    if settings.has_cluster and ordered == {DELIVER}:
        message = "the log in this state directory orders edges without Kubernetes"
        raise SettingInvalid(message, hint="give the cluster a --state directory of its own")
    if not settings.has_cluster and DECLARE in ordered:
        message = "the log in this state directory keeps a cluster"
        raise SettingInvalid(message, hint="say which: --context NAME, --kubeconfig FILE or --in-cluster")


def require_there(remote: Remote) -> None:
    """Refuse a local repository that is not there. Raises SettingInvalid."""
    if remote.path is not None and not remote.path.exists():
        advice = "name a repository; `reconciler init` makes one"
        raise SettingInvalid(f"--repo: there is no {remote.path}", hint=advice)


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
    queue.add(Trigger(Cause.VERB, str(request.get("verb")), request=request, reply=reply))
    try:
        return reply.result(timeout=VERB_S)
    except CancelledError as error:
        raise HubUnreachable("the reconciler is ending") from error
    except TimeoutError as error:
        hint = "it goes on; `reconciler status` shows how far it is"
        raise HubUnreachable(f"the reconciler is still at it after {VERB_S:.0f} s", hint=hint) from error
