"""Dates, times and clocks of a zone as instants. Imports nothing of ours, and no pydantic. Pure.

A clock time that occurs twice or never (daylight saving) has an earliest and a latest reading.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
END: Final = datetime.max.replace(tzinfo=UTC)


def interval(window: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """First instant, and the one after the last, of {from, until, timeZone}; each is a date or an RFC 3339 time.

    A date is a whole day of the zone. Raises ValueError when it is neither, or the zone is not known.
    """
    zone = zone_of(window)
    return _instant(str(window["from"]), zone, last=False), _instant(str(window["until"]), zone, last=True)


def readings(day: date, minutes: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The earliest and the latest instant at which a clock in the zone may show this."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    one, other = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(one, other), max(one, other)


def minutes_of(clock: object) -> int:
    """Minutes since midnight of `22:30`."""
    hours, _, minutes = str(clock).partition(":")
    return int(hours) * 60 + int(minutes)


def zone_of(window: Mapping[str, Any]) -> ZoneInfo:
    """The zone that it names, else UTC."""
    return ZoneInfo(str(window.get("timeZone") or "UTC"))


def _instant(text: str, zone: ZoneInfo, *, last: bool) -> datetime:
    """A time as it is; a date as its first instant in the zone, or as the one after its last."""
    try:
        if len(text) > len("2026-12-31"):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
        return readings(date.fromisoformat(text) + timedelta(days=last), 0, zone)[last]
    except OverflowError:
        return END if last else BEGINNING
