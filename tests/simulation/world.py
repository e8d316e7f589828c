"""One thread in which many processes seem to run: a clock that is virtual, and a seed that says what comes first.

In: what is to run, and when.  Out: `run_until`. Of all that is due one thing is done at a time, which one is chance.
What waits in the middle of its work (a download) lets the others run, and goes on when those that began later rest.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

from reconciler.engine import failpoints as steps
from reconciler.engine.loop import Loop
from tests.log_events import T0

Action = Callable[[], None]


class Waits(BaseException):
    """A loop has nothing to do: it is left, and entered again when its wait is over."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until


class Killed(BaseException):
    """The process in which this is raised ends here."""


class Gate:
    """`ports.Gate` of one loop. Nobody else ever holds it: there is one thread."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> bool:
        now = self._process.world.seconds
        raise Waits(math.inf if timeout is None else max(now + timeout, math.nextafter(now, math.inf)))

    def notify_all(self) -> None:
        self._process.wakes = -math.inf


class Clock:
    """`ports.Clock` of one process: the world's, and as wrong as its machine's clock is."""

    def __init__(self, process: "Process", skew: Callable[[], float]) -> None:
        self._process, self._skew = process, skew

    def now(self) -> float:
        return T0 + self._process.world.seconds + self._skew()

    def monotonic(self) -> float:
        return self._process.world.seconds

    def gate(self) -> Gate:
        return Gate(self._process)


class Process:
    """One life of a process: it ends once, and another one takes its place. fuse: durable steps until it is killed."""

    def __init__(self, name: str, world: "World", skew: Callable[[], float] = lambda: 0.0) -> None:
        self.name, self.world, self.clock = name, world, Clock(self, skew)
        self.alive, self.wakes, self.fuse = True, -math.inf, 0
        self.loop: Loop | None = None  # set once it is put together
        self.ended: Action = lambda: None
        self._has_begun = False

    def turn(self) -> None:
        """Have the loop take one trigger; the first time, all that is due at a start."""
        assert self.loop is not None
        has_begun, self._has_begun, one = self._has_begun, True, iter((False, True))
        try:
            self.loop.until(one.__next__) if has_begun else self.loop.run()
        except Waits as waits:
            self.wakes = waits.until

    def kill(self) -> None:
        """End it as SIGKILL does: nothing of it runs any more."""
        if self.alive:
            self.alive = False
            self.world.processes.remove(self)
            self.ended()


class Workers:
    """`ports.Workers` in the world: what is submitted is done at some time soon, a bounded number side by side."""

    def __init__(self, process: Process, most: int) -> None:
        self._process, self._left = process, most
        self._waiting: deque[Action] = deque()

    def submit(self, work: Action, /) -> None:
        self._waiting.append(work)
        self._more()

    def _more(self) -> None:
        if self._left and self._waiting:
            self._left -= 1
            world = self._process.world
            world.at(world.random.expovariate(20), partial(self._run, self._waiting.popleft()), self._process)

    def _run(self, work: Action) -> None:
        try:
            work()
        finally:
            self._left += 1
            self._more()


class World:
    """Time, chance and everything that runs."""

    def __init__(self, seed: int) -> None:
        self.random, self.seconds, self.steps = random.Random(seed), 0.0, 0
        self.processes: list[Process] = []
        self.ids = itertools.count(1)
        self._due: list[tuple[float, int, Action, Process | None]] = []
        self._ready: list[tuple[Action, Process | None]] = []
        self._current: Process | None = None

    def new_id(self) -> str:
        return f"{next(self.ids):032x}"

    def at(self, delay_s: float, action: Action, process: Process | None = None) -> None:
        """Have `action` done in so many seconds, as part of a process where one is named."""
        heapq.heappush(self._due, (self.seconds + delay_s, next(self.ids), action, process))

    def sleep(self, process: Process, seconds: float) -> None:
        """Let everything else run for a while, in the middle of a process's work."""
        self.run_until(self.seconds + seconds)
        if not process.alive:
            raise Killed

    def run_until(self, end: float) -> None:
        """Do all that is due before `end`."""
        while True:
            while self._due and self._due[0][0] <= self.seconds:
                _, _, action, process = heapq.heappop(self._due)
                self._ready.append((action, process))
            loops = [one for one in self.processes if one.wakes <= self.seconds]
            if not self._ready and not loops:
                soonest = min(
                    [one.wakes for one in self.processes] + [row[0] for row in self._due[:1]], default=math.inf
                )
                if soonest > end:
                    self.seconds = max(self.seconds, end)
                    return
                self.seconds = max(self.seconds, soonest)
                continue
            chosen = self.random.randrange(len(self._ready) + len(loops))
            if chosen < len(loops):
                loops[chosen].wakes = -math.inf
                self._do(loops[chosen].turn, loops[chosen])
            else:
                self._do(*self._ready.pop(chosen - len(loops)))

    def _do(self, action: Action, process: Process | None) -> None:
        if process is not None and not process.alive:
            return
        self.steps += 1
        before, self._current = self._current, process
        try:
            action()
        except Killed:
            if process is not None:
                process.kill()
        finally:
            self._current = before

    @contextmanager
    def failpoints(self) -> Iterator[None]:
        """Within, a process whose fuse is lit ends right after one of its next durable steps."""
        world = self

        class Named(dict[str, str]):
            def __getitem__(self, name: str) -> str:
                running = world._current
                if running is not None and running.fuse:
                    running.fuse -= 1
                    if not running.fuse:
                        raise Killed
                return super().__getitem__(name)

        with mock.patch.object(steps, "STEPS", Named(steps.STEPS)):
            yield
