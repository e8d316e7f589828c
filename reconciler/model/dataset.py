"""Kind Dataset: where data is, its format and versions; which edges get the bytes, and which only the metadata.

May import: model.kind, model.shape, model.fields, model.rules, model.status.
In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, ValidationInfo, field_validator

from reconciler.model.fields import Bytes, Count, Text, at_most, choice
from reconciler.model.kind import AGE, COMMIT, MESSAGE, READY, REASON, Column, Kind
from reconciler.model.rules import checks
from reconciler.model.shape import (
    MOST_VERSIONS,
    Digest,
    Selector,
    Shape,
    Url,
    VersionText,
    default_rules,
    default_version,
    distinct,
)
from reconciler.model.status import Status

FORMATS: Final = ("csv", "txt", "voc", "coco", "yolo", "jsonl")


class DatasetVersion(Shape):
    """The file or archive of one version."""

    version: VersionText
    """Opaque text, compared exactly."""
    downloadURL: Url
    """Where it is: https, http or file, without credentials."""
    sha256sum: Digest = ""
    """SHA-256 of what is served: 64 hexadecimal digits."""
    size: Bytes | None = None
    """Bytes as served."""


class Reach(Shape):
    """Which edges get what."""

    bytes: Selector | None = None
    """These get the data itself."""
    metadata: Selector | None = None
    """These know of it."""


class DatasetSpec(Shape):
    """Where data is and in which versions; which edges get the bytes, and which only know of it."""

    model_config = ConfigDict(json_schema_extra=checks(*default_rules("defaultVersion", "versions")))

    format: Annotated[str, *choice(*FORMATS)]
    """How samples stand in it."""
    versions: Annotated[tuple[DatasetVersion, ...], AfterValidator(distinct), *at_most(MOST_VERSIONS)]
    """In any order."""
    defaultVersion: VersionText = ""
    """The version of every edge without a pin. May be left out where there is only one."""
    edges: Reach = Reach()
    """Without it, the data goes nowhere."""

    @field_validator("defaultVersion")
    @classmethod
    def _default_is_there(cls, wanted: str, info: ValidationInfo) -> str:
        return default_version(wanted, info.data.get("versions", ()))


class ReachCounts(Shape):
    """How many edges have what."""

    bytes: Count = 0
    """Edges that are to have the data itself."""
    metadata: Count = 0
    """Edges that are to know of it."""
    ready: Count = 0
    """Edges of both sorts that have what they are to have."""


class DatasetStatus(Status):
    """What is observed of data at its edges."""

    versions: Count | None = None
    """How many versions there are."""
    servedVersion: Text = ""
    """The version that every edge without a pin has; absent while they differ."""
    edges: ReachCounts | None = None
    """How many edges have what."""


KIND: Final = Kind(
    "Dataset",
    DatasetSpec,
    "Namespaced",
    "datasets",
    ("dset",),  # `ds` is the DaemonSet's
    (
        READY,
        Column("Format", ".spec.format"),
        Column("Default", ".spec.defaultVersion"),
        Column("Edges", ".status.edges.bytes", "integer"),
        Column("Metadata", ".status.edges.metadata", "integer"),
        AGE,
        REASON._replace(wide=True),
        COMMIT,
        MESSAGE,
    ),
    DatasetStatus,
)
