"""Freeze windows: when one holds, until when, and for whom; clocks that jump included."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.planning.freeze import Freeze, frozen

SHOPS = {"from": "2026-12-20", "until": "2027-01-03", "reason": "the shops are full"}
FRIDAY = {"days": ["fri"], "from": "12:00", "until": "18:00", "timeZone": "Europe/Berlin", "reason": "it is Friday"}
NIGHT = {"days": ["fri"], "from": "22:00", "until": "06:00", "reason": "night"}


def at(now: str, *windows: dict[str, Any], **more: bool) -> Freeze | None:
    return frozen({"freeze": list(windows)}, now, **more)


def ends(now: str, *windows: dict[str, Any]) -> str:
    found = at(now, *windows)
    return found.until if found else ""


def test_no_window_freezes_nothing() -> None:
    fleets: list[dict[str, Any]] = [{}, {"freeze": []}, {"freeze": None}]
    for fleet in fleets:
        assert frozen(fleet, "2026-12-24T12:00:00Z") is None


@pytest.mark.parametrize(
    ("now", "holds"),
    [
        ("2026-12-19T23:59:59.999999Z", False),
        ("2026-12-20T00:00:00.000000Z", True),
        ("2027-01-03T23:59:59.999999Z", True),  # the last day counts to its end
        ("2027-01-04T00:00:00Z", False),
        ("2026-12-20T01:30:00+02:00", False),
    ],
)
def test_dates_are_whole_days_in_utc(now: str, holds: bool) -> None:
    expected = Freeze("the shops are full", "2027-01-04T00:00:00Z") if holds else None
    assert at(now, SHOPS) == expected


def test_dates_are_days_of_the_zone_that_is_named() -> None:
    berlin = SHOPS | {"timeZone": "Europe/Berlin"}
    assert ends("2026-12-19T23:00:00Z", berlin) == "2027-01-03T23:00:00Z"
    assert ends("2026-12-19T22:59:59Z", berlin) == ""


def test_times_say_their_own_offset() -> None:
    window = SHOPS | {"from": "2026-12-20T12:00:00+01:00", "until": "2026-12-20T13:00:00z", "timeZone": "Asia/Tokyo"}
    assert ends("2026-12-20T11:00:00Z", window) == "2026-12-20T13:00:00Z"
    assert ends("2026-12-20T10:59:59Z", window) == ""


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-12-25T11:00:00Z", "2026-12-25T17:00:00Z"),  # winter: one hour ahead of UTC
        ("2026-12-25T10:59:59Z", ""),
        ("2026-12-25T17:00:00Z", ""),
        ("2026-12-24T12:00:00Z", ""),
        ("2026-07-03T10:00:00Z", "2026-07-03T16:00:00Z"),  # summer: two
        ("2026-07-03T09:59:59Z", ""),
    ],
)
def test_weekly_windows_hang_on_the_clock_of_their_zone(now: str, until: str) -> None:
    assert ends(now, FRIDAY) == until


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-12-25T21:59:59Z", ""),
        ("2026-12-25T22:00:00Z", "2026-12-26T06:00:00Z"),
        ("2026-12-26T05:59:59Z", "2026-12-26T06:00:00Z"),
        ("2026-12-26T06:00:00Z", ""),
        ("2026-12-26T22:00:00Z", ""),  # Saturday night is not asked for
        ("2026-12-25T05:00:00Z", ""),  # nor the one before Friday
    ],
)
def test_a_window_may_reach_into_the_next_day(now: str, until: str) -> None:
    assert ends(now, NIGHT) == until


@pytest.mark.parametrize("whole", [{"from": "00:00", "until": "24:00"}, {"from": "00:00", "until": "00:00"}])
def test_a_whole_day(whole: dict[str, str]) -> None:
    sunday = {"days": ["sun"], "reason": "Sunday"} | whole
    assert ends("2026-12-27T00:00:00Z", sunday) == "2026-12-28T00:00:00Z"
    assert ends("2026-12-26T23:59:59Z", sunday) == ""
    assert ends("2026-12-28T00:00:00Z", sunday) == ""


# Berlin: 2026-03-29 02:00 → 03:00 (01:00 UTC); 2026-10-25 03:00 → 02:00 (01:00 UTC).
@pytest.mark.parametrize(
    ("now", "window", "until"),
    [
        ("2026-03-29T00:59:59Z", ("01:00", "04:00"), "2026-03-29T02:00:00Z"),  # two hours long, not three
        ("2026-10-25T00:00:00Z", ("01:00", "04:00"), "2026-10-25T03:00:00Z"),  # four hours long
        (
            "2026-10-24T23:00:00Z",
            ("01:00", "02:30"),
            "2026-10-25T01:30:00Z",
        ),  # ends when it is 02:30 for the second time
        ("2026-10-25T00:30:00Z", ("02:30", "04:00"), "2026-10-25T03:00:00Z"),  # begins when it is for the first
        ("2026-03-29T00:30:00Z", ("00:30", "02:30"), "2026-03-29T01:30:00Z"),  # there is no 02:30: the later reading
        ("2026-03-29T00:30:00Z", ("02:30", "04:00"), "2026-03-29T02:00:00Z"),  # the earlier
    ],
)
def test_clocks_that_jump_make_a_window_no_shorter(now: str, window: tuple[str, str], until: str) -> None:
    sunday = {"days": ["sun"], "from": window[0], "until": window[1], "timeZone": "Europe/Berlin", "reason": "r"}
    assert ends(now, sunday) == until


def test_overlapping_windows_are_one() -> None:
    windows = (
        {"from": "2026-12-24", "until": "2026-12-24", "reason": "first"},
        {"from": "2026-12-24T12:00:00Z", "until": "2026-12-25T11:30:00Z", "reason": "second"},
        FRIDAY,  # 2026-12-25, 11:00 to 17:00 UTC
        {"from": "2026-12-25T17:00:01Z", "until": "2026-12-26T00:00:00Z", "reason": "a second too late"},
    )
    assert at("2026-12-24T06:00:00Z", *windows) == Freeze("first", "2026-12-25T17:00:00Z")
    assert at("2026-12-24T13:00:00Z", *windows) == Freeze("second", "2026-12-25T17:00:00Z")


def test_windows_that_touch_are_one() -> None:
    weekend = (
        {"days": ["fri"], "from": "18:00", "until": "24:00", "reason": "weekend"},
        {"days": ["sat", "sun"], "from": "00:00", "until": "24:00", "reason": "weekend"},
        {"days": ["mon"], "from": "00:00", "until": "08:00", "reason": "weekend"},
    )
    assert ends("2026-12-25T18:00:00Z", *weekend) == "2026-12-28T08:00:00Z"


def test_a_freeze_without_end_still_answers() -> None:
    always = {
        "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "from": "00:00",
        "until": "24:00",
        "reason": "r",
    }
    assert ends("2026-12-25T18:00:00Z", always) > "2027-01-25"
    for_ever = {"from": "0001-01-01", "until": "9999-12-31", "reason": "r"}
    assert ends("2026-12-25T18:00:00Z", for_ever) == "9999-12-31T23:59:59Z"
    for zone in ("Asia/Tokyo", "America/New_York"):
        window = for_ever | {"timeZone": zone}
        assert ends("2026-12-25T18:00:00Z", window, always | {"timeZone": "Asia/Tokyo"}) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize("until", ["9999-12-31T20:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"])
def test_fault_017_nothing_is_counted_beyond_the_calendar(until: str) -> None:
    for_long = {"from": "0001-01-01T00:00:00Z", "until": until, "reason": "r"}
    nights = [NIGHT | {"timeZone": zone} for zone in ("Asia/Tokyo", "UTC", "America/New_York")]  # it is a Friday
    assert ends("2026-12-25T18:00:00Z", for_long, *nights) == f"{until[:19]}Z"


def test_a_revert_passes_unless_all_is_said() -> None:
    everything = SHOPS | {"scope": "all", "until": "2026-12-24", "reason": "the audit"}
    changes = SHOPS | {"scope": "changes"}
    assert at("2026-12-24T12:00:00Z", changes, revert=True) is None
    assert at("2026-12-24T12:00:00Z", changes, everything) == Freeze(
        "the shops are full", "2027-01-04T00:00:00Z", all=True
    )
    assert at("2026-12-24T12:00:00Z", changes, everything, revert=True) == Freeze(
        "the audit", "2026-12-25T00:00:00Z", all=True
    )
    assert at("2026-12-25T12:00:00Z", changes, everything) == Freeze("the shops are full", "2027-01-04T00:00:00Z")


def test_frozen_is_what_the_minutes_say() -> None:
    """Against a plain reading of the clock, every 15 minutes of the week in which Berlin's clock goes back."""
    windows = (FRIDAY, NIGHT | {"timeZone": "Europe/Berlin"}, SHOPS | {"from": "2026-10-22", "until": "2026-10-22"})
    now = datetime.fromisoformat("2026-10-21T00:00:00+00:00")
    held = 0
    for _ in range(7 * 96):
        found = at(now.isoformat(), *windows)
        text = now.strftime("%Y-%m-%dT%H:%M")
        expected = (
            "2026-10-22T00:00" <= text < "2026-10-23T00:00"
            or "2026-10-23T10:00" <= text < "2026-10-23T16:00"
            or "2026-10-23T20:00" <= text < "2026-10-24T04:00"
        )
        assert (found is not None) == expected, text
        held += expected
        now += timedelta(minutes=15)
    assert held == (24 + 6 + 8) * 4


def test_fault_017_a_window_to_the_end_of_all_years_holds_in_any_zone() -> None:
    for until in ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z", "9999-12-31"):
        held = frozen(
            {"freeze": [{"from": "2020-01-01", "until": until, "reason": "for good"}]}, "2026-12-24T12:00:00Z"
        )
        assert held is not None
        assert held.until.startswith("9999-12-31T23:59:59")


def test_a_window_that_ends_within_a_second_is_not_said_to_have_ended_before() -> None:
    window = {"from": "2027-01-15", "until": "2027-01-21T18:01:57.833Z", "reason": "a fair"}
    found = frozen({"freeze": [window]}, "2027-01-21T18:01:57.2Z")
    assert found is not None
    assert found.until == "2027-01-21T18:01:58Z"  # who looks again when it ends finds it over, and does not spin
