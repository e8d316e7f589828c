"""The freeze windows of the Fleet, in which nothing is to change. May import: model.windows. Pure: time is an argument.

In: the spec of the Fleet in force as plain JSON.  Out: the window that holds at a time, to the judgement of a plan.

A clock time that occurs twice or never (daylight saving) is read so that the window is the longer one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from reconciler.model.windows import DAYS, END, interval, minutes_of, readings, zone_of

_UNFOLLOWED: Final = END - timedelta(days=3)  # who ends later ends last: a clock there may show the year 10000
_CHAIN: Final = 64  # windows that follow each other without a gap are joined up to this many; the end is judged again


@dataclass(frozen=True, slots=True)
class Freeze:
    """A window that holds. until: when it and those that follow it without a gap have ended (RFC 3339 UTC).

    all: whether a revert waits too.
    """

    reason: str
    until: str
    all: bool = False


def frozen(fleet: Mapping[str, Any], now: str, *, revert: bool = False) -> Freeze | None:
    """The freeze that holds at `now` (RFC 3339); of several, the reason is that of the one that ends last.

    revert: for a commit that goes back, which only windows with the scope `all` hold.
    Raises ValueError for a spec that was not checked by model.fleet.
    """
    windows = [one for one in fleet.get("freeze") or () if not revert or _is_all(one)]
    if not windows:
        return None
    at = datetime.fromisoformat(now).astimezone(UTC)
    open_now = [(end, window) for window in windows if (end := _end(window, at)) is not None]
    if not open_now:
        return None
    until, window = max(open_now, key=lambda one: one[0])
    for _ in range(_CHAIN):
        later = [end for one in windows if until < _UNFOLLOWED and (end := _end(one, until)) is not None]
        if not later:
            break
        until = max(later)
    return Freeze(str(window["reason"]), _written(until), any(_is_all(one) for _, one in open_now))


def _end(window: Mapping[str, Any], at: datetime) -> datetime | None:
    """When the window that holds at `at` ends; None where it does not hold."""
    occurrences = _occurrences(window, at) if window.get("days") else (interval(window),)
    return max((end for start, end in occurrences if start <= at < end), default=None)


def _occurrences(window: Mapping[str, Any], at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Those of a weekly window that may hold at `at`: today's and yesterday's where the clock of the window hangs."""
    zone, begin, until = zone_of(window), minutes_of(window["from"]), minutes_of(window["until"])
    length_days = 0 if until > begin else 1  # 22:00 to 06:00 ends a day later
    today = at.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        if DAYS[day.weekday()] in window["days"]:
            yield readings(day, begin, zone)[0], readings(day + timedelta(days=length_days), until, zone)[1]


def _is_all(window: Mapping[str, Any]) -> bool:
    return window.get("scope") == "all"


def _written(at: datetime) -> str:
    if at == END:
        return "9999-12-31T23:59:59Z"
    whole = at if not at.microsecond else at.replace(microsecond=0) + timedelta(seconds=1)  # it holds until then
    return whole.isoformat(timespec="seconds").replace("+00:00", "Z")
