"""The edge's stage: orders in, outcomes out. May import: ports, controller, planning, history.

In: orders, copied from the hub's log through a link.  Out: work for edge.work, whose outcomes come back as triggers.
Source and target of the same loop that the hub runs; here "observed" is the disk and what each runtime itself answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

from reconciler.controller.hearing import hear
from reconciler.controller.loop import Batch, Order
from reconciler.controller.queue import Trigger
from reconciler.controller.recorder import Recorder
from reconciler.edge.stability import Stability
from reconciler.errors import PortTaken, ReconcilerError
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import Key
from reconciler.history.state import FAILED
from reconciler.planning.diff import Observed
from reconciler.planning.plan import Judgement, Plan
from reconciler.planning.wanted import Expansion, Gone, Wanted, content_digest
from reconciler.ports import Link


class Work(Protocol):
    """What an edge can do for its keys. Implemented by edge.work."""

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

    def later(self, key: Key) -> None:
        """Have the key looked at again after a while, longer each time in a row."""
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


class Keeper:
    """Source and target of an edge's loop."""

    def __init__(self, edge: str, recorder: Recorder, link: Link, work: Work) -> None:
        self._edge, self._record, self._link, self._work = edge, recorder, link, work
        self._again: set[Key] = set()  # an audit tries refused orders once more
        self._stability = Stability(recorder)

    # ── source ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, trigger: Trigger) -> Batch:
        """What the trigger means (see controller.loop.Source)."""
        match trigger.cause:
            case "start":
                _, events = self._pull()
                return Batch(keys=self._all(), events=(*events, *self._settle()))
            case "orders":
                ordered, events = self._pull()
                return Batch(keys=self._free(ordered), events=tuple(events))
            case "done":
                return self._done(Key.parse(trigger.subject), trigger.events)
            case "happened":
                keys = {Key.parse(trigger.subject)} if trigger.subject else set()
                return Batch(keys=self._free(keys), events=tuple(self._stability.sift(trigger.events)))
            case "keys":
                return Batch(keys=self._free({Key.parse(trigger.subject)}))
            case _:
                _, events = self._pull()
                self._again = set(self._all())
                return Batch(keys=self._free(self._all()), events=(*events, *self._stability.due()))

    def _done(self, key: Key, outcomes: Sequence[Event]) -> Batch:
        """A worker has ended. What it leaves to be done: a newer order, or after a refusal what stands instead.

        After success nothing is, and a transient failure is tried again in its own time. What succeeded may have left
        a port that another key was refused.
        """
        tried, served = self._work.under_way(key), self._record.state.known(key)
        newer = tried is not None and not self._is_meant(key, tried)
        newer |= served.open and any(outcome.operationid != served.operation for outcome in outcomes)
        self._work.finish(key)
        self._again.discard(key)
        due = {key} if newer else set()
        if any(outcome.type == ev.APPLY_FAILED for outcome in outcomes):
            if tried != self._work.current(key):
                due.add(key)  # what stands is kept instead
            else:
                self._work.later(key)  # what stands cannot be had either: in its own time, never in a loop
        if any(outcome.type == ev.APPLY_SUCCEEDED for outcome in outcomes):
            waiting = {one for one in self._all() if self._record.state.known(one).code == PortTaken.code}
            self._again |= waiting
            due |= waiting
        return Batch(keys=self._free(due), events=tuple(outcomes))

    def _pull(self) -> tuple[set[Key], list[Event]]:
        """The keys of new orders addressed here. The hub may be away: what is ordered stands in our own log."""
        entries, events = hear(self._link, self._record, "hub")
        return {Key.parse(entry.event.subject) for entry in entries if entry.event.type == ev.APPLY_INTENDED}, events

    def _all(self) -> frozenset[Key]:
        keys = (Key.parse(text) for text in self._record.state.keys)
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
            served = self._record.state.known(key)
            if not served.own:
                continue
            done = self._work.observe(key) == (served.own_spec or None)
            data = {"recovered": True} | ({"live": self._work.live(key)} if done else {"reason": "the agent ended"})
            type_ = ev.APPLY_SUCCEEDED if done else ev.APPLY_ABANDONED
            events.append(self._record.event(type_, key, data, operationid=served.own))
        return events

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:  # noqa: ARG002  # the loop's words
        """Nothing: what an edge cannot do is the outcome of its work."""
        return ()

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What the newest order for each key says; what is quarantined gives way to what stands."""
        expansions: list[Expansion] = []
        for key in keys:
            served, spec = self._record.state.known(key), self._wanted(key)
            if spec is None:
                expansions.append(Gone(key))
            else:
                expansions.append(Wanted(key, spec, served.policy, served.origin, served.reason))
        return expansions

    def _wanted(self, key: Key) -> dict[str, Any] | None:
        order = self._record.state.known(key).order
        if not order:
            return None
        return self._work.current(key) if self._gives_way(key) else self._resolved(order)

    def _resolved(self, order: dict[str, Any]) -> dict[str, Any]:
        """The order, with the digest that was seen where policy trusts the first use."""
        if order["sha256"]:
            return order
        return order | {"sha256": self._record.state.digests.get(f"{order['url']} {order['version']}", "")}

    def _gives_way(self, key: Key) -> bool:
        """Whether the order was refused: then what stands is kept, until there is a new order or the next audit."""
        served = self._record.state.known(key)
        refused = not served.open and served.phase in FAILED and key not in self._again
        return refused or self._quarantined(key) is not None

    def _quarantined(self, key: Key) -> Mapping[str, Any] | None:
        """The hold on what is ordered: by its digest, or by what names it as long as its digest is not known."""
        held, order = self._record.state.holds.get(str(key)), self._record.state.known(key).order
        if not held or not order:
            return None
        return held.get(content_digest(order)) or held.get(content_digest(self._resolved(order)))

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:  # noqa: ARG002  # nothing waits here
        """Outcomes for open orders that need no work: already so, or quarantined here."""
        events = []
        for expansion in expansions:
            key, served = expansion.key, self._record.state.known(expansion.key)
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
            elif there == (expansion.spec if isinstance(expansion, Wanted) else None):
                data = {"live": self._work.live(key), "unchanged": True}
                events.append(self._record.event(ev.APPLY_SUCCEEDED, key, data, operationid=served.operation))
        return events

    def judge(self, batch: Batch) -> Judgement:  # noqa: ARG002  # an order was judged by the hub
        """Only by what is quarantined here."""
        return Judgement(holds=self._record.state.holds)

    def operation(self, key: Key) -> str:
        """The hub's: one operation tells the whole story in both logs. Keeping something else instead is our own."""
        served = self._record.state.known(key)
        kept = served.order and self._gives_way(key) and self._work.current(key) != self._resolved(served.order)
        return "" if kept else served.operation

    # ── target ────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What is there in fact."""
        found = {key: self._work.observe(key) for key in keys}
        return {key: Observed(spec) for key, spec in found.items() if spec is not None}

    def apply(self, batches: Iterable[Sequence[Order]]) -> Iterable[Sequence[Event]]:
        """Begin the work; outcomes come back as triggers."""
        for step, intent in chain.from_iterable(batches):
            spec = None if step.action == "delete" else step.spec
            self._work.begin(step.key, spec, step.policy, intent.event.operationid)
        return ()
