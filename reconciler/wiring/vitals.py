"""Vitals of a running hub, which no log tells. Imports nothing of ours; read from any thread.

In: wiring, which says how each is found out, and whoever makes calls, which counts them.  Out: /readyz and /metrics.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _nothing() -> dict[str, int]:
    return {}


@dataclass
class Vitals:
    """waits: what this hub is not ready for, in words, none when it is. lease: whether it holds the Lease, None without
    one. cached: kind -> objects in the watch cache. They are asked from other threads and may not block.
    """

    waits: Callable[[], list[str]] = list
    lease: Callable[[], bool | None] = lambda: None
    cached: Callable[[], Mapping[str, int]] = _nothing
    _calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _git: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def called(self, verb: str, kind: str, status: int) -> None:
        """Count one request to the API server; status 0: no answer."""
        with self._lock:
            self._calls[verb, kind, str(status)] += 1

    def asked_git(self, outcome: str) -> None:
        """Count one look at the Git remote: `ok` or `failed`."""
        with self._lock:
            self._git[outcome] += 1

    def calls(self) -> dict[tuple[str, str, str], int]:
        """(verb, kind, status) -> how many requests."""
        with self._lock:
            return dict(self._calls)

    def git(self) -> dict[str, int]:
        """Outcome -> how many looks."""
        with self._lock:
            return dict(self._git)
