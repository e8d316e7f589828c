"""The hub's stage with Kubernetes: Git -> objects of the API server. May import: ports, planning, history, engine.

In: commits, which objects changed in the cluster (by watch), verbs of people.  Out: batches, to the loop. Its target is
the cluster (kube.write.target), which it asks for what the log cannot know: what somebody else did to an object.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Change
from reconciler.errors import ReconcilerError
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import DECLARE, Key
from reconciler.history.times import is_over
from reconciler.planning import declare
from reconciler.planning.declared import Declared, Object
from reconciler.planning.desired import Expansion
from reconciler.planning.freeze import frozen
from reconciler.planning.gate import Judgement
from reconciler.planning.kinds import KINDS
from reconciler.planning.plan import Plan
from reconciler.ports import Workers
from reconciler.stages.git import Expand, FromGit, GitSource, Repository, explained, noticed, waiting
from reconciler.stages.keeping import Cluster, Keeping
from reconciler.stages.verbs import Verbs


class Declare(FromGit, Keeping):
    """Source of the stage whose target is the cluster."""

    def __init__(
        self, repository: Repository, recorder: Recorder, queue: Queue, workers: Workers, cluster: Cluster
    ) -> None:
        super().__init__(recorder.stage(DECLARE), cluster)
        expand = Expand(declare.affected, declare.every, declare.expand)
        self.git = GitSource(repository, self._record, expand, queue.stage(DECLARE), workers)
        self._verbs = Verbs(self.git, self._record, self._is_there)
        self._led = False  # whether the Lease was won, and so everything looked at, since this began

    def concerns(self, key: Key) -> bool:
        """Whether Git declares it."""
        return declare.source_of(self.git.repository.declared, key)[0] is not None

    def take(self, trigger: Trigger) -> Change:
        """What the trigger means (see engine.stage.Source)."""
        return self.git.in_order(self._meant(trigger))

    def _meant(self, trigger: Trigger) -> Change:
        match trigger.cause:
            case Cause.START if self._led:
                return Change()  # the Lease came first, and all was looked at then
            case Cause.START | Cause.LEASE:
                self._cluster.forget()
                self.git.start()  # Git is asked also where the cluster does not answer
                settled = (*trigger.events, *self._settled())
                self._led = trigger.cause is Cause.LEASE
                return Change(events=settled)  # what is settled is no longer open when everything is looked at
            case Cause.COMMIT if self.git.is_starting:
                return self.git.started(trigger, Trigger(Cause.RULES))
            case Cause.COMMIT:
                return self._followed(self.git.commit(trigger))
            case Cause.OBJECT:
                return Change() if self.git.is_starting else self._seen(Key.parse(trigger.subject))
            case Cause.VERB:
                change = self._verbs.change(trigger)
                if change.keys | change.kept or change.look:
                    self._cluster.may_write()  # what is asked is done, or refused before anything is recorded
                    change = replace(change, then=(*change.then, Trigger(Cause.AGAIN)))  # what got no answer, too
                return change
            case _:
                return Keeping.take(self, trigger)

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason. The cluster's own failures are told by its watches."""
        is_of_git = trigger.cause is Cause.COMMIT and failure.code == "RX301"
        return self.git.lost(failure) if is_of_git else ()

    def _followed(self, change: Change) -> Change:
        """Where the branch has not moved: the commit whose plan could not be made, as the cluster did not answer."""
        if change.is_later or change.commit or self.git.is_finished:
            return change
        return replace(self.git.audit(), events=change.events, then=change.then)

    def _seen(self, key: Key) -> Change:
        """An object is not as it was; an annotation on it may be about more than itself."""
        asked, change = self._cluster.asked.look(key), self._changed(key)
        events = (*change.events, *self._annotated())
        if not asked:
            return replace(change, events=events)
        then = (Trigger(Cause.COMMIT),) if asked == "poll" else ()
        audit = self.git.audit()
        return replace(audit, events=events, cause=change.cause or audit.cause, then=then)

    def _annotated(self) -> Iterator[Event]:
        """What annotations suspend, where the log says otherwise. What has ended by its own time needs no word."""
        known, asked, now = (
            self._record.state.annotated,
            self._cluster.asked.suspended(),
            rfc3339(self._record.clock.now()),
        )
        for scope, why in asked.items():
            said = {name: why[name] for name in ("reason", "until", "object") if why.get(name)}
            if {name: value for name, value in known.get(scope, {}).items() if name not in {"actor", "time"}} != said:
                data = {"scope": scope, "annotated": True, **said}
                yield self._record.event(ev.RECONCILE_SUSPENDED, "suspensions", data, actor=why.get("actor", ""))
        for scope, why in known.items():
            if scope not in asked and not is_over(why.get("until", ""), now):
                data = {"scope": scope, "annotated": True, "object": why.get("object", "")}
                if why.get("object") and not self._is_there(Key.parse(why["object"])):
                    data["reason"] = "it was deleted, and the annotation with it"
                yield self._record.event(ev.RECONCILE_RESUMED, "suspensions", data, actor="somebody")

    def _is_there(self, key: Key) -> bool:
        """Whether there is an object of a kind of ours, whoever made it."""
        look = self._look(key) if key.kind in KINDS and not key.edge else None
        return look is not None and look.live is not None

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
        """Problems of objects, and what waits, where they differ from what the log says."""
        expansions = list(expansions)
        theirs = (one for one in expansions if one.key.kind != "Edge")  # an Edge's are its pins'
        problems = noticed(self._record, theirs)
        annotated = self._annotated() if expansions else ()
        told = [*waiting(self._record, expansions, plan), *explained(self._record, expansions, plan)]
        return [*problems, *told, *annotated, *self._at_rest(expansions, plan)]

    def passes(self, intent: Event) -> bool:
        """Whether it only restores, or was ordered in this freeze: by the commit that begins it, or goes back in it."""
        of_newest = intent.gitcommit and intent.gitcommit == self._record.state.ref.accepted
        ordered_in = of_newest and frozen(self.git.fleet(), intent.time) is not None
        return bool(ordered_in) or intent.prevdigest == intent.newdigest

    def judge(self, change: Change) -> Judgement:
        """Limits, windows and suspensions of the Fleet in force."""
        judgement = self.git.judge(change)
        asked = self._cluster.asked.suspended() if change.keys | change.kept else {}
        suspended = {**judgement.suspended, **asked} if asked else judgement.suspended
        return replace(judgement, suspended=suspended, edges_of=self._edges_of(suspended))

    def _edges_of(self, suspended: Iterable[str]) -> Callable[[Key, Mapping[str, Any]], list[str]]:
        """On which edges an InferenceModel is to run: a label cannot hold every edge's name, nor is it on all.

        Of an edge that is suspended and declared no more, what was ordered of it last says whether it is that one.
        """
        mine, declared = self._record.mine, self.git.repository.declared
        orders = {one: mine.known(Key("Edge", "", one, "")).order for one in suspended if declared.edge(one) is None}
        gone = [Object(kind="Edge", name=one, **_stated(order)) for one, order in orders.items() if order]
        places = [declared, Declared(gone)] if gone else [declared]

        def edges_of(key: Key, spec: Mapping[str, Any]) -> list[str]:
            if key.kind != "InferenceModel":
                return []
            model = Object(kind=key.kind, namespace=key.namespace, name=key.name, spec=dict(spec.get("spec", {})))
            return [edge for there in places if (edge := there.edge_of(model))]

        return edges_of


def _stated(order: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(order.get(name, {})) for name in ("labels", "spec")}
