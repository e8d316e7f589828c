"""An edge's agent, put together. In: an edge's name and the state directory.  Out: `EdgeAgent`, ready to run."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from reconciler import control_socket
from reconciler.artifacts.store import Store
from reconciler.edge.job import Tools
from reconciler.edge.keeper import Keeper
from reconciler.edge.paths import Home, StateDirectory
from reconciler.edge.runtimes import Runtimes
from reconciler.edge.slots import Slots
from reconciler.edge.work import EdgeWork
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.retry import jittered
from reconciler.engine.stage import Stage
from reconciler.errors import LogWriteFailed
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.events import Entry
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.wiring.process import AUDIT_S, Pool, SystemClock, recorded

ORDERS_S: Final = 60.0  # an edge looks for orders this often even when nobody rings
CAP_BYTES: Final = 10 << 30
HELLO: Final = "hello"
WORKERS: Final = 4  # keys that are worked on side by side


class EdgeAgent:
    """One edge, kept. `run` blocks; `stop` ends it in an orderly way from any thread, with its runtimes."""

    def __init__(self, edge: str, state: StateDirectory, *, cap_bytes: int = CAP_BYTES) -> None:
        """Raises SecondWriter when an agent of this edge runs already."""
        self._edge, self._home, self._hub = edge, state.edge(edge), state.hub
        self._home.directory.mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        self.queue = Queue(clock)
        self.log = SqliteLog(self._home.log, f"/edge/{edge}", clock)
        self._inode = _inode(self._home.log)
        self._lost: LogWriteFailed | None = None
        self._has_begun = False
        self._stopping = threading.Event()
        self._record = recorded(self.log, self._home, clock, f"edge/{edge}")
        stage = self._record.stage(DELIVER)
        store = Store(self._home.store, clock=clock)
        self._runtimes = Runtimes(
            self._home.services,
            lambda key, pid, end: self.work.ended(key, pid, end),  # noqa: PLW0108  # made below
        )

        def slots(key: Key) -> Slots:
            return Slots(self._home.services, self._home.store, key)

        tools = Tools(
            edge=edge,
            store=store,
            slots=slots,
            runtimes=self._runtimes,
            event=stage.event,
            post=self.queue.stage(DELIVER).add,
            monotonic=clock.monotonic,
            sample=random.random,
            cap_bytes=cap_bytes,
        )
        self._workers = Pool("work", WORKERS)
        self.work = EdgeWork(tools, lambda: needed(self._record.state, slots), self._workers)
        link = FileLink(self._hub.log, self.log)
        keeper = Keeper(edge, self._record, self.queue, link=link, workers=Pool("look", 1), work=self.work)
        every = {
            Cause.ORDERS: lambda: jittered(ORDERS_S, random.random),
            Cause.AUDIT: lambda: jittered(AUDIT_S, random.random),
        }
        stages, hello = [Stage(DELIVER, keeper, keeper, every)], {HELLO: self._say_hello}
        self._loop = Loop(stages, self._record, self.queue, sample=random.random, followers=hello)
        self.log.subscribe(lambda entries: _tell(self._hub, edge, entries))
        self._keys = [Key.parse(text) for text in stage.mine.keys]
        self._control = control_socket.serve(self._home.control, self._answer)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("verb"):
            case "stop":
                threading.Thread(target=self.stop, name="stop", daemon=True).start()
            case "progress":
                return {"work": self.work.progress()}
            case "ring":
                self._look_after_log()
                self.queue.stage(DELIVER).add(Trigger(Cause.ORDERS))
        return {"pid": os.getpid()}

    def _say_hello(self) -> None:
        """Tell the hub that this edge is there, even where there is nothing to do, once what does not serve is told."""
        if self._has_begun:
            control_socket.ring(self._hub.control, self._edge)
            return
        self._has_begun = True
        self.queue.stage(HELLO).add(Trigger(Cause.FOLLOW))  # behind the start, which waits already

    def _look_after_log(self) -> None:
        """End when the log's file was taken away: what is appended from then on is seen by nobody."""
        if _inode(self._home.log) != self._inode:
            self._lost = LogWriteFailed(f"{self._home.log} was removed or replaced while it was written")
            self.queue.close()

    def run(self) -> None:
        """Keep the edge until `stop`; where this ends otherwise, runtimes serve on, and the next agent adopts them.

        Raises LogWriteFailed when the log's file is gone.
        """
        for key in self._keys:
            self.work.adopt(key)
        self.queue.stage(HELLO).add(Trigger(Cause.FOLLOW))
        try:
            self._loop.run()
            if self._lost is not None:
                raise self._lost
        finally:
            self._control.close()
            self.work.close()
            self._workers.close()
            self._runtimes.close(stop=self._stopping.is_set())
            self.log.close()

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()
        self.queue.close()


def _inode(path: Path) -> int:
    """Which file stands there; 0 when none does."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def needed(state: State, slots: Callable[[Key], Slots]) -> set[str]:
    """The artifacts that an edge must not evict: those its slots stand on, and those that are ordered."""
    digests: set[str] = set()
    for text, served in list(state.stage(DELIVER).keys.items()):
        digests |= slots(Key.parse(text)).digests() | {str(served.order.get("sha256", ""))}
    return digests


def _tell(hub: Home, edge: str, entries: list[Entry]) -> None:
    """Ring the hub when this edge has something to say (not for what was copied from it)."""
    if any(entry.origin is None for entry in entries):
        control_socket.ring(hub.control, edge)
