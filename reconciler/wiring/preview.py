"""What a hub would do, without one: looking ahead, and a person's verb where none runs. In: settings, requests."""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.edge.paths import StateDirectory
from reconciler.engine.loop import NOTHING, Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Stage
from reconciler.errors import HubUnreachable, SettingInvalid
from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.keys import DECLARE, DELIVER
from reconciler.history.state import State, ordering
from reconciler.planning.declared import Declared
from reconciler.planning.plan import Plan
from reconciler.sources.cache import DocumentCache
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.sources.revision import revision
from reconciler.sources.uncommitted import Uncommitted
from reconciler.stages.declare import Declare
from reconciler.stages.deliver import Deliver
from reconciler.wiring.edges import LocalPeers
from reconciler.wiring.hub import remote_of, same_world
from reconciler.wiring.past import Past, opened, remembered
from reconciler.wiring.process import Inline, SystemClock, recorded

if TYPE_CHECKING:
    from reconciler.kube.write.target import ClusterTarget


class Preview:
    """What a hub would do next, by the same engine over a log in memory. Nothing is kept but the mirror, a cache.

    loses_policy: whether the Fleet in force is no longer declared, once there is a plan.
    """

    loses_policy = False

    def __init__(self, settings: Any, past: Past | None, stack: contextlib.ExitStack, *, uncommitted: bool) -> None:
        """past: the log that it goes on from; None begins with nothing.  uncommitted: take a work tree as it is.

        stack: ends what is opened here.
        """
        place, clock = StateDirectory(Path(settings.state_dir)), SystemClock()
        state = past.replay.at() if past else State()
        self._is_first = past is None
        same_world(settings, state)
        self._record = Recorder(MemoryLog("/hub", clock), clock, state, "hub")
        kind = Uncommitted if uncommitted else Mirror
        remote, source = remote_of(settings), state.ref.source
        mirror = kind(place.root / "preview.git", remote, settings.branch)
        blob = past.log.blob if past else self._record.log.blob
        # A clone of what is followed is no other repository, and its folder is the one that is followed.
        is_same = source.get("repo") == str(remote) or (
            bool(source) and remote.path is not None and bool(revision(state.ref.commit, remote.path))
        )
        folder = source["path"] if is_same and "path" not in settings.model_fields_set else settings.path
        repo = source["repo"] if is_same else ""
        repository = DocumentRepository(mirror, state, blob, DocumentCache(place.cache), folder, repo=repo)
        self.mirror, self.state, self._repository = mirror, state, repository
        self._folder = settings.path
        self._stage: Deliver | Declare
        queue = Queue(clock)
        if settings.has_cluster:
            declare, target = self._of_cluster(settings, queue, stack)
            self._stage, stage = declare, Stage(DECLARE, declare, target)
            self._record.append([*declare.found()] if past is None else ())
        else:
            peers = LocalPeers(place, self._record.log, lambda _: None)
            self._stage = hub = Deliver(repository, self._record, queue, Inline(), peers)
            stage = Stage(DELIVER, hub, hub)
        self._name, self._loop = stage.name, Loop([stage], self._record, queue)

    def _of_cluster(self, settings: Any, queue: Queue, stack: contextlib.ExitStack) -> "tuple[Declare, ClusterTarget]":
        """Source and target that read only what is asked for, and need no Lease. Raises SettingInvalid."""
        from reconciler.kube.client.api import Api  # a preview of edges needs no Kubernetes client
        from reconciler.kube.client.connection import Connection
        from reconciler.kube.client.identity import same_cluster
        from reconciler.kube.watch.uncached import Uncached
        from reconciler.kube.write.apply import MANAGER
        from reconciler.kube.write.target import ClusterTarget

        opened = Connection.open(
            kubeconfig=settings.kubeconfig, context=settings.context, in_cluster=settings.in_cluster
        )
        api = Api(stack.enter_context(contextlib.closing(opened)))
        if self.state.cluster:
            same_cluster(api, self.state.cluster)
        target = ClusterTarget(
            api,
            Uncached(api, MANAGER),
            self._record.stage(DECLARE),
            queue.stage(DECLARE),
            fleet=lambda: declare.git.fleet(),  # noqa: PLW0108  # it is made below
            allowed=lambda: None,
            declared=lambda: self._repository.declared,
            install=settings.install or self.state.lease.install or settings.install_name,
        )
        declare = Declare(self._repository, self._record, queue, Inline(), target)
        return declare, target

    def plan(self) -> Plan:
        """The plan of the next pass; then `state` has the problems in force. Raises GitUnavailable, GitRefused."""
        change, before = self._stage.take(Trigger(Cause.COMMIT)), NOTHING
        while change.commit and Trigger(Cause.COMMIT) in change.then:  # what is behind has another policy
            self._record.append(change.events)
            before = before.beside(self._loop.foresee(self._name, change))
            change = self._stage.take(Trigger(Cause.COMMIT))
        if change.commit:
            self._record.append(change.events)
        else:
            change = self._stage.preview()
        plan, expansions, *_ = self._loop.consider(self._name, change)
        plan = plan.beside(before, but=change.keys)
        if not plan.steps or self._is_first:  # the commit is about nothing that waits, or what is there is not known
            plan, expansions, *_ = self._loop.consider(self._name, self._stage.preview())
        self.loses_policy = (
            bool(self.state.fleet and not change.facts.unreadable) and self._repository.declared.fleet() is None
        )
        self._record.append(self._stage.notice(expansions, plan))
        return plan

    def declared(self) -> Declared:
        """What the branch declares. Raises GitUnavailable, GitRefused."""
        while Trigger(Cause.COMMIT) in (change := self._stage.take(Trigger(Cause.COMMIT))).then:
            self._record.append(change.events)
        return self._repository.declared

    def left_out(self) -> dict[str, str]:
        """The files of the plan's commit that are named as manifests are and are none of ours -> why each is left."""
        return (
            self.mirror.left_out(self.state.ref.commit, self._folder, self.state.files) if self.state.ref.commit else {}
        )

    @property
    def uncommitted(self) -> tuple[str, ...]:
        """The files of the work tree that are taken as they are on disk, once there is a plan."""
        return self.mirror.paths if isinstance(self.mirror, Uncommitted) else ()

    @property
    def head(self) -> str:
        """The branch's newest commit, once there is a plan."""
        return self.mirror.head if isinstance(self.mirror, Uncommitted) else self.state.ref.commit


@contextlib.contextmanager
def preview(settings: Any, *, uncommitted: bool = False) -> Iterator[Preview]:
    """A preview; one at a time for one state directory, which need not be there yet. Raises SettingInvalid."""
    root = Path(settings.state_dir)
    try:
        root.mkdir(parents=True, exist_ok=True)
        turn = (root / "preview.lock").open("w")
    except OSError as error:
        raise SettingInvalid(f"the state directory {root} cannot be written: {error.strerror}") from error
    with turn, contextlib.ExitStack() as stack:
        fcntl.flock(turn, fcntl.LOCK_EX)
        past = stack.enter_context(opened(root)) if StateDirectory(root).hub.log.exists() else None
        yield Preview(settings, past, stack, uncommitted=uncommitted)


def alone(state_dir: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """A person's verb, done where no hub runs: what is appended is what the hub would append. Raises SecondWriter."""
    place, clock = StateDirectory(state_dir), SystemClock()
    with contextlib.closing(SqliteLog(place.hub.log, "/hub", clock)) as log:
        if request["verb"] == "seal":
            return {"sealed": str(log.seal())}
        record = recorded(log, place.hub, clock, "hub")
        if DECLARE in ordering(record.state):
            raise HubUnreachable(
                "this log keeps a cluster, and no reconciler runs here",
                hint="start it, or name its cluster with --context: the verb is done there",
            )
        repository, queue = remembered(record.state, log, place), Queue(clock)
        hub = Deliver(repository, record, queue, Inline(), LocalPeers(place, log, lambda _: None))
        reply: Future[dict[str, Any]] = Future()
        queue.stage(DELIVER).add(Trigger(Cause.VERB, str(request["verb"]), request=request, reply=reply))
        Loop([Stage(DELIVER, hub, hub)], record, queue).until(reply.done)
        return reply.result(timeout=0)
