"""When nothing is to change: the freeze windows of the Fleet. Imports nothing of ours. Pure: time is an argument.

In: the spec of the Fleet in force as plain JSON.  Out: the window that holds at a time, to the judgement of a plan.

A clock time that occurs twice or never (daylight saving) is read so that the window is the longer one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CHAIN: Final = 64  # windows that follow each other without a gap are joined up to this many; the end is judged again
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


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
        later = [end for one in windows if until < _NO_TIME[1] and (end := _end(one, until)) is not None]
        if not later:
            break
        until = max(later)
    return Freeze(str(window["reason"]), _written(until), any(_is_all(one) for _, one in open_now))


def interval(window: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """First instant, and the one after the last, of a window that is not weekly."""
    zone = _zone(window)
    return _instant(str(window["from"]), zone, last=False), _instant(str(window["until"]), zone, last=True)


def _end(window: Mapping[str, Any], at: datetime) -> datetime | None:
    """When the window that holds at `at` ends; None where it does not hold."""
    occurrences = _occurrences(window, at) if window.get("days") else (interval(window),)
    return max((end for start, end in occurrences if start <= at < end), default=None)


def _occurrences(window: Mapping[str, Any], at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Those of a weekly window that may hold at `at`: today's and yesterday's where the clock of the window hangs."""
    zone, begin, until = _zone(window), _minutes(window["from"]), _minutes(window["until"])
    length_days = 0 if until > begin else 1  # 22:00 to 06:00 ends a day later
    today = at.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        if DAYS[day.weekday()] in window["days"]:
            yield _clock(day, begin, zone)[0], _clock(day + timedelta(days=length_days), until, zone)[1]


def _instant(text: str, zone: ZoneInfo, *, last: bool) -> datetime:
    """A time as it is; a date as its first instant in the zone, or as the one after its last."""
    if len(text) > len("2026-12-31"):
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    try:
        day = date.fromisoformat(text) + timedelta(days=last)
        return _clock(day, 0, zone)[last]
    except OverflowError:
        return _NO_TIME[last]


def _clock(day: date, minutes: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The earliest and the latest instant at which a clock in the zone may show this."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    one, other = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(one, other), max(one, other)


def _minutes(clock: object) -> int:
    hours, _, minutes = str(clock).partition(":")
    return int(hours) * 60 + int(minutes)


def _zone(window: Mapping[str, Any]) -> ZoneInfo:
    return ZoneInfo(str(window.get("timeZone") or "UTC"))


def _is_all(window: Mapping[str, Any]) -> bool:
    return window.get("scope") == "all"


def _written(at: datetime) -> str:
    if at == _NO_TIME[1]:
        return "9999-12-31T23:59:59Z"
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
