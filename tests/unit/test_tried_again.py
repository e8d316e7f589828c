"""What the API server refused is tried again in its own time, and when what it waits for is seen to change."""

from typing import Any, cast

from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Change, Stage
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import State
from reconciler.stages.keeping import Keeping
from tests.log_events import StillClock
from tests.scripted_stage import Script
from tests.stations import drain

FACES, OTHER = (Key("InferenceModel", namespace, "faces", "") for namespace in ("prod", "test"))


class Nobody:
    """A cluster in which nothing is known of any object."""

    unanswered: frozenset[Key] = frozenset()

    def look(self, key: Key) -> None:  # the port's words
        return None


class Kept(Keeping):
    """The source of a stage of which nothing is declared."""

    expand = everything = judge = cast("Any", None)

    def concerns(self, key: Key) -> bool:  # the base's words
        return False


class World:
    def __init__(self) -> None:
        self.clock = StillClock()
        self.record = Recorder(MemoryLog("/hub", self.clock), self.clock, State(), "hub")
        self.queue = Queue(self.clock)

    def ended(self, key: Key, type_: str = ev.APPLY_FAILED, **data: Any) -> Event:
        known = {"error": "no namespace", "code": "RX411", "phase": "Rejected"} | data
        return self.record.event(type_, key, known, stage=DECLARE)


def test_what_was_refused_in_a_namespace_is_tried_when_that_is_seen_to_change() -> None:
    world = World()
    world.record.append([world.ended(FACES), world.ended(OTHER)])
    kept = Kept(world.record.stage(DECLARE), cast("Any", Nobody()))
    change = kept.take(Trigger(Cause.OBJECT, "Namespace//prod"))
    assert change.keys == {FACES}


def test_each_refusal_of_the_api_server_waits_longer_and_says_so_and_success_begins_anew() -> None:
    world = World()
    script = Script(DECLARE, world.record, world.queue)
    loop = Loop([Stage(DECLARE, script, script)], world.record, world.queue)
    script.wanted = {FACES: "1"}
    script.is_slow = True
    tried = []
    loop.reconcile(DECLARE, Change(frozenset({FACES})))
    for _ in range(5):
        order = script.newest.pop(FACES)
        refused = world.record.event(
            ev.APPLY_FAILED,
            FACES,
            {"error": "quota", "code": "RX411"},
            stage=DECLARE,
            operationid=order.intent.event.operationid,
        )
        world.queue.stage(DECLARE).add(Trigger(Cause.DONE, events=(refused,)))
        drain(loop)
        known = world.record.stage(DECLARE).mine.known(FACES)
        tried.append(list(world.record.log.read())[-1].event.data["retryMs"] / 1000)
        assert known.retry == ev.rfc3339(world.clock.now() + tried[-1])
        assert FACES not in script.newest  # nothing is sent before
        world.clock.seconds += tried[-1]
        drain(loop)
        assert FACES in script.newest
    assert tried == [2, 4, 8, 16, 32]
    script.answer(len(script.open))
    drain(loop)
    assert world.record.stage(DECLARE).mine.known(FACES).tries == 0


def test_what_waits_for_its_finalizers_is_not_tried_again_by_time() -> None:
    world = World()
    script = Script(DECLARE, world.record, world.queue)
    loop = Loop([Stage(DECLARE, script, script)], world.record, world.queue)
    going = world.ended(FACES, ev.APPLY_ABANDONED, waits=True)
    world.queue.stage(DECLARE).add(Trigger(Cause.DONE, events=(going,)))
    drain(loop)
    assert "retryMs" not in list(world.record.log.read())[-1].event.data
