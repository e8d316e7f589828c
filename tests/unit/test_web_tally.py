"""What the log tells is counted while it is appended."""

from collections.abc import Mapping
from typing import Any

from reconciler.history import events as ev
from reconciler.history.events import Entry, Event, Origin
from reconciler.history.keys import DECLARE, DELIVER, Key, stream_of
from reconciler.web.counters import Durations, Operation, Tally

MODEL = "InferenceModel/default/a-e@e"
OBJECT = "InferenceModel/default/a"


def stream(subject: str) -> str:
    """Of the events about a key."""
    key = Key.named(subject)
    return "git" if key is None else stream_of(DELIVER if key.edge else DECLARE, key)


AT = "2026-11-30T14:00:{:09.6f}Z"


def entry(type_: str, second: float, *, copied: bool = False, data: Mapping[str, Any] = {}, **words: str) -> Entry:
    source = "/edge/e/1" if copied else "/hub/1"
    event = Event(
        id=f"{type_}{second}{words}",
        type=type_,
        partitionkey=stream(words.get("subject", "")),
        time=AT.format(second - 0.25 if copied else second),
        recordedtime=AT.format(second),
        source=source,
        data=dict(data),
        **words,  # type: ignore[arg-type]  # text
    )
    return Entry(1, b"", event, Origin(source=source, position=1, hash="", prev="") if copied else None)


def order(second: float, subject: str, operation: str) -> Entry:
    return entry(ev.APPLY_INTENDED, second, subject=subject, operationid=operation, data={"action": "update"})


def answer(type_: str, second: float, subject: str, operation: str, *, copied: bool = False) -> Entry:
    return entry(type_, second, subject=subject, operationid=operation, copied=copied)


def test_an_order_is_counted_once_by_its_outcome_and_its_time() -> None:
    tally = Tally()
    tally.heard([order(1, MODEL, "o"), order(1, OBJECT, "p")])
    copied = entry(ev.APPLY_INTENDED, 2, copied=True, subject=MODEL, operationid="o", data={"action": "create"})
    tally.heard([copied, answer(ev.APPLY_ABANDONED, 3, MODEL, "o", copied=True)])
    tally.heard([answer(ev.APPLY_SUCCEEDED, 5, MODEL, "o", copied=True), answer(ev.APPLY_FAILED, 1.2, OBJECT, "p")])
    tally.heard([answer(ev.APPLY_SUCCEEDED, 6, MODEL, "o", copied=True)])  # said again: not counted
    counts = tally.counts()
    assert counts.operations == {
        Operation("InferenceModel", "update", "abandoned"): 1,
        Operation("InferenceModel", "update", "succeeded"): 1,
        Operation("InferenceModel", "update", "failed"): 1,
    }
    assert counts.durations["deliver"].sum_s == 4.0
    assert round(counts.durations["declare"].sum_s, 6) == 0.2
    assert counts.lags == {"e": 0.25}


def test_a_newer_order_stands_for_the_older_one() -> None:
    tally = Tally()
    tally.heard([order(1, MODEL, "o"), order(2, MODEL, "q"), answer(ev.APPLY_SUCCEEDED, 3, MODEL, "o", copied=True)])
    assert tally.counts().operations == {}
    tally.heard([answer(ev.APPLY_SUCCEEDED, 4, MODEL, "q", copied=True)])
    assert tally.counts().durations["deliver"].sum_s == 2.0


def test_a_commit_is_timed_to_its_plan_and_makes_it_ready() -> None:
    tally = Tally()
    read = entry(ev.REF_ADVANCED, 1)
    tally.heard([read])
    assert tally.has_commit
    tally.heard(
        [entry(ev.CHANGE_PLANNED, 3, causationid="other"), entry(ev.CHANGE_PLANNED, 4, causationid=read.event.id)]
    )
    assert tally.counts().durations["plan"].sum_s == 3.0
    assert sum(tally.counts().durations["plan"].buckets) == 1


def test_drift_conflicts_and_fights() -> None:
    tally = Tally()
    for policy in ("correct", "correct", "anything a person wrote"):
        tally.heard([entry(ev.DRIFT_DETECTED, 1, subject=OBJECT, data={"policy": policy})])
    tally.heard([entry(ev.APPLY_CONFLICTED, 1, subject=OBJECT), entry(ev.DRIFT_FOUGHT, 1, subject=OBJECT)])
    counts = tally.counts()
    assert counts.drift == {("InferenceModel", "correct"): 2, ("InferenceModel", "other"): 1}
    assert (counts.conflicts, counts.fights) == (1, 1)


def test_what_is_open_is_all_that_it_keeps() -> None:
    tally = Tally()
    for number in range(1000):
        tally.heard([order(1, f"{OBJECT}-{number}", "o"), answer(ev.APPLY_SUCCEEDED, 2, f"{OBJECT}-{number}", "o")])
    assert tally._open == {}
    assert len(tally.counts().operations) == 1


def test_buckets_hold_their_upper_bound() -> None:
    taken = Durations()
    for seconds in (0.05, 0.050001, 9999.0):
        taken.add(seconds)
    assert (taken.buckets[0], taken.buckets[1], taken.buckets[-1]) == (1, 1, 1)
