"""Whether two writers fight over a field. Imports nothing of ours. Thread-safe.

In: a key each time a field of it was taken back.  Out: whether that was once too often (more than 5 in a minute).
"""

import threading
from collections import deque
from collections.abc import Hashable
from typing import Final

MOST: Final = 5
WINDOW_S: Final = 60.0
PAUSE_S: Final = 300.0


class Fights:
    """Counts what was taken back, by key and field."""

    def __init__(self) -> None:
        self._times: dict[Hashable, deque[float]] = {}
        self._lock = threading.Lock()

    def too_often(self, what: Hashable, now: float) -> bool:
        """Whether taking `what` back at `now` (seconds, never going back) is once too often; else it is counted."""
        with self._lock:
            times = self._times.setdefault(what, deque(maxlen=MOST))
            recent = [one for one in times if one > now - WINDOW_S]
            if len(recent) >= MOST:
                return True
            times.append(now)
            if len(self._times) > 4096:
                self._times = {key: kept for key, kept in self._times.items() if kept[-1] > now - WINDOW_S}
            return False

    def count(self, what: Hashable, now: float) -> int:
        """How often `what` was taken back in the last minute."""
        with self._lock:
            return sum(one > now - WINDOW_S for one in self._times.get(what, ()))
