"""Stability: flips that come too often, as one event a window. May import: history, engine.recorder.

In: what happened to keys, before it is recorded.  Out: what is recorded of it. A key that is served and lost again more
than five times in ten minutes says so once, with a count; then once for every further ten minutes in which it flips.
What an open order brings about is no flip: somebody wanted it, and it is told.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from reconciler.engine.recorder import StageRecorder
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import Key

MANY, WINDOW_S = 5, 600.0
FLIPS: Final = frozenset({ev.MODEL_ACTIVATED, ev.MODEL_DEGRADED})


class Stability:
    """What one edge's keys have flipped beyond what was recorded. Used from the loop's thread."""

    def __init__(self, record: StageRecorder) -> None:
        self._record = record
        self._untold: dict[Key, list[Event]] = {}

    def sift(self, events: Iterable[Event]) -> list[Event]:
        """The events to record: flips of an unstable key are counted instead."""
        kept: list[Event] = []
        for event in events:
            if event.type in FLIPS and self._is_unstable(event):
                self._untold.setdefault(Key.parse(event.subject), []).append(event)
            else:
                kept.append(event)
        return kept + self.due()

    def due(self) -> list[Event]:
        """One `state.unstable` for each key that has flipped since its last one, ten minutes ago or more."""
        told = []
        for key in [key for key in self._untold if not self._was_said(key)]:
            flips, served = self._untold.pop(key), self._record.mine.known(key)
            before = [time for time in self._recent(key, flips[-1]) if time > served.unstable]
            data = {"count": len(before) + len(flips), "seconds": round(WINDOW_S), "live": flips[-1].data["live"]}
            told.append(self._record.event(ev.STATE_UNSTABLE, key, data))
        return told

    def _is_unstable(self, event: Event) -> bool:
        key = Key.parse(event.subject)
        if event.type == ev.MODEL_ACTIVATED and self._record.mine.known(key).open:
            return False
        return self._was_said(key) or len(self._recent(key, event)) >= MANY

    def _recent(self, key: Key, flip: Event) -> list[str]:
        """The times of recorded flips within a window that ends with this one."""
        start = datetime.fromisoformat(flip.time).timestamp() - WINDOW_S
        return [time for time in self._record.mine.known(key).flips if datetime.fromisoformat(time).timestamp() > start]

    def _was_said(self, key: Key) -> bool:
        """Whether the key's window, which began when it was last called unstable, is still open."""
        said = self._record.mine.known(key).unstable
        return bool(said) and self._record.clock.now() - datetime.fromisoformat(said).timestamp() < WINDOW_S
