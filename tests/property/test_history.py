"""A hub and two edges over random stories: replay equals live, and who is killed anywhere ends where it would have."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.history.fold import fold
from reconciler.history.keys import DELIVER
from reconciler.history.state import State
from reconciler.planning.declared import Object
from tests.fleets import catalogue, dataset, edge, fleet, model_set, plain
from tests.log_events import StillClock
from tests.stations import EdgeStation, HubStation

NAMES = ("e1", "e2")
MODEL = catalogue("m", "1 2 3")
VERSIONS = st.sampled_from(["1", "2", "3"])
PINS = st.lists(st.fixed_dictionaries({"model": st.just("m"), "version": VERSIONS}), max_size=1)
OBJECTS = st.one_of(
    st.builds(lambda name, pins: edge(name, {"site": "x"}, pins), st.sampled_from(NAMES), PINS),
    st.builds(lambda version: model_set("m", version, ref="m"), VERSIONS),
    st.builds(
        lambda name, node, port: plain(name, nodeName=node, servingPort=port),
        st.sampled_from(["p", "q"]),
        st.sampled_from(NAMES),
        st.sampled_from([8080, 9000]),
    ),
    st.builds(lambda version: dataset("d", version, to={}), st.sampled_from(["1", "2"])),
)
COMMANDS = st.one_of(
    st.tuples(st.just("push"), OBJECTS),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("work"), st.sampled_from(NAMES)),
    st.tuples(st.just("take"), st.sampled_from(NAMES)),
    st.tuples(st.just("stumble"), st.sampled_from(NAMES)),
    st.tuples(st.just("hear"), st.sampled_from(NAMES)),
    st.tuples(st.just("audit"), st.just("")),
    st.tuples(st.just("wait"), st.integers(1, 4000)),
)
STORIES = st.lists(COMMANDS, max_size=14)


class Killed(BaseException):
    """The process ended here."""


class FusedLog(MemoryLog):
    """A log whose process is killed at its n-th append: right before it is durable, or right after."""

    fuse = 0
    is_after = False

    def append(self, events: Sequence[Event], *, expected: Mapping[str, int] | None = None) -> list[Entry]:
        self.fuse -= 1
        if self.fuse == 0 and not self.is_after:
            raise Killed
        entries = super().append(events, expected=expected)
        if self.fuse == 0:
            raise Killed
        return entries


def begun() -> State:
    """The state of a log whose stage has begun and said nothing yet."""
    state = State()
    state.stage(DELIVER)
    return state


def was_killed(log: MemoryLog) -> bool:
    return isinstance(log, FusedLog) and log.fuse == 0


class World:
    """A hub, its edges, and what a story has pushed."""

    def __init__(self) -> None:
        clock = StillClock()
        self.hub = HubStation(clock, FusedLog("/hub", clock))
        self.edges = {name: EdgeStation(name, self.hub, FusedLog(f"/edge/{name}", clock)) for name in NAMES}
        self.there: dict[Any, Object] = {}
        self.push(fleet(1000, "100%"), MODEL, *(edge(name, {"site": "x"}) for name in NAMES))

    def push(self, *objects: Object) -> None:
        self.there |= {obj.identity: obj for obj in objects}
        self.hub.branch.commit(*objects)
        self.hub.turn("commit")

    def do(self, command: str, what: Any) -> None:
        match command:
            case "push":
                self.push(what)
            case "remove":
                gone = [one for one in self.there.values() if one.kind not in {"Fleet", "Edge", "Model"}]
                if gone:
                    obj = self.there.pop(gone[what % len(gone)].identity)
                    self.hub.branch.commit(without=[obj])
                    self.hub.turn("commit")
            case "work":
                self.edges[what].work_off()
            case "take":
                self.edges[what].turn("orders")
            case "stumble":
                for key in list(self.edges[what].work.jobs)[:1]:
                    self.edges[what].work.stumble(key)
            case "hear":
                self.hub.turn("edge", what)
            case "audit":
                self.hub.turn("audit")
            case "wait":
                self.hub.clock.seconds += what

    def tell(self, story: Sequence[tuple[str, Any]]) -> "World":
        """The world after the story; whoever is killed on the way begins again."""
        for command, what in [*story, *[("rest", "")] * 4]:
            try:
                self.rest() if command == "rest" else self.do(command, what)
            except Killed:
                self.begin_again()
        return self

    def rest(self) -> None:
        self.hub.clock.seconds += 1000
        for name, station in self.edges.items():
            station.turn("audit")
            station.work_off()
            self.hub.turn("edge", name)
        self.hub.turn("audit")

    def begin_again(self) -> None:
        if was_killed(self.hub.log):
            self.hub = self.hub.again()
            self.hub.turn("start")
            self.hub.turn("commit")
        for name, station in self.edges.items():
            if was_killed(station.log):
                self.edges[name] = station.again(self.hub)
                self.edges[name].turn("start")
            self.edges[name].link.other = self.hub.log

    def outcome(self) -> Any:
        """What is so in the end, without the numbers and times of how it came about."""
        state, mine = self.hub.state, self.hub.mine
        keys = {text: (one.order, one.action, one.open, one.phase, one.live) for text, one in mine.keys.items()}
        disks = {name: station.work.stands for name, station in self.edges.items()}
        return keys, disks, state.ref.accepted, state.fleet, state.all_problems, mine.held_plan

    def logs(self) -> dict[str, tuple[MemoryLog, State]]:
        edges = {name: (station.log, station.state) for name, station in self.edges.items()}
        return {"hub": (self.hub.log, self.hub.state), **edges}


@settings(max_examples=60, deadline=None)
@given(STORIES, st.floats(0, 1))
def test_replay_equals_live_also_when_it_is_cut_anywhere(story: list[tuple[str, Any]], where: float) -> None:
    world = World().tell(story)
    for log, live in world.logs().values():
        entries = list(log.read())
        assert fold(begun(), entries) == live
        cut = round(where * len(entries))
        first = fold(begun(), entries[:cut])
        snapshot = msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=State)
        assert fold(snapshot, entries[cut:]) == live
        log.verify()


@settings(max_examples=60, deadline=None)
@given(STORIES)
def test_a_second_pass_appends_nothing_and_every_effect_has_its_intent(story: list[tuple[str, Any]]) -> None:
    world = World().tell(story)
    heads = {name: log.head() for name, (log, _) in world.logs().items()}
    world.rest()
    assert {name: log.head() for name, (log, _) in world.logs().items()} == heads
    for station in world.edges.values():
        own = [entry for entry in station.log.read() if entry.origin is None]
        intents = [entry.event.subject for entry in own if entry.event.type == ev.APPLY_INTENDED]
        assert intents == [key for key, _ in station.work.begun]
        assert not any(one.own for one in station.mine.keys.values())


@settings(max_examples=120, deadline=None)
@given(STORIES, st.sampled_from(["hub", *NAMES]), st.integers(1, 25), st.booleans())
def test_a_process_that_is_killed_at_any_append_ends_where_it_would_have(
    story: list[tuple[str, Any]], who: str, at: int, is_after: bool
) -> None:
    world = World()
    log = world.logs()[who][0]
    assert isinstance(log, FusedLog)
    log.fuse, log.is_after = at, is_after
    assert world.tell(story).outcome() == World().tell(story).outcome()
    log.verify()
