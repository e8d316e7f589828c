"""Kind Edge: a device or node at the edge, and the versions that are fixed for it.

May import: model.kind, model.shape, model.fields, model.expiry, model.rules, model.status.
In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from ipaddress import ip_address
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator

from reconciler.model.expiry import expires_at
from reconciler.model.fields import Boolean, Count, Text, at_most, problem
from reconciler.model.kind import AGE, COMMIT, MESSAGE, READY, REASON, Column, Kind
from reconciler.model.rules import checks, given, rule
from reconciler.model.shape import Name, Shape, VersionText
from reconciler.model.status import Status, Time
from reconciler.model.times import TIME_ADVICE, time_rule

_NO_ADDRESS = "is not an IP address", "write an IPv4 or IPv6 address, as in 127.0.0.2"
_NEITHER = "a pin names neither a model nor a dataset", "name one of them"
_BOTH = "a pin names both a model and a dataset", "write one pin for each"


def _address(value: str) -> str:
    try:
        found = ip_address(value)
    except ValueError:
        found = None
    if found is None or "%" in value or getattr(found, "ipv4_mapped", None) is not None:
        raise problem("RX213", f"{value!a:.60} {_NO_ADDRESS[0]}", advice=_NO_ADDRESS[1])
    return str(found)


def _expiry(value: str) -> str:
    try:
        expires_at(value or "9999-12-30")
    except ValueError as error:
        raise problem("RX213", str(error), advice=TIME_ADVICE) from None
    return value


class Pin(Shape):
    """One version, fixed for this edge."""

    model_config = ConfigDict(
        json_schema_extra=checks(
            rule(
                f"({given('model')}) || ({given('dataset')})",
                _NEITHER[0],
                advice=_NEITHER[1],
                at="model",
                missing=True,
            ),
            rule(
                f"!({given('model')} && {given('dataset')})",
                _BOTH[0],
                advice=_BOTH[1],
                at="dataset",
            ),
        )
    )

    model: Name = ""
    """A Model, or the modelName where there is no modelRef."""
    dataset: Name = ""
    """A Dataset."""
    version: VersionText
    """The version that this edge gets, whatever its set's default."""
    reason: Text = ""
    """Why; it is shown wherever the pin is."""
    expires: Annotated[
        Text, AfterValidator(_expiry), Field(json_schema_extra=checks(time_rule("self"), maxLength=64))
    ] = ""
    """The last day (UTC), or the RFC 3339 time, of the pin."""

    @field_validator("dataset")
    @classmethod
    def _one_of_both(cls, dataset: str, info: ValidationInfo) -> str:
        model = info.data.get("model", "unreadable")
        if bool(model) == bool(dataset) and model != "unreadable":
            message, advice = _BOTH if dataset else _NEITHER
            raise problem("RX213" if dataset else "RX211", message, advice=advice, beside="")
        return dataset


def _same(name: str) -> str:
    """CEL: whether two pins, a and b, have the same text there, absent being empty."""
    return f"(has(a.{name}) ? a.{name} : '') == (has(b.{name}) ? b.{name} : '')"


_ONCE = rule(
    f"self.all(a, self.exists_one(b, {_same('model')} && {_same('dataset')}))",
    "something is pinned twice",
    advice="keep one of them",
)


class EdgeSpec(Shape):
    """A device or node at the edge, and the versions that are fixed for it."""

    nodeName: Name = ""
    """The node's name; absent, the name of the Edge."""
    address: Annotated[
        Text,
        AfterValidator(_address),
        Field(
            json_schema_extra=checks(
                rule("isIP(self)", f"'{{self}}' {_NO_ADDRESS[0]}", advice=_NO_ADDRESS[1]), maxLength=45
            )
        ),
    ] = "127.0.0.1"
    """The IP address on which its services listen. Ports are told apart by address."""
    pins: Annotated[tuple[Pin, ...], *at_most(128, _ONCE)] = ()
    """Versions fixed for this edge."""

    @field_validator("pins")
    @classmethod
    def _pinned_once(cls, pins: tuple[Pin, ...]) -> tuple[Pin, ...]:
        seen: dict[tuple[str, str], int] = {}
        for index, pin in enumerate(pins):
            what = (pin.model, pin.dataset)
            if what in seen:
                message = f"{pin.model or pin.dataset} is pinned twice, first by entry {seen[what] + 1}"
                raise problem("RX213", message, advice="keep one of them", below=(index,))
            seen[what] = index
        return pins


class ModelCounts(Shape):
    """Of how many models something is true."""

    wanted: Count = 0
    """Models that it is to serve."""
    serving: Count = 0
    """Models that it serves, in the version that is wanted."""


class EdgeStatus(Status):
    """What is known of an edge."""

    present: Boolean | None = None
    """Whether it is connected."""
    since: Time = ""
    """Since when it is, or is not."""
    lastHeard: Time = ""
    """When it said something last; what stands here is as of then."""
    models: ModelCounts | None = None
    """Of how many models what is true."""


KIND: Final = Kind(
    "Edge",
    EdgeSpec,
    "Cluster",
    "edges",
    (),
    (
        READY,
        Column("Node", ".spec.nodeName"),
        Column("Address", ".spec.address"),
        Column("Connected", ".status.present", "boolean"),
        Column("Serving", ".status.models.serving", "integer"),
        Column("Wanted", ".status.models.wanted", "integer"),
        Column("Last-Heard", ".status.lastHeard", "date"),
        AGE,
        REASON._replace(wide=True),
        COMMIT,
        MESSAGE,
    ),
    EdgeStatus,
)
