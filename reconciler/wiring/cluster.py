"""The hub's stage with Kubernetes, put together. In: settings, a repository, a log.  Out: `ClusterStage`.

One connection serves all: requests of the loop's workers, one watch a kind, the Lease. Only writes ask the Lease.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from reconciler.engine.queue import Cause, Queue, StageQueue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Stage
from reconciler.errors import KindMissing, ReconcilerError, RightMissing, SettingInvalid
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.history.keys import DECLARE, Key, stage_of
from reconciler.kube.admin.access import missing
from reconciler.kube.client.api import Api
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.identity import same_cluster
from reconciler.kube.client.resources import KEPT, OURS, Resource
from reconciler.kube.watch.cache import Cache
from reconciler.kube.watch.object import Live
from reconciler.kube.write.apply import MANAGER
from reconciler.kube.write.denials import Denials
from reconciler.kube.write.lease import Lease, new_identity
from reconciler.kube.write.status_queue import StatusQueue
from reconciler.kube.write.status_writer import StatusWriter
from reconciler.kube.write.target import ClusterTarget
from reconciler.model.identity import HOME
from reconciler.stages.declare import Declare
from reconciler.stages.git import Repository
from reconciler.wiring.basis import Seen
from reconciler.wiring.process import Pool
from reconciler.wiring.vitals import Vitals

LISTED_S: Final = 10.0  # how long a start waits for the Lease and the first lists, before it goes on by retries
LOOK_S: Final = 0.05


class ClusterStage:
    """Keeps the objects of a cluster as Git says, and has further stages follow from them.

    A further stage stands on `record`, `queue`, `repository`, `api`, declare's `source`, `cache` and `target`, on a
    target of its own (`keep`), and on `telling` and `publisher` for a condition of its own. It is told by OBJECT of
    each object of our kinds that is not as it was, also by what declare did.
    """

    stopped: tuple[str, ...] = ()  # no process of this machine ends with it

    def __init__(
        self,
        settings: Any,
        repository: Repository,
        recorder: Recorder,
        queue: Queue,
        vitals: Vitals,
        *,
        further: Sequence["Further"] = (),
    ) -> None:
        """Raises SettingInvalid. No request is made before `start`."""
        self.repository, self.record, self.queue = repository, recorder, queue
        self._queue = queue.stage(DECLARE)
        status = queue.stage("status")
        self.connection = Connection.open(
            kubeconfig=settings.kubeconfig, context=settings.context, in_cluster=settings.in_cluster
        )
        self._free = free = Api(self.connection, None, vitals.called)
        identity = new_identity()
        self.install = settings.install_name
        self._cluster = ""  # which one it is, once that is known
        self.lease = Lease(
            free,
            namespace=settings.lease_namespace,
            name=settings.lease,
            identity=identity,
            changed=self._led,
            may_take=self._know_cluster,
        )
        self.denials = Denials(lambda rule, place: bool(missing(free, (rule,), namespace=place)), self._denied)
        self.api = api = Api(self.connection, None, vitals.called, self.denials.heard).within(self.lease.permit)
        self._kept: list[tuple[Cache, ClusterTarget]] = []
        self._resources: dict[str, Resource] = {}
        self._further: list[StageQueue] = []
        self.cache, self.target = self.keep(DECLARE, KEPT, MANAGER)
        self.source = Declare(repository, recorder, queue, Pool("look", 1), self.target)
        self.telling = telling = StatusQueue(
            self.cache,
            recorder,
            self.target.asked,
            declared=lambda: repository.declared,
            fleet=self._fleet,
            branch=settings.branch,
            install=self.install,
        )
        self.publisher = StatusWriter(
            api,
            self.cache,
            recorder,
            status,
            telling,
            branch=settings.branch,
            lease=(settings.lease_namespace, settings.lease),
            instance=identity,
            resources=self._resources,
            is_busy=lambda: self.target.in_flight > 0,
        )
        self.followers = {"status": self.publisher.publish}
        self.stages = (Stage(DECLARE, self.source, self.target), *(make(self) for make in further))
        self._further = [queue.stage(stage.name) for stage in self.stages[1:]]
        if further:
            recorder.log.subscribe(self._done)
        vitals.lease = lambda: self.lease.held
        vitals.cached = self._cached
        vitals.waits = self._waits
        self._told: tuple[bool, str] = (False, "")  # whether it is held, and by whom where another one holds it
        self._closing = threading.Event()

    def start(self, wanted: Callable[[], bool]) -> None:
        """Begin to watch and to lead; waits a little for both, as long as it is `wanted`."""
        self.lease.start()
        for cache, _ in self._kept:
            cache.start()
        waited = 0.0
        while wanted() and waited < LISTED_S and not (self.lease.held and self._listed()):
            self._closing.wait(LOOK_S)
            waited += LOOK_S

    def is_heard(self, edges: Iterable[str]) -> bool:  # noqa: ARG002  # none has an agent here
        """Yes: what the API server answers is the orders' outcome."""
        return True

    def close(self, *, orderly: bool) -> None:  # noqa: ARG002  # nothing of the cluster ends with this process
        """Send nothing more, let a successor begin."""
        self._closing.set()
        self.denials.close()
        for _, target in self._kept:
            target.close()
        self.publisher.close()
        for cache, _ in self._kept:
            cache.close()
        self.lease.close()
        self.connection.close()

    def hurry(self) -> None:
        """Nothing: what is in flight ends within the Lease."""

    def _fleet(self) -> Mapping[str, Any]:
        return self.source.git.fleet()

    def keep(self, stage: str, resources: Mapping[str, Resource], manager: str) -> tuple[Cache, ClusterTarget]:
        """The target of a stage: these kinds, watched and written with a field manager of its own."""
        queue = self.queue.stage(stage)
        self._resources |= resources

        def changed(key: Key, before: Live | None, after: Live | None) -> None:  # noqa: ARG001  # the cache's words
            queue.add(Trigger(Cause.OBJECT, str(key)))
            if stage == DECLARE:
                self._follow(Trigger(Cause.OBJECT, str(key)))
                self.publisher.touch(key)

        cache = Cache(
            self._free,
            resources.values(),
            manager=manager,
            changed=changed,
            trouble=lambda kind, error: self._trouble(queue, kind, error),
        )
        target = ClusterTarget(
            self.api,
            cache,
            self.record.stage(stage),
            queue,
            fleet=self._fleet,
            allowed=self.lease.permit,
            declared=lambda: self.repository.declared,
            resources=resources,
            manager=manager,
            install=self.install,
        )
        self._kept.append((cache, target))
        return cache, target

    def see(self) -> Seen:
        """Every object of our kinds, as it was heard of last; from any thread. Raises ApiUnavailable."""
        objects: dict[Key, Live] = {}
        unseen: dict[str, str] = {}
        for kind in OURS:
            try:
                objects.update(self.cache.all(kind))
            except (KindMissing, RightMissing) as failure:
                unseen[kind] = failure.message
        return Seen(objects, unseen)

    def _know_cluster(self) -> None:
        """Learn which cluster this is; another one than the log keeps ends the process before anything is written."""
        try:
            self._cluster = same_cluster(self._free, self.record.state.cluster)
        except SettingInvalid as another:
            self._queue.fail(another)
            raise

    def _listed(self) -> bool:
        return not self._unheard()

    def _waits(self) -> list[str]:
        """Why this is not ready; a standby is. What the API server or a missing right keeps from it is said once."""
        errors = [*self._unheard(), *filter(None, (self.lease.trouble,))]
        filling = "the watch cache is not filled yet"
        said = [filling if error is None else error.message for error in errors]
        return list(dict.fromkeys(filter(None, (*said, self.record.state.ref.waits_for_git))))

    def _unheard(self) -> list[ReconcilerError | None]:
        """Why kinds are not heard of, None of one that is still to be listed."""
        heard = (cache.unheard() for cache, _ in self._kept)
        return [error for kinds in heard for kind, error in kinds.items() if not self._is_spared(kind, error)]

    def _is_spared(self, kind: str, error: ReconcilerError | None) -> bool:
        """Whether nobody misses the right to a kind: namespaces, as long as Git declares none."""
        return kind == HOME and isinstance(error, RightMissing) and not [*self.repository.declared.of_kind(HOME)]

    def _follow(self, trigger: Trigger) -> None:
        for queue in self._further:
            queue.add(trigger)

    def _done(self, entries: list[Entry]) -> None:
        """What declare has done to an object, or what may be done to all, further stages look at."""
        for event in (entry.event for entry in entries):
            if event.type in ev.OUTCOMES and stage_of(event.partitionkey) == DECLARE:
                self._follow(Trigger(Cause.OBJECT, event.subject))
            elif event.type == ev.RECONCILE_RESUMED or "fleet" in event.data:
                self._follow(Trigger(Cause.AUDIT))

    def _trouble(self, queue: StageQueue, kind: str, error: ReconcilerError | None) -> None:
        if self._is_spared(kind, error):
            return
        if error is None:
            self._tell(ev.CLUSTER_FOUND, {"what": kind})
            queue.add(Trigger(Cause.AGAIN))  # what waits to be sent need not wait for the end of its pause
            queue.add(Trigger(Cause.FOUND))
        else:
            self._tell(ev.CLUSTER_LOST, {"what": kind, "error": error.message, "code": error.code})

    def _denied(self, right: str, denial: RightMissing | None) -> None:
        """A right was cut while this runs, or is back: what was refused for want of it is looked at again."""
        if denial is not None:
            self._tell(ev.CLUSTER_LOST, {"what": right, "error": denial.message, "code": denial.code})
            return
        self._tell(ev.CLUSTER_FOUND, {"what": right})
        self._queue.add(Trigger(Cause.FOUND))
        self._follow(Trigger(Cause.FOUND))
        self.publisher.again()

    def _led(self, held: bool, transitions: int, holder: str) -> None:
        """The Lease was won, lost, or cannot be had; a standby tells once for whom it waits."""
        data: dict[str, Any] = {"holder": holder, "transitions": transitions, "install": self.install}
        data |= {"cluster": self._cluster} if held and self._cluster else {}
        self.record.epoch = f"lease/{transitions}" if held else ""
        told = (held, "" if held or holder == self.lease.identity else holder)
        if told[0] != self._told[0] or (told != self._told and told[1]):
            self._told = told
            event = self._event(ev.LEASE_ACQUIRED if held else ev.LEASE_LOST, data)
            self._queue.add(Trigger(Cause.LEASE if held else Cause.HAPPENED, events=(event,)))
            if held:
                self._follow(Trigger(Cause.LEASE))
        trouble = self.lease.trouble
        if trouble is not None:
            self._tell(ev.CLUSTER_LOST, {"what": "Lease", "error": trouble.message, "code": trouble.code})
        elif "Lease" in self.record.state.lost:
            self._tell(ev.CLUSTER_FOUND, {"what": "Lease"})

    def _tell(self, type_: str, data: Mapping[str, Any]) -> None:
        self._queue.add(Trigger(Cause.HAPPENED, events=(self._event(type_, data),)))

    def _event(self, type_: str, data: Mapping[str, Any]) -> Event:
        return self.record.event(type_, "cluster", data)

    def _cached(self) -> dict[str, int]:
        return {} if self.cache.unheard().keys() & OURS.keys() else {kind: len(self.cache.all(kind)) for kind in OURS}


Further = Callable[[ClusterStage], Stage]  # makes a stage that stands on those of the cluster
