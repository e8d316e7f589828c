"""What every status has in common. May import: model.shape, model.fields, model.rules.

In: nothing; a status is a projection of the log.  Out: the types of `status`, to the CRDs and to who writes it. A
status is a summary under 4 KiB with absolute times; the log has the rest. Conditions follow kstatus
(kubernetes-sigs/cli-utils): Ready always; Reconciling and Stalled only while they are True.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated, Any

from pydantic import Field

from reconciler.model.fields import Integer, Text, choice
from reconciler.model.shape import Shape

Time = Annotated[Text, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, in UTC."""
Generation = Annotated[Integer, Field(json_schema_extra={"format": "int64"})]


class Condition(Shape):
    """One statement, and since when it is so (the fields of metav1.Condition)."""

    type: Annotated[Text, Field(json_schema_extra={"maxLength": 316})]
    """Ready, Reconciling or Stalled."""
    status: Annotated[str, *choice("True", "False", "Unknown")]
    """Whether it is so."""
    reason: Annotated[Text, Field(json_schema_extra={"maxLength": 1024})] = ""
    """Why, in one word."""
    message: Annotated[Text, Field(json_schema_extra={"maxLength": 32768})] = ""
    """Why, in words: cause, field, file:line@commit, next command."""
    lastTransitionTime: Time = ""
    """Since when its status is what it is."""
    observedGeneration: Generation | None = None
    """The metadata.generation that it speaks of."""


def _by_type(schema: dict[str, Any]) -> None:
    schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class SuspensionStatus(Shape):
    """Who keeps something from being changed."""

    actor: Text = ""
    """Who said so."""
    reason: Text = ""
    """Why."""
    until: Time = ""
    """When it ends by itself; absent, when somebody says so."""


class Status(Shape):
    """What is observed of any object."""

    conditions: Annotated[tuple[Condition, ...], Field(json_schema_extra=_by_type)] = ()
    """What is true of it now, and since when."""
    observedGeneration: Generation | None = None
    """The metadata.generation that this speaks of."""
    lastAppliedRevision: Text = ""
    """The commit that it is as: main@sha1:<40 hexadecimal digits>."""
    lastHandledReconcileAt: Text = ""
    """The value of the annotation ai.kubeedge.io/requestedAt that was answered last."""
