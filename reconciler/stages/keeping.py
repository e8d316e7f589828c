"""The source of a stage whose target is the API server. May import: ports, planning, history, engine.

In: which objects changed (by watch), outcomes.  Out: what that means for the keys of a stage whose target is the
cluster: drift, adoptions, what became of orders that nobody works on. What the objects should be its source says.
"""

from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol

from reconciler.engine.queue import Cause, Trigger
from reconciler.engine.recorder import StageRecorder
from reconciler.engine.stage import Change, Order, Source
from reconciler.errors import Defect, KindMissing, RightMissing
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import FAILED, Served
from reconciler.planning.contention import GONE_PAUSE_S, MOST, PAUSE_S, Fights
from reconciler.planning.desired import Desired, Expansion, Gone
from reconciler.planning.diff import Observed
from reconciler.planning.drift import CORRECT, IGNORE
from reconciler.planning.gate import stopped
from reconciler.planning.look import Drift, Look
from reconciler.planning.plan import BATCH, Plan, Step
from reconciler.stages.git import noticed, waiting

NAMESPACE: Final = "Namespace"


class Annotations(Protocol):
    """The port to annotations on live objects. Implemented by kube.write.annotations."""

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
    """The port to a cluster's target: what is there, and which orders are not answered."""

    @property
    def asked(self) -> Annotations:
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


class Keeping(Source, ABC):
    """Source of a stage whose target is the cluster. What objects should be, and by what that is judged, is its own."""

    def __init__(self, record: StageRecorder, cluster: Cluster) -> None:
        self._record, self._cluster = record, cluster
        self._fights = Fights()

    def concerns(self, key: Key) -> bool:  # noqa: ARG002  # what was ordered concerns it anyway
        """Whether an object of which nothing is known may be one that it makes."""
        return True

    def passes(self, intent: Event) -> bool:
        """Whether what was intended only restores, so that a freeze does not hold it."""
        return intent.prevdigest == intent.newdigest

    def change(self, keys: Iterable[Key] = (), events: Sequence[Event] = (), cause: str = "") -> Change:
        """What is due for these keys."""
        return Change(frozenset(keys), tuple(events), cause)

    def audit(self) -> Change:
        """Everything there is or should be."""
        return Change(look=True)

    def take(self, trigger: Trigger) -> Change:
        """What the trigger means (see engine.stage.Source)."""
        match trigger.cause:
            case Cause.START | Cause.LEASE:
                self._cluster.forget()
                return replace(self.audit(), events=(*trigger.events, *self._settled()))
            case Cause.FOUND:  # a kind can be read: what could not be settled is
                return replace(self.audit(), events=(*trigger.events, *self._settled()))
            case Cause.OBJECT:
                return self._changed(Key.parse(trigger.subject))
            case Cause.KEYS:
                return self.change({Key.parse(trigger.subject)})
            case Cause.DONE:
                return self._done(trigger.events)
            case Cause.HAPPENED:
                return Change(events=trigger.events)
            case Cause.AGAIN:
                self._cluster.again(self._withdrawn)
                return Change()
            case _:
                return self.audit()

    def looked(self, change: Change, found: frozenset[Key]) -> Change:
        """See engine.stage.Source."""
        return self.change(found, cause=change.cause)

    def notice(self, expansions: Sequence[Expansion], plan: Plan) -> Sequence[Event]:
        """Problems of objects, and what waits, where they differ from what the log says."""
        waits = waiting(self._record, expansions, plan)
        return [*noticed(self._record, expansions), *waits, *self._at_rest(expansions, plan)]

    def announce(self, change: Change, plan: Plan) -> Mapping[str, Any] | None:  # noqa: ARG002  # see engine.stage.Source
        """A plan of many steps is, with nothing more."""
        return {} if len(plan.ready) > BATCH else None

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
        try:
            type_, data = look.settled()
        except Exception as bug:  # noqa: BLE001  # of one object: the others are settled
            told = Defect.at(look.key, bug)
            type_, data = ev.APPLY_FAILED, {"error": told.message, "code": told.code, "phase": "Rejected"}
        return self._record.event(type_, look.key, data, operationid=look.served.operation)

    def _look(self, key: Key) -> Look | None:
        """An object; None where its kind cannot be read. Raises ApiUnavailable."""
        with suppress(KindMissing, RightMissing):
            return self._cluster.look(key)
        return None

    def _done(self, outcomes: tuple[Event, ...]) -> Change:
        """Outcomes. Of an order that is not the newest, or was withdrawn, the object is looked at again."""
        stale = {
            Key.parse(event.subject)
            for event in outcomes
            if event.operationid != self._record.mine.known(event.subject).operation or event.data.get("settled")
        }
        return self.change(stale, outcomes)

    def _changed(self, key: Key) -> Change:
        """An object is not as it was seen last; what was refused for the namespace that it is, is tried again."""
        change = self._seen_otherwise(key)
        if key.kind != NAMESPACE:
            return change
        refused = (Key.parse(text) for text, served in self._record.mine.keys.items() if served.phase in FAILED)
        again = self.change(one for one in refused if one.namespace == key.name)
        return replace(change, keys=change.keys | again.keys, kept=change.kept | again.kept)

    def _seen_otherwise(self, key: Key) -> Change:
        """An object is looked at, if it is one of ours."""
        known, look = self._record.mine.keys.get(str(key)), self._look(key)
        if known is None or not known.operation:
            events = []
            if known is None and look is not None and look.is_marked:  # a restored etcd brings it back
                events = [self._adopt(look)]
            concerns = events or str(key) in self._record.mine.waits or self.concerns(key)
            return self.change({key}, events) if concerns else Change()
        if known.open:
            ended = look is not None and look.has_gone and key not in self._cluster.unanswered
            return self.change({key}, [self._settle(look)] if ended and look is not None else [])
        if look is not None and (look.is_elsewhere or look.is_late):
            return self.change({key}, [self._adopt(look)])
        drift = look.drift() if look is not None else None
        if drift is None:
            events = [self._record.event(ev.DRIFT_RESOLVED, key, {})] if known.drift else []
            return self.change({key}, events)
        event = self._detected(key, known, drift)
        if event is None:
            return self.change({key})
        fought = self._fought(key, drift)
        return self.change({key}, [event, fought] if fought is not None else [event], event.id)

    def _fought(self, key: Key, drift: Drift) -> Event | None:
        """That the fields of a drift were taken back too often: from now on they are left alone for a while."""
        now = self._record.clock.monotonic()
        over = [one for one in drift.fields if one.policy == CORRECT and self._fights.too_often((key, one.path), now)]
        whole = drift.what != "changed" and drift.policy == CORRECT and self._fights.too_often((key, drift.what), now)
        if not (over or whole):
            return None
        until = rfc3339(self._record.clock.now() + (PAUSE_S if over else GONE_PAUSE_S))
        fields = [{"field": one.path, "manager": one.manager or drift.writer} for one in over]
        fields += [{"field": "the object itself", "manager": drift.writer}] if whole else []
        return self._record.event(ev.DRIFT_FOUGHT, key, {"count": MOST, "fields": fields, "until": until})

    def _detected(self, key: Key, known: Served, drift: Drift) -> Event | None:
        """The event of a drift; None where it is ignored or told already."""
        data = _told(drift)
        if drift.policy == IGNORE or all(known.drift.get(name) == data[name] for name in ("what", "fields", "policy")):
            return None
        return self._record.event(ev.DRIFT_DETECTED, key, data, actor=drift.writer or "somebody")

    def seen(self, keys: Sequence[Key], observed: Mapping[Key, Observed]) -> list[Event]:
        """What others did while nobody watched: who did it, and what is only to be told.

        What is to be mended the plan finds.
        """
        found: list[Event] = []
        if self._record.state.ref.ahead:  # another reconciler was here: what is gone, it may have deleted
            return found
        for key in keys:
            known, there = self._record.mine.known(key), observed.get(key)
            if not known.operation or known.open or _is_as_ordered(known, there):
                continue
            look = self._look(key)
            if look is not None and (look.is_elsewhere or look.is_late):
                found.append(self._adopt(look))
                continue
            drift = look.drift() if look is not None else None
            event = self._detected(key, known, drift) if drift is not None else None
            found += [event] if event is not None else []
        return found

    def _at_rest(self, expansions: Iterable[Expansion], plan: Plan) -> Iterator[Event]:
        """What nothing is done about and nothing is under way for, where the log still says that there is something."""
        planned, keys = {step.key for step in plan.steps}, self._record.mine.keys
        for expansion in expansions:
            key, known = expansion.key, keys.get(str(expansion.key))
            if known is None or known.open or key in planned:
                continue
            gave_up = isinstance(expansion, Desired) and known.operation and known.phase in {*FAILED, "Desired"}
            if not (isinstance(expansion, Gone) or gave_up or known.drift):
                continue
            look = self._look(key)
            if isinstance(expansion, Gone) and look is not None and look.is_lacking:
                yield self._record.event(ev.OBJECT_GONE, key, {})  # never made, or deleted by somebody else
            live = look.live if look is not None else None
            if gave_up and isinstance(expansion, Desired) and live is not None and live.ours:
                data = {**live.found, "spec": expansion.spec, "reason": "it is as wanted again"}
                yield self._record.event(ev.OBJECT_ADOPTED, key, data)  # a commit took back what was refused
            drift = look.drift() if look is not None else None
            if known.drift and (drift is None or drift.policy == IGNORE):
                yield self._record.event(ev.DRIFT_RESOLVED, key, {})

    def _withdrawn(self, orders: Sequence[Order]) -> dict[Key, str]:
        """Which of the orders that wait to be sent again are not to be done now, and why. Raises ApiUnavailable."""
        keys = frozenset(order.step.key for order in orders)
        wanted = {one.key: one for one in self.expand(keys)}
        judged = self.judge(self.change(keys))
        found: dict[Key, str] = {}
        for step, intent in orders:
            spec = step.spec or self._record.mine.known(step.key).order
            look = self._look(step.key)
            there = look.waits() if look is not None else {}
            why, _ = stopped(step.key, step.action, spec, judged, there, kept=self.passes(intent.event))
            why = why or ("" if _is_wanted(step, wanted[step.key]) else "it is wanted otherwise by now")
            found |= {step.key: why} if why else {}
        return found


def _is_as_ordered(known: Served, there: Observed | None) -> bool:
    """Whether a key is known to have the object that was made for it, as it was ordered."""
    uid = there.found.get("uid") if there is not None else None
    return there is not None and bool(uid) and uid == known.live.get("uid") and there.spec == known.order


def _is_wanted(step: Step, expansion: Expansion) -> bool:
    match expansion:
        case Desired(spec=spec):
            return step.action != "delete" and step.spec == spec
        case Gone():
            return step.action == "delete"
        case _:
            return True  # it cannot be said: what was ordered last stands


def _told(drift: Drift) -> dict[str, Any]:
    """A drift as its event carries it. Values are shortened: the order and the object have them whole."""
    fields: list[Mapping[str, Any]] = [
        {"field": one.path, "manager": one.manager, "old": _short(one.old), "new": _short(one.new)}
        | ({"policy": one.policy} if one.policy != CORRECT else {})
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
