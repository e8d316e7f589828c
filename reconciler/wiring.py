"""The composition root: which adapter stands behind each port. The only module that chooses.

In: settings.  Out: a hub or an edge, ready to run; `run` returns when it was told to stop.
"""

import contextlib
import fcntl
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.controller import control
from reconciler.controller.loop import Loop
from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.recorder import Recorder
from reconciler.edge.job import Tools
from reconciler.edge.keeper import Keeper
from reconciler.edge.paths import Home, StateDirectory
from reconciler.edge.runtimes import Runtimes
from reconciler.edge.slots import Slots
from reconciler.edge.work import EdgeWork
from reconciler.errors import GitUnavailable, HubUnreachable, SettingInvalid
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.lock import is_held
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.replay import EVERY, Replay
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.events import Entry, rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import State
from reconciler.history.status import Status, status
from reconciler.planning.declared import Declared
from reconciler.planning.plan import Plan

if TYPE_CHECKING:
    from reconciler.planning.wanted import Expansion
    from reconciler.sources.repository import DocumentRepository
    from reconciler.sources.watch import Watcher

AUDIT_S: Final = 300.0
ORDERS_S: Final = 60.0  # an edge looks for orders this often even when nobody rings
VERB_S: Final = 60.0
CAP_BYTES: Final = 10 << 30


class SystemClock:
    """`ports.Clock` of this machine."""

    def now(self) -> float:
        """See `ports.Clock`."""
        return time.time()

    def monotonic(self) -> float:
        """See `ports.Clock`."""
        return time.monotonic()


def jittered(seconds: float) -> float:
    """`seconds`, give or take 20 %, so that many processes do not do the same at once."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311  # jitter, not a secret


def recorded(log: SqliteLog, home: Home, clock: SystemClock, actor: str) -> Recorder:
    """A recorder whose fold begins at the nearest snapshot, and which leaves one behind every so many entries."""
    replay = Replay(log, home.log)
    recorder = Recorder(log, clock, replay.at(), actor)

    def snapshot(entries: list[Entry]) -> None:
        if entries[0].seq // EVERY != (entries[-1].seq + 1) // EVERY:
            replay.save(recorder.state)

    log.subscribe(snapshot)
    return recorder


def ask(queue: Queue, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have the loop do what a person asked, and its answer. Raises what the loop raised."""
    reply: Future[dict[str, Any]] = Future()
    queue.add(Trigger("verb", str(request.get("verb")), request=request, reply=reply))
    return reply.result(timeout=VERB_S)


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM and SIGINT call `stop`, from a thread of their own (a handler may not wait for locks)."""

    def handler(*_: object) -> None:
        threading.Thread(target=stop, name="stop", daemon=True).start()

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class EdgeAgent:
    """One edge, kept. `run` blocks; `stop` ends it in an orderly way from any thread, with its runtimes."""

    def __init__(self, edge: str, state: StateDirectory, *, cap_bytes: int = CAP_BYTES) -> None:
        """Raises SecondWriter when an agent of this edge runs already."""
        from reconciler.artifacts.store import Store

        self._home, hub = state.edge(edge), state.hub
        self._home.directory.mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        self.queue = Queue(clock)
        self.log = SqliteLog(self._home.log, f"/edge/{edge}", clock)
        self._record = recorded(self.log, self._home, clock, f"edge/{edge}")
        store = Store(self._home.store, clock=clock)
        self._runtimes = Runtimes(lambda key, pid: self.work.ended(key, pid))

        def slots(key: Key) -> Slots:
            return Slots(self._home.services, self._home.store, key)

        tools = Tools(
            edge=edge,
            store=store,
            slots=slots,
            runtimes=self._runtimes,
            event=self._record.event,
            post=self.queue.add,
            monotonic=clock.monotonic,
            sample=random.random,
            cap_bytes=cap_bytes,
        )
        self.work = EdgeWork(tools, lambda: needed(self._record.state, slots))
        link = FileLink(hub.log, self.log)
        keeper = Keeper(edge, self._record, link, self.work)
        every = {"orders": lambda: jittered(ORDERS_S), "audit": lambda: jittered(AUDIT_S)}
        self._loop = Loop(keeper, keeper, self._record, self.queue, every)
        self.log.subscribe(lambda entries: _tell(hub, edge, entries))
        self._keys = [Key.parse(text) for text in self._record.state.keys]
        self._control = control.serve(self._home.control, self._answer)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("verb"):
            case "stop":
                threading.Thread(target=self.stop, name="stop", daemon=True).start()
            case "progress":
                return {"work": self.work.progress()}
            case "ring":
                self.queue.add(Trigger("orders"))
        return {"pid": os.getpid()}

    def run(self) -> None:
        """Keep the edge until `stop`."""
        for key in self._keys:
            self.work.adopt(key)
        try:
            self._loop.run()
        finally:
            self._control.close()
            self.work.close()
            self._runtimes.close(stop=True)
            self.log.close()

    def stop(self) -> None:
        """End `run`."""
        self.queue.close()


def needed(state: State, slots: Callable[[Key], Slots]) -> set[str]:
    """The artifacts that an edge must not evict: those its slots stand on, and those that are ordered."""
    digests: set[str] = set()
    for text, served in list(state.keys.items()):
        digests |= slots(Key.parse(text)).digests() | {str(served.order.get("sha256", ""))}
    return digests


def _tell(hub: Home, edge: str, entries: list[Entry]) -> None:
    """Ring the hub when this edge has something to say (not for what was copied from it)."""
    if any(entry.origin is None for entry in entries):
        control.ring(hub.control, edge)


class HubProcess:
    """The hub, and this machine's edges. `run` blocks; `stop` ends it in an orderly way from any thread."""

    def __init__(self, settings: Any, *, supervise: bool = True) -> None:
        """settings: `settings.Settings`.  supervise: start this machine's agents, and end them with the hub.

        Raises SecondWriter when a hub runs here already, GitRefused, GitUnavailable.
        """
        from reconciler.controller.hub import Hub
        from reconciler.edge.supervision import Agents
        from reconciler.sources.cache import DocumentCache
        from reconciler.sources.mirror import Mirror
        from reconciler.sources.repository import DocumentRepository
        from reconciler.sources.watch import next_poll_s

        self.settings = settings
        self._state = StateDirectory(Path(settings.state_dir))
        home = self._state.hub
        home.directory.mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        self.queue = Queue(clock)
        self.log = SqliteLog(home.log, "/hub", clock)
        self.record = recorded(self.log, home, clock, "hub")
        remote = remote_of(settings)
        mirror = Mirror(self._state.mirror, remote, settings.branch)
        repository = DocumentRepository(
            mirror, self.record.state, self.log.blob, DocumentCache(self._state.cache), settings.path
        )
        self._agents = Agents(self._state, self._agent_ended)
        hub = Hub(
            repository,
            self.record,
            link_to=lambda edge: FileLink(self._state.edge(edge).log, self.log),
            ring=lambda edge: control.ring(self._state.edge(edge).control),
            fleet_changed=self._agents.want if supervise else lambda _: None,
        )
        every = {
            "commit": lambda: next_poll_s(0, random.random(), settings.poll_s),  # noqa: S311  # jitter, not a secret
            "audit": lambda: jittered(AUDIT_S),
        }
        self._hub, self._loop = hub, Loop(hub, hub, self.record, self.queue, every)
        self._remote = remote
        self._control = control.serve(home.control, self._answer)

    def _agent_ended(self, edge: str, delay_s: float) -> None:
        self.queue.add(Trigger("edge", edge), delay_s)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("verb"):
            case "ring":
                self.queue.add(Trigger("edge", str(request.get("caller", ""))))
            case "stop":
                threading.Thread(target=self.stop, name="stop", daemon=True).start()
            case "sync":
                self.queue.add(Trigger("commit"))
            case "status":
                facts = {"repo": self.settings.repo, "branch": self.settings.branch, "path": self.settings.path}
                return {"pid": os.getpid(), **facts}
            case "seal":
                return {"sealed": str(self.log.seal())}
            case _:
                return ask(self.queue, request)
        return {}

    def run(self) -> None:
        """Reconcile until `stop`."""
        watcher = self._watcher()
        self.queue.add(Trigger("commit"))
        try:
            self._loop.run()
        finally:
            if watcher is not None:
                watcher.close()
            self._close()

    def _watcher(self) -> "Watcher | None":
        """Notices a commit at once where that can be; a repository that is not there yet is polled for."""
        from reconciler.sources.watch import watch_head

        try:
            return watch_head(self._remote, lambda: self.queue.add(Trigger("commit")), branch=self.settings.branch)
        except GitUnavailable:
            return None

    def once(self, timeout_s: float) -> Status:
        """Read the branch, and reconcile until everything is as it says or the time is over. Raises GitUnavailable."""
        timer = threading.Timer(timeout_s, self.stop)
        timer.start()
        try:
            self._loop.turn(Trigger("start"))
            self._loop.reconcile(self._hub.take(Trigger("commit")))
            while not (seen := self._seen()).still and (trigger := self.queue.take()) is not None:
                self._loop.turn(trigger)
            return seen
        finally:
            timer.cancel()
            self._close()

    def _seen(self) -> Status:
        return status(self.record.state, rfc3339(time.time()))

    def _close(self) -> None:
        self._control.close()
        self._agents.stop()
        self.log.close()

    def stop(self) -> None:
        """End `run`."""
        self.queue.close()


def remote_of(settings: Any) -> Any:
    """The Git remote that the settings name. Raises GitRefused."""
    from reconciler.sources.git_safety import Credentials, Remote

    credentials = Credentials(
        token_env=settings.token_env or "",
        token_file=settings.token_file,
        ssh_key=settings.ssh_key_file,
    )
    return Remote.parse(settings.repo, credentials)


# ── for whoever looks, and does not run ───────────────────────────────────────────────────────────────────────────────


class Past(NamedTuple):
    """A log, open for reading, whoever writes it."""

    log: SqliteReader
    replay: Replay
    home: Home
    place: StateDirectory

    @property
    def is_written(self) -> bool:
        """Whether a process writes this log right now."""
        return is_held(self.home.log)

    def stream(self, name: str) -> Iterator[Entry]:
        """The entries of one stream."""
        return self.log.read(stream=name)

    def asked(self, state: State, keys: Iterable[Key]) -> "dict[Key, Expansion]":
        """What the last commit that was read asks for, by what the log keeps of it. state: the end of this log."""
        from reconciler.planning.expand import Circumstances, expand

        around = Circumstances(state.fleet, state.digests, rfc3339(time.time()))
        declared = remembered(state, self.log, self.place).declared
        return {key: expand(key, declared, around) for key in keys}

    def news(self, after: int, every_s: float) -> Iterator[Entry]:
        """Entries behind `after` as they come, for ever; looks every so many seconds."""
        while True:
            for entry in self.log.read(after):
                after = entry.seq
                yield entry
            time.sleep(every_s)


@contextlib.contextmanager
def opened(state_dir: Path, edge: str = "") -> Iterator[Past]:
    """The hub's log of a state directory, or an edge's. Raises HubUnreachable where there is none."""
    place = StateDirectory(state_dir)
    home = place.edge(edge) if edge else place.hub
    if not home.log.exists():
        raise HubUnreachable(f"there is no log at {home.log}")
    with contextlib.closing(SqliteReader(home.log)) as log:
        yield Past(log, Replay(log, home.log), home, place)


def remembered(state: State, log: SqliteReader, place: StateDirectory) -> "DocumentRepository":
    """What the last commit that was read declares, from the log alone. state: its fold, up to its end."""
    from reconciler.sources.cache import DocumentCache
    from reconciler.sources.repository import DocumentRepository
    from reconciler.sources.unread import Unread

    return DocumentRepository(Unread(), state, log.blob, DocumentCache(place.cache))


class Preview:
    """What a hub would do next, by the same engine over a log in memory. Nothing is kept but the mirror, a cache."""

    def __init__(self, settings: Any, past: Past | None, *, uncommitted: bool) -> None:
        """past: the log that it goes on from; None begins with nothing.  uncommitted: take a work tree as it is."""
        from reconciler.controller.hub import Hub
        from reconciler.eventlog.memory import MemoryLog
        from reconciler.sources.cache import DocumentCache
        from reconciler.sources.mirror import Mirror
        from reconciler.sources.repository import DocumentRepository
        from reconciler.sources.uncommitted import Uncommitted

        place, clock = StateDirectory(Path(settings.state_dir)), SystemClock()
        state = past.replay.at() if past else State()
        self._record = Recorder(MemoryLog("/hub", clock), clock, state, "hub")
        kind = Uncommitted if uncommitted else Mirror
        mirror = kind(place.root / "preview.git", remote_of(settings), settings.branch)
        blob = past.log.blob if past else self._record.log.blob
        repository = DocumentRepository(mirror, state, blob, DocumentCache(place.cache), settings.path)
        self.mirror, self.state, self._repository = mirror, state, repository
        link = FileLink(place.hub.log, self._record.log)  # stands for every edge's: none is heard in a preview
        self._hub = Hub(repository, self._record, lambda _: link, lambda _: None, lambda _: None)
        self._loop = Loop(self._hub, self._hub, self._record, Queue(clock))

    def plan(self) -> Plan:
        """The plan of the next pass; then `state` has the problems in force. Raises GitUnavailable, GitRefused."""
        batch = self._hub.take(Trigger("commit"))
        if batch.commit:
            self._record.append(batch.events)
        else:
            batch = self._hub.preview()
        plan, expansions = self._loop.consider(batch)
        self._record.append(self._hub.notice(expansions))
        return plan

    def declared(self) -> Declared:
        """What the branch declares. Raises GitUnavailable, GitRefused."""
        self._hub.take(Trigger("commit"))
        return self._repository.declared

    @property
    def uncommitted(self) -> tuple[str, ...]:
        """The files of the work tree that are taken as they are on disk, once there is a plan."""
        from reconciler.sources.uncommitted import Uncommitted

        return self.mirror.paths if isinstance(self.mirror, Uncommitted) else ()

    @property
    def head(self) -> str:
        """The branch's newest commit, once there is a plan."""
        from reconciler.sources.uncommitted import Uncommitted

        return self.mirror.head if isinstance(self.mirror, Uncommitted) else self.state.ref.commit


@contextlib.contextmanager
def preview(settings: Any, *, uncommitted: bool = False) -> Iterator[Preview]:
    """A preview; one at a time for one state directory, which need not be there yet. Raises SettingInvalid."""
    root = Path(settings.state_dir)
    try:
        root.mkdir(parents=True, exist_ok=True)
        turn = (root / "preview.lock").open("w")
    except OSError as error:
        raise SettingInvalid(f"the state directory {root} cannot be written: {error.strerror}") from error
    with turn, contextlib.ExitStack() as stack:
        fcntl.flock(turn, fcntl.LOCK_EX)
        past = stack.enter_context(opened(root)) if StateDirectory(root).hub.log.exists() else None
        yield Preview(settings, past, uncommitted=uncommitted)


def alone(state_dir: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """A person's verb, done where no hub runs: what is appended is what the hub would append. Raises SecondWriter."""
    from reconciler.controller.hub import Hub

    place, clock = StateDirectory(state_dir), SystemClock()
    with contextlib.closing(SqliteLog(place.hub.log, "/hub", clock)) as log:
        if request["verb"] == "seal":
            return {"sealed": str(log.seal())}
        record = recorded(log, place.hub, clock, "hub")
        repository = remembered(record.state, log, place)

        def link_to(edge: str) -> FileLink:
            return FileLink(place.edge(edge).log, log)

        hub = Hub(repository, record, link_to, lambda edge: control.ring(place.edge(edge).control), lambda _: None)
        reply: Future[dict[str, Any]] = Future()
        Loop(hub, hub, record, Queue(clock)).turn(Trigger("verb", str(request["verb"]), request=request, reply=reply))
        return reply.result(timeout=0)
