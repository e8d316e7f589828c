"""Kind InferenceModelSet: an InferenceModel for every edge that a selector matches.

May import: model.kind, model.inference_model, model.shape, model.rules, model.status.
In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated, Final

from pydantic import ConfigDict, ValidationInfo, field_validator

from reconciler.model.fields import Count, choice
from reconciler.model.inference_model import Service
from reconciler.model.kind import AGE, COMMIT, MESSAGE, READY, REASON, Column, Kind
from reconciler.model.rules import checks
from reconciler.model.shape import Selector, Shape, VersionText, default_rules, default_version
from reconciler.model.status import Status


class TemplateSpec(Service):
    """The InferenceModel of each edge; its place and version come from the set and from pins."""

    deployToLayer: Annotated[str, *choice("edge")]
    """A set is for edges."""


class Template(Shape):
    """What is made for each edge."""

    spec: TemplateSpec


class InferenceModelSetSpec(Shape):
    """One service on many edges: an InferenceModel for every edge that the selector matches."""

    model_config = ConfigDict(
        json_schema_extra=checks(
            *default_rules(
                "defaultVersion",
                "template.spec.manifest",
                unless="has(self.template.spec.image) && self.template.spec.image.size() > 0",
            )
        )
    )

    edgeSelector: Selector
    """Which edges; {} is all of them."""
    template: Template
    defaultVersion: VersionText = ""
    """The version of every edge without a pin. May be left out where the manifest has only one."""

    @field_validator("defaultVersion")
    @classmethod
    def _default_is_there(cls, wanted: str, info: ValidationInfo) -> str:
        template = info.data.get("template")
        return default_version(wanted, template.spec.manifest) if template and not template.spec.image else wanted


class EdgeCounts(Shape):
    """Of how many edges something is true."""

    desired: Count = 0
    """Edges that the selector matches."""
    updated: Count = 0
    """Edges that were ordered to have the version that they are to have."""
    ready: Count = 0
    """Edges that serve it."""
    pinned: Count = 0
    """Edges that a pin keeps on their version."""
    failed: Count = 0
    """Edges that refused it or went back."""


class InferenceModelSetStatus(Status):
    """What is observed of all its edges together."""

    edges: EdgeCounts | None = None
    """Of how many edges what is true."""


KIND: Final = Kind(
    "InferenceModelSet",
    InferenceModelSetSpec,
    "Namespaced",
    "inferencemodelsets",
    ("ims",),
    (
        READY,
        Column("Model", ".spec.template.spec.modelName"),
        Column("Default", ".spec.defaultVersion"),
        Column("Edges", ".status.edges.desired", "integer"),
        Column("Updated", ".status.edges.updated", "integer"),
        Column("Serving", ".status.edges.ready", "integer"),
        Column("Pinned", ".status.edges.pinned", "integer"),
        AGE,
        Column("Failed", ".status.edges.failed", "integer", wide=True),
        REASON._replace(wide=True),
        COMMIT,
        MESSAGE,
    ),
    InferenceModelSetStatus,
)
