"""The hub's stage with Kubernetes: Git -> objects of the API server. May import: ports, planning, history, controller.

In: commits, which objects changed in the cluster (by watch), verbs of people.  Out: batches, to the loop. Its target is
the cluster (kube.target), which it asks for what the log cannot know: what somebody else did to an object.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from reconciler.controller.following import Following, Reach, Repository
from reconciler.controller.queue import Cause, Queue, Trigger
from reconciler.controller.recorder import Recorder
from reconciler.controller.stage import Change, Order
from reconciler.controller.verbs import Verbs
from reconciler.errors import KindMissing, ReconcilerError, RightMissing
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import FAILED, Served
from reconciler.history.times import is_over
from reconciler.planning import objects
from reconciler.planning.declared import Object
from reconciler.planning.drifted import CORRECT, IGNORE
from reconciler.planning.fights import MOST, PAUSE_S, Fights
from reconciler.planning.freeze import frozen
from reconciler.planning.look import Drift, Look
from reconciler.planning.plan import Judgement, Plan, Step, stopped
from reconciler.planning.wanted import Expansion, Gone, Wanted
from reconciler.ports import Workers


class Asked(Protocol):
    """What people ask by annotation on live objects. Implemented by kube.asked."""

    def read(self) -> None:
        """Look at everything. Raises ApiUnavailable."""
        ...

    def look(self, key: Key) -> str:
        """What an object asks anew beyond it: "", `all` to be looked at, or `poll`: Git and all."""
        ...

    def suspended(self) -> Mapping[str, Mapping[str, str]]:
        """What annotations suspend: scope -> {actor, reason, until, object}. Raises ApiUnavailable."""
        ...


class Cluster(Protocol):
    """What the stage asks the cluster: what is there, and which orders are not answered."""

    @property
    def asked(self) -> Asked:
        """What annotations ask."""
        ...

    def look(self, key: Key) -> Look:
        """One object as it was ordered and as it is. Raises ApiUnavailable, KindMissing, RightMissing."""
        ...

    def strangers(self) -> Iterator[Look]:
        """What a reconciler has made and this log does not know, of the kinds that can be read.

        Raises ApiUnavailable.
        """
        ...

    @property
    def unanswered(self) -> frozenset[Key]:
        """The keys whose orders are being sent, or wait to be sent again."""
        ...

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        """Try again what was not answered. judge: what is not to be done any more, and why."""
        ...

    def forget(self) -> None:
        """Give up what waits to be tried again: it is planned anew."""
        ...

    def may_write(self) -> None:
        """Raises LeaseLost where nothing may be written now."""
        ...


class Declare:
    """Source of the stage whose target is the cluster."""

    def __init__(
        self, repository: Repository, recorder: Recorder, queue: Queue, workers: Workers, cluster: Cluster
    ) -> None:
        self._record, self._cluster = recorder.stage(DECLARE), cluster
        reach = Reach(objects.affected, objects.every)
        self.following = Following(repository, self._record, reach, queue.stage(DECLARE), workers)
        self._verbs = Verbs(self.following, self._record)
        self._fights = Fights()
        self._led = False  # whether the Lease was won, and so everything looked at, since this began

    def take(self, trigger: Trigger) -> Change:
        """What the trigger means (see controller.stage.Source)."""
        change = self._meant(trigger)
        if self.following.is_starting and not change.is_later:
            return Change(events=change.events)  # whatever it is about, the start looks at it
        return change

    def _meant(self, trigger: Trigger) -> Change:
        match trigger.cause:
            case Cause.START if self._led:
                return Change()  # the Lease came first, and all was looked at then
            case Cause.START | Cause.LEASE:
                self._cluster.forget()
                settled = (*trigger.events, *self._settled())
                self._led = trigger.cause is Cause.LEASE
                self.following.start()
                return Change(events=settled)  # what is settled is no longer open when everything is looked at
            case Cause.FOUND:  # a kind can be read: what could not be settled is
                return replace(self.following.audit(), events=tuple(self._settled()))
            case Cause.COMMIT if self.following.is_starting:
                return self.following.started(trigger, Trigger(Cause.RULES))
            case Cause.COMMIT:
                return self._followed(self.following.commit(trigger))
            case Cause.OBJECT:
                return Change() if self.following.is_starting else self._seen(Key.parse(trigger.subject))
            case Cause.KEYS:
                return self.following.change({Key.parse(trigger.subject)})
            case Cause.DONE:
                return self._done(trigger.events)
            case Cause.HAPPENED:
                return Change(events=trigger.events)
            case Cause.AGAIN:
                self._cluster.again(self._withdrawn)
                return Change()
            case Cause.VERB:
                change = self._verbs.change(trigger)
                if change.keys | change.kept or change.look:
                    self._cluster.may_write()  # what is asked is done, or refused before anything is recorded
                return change
            case _:
                return self.following.audit()

    def _settled(self) -> Iterator[Event]:
        """Outcomes of the intents that nobody works on, by what is there; adoptions of what this log does not know.

        What cannot be read is settled when it can be. Raises ApiUnavailable, LeaseLost.
        """
        self._cluster.may_write()
        self._cluster.asked.read()
        busy, keys = self._cluster.unanswered, self._record.mine.keys
        for key in [Key.parse(text) for text, served in keys.items() if served.open]:
            look = self._look(key) if key not in busy else None
            if look is not None:
                yield self._settle(look)
        yield from self.found()

    def found(self) -> Iterator[Event]:
        """Adoptions of what a reconciler has made and this log does not know. Raises ApiUnavailable."""
        for look in self._cluster.strangers():
            yield self._adopt(look)

    def _adopt(self, look: Look) -> Event:
        return self._record.event(ev.OBJECT_ADOPTED, look.key, look.adopted(), operationid=look.operation)

    def _settle(self, look: Look) -> Event:
        type_, data = look.settled()
        return self._record.event(type_, look.key, data, operationid=look.served.operation)

    def _look(self, key: Key) -> Look | None:
        """An object; None where its kind cannot be read. Raises ApiUnavailable."""
        with suppress(KindMissing, RightMissing):
            return self._cluster.look(key)
        return None

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason. The cluster's own failures are told by its watches."""
        is_of_git = trigger.cause is Cause.COMMIT and failure.code == "RX301"
        return self.following.lost(failure) if is_of_git else ()

    def preview(self) -> Change:
        """Everything there is or should be."""
        return self.following.preview()

    def everything(self) -> Iterable[Key]:
        """Every key there is or should be."""
        return self.following.everything()

    def looked(self, change: Change, found: frozenset[Key]) -> Change:
        """See controller.stage.Source."""
        return self.following.looked(change, found)

    def announce(self, change: Change, plan: Plan) -> Sequence[Event]:
        """See controller.stage.Source."""
        return self.following.announce(change, plan)

    def _done(self, outcomes: tuple[Event, ...]) -> Change:
        """Outcomes. Of an order that is not the newest, or was withdrawn, the object is looked at again."""
        stale = {
            Key.parse(event.subject)
            for event in outcomes
            if event.operationid != self._record.mine.known(event.subject).operation or event.data.get("settled")
        }
        return self.following.change(stale, outcomes)

    def _followed(self, change: Change) -> Change:
        """Where the branch has not moved: the commit whose plan could not be made, as the cluster did not answer."""
        if change.is_later or change.commit or self.following.is_finished:
            return change
        return replace(self.following.audit(), events=change.events, then=change.then)

    def _seen(self, key: Key) -> Change:
        """An object is not as it was; an annotation on it may be about more than itself."""
        asked, change = self._cluster.asked.look(key), self._changed(key)
        events = (*change.events, *self._annotated())
        if not asked:
            return replace(change, events=events)
        then = (Trigger(Cause.COMMIT),) if asked == "poll" else ()
        audit = self.following.audit()
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
                yield self._record.event(ev.RECONCILE_RESUMED, "suspensions", data, actor="somebody")

    def _changed(self, key: Key) -> Change:
        """An object is not as it was seen last: looked at, if it is one of ours."""
        known, look = self._record.mine.keys.get(str(key)), self._look(key)
        if known is None or not known.operation:
            source, _ = objects.source_of(self.following.repository.declared, key)
            events = []
            if known is None and look is not None and look.is_marked:  # a restored etcd brings it back
                events = [self._adopt(look)]
            concerns = source is not None or events or str(key) in self._record.mine.waits
            return self.following.change({key}, events) if concerns else Change()
        if known.open:
            ended = look is not None and look.has_gone and key not in self._cluster.unanswered
            return self.following.change({key}, [self._settle(look)] if ended and look is not None else [])
        drift = look.drift() if look is not None else None
        if drift is None:
            events = [self._record.event(ev.DRIFT_RESOLVED, key, {})] if known.drift else []
            return self.following.change({key}, events)
        event = self._detected(key, known, drift)
        if event is None:
            return self.following.change({key})
        fought = self._fought(key, drift)
        return self.following.change({key}, [event, fought] if fought is not None else [event], event.id)

    def _fought(self, key: Key, drift: Drift) -> Event | None:
        """That the fields of a drift were taken back too often: from now on they are left alone for a while."""
        now = self._record.clock.monotonic()
        over = [one for one in drift.fields if one.policy == CORRECT and self._fights.too_often((key, one.path), now)]
        whole = drift.what != "changed" and drift.policy == CORRECT and self._fights.too_often((key, drift.what), now)
        if not (over or whole):
            return None
        until = rfc3339(self._record.clock.now() + PAUSE_S)
        fields = [{"field": one.path, "manager": one.manager or drift.writer} for one in over]
        fields += [{"field": "the object itself", "manager": drift.writer}] if whole else []
        return self._record.event(ev.DRIFT_FOUGHT, key, {"count": MOST, "fields": fields, "until": until})

    def _detected(self, key: Key, known: Served, drift: Drift) -> Event | None:
        """The event of a drift; None where it is ignored or told already."""
        data = _told(drift)
        if drift.policy == IGNORE or all(known.drift.get(name) == data[name] for name in ("what", "fields")):
            return None
        return self._record.event(ev.DRIFT_DETECTED, key, data, actor=drift.writer or "somebody")

    def seen(self, keys: Sequence[Key]) -> list[Event]:
        """What others did while nobody watched: who did it, and what is only to be told.

        What is to be mended the plan finds.
        """
        found: list[Event] = []
        if self._record.state.ref.ahead:  # another reconciler was here: what is gone, it may have deleted
            return found
        for key in keys:
            known = self._record.mine.known(key)
            look = self._look(key) if known.operation and not known.open else None
            drift = look.drift() if look is not None else None
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
        planned, keys = {step.key for step in plan.steps}, self._record.mine.keys
        for expansion in expansions:
            key, known = expansion.key, keys.get(str(expansion.key))
            if known is None or known.open or key in planned:
                continue
            gave_up = isinstance(expansion, Wanted) and known.operation and known.phase in {*FAILED, "Desired"}
            if not (isinstance(expansion, Gone) or gave_up or known.drift):
                continue
            look = self._look(key)
            if isinstance(expansion, Gone) and look is not None and look.is_lacking:
                yield self._record.event(ev.OBJECT_GONE, key, {})  # never made, or deleted by somebody else
            live = look.live if look is not None else None
            if gave_up and isinstance(expansion, Wanted) and live is not None and live.ours:
                data = {**live.found, "spec": expansion.spec, "reason": "it is as Git says again"}
                yield self._record.event(ev.OBJECT_ADOPTED, key, data)  # a commit took back what was refused
            drift = look.drift() if look is not None else None
            if known.drift and (drift is None or drift.policy == IGNORE):
                yield self._record.event(ev.DRIFT_RESOLVED, key, {})

    def _withdrawn(self, orders: Sequence[Order]) -> dict[Key, str]:
        """Which of the orders that wait to be sent again are not to be done now, and why. Raises ApiUnavailable."""
        keys = frozenset(order.step.key for order in orders)
        wanted = {one.key: one for one in self.expand(keys)}
        judged = self.judge(self.following.change(keys))
        found: dict[Key, str] = {}
        for step, intent in orders:
            spec = step.spec or self._record.mine.known(step.key).order
            look = self._look(step.key)
            there = look.waits() if look is not None else {}
            why, _ = stopped(step.key, step.action, spec, judged, there, kept=self._passes_freeze(intent.event))
            why = why or ("" if _is_wanted(step, wanted[step.key]) else "Git wants it otherwise by now")
            found |= {step.key: why} if why else {}
        return found

    def _passes_freeze(self, intent: Event) -> bool:
        """Whether it only restores, or was ordered in this freeze: by the commit that begins it, or goes back in it."""
        of_newest = intent.gitcommit and intent.gitcommit == self._record.state.ref.accepted
        ordered_in = of_newest and frozen(self.following.fleet(), intent.time) is not None
        return bool(ordered_in) or intent.prevdigest == intent.newdigest

    def judge(self, change: Change) -> Judgement:
        """Limits, windows and suspensions of the Fleet in force."""
        judgement = self.following.judge(change)
        asked = self._cluster.asked.suspended() if change.keys | change.kept else {}
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
