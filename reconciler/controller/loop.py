"""WHEN things run: the one loop, run by the hub and by every edge. May import: ports, planning, history.

    commit ─► Desired ─► diff(Observed) ─► Plan ─► intent event ─► apply ─► outcome event ─► projections ─► status

A stage gives the three parts that differ: where desired state comes from, how it expands, what it is applied to.
The loop is level-triggered: a trigger says which keys may have changed, and they are recomputed from current state. It
is the only writer of its log: what workers did comes back as triggers. Nobody here writes status, a fold of the log.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.recorder import StageRecorder
from reconciler.controller.steps import reached
from reconciler.errors import HistoryError, ReconcilerError
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event, event_id
from reconciler.history.keys import Key
from reconciler.history.times import seconds_left
from reconciler.planning.diff import Observed, diff
from reconciler.planning.plan import Judgement, Plan, Step, make_plan, suspended_now
from reconciler.planning.wanted import Expansion, Wanted, as_ordered, digest_of

RETRY_BASE_S, RETRY_CAP_S = 1.0, 300.0
NEEDED: Final = frozenset({"start", "lease", "found"})  # causes that nothing else would bring again


@dataclass(frozen=True)
class Batch:
    """What one trigger turned out to mean.

    keys: what may have changed.  events: what was seen, recorded before anything is planned.  cause: id of the event
    that explains the plan.  commit: the commit that this is about, "" when it is not about one.  fleet: the policy that
    comes into force when the plan of this commit is accepted.  approved: a plan digest that a person released.
    unreadable: places that cannot be read, so that nothing is pruned.  then: cause of a trigger to follow.
    about: the keys that the commit itself concerns.  kept: of which only what was ordered last is restored.
    """

    keys: frozenset[Key] = frozenset()
    events: tuple[Event, ...] = ()
    cause: str = ""
    commit: str = ""
    fleet: dict[str, Any] = field(default_factory=dict)
    approved: str = ""
    unreadable: tuple[str, ...] = ()
    then: str = ""
    about: frozenset[Key] = frozenset()
    kept: frozenset[Key] = frozenset()


class Considered(NamedTuple):
    """A plan, with the expansions that it was made from."""

    plan: Plan
    expansions: list[Expansion]


class Order(NamedTuple):
    """A step whose intent is durable."""

    step: Step
    intent: Entry


class Source(Protocol):
    """Where desired state comes from."""

    def take(self, trigger: Trigger) -> Batch:
        """What the trigger means. May read the world; raises a retryable ReconcilerError when it does not answer."""
        ...

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """What is to be recorded when the trigger could not be answered; nothing when that is known. No I/O."""
        ...

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What each key should be. No I/O."""
        ...

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
        """What expansion and plan have shown beside what is to be done (problems, what waits), as events. No I/O."""
        ...

    def judge(self, batch: Batch) -> Judgement:
        """By what the plan of this batch is judged. No I/O."""
        ...

    def operation(self, key: Key) -> str:
        """The operation that a step on this key carries out; "" when the step begins one of its own. No I/O."""
        ...


class Target(Protocol):
    """What desired state is applied to."""

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What is there, overlaid by what is under way; a key that is not there is absent. Raises rather than guess."""
        ...

    def apply(self, batches: Iterable[Sequence[Order]]) -> Iterable[Sequence[Event]]:
        """Perform what is intended. Yields outcomes as they come; a target that answers later yields nothing now and
        brings its outcomes back as triggers. Asking for the next batch makes its intents durable, so a target that
        asks while it still works never waits for the log. It takes every batch, or raises.
        """
        ...


def retry_delay_s(attempt: int, sample: float) -> float:
    """Seconds before retry `attempt` (0 is the first), in [0, 300).

    sample: uniform in [0, 1).  Source: "full jitter", Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
    """
    return min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(attempt, 30)) * sample


class Loop:
    """One stage, moved one pass towards what is declared for every trigger."""

    def __init__(
        self,
        source: Source,
        target: Target,
        recorder: StageRecorder,
        queue: Queue,
        every: Mapping[str, Callable[[], float]] | None = None,
    ) -> None:
        """every: causes that come again by themselves, with the seconds to their next time."""
        self._source, self._target, self._record, self.queue = source, target, recorder, queue
        self._every = every or {}
        self._attempts: dict[tuple[str, str], int] = {}

    def run(self) -> None:
        """Take triggers until the queue is closed, beginning with `start`."""
        self.queue.add(Trigger("start"))
        for cause in self._every:
            self.queue.add(Trigger(cause), self._every[cause]())
        self.until(lambda: False)

    def until(self, done: Callable[[], bool]) -> None:
        """Take triggers until `done`, or until the queue is closed."""
        while not done() and (trigger := self.queue.take()) is not None:
            self.turn(trigger)

    def turn(self, trigger: Trigger) -> None:
        """One trigger, answered. A retryable failure comes back by itself; one of the log ends the process."""
        name = (trigger.cause, trigger.subject)
        try:
            plan = self.reconcile(self._source.take(trigger))
        except ReconcilerError as failure:
            if trigger.reply is not None:
                trigger.reply.set_exception(failure)
            if isinstance(failure, HistoryError) and not failure.retryable:
                raise
            if trigger.reply is not None:
                return
            self._record.append(self._source.failed(trigger, failure))
            if failure.retryable or trigger.cause in NEEDED:
                attempt = self._attempts[name] = self._attempts.get(name, -1) + 1
                self.queue.add(trigger, retry_delay_s(attempt, random.random()))  # noqa: S311  # jitter, not a secret
                return
        else:
            self._attempts.pop(name, None)
            if trigger.reply is not None:
                trigger.reply.set_result({"digest": plan.digest, "counts": plan.counts, "held": plan.held})
        if trigger.cause in self._every:
            self.queue.add(Trigger(trigger.cause), self._every[trigger.cause]())

    def consider(self, batch: Batch) -> Considered:
        """What would be done for these keys, and why. Nothing is recorded or changed."""
        expansions, judged = self._source.expand(batch.keys), self._source.judge(batch)
        observed = self._target.observe(batch.keys | batch.kept)
        plan = make_plan(diff(expansions, observed), judged)
        kept = (batch.kept - batch.keys) | {step.key for step in plan.waiting if step.action != "delete"}
        if kept and not plan.held:  # what cannot become as it is wanted stays as it was ordered
            ordered = [as_ordered(key, self._record.mine.known(key)) for key in kept]
            plan = plan.beside(make_plan(diff(ordered, observed), judged))
        return Considered(plan, expansions)

    def reconcile(self, batch: Batch) -> Plan:
        """Move the keys of `batch` one pass. Safe to run twice, late, or after a crash."""
        self._record.append(batch.events)
        reached("loop.seen")
        plan, expansions = self.consider(batch)
        self._record.append(self._source.notice(expansions, plan))
        cause = self._announce(batch, plan) or batch.cause
        for outcomes in self._target.apply(self._orders(plan, batch, cause)):
            self._record.append(outcomes)
        reached("loop.applied")
        self._look_again(expansions, plan)
        if batch.then:
            self.queue.add(Trigger(batch.then))
        return plan

    def _orders(self, plan: Plan, batch: Batch, cause: str) -> Iterator[list[Order]]:
        """The plan's steps in batches, each batch's intents durable when it is handed out."""
        for number, planned in enumerate(plan.batches()):
            steps = planned if not number else self._still(planned, batch)
            begun = self._record.log.head().hash.hex()  # of no other log: not of one that was put back to here
            intents = self._record.append(
                [self._intent(step, batch, cause, f"{begun}\x1f{n}") for n, step in enumerate(steps)]
            )
            reached("loop.intended")
            yield [Order(step, intent) for step, intent in zip(steps, intents, strict=True)]

    def _still(self, steps: Sequence[Step], batch: Batch) -> list[Step]:
        """Those that may still be begun: who stops a long plan does not wait for its end."""
        for trigger in self.queue.taken("verb", "suspend"):
            self.turn(trigger)
        judged = self._source.judge(batch)
        found = [step for step in steps if not suspended_now(step, judged)]
        if len(found) < len(steps):
            self.queue.add(Trigger("audit"))  # which tells what they wait for
        return found

    def _look_again(self, expansions: Iterable[Expansion], plan: Plan) -> None:
        """A key whose wish ends at a known time (a pin expires) is due again then; all are when a freeze ends."""
        now = self._record.clock.now()
        for until in {step.until for step in plan.steps if step.until}:
            self.queue.add(Trigger("audit"), seconds_left(until, now))
        for expansion in expansions:
            if isinstance(expansion, Wanted) and expansion.until:
                self.queue.add(Trigger("keys", str(expansion.key)), seconds_left(expansion.until, now))

    def _announce(self, batch: Batch, plan: Plan) -> str:
        """Record the plan where it says more than its intents do: for a commit, when held, when approved."""
        state = self._record.state
        mine = self._record.mine
        held = mine.held_plan
        if not (batch.commit or batch.approved or plan.held):
            return ""
        if (
            plan.held
            and held is not None
            and held.digest == plan.digest
            and held.commit == (batch.commit or held.commit)
        ):
            return ""
        data: dict[str, Any] = {"counts": plan.counts}
        if plan.fetch_bytes:
            data["fetchBytes"] = plan.fetch_bytes
        if plan.held:
            data |= {"held": plan.held, "keys": sorted(str(step.key) for step in plan.steps)}
        else:
            data |= {"fleet": batch.fleet} if batch.commit and batch.fleet != state.fleet else {}
            data |= {"releases": batch.approved} if batch.approved else {}
        stream, digest = f"plan/{self._record.name}", plan.digest
        planned = self._record.event(
            ev.CHANGE_PLANNED, stream, data, causationid=batch.cause, gitcommit=batch.commit, newdigest=digest
        )
        other_rules = "fleet" in data and bool(state.ref.accepted)  # they may be about anything that is there
        self._record.append([planned], plans=mine.plans)
        if other_rules:
            self.queue.add(Trigger("rules"))
        return planned.id

    def _intent(self, step: Step, batch: Batch, cause: str, place: str) -> Event:
        """place: where the log stands, and the number of the step in its batch."""
        served = self._record.mine.keys.get(str(step.key))
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
        return self._record.event(
            ev.APPLY_INTENDED,
            step.key,
            data,
            causationid=cause,
            operationid=self._source.operation(step.key) or event_id("operation", self._record.log.source, place),
            gitcommit=batch.commit or accepted,
            prevdigest=before,
            newdigest=after,
        )
