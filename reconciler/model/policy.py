"""The parts of a Fleet that say what to do about drift, and when nothing is to change.

May import: model.shape, model.fields, model.expiry, model.rules, model.times, model.windows.
In: a Fleet's spec.  Out: typed values; planning.drift_rules and planning.freeze read the same as plain JSON.
"""
# ruff: noqa: N815  # field names are the schema's own

import re
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator

from reconciler.model.expiry import expires_at
from reconciler.model.fields import Text, at_most, choice, nearest, problem
from reconciler.model.rules import checks, given, rule
from reconciler.model.shape import Shape, matching
from reconciler.model.times import TIME_ADVICE, is_time
from reconciler.model.windows import DAYS, interval

DRIFTING: Final = ("InferenceModel", "InferenceModelSet", "Model", "Dataset", "Edge", "Fleet", "Namespace")
POLICIES: Final = ("correct", "report", "ignore")
SCOPES: Final = ("changes", "all")

_PATH: Final = r"(spec|labels|annotations)([.\[].*)?|[*].*"
_NO_PATH: Final = "is not a field's path", "write it as in spec.replicas, labels or *.image; * stands for any text"
_CLOCK: Final = "([01][0-9]|2[0-3]):[0-5][0-9]"
_NO_CLOCK: Final = "is not a time of day", 'beside days, from and until are as in "18:00"'
_NOT_SOONER: Final = "the window ends before it begins"
_ZONE: Final = "[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}"
_NO_ZONE: Final = "is not a time zone", "write a name of the IANA database, as in Europe/Berlin"


def _path(value: str) -> str:
    if len(value) <= 256 and re.fullmatch(_PATH, value):
        return value
    raise problem("RX213", f"{value!a:.80} {_NO_PATH[0]}", advice=_NO_PATH[1])


def _manager(value: str) -> str:
    if 0 < len(value) <= 128 and value.isprintable():
        return value
    raise problem(
        "RX213", f"{value!a:.80} is not a field manager", advice="copy it from `kubectl get --show-managed-fields`"
    )


Path = Annotated[
    Text,
    AfterValidator(_path),
    Field(json_schema_extra=checks(matching(f"^({_PATH})$", f"'{{self}}' {_NO_PATH[0]}", _NO_PATH[1]), maxLength=256)),
]
Manager = Annotated[Text, AfterValidator(_manager), Field(json_schema_extra={"minLength": 1, "maxLength": 128})]


class DriftRule(Shape):
    """What to do about a live difference that nobody declared. A list that is empty or absent matches everything."""

    kinds: Annotated[tuple[Annotated[str, *choice(*DRIFTING)], ...], *at_most(32)] = ()
    """Kinds of the objects."""
    fields: Annotated[tuple[Path, ...], *at_most(64)] = ()
    """Paths as in spec.replicas; a path covers what is below it, * stands for any text."""
    managers: Annotated[tuple[Manager, ...], *at_most(64)] = ()
    """Field managers that wrote it, as in kubectl-edit; * stands for any text."""
    policy: Annotated[str, *choice(*POLICIES)]
    """correct: take the field back. report: leave it and say so. ignore: leave it."""


_WEEKLY: Final = given("days")


class FreezeWindow(Shape):
    """A time in which nothing changes: once, or with days every week."""

    model_config = ConfigDict(
        json_schema_extra=checks(
            *(
                rule(
                    f"!({_WEEKLY}) || self.{name}.matches(r'^({_CLOCK}{also})$')",
                    f"'{{self.{name}}}' {_NO_CLOCK[0]}",
                    advice=_NO_CLOCK[1],
                    at=name,
                )
                for name, also in (("from", ""), ("until", "|24:00"))
            ),
            *(
                rule(
                    f"({_WEEKLY}) || {is_time(f'self.{name}')}",
                    f"'{{self.{name}}}' is neither a date nor an RFC 3339 time",
                    advice=TIME_ADVICE,
                    at=name,
                )
                for name in ("from", "until")
            ),
            rule(
                f"({_WEEKLY}) || self.from.size() != 10 || self.until.size() != 10 || self.from <= self.until",
                _NOT_SOONER,
                at="until",
            ),
        )
    )

    days: Annotated[tuple[Annotated[str, *choice(*DAYS)], ...], *at_most(7)] = ()
    """Days of the week on which it begins; absent, the window is once."""
    from_: Annotated[Text, Field(alias="from", json_schema_extra={"maxLength": 64})]
    """A date or an RFC 3339 time; beside days a time of day."""
    until: Annotated[Text, Field(json_schema_extra={"maxLength": 64})]
    """The last day, or the time of its end; beside days a time of day, on the next day where it is not after from."""
    timeZone: Annotated[
        Text,
        Field(json_schema_extra=checks(matching(f"^{_ZONE}$", f"'{{self}}' {_NO_ZONE[0]}", _NO_ZONE[1]), maxLength=64)),
    ] = ""
    """Where days, dates and times of day are counted, as in Europe/Berlin; absent, in UTC."""
    reason: Text
    """Why; it is shown wherever something waits for the end."""
    scope: Annotated[str, *choice(*SCOPES)] = "changes"
    """changes: a revert passes. all: it does not."""

    @field_validator("from_", "until")
    @classmethod
    def _is_a_time(cls, value: str, info: ValidationInfo) -> str:
        days = info.data.get("days")
        if days and not re.fullmatch(_CLOCK, value) and (info.field_name, value) != ("until", "24:00"):
            raise problem("RX213", f"{value!a:.60} {_NO_CLOCK[0]}", advice=_NO_CLOCK[1])
        if days == ():
            try:
                expires_at(value)
            except ValueError:
                message = f"{value!a:.60} is neither a date nor an RFC 3339 time"
                raise problem("RX213", message, advice=TIME_ADVICE) from None
        return value

    @field_validator("timeZone")
    @classmethod
    def _is_known(cls, zone: str, info: ValidationInfo) -> str:
        try:
            ZoneInfo(zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError):
            meant = nearest(zone, sorted(available_timezones()))
            hint = f"did you mean {meant}?" if meant else _NO_ZONE[1]
            raise problem("RX213", f"{zone!a:.60} {_NO_ZONE[0]}", advice=hint) from None
        window = {"from": info.data.get("from_"), "until": info.data.get("until"), "timeZone": zone}
        if info.data.get("days") == () and window["from"] and window["until"]:
            start, end = interval(window)
            if start >= end:
                raise problem("RX213", _NOT_SOONER, beside="until")
        return zone
