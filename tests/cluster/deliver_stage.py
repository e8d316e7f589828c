"""A stage of a test: every live InferenceModel is ordered of the edge on which it lands. Deliver, fed by the cluster.

In: objects of the API server, whoever made them.  Out: orders of edges, by the expansion and the target of the product.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from reconciler.edge.paths import StateDirectory
from reconciler.engine.queue import Cause, Trigger
from reconciler.engine.stage import Change, Source, Stage
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import DELIVER, Key
from reconciler.kube.watch.object import Live
from reconciler.kube.write.target import ClusterTarget
from reconciler.model.identity import EDGE, SERVICE
from reconciler.planning.declared import Object
from reconciler.planning.deliver import order
from reconciler.planning.desired import Expansion, Frozen, Gone
from reconciler.planning.drift import CORRECT
from reconciler.planning.gate import Judgement, judge_by
from reconciler.planning.plan import Plan
from reconciler.planning.versions import Circumstances
from reconciler.stages.deliver import Edges
from reconciler.stages.git import noticed
from reconciler.wiring.cluster import ClusterStage, Further
from reconciler.wiring.edges import LocalPeers
from reconciler.wiring.process import Pool

AUDIT_S: Final = 300.0


def stands(declare: ClusterTarget, key: Key) -> bool:
    """Whether declare is done with an object: nothing follows from what it is about to change."""
    look = declare.look(key)
    drift = look.drift()
    return not look.served.open and (drift is None or drift.policy != CORRECT)


class FromLive(Source):
    """Its source."""

    def __init__(self, cluster: ClusterStage, place: StateDirectory) -> None:
        self._record, self._queue = cluster.record.stage(DELIVER), cluster.queue.stage(DELIVER)
        self._objects, self._declare, self._repository = cluster.cache, cluster.target, cluster.repository
        self._fleet = cluster.source.git.fleet
        peers = LocalPeers(place, self._record.log, lambda _: None)  # the test looks after its agents
        self.edges = Edges(self._record, self._queue, Pool("look", 2), peers)

    def take(self, trigger: Trigger) -> Change:
        """See engine.stage.Source."""
        match trigger.cause:
            case Cause.EDGE:
                said = self.edges.heard(trigger)
                return Change() if said is None else Change(frozenset(said.keys), tuple(said.events))
            case Cause.KEYS:
                return Change(frozenset({Key.parse(trigger.subject)}))
            case Cause.HAPPENED | Cause.DONE:
                return Change(events=trigger.events)
            case Cause.OBJECT:
                key = Key.parse(trigger.subject)
                return Change(look=key.kind == EDGE, keys=self._keys(key, self._objects.get(key)))
        for edge in self._repository.declared.of_kind(EDGE):
            self._queue.add(Trigger(Cause.EDGE, edge.name))
        return Change(look=True)

    def _keys(self, key: Key, live: Live | None) -> frozenset[Key]:
        """Where an InferenceModel lands, and where it was ordered before."""
        if key.kind != SERVICE:
            return frozenset()
        there = {Key.parse(text) for text in self._record.mine.keys if text.startswith(f"{key}@")}
        edge = self._repository.declared.edge_of(_object(key, live)) if live is not None else None
        return frozenset(there | ({key._replace(edge=edge)} if edge else set()))

    def everything(self) -> Sequence[Key]:
        """See engine.stage.Source."""
        wanted = {one for key, live in self._objects.all(SERVICE) for one in self._keys(key, live)}
        return sorted(wanted | {Key.parse(text) for text in self._record.mine.keys})

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """See engine.stage.Source."""
        return [self._expanded(key) for key in keys]

    def _expanded(self, key: Key) -> Expansion:
        plain, declared = key._replace(edge=""), self._repository.declared
        live, edge = self._objects.get(plain), declared.edge(key.edge)
        if live is None or live.deleting or edge is None:
            return Gone(key)
        if not stands(self._declare, plain):
            return Frozen(key, None)
        now = rfc3339(self._record.clock.now())
        around = Circumstances(self._fleet(), self._record.state.digests, now, self._record.mine.keys)
        obj = _object(plain, live)
        return order(obj, edge, declared, around) if declared.edge_of(obj) == key.edge else Gone(key)

    def judge(self, change: Change) -> Judgement:  # the policy is the same for all
        """See engine.stage.Source."""
        return judge_by(self._record.state, DELIVER, self._fleet(), now=rfc3339(self._record.clock.now()))

    def notice(self, expansions: Sequence[Expansion], plan: Plan) -> Sequence[Event]:  # rows tell
        """See engine.stage.Source."""
        return noticed(self._record, expansions)


def _object(key: Key, live: Live) -> Object:
    return Object(kind=key.kind, namespace=key.namespace, name=key.name, spec=dict(live.spec))


def deliver_stage(place: StateDirectory) -> Further:
    """Makes the stage, for the edges of a state directory."""

    def make(cluster: ClusterStage) -> Stage:
        source = FromLive(cluster, place)
        return Stage(DELIVER, source, source.edges, {Cause.AUDIT: lambda: AUDIT_S})

    return make
