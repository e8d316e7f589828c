"""Kind Edge: a device or node at the edge, and the versions that are fixed for it.

May import: model.shape, model.fields. In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from reconciler.model.expiry import expires_at
from reconciler.model.fields import Text, problem
from reconciler.model.shape import Name, Shape, VersionText


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        hint = "write an IPv4 or IPv6 address, as in 127.0.0.2"
        raise problem("RX213", f"{value!a:.60} is not an IP address", advice=hint) from None


def _expiry(value: str) -> str:
    try:
        expires_at(value or "9999-12-30")
    except ValueError as error:
        raise problem("RX213", str(error), advice="write 2026-12-31 or 2026-12-31T18:00:00Z") from None
    return value


class Pin(Shape):
    """One version, fixed for this edge."""

    model: Name = ""
    """A Model, or the modelName where there is no modelRef."""
    dataset: Name = ""
    """A Dataset."""
    version: VersionText
    """The version that this edge gets, whatever its set's default."""
    reason: Text = ""
    """Why; it is shown wherever the pin is."""
    expires: Annotated[Text, AfterValidator(_expiry)] = ""
    """The last day (UTC), or the RFC 3339 time, of the pin."""

    @field_validator("dataset")
    @classmethod
    def _one_of_both(cls, dataset: str, info: ValidationInfo) -> str:
        model = info.data.get("model", "unreadable")
        if bool(model) == bool(dataset) and model != "unreadable":
            message = "a pin names a model or a dataset, not both" if dataset else "a pin names a model or a dataset"
            raise problem("RX213" if dataset else "RX211", message, advice="one pin for each", beside="")
        return dataset


class EdgeSpec(Shape):
    """One edge."""

    nodeName: Name = ""
    """The node's name; absent, the name of the Edge."""
    address: Annotated[Text, AfterValidator(_address), Field(json_schema_extra={"maxLength": 45})] = "127.0.0.1"
    """The IP address on which its services listen. Ports are told apart by address."""
    pins: tuple[Pin, ...] = ()
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
