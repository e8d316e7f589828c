"""Stages over one log: none changes what is known of another, whatever their keys are called."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event, event_id, rfc3339
from reconciler.history.fold import fold
from reconciler.history.keys import DECLARE, DELIVER, Key, stage_of, stream_of
from reconciler.history.state import State
from tests.log_events import StillClock

STAGES = (DECLARE, DELIVER, "run")
KEYS = [Key("InferenceModel", "default", "m", edge) for edge in ("", "e1")] + [Key("Edge", "", "e1", "")]
NAMES = st.sampled_from([str(key) for key in KEYS])
DIGESTS = st.sampled_from(["d1", "d2"])

ORDERED = st.fixed_dictionaries({"action": st.sampled_from(["create", "delete"]), "spec": st.just({"v": "1"})})
REFUSED = st.fixed_dictionaries({"error": st.just("no"), "code": st.just("RX411"), "quarantine": DIGESTS})
DRIFT = {"what": "changed", "writer": "kubectl", "policy": "report", "fields": []}
OF_A_KEY: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    ev.APPLY_INTENDED: ORDERED.map(lambda data: data | {"reason": "because"}),
    ev.APPLY_SUCCEEDED: st.just({"live": {"version": "1"}}),
    ev.APPLY_FAILED: REFUSED,
    ev.APPLY_ABANDONED: st.fixed_dictionaries({"settled": st.booleans()}),
    ev.HOLD_LIFTED: st.just({}),
    ev.DRIFT_DETECTED: st.just(DRIFT),
    ev.OBJECT_ADOPTED: st.just({"uid": "u", "spec": {"v": "2"}}),
    ev.OBJECT_GONE: st.just({}),
}
HELD = st.fixed_dictionaries({"counts": st.just({}), "held": st.just("too much"), "keys": st.lists(NAMES, max_size=2)})
WAITS = st.dictionaries(st.sampled_from(["", "frozen"]), st.lists(NAMES, max_size=2), max_size=2)


@st.composite
def events(draw: st.DrawFn) -> tuple[str, str, str, dict[str, Any], str]:
    """(type, stream, subject, data, commit) of something that a stage says."""
    stage, what = draw(st.sampled_from(STAGES)), draw(st.sampled_from([*OF_A_KEY, "plan", "held", "waits", "approved"]))
    commit = draw(st.sampled_from(["", "c1"]))
    match what:
        case "plan":
            return ev.CHANGE_PLANNED, f"plan/{stage}", "", {"counts": {}}, commit
        case "held":
            return ev.CHANGE_PLANNED, f"plan/{stage}", "", draw(HELD), commit
        case "approved":
            return ev.CHANGE_APPROVED, f"plan/{stage}", "", {"digest": "x"}, ""
        case "waits":
            return ev.STEPS_WAITING, f"waits/{stage}", "", {"waits": draw(WAITS)}, ""
    key = draw(st.sampled_from(KEYS))
    return what, stream_of(stage, key), str(key), draw(OF_A_KEY[what]), ""


SAID = st.lists(events(), max_size=30)


def logged(said: list[tuple[str, str, str, dict[str, Any], str]]) -> list[Entry]:
    """One log in which all of it was said, in this order, among what is of no stage."""
    clock = StillClock()
    log = MemoryLog("/hub", clock)
    for number, (type_, stream, subject, data, commit) in enumerate(said):
        clock.seconds += 600
        time = rfc3339(clock.seconds)
        about = {"partitionkey": stream, "subject": subject, "gitcommit": commit, "newdigest": "x"}
        event = Event(id=event_id(number), type=type_, time=time, data=data, **about)  # type: ignore[arg-type]  # text
        log.append([event])
        facts = {"scope": subject or "*", "reason": "night"}
        log.append(
            [
                Event(
                    id=event_id("s", number),
                    type=ev.RECONCILE_SUSPENDED,
                    partitionkey="suspensions",
                    time=time,
                    data=facts,
                )
            ]
        )
    return list(log.read())


@given(SAID)
def test_stages_over_one_log_are_as_each_would_be_alone(said: list[tuple[str, str, str, dict[str, Any], str]]) -> None:
    entries = logged(said)
    together = fold(State(), entries)
    for stage in STAGES:
        alone = fold(State(), [entry for entry in entries if stage_of(entry.event.partitionkey) in {stage, ""}])
        assert alone.stage(stage) == together.stage(stage)
        assert set(alone.stages) == {stage}  # what is of no stage makes none


@given(SAID)
def test_no_event_changes_what_is_known_of_another_stage(said: list[tuple[str, str, str, dict[str, Any], str]]) -> None:
    state = State()
    for entry in logged(said):
        own = stage_of(entry.event.partitionkey)
        before = {name: msgspec.msgpack.encode(state.stage(name)) for name in STAGES}
        fold(state, [entry])
        changed = {name for name in STAGES if msgspec.msgpack.encode(state.stage(name)) != before[name]}
        assert changed <= {own}
