"""The reconcile loop, one for the hub and for every edge. May import: ports, planning, history.

    commit ─► Desired ─► diff(Observed) ─► Plan ─► intent event ─► apply ─► outcome event ─► projections ─► status

It runs any number of stages (engine.stage) over one log, on one thread, from one queue. It is level-triggered: a
trigger says which keys may have changed, and they are recomputed from current state. It is the only writer of its log:
what is done beside it comes back as triggers. Nobody here writes status, which is a fold of the log.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, Final

import msgspec

from reconciler.diagnostics import Diagnostic
from reconciler.engine.failpoints import reached
from reconciler.engine.queue import NEEDED, Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.retry import Backoff, Sample, order_delay_s
from reconciler.engine.stage import AHEAD, Change, Considered, Order, Stage
from reconciler.errors import Defect, HistoryError, ReconcilerError, Retry, retry_of
from reconciler.history import events as ev
from reconciler.history.events import Event, event_id
from reconciler.history.keys import Key
from reconciler.history.times import seconds_left
from reconciler.planning.desired import Desired, Expansion, Frozen, as_ordered, digest_of
from reconciler.planning.diff import diff
from reconciler.planning.plan import BATCH, Plan, Step, make_plan, waits_now

SLICE = 100  # keys that are compared in one turn of an audit
NOTHING = Plan(())
UNDONE: Final = frozenset({ev.APPLY_FAILED, ev.APPLY_ABANDONED})

Reply = Future[dict[str, Any]]


@dataclass
class _UnderWay:
    """A plan whose steps are begun in batches. steps: what is still to be begun, in order."""

    change: Change
    cause: str
    causes: Mapping[str, str]  # key -> the event that explains its step, where that is another one
    steps: dict[Key, Step]
    is_fresh: bool = True  # no batch of it was begun: it was judged in this turn


@dataclass
class _Audit:
    """A look at everything, in slices. rest: what is still to be looked at.  seen: what was.  found: what differs."""

    change: Change
    rest: Iterator[Key]
    seen: set[Key] = field(default_factory=set)
    found: set[Key] = field(default_factory=set)
    replies: list[Reply] = field(default_factory=list)


class _Running:
    """A stage while it runs. plans: those under way, the newest first."""

    def __init__(self, stage: Stage, recorder: Recorder, queue: Queue) -> None:
        self.stage, self.source, self.target = stage, stage.source, stage.target
        self.record, self.queue = recorder.stage(stage.name), queue.stage(stage.name)
        self.plans: list[_UnderWay] = []
        self.audit: _Audit | None = None
        self.has_looked = False  # at everything, to the end, since this began
        self.planned = Counter[str]()  # steps to do at once, by action, since this began

    @property
    def is_awaited(self) -> bool:
        """Whether an answer is."""
        return any(served.open for served in self.record.mine.keys.values())

    def deletes_to_begin(self, but: frozenset[Key]) -> int:
        """Deletes that were planned and not begun, of other keys: they count as ordered."""
        steps = (step for plan in self.plans for step in plan.steps.values() if step.action == "delete")
        return sum(step.key not in but for step in steps)


class Loop:
    """Stages, each moved one pass towards what is declared for every trigger of its own."""

    def __init__(
        self,
        stages: Iterable[Stage],
        recorder: Recorder,
        queue: Queue,
        *,
        sample: Sample = lambda: 0.5,
        followers: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """stages: the first one answers people.  sample: uniform in [0, 1), for jitter.

        followers: what follows the log on this thread beside the stages, by the name that its triggers have as stage.
        """
        self._record, self.queue, self._backoff, self._sample = recorder, queue, Backoff(sample=sample), sample
        self._stages = {stage.name: _Running(stage, recorder, queue) for stage in stages}
        self._first = next(iter(self._stages.values()))
        self._asked: dict[Reply, Counter[str]] = {}  # what had been planned when each verb was taken first
        self.failure: ReconcilerError | None = None  # that came last, of a trigger that is taken again
        self._followers = followers or {}

    def run(self) -> None:
        """Take triggers until the queue is closed, beginning with START for every stage."""
        for running in self._stages.values():
            running.queue.add(Trigger(Cause.START))
            for cause, delay_s in running.stage.every.items():
                running.queue.add(Trigger(cause), delay_s())
        try:
            self.until(lambda: False)
        finally:
            for reply in self._asked:  # of verbs that waited for something: nobody will answer
                reply.cancel()

    def until(self, done: Callable[[], bool]) -> None:
        """Take triggers until `done`, or until the queue is closed."""
        while not done() and (trigger := self.queue.take()) is not None:
            self.turn(trigger)

    @property
    def is_at_rest(self) -> bool:
        """Whether no plan and no audit is under way, and no order of a stage that runs is open."""
        return not any(running.plans or running.audit or running.is_awaited for running in self._stages.values())

    @property
    def has_looked(self) -> bool:
        """Whether every stage has looked at everything since this began: what stands was asked for anew."""
        return all(running.has_looked for running in self._stages.values())

    def turn(self, trigger: Trigger) -> None:
        """One trigger, answered. A retryable failure comes back by itself; one of the log ends the process."""
        running = self._stages.get(trigger.stage, self._first)
        if trigger.reply is not None:
            self._asked.setdefault(trigger.reply, running.planned.copy())
        if trigger.cause is Cause.DONE:
            trigger = replace(trigger, events=(*trigger.events, *running.target.answered()))
        try:
            plan = self._taken_or_told(running, trigger)
        except ReconcilerError as failure:
            if trigger.reply is not None and not trigger.reply.done():
                self._answer(running, trigger.reply, failure)
            if isinstance(failure, HistoryError) and not failure.retryable:
                raise
            if trigger.reply is not None:
                return
            self._record.append(running.source.failed(trigger, failure))
            if failure.retryable or isinstance(failure, Defect) or trigger.cause in NEEDED:
                self.failure = failure
                self.queue.add(trigger, self._backoff.failed(trigger.name))
                return
        else:
            if plan is not None:  # else it is known later whether it was one
                self._backoff.succeeded(trigger.name)
                if trigger.reply is not None:
                    self._answer(running, trigger.reply, plan)
        if trigger.cause in running.stage.every:
            running.queue.add(Trigger(trigger.cause), running.stage.every[trigger.cause]())

    def _taken_or_told(self, running: _Running, trigger: Trigger) -> Plan | None:
        """See `_taken`; a bug in it ends nobody else, and is told to who asked."""
        try:
            return self._taken(running, trigger)
        except ReconcilerError:
            raise
        except Exception as bug:
            raise Defect.at(trigger.request.get("verb", trigger.cause), bug) from bug

    def _taken(self, running: _Running, trigger: Trigger) -> Plan | None:
        """The plan that a trigger came to; None where that is known later."""
        if trigger.cause is Cause.FOLLOW:
            self._followers[trigger.stage]()
            return NOTHING
        if trigger.cause is Cause.BEGIN:
            self._begin(running)
            return NOTHING
        if trigger.cause is Cause.SLICE:
            self._look(running)
            return NOTHING
        if trigger.cause is Cause.START:
            running.record.append(self._ended(running))
        change = self._timed(running, self._meant(running, trigger))
        if change.is_later:
            return None
        if change.look:
            return self._looked(running, change, trigger.reply)
        return self._reconcile(running, change)

    def _timed(self, running: _Running, change: Change) -> Change:
        """The same; what was not done says when it is tried again, and its key is due then (decision 8)."""
        if not any(event.type in UNDONE for event in change.events):
            return change
        return replace(change, events=tuple(self._due_again(running, event) for event in change.events))

    def _due_again(self, running: _Running, event: Event) -> Event:
        code = event.data.get("code")
        if event.type not in UNDONE or not code or event.data.get("waits"):  # or its end is seen by itself
            return event
        retry, tries = retry_of(code), running.record.mine.known(event.subject).tries
        delay_s = order_delay_s(retry, tries, self._sample)
        if delay_s is None:
            return event
        running.queue.add(Trigger(Cause.KEYS, event.subject), delay_s)
        if retry is Retry.SEEN:
            return event
        return msgspec.structs.replace(event, data={**event.data, "retryMs": round(delay_s * 1000)})

    def _meant(self, running: _Running, trigger: Trigger) -> Change:
        """What a trigger means. Where a bug keeps that from being said, it is a problem of the key it is about."""
        try:
            return running.source.take(trigger)
        except ReconcilerError:
            raise
        except Exception as bug:
            key = Key.named(trigger.subject)
            if key is None and not trigger.events:
                raise
            defect = Defect.at(trigger.subject or trigger.cause, bug)  # what happened is recorded nevertheless
            bugs = {} if key is None else {key: defect.diagnostic(str(key))}
            return Change(frozenset(bugs), trigger.events, bugs=bugs)

    def _answer(
        self, running: _Running, reply: Reply, answer: Plan | ReconcilerError, *, is_of_all: bool = False
    ) -> None:
        """Tell a person what was planned since the verb was taken: a commit that came with it had a plan of its own."""
        before = self._asked.pop(reply, Counter())
        if isinstance(answer, ReconcilerError):
            reply.set_exception(answer)
            return
        since = dict(running.planned - before)
        waiting = {name: n for name, n in answer.counts.items() if name == "waiting"}
        held = running.record.mine.held_plan if is_of_all else None
        reason = answer.held or (held.reason if held is not None else "")
        digest = held.digest if held is not None and not answer.held else answer.digest
        reply.set_result({"digest": digest, "counts": since | waiting, "held": reason})

    # ── one pass ──────────────────────────────────────────────────────────────────────────────────────────────────

    def consider(self, stage: str, change: Change) -> Considered:
        """What would be done for these keys, and why. Nothing is recorded or changed."""
        return self._considered(self._stages[stage], change)

    def foresee(self, stage: str, change: Change) -> Plan:
        """The plan for a change, told as if its steps were begun: what comes behind it is judged by what it brings."""
        running, plan = self._stages[stage], self.consider(stage, change).plan
        running.record.append(self._announcement(running, change, plan))
        return plan

    def _considered(self, running: _Running, change: Change) -> Considered:
        """What `_compared` says. A key that a bug meets is a problem of that key alone: it stays as it is."""
        try:
            return self._compared(running, change)
        except ReconcilerError:
            raise
        except Exception:
            bugs = self._bugs(running, change, sorted(change.keys | change.kept))
            if not bugs:  # of no single key
                raise
            return self._compared(running, replace(change, bugs={**change.bugs, **bugs}))

    def _bugs(self, running: _Running, change: Change, keys: Sequence[Key]) -> dict[Key, Diagnostic]:
        """The keys that cannot be considered even alone, found by halves."""
        some = frozenset(keys)
        try:
            self._compared(running, replace(change, keys=change.keys & some, kept=change.kept & some))
        except ReconcilerError:
            raise
        except Exception as bug:  # noqa: BLE001  # its traceback is kept
            if len(keys) == 1:
                return {keys[0]: Defect.at(keys[0], bug).diagnostic(str(keys[0]))}
            half = len(keys) // 2
            return self._bugs(running, change, keys[:half]) | self._bugs(running, change, keys[half:])
        return {}

    def _compared(self, running: _Running, change: Change) -> Considered:
        sound, kept = change.keys - change.bugs.keys(), change.kept - change.bugs.keys()
        expansions: list[Expansion] = [Frozen(key, why) for key, why in change.bugs.items()]
        expansions += running.source.expand(sorted(sound))
        judged = running.source.judge(change)
        deletes = running.deletes_to_begin(change.keys | change.kept)
        judged = replace(judged, deleted_lately=judged.deleted_lately + deletes)
        observed = running.target.observe(sound | kept)
        plan = make_plan(diff(expansions, observed, running.stage.merge_keys), judged)
        others = judged.waited - change.keys
        if others and not plan.holds <= judged.waited:  # what waits for a person waits together, under one digest
            return self._compared(running, replace(change, keys=change.keys | others, kept=change.kept - others))
        kept = (kept - sound) | {step.key for step in plan.waiting if step.action != "delete"}
        if kept:  # what cannot become as it is wanted stays as it was ordered
            ordered = [as_ordered(key, running.record.mine.known(key)) for key in kept]
            plan = plan.beside(Plan(make_plan(diff(ordered, observed, running.stage.merge_keys), judged).ready))
        return Considered(plan, expansions, observed, running.source.notice(expansions, plan))

    def reconcile(self, stage: str, change: Change) -> Plan:
        """Move the keys of `change` one pass. Safe to run twice, late, or after a crash."""
        return self._reconcile(self._stages[stage], change)

    def _reconcile(self, running: _Running, change: Change) -> Plan:
        is_answer = all(event.type in ev.OUTCOMES for event in change.events)  # it stops nothing that is begun with it
        if is_answer and not (change.keys or change.kept or change.commit) and self.queue.is_quiet:
            self._begin(running, change.events)  # nothing but outcomes: recorded together with the next intents
            self._follow_up(running, change)
            return NOTHING
        running.record.append(change.events)
        reached("loop.seen")
        plan, expansions, _, noticed = self._considered(running, change)
        running.record.append(noticed)
        cause = self._announced(running, change, plan)
        running.planned.update(step.action for step in plan.ready)
        self._withdraw(running, change.keys | change.kept, "a newer plan has it")
        if plan.ready:
            causes = {event.subject: event.id for event in change.events if event.type == ev.DRIFT_DETECTED}
            made = _UnderWay(change, cause, causes, {step.key: step for step in plan.ready})
            running.plans.insert(0, made)
            self._begin(running)
            made.is_fresh = False
        elif change.keys or change.kept or change.commit:
            reached("loop.applied")
        self._go_on(running)
        self._look_again(running, expansions, plan)
        self._follow_up(running, change)
        return plan

    def _announced(self, running: _Running, change: Change, plan: Plan) -> str:
        """The event that explains a plan's intents: its own, where there is one."""
        events = self._announcement(running, change, plan)
        running.record.append(events, plans=running.record.mine.plans)
        return events[-1].id if events else change.cause

    def _announcement(self, running: _Running, change: Change, plan: Plan) -> list[Event]:
        """The event of a plan, behind the approval that releases it; nothing where its intents say all."""
        said = running.source.announce(change, plan)
        if said is None:
            return []
        approved = [change.approval] if change.approval is not None and "releases" in said else []
        cause = change.cause if approved or change.approval is None else self._record.state.ref.event
        data = {"counts": plan.counts, **said} | ({"fetchBytes": plan.fetch_bytes} if plan.fetch_bytes else {})
        about = {"causationid": cause, "gitcommit": change.commit, "newdigest": plan.digest}
        return [*approved, running.record.event(ev.CHANGE_PLANNED, f"plan/{running.stage.name}", data, **about)]

    def _follow_up(self, running: _Running, change: Change) -> None:
        for trigger in change.then:
            running.queue.add(trigger)

    def _withdraw(self, running: _Running, keys: Iterable[Key], why: str) -> None:
        """Take steps that were not begun out of the plans under way, for good."""
        events: list[Event] = []
        for under_way in running.plans:
            found = [key for key in keys if under_way.steps.pop(key, None) is not None]
            events += self._narrowed(running, under_way.cause, len(found), why)
        running.record.append(events)
        running.plans = [one for one in running.plans if one.steps]

    def _narrowed(self, running: _Running, plan: str, steps: int, why: str) -> Iterable[Event]:
        """That some steps of an announced plan are not begun any more."""
        if steps and plan in running.record.mine.to_begin:
            data = {"plan": plan, "steps": steps, "reason": why}
            yield running.record.event(ev.CHANGE_NARROWED, f"plan/{running.stage.name}", data, causationid=plan)

    def _ended(self, running: _Running) -> list[Event]:
        """Of the plans that were under way when the process before ended: everything is planned anew."""
        why = "the reconciler ended before they were begun"
        left = running.record.mine.to_begin
        return [event for plan, steps in left.items() for event in self._narrowed(running, plan, steps, why)]

    # ── a plan under way ──────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, running: _Running, seen: Sequence[Event] = ()) -> None:
        """Begin the next batch of the newest plan, where its turn has come. seen: recorded with it."""
        try:
            under_way, steps, narrowed = self._next(running)
        except ReconcilerError:
            running.record.append(seen)
            raise
        place = self._record.log.head().hash.hex()  # of no other log: not of one that was put back to here
        intents = [self._intent(running, under_way, step, f"{place}\x1f{n}") for n, step in enumerate(steps)]
        entries = running.record.append([*seen, *narrowed, *intents])
        if steps:
            reached("loop.intended")
            running.target.send([Order(*one) for one in zip(steps, entries[-len(steps) :], strict=True)])
            if not running.plans:
                reached("loop.applied")
        self._go_on(running)

    def _next(self, running: _Running) -> tuple[_UnderWay, list[Step], Iterable[Event]]:
        """The batch whose turn has come: (its plan, its steps, that others of it wait now). They leave the plan."""
        under_way = running.plans[0] if running.plans else _UnderWay(Change(), "", {}, {})
        steps = list(islice(under_way.steps.values(), _room(under_way, running.target.in_flight)))
        ready = steps if under_way.is_fresh or not steps else self._still(running, under_way, steps)
        for step in steps:
            del under_way.steps[step.key]
        running.plans = [one for one in running.plans if one.steps]
        return under_way, ready, self._narrowed(running, under_way.cause, len(steps) - len(ready), "it waits now")

    def _go_on(self, running: _Running) -> None:
        """Have the next batch begun when its turn has come: what is due now comes first."""
        if running.plans and running.target.in_flight < AHEAD:
            running.queue.add(Trigger(Cause.BEGIN))

    def _still(self, running: _Running, under_way: _UnderWay, steps: list[Step]) -> list[Step]:
        """Those that may still be begun: who stops a long plan does not wait for its end."""
        judged = running.source.judge(under_way.change)
        observed = running.target.observe(step.key for step in steps)
        found = [step for step in steps if not waits_now(step, judged, observed.get(step.key))]
        if len(found) < len(steps):
            running.queue.add(Trigger(Cause.AUDIT))  # which tells what they wait for
        return found

    def _look_again(self, running: _Running, expansions: Iterable[Expansion], plan: Plan) -> None:
        """A key whose wish ends at a known time (a pin expires) is due again then; all are when a freeze ends."""
        now = self._record.clock.now()
        for until in sorted({step.until for step in plan.steps if step.until}):
            running.queue.add(Trigger(Cause.AUDIT), seconds_left(until, now))
        for expansion in expansions:
            if isinstance(expansion, Desired) and expansion.until:
                running.queue.add(Trigger(Cause.KEYS, str(expansion.key)), seconds_left(expansion.until, now))

    def _intent(self, running: _Running, under_way: _UnderWay, step: Step, place: str) -> Event:
        """place: where the log stands, and the number of the step in its batch."""
        served = running.record.mine.keys.get(str(step.key))
        before, after = digest_of(served.order) if served is not None else "", digest_of(step.spec)
        accepted = self._record.state.ref.accepted if before != after else ""  # what waited; else it only restores
        data: dict[str, Any] = {
            "action": step.action,
            "spec": step.spec,
            "policy": step.policy,
            "reason": step.reason,
            "changes": [[one.field, one.old, one.new] for one in step.changes if one.field not in step.left],
        }
        data |= {"origin": step.origin} if step.origin else {}
        data |= {"found": dict(step.found)} if step.found else {}
        data |= {name: list(paths) for name, paths in (("left", step.left), ("forced", step.forced)) if paths}
        return running.record.event(
            ev.APPLY_INTENDED,
            step.key,
            data,
            causationid=under_way.causes.get(str(step.key), under_way.cause),
            operationid=running.source.operation(step.key) or event_id("operation", self._record.log.source, place),
            gitcommit=under_way.change.commit or accepted,
            prevdigest=before,
            newdigest=after,
        )

    # ── an audit ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _looked(self, running: _Running, change: Change, reply: Reply | None) -> Plan | None:
        """Begin to look at everything; what was found by an audit that it takes the place of counts on."""
        running.record.append(change.events)
        reached("loop.seen")
        before = running.audit
        audit = running.audit = _Audit(change, iter(running.source.everything()))
        if before is not None:
            audit.found, audit.replies = before.found, before.replies
        if reply is None:
            self._look(running)
            return NOTHING
        audit.replies.append(reply)
        try:
            self._look(running)
        except ReconcilerError:
            running.audit = None  # it is told to who asked, and not tried again
            raise
        return None

    def _look(self, running: _Running) -> None:
        """Look at one slice. What differs is planned when all was looked at: limits and order are those of one plan."""
        audit = running.audit
        if audit is None:
            return
        some = list(islice(audit.rest, SLICE))
        keys = list(dict.fromkeys(key for key in some if key not in audit.seen))
        try:
            if keys:
                audit.found |= self._differing(running, audit.change, keys)
                audit.seen.update(keys)
            if len(some) == SLICE:
                running.queue.add(Trigger(Cause.SLICE))
                return
            found = running.source.looked(audit.change, frozenset(audit.found))
            plan = self._reconcile(running, found)
            if not plan.steps:
                reached("loop.applied")
        except ReconcilerError as failure:
            audit.rest = chain(some, audit.rest)
            running.audit = audit if failure.retryable else None
            for reply in audit.replies:
                self._answer(running, reply, failure)
            audit.replies.clear()
            raise
        running.audit, running.has_looked = None, True
        for reply in audit.replies:
            self._answer(running, reply, plan, is_of_all=True)

    def _differing(self, running: _Running, change: Change, keys: list[Key]) -> set[Key]:
        """Those that are not as they should be, or of which something is to be told, and are in no plan under way."""
        mine = frozenset(keys)
        change = replace(change, keys=mine - change.kept, kept=mine & change.kept)
        plan, _, observed, noticed = self._considered(running, change)
        running.record.append(running.source.seen(keys, observed))
        found = set(keys) if noticed else {step.key for step in plan.steps}
        return {key for key in found if not any(key in one.steps for one in running.plans)}


def _room(under_way: _UnderWay, in_flight: int) -> int:
    """How many steps of a plan may be begun: a batch; of one that was just judged all that still fit beside it."""
    if in_flight < AHEAD:
        return BATCH
    fits = under_way.is_fresh and len(under_way.steps) <= BATCH + AHEAD - in_flight
    return len(under_way.steps) if fits else 0
