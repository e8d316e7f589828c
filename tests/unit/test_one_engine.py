"""The hub and every edge run one loop, and any number of stages in it: each is as it would be alone."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.engine import loop
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Trigger
from reconciler.history.keys import DECLARE, DELIVER, Key, stage_of
from tests.fleets import edge, model_set
from tests.scripted_stage import Script, ScriptStation, key
from tests.stations import EdgeStation, HubStation, settle

STAGES = (DECLARE, DELIVER)
NAMES = st.sampled_from("abcdefgh")
OF_A_STAGE = st.one_of(
    st.tuples(st.just("declare"), st.dictionaries(NAMES, st.sampled_from(["", "1", "2"]), min_size=1)),
    st.tuples(st.just("undo"), st.sets(NAMES, min_size=1)),
    st.tuples(st.just("answer"), st.integers(1, 5)),
    st.tuples(st.just("audit"), st.none()),
)
STORY = st.lists(st.tuples(st.sampled_from(STAGES), OF_A_STAGE, st.integers(0, 6)), max_size=20)


@settings(deadline=None)
@given(STORY)
def test_two_stages_in_one_loop_are_each_as_it_would_be_alone(story: list[tuple[str, tuple[str, Any], int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("BATCH", 3), ("AHEAD", 2), ("SLICE", 3)):
            patch.setattr(loop, name, number)
        together = ScriptStation(*STAGES)
        scripts = dict(zip(STAGES, together.scripts, strict=True))
        alone = {stage: ScriptStation(stage) for stage in STAGES}
        for stage, happens, turns in story:
            for script in (scripts[stage], alone[stage].script):
                let(script, *happens)
            for own, count in taken(together, turns).items():
                for _ in range(count):
                    alone[own].turn()
        for station in (together, *alone.values()):
            station.rest()
            assert station.loop.is_at_rest
        for stage in STAGES:
            assert scripts[stage].there == alone[stage].script.there
            assert told(together, stage) == told(alone[stage], stage)


def let(script: Script, what: str, how: Any) -> None:
    """Something happens to a stage."""
    script.is_slow = True
    match what:
        case "declare":
            for name, version in how.items():
                script.wanted.pop(key(name), None)
                script.wanted |= {key(name): version} if version else {}
            touched(script, how)
        case "undo":
            for name in set(how) & {one.name for one in script.there if one not in script.newest}:
                script.there[key(name)] = "somebody's"
            touched(script, how)
        case "answer":
            script.answer(how)
        case "audit":
            script.queue.add(Trigger(Cause.AUDIT))


def touched(script: Script, names: Any) -> None:
    for name in sorted(names):
        script.queue.add(Trigger(Cause.KEYS, str(key(name))))


def taken(station: ScriptStation, turns: int) -> Counter[str]:
    """Up to so many turns; how many were of which stage."""
    found: Counter[str] = Counter()
    while turns and not station.queue.is_quiet:
        found[station.turn().stage] += 1
        turns -= 1
    return found


def told(station: ScriptStation, stage: str) -> list[tuple[str, str, Any]]:
    """What the log says of a stage."""
    events = [entry.event for entry in station.log.read(1)]
    return [(event.type, event.subject, event.data) for event in events if stage_of(event.partitionkey) == stage]


def test_the_hub_and_every_edge_run_by_the_same_loop_from_a_commit_to_what_is_served() -> None:
    hub = HubStation()
    hub.push(edge("e1"), edge("e2"), model_set("digits"))
    edges = [EdgeStation(name, hub) for name in ("e1", "e2")]
    settle(hub, *edges)
    assert {type(hub.loop), *(type(station.loop) for station in edges)} == {Loop}
    for station in edges:
        assert set(station.work.stands) == {Key("InferenceModel", "default", f"digits-{station.name}", station.name)}
    assert not any(served.open for served in hub.mine.keys.values())
