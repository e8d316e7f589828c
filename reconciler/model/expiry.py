"""When a pin ends. Imports nothing of ours."""

import re
from datetime import UTC, datetime

_DAY_S = 86_400.0
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()  # what RFC 3339 can still write
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[-+]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def expires_at(text: str) -> float:
    """Seconds since 1970-01-01 UTC from which a pin counts no more.

    text: a date, which is valid to its end in UTC, or an RFC 3339 time. Raises ValueError when it is neither.
    """
    try:
        if _DATE.fullmatch(text):
            return min(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() + _DAY_S, _LAST)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!a:.60} is neither a date nor an RFC 3339 time")
