"""A hub and its edges without processes: real loops over logs in memory, moved on by hand, on one still clock."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

from reconciler.edge.keeper import Keeper
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Stage
from reconciler.errors import ForkFound, ReconcilerError, WorldUnavailable
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Entry, Origin
from reconciler.history.keys import DELIVER, Key
from reconciler.history.readers import name_of
from reconciler.history.state import StageState, State
from reconciler.model.identity import Identity
from reconciler.planning.declared import Declared, Object
from reconciler.planning.kinds import KINDS
from reconciler.ports import EventLog
from reconciler.stages.deliver import Deliver
from reconciler.stages.git import CommitRead, Reading, Repository
from reconciler.wiring.process import Inline
from tests.log_events import StillClock


class MemoryLink:
    """`ports.Link` between two logs in this process."""

    def __init__(self, other: MemoryLog, log: EventLog) -> None:
        self.other, self.log = other, log
        self.is_away, self.is_alive = False, True
        self.refusal: ReconcilerError | None = None

    @property
    def source(self) -> str:
        return self.other.source

    def fetch(self) -> list[tuple[Origin, bytes]]:
        if self.is_away:
            raise WorldUnavailable("there is no log yet")
        if self.refusal is not None:
            raise self.refusal
        name, held = name_of(self.log.source), self.log.held(self.other.source)
        end = self.other.held(name)
        if held.seq > end.seq or (held.seq == end.seq and held != end):
            raise ForkFound("an older copy")
        return list(self.other.raw(name, held.seq))

    def alive(self) -> bool:
        return self.is_alive and not self.is_away


def _differing(one: Mapping[Identity, Object], other: Mapping[Identity, Object]) -> frozenset[Identity]:
    return frozenset(identity for identity in {*one, *other} if one.get(identity) != other.get(identity))


class Branch:
    """`stages.deliver.Repository` whose commits a test makes from declared objects."""

    def __init__(self) -> None:
        self.declared = Declared()
        self.notes: dict[str, Any] = {}  # of the next reading: problems, unreadable, rewritten_from
        self._state = State()
        self._history: list[tuple[CommitRead, dict[Identity, Object]]] = []

    def attach(self, state: State) -> None:
        """Be read by a new process: it declares what its log read last."""
        self._state = state
        self.declared = Declared(self._at(state.ref.commit).values())

    def _at(self, commit: str) -> dict[Identity, Object]:
        return next((there for read, there in self._history if read.commit == commit), {})

    def commit(self, *objects: Object, without: Iterable[Object] = (), **notes: Any) -> str:
        """The id of a commit that declares `objects` beside what was there, `without` some."""
        without = list(without)
        there = (self._history[-1][1] if self._history else {}) | {obj.identity: obj for obj in objects}
        for obj in without:
            del there[obj.identity]
        number = len(self._history) + 1
        facts: dict[str, Any] = {
            "parents": [],
            "tree": "",
            "author": "Ada <ada@example.com>",
            "committed": "2027-01-15T08:00:00Z",
        }
        files = {obj.path: "1" * 40 for obj in objects} | {obj.path: None for obj in without}
        reverts = self._reverts(there)
        facts |= {"subject": f"commit {number}"} | ({"reverts": reverts} if reverts else {})
        read = CommitRead(f"{number:040x}", facts, files)
        self._history.append((read, there))
        self.notes |= notes
        return read.commit

    def reading(self) -> Callable[[], Reading | None]:
        return self._read

    def _read(self) -> Reading | None:
        commits = [read for read, _ in self._history]
        known = [read.commit for read in commits].index(self._state.ref.commit) + 1 if self._state.ref.commit else 0
        if known == len(commits):
            return None
        ends = range(known + 1 if known else len(commits), len(commits))
        end = next((n for n in ends if self._changes_policy(n)), len(commits))
        there = self._history[end - 1][1]
        new = Declared(there.values())
        identities = {*there, *(obj.identity for kind in KINDS for obj in self.declared.of_kind(kind))}
        changed = frozenset(one for one in identities if self.declared.get(one) != new.get(one))
        last = self._history[-1][1]
        later = frozenset(one for one in {*identities, *last} if new.get(one) != last.get(one))
        return Reading(
            tuple(commits[known:end]), new, changed, later=later if end < len(commits) else None, **self.notes
        )

    def _changes_policy(self, n: int) -> bool:
        """Whether the last of `n` commits has another Fleet than the one before it."""
        before, after = (Declared(there.values()).fleet() for _, there in self._history[n - 2 : n])
        return before != after

    def _reverts(self, there: Mapping[Identity, Object]) -> str | None:
        """What sources.mirror.Mirror.reverts says of a commit that is to declare this: one object is one file."""
        before = [{}, *(old for _, old in self._history)]
        changed = _differing(before[-1], there)
        for n in range(len(before) - 2, 0, -1):
            if changed and not changed & _differing(before[n], there):
                steps = [_differing(old, new) for old, new in pairwise(before[n:])]
                touched = frozenset().union(*(step for step in steps if step & changed))
                return None if touched & _differing(before[n], there) else self._history[n - 1][0].commit
        return None

    def adopt(self, reading: Reading) -> None:
        self.declared, self.notes = reading.declared, {}


def drain(loop: Loop) -> int:
    """Take every trigger that is due now; how many there were."""
    taken = 0
    while _is_due(loop.queue):
        trigger = loop.queue.take()
        assert trigger is not None
        loop.turn(trigger)
        taken += 1
        assert taken < 10_000, f"the loop does not come to rest: {trigger}"
    return taken


def _is_due(queue: Queue) -> bool:
    return not queue.is_quiet


class HubStation:
    """A hub's loop over a log in memory."""

    def __init__(
        self, clock: StillClock | None = None, log: MemoryLog | None = None, branch: Branch | None = None
    ) -> None:
        self.clock = clock or StillClock()
        self.log = log or MemoryLog("/hub", self.clock)
        self.branch = branch or Branch()
        self.record = Recorder(self.log, self.clock, State(), "hub")
        self.queue = Queue(self.clock)
        self.branch.attach(self.record.state)
        self.links: dict[str, MemoryLink] = {}
        self.rung: list[str] = []
        self.fleet: list[str] = []
        self.follow(self.branch)

    def follow(self, repository: Repository) -> None:
        """Read another repository from now on."""
        self.hub = Deliver(repository, self.record, self.queue, Inline(), self)
        self.loop = Loop([Stage(DELIVER, self.hub, self.hub)], self.record, self.queue)

    def link(self, edge: str) -> MemoryLink:
        if edge not in self.links:  # an agent that has not started yet
            self.links[edge] = MemoryLink(MemoryLog(f"/edge/{edge}", self.clock), self.log)
            self.links[edge].is_away = True
        return self.links[edge]

    def wanted(self, edges: Iterable[str]) -> None:
        self.fleet = list(edges)

    def ring(self, edge: str) -> None:
        self.rung.append(edge)

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def mine(self) -> StageState:
        return self.record.state.stage(DELIVER)

    def turn(self, cause: str, subject: str = "") -> list[Entry]:
        """What one trigger, and all that follows from it now, has appended."""
        before = self.log.head().seq
        self.queue.stage(DELIVER).add(Trigger(Cause(cause), subject))
        drain(self.loop)
        return list(self.log.read(before))

    def push(self, *objects: Object, without: Iterable[Object] = (), **notes: Any) -> list[Entry]:
        """Commit, and have the hub see it."""
        self.branch.commit(*objects, without=without, **notes)
        return self.turn("commit")

    def verb(self, verb: str, **fields: Any) -> list[Entry]:
        """A person's verb. Raises what the loop raised."""
        before = self.log.head().seq
        self.asked(verb, **fields)
        return list(self.log.read(before))

    def asked(self, verb: str, **fields: Any) -> dict[str, Any]:
        """The answer to a person's verb. Raises what the loop raised."""
        reply: Future[dict[str, Any]] = Future()
        request = {"verb": verb, "actor": "ada", **fields}
        self.queue.stage(DELIVER).add(Trigger(Cause.VERB, request=request, reply=reply))
        drain(self.loop)
        return reply.result(0)

    def orders(self, entries: Iterable[Entry] | None = None) -> dict[str, str]:
        """Subject -> "action version" of the orders among `entries`, or of all."""
        found = self.log.read() if entries is None else entries
        return {
            entry.event.subject: f"{entry.event.data['action']} {entry.event.data['spec'].get('version', '')}".strip()
            for entry in found
            if entry.event.type == ev.APPLY_INTENDED and entry.origin is None
        }

    def again(self) -> "HubStation":
        """The same log and branch under a new process."""
        self.log._listeners.clear()
        station = HubStation(self.clock, self.log, self.branch)
        station.links = self.links
        return station


class ToyWork:
    """`edge.keeper.Work` whose disk is a dictionary; a test says when a worker ends, and how."""

    def __init__(self, station: "EdgeStation") -> None:
        self._station = station
        self.stands: dict[Key, dict[str, Any]] = {}
        self.silent: set[Key] = set()  # runtimes that do not answer
        self.jobs: dict[Key, tuple[dict[str, Any] | None, str]] = {}
        self.cancelled: list[Key] = []
        self.taken: set[int] = set()  # ports that somebody else has
        self.begun: list[tuple[str, str]] = []  # key, version ("" for a removal)

    def observe(self, key: Key) -> dict[str, Any] | None:
        spec = self.stands.get(key)
        return spec | {"version": ""} if spec is not None and key in self.silent else spec

    def live(self, key: Key) -> dict[str, Any]:
        spec = self.stands.get(key)
        return {} if spec is None or key in self.silent else {name: spec[name] for name in ("version", "sha256")}

    def current(self, key: Key) -> dict[str, Any] | None:
        return self.stands.get(key)

    def under_way(self, key: Key) -> dict[str, Any] | None:
        return (self.jobs[key][0] or {}) if key in self.jobs else None

    def finish(self, key: Key) -> None:
        del self.jobs[key]

    def may_listen(self, spec: Mapping[str, Any]) -> bool:
        return spec["port"] not in self.taken

    def cancel(self, key: Key) -> None:
        self.cancelled.append(key)

    def begin(self, key: Key, spec: dict[str, Any] | None, policy: Mapping[str, Any], operation: str) -> None:
        assert key not in self.jobs, f"two workers for {key}"
        self.jobs[key] = spec, operation
        self.begun.append((str(key), spec["version"] if spec else ""))

    def succeed(self, key: Key) -> list[Entry]:
        """The worker of `key` ends well."""
        spec, _ = self.jobs[key]
        self.silent.discard(key)
        if spec is None:
            self.stands.pop(key, None)
        else:
            self.stands[key] = spec | ({} if spec["sha256"] else {"sha256": "5" * 64})
        return self._ended(key, ev.APPLY_SUCCEEDED, {"live": self.live(key)})

    def refuse(self, key: Key, code: str = "RX404", *, quarantine: str = "", phase: str = "Rejected") -> list[Entry]:
        """The worker of `key` ends with a terminal failure; what stood stands."""
        data = {"error": "it cannot be", "code": code, "phase": phase, "live": self.live(key)}
        return self._ended(key, ev.APPLY_FAILED, data | ({"quarantine": quarantine} if quarantine else {}))

    def stumble(self, key: Key) -> list[Entry]:
        """The worker of `key` ends with a transient failure and will be tried again."""
        return self._ended(key, ev.APPLY_ABANDONED, {"error": "no answer", "code": "RX302", "live": self.live(key)})

    def give_up(self, key: Key) -> list[Entry]:
        """The worker of `key` ends because it was told to."""
        return self._ended(key, ev.APPLY_ABANDONED, {"reason": "superseded"})

    def say(self, key: Key, type_: str, data: Mapping[str, Any], operation: str = "") -> list[Entry]:
        """Have something recorded that a worker, or a runtime, did."""
        event = self._station.record.stage(DELIVER).event(type_, key, data, operationid=operation)
        return self._station.turn_with(Trigger(Cause.HAPPENED, str(key), (event,)))

    def _ended(self, key: Key, type_: str, data: Mapping[str, Any]) -> list[Entry]:
        outcome = self._station.record.stage(DELIVER).event(type_, key, data, operationid=self.jobs[key][1])
        return self._station.turn_with(Trigger(Cause.DONE, str(key), (outcome,)))


class EdgeStation:
    """An edge's loop over a log in memory, linked to a hub's log and back."""

    def __init__(self, name: str, hub: HubStation, log: MemoryLog | None = None, work: ToyWork | None = None) -> None:
        self.name, self.clock = name, hub.clock
        self.log = log or MemoryLog(f"/edge/{name}", self.clock)
        self.record = Recorder(self.log, self.clock, State(), f"edge/{name}")
        self.queue = Queue(self.clock)
        self.work = work or ToyWork(self)
        self.work._station = self
        self.link = MemoryLink(hub.log, self.log)
        heard = hub.links.setdefault(name, MemoryLink(self.log, hub.log))
        heard.other, heard.is_away, heard.is_alive = self.log, False, True
        self.keeper = Keeper(name, self.record, self.queue, link=self.link, workers=Inline(), work=self.work)
        self.loop = Loop([Stage(DELIVER, self.keeper, self.keeper)], self.record, self.queue)

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def mine(self) -> StageState:
        return self.record.state.stage(DELIVER)

    def turn(self, cause: str, subject: str = "") -> list[Entry]:
        """What one trigger, and all that follows from it now, has appended here (copies left out)."""
        return self.turn_with(Trigger(Cause(cause), subject))

    def turn_with(self, trigger: Trigger) -> list[Entry]:
        before = self.log.head().seq
        self.queue.stage(DELIVER).add(trigger)
        drain(self.loop)
        return [entry for entry in self.log.read(before) if entry.origin is None]

    def work_off(self) -> None:
        """Take the orders, and let every worker end well."""
        self.turn("orders")
        while self.work.jobs:
            self.work.succeed(next(iter(self.work.jobs)))

    def again(self, hub: HubStation) -> "EdgeStation":
        """The same disk and log under a new process: workers of the old one are gone."""
        self.log._listeners.clear()
        self.work.jobs.clear()
        return EdgeStation(self.name, hub, self.log, self.work)


def settle(hub: HubStation, *edges: EdgeStation) -> None:
    """Let every edge do what is ordered, and the hub hear of it, until nothing moves."""
    for _ in range(10):
        head = hub.log.head()
        for edge in edges:
            edge.work_off()
            hub.turn("edge", edge.name)
        if hub.log.head() == head:
            return
    raise AssertionError("it does not come to rest")


def types(entries: Iterable[Entry]) -> list[str]:
    """The stored names of events."""
    return [entry.event.type for entry in entries]
