"""What the hub and an agent have in common as processes: the clock, a log with its live fold, an orderly end."""

import contextlib
import queue
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from reconciler.edge.paths import Home
from reconciler.engine.recorder import Recorder
from reconciler.eventlog.lock import is_held, lock_path
from reconciler.eventlog.replay import EVERY, Replay, taken
from reconciler.eventlog.snapshots import Snapshot
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.events import Entry
from reconciler.ports import Clock

AUDIT_S: Final = 300.0


class SystemClock:
    """`ports.Clock` of this machine."""

    def now(self) -> float:
        """See `ports.Clock`."""
        return time.time()

    def monotonic(self) -> float:
        """See `ports.Clock`."""
        return time.monotonic()

    def gate(self) -> threading.Condition:
        """See `ports.Clock`."""
        return threading.Condition()


class Pool:
    """`ports.Workers`: a few threads, begun as they are needed, which end with the process."""

    def __init__(self, name: str, most: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._name, self._most = name, most
        self._threads: list[threading.Thread] = []

    def submit(self, work: Callable[[], None], /) -> None:
        """See `ports.Workers`. Of one thread."""
        self._jobs.put(work)
        if len(self._threads) < self._most:
            name = f"{self._name}-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
            self._threads[-1].start()

    def _run(self) -> None:
        while (work := self._jobs.get()) is not None:
            work()

    def close(self) -> None:
        """Wait until all that was submitted is done. Nothing is submitted any more."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()


class Inline:
    """`ports.Workers` of who has nothing else to do: the work is done at once."""

    def submit(self, work: Callable[[], None], /) -> None:
        """See `ports.Workers`."""
        work()


def recorded(log: SqliteLog, home: Home, clock: Clock, actor: str) -> Recorder:
    """A recorder whose fold begins at the nearest snapshot, and which leaves one behind now and then."""
    replay, beside, idle = Replay(log, home.log), Pool("snapshot", 1), threading.Event()
    recorder = Recorder(log, clock, replay.at(), actor)
    newest = recorder.state.seq
    idle.set()

    def save(snapshot: Snapshot) -> None:
        replay.save(snapshot)
        idle.set()

    def snapshot(entries: list[Entry]) -> None:
        nonlocal newest
        keys = sum(len(stage.keys) for stage in recorder.state.stages.values())
        if entries[-1].seq - newest >= max(EVERY, keys) and idle.is_set():  # what one costs follows what was recorded
            newest = entries[-1].seq
            idle.clear()
            beside.submit(partial(save, taken(recorder.state)))

    log.subscribe(snapshot)
    return recorder


def writer_of(log: Path) -> int | None:
    """The pid of the process that writes `log`, as its lock file names it; None when nobody does. Waits for nobody."""
    if not is_held(log):
        return None
    try:
        named = re.match(r"process (\d+) ", lock_path(log).read_text(errors="replace"))
    except OSError:
        return None
    return int(named[1]) if named else None


@contextlib.contextmanager
def failed_by_threads(fail: Callable[[BaseException], None]) -> Iterator[None]:
    """Within, a thread that ends by a bug of ours calls `fail`: what it did is done by nobody any more."""

    def hook(args: threading.ExceptHookArgs) -> None:
        fail(args.exc_value or args.exc_type())

    before, threading.excepthook = threading.excepthook, hook
    try:
        yield
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM, SIGINT and SIGHUP call `stop`, from a thread of their own (a handler may not wait for locks).

    A SIGHUP that is ignored stays so: whoever began this with `nohup` closes the terminal and means it to go on.
    """

    def handler(*_: object) -> None:
        threading.Thread(target=stop, name="stop", daemon=True).start()

    heard = {signal.SIGTERM, signal.SIGINT}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.add(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
