"""A clock that stands where a test puts it, and events to append."""

import threading
from typing import Any

from reconciler.history.events import APPLY_SUCCEEDED, Event, event_id

T0 = 1_800_000_000.0


class StillClock:
    """`ports.Clock` that moves only when told."""

    def __init__(self, seconds: float = T0) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def gate(self) -> threading.Condition:
        return threading.Condition()


def an_event(number: int, stream: str = "deploy/a", **fields: Any) -> Event:
    """The event `number` of `stream`; equal on every call."""
    known = {"type": APPLY_SUCCEEDED, "time": "2027-01-15T08:00:00.000000Z", "data": {"number": number}}
    return Event(**{"id": event_id(stream, number), "partitionkey": stream, **known, **fields})


def some_events(count: int, stream: str = "deploy/a", start: int = 0) -> list[Event]:
    """`count` events of `stream`."""
    return [an_event(number, stream) for number in range(start, start + count)]
