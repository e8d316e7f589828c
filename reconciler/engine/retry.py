"""Back-off before something is tried again: exponential, with full jitter. May import: errors.

In: failures in a row, by the name of what failed, and `sample`: chance, uniform in [0, 1), which a simulation brings
itself.  Out: seconds until the next try.  Source: Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
"""

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from reconciler.errors import Retry

RETRY_BASE_S: Final = 1.0
RETRY_CAP_S: Final = 300.0
_SPREAD: Final = 0.2


class Pace(NamedTuple):
    """How soon an order is tried again, first and last. spread: anywhere up to that, else give or take a fifth."""

    base_s: float
    cap_s: float
    spread: bool = False


# What is tried again by itself (decision 8). Of what is SEEN to change, how often it is looked at.
PACES: Final[dict[Retry, Pace]] = {
    Retry.SOON: Pace(RETRY_BASE_S, RETRY_CAP_S, spread=True),
    Retry.LATER: Pace(2.0, 900.0),
    Retry.RARELY: Pace(300.0, 6 * 3600.0),
    Retry.SEEN: Pace(5.0, 5.0),
}


def order_delay_s(retry: Retry, tries: int, sample: Callable[[], float]) -> float | None:
    """Seconds until an order that failed so is tried again; None where it is not. tries: failures in a row before."""
    pace = PACES.get(retry)
    if pace is None:
        return None
    if pace.spread:
        return retry_delay_s(tries, sample(), pace.base_s, pace.cap_s)
    return jittered(retry_delay_s(tries, 1.0, pace.base_s, pace.cap_s), sample)


Sample = Callable[[], float]


def retry_delay_s(attempt: int, sample: float, base_s: float = RETRY_BASE_S, cap_s: float = RETRY_CAP_S) -> float:
    """Seconds before retry `attempt` (0 is the first): anywhere up to base_s times 2 to the attempt, or to cap_s."""
    return min(cap_s, base_s * 2.0 ** min(attempt, 30)) * sample


def jittered(seconds: float, sample: Sample) -> float:
    """Give or take a fifth, so that many who began together do not come together."""
    return seconds * (1 - _SPREAD + 2 * _SPREAD * sample())


class Backoff:
    """Counts failures in a row by name, and says how long each waits. A name's calls come from one thread at a time."""

    def __init__(self, base_s: float = RETRY_BASE_S, cap_s: float = RETRY_CAP_S, *, sample: Sample) -> None:
        self._base_s, self._cap_s, self._sample = base_s, cap_s, sample
        self._failed: dict[Hashable, int] = {}

    def failed(self, name: Hashable = "", *, free: int = 0, asked_s: float | None = None) -> float:
        """Count a failure. Seconds until the next try, never fewer than were asked for (Retry-After).

        free: so many in a row are tried again at once.
        """
        self._failed[name] = count = self.attempts(name) + 1
        delay_s = retry_delay_s(count - free - 1, self._sample(), self._base_s, self._cap_s) if count > free else 0.0
        return max(delay_s, asked_s or 0.0)

    def succeeded(self, name: Hashable = "") -> None:
        """The next failure is a first one."""
        self._failed.pop(name, None)

    def attempts(self, name: Hashable = "") -> int:
        """Failures in a row."""
        return self._failed.get(name, 0)
