"""The loop itself, over a source and a target that a test writes down."""

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from reconciler.engine import loop
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.stage import AHEAD, Change, Stage
from reconciler.errors import (
    AddressRefused,
    ApiUnavailable,
    GitUnavailable,
    LogWriteFailed,
    NameUnknown,
    WrongExpectedVersion,
)
from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.history.keys import DELIVER
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import BATCH
from tests.scripted_stage import ScriptStation, key, keys
from tests.stations import drain

SUSPENDED = Judgement(suspended={"*": {"actor": "ada", "reason": "a visit"}})


@pytest.fixture
def station() -> ScriptStation:
    return ScriptStation()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three, the next one while fewer than two are being sent; looks at four keys at a time."""
    for name, number in (("BATCH", 3), ("AHEAD", 2), ("SLICE", 4)):
        monkeypatch.setattr(loop, name, number)


def want(station: ScriptStation, *names: str, version: str = "1") -> Change:
    """The change of a commit that wants these."""
    found = {key(name): version for name in names}
    station.script.wanted |= found
    return Change(frozenset(found), commit="c1")


def test_what_was_seen_is_recorded_first_then_the_plan_then_the_intents_then_the_outcomes(
    station: ScriptStation,
) -> None:
    seen = station.record.event(ev.EDGE_FOUND, "edge/e1", {"edge": "e1"})
    station.reconcile(replace(want(station, "a"), events=(seen,), cause="cause"))
    assert station.seen() == [ev.EDGE_FOUND, ev.CHANGE_PLANNED, ev.APPLY_INTENDED, ev.APPLY_SUCCEEDED]
    assert station.script.heads == [4]  # the intent was durable when its step was performed


def test_a_second_pass_does_and_appends_nothing(station: ScriptStation) -> None:
    station.script.wanted = {key("a"): "1", key("b"): "1"}
    station.script.there = {key("c"): "1"}
    change = Change(frozenset({key("a"), key("b"), key("c")}))
    assert station.reconcile(change).counts == {"create": 2, "delete": 1}
    head = station.log.head()
    assert station.reconcile(change).steps == ()
    assert station.log.head() == head


def test_a_plan_is_recorded_only_where_its_source_announces_it(station: ScriptStation) -> None:
    station.script.wanted = {key("a"): "1"}
    station.reconcile(Change(frozenset({key("a")})))
    assert ev.CHANGE_PLANNED not in station.seen()
    station.reconcile(Change(commit="c1"))
    assert station.seen().count(ev.CHANGE_PLANNED) == 1


def test_a_held_plan_does_nothing_and_is_announced_once(station: ScriptStation) -> None:
    station.script.there = {key("a"): "1"}
    station.script.judged = Judgement(limits={"maxDeletes": 0}, inventory=lambda: 1)
    for _ in range(3):
        plan = station.reconcile(Change(frozenset({key("a")}), commit="c1"))
    assert (plan.ready, station.seen(), station.script.sent) == ((), [ev.CHANGE_PLANNED], [])
    held = station.script.record.mine.held_plan
    assert held is not None
    assert (held.keys, held.commit, held.digest) == ([str(key("a"))], "c1", plan.digest)


def test_considering_changes_and_records_nothing(station: ScriptStation) -> None:
    station.script.wanted = {key("a"): "1"}
    considered = station.loop.consider(DELIVER, Change(frozenset({key("a")})))
    assert (considered.plan.counts, station.seen(), station.script.there) == ({"create": 1}, [], {})


def test_a_wish_that_ends_is_looked_at_again_then(station: ScriptStation) -> None:
    station.script.wanted, station.script.until = {key("a"): "1"}, ev.rfc3339(station.clock.seconds + 90)
    station.reconcile(Change(frozenset({key("a")})))
    assert station.due() == [("keys", 90.0)]
    station.script.until = ev.rfc3339(station.clock.seconds - 5)
    station.loop.reconcile(DELIVER, Change(frozenset({key("a")})))
    assert station.due() == [("keys", 0.0)]


# ── a plan under way ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_steps_are_begun_in_batches_each_durable_before_it_is_sent(station: ScriptStation) -> None:
    station.script.wanted = dict.fromkeys(keys(BATCH + 3), "1")
    station.reconcile(Change(frozenset(station.script.wanted)))
    assert [len(batch) for batch in station.script.sent] == [BATCH, 3]
    intended = [entry for entry in station.log.read() if entry.event.type == ev.APPLY_INTENDED]
    assert [intended[BATCH - 1].seq, intended[-1].seq] == station.script.heads
    assert len({entry.event.operationid for entry in intended}) == BATCH + 3


def test_never_more_intents_are_open_than_a_batch_and_what_is_sent_ahead(station: ScriptStation) -> None:
    station.script.is_slow = True
    wanted = keys(4 * BATCH)
    station.script.wanted = dict.fromkeys(wanted, "1")
    station.reconcile(Change(frozenset(wanted)))
    most, answered = 0, 0
    while station.script.open:
        most = max(most, len(station.script.open))
        answered += 1
        if answered == 5:  # a newer plan, of some that were begun and some that were not
            newer = wanted[BATCH - 100 : BATCH + 500]
            station.script.wanted |= dict.fromkeys(newer, "2")
            station.reconcile(Change(frozenset(newer)))
        station.script.answer(100)
        drain(station.loop)
    assert BATCH < most <= BATCH + AHEAD
    assert station.script.there == station.script.wanted
    assert station.loop.is_at_rest


@pytest.mark.usefixtures("small")
def test_who_suspends_stops_a_running_plan_at_its_next_batch(station: ScriptStation) -> None:
    station.loop.reconcile(DELIVER, want(station, *"abcdefg"))
    assert station.due()[0] == ("begin", 0.0)
    station.script.judged = SUSPENDED
    drain(station.loop)
    assert station.script.sent == [[key("a"), key("b"), key("c")]]
    assert ev.CHANGE_NARROWED in station.seen()
    assert station.script.record.mine.to_begin == {}
    assert station.loop.is_at_rest
    station.script.judged = Judgement()
    station.script.queue.add(Trigger(Cause.AUDIT))
    drain(station.loop)
    assert station.script.there == station.script.wanted


@pytest.mark.usefixtures("small")
def test_who_suspends_stops_also_a_plan_of_which_nothing_could_be_begun_yet(station: ScriptStation) -> None:
    station.script.is_slow = True
    station.reconcile(want(station, *"abc"))
    station.reconcile(want(station, *"nopqrst"))  # waits: enough is being sent
    assert len(station.script.sent) == 1
    station.script.judged = SUSPENDED
    station.rest()
    assert station.script.sent == [[key("a"), key("b"), key("c")]]


@pytest.mark.usefixtures("small")
def test_what_is_due_comes_before_the_next_batch(station: ScriptStation) -> None:
    seen = station.record.event(ev.EDGE_FOUND, "edge/e1", {"edge": "e1"})
    station.script.change = want(station, *"abcdefghi")
    station.script.queue.add(Trigger(Cause.COMMIT))
    station.script.queue.add(Trigger(Cause.HAPPENED, events=(seen,)))
    station.script.queue.add(Trigger(Cause.KEYS, str(key("x"))))
    station.script.queue.add(Trigger(Cause.VERB, "suspend"))
    for cause in (Cause.COMMIT, Cause.HAPPENED, Cause.KEYS):
        assert station.turn().cause is cause
    assert len(station.script.sent) == 1
    station.script.change = Change()
    drain(station.loop)
    assert station.script.there == station.script.wanted


@pytest.mark.usefixtures("small")
def test_a_key_of_a_newer_plan_is_taken_out_of_the_older_one(station: ScriptStation) -> None:
    station.loop.reconcile(DELIVER, want(station, *"abcdefg"))
    station.loop.reconcile(DELIVER, want(station, *"ef", version="2"))
    narrowed = [entry.event.data for entry in station.log.read() if entry.event.type == ev.CHANGE_NARROWED]
    assert [(one["steps"], one["reason"]) for one in narrowed] == [(2, "a newer plan has it")]
    station.rest()
    assert [one.name for batch in station.script.sent for one in batch] == list("abcefdg")
    assert station.script.there == station.script.wanted


@pytest.mark.usefixtures("small")
def test_a_key_that_a_newer_plan_wants_no_more_is_not_begun_by_the_older_one(station: ScriptStation) -> None:
    station.loop.reconcile(DELIVER, want(station, *"abcde"))
    del station.script.wanted[key("e")]
    station.loop.reconcile(DELIVER, Change(frozenset({key("e")})))
    station.rest()
    assert key("e") not in {one for batch in station.script.sent for one in batch}


@pytest.mark.usefixtures("small")
def test_deletes_that_are_still_to_be_begun_count_against_the_limit(station: ScriptStation) -> None:
    station.script.there = {key(name): "1" for name in "abcdefghijk"}
    station.script.judged = Judgement(limits={"maxDeletes": 5, "maxShare": "100%"}, inventory=lambda: 11)
    first = Change(frozenset(map(key, "abcde")))
    assert not station.loop.reconcile(DELIVER, first).held  # three are begun, two still to be
    assert station.loop.reconcile(DELIVER, Change(frozenset(map(key, "fghi")))).held
    assert not station.loop.reconcile(DELIVER, Change(frozenset(map(key, "fgh")))).held
    assert not station.loop.reconcile(DELIVER, first).held  # the same ones, planned anew, count once


@pytest.mark.usefixtures("small")
def test_what_a_process_did_not_begin_its_successor_says_is_not_begun(station: ScriptStation) -> None:
    station.script.is_slow = True
    station.reconcile(want(station, *"abcdefg"))
    (plan,) = station.script.record.mine.to_begin
    again = Loop([Stage(DELIVER, station.script, station.script)], station.record, Queue(station.clock))
    again.turn(Trigger(Cause.START, stage=DELIVER))
    (narrowed,) = (entry.event for entry in station.log.read() if entry.event.type == ev.CHANGE_NARROWED)
    assert (narrowed.data["plan"], narrowed.data["steps"], narrowed.causationid) == (plan, 4, plan)
    assert station.script.record.mine.to_begin == {}


@pytest.mark.parametrize("names", ["abc", "abcdefg"])
@pytest.mark.usefixtures("small")
def test_outcomes_that_have_come_together_share_one_append_also_with_the_next_intents(
    station: ScriptStation, names: str
) -> None:
    station.script.is_slow = True
    station.reconcile(want(station, *names))
    appended: list[list[str]] = []
    station.log.subscribe(lambda entries: appended.append([entry.event.type for entry in entries]))
    station.script.answer(3)
    drain(station.loop)
    intents = [ev.APPLY_INTENDED] * min(3, len(names) - 3)
    assert appended == [[ev.APPLY_SUCCEEDED] * 3 + intents]


@pytest.mark.usefixtures("small")
def test_a_plan_whose_target_does_not_answer_goes_on_when_it_does(station: ScriptStation) -> None:
    station.loop.reconcile(DELIVER, want(station, *"abcde"))
    station.script.away = ApiUnavailable("no answer")
    drain(station.loop)
    assert len(station.script.there) == 3
    station.script.away = None
    station.clock.seconds += 10
    drain(station.loop)
    assert station.script.there == station.script.wanted


# ── an audit ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("small")
def test_an_audit_looks_in_slices_takes_what_is_due_in_between_and_plans_only_what_differs(
    station: ScriptStation,
) -> None:
    station.script.wanted = {key(name): "1" for name in "abcdefghij"}
    station.script.there = {**station.script.wanted, key("b"): "0", key("i"): "0"}
    station.script.queue.add(Trigger(Cause.AUDIT))
    station.turn()
    station.script.wanted[key("z")] = "1"
    station.script.queue.add(Trigger(Cause.KEYS, str(key("z"))))
    drain(station.loop)
    assert station.script.sent == [[key("z")], [key("b"), key("i")]]
    assert [len(plan.steps) for plan in station.script.planned if plan.steps] == [1, 2]
    assert station.loop.is_at_rest


@pytest.mark.usefixtures("small")
def test_an_audit_leaves_a_plan_under_way_what_is_its_own(station: ScriptStation) -> None:
    station.script.is_slow = True
    station.reconcile(want(station, *"abcdefg"))
    station.script.wanted[key("z")] = "1"
    station.script.queue.add(Trigger(Cause.AUDIT))
    drain(station.loop)
    assert [[step.key.name for step in plan.steps] for plan in station.script.planned] == [list("abcdefg"), ["z"]]
    station.rest()
    assert station.script.there == station.script.wanted
    assert ev.CHANGE_NARROWED not in station.seen()


@pytest.mark.usefixtures("small")
def test_the_limits_of_an_audit_are_those_of_one_plan(station: ScriptStation) -> None:
    station.script.there = {key(name): "1" for name in "abcdefghij"}
    station.script.judged = Judgement(limits={"maxDeletes": 5, "maxShare": "100%"}, inventory=lambda: 10)
    station.script.queue.add(Trigger(Cause.AUDIT))
    drain(station.loop)
    assert station.script.sent == []
    assert station.script.planned[-1].held


@pytest.mark.usefixtures("small")
def test_an_audit_whose_target_does_not_answer_goes_on_where_it_was(station: ScriptStation) -> None:
    station.script.wanted = {key(name): "1" for name in "abcdefghij"}
    station.script.queue.add(Trigger(Cause.AUDIT))
    station.turn()
    station.script.away = ApiUnavailable("no answer")
    drain(station.loop)
    assert not station.loop.is_at_rest
    station.script.away = None
    station.clock.seconds += 10
    drain(station.loop)
    assert station.script.there == station.script.wanted
    assert station.loop.is_at_rest


@pytest.mark.usefixtures("small")
def test_who_asked_for_a_look_at_everything_is_answered_at_its_end_by_whichever_audit(station: ScriptStation) -> None:
    station.script.wanted = {key(name): "1" for name in "abcdefghij"}
    asked = station.verb(Change(look=True))
    station.turn()
    assert not asked.done()
    station.script.queue.add(Trigger(Cause.AUDIT))  # takes its place
    drain(station.loop)
    assert asked.result(0)["counts"] == {"create": 10}


@pytest.mark.usefixtures("small")
def test_an_asked_look_that_fails_is_told_and_leaves_nothing_behind(station: ScriptStation) -> None:
    station.script.wanted = {key(name): "1" for name in "abcdefghij"}
    station.script.away = ApiUnavailable("no answer")
    asked = station.verb(Change(look=True))
    drain(station.loop)
    assert isinstance(asked.exception(0), ApiUnavailable)
    station.script.away = None
    station.clock.seconds += 1000
    drain(station.loop)
    assert station.loop.is_at_rest


# ── failures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_retryable_failure_is_recorded_and_comes_back_later_each_time(station: ScriptStation) -> None:
    station.script.failure = GitUnavailable("no answer")
    delays = []
    for _ in range(3):
        station.loop.turn(Trigger(Cause.COMMIT))
        ((cause, delay_s),) = station.due()
        delays.append(delay_s)
        station.clock.seconds += delay_s
        assert station.queue.take() == Trigger(Cause(cause))
    assert delays == [0.5, 1.0, 2.0]
    assert station.seen() == [ev.REF_LOST] * 3
    station.script.failure = None
    station.loop.turn(Trigger(Cause.COMMIT))
    station.script.failure = GitUnavailable("again")
    station.loop.turn(Trigger(Cause.COMMIT))
    assert station.due() == [("commit", 0.5)]  # it had worked meanwhile


def test_a_terminal_failure_waits_for_something_new(station: ScriptStation) -> None:
    station.script.failure = AddressRefused("no")
    station.loop.turn(Trigger(Cause.COMMIT))
    assert station.due() == []


def test_what_nothing_else_would_bring_again_comes_back_also_after_a_terminal_failure(station: ScriptStation) -> None:
    station.script.failure = AddressRefused("no")
    station.loop.turn(Trigger(Cause.START))
    assert [cause for cause, _ in station.due()] == ["start"]


def test_what_comes_by_itself_comes_again_also_after_a_failure() -> None:
    station = ScriptStation(every={Cause.AUDIT: lambda: 300.0})
    station.script.queue.add(Trigger(Cause.AUDIT))
    station.turn()
    assert station.due() == [("audit", 300.0)]
    station.clock.seconds += 300
    station.script.failure = AddressRefused("no")
    station.turn()
    assert station.due() == [("audit", 300.0)]


def test_somebody_who_asked_is_answered(station: ScriptStation) -> None:
    station.script.wanted = {key("a"): "1"}
    answer = station.verb(Change(frozenset({key("a")})))
    drain(station.loop)
    assert answer.result(0)["counts"] == {"create": 1}
    station.script.failure = NameUnknown("who?")
    refusal = station.verb(Change())
    drain(station.loop)
    assert isinstance(refusal.exception(0), NameUnknown)
    assert station.due() == []


def test_somebody_whose_question_waits_is_answered_when_it_is_taken_again(station: ScriptStation) -> None:
    answer = station.verb(Change(is_later=True))
    station.turn()
    assert not answer.done()
    station.script.change = Change()
    station.script.queue.add(Trigger(Cause.VERB, reply=answer))
    station.turn()
    assert answer.result(0)["counts"] == {}


def test_a_log_that_cannot_be_written_ends_the_process_and_whoever_asked_hears_of_it(station: ScriptStation) -> None:
    station.script.failure = LogWriteFailed("no fsync")
    answer: Future[dict[str, Any]] = Future()
    with pytest.raises(LogWriteFailed):
        station.loop.turn(Trigger(Cause.VERB, reply=answer))
    assert isinstance(answer.exception(0), LogWriteFailed)
    station.script.failure = WrongExpectedVersion("planned from an older state")
    station.loop.turn(Trigger(Cause.COMMIT))  # this one is planned again
    assert [cause for cause, _ in station.due()] == ["commit"]


def test_it_runs_until_the_queue_is_closed_beginning_with_start(monkeypatch: pytest.MonkeyPatch) -> None:
    station = ScriptStation(every={Cause.COMMIT: lambda: 0.0})
    causes: list[str] = []

    def take(trigger: Trigger) -> Change:
        causes.append(trigger.cause)
        if trigger.cause is Cause.COMMIT:
            station.queue.close()
        return Change()

    monkeypatch.setattr(station.script, "take", take)
    station.loop.run()
    assert causes == ["start", "commit"]


def test_who_follows_the_log_on_the_loops_thread_has_its_turn(station: ScriptStation) -> None:
    followed: list[str] = []
    followers = {"status": lambda: followed.append("status")}
    stages = [Stage(DELIVER, station.script, station.script)]
    Loop(stages, station.record, station.queue, followers=followers).turn(Trigger(Cause.FOLLOW, stage="status"))
    assert followed == ["status"]


def test_a_loop_rests_when_no_order_of_any_of_its_stages_is_open() -> None:
    station = ScriptStation(DELIVER, "run")
    script = station.scripts[1]
    script.is_slow, script.wanted[key("a")] = True, "1"
    station.loop.reconcile("run", Change(frozenset({key("a")})))
    drain(station.loop)
    assert not station.loop.is_at_rest
    script.answer(1)
    drain(station.loop)
    assert station.loop.is_at_rest


@pytest.mark.usefixtures("small")
def test_no_step_is_begun_in_the_append_of_what_stops_it(station: ScriptStation) -> None:
    script = station.script
    script.is_slow = True
    station.loop.reconcile(station.name, want(station, *"abcdefg"))

    def stop(entries: list[Entry]) -> None:
        if any(entry.event.type == ev.RECONCILE_SUSPENDED for entry in entries):
            script.judged = Judgement(suspended={"*": {"actor": "ada", "reason": "a visit"}})

    station.log.subscribe(stop)
    script.open.clear()  # all are answered, and nobody was told yet
    suspended = station.record.event(ev.RECONCILE_SUSPENDED, "suspensions", {"scope": "*"})
    station.loop.reconcile(station.name, Change(events=(suspended,)))
    drain(station.loop)
    assert [len(sent) for sent in script.sent] == [3]
