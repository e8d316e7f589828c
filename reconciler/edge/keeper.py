"""The edge's stage: orders in, outcomes out. May import: ports, engine, planning, history.

In: orders, copied from the hub's log through a link.  Out: work for edge.work, whose outcomes come back as triggers.
Source and target of the same loop that the hub runs; here "observed" is the disk and what each runtime itself answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from reconciler.edge.stability import Stability
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.retry import PACES
from reconciler.engine.stage import Change, Order, Source, Target
from reconciler.errors import GapFound, HistoryError, LogWriteFailed, PortTaken, Retry
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import DELIVER, Key
from reconciler.history.readers import HUB
from reconciler.history.state import FAILED, Served
from reconciler.planning.desired import Desired, Expansion, Gone, content_digest
from reconciler.planning.diff import Observed
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import Plan
from reconciler.ports import Link, Workers
from reconciler.stages.replication import Heard, Replication

ORDERS: Final = Trigger(Cause.ORDERS)
LEAST_S: Final = 1.0  # between two tries to have a port


class Work(Protocol):
    """The port to an edge's work for its keys. Implemented by edge.work."""

    def observe(self, key: Key) -> dict[str, Any] | None:
        """The spec that holds in fact: disk and runtime asked; None when nothing is there."""
        ...

    def live(self, key: Key) -> dict[str, Any]:
        """What is observed, as events report it: version, digest, url from the runtime itself; {} when it is silent."""
        ...

    def current(self, key: Key) -> dict[str, Any] | None:
        """The spec on which the key's slot stands, whatever the runtime says."""
        ...

    def under_way(self, key: Key) -> dict[str, Any] | None:
        """The spec that a worker is busy with; {} for a removal; None when no worker is."""
        ...

    def may_listen(self, spec: Mapping[str, Any]) -> bool:
        """Whether the port that a spec is to be served on can be had now. Waits for nothing."""
        ...

    def finish(self, key: Key) -> None:
        """The worker's outcome has come through: it is busy no more."""
        ...

    def cancel(self, key: Key) -> None:
        """Have the worker of this key stop at its next step. Its outcome comes as a trigger."""
        ...

    def begin(self, key: Key, spec: dict[str, Any] | None, policy: Mapping[str, Any], operation: str) -> None:
        """Start a worker that brings the key to `spec` (None: removes it). Returns at once."""
        ...


class Keeper(Source, Target):
    """Source and target of an edge's loop."""

    def __init__(
        self, edge: str, recorder: Recorder, queue: Queue, *, link: Link, workers: Workers, work: Work
    ) -> None:
        self._edge, self._record, self._work = edge, recorder.stage(DELIVER), work
        self._queue = queue.stage(DELIVER)
        self._again: set[Key] = set()  # a start tries refused orders once more
        self._stability = Stability(self._record)
        self._is_starting = (
            False  # nothing is begun before the hub's log was looked at: what was ordered may be withdrawn
        )
        self._hearing = Replication(lambda _: link, lambda _: ORDERS, self._record, self._queue, workers)

    # ── source ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, trigger: Trigger) -> Change:
        """What the trigger means (see engine.stage.Source)."""
        match trigger.cause:
            case Cause.START:
                self._is_starting, self._again = True, set(self._all())
                self._queue.add(ORDERS)
                return Change(events=(*self._settle(), *self._silent()))
            case Cause.ORDERS:
                heard = self._hearing.hear("hub", trigger)
                return Change() if heard is None else self._heard(heard)
            case Cause.DONE:
                return self._done(Key.parse(trigger.subject), trigger.events)
            case Cause.HAPPENED:
                keys = {Key.parse(trigger.subject)} if trigger.subject else set()
                return self._change(keys, self._stability.sift(trigger.events))
            case Cause.KEYS:
                key = Key.parse(trigger.subject)
                if self._waits_for_port(key) and not self._may_listen(key):
                    self._queue.add(trigger, PACES[Retry.SEEN].base_s)  # somebody else still has it
                    return Change()
                return self._change({key})
            case _:
                self._queue.add(ORDERS)
                return self._change(self._all(), self._stability.due())

    def _change(self, keys: Iterable[Key], events: Iterable[Event] = ()) -> Change:
        return Change(frozenset() if self._is_starting else self._free(keys), tuple(events))

    def _heard(self, heard: Heard) -> Change:
        """The keys of new orders addressed here. The hub may be away: what is ordered stands in our own log."""
        ordered = {Key.parse(one.event.subject) for one in heard.entries if one.event.type == ev.APPLY_INTENDED}
        keys = self._all() if self._is_starting else {key for key in ordered if key.edge == self._edge}
        self._is_starting = False
        return self._change(keys, (*heard.events, *self._renewed()))

    def _renewed(self) -> list[Event]:
        """Begin a new epoch of the log where the hub holds another end of it: it was put back, or is that of a copy.

        What was answered meanwhile has not come through: it is said once more.
        """
        seq, digest = self._record.state.put_back or (0, "")
        if not seq or self._has_said(seq, digest):  # it was said of a copy of this log
            return []
        try:
            self._record.log.renew()
        except LogWriteFailed:
            raise
        except HistoryError:  # somebody reads it just now: whatever is heard next tries again
            return []
        return [self._answer(key) for key in sorted(self._all()) if not self._record.mine.known(key).open]

    def _has_said(self, position: int, digest: str) -> bool:
        """Whether this very entry stands in what our log has for the hub."""
        try:
            own = next(self._record.log.raw(HUB, position - 1), None)
        except GapFound:  # it ends before that
            return False
        return own is not None and own[0].hash == digest

    def _answer(self, key: Key) -> Event:
        """What became of the newest order for a key."""
        served, live = self._record.mine.known(key), self._work.live(key)
        data: dict[str, Any] = {"live": live}
        if served.phase in FAILED:
            data |= {"error": served.message, "code": served.code, "phase": served.phase}
        type_ = ev.APPLY_FAILED if served.phase in FAILED else ev.APPLY_SUCCEEDED
        return self._record.event(type_, key, data, operationid=served.operation)

    def everything(self) -> Iterable[Key]:
        """Every key ordered here."""
        return self._all()

    def _done(self, key: Key, outcomes: Sequence[Event]) -> Change:
        """A worker has ended. What it leaves to be done: a newer order, or after a refusal what stands instead.

        After success nothing is, and a failure is tried again in its own time. What succeeded may have left a port that
        another key was refused.
        """
        tried, served = self._work.under_way(key), self._record.mine.known(key)
        newer = tried is not None and not self._is_meant(key, tried)
        newer |= served.open and any(outcome.operationid != served.operation for outcome in outcomes)
        self._work.finish(key)
        self._again.discard(key)
        due = {key} if newer else set()
        if any(outcome.type == ev.APPLY_FAILED for outcome in outcomes) and tried != self._work.current(key):
            due.add(key)  # what stands is kept instead; where that is what was tried, it is in its own time
        if any(outcome.type == ev.APPLY_SUCCEEDED for outcome in outcomes):
            free = {one for one in self._all() if self._waits_for_port(one) and self._may_listen(one)}
            self._again |= free
            due |= free
        return self._change(due, outcomes)

    def _all(self) -> frozenset[Key]:
        keys = (Key.parse(text) for text in self._record.mine.keys)
        return frozenset(key for key in keys if key.edge == self._edge)

    def _free(self, keys: Iterable[Key]) -> frozenset[Key]:
        """Without the keys a worker is busy with; one that is busy with something else than ordered is told to stop."""
        free = set()
        for key in keys:
            busy = self._work.under_way(key)
            if busy is None:
                free.add(key)
            elif not self._is_meant(key, busy):
                self._work.cancel(key)
        return frozenset(free)

    def _is_meant(self, key: Key, busy: dict[str, Any]) -> bool:
        """Whether a worker is busy with what is wanted now; one that trusts the first use began without a digest."""
        wanted = self._wanted(key) or {}
        return busy == wanted or (busy.get("sha256") == "" and busy | {"sha256": wanted.get("sha256")} == wanted)

    def _settle(self) -> list[Event]:
        """Outcomes for own intents that a crash left open: by what is there, not by guessing."""
        events = []
        for key in sorted(self._all()):
            served = self._record.mine.known(key)
            if not served.own:
                continue
            done = self._work.observe(key) == (served.own_spec or None)
            data = {"recovered": True} | ({"live": self._work.live(key)} if done else {"reason": "the agent ended"})
            type_ = ev.APPLY_SUCCEEDED if done else ev.APPLY_ABANDONED
            events.append(self._record.event(type_, key, data, operationid=served.own))
        return events

    def _silent(self) -> list[Event]:
        """What serves no more since the agent before ended: it is served again, and until then it is not so."""
        events = []
        for key in sorted(self._all()):
            served, live = self._record.mine.known(key), self._work.live(key)
            if served.order and served.live.get("version") and not live.get("version"):
                data = {"error": "its agent began anew, and it is served again", "live": live, "began": True}
                events.append(self._record.event(ev.MODEL_DEGRADED, key, data))
        return events

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What the newest order for each key says; what is quarantined gives way to what stands."""
        expansions: list[Expansion] = []
        for key in keys:
            served, spec = self._record.mine.known(key), self._wanted(key)
            if spec is None:
                expansions.append(Gone(key))
            else:
                expansions.append(Desired(key, spec, served.policy, served.origin, served.reason))
        return expansions

    def _wanted(self, key: Key) -> dict[str, Any] | None:
        order = self._record.mine.known(key).order
        if not order:
            return None
        return self._work.current(key) if self._gives_way(key) else self._resolved(order)

    def _resolved(self, order: dict[str, Any]) -> dict[str, Any]:
        """The order, with the digest that was seen where policy trusts the first use."""
        if order["sha256"]:
            return order
        return order | {"sha256": self._record.state.digests.get(f"{order['url']} {order['version']}", "")}

    def _gives_way(self, key: Key) -> bool:
        """Whether the order was refused: then what stands is kept, until there is a new order or its time has come."""
        served = self._record.mine.known(key)
        refused = not served.open and served.phase in FAILED and key not in self._again
        return (refused and not self._is_due(key, served)) or self._quarantined(key) is not None

    def _is_due(self, key: Key, served: Served) -> bool:
        """Whether what was refused is tried again: its time has come, or the port that it waits for is free."""
        now, retry = self._record.clock.now(), served.retry
        if self._waits_for_port(key):
            if not self._may_listen(key):
                return False
            retry = rfc3339(datetime.fromisoformat(served.phase_time).timestamp() + LEAST_S)  # never in a loop
        return bool(retry) and not served.phase_time <= rfc3339(now) < retry  # before it: the clock went back

    def _may_listen(self, key: Key) -> bool:
        return self._work.may_listen(self._record.mine.known(key).order)

    def _waits_for_port(self, key: Key) -> bool:
        served = self._record.mine.known(key)
        return not served.open and served.code == PortTaken.code and bool(served.order)

    def _quarantined(self, key: Key) -> Mapping[str, Any] | None:
        """The hold on what is ordered: by its digest, or by what names it as long as its digest is not known."""
        held, order = self._record.mine.holds.get(str(key)), self._record.mine.known(key).order
        if not held or not order:
            return None
        return held.get(content_digest(order)) or held.get(content_digest(self._resolved(order)))

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:  # noqa: ARG002  # nothing waits here
        """Outcomes for open orders that need no work: already so, or quarantined here."""
        events = []
        for expansion in expansions:
            key, served = expansion.key, self._record.mine.known(expansion.key)
            if not served.open or self._work.under_way(key) is not None:
                continue
            held, there = self._quarantined(key), self._work.observe(key)
            if held is not None:
                data = {
                    "error": held["reason"],
                    "code": held["code"],
                    "phase": "Rejected",
                    "live": self._work.live(key),
                }
                events.append(self._record.event(ev.APPLY_FAILED, key, data, operationid=served.operation))
            elif there == (expansion.spec if isinstance(expansion, Desired) else None):
                data = {"live": self._work.live(key), "unchanged": True}
                events.append(self._record.event(ev.APPLY_SUCCEEDED, key, data, operationid=served.operation))
        return events

    def judge(self, change: Change) -> Judgement:  # noqa: ARG002  # an order was judged by the hub
        """Only by what is quarantined here."""
        return Judgement(holds=self._record.mine.holds)

    def operation(self, key: Key) -> str:
        """The hub's: one operation tells the whole story in both logs. Keeping something else instead is our own."""
        served = self._record.mine.known(key)
        kept = served.order and self._gives_way(key) and self._work.current(key) != self._resolved(served.order)
        return "" if kept else served.operation

    # ── target ────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What is there in fact."""
        found = {key: self._work.observe(key) for key in keys}
        return {key: Observed(spec) for key, spec in found.items() if spec is not None}

    def send(self, orders: Sequence[Order]) -> None:
        """Begin the work; outcomes come back as triggers."""
        for step, intent in orders:
            spec = None if step.action == "delete" else step.spec
            self._work.begin(step.key, spec, step.policy, intent.event.operationid)
