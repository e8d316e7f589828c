"""Contention: two writers that change a field back and forth. Imports nothing of ours. Of one thread.

In: a key each time a field of it was taken back.  Out: whether that was once too often (more than 5 in a minute).
"""

from collections import deque
from collections.abc import Hashable
from typing import Final

MOST: Final = 5
WINDOW_S: Final = 60.0
PAUSE_S: Final = 300.0
GONE_PAUSE_S: Final = 15.0  # where it is about whether there is an object at all: without it nothing serves
REMEMBERED: Final = 4096


class Fights:
    """Counts what was taken back, by key and field."""

    def __init__(self) -> None:
        self._times: dict[Hashable, deque[float]] = {}

    def too_often(self, what: Hashable, now: float) -> bool:
        """Whether `what` was taken back MOST times in the last minute; else it is counted. now: never goes back."""
        times = self._times.setdefault(what, deque(maxlen=MOST))
        if len(times) == MOST and times[0] > now - WINDOW_S:
            return True
        times.append(now)
        if len(self._times) > REMEMBERED:
            self._times = {key: kept for key, kept in self._times.items() if kept[-1] > now - WINDOW_S}
        return False
