"""Times that people write: until when something holds. Imports nothing of ours. Pure.

In: RFC 3339 text from a verb, an annotation or an event.  Out: whether it is one, whether it has passed, the time left.
"""

import re
from datetime import datetime
from typing import Final

_FRACTION: Final = re.compile(r"(:\d\d)\.\d+")


def shown(time: str) -> str:
    """A time as sentences have it: without parts of a second."""
    return _FRACTION.sub(r"\1", time)


def is_time(text: str) -> bool:
    """Whether it is an RFC 3339 time with its zone: without one nobody can tell when it is."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def is_over(until: str, now: str) -> bool:
    """Whether `until` has passed at `now`; "" and what cannot be read never do: it holds until somebody ends it."""
    try:
        return bool(until) and datetime.fromisoformat(until) <= datetime.fromisoformat(now)
    except (ValueError, TypeError):
        return False


def seconds_left(until: str, now: float) -> float:
    """Seconds from `now` (since 1970) to `until`; 0 once it has passed. Raises ValueError, OverflowError."""
    return max(0.0, datetime.fromisoformat(until).timestamp() - now)
