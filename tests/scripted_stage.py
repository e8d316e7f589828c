"""A stage that a test writes down: what is wanted and what is there are dictionaries, and the loop is the real one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Change, Order, Source, Stage, Target
from reconciler.errors import ReconcilerError
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.planning.desired import Desired, Expansion, Gone
from reconciler.planning.diff import Observed
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import BATCH, Plan
from tests.log_events import StillClock
from tests.stations import drain, types

SPEC = "v"


class Script(Source, Target):
    """Source and target. An order is answered at once, or where `is_slow` when the test has it answered."""

    def __init__(self, name: str, recorder: Recorder, queue: Queue) -> None:
        self.record, self.queue = recorder.stage(name), queue.stage(name)
        self.wanted: dict[Key, str] = {}
        self.there: dict[Key, str] = {}
        self.until = ""
        self.judged = Judgement()
        self.change = Change()  # what a trigger means that says nothing itself
        self.failure: ReconcilerError | None = None
        self.away: ReconcilerError | None = None  # of the target
        self.is_slow = False
        self.sent: list[list[Key]] = []  # by batch
        self.heads: list[int] = []  # of the log, each time something was sent
        self.planned: list[Plan] = []
        self.open: list[Order] = []  # in the order in which they were sent
        self.newest: dict[Key, Order] = {}
        self._outcomes: list[Event] = []

    def take(self, trigger: Trigger) -> Change:
        if self.failure is not None:
            raise self.failure
        match trigger.cause:
            case Cause.DONE | Cause.HAPPENED:
                return Change(events=trigger.events)
            case Cause.KEYS:
                return Change(frozenset({Key.parse(trigger.subject)}))
            case Cause.AUDIT:
                return Change(look=True)
        return self.change

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        return [self.record.event(ev.REF_LOST, "git", {"error": failure.message, "code": failure.code})]

    def everything(self) -> Iterable[Key]:
        return sorted({*self.wanted, *self.there, *self.newest})

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        return [Desired(k, {SPEC: self.wanted[k]}, until=self.until) if k in self.wanted else Gone(k) for k in keys]

    def judge(self, change: Change) -> Judgement:
        return self.judged

    def announce(self, change: Change, plan: Plan) -> Mapping[str, Any] | None:
        """Called once for each plan that is carried out: held, of a commit, or of many steps it is told."""
        self.planned.append(plan)
        if not (change.commit or plan.held or len(plan.ready) > BATCH):
            return None
        held = self.record.mine.held_plan
        if plan.held and held is not None and held.digest == plan.digest:
            return None
        return {"held": plan.held, "keys": [str(step.key) for step in plan.steps]} if plan.held else {}

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        if self.away is not None:
            raise self.away
        found = {}
        for key in keys:
            if key in self.newest:
                step = self.newest[key].step
                found[key] = Observed(step.spec, under_way=True, deleting=step.action == "delete")
            elif key in self.there:
                found[key] = Observed({SPEC: self.there[key]})
        return found

    @property
    def in_flight(self) -> int:
        return len(self.open)

    def send(self, orders: Sequence[Order]) -> None:
        self.sent.append([order.step.key for order in orders])
        self.heads.append(self.record.log.head().seq)
        self.open += orders
        self.newest |= {order.step.key: order for order in orders}
        if not self.is_slow:
            self.answer(len(orders))

    def answer(self, count: int) -> None:
        """So many orders are answered, the oldest first; where there is a newer one of its object nothing is said."""
        ended, self.open = self.open[:count], self.open[count:]
        for order in ended:
            (step, intent), key = order, order.step.key
            if self.newest.get(key) is order:
                del self.newest[key]
                self.there[key] = step.spec.get(SPEC, "")
                if step.action == "delete":
                    del self.there[key]
                told = {"operationid": intent.event.operationid}
                self._outcomes.append(self.record.event(ev.APPLY_SUCCEEDED, key, {"live": {}}, **told))
            self.queue.add(Trigger(Cause.DONE))

    def answered(self) -> Sequence[Event]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes


class ScriptStation:
    """Scripted stages in one loop over a log in memory."""

    def __init__(
        self, *names: str, every: Mapping[Cause, Callable[[], float]] | None = None, script: type[Script] = Script
    ) -> None:
        self.clock = StillClock()
        self.log = MemoryLog("/hub", self.clock, log_id="1")
        self.record, self.queue = Recorder(self.log, self.clock, State(), "hub"), Queue(self.clock)
        self.scripts = [script(name, self.record, self.queue) for name in names or (DELIVER,)]
        self.script = self.scripts[0]
        self.name = self.script.record.name
        stages = [Stage(one.record.name, one, one, every or {}) for one in self.scripts]
        self.loop = Loop(stages, self.record, self.queue)

    def reconcile(self, change: Change) -> Plan:
        """One pass, and all that follows from it now."""
        plan = self.loop.reconcile(self.name, change)
        drain(self.loop)
        return plan

    def verb(self, change: Change) -> "Future[dict[str, Any]]":
        """Have somebody ask for a change; not taken yet."""
        self.script.change = change
        reply: Future[dict[str, Any]] = Future()
        self.script.queue.add(Trigger(Cause.VERB, reply=reply))
        return reply

    def turn(self) -> Trigger:
        """The trigger that was due next, answered."""
        assert not self.queue.is_quiet
        trigger = self.queue.take()
        assert trigger is not None
        self.loop.turn(trigger)
        return trigger

    def rest(self) -> None:
        """Take what is due, and have orders answered, until nothing is left to be done."""
        while not self.queue.is_quiet or any(script.open for script in self.scripts):
            drain(self.loop)
            for script in self.scripts:
                script.answer(len(script.open))

    def seen(self) -> list[str]:
        """The stored names of what was appended, all but the genesis."""
        return types(self.log.read(1))

    def due(self) -> list[tuple[str, float]]:
        """Cause and delay of every trigger that waits."""
        rows = [row for row in self.queue._heap if not self.queue._is_stale(row)]
        return sorted((trigger.cause, due - self.clock.seconds) for due, _, trigger in rows)


def key(name: str) -> Key:
    """A model of an edge."""
    return Key("InferenceModel", "default", name, "e1")


def keys(count: int, letter: str = "m") -> list[Key]:
    """So many keys, in order."""
    return [key(f"{letter}{n:04}") for n in range(count)]
