"""Kind Fleet: the repository's policy. One a repository; every field has a default.

May import: model.shape, model.fields. In: a document's spec.  Out: typed values, to planning.
"""
# ruff: noqa: N815  # field names are the schema's own

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from reconciler.model.fields import Boolean, Count, Text, problem
from reconciler.model.shape import Shape


def _share(value: str) -> str:
    if re.fullmatch(r"(100|[1-9]?[0-9])%", value):
        return value
    raise problem("RX213", f"{value!a:.40} is not a share", advice="write whole per cent, as in 10%")


class Prune(Shape):
    """How much may be deleted in a sliding hour before a plan waits for a person: the smaller of the two counts."""

    maxDeletes: Count = 20
    """Objects."""
    maxShare: Annotated[Text, AfterValidator(_share), Field(json_schema_extra={"pattern": "^(100|[1-9]?[0-9])%$"})] = (
        "10%"
    )
    """Share of all objects, in whole per cent."""


class Artifacts(Shape):
    """Which downloads are allowed."""

    requireDigest: Boolean = True
    """Whether an artifact without sha256sum is refused."""
    allowLoopback: Boolean = False
    """Whether URLs may lead to this machine itself."""
    allowFile: Boolean = False
    """Whether file URLs may be read."""


class FleetSpec(Shape):
    """The policy in force from the next commit on."""

    prune: Prune = Prune()
    artifacts: Artifacts = Artifacts()
