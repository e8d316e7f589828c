"""Making events and keeping the fold beside the log."""

import pytest

from reconciler.engine.recorder import Recorder
from reconciler.errors import WrongExpectedVersion
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER, Key, stream_of
from reconciler.history.state import State
from tests.log_events import StillClock

KEY = Key("InferenceModel", "default", "m", "e1")
CLOCK = StillClock()


def recorder(log: MemoryLog) -> Recorder:
    return Recorder(log, CLOCK, State(), "hub")


def test_an_event_is_about_a_key_or_a_stream() -> None:
    record = recorder(MemoryLog("/hub", CLOCK))
    about_key = record.event(
        ev.HOLD_LIFTED, KEY, {"a": 1}, stage=DELIVER, actor="ada", causationid="c", operationid="o"
    )
    assert (about_key.partitionkey, about_key.subject, about_key.actor) == (stream_of(DELIVER, KEY), str(KEY), "ada")
    assert (about_key.causationid, about_key.operationid, about_key.data) == ("c", "o", {"a": 1})
    about_stream = record.event(ev.CHANGE_PLANNED, "plan/deliver", {})
    assert (about_stream.partitionkey, about_stream.subject, about_stream.actor) == ("plan/deliver", "", "hub")


def test_a_recorder_of_a_stage_says_everything_of_it_and_knows_its_part_alone() -> None:
    record = recorder(MemoryLog("/hub", CLOCK))
    run, deliver = record.stage("run"), record.stage(DELIVER)
    run.append([run.event(ev.APPLY_INTENDED, KEY, {"action": "create", "spec": {"v": "1"}, "reason": ""})])
    run.append([run.event(ev.CHANGE_PLANNED, "plan/run", {"counts": {}})], plans=0)
    with pytest.raises(WrongExpectedVersion):
        run.append([run.event(ev.CHANGE_PLANNED, "plan/run", {"counts": {}})], plans=0)
    assert (run.mine.known(KEY).order, run.mine.plans, deliver.mine.keys, deliver.mine.plans) == ({"v": "1"}, 1, {}, 0)
    assert run.mine is record.state.stage("run")
    with pytest.raises(ValueError, match="of which stage"):
        record.event(ev.APPLY_INTENDED, KEY, {})


def test_what_is_appended_is_folded_before_append_returns() -> None:
    record = recorder(MemoryLog("/hub", CLOCK))
    (entry,) = record.append([record.event(ev.EDGE_FOUND, "edge/e1", {"edge": "e1"})])
    assert (record.state.edges["e1"].present, record.state.seq) == (True, entry.seq)
    assert record.append([]) == []
    assert record.log.head().seq == entry.seq


def test_ids_are_new_in_every_process_even_where_the_clock_stands_still() -> None:
    log = MemoryLog("/hub", CLOCK)
    for _ in range(3):
        record = recorder(log)
        record.append([record.event(ev.EDGE_FOUND, "edge/e1", {"edge": "e1"}) for _ in range(2)])
        log._listeners.clear()
    ids = [entry.event.id for entry in log.read()]
    assert len(set(ids)) == len(ids) == 7


def test_an_older_state_catches_up_and_a_plan_from_one_is_refused() -> None:
    log = MemoryLog("/hub", CLOCK)
    first = recorder(log)
    first.append([first.event(ev.CHANGE_PLANNED, "plan/deliver", {"counts": {}})], plans=0, stage=DELIVER)
    second = recorder(log)
    assert second.state.stage(DELIVER).plans == first.state.stage(DELIVER).plans == 1
    with pytest.raises(WrongExpectedVersion):
        second.append([second.event(ev.CHANGE_PLANNED, "plan/deliver", {"counts": {}})], plans=0, stage=DELIVER)
    assert recorder(log).state == first.state
