"""What happened since the start, counted as the log tells it. May import: history. Cheap: it runs within each append.

In: entries as they are appended, under the writer's lock.  Out: counts and durations, to `metrics`. As large as what is
open and the edges there are; it never names an object.
"""

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.history.keys import DECLARE, DELIVER, stage_of

BOUNDS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
POLICIES: Final = frozenset({"correct", "report", "ignore"})
_OUTCOMES: Final = {
    ev.APPLY_SUCCEEDED: "succeeded",
    ev.APPLY_FAILED: "failed",
    ev.APPLY_ABANDONED: "abandoned",
}


class Operation(NamedTuple):
    """What `apply_operations_total` counts by. Kinds and actions are words of ours, so there are few."""

    kind: str
    action: str
    outcome: str


class _Open(NamedTuple):
    operation: str
    action: str
    recorded: str


@dataclass
class Durations:
    """A histogram: how many took up to each bound, and more, and the sum of seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def copy(self) -> "Durations":
        """As it is now."""
        return Durations(list(self.buckets), self.sum_s)


class Counts(NamedTuple):
    """A consistent copy. durations: stage (`plan`, `declare`, `deliver`).  lags: edge -> seconds."""

    operations: dict[Operation, int]
    drift: dict[tuple[str, str], int]
    conflicts: int
    fights: int
    durations: dict[str, Durations]
    lags: dict[str, float]


class Tally:
    """Counts. `heard` is a listener of the log; `has_commit` begins with what the log says."""

    def __init__(self, *, has_commit: bool = False) -> None:
        self.has_commit = has_commit
        self._lock = threading.Lock()
        self._operations: Counter[Operation] = Counter()
        self._drift: Counter[tuple[str, str]] = Counter()
        self._conflicts = self._fights = 0
        self._durations = {stage: Durations() for stage in ("plan", DECLARE, DELIVER)}
        self._lags: dict[str, float] = {}
        self._open: dict[str, _Open] = {}  # stream of a key -> the newest order; it goes with its outcome
        self._read: tuple[str, str] = ("", "")  # id and time of the newest commit, until it is planned

    def heard(self, entries: list[Entry]) -> None:
        """Count what was just appended."""
        with self._lock:
            for entry in entries:
                event = entry.event
                if entry.origin is not None:
                    edge = event.source.split("/")[2] if event.source.startswith("/edge/") else ""
                    self._lags[edge] = max(0.0, _between(event.time, event.recordedtime or event.time))
                handler = _HANDLERS.get(event.type)
                if handler is not None:
                    handler(self, event)

    def counts(self) -> Counts:
        """Everything until now."""
        with self._lock:
            return Counts(
                dict(self._operations),
                dict(self._drift),
                self._conflicts,
                self._fights,
                {stage: taken.copy() for stage, taken in self._durations.items()},
                {edge: lag for edge, lag in self._lags.items() if edge},
            )

    def _advanced(self, event: Event) -> None:
        self.has_commit, self._read = True, (event.id, event.recordedtime)

    def _planned(self, event: Event) -> None:
        read, time = self._read
        if read and event.causationid == read:
            self._read = ("", "")
            self._durations["plan"].add(_between(time, event.recordedtime))

    def _intended(self, event: Event) -> None:
        if event.source.startswith("/hub/"):
            self._open[event.partitionkey] = _Open(
                event.operationid, str(event.data.get("action", "")), event.recordedtime
            )

    def _answered(self, event: Event) -> None:
        known = self._open.get(event.partitionkey)
        if known is None or (event.operationid and known.operation != event.operationid):
            return  # of an order before this process, or of one that a newer one stands for
        outcome = _OUTCOMES[event.type]
        self._operations[Operation(event.subject.partition("/")[0], known.action, outcome)] += 1
        if outcome == "abandoned":
            return  # the order stands until its edge has done it
        del self._open[event.partitionkey]
        self._durations.setdefault(stage_of(event.partitionkey), Durations()).add(
            _between(known.recorded, event.recordedtime)
        )

    def _drifted(self, event: Event) -> None:
        policy = str(event.data.get("policy", ""))
        self._drift[event.subject.partition("/")[0], policy if policy in POLICIES else "other"] += 1

    def _conflicted(self, event: Event) -> None:  # noqa: ARG002  # every handler takes it
        self._conflicts += 1

    def _fought(self, event: Event) -> None:  # noqa: ARG002  # every handler takes it
        self._fights += 1


_HANDLERS: Final = {
    ev.REF_ADVANCED: Tally._advanced,  # noqa: SLF001  # its own table
    ev.CHANGE_PLANNED: Tally._planned,  # noqa: SLF001
    ev.APPLY_INTENDED: Tally._intended,  # noqa: SLF001
    ev.DRIFT_DETECTED: Tally._drifted,  # noqa: SLF001
    ev.APPLY_CONFLICTED: Tally._conflicted,  # noqa: SLF001
    ev.DRIFT_FOUGHT: Tally._fought,  # noqa: SLF001
    **dict.fromkeys(_OUTCOMES, Tally._answered),  # noqa: SLF001
}


def _between(start: str, end: str) -> float:
    """Seconds; 0 where one of the times is not known."""
    if not start or not end:
        return 0.0
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
