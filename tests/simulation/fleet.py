"""A hub and three edges, put together over simulated parts as `wiring` puts them together over real ones."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.edge.job import Tools
from reconciler.edge.keeper import Keeper
from reconciler.edge.slots import Slots
from reconciler.edge.work import EdgeWork
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.retry import jittered
from reconciler.engine.stage import Stage
from reconciler.errors import GitUnavailable
from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.serving.process import End
from reconciler.stages.deliver import Deliver
from reconciler.stages.git import Reading
from reconciler.wiring.agent import needed
from tests.simulation.link import Line, SimLink, SimLog
from tests.simulation.runtime import Machine, SimRuntime, SimRuntimes
from tests.simulation.store import SimStore, Web
from tests.simulation.world import Process, Workers, World
from tests.stations import Branch

POLL_S, LOOK_S, AUDIT_S = 900.0, 900.0, 3600.0
NAN, CRASHES = b"nan", b"crashes"


class Remote(Branch):
    """A branch that is not always there."""

    is_up, asked = True, 0

    def reading(self) -> Callable[[], Reading | None]:
        self.asked += 1
        return self._look

    def _look(self) -> Reading | None:
        if not self.is_up:
            raise GitUnavailable("the remote does not answer")
        return self._read()


class Edge:
    """An edge: what outlives its agents, and the agent that lives now, if one does."""

    def __init__(self, name: str, fleet: "Fleet", directory: Path) -> None:
        self.name, self.fleet, self.directory = name, fleet, directory
        self.down, self.up = Line(), Line()  # from the hub, to the hub
        self.skew, self.is_full = 0.0, False
        self.since = 0.0  # when its agent was started
        self.machine = Machine(lambda content: NAN not in content, self._served)
        self.log: SimLog | None = None
        self.agent: Process | None = None
        self.queue: Queue | None = None
        self.store: SimStore | None = None

    def slots(self, key: Key) -> Slots:
        return Slots(self.directory / "services", self.directory / "store", key)

    def start(self) -> None:
        """Start the agent, as a supervisor does."""
        if self.agent is not None:
            return
        world = self.fleet.world
        process, self.since = Process(self.name, world, lambda: self.skew), world.seconds
        self.agent = process
        if self.log is None:
            self.log = SimLog(f"/edge/{self.name}", process.clock, world.new_id)
        log = self.log.open(process.clock)
        record = Recorder(log, process.clock, State(), f"edge/{self.name}")
        queue = self.queue = Queue(process.clock)
        triggers = queue.stage(DELIVER)
        self.store = SimStore(self.directory / "store", self.fleet.web, partial(world.sleep, process))
        self.store.is_full = self.is_full
        runtimes = SimRuntimes(self.machine, lambda key, pid, end: work.ended(key, pid, end))  # noqa: PLW0108  # made below
        tools = Tools(
            edge=self.name,
            store=self.store,
            slots=self.slots,
            runtimes=runtimes,
            event=record.stage(DELIVER).event,
            post=triggers.add,
            monotonic=process.clock.monotonic,
            sample=world.random.random,
            cap_bytes=1 << 19,
        )
        work = EdgeWork(tools, lambda: needed(record.state, self.slots), Workers(process, 4))
        link = SimLink(self.fleet.log, log, self.down, self.fleet.few, partial(self.fleet.hang, process))
        keeper = Keeper(self.name, record, queue, link=link, workers=Workers(process, 1), work=work)
        every = {Cause.ORDERS: self.fleet.every(LOOK_S), Cause.AUDIT: self.fleet.every(AUDIT_S)}
        process.loop = Loop([Stage(DELIVER, keeper, keeper, every)], record, queue, sample=world.random.random)
        process.ended = self._ended
        log.subscribe(self._tell)
        for text in record.stage(DELIVER).mine.keys:
            work.adopt(Key.parse(text))
        self.fleet.ring_hub(self)
        world.processes.append(process)

    def _ended(self) -> None:
        assert self.log is not None
        self.agent = self.queue = self.store = self.machine.agent = None
        self.log.close()
        self.fleet.ring_hub(self, "the agent ended by signal 9")

    def _tell(self, entries: list[Entry]) -> None:
        if any(entry.origin is None for entry in entries):
            self.fleet.ring_hub(self)

    def fill(self, is_full: bool) -> None:
        """Fill its disk, or make room."""
        self.is_full = is_full
        if self.store is not None:
            self.store.is_full = is_full

    def ring(self) -> None:
        """Tell the agent that there are orders."""
        if self.down.is_up and self.queue is not None:
            self.queue.stage(DELIVER).add(Trigger(Cause.ORDERS))

    def _served(self, runtime: SimRuntime) -> None:
        """A runtime serves another version now."""
        version, digest = runtime.serving
        name = runtime.spec.directory.parent.name
        if version:
            assert (version, digest) in self.fleet.ordered(self.name, name), f"{name} serves {version}: never ordered"
        content = self.fleet.models.get(digest, b"")
        if CRASHES in content:
            how = End("was ended by signal 11", at_fault=True)
            world = self.fleet.world
            world.at(world.random.uniform(1, 30), partial(self._crash, runtime, digest, how))

    def _crash(self, runtime: SimRuntime, digest: str, how: End) -> None:
        if runtime.serving[1] == digest:
            self.machine.end(runtime, how)


class Fleet:
    """The hub with its branch, the web, and the edges."""

    def __init__(self, seed: int, root: Path, names: Sequence[str] = ("e1", "e2", "e3")) -> None:
        self.world = world = World(seed)
        self.web, self.branch = Web(), Remote()
        self.models: dict[str, bytes] = {}  # digest -> content
        self._files: dict[str, str] = {}  # digest of an archive -> digest of its model
        self._ordered: dict[str, set[tuple[str, str]]] = {}
        self._read, self.since = 0, 0.0  # since: when the hub was started
        self.hub: Process | None = None
        self.queue: Queue | None = None
        self.state = State()
        self.log = SimLog("/hub", Process("hub", world).clock, world.new_id)
        self.log.close()
        self.kept = self.log.backup()
        self.edges = {name: Edge(name, self, root / name) for name in names}

    def few(self) -> int:
        return self.world.random.randint(1, 200)

    def hang(self, process: Process) -> None:
        self.world.sleep(process, self.world.random.expovariate(1 / 8))

    def every(self, seconds: float) -> Callable[[], float]:
        return lambda: jittered(seconds, self.world.random.random)

    def start(self) -> None:
        """Start the hub."""
        if self.hub is not None:
            return
        process, self.since = Process("hub", self.world), self.world.seconds
        self.hub = process
        log = self.log.open(process.clock)
        record = Recorder(log, process.clock, State(), "hub")
        self.state = record.state
        self.branch.attach(record.state)
        self.queue = Queue(process.clock)
        hub = Deliver(self.branch, record, self.queue, Workers(process, 5), self)
        every = {Cause.COMMIT: self.every(POLL_S), Cause.AUDIT: self.every(AUDIT_S)}
        stages = [Stage(DELIVER, hub, hub, every)]
        process.loop = Loop(stages, record, self.queue, sample=self.world.random.random)
        process.ended = self._ended
        self.world.processes.append(process)

    def _ended(self) -> None:
        self.hub = self.queue = None
        self.log.close()

    def restore(self) -> None:
        """Put an older log back, while no hub runs."""
        self._new_orders()
        self.log.restore(self.kept)
        self._read = 0

    def link(self, edge: str) -> SimLink:
        """See `ports.Peers`."""
        found = self.edges[edge]
        assert found.log is not None
        assert self.hub is not None
        return SimLink(found.log, self.log, found.up, self.few, partial(self.hang, self.hub))

    def ring(self, edge: str) -> None:
        """See `ports.Peers`."""
        self.world.at(self.world.random.uniform(0, 0.2), self.edges[edge].ring)

    def wanted(self, edges: Sequence[str]) -> None:
        """See `ports.Peers`. Edges look after their agents themselves."""

    def ring_hub(self, edge: Edge, words: str = "") -> None:
        """An edge has something to say."""
        self.world.at(self.world.random.uniform(0, 0.2), partial(self._rung, edge, words))

    def _rung(self, edge: Edge, words: str) -> None:
        if self.queue is not None and edge.up.is_up:
            request = {"error": words} if words else {}
            self.queue.stage(DELIVER).add(Trigger(Cause.EDGE, edge.name, request=request))

    def verb(self, verb: str, **fields: Any) -> None:
        """A person's verb, whose answer nobody waits for."""
        if self.queue is not None:
            request = {"verb": verb, "actor": "ada", **fields}
            self.queue.stage(DELIVER).add(Trigger(Cause.VERB, verb, request=request))

    def ordered(self, edge: str, name: str) -> set[tuple[str, str]]:
        """Which (version, digest of a model) the hub has ever ordered under this name (Kind.namespace.name)."""
        self._new_orders()
        return self._ordered.get(f"{name}@{edge}", set())

    def _new_orders(self) -> None:
        for seq, _, event, origin in self.log.read(self._read):
            self._read = seq
            if event.type == ev.APPLY_INTENDED and origin is None and event.data["spec"]:
                key, spec = Key.parse(event.subject), event.data["spec"]
                found = self._ordered.setdefault(f"{key.kind}.{key.namespace}.{key.name}@{key.edge}", set())
                found.add((spec["version"], self._files.get(spec["sha256"], "")))

    def publish(self, path: str, archive: bytes, model: bytes) -> str:
        """Have an archive in the web; its digest."""
        digest = hashlib.sha256(archive).hexdigest()
        self.web.files[path] = archive
        file = hashlib.sha256(model).hexdigest()
        self.models[file], self._files[digest] = model, file
        return digest
