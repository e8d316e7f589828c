"""The loop itself, over a source and a target that a test writes down."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from reconciler.controller.loop import RETRY_CAP_S, Batch, Loop, Order, retry_delay_s
from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.recorder import Recorder, StageRecorder
from reconciler.errors import (
    AddressRefused,
    GitUnavailable,
    LogWriteFailed,
    NameUnknown,
    ReconcilerError,
    WrongExpectedVersion,
)
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.planning.diff import Observed
from reconciler.planning.plan import BATCH, Judgement, Plan
from reconciler.planning.wanted import Expansion, Gone, Wanted
from tests.log_events import StillClock
from tests.stations import types


def key(name: str) -> Key:
    return Key("InferenceModel", "default", name, "e1")


class Script:
    """Source and target: what is wanted and what is there are dictionaries."""

    def __init__(self, record: StageRecorder) -> None:
        self.record = record
        self.wanted: dict[Key, str] = {}
        self.there: dict[Key, str] = {}
        self.until = ""
        self.judged = Judgement()
        self.batch = Batch()
        self.failure: ReconcilerError | None = None
        self.applied: list[list[Key]] = []
        self.heads: list[int] = []  # of the log, each time something was applied

    def take(self, trigger: Trigger) -> Batch:
        if self.failure is not None:
            raise self.failure
        return self.batch

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        return [self.record.event(ev.REF_LOST, "git", {"error": failure.message, "code": failure.code})]

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        return [Wanted(k, {"v": self.wanted[k]}, until=self.until) if k in self.wanted else Gone(k) for k in keys]

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
        return ()

    def judge(self, batch: Batch) -> Judgement:
        return self.judged

    def operation(self, of: Key) -> str:
        return ""

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        return {k: Observed({"v": self.there[k]}) for k in keys if k in self.there}

    def apply(self, batches: Iterable[Sequence[Order]]) -> Iterable[Sequence[Event]]:
        for orders in batches:
            self.applied.append([order.step.key for order in orders])
            self.heads.append(self.record.log.head().seq)
            for step, intent in orders:
                self.there[step.key] = step.spec.get("v", "")
                if step.action == "delete":
                    del self.there[step.key]
                yield [
                    self.record.event(ev.APPLY_SUCCEEDED, step.key, {"live": {}}, operationid=intent.event.operationid)
                ]


class Stage:
    def __init__(self) -> None:
        self.clock = StillClock()
        self.log = MemoryLog("/hub", self.clock)
        self.record = Recorder(self.log, self.clock, State(), "hub").stage(DELIVER)
        self.script, self.queue = Script(self.record), Queue(self.clock)
        self.loop = Loop(self.script, self.script, self.record, self.queue)

    def seen(self) -> list[str]:
        return types(self.log.read(1))

    def due(self) -> list[tuple[str, float]]:
        """Cause and delay of every trigger that waits."""
        rows = [row for row in self.queue._heap if not self.queue._is_stale(row)]
        return sorted((trigger.cause, due - self.clock.seconds) for due, _, trigger in rows)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_what_was_seen_is_recorded_first_then_the_plan_then_the_intents_then_the_outcomes(stage: Stage) -> None:
    stage.script.wanted = {key("a"): "1"}
    seen = stage.record.event(ev.EDGE_FOUND, "edge/e1", {"edge": "e1"})
    stage.loop.reconcile(Batch(frozenset({key("a")}), (seen,), "cause", "c1", {"prune": {}}))
    assert stage.seen() == [ev.EDGE_FOUND, ev.CHANGE_PLANNED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert stage.script.heads == [4]  # the intent was durable when its step was performed


def test_a_second_pass_does_and_appends_nothing(stage: Stage) -> None:
    stage.script.wanted = {key("a"): "1", key("b"): "1"}
    stage.script.there = {key("c"): "1"}
    keys = frozenset({key("a"), key("b"), key("c")})
    assert stage.loop.reconcile(Batch(keys)).counts == {"create": 2, "delete": 1}
    head = stage.log.head()
    assert stage.loop.reconcile(Batch(keys)).steps == ()
    assert stage.log.head() == head


def test_a_plan_is_announced_only_where_it_says_more_than_its_intents(stage: Stage) -> None:
    stage.script.wanted = {key("a"): "1"}
    stage.loop.reconcile(Batch(frozenset({key("a")})))
    assert ev.CHANGE_PLANNED not in stage.seen()
    stage.loop.reconcile(Batch(commit="c1"))
    assert stage.seen().count(ev.CHANGE_PLANNED) == 1


def test_a_held_plan_does_nothing_and_is_announced_once(stage: Stage) -> None:
    stage.script.there = {key("a"): "1"}
    stage.script.judged = Judgement(limits={"maxDeletes": 0}, inventory=1)
    for _ in range(3):
        plan = stage.loop.reconcile(Batch(frozenset({key("a")}), commit="c1"))
    assert (plan.ready, stage.seen(), stage.script.applied) == ((), [ev.CHANGE_PLANNED], [])
    held = stage.record.mine.held_plan
    assert held is not None
    assert (held.keys, held.commit, held.digest) == ([str(key("a"))], "c1", plan.digest)


def test_steps_are_performed_in_batches_each_durable_before_it_begins(stage: Stage) -> None:
    stage.script.wanted = {key(f"m{n:04}"): "1" for n in range(BATCH + 3)}
    stage.loop.reconcile(Batch(frozenset(stage.script.wanted)))
    assert [len(batch) for batch in stage.script.applied] == [BATCH, 3]
    assert stage.script.heads == [1 + BATCH, 1 + BATCH + BATCH + 3]
    operations = [e.event.operationid for e in stage.log.read() if e.event.type == ev.APPLY_INTENDED]
    assert len(set(operations)) == BATCH + 3


def test_considering_changes_and_records_nothing(stage: Stage) -> None:
    stage.script.wanted = {key("a"): "1"}
    considered = stage.loop.consider(Batch(frozenset({key("a")})))
    assert (considered.plan.counts, stage.seen(), stage.script.there) == ({"create": 1}, [], {})


def test_a_wish_that_ends_is_looked_at_again_then(stage: Stage) -> None:
    stage.script.wanted, stage.script.until = {key("a"): "1"}, ev.rfc3339(stage.clock.seconds + 90)
    stage.loop.reconcile(Batch(frozenset({key("a")})))
    assert stage.due() == [("keys", 90.0)]
    stage.script.until = ev.rfc3339(stage.clock.seconds - 5)
    stage.loop.reconcile(Batch(frozenset({key("a")})))
    assert stage.due() == [("keys", 0.0)]


# ── failures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_retryable_failure_is_recorded_and_comes_back_later_each_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.5)
    stage.script.failure = GitUnavailable("no answer")
    delays = []
    for _ in range(3):
        stage.loop.turn(Trigger("commit"))
        ((cause, delay_s),) = stage.due()
        delays.append(delay_s)
        stage.clock.seconds += delay_s
        assert stage.queue.take() == Trigger(cause)
    assert delays == [0.5, 1.0, 2.0]
    assert stage.seen() == [ev.REF_LOST] * 3
    stage.script.failure = None
    stage.loop.turn(Trigger("commit"))
    stage.script.failure = GitUnavailable("again")
    stage.loop.turn(Trigger("commit"))
    assert stage.due() == [("commit", 0.5)]  # it had worked meanwhile


def test_a_terminal_failure_waits_for_something_new(stage: Stage) -> None:
    stage.script.failure = AddressRefused("no")
    stage.loop.turn(Trigger("commit"))
    assert stage.due() == []


def test_what_comes_by_itself_comes_again_also_after_a_failure(stage: Stage) -> None:
    stage.loop = Loop(stage.script, stage.script, stage.record, stage.queue, {"audit": lambda: 300.0})
    stage.loop.turn(Trigger("audit"))
    assert stage.due() == [("audit", 300.0)]
    stage.queue = stage.loop.queue = Queue(stage.clock)
    stage.script.failure = AddressRefused("no")
    stage.loop.turn(Trigger("audit"))
    assert stage.due() == [("audit", 300.0)]


def test_somebody_who_asked_is_answered(stage: Stage) -> None:
    stage.script.wanted, stage.script.batch = {key("a"): "1"}, Batch(frozenset({key("a")}))
    answer: Future[dict[str, Any]] = Future()
    stage.loop.turn(Trigger("verb", reply=answer))
    assert answer.result(0)["counts"] == {"create": 1}
    stage.script.failure = NameUnknown("who?")
    refusal: Future[dict[str, Any]] = Future()
    stage.loop.turn(Trigger("verb", reply=refusal))
    assert isinstance(refusal.exception(0), NameUnknown)
    assert stage.due() == []


def test_a_log_that_cannot_be_written_ends_the_process_and_whoever_asked_hears_of_it(stage: Stage) -> None:
    stage.script.failure = LogWriteFailed("no fsync")
    answer: Future[dict[str, Any]] = Future()
    with pytest.raises(LogWriteFailed):
        stage.loop.turn(Trigger("verb", reply=answer))
    assert isinstance(answer.exception(0), LogWriteFailed)
    stage.script.failure = WrongExpectedVersion("planned from an older state")
    stage.loop.turn(Trigger("commit"))  # this one is planned again
    assert [cause for cause, _ in stage.due()] == ["commit"]


def test_it_runs_until_the_queue_is_closed_beginning_with_start(stage: Stage) -> None:
    causes: list[str] = []

    def take(trigger: Trigger) -> Batch:
        causes.append(trigger.cause)
        if trigger.cause == "last":
            stage.queue.close()
        return Batch()

    stage.script.take = take  # type: ignore[method-assign]  # it writes down what comes
    stage.loop = Loop(stage.script, stage.script, stage.record, stage.queue, {"last": lambda: 0.0})
    stage.loop.run()
    assert causes == ["start", "last"]


def test_a_delay_grows_to_its_cap_and_never_over() -> None:
    assert [retry_delay_s(attempt, 0.5) for attempt in (0, 1, 2, 8, 9, 10**6)] == [0.5, 1.0, 2.0, 128.0, 150.0, 150.0]
    assert retry_delay_s(50, 0.999999) < RETRY_CAP_S
