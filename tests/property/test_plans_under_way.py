"""Plans under way, however they, answers and triggers come in between: of each key only its newest plan is followed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.engine import loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Change, Order
from reconciler.history import events as ev
from reconciler.history.keys import Key
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import Plan
from tests.scripted_stage import SPEC, Script, ScriptStation, key

BATCH, AHEAD, SLICE = 3, 2, 4
NAMES = st.sampled_from("abcdefghijkl")
SUSPENDED = Judgement(suspended={"*": {"actor": "ada", "reason": "a visit"}})
HAPPENS = st.one_of(
    st.tuples(st.just("commit"), st.dictionaries(NAMES, st.sampled_from([True, True, False]), min_size=3)),
    st.tuples(st.just("key"), NAMES),
    st.tuples(st.just("undo"), NAMES),
    st.tuples(st.just("answer"), st.integers(1, 6)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("audit"), st.none()),
)
STORY = st.lists(st.tuples(HAPPENS, st.integers(0, 4)), max_size=20)


class Watched(Script):
    """A script that knows what the newest plan of each key says, and compares every order with it."""

    def __init__(self, name: str, recorder: Recorder, queue: Queue) -> None:
        super().__init__(name, recorder, queue)
        self.is_slow, self.commits = True, 0
        self.newest_plan: dict[Key, str | None] = {}

    def announce(self, change: Change, plan: Plan) -> Mapping[str, Any] | None:
        says = {step.key: step.spec.get(SPEC, "") for step in plan.ready}
        self.newest_plan |= {one: says.get(one) for one in change.keys}
        return super().announce(change, plan)

    def send(self, orders: Sequence[Order]) -> None:
        assert self.judged is not SUSPENDED, "nothing is begun while everything is suspended"
        assert len(orders) <= BATCH
        for order in orders:
            one = order.step.key
            assert order.step.spec.get(SPEC, "") == self.newest_plan[one], f"an older plan is followed for {one}"
            self.newest_plan[one] = None  # and none twice
        super().send(orders)
        assert self.in_flight <= BATCH + AHEAD


@settings(deadline=None)
@given(STORY)
def test_no_step_follows_one_of_a_newer_plan_for_its_key(story: list[tuple[tuple[str, Any], int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("BATCH", BATCH), ("AHEAD", AHEAD), ("SLICE", SLICE)):
            patch.setattr(loop, name, number)
        station = ScriptStation(script=Watched)
        script = station.script
        assert isinstance(script, Watched)
        for (what, how), turns in story:
            let(script, what, how)
            for _ in range(turns):
                if not station.queue.is_quiet:
                    station.turn()
        script.judged = Judgement()
        script.queue.add(Trigger(Cause.AUDIT))
        station.rest()
        assert script.there == script.wanted
        assert station.loop.is_at_rest
        assert script.record.mine.to_begin == {}  # each step of a plan was begun, or it was said that it is not
        assert not any(served.open for served in script.record.mine.keys.values())
        assert len(orders_of(station)) == len(set(orders_of(station)))


def let(script: Watched, what: str, how: Any) -> None:
    """Something happens."""
    match what:
        case "commit":
            script.commits += 1
            for name, is_wanted in how.items():
                script.wanted.pop(key(name), None)
                script.wanted |= {key(name): str(script.commits)} if is_wanted else {}
            script.change = Change(script.change.keys | set(map(key, how)), commit=f"c{script.commits}")
            script.queue.add(Trigger(Cause.COMMIT))
        case "key":
            script.queue.add(Trigger(Cause.KEYS, str(key(how))))
        case "undo":
            if key(how) in script.there and key(how) not in script.newest:
                script.there[key(how)] = "somebody's"
                script.queue.add(Trigger(Cause.KEYS, str(key(how))))
        case "answer":
            script.answer(how)
        case "suspend":
            script.judged = SUSPENDED if how else Judgement()
        case "audit":
            script.queue.add(Trigger(Cause.AUDIT))


def orders_of(station: ScriptStation) -> list[str]:
    """The operation of each intent."""
    return [entry.event.operationid for entry in station.log.read() if entry.event.type == ev.APPLY_INTENDED]
