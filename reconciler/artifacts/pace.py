"""Time and the caller, as one thing: progress told, cancellation asked, slowness noticed. May import ports, errors.

In: a Clock, the caller's `progress` and `cancelled`.  Out: calls back, and exceptions that end the work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.artifacts.limits import FetchLimits
from reconciler.ports import Cancelled, Clock, FetchProgress

TOLD_EVERY_S = 0.1
SLICE_S = 0.25


class Interrupted(Exception):
    """A transfer broke off; what arrived is kept. Never leaves this room: `fetch` tries again or translates it.

    after_s: what the server asked for with Retry-After.
    """

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass
class Watch:
    """The caller of one `stage`: tells it what happens, and stops when it no longer wants it."""

    clock: Clock
    progress: FetchProgress
    cancelled: Callable[[], bool]
    sleep: Callable[[float], None]
    _stage: str = ""
    _told_at: float = field(default=float("-inf"))

    def tell(self, stage: str, done: int, total: int | None) -> None:
        """Report progress: every change of stage, else at most ten times a second."""
        now = self.clock.monotonic()
        if stage != self._stage or now - self._told_at >= TOLD_EVERY_S:
            self._stage, self._told_at = stage, now
            self.progress(stage, done, total)

    def check(self) -> None:
        """Raise Cancelled when the caller gave up."""
        if self.cancelled():
            raise Cancelled

    def pause(self, seconds: float) -> None:
        """Sleep in slices, so that a cancellation is noticed."""
        while seconds > 0:
            self.check()
            self.sleep(min(seconds, SLICE_S))
            seconds -= SLICE_S


class Pace:
    """Judges the speed of one request: so many bytes in every window, and an end to it all."""

    def __init__(self, limits: FetchLimits, clock: Clock, ends_at: float) -> None:
        self._limits, self._clock, self._ends_at = limits, clock, ends_at
        self._window_ends = clock.monotonic() + limits.window_s
        self._in_window = 0

    def check(self, received: int) -> None:
        """Count bytes just received (0 while waiting). Raises Interrupted when too slow or out of time."""
        self._in_window += received
        now = self._clock.monotonic()
        if now >= self._ends_at:
            raise Interrupted(f"not done within {self._limits.wall_s:g} s")
        if now >= self._window_ends:
            if self._in_window < self._limits.min_rate_bytes_s * self._limits.window_s:
                raise Interrupted(f"only {self._in_window} bytes in {self._limits.window_s:g} s")
            self._window_ends, self._in_window = now + self._limits.window_s, 0
