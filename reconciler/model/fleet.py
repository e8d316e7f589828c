"""Kind Fleet: the repository's policy. One a repository; every field has a default.

May import: model.kind, model.shape, model.fields, model.policy, model.rules, model.status.
In: a document's spec.  Out: typed values, to planning.
"""
# ruff: noqa: N815  # field names are the schema's own

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from reconciler.model.fields import Boolean, Count, Text, at_most, problem
from reconciler.model.kind import AGE, MESSAGE, READY, REASON, Column, Kind
from reconciler.model.policy import DriftRule, FreezeWindow, Manager
from reconciler.model.rules import checks
from reconciler.model.shape import Shape, matching
from reconciler.model.status import Status, SuspensionStatus, Time

_SHARE = "(100|[1-9]?[0-9])%"
_SHARE_ADVICE = "write whole per cent, as in 10%"


def _share(value: str) -> str:
    if re.fullmatch(_SHARE, value):
        return value
    raise problem("RX213", f"{value!a:.40} is not a share", advice=_SHARE_ADVICE)


_SHARE_RULE = matching(f"^{_SHARE}$", "'{self}' is not a share", _SHARE_ADVICE)


class Prune(Shape):
    """How much may be deleted in a sliding hour before a plan waits for a person: the smaller of the two counts."""

    maxDeletes: Count = 20
    """Objects."""
    maxShare: Annotated[Text, AfterValidator(_share), Field(json_schema_extra=checks(_SHARE_RULE, maxLength=16))] = (
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
    """The policy of a repository, in force from the next commit on. One a repository; every field has a default."""

    prune: Prune = Prune()
    artifacts: Artifacts = Artifacts()
    drift: Annotated[tuple[DriftRule, ...], *at_most(64)] = ()
    """What to do about live differences; the first rule that matches counts, without one the field is taken back."""
    adopt: Boolean = False
    """Whether objects that are declared, but were made by somebody else, are taken over."""
    overrideManagers: Annotated[tuple[Manager, ...], *at_most(64)] = ()
    """Field managers by which people apply; * stands for any text. What they have of our objects becomes ours, so that
    what leaves Git goes. Absent, kubectl* and before-first-apply."""
    freeze: Annotated[tuple[FreezeWindow, ...], *at_most(64)] = ()
    """When nothing is to change."""


class HeldPlanStatus(Shape):
    """A plan that waits for a person."""

    digest: Text
    """What `reconciler approve` is given."""
    reason: Text = ""
    """Why it waits."""
    counts: dict[str, Count] = Field(default_factory=dict)
    """How many steps of which sort."""


class FleetStatus(Status):
    """How far the repository is carried out."""

    lastAttemptedRevision: Text = ""
    """The newest commit that was seen: main@sha1:<40 hexadecimal digits>."""
    commit: Text = ""
    """The first 12 digits of the commit that was accepted last."""
    objects: Count | None = None
    """How many objects are declared."""
    problems: Count | None = None
    """How many problems the documents of the newest commit have."""
    heldPlan: HeldPlanStatus | None = None
    """The plan that waits for a person."""
    suspended: SuspensionStatus | None = None
    """Who keeps everything from being changed, and until when."""
    frozenUntil: Time = ""
    """When the freeze that holds now ends."""


KIND: Final = Kind(
    "Fleet",
    FleetSpec,
    "Cluster",
    "fleets",
    (),
    (
        READY,
        Column("Commit", ".status.commit"),
        Column("Held", ".status.heldPlan.digest"),
        Column("Objects", ".status.objects", "integer"),
        Column("Problems", ".status.problems", "integer"),
        AGE,
        Column("Frozen-Until", ".status.frozenUntil", wide=True),
        REASON._replace(wide=True),
        MESSAGE,
    ),
    FleetStatus,
)
