"""Back-off before something is tried again: exponential, with full jitter. Imports nothing of ours.

In: failures in a row, by the name of what failed, and `sample`: chance, uniform in [0, 1), which a simulation brings
itself.  Out: seconds until the next try.  Source: Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
"""

from collections.abc import Callable, Hashable
from typing import Final

RETRY_BASE_S: Final = 1.0
RETRY_CAP_S: Final = 300.0
_SPREAD: Final = 0.2

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
