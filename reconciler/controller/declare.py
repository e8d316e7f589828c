"""The hub's stage with Kubernetes: Git -> objects of the API server. May import: ports, planning, history, controller.

In: commits, which objects changed in the cluster (by watch), verbs of people.  Out: batches, to the loop. Its target is
the cluster (kube.target), which it asks for what the log cannot know: what somebody else did to an object.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from reconciler.controller.following import Following, Reach, Repository
from reconciler.controller.loop import Batch, Order
from reconciler.controller.queue import Trigger
from reconciler.controller.recorder import Recorder
from reconciler.controller.verbs import Verbs
from reconciler.errors import ReconcilerError
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import FAILED, Served
from reconciler.history.times import is_over
from reconciler.planning import objects
from reconciler.planning.declared import Object
from reconciler.planning.drifted import IGNORE, Field
from reconciler.planning.freeze import frozen
from reconciler.planning.plan import Judgement, Plan, Step, stopped
from reconciler.planning.wanted import Expansion, Gone, Wanted


@dataclass(frozen=True)
class Drift:
    """What somebody else made of an object. what: `changed`, `deleted` or `made again`.  policy: the strictest one."""

    what: str
    writer: str
    policy: str
    fields: tuple[Field, ...] = ()
    uid: str = ""
    version: str = ""


class Cluster(Protocol):
    """What the stage asks the cluster."""

    def drift(self, key: Key) -> Drift | None:
        """What was done to an object since it was ordered; None where it is as ordered. Raises ApiUnavailable."""
        ...

    def settle(self) -> Sequence[Event]:
        """Outcomes of the intents that nobody works on, by what is there. Raises ApiUnavailable, LeaseLost."""
        ...

    def ended(self, key: Key) -> Event | None:
        """The outcome of a delete that waited for others (finalizers), once the object is gone."""
        ...

    def unknown(self) -> Sequence[Event]:
        """An adoption for every object that carries our mark and that this log does not know, or not of its commit."""
        ...

    def adopted(self, key: Key) -> Event | None:
        """The adoption of an object that this log does not know, where it carries our mark."""
        ...

    def fought(self, key: Key, drift: Drift) -> Event | None:
        """That this drift was corrected too often lately, so that it is left alone for a while; None: it was not."""
        ...

    def look(self, key: Key) -> str:
        """What an annotation on an object asks anew beyond it: "", `all` to be looked at, or `poll`: Git and all."""
        ...

    def suspended(self) -> Mapping[str, Mapping[str, str]]:
        """What annotations suspend: scope -> {actor, reason, until, object}. Raises ApiUnavailable."""
        ...

    def publish(self) -> None:
        """Write into status what has changed."""
        ...

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        """Try again what was not answered; outcomes come as triggers. judge: what is not to be done, and why."""
        ...

    def forbidden(self, key: Key) -> Mapping[str, str]:
        """Action ("": any) -> why the object that is there may not be touched. Raises ApiUnavailable."""
        ...

    def stands(self, key: Key, spec: Mapping[str, Any]) -> Event | None:
        """That an object of ours is as `spec` says without having been ordered so; None where that is not known."""
        ...

    def may_write(self) -> None:
        """Raises LeaseLost where nothing may be written now."""
        ...

    def lacks(self, key: Key) -> bool:
        """Whether there is certainly no such object, or one that others made and that was never ordered."""
        ...

    def forget(self) -> None:
        """Give up what waits to be tried again: it is planned anew."""
        ...


class Declare:
    """Source of the loop whose target is the cluster."""

    def __init__(self, repository: Repository, recorder: Recorder, cluster: Cluster) -> None:
        self._record, self._cluster = recorder, cluster
        reach = Reach(objects.affected, objects.every, lambda key: not key.edge)
        self.following = Following(repository, recorder, reach)
        self._verbs = Verbs(self.following, recorder, self._audit)
        self._led = False  # whether the Lease was won, and so everything looked at, since this began

    def take(self, trigger: Trigger) -> Batch:
        """What the trigger means (see controller.loop.Source)."""
        match trigger.cause:
            case "start" if self._led:
                return Batch()  # the Lease came first, and all was looked at then
            case "start" | "lease":
                self._cluster.forget()
                settled = [*trigger.events, *self._cluster.settle(), *self._cluster.unknown()]
                self._record.append(settled)  # what is settled is no longer open when everything is looked at
                self._led = trigger.cause == "lease"
                batch = self.following.start(self._audit, then="rules")  # with who changed what meanwhile
                return replace(batch, events=(*batch.events, *self._missed()))
            case "found":  # a kind can be read: what could not be settled is
                self._record.append([*self._cluster.settle(), *self._cluster.unknown()])
                return self._audit()
            case "commit":
                batch = self.following.commit()
                return batch if batch.commit else self._waiting(batch)
            case "object":
                return self._seen(Key.parse(trigger.subject))
            case "publish":
                self._cluster.publish()
                return Batch()
            case "keys":
                return self.following.batch({Key.parse(trigger.subject)})
            case "done":
                return self._done(trigger)
            case "happened":
                return Batch(events=trigger.events)
            case "again":
                self._cluster.again(self._withdrawn)
                return Batch()
            case "verb":
                batch = self._verbs.batch(trigger.request)
                if batch.keys | batch.kept:
                    self._cluster.may_write()  # what is asked is done, or refused before anything is recorded
                return batch
            case "rules":  # what was ignored may count by now
                return self.following.unfinished(replace(self._audit(), events=tuple(self._missed())))
            case _:
                return self.following.unfinished(self._audit())

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason. The cluster's own failures are told by its watches."""
        return self.following.lost(failure) if trigger.cause == "commit" and failure.code == "RX301" else ()

    def preview(self) -> Batch:
        """Everything there is or should be."""
        return self.following.preview()

    def _audit(self) -> Batch:
        return self.following.batch(self.following.everything(), cause=self._record.state.ref.event)

    def _done(self, trigger: Trigger) -> Batch:
        """Outcomes. Of an order that is not the newest, or was withdrawn, the object is looked at again."""
        key = Key.parse(trigger.subject)
        newest = self._record.state.known(key).operation
        stale = any(event.operationid != newest or event.data.get("settled") for event in trigger.events)
        return self.following.batch({key} if stale else (), trigger.events)

    def _waiting(self, batch: Batch) -> Batch:
        """Where the branch has not moved: the commit whose plan could not be made, as the cluster did not answer."""
        ref = self._record.state.ref
        if ref.commit == ref.accepted:
            return batch
        again = self.following.unfinished(self._audit())
        return replace(again, events=(*batch.events, *again.events)) if again.commit else batch

    def _seen(self, key: Key) -> Batch:
        """An object is not as it was; an annotation on it may be about more than itself."""
        asked, batch = self._cluster.look(key), self._changed(key)
        batch = replace(batch, events=(*batch.events, *self._annotated()))
        if not asked:
            return batch
        every, then = self._audit(), "commit" if asked == "poll" else ""
        keys, kept = batch.keys | every.keys, batch.kept | every.kept
        return replace(batch, keys=keys, kept=kept, cause=batch.cause or every.cause, then=then)

    def _annotated(self) -> Iterator[Event]:
        """What annotations suspend, where the log says otherwise. What has ended by its own time needs no word."""
        known, asked, now = self._record.state.annotated, self._cluster.suspended(), rfc3339(self._record.clock.now())
        for scope, why in asked.items():
            said = {name: why[name] for name in ("reason", "until", "object") if why.get(name)}
            if {name: value for name, value in known.get(scope, {}).items() if name not in {"actor", "time"}} != said:
                data = {"scope": scope, "annotated": True, **said}
                yield self._record.event(ev.RECONCILE_SUSPENDED, "plan", data, actor=why.get("actor", ""))
        for scope, why in known.items():
            if scope not in asked and not is_over(why.get("until", ""), now):
                data = {"scope": scope, "annotated": True, "object": why.get("object", "")}
                yield self._record.event(ev.RECONCILE_RESUMED, "plan", data, actor="somebody")

    def _changed(self, key: Key) -> Batch:
        """An object is not as it was seen last: looked at, if it is one of ours."""
        known = self._record.state.keys.get(str(key))
        if known is None or not known.operation:
            source, _ = objects.source_of(self.following.repository.declared, key)
            adopted = self._cluster.adopted(key) if known is None else None  # a restored etcd brings it back
            events = [adopted] if adopted is not None else []
            concerns = source is not None or events or str(key) in self._record.state.waits
            return self.following.batch({key}, events) if concerns else Batch()
        if known.open:
            ended = self._cluster.ended(key)
            return self.following.batch({key}, [ended] if ended is not None else [])
        drift = self._cluster.drift(key)
        if drift is None:
            return self.following.batch({key}, [self._record.event(ev.DRIFT_RESOLVED, key, {})] if known.drift else [])
        event = self._detected(key, known, drift)
        if event is None:
            return self.following.batch({key})
        fought = self._cluster.fought(key, drift)
        return self.following.batch({key}, [event, fought] if fought is not None else [event], event.id)

    def _detected(self, key: Key, known: Served, drift: Drift) -> Event | None:
        """The event of a drift; None where it is ignored or told already."""
        data = _told(drift)
        if drift.policy == IGNORE or all(known.drift.get(name) == data[name] for name in ("what", "fields")):
            return None
        return self._record.event(ev.DRIFT_DETECTED, key, data, actor=drift.writer or "somebody")

    def _missed(self) -> list[Event]:
        """What others did while nobody watched.

        The audit behind it compares once more: it finds what to mend, not who did it, nor what is only to be told.
        """
        found: list[Event] = []
        if self._record.state.ref.ahead:  # another reconciler was here: what is gone, it may have deleted
            return found
        for text, known in self._record.state.keys.items():
            key = Key.parse(text)
            drift = self._cluster.drift(key) if not key.edge and known.operation and not known.open else None
            event = self._detected(key, known, drift) if drift is not None else None
            found += [event] if event is not None else []
        return found

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What each object should be, by what Git declares."""
        declared, around = self.following.repository.declared, self.following.around()
        return self.following.expanded(keys, lambda key: objects.expand(key, declared, around))

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
        """Problems of objects, and what waits, where they differ from what the log says."""
        expansions = list(expansions)
        problems = self.following.notice(one for one in expansions if one.key.kind != "Edge")  # an Edge's are its pins'
        waiting = self.following.waiting(expansions, plan)
        annotated = self._annotated() if expansions else ()
        return [*problems, *waiting, *annotated, *self._at_rest(expansions, plan)]

    def _at_rest(self, expansions: Iterable[Expansion], plan: Plan) -> Iterator[Event]:
        """What nothing is done about and nothing is under way for, where the log still says that there is something."""
        planned, keys = {step.key for step in plan.steps}, self._record.state.keys
        for expansion in expansions:
            key, known = expansion.key, keys.get(str(expansion.key))
            if known is None or known.open or key in planned:
                continue
            if isinstance(expansion, Gone) and self._cluster.lacks(key):  # never made, or deleted by somebody else
                yield self._record.event(ev.OBJECT_GONE, key, {})
            gave_up = known.operation and known.phase in {*FAILED, "Desired"}
            if gave_up and isinstance(expansion, Wanted):  # a commit took back what was refused or given up
                standing = self._cluster.stands(key, expansion.spec)
                yield from () if standing is None else (standing,)
            if known.drift and self._is_resolved(key):
                yield self._record.event(ev.DRIFT_RESOLVED, key, {})

    def _is_resolved(self, key: Key) -> bool:
        """Whether a drift is none any more: Git wants it so by now, or a rule ignores it."""
        drift = self._cluster.drift(key)
        return drift is None or drift.policy == IGNORE

    def _withdrawn(self, orders: Sequence[Order]) -> dict[Key, str]:
        """Which of the orders that wait to be sent again are not to be done now, and why. Raises ApiUnavailable."""
        keys = frozenset(order.step.key for order in orders)
        wanted = {one.key: one for one in self.expand(keys)}
        judged = self.judge(Batch(keys, unreadable=self.following.unreadable()))
        found: dict[Key, str] = {}
        for step, intent in orders:
            spec = step.spec or self._record.state.known(step.key).order
            there = self._cluster.forbidden(step.key)
            why, _ = stopped(step.key, step.action, spec, judged, there, kept=self._passes_freeze(intent.event))
            why = why or ("" if _is_wanted(step, wanted[step.key]) else "Git wants it otherwise by now")
            found |= {step.key: why} if why else {}
        return found

    def _passes_freeze(self, intent: Event) -> bool:
        """Whether it only restores, or was ordered in this freeze: by the commit that begins it, or goes back in it."""
        of_newest = intent.gitcommit and intent.gitcommit == self._record.state.ref.accepted
        ordered_in = of_newest and frozen(self.following.fleet(), intent.time) is not None
        return bool(ordered_in) or intent.prevdigest == intent.newdigest

    def judge(self, batch: Batch) -> Judgement:
        """Limits, windows and suspensions of the Fleet in force."""
        judgement = self.following.judge(batch)
        asked = self._cluster.suspended() if batch.keys | batch.kept else {}
        suspended = {**judgement.suspended, **asked} if asked else judgement.suspended
        return replace(judgement, suspended=suspended, edge_of=self._edge_of)

    def _edge_of(self, key: Key, spec: Mapping[str, Any]) -> str:
        """On which edge an InferenceModel is to run: a label cannot hold every edge's name, nor is it on all."""
        if key.kind != "InferenceModel":
            return ""
        model = Object(kind=key.kind, namespace=key.namespace, name=key.name, spec=dict(spec.get("spec", {})))
        return self.following.repository.declared.edge_of(model) or ""

    def operation(self, key: Key) -> str:  # noqa: ARG002  # every apply begins an operation
        """None: an apply begins its own operation."""
        return ""


def _is_wanted(step: Step, expansion: Expansion) -> bool:
    match expansion:
        case Wanted(spec=spec):
            return step.action != "delete" and step.spec == spec
        case Gone():
            return step.action == "delete"
        case _:
            return True  # it cannot be said: what was ordered last stands


def _told(drift: Drift) -> dict[str, Any]:
    """A drift as its event carries it. Values are shortened: the order and the object have them whole."""
    fields: list[Mapping[str, Any]] = [
        {"field": one.path, "manager": one.manager, "old": _short(one.old), "new": _short(one.new)}
        for one in drift.fields
        if one.policy != IGNORE
    ]
    return {
        "what": drift.what,
        "writer": drift.writer,
        "policy": drift.policy,
        "fields": fields,
        "uid": drift.uid,
        "resourceVersion": drift.version,
    }


def _short(value: Any) -> Any:
    """The value, or text that begins as it does."""
    if value is None or isinstance(value, bool | int):
        return value
    text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
