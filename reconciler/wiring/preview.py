"""What a hub would do, without one: looking ahead, and a person's verb where none runs. In: settings, requests."""

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.diagnostics import Diagnostic
from reconciler.edge.paths import StateDirectory
from reconciler.engine.loop import NOTHING, Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Change, Stage
from reconciler.errors import HubUnreachable, SettingInvalid
from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import events as ev
from reconciler.history.keys import DECLARE, DELIVER
from reconciler.history.state import State, ordering
from reconciler.planning.declared import Declared
from reconciler.planning.desired import Expansion
from reconciler.planning.plan import Plan
from reconciler.planning.remarks import one_endpoint, selects_nothing
from reconciler.sources.cache import DocumentCache
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.sources.revision import revision
from reconciler.sources.uncommitted import Uncommitted
from reconciler.stages.declare import Declare
from reconciler.stages.deliver import Deliver
from reconciler.wiring.basis import Hub
from reconciler.wiring.edges import LocalPeers
from reconciler.wiring.hub import remote_of, same_world
from reconciler.wiring.past import Past, opened, remembered
from reconciler.wiring.process import Inline, SystemClock, recorded

if TYPE_CHECKING:
    from reconciler.kube.write.target import ClusterTarget


class Preview:
    """What a hub would do next, by the same engine over a log in memory. Nothing is kept but the mirror, a cache.

    Once there is a plan: loses_policy: whether the Fleet in force is no longer declared.  then: what follows from it,
    as the Fleet that it brings comes into force.  followed: the commit that was read last before.
    """

    loses_policy = False
    then = Plan(())

    def __init__(
        self,
        settings: Any,
        known: "Past | Hub | None",
        stack: contextlib.ExitStack,
        *,
        uncommitted: bool,
        is_named: bool = False,
    ) -> None:
        """known: the log that it goes on from, here or as a hub elsewhere tells it; None begins with nothing.

        uncommitted: take a work tree as it is checked out.  is_named: but not where another branch is, as this one was
        named.  stack: ends what is opened here.
        """
        place, clock = StateDirectory(Path(settings.state_dir)), SystemClock()
        self._hub = known if isinstance(known, Hub) else None
        past = None if isinstance(known, Hub) else known
        state = self._hub.basis.state if self._hub is not None else past.replay.at() if past else State()
        if self._hub is None:
            same_world(settings, state)
        self.followed, self.is_known = state.ref.commit, known is not None
        self._is_first = known is None
        log = MemoryLog("/hub", clock, blobs=past.log.blob) if past else MemoryLog("/hub", clock)
        self._record = Recorder(log, clock, state, "hub")
        kind = Uncommitted if uncommitted else Mirror
        remote, source = remote_of(settings), state.ref.source
        mirror = kind(place.root / "preview.git", remote, settings.branch)
        if isinstance(mirror, Uncommitted):
            mirror.is_named = is_named
        cache = self._hub if self._hub is not None else DocumentCache(place.cache)
        # A clone of what is followed is no other repository, and its folder is the one that is followed.
        is_same = source.get("repo") == str(remote) or (
            bool(source)
            and remote.path is not None
            and (self._hub is not None or bool(revision(state.ref.commit, remote.path)))
        )
        folder = source["path"] if is_same and "path" not in settings.model_fields_set else settings.path
        repo = source["repo"] if is_same else ""
        repository = DocumentRepository(mirror, state, log.blob, cache, folder, repo=repo)
        self.mirror, self.state, self._repository = mirror, state, repository
        self._folder = settings.path
        self._stage: Deliver | Declare
        queue = Queue(clock)
        if settings.has_cluster or (self._hub is not None and self._hub.basis.stage == DECLARE):
            declare, target = self._of_cluster(settings, queue, stack)
            self._stage, stage = declare, Stage(DECLARE, declare, target)
            self._record.append([*declare.found()] if known is None else ())
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

        api: Any = None  # nothing is asked of a cluster that a hub tells of
        objects: Any = self._hub
        if self._hub is None:
            opened = Connection.open(
                kubeconfig=settings.kubeconfig, context=settings.context, in_cluster=settings.in_cluster
            )
            api = Api(stack.enter_context(contextlib.closing(opened)))
            if self.state.cluster:
                same_cluster(api, self.state.cluster)
            objects = Uncached(api, MANAGER)
        target = ClusterTarget(
            api,
            objects,
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
        """The plan of the next pass; then `state` has the problems in force.

        Raises GitUnavailable, GitRefused; of a hub elsewhere Moved, AnswerRefused, WorldUnavailable.
        """
        change, before = self._stage.take(Trigger(Cause.COMMIT)), NOTHING
        while change.commit and Trigger(Cause.COMMIT) in change.then:  # what is behind has another policy
            self._record.append(change.events)
            self._ask(change)
            before = before.beside(self._loop.foresee(self._name, change))
            change = self._stage.take(Trigger(Cause.COMMIT))
        if change.commit:
            self._record.append(change.events)
        else:
            change = self._stage.preview()
        plan, expansions = self._considered(change)
        plan = plan.beside(before, but=change.keys)
        if not plan.steps or self._is_first:  # the commit is about nothing that waits, or what is there is not known
            plan, expansions = self._considered(self._stage.preview())
        self.loses_policy = (
            bool(self.state.fleet and not change.facts.unreadable) and self._repository.declared.fleet() is None
        )
        self._record.append(self._stage.notice(expansions, plan))
        if change.commit and self.state.ref.accepted and not plan.held and change.facts.fleet != self.state.fleet:
            self.then = self._followed(change, plan)
        return plan

    def _considered(self, change: Change) -> tuple[Plan, list[Expansion]]:
        self._ask(change)
        plan, expansions, *_ = self._loop.consider(self._name, change)
        return plan, expansions

    def _ask(self, change: Change) -> None:
        """What is there of the keys of a change, where a hub elsewhere knows it."""
        if self._hub is not None:
            self._hub.ask(change.keys | change.kept, self.state)

    def _followed(self, change: Change, plan: Plan) -> Plan:
        """What is done when the commit is accepted and its Fleet in force: all is looked at by other rules then."""
        said = {"counts": plan.counts, **(self._stage.announce(change, plan) or {})}
        about = {"gitcommit": change.commit, "newdigest": plan.digest}
        self._record.append([self._record.event(ev.CHANGE_PLANNED, f"plan/{self._name}", said, **about)])
        after, expansions = self._considered(self._stage.preview())
        self._record.append(self._stage.notice(expansions, after))
        planned = {step.key for step in plan.steps if not step.waits}
        return Plan(
            tuple(step for step in after.steps if step.key not in planned and not step.waits), after.held, after.holds
        )

    def declared(self) -> Declared:
        """What the branch declares. Raises GitUnavailable, GitRefused."""
        while Trigger(Cause.COMMIT) in (change := self._stage.take(Trigger(Cause.COMMIT))).then:
            self._record.append(change.events)
        return self._repository.declared

    def warnings(self) -> Iterator[Diagnostic]:
        """What nothing is refused for, and whoever looks ahead should know."""
        yield from selects_nothing(self._repository.declared)
        if self._name == DELIVER:  # the edges of a cluster are machines of their own
            yield from one_endpoint(self._repository.declared)

    def left_out(self) -> dict[str, str]:
        """The files of the plan's commit that are named as manifests are and are none of ours -> why each is left."""
        return (
            self.mirror.left_out(self.state.ref.commit, self._folder, self.state.files) if self.state.ref.commit else {}
        )

    # ── what was planned, once there is a plan ────────────────────────────────────────────────────────────────────

    @property
    def uncommitted(self) -> tuple[str, ...]:
        """The files of the work tree that are taken as they are on disk."""
        return self.mirror.paths if isinstance(self.mirror, Uncommitted) else ()

    @property
    def head(self) -> str:
        """The commit that is planned, uncommitted files aside."""
        return self.mirror.head if isinstance(self.mirror, Uncommitted) else self.state.ref.commit

    @property
    def checked_out(self) -> str | None:
        """The branch of the work tree, "" where it is on none; None where none was taken."""
        return self.mirror.checked_out if isinstance(self.mirror, Uncommitted) else None

    @cached_property
    def distance(self) -> tuple[tuple[int, int] | None, str]:
        """((commits ahead, commits behind) the followed one, None where that cannot be seen; that commit, or "")."""
        if not isinstance(self.mirror, Uncommitted):
            return (0, 0), self.state.ref.commit
        base = self.followed or self.mirror.tip()
        return (self.mirror.distance(base) if base else None), base

    def remarks(self) -> Iterator[str]:
        """What is to be known of the work tree before the plan is believed."""
        if not isinstance(self.mirror, Uncommitted) or self.checked_out is None:
            return
        far, base = self.distance
        name, n = self.mirror.branch, far[1] if far is not None else 0
        if n and self.followed and self.checked_out != name:
            many = f"{n} commit{'s' * (n != 1)}"
            yield f"it lacks {many} of {name}, which are shown as taken back: merge {name} first to see it without them"
        if far is None and self.followed:
            lacks = "is shallow and lacks" if self.mirror.is_shallow else "lacks"
            yield (
                f"this clone {lacks} commit {base[:12]}, which was read last: all that differs from it is planned, but "
                "whether that goes back to an earlier commit, which passes a freeze, cannot be seen here"
            )
        for path in self.mirror.unsure:
            yield f"{path}: only its filter could say whether it was changed; it is taken as it is committed"


@contextlib.contextmanager
def preview(
    settings: Any, *, uncommitted: bool = False, is_named: bool = False, hub: "Hub | None" = None
) -> Iterator[Preview]:
    """A preview; one at a time for one state directory, which need not be there yet. Raises SettingInvalid.

    uncommitted, is_named: see Preview.  hub: goes on from what a hub elsewhere knows, and from no log here.
    """
    root = Path(settings.state_dir)
    with contextlib.ExitStack() as stack:
        if not root.exists():  # whoever only looks makes none
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reconciler-plan-")))
            settings = settings.model_copy(update={"state_dir": root})
        try:
            turn = stack.enter_context((root / "preview.lock").open("w"))
        except OSError as error:
            raise SettingInvalid(f"the state directory {root} cannot be written: {error.strerror}") from error
        fcntl.flock(turn, fcntl.LOCK_EX)
        is_here = hub is None and StateDirectory(root).hub.log.exists()
        past = stack.enter_context(opened(root)) if is_here else None
        yield Preview(settings, hub or past, stack, uncommitted=uncommitted, is_named=is_named)


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
