"""Kind InferenceModelSet: an InferenceModel for every edge that a selector matches.

May import: model.inference_model, model.shape. In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated

from pydantic import ValidationInfo, field_validator

from reconciler.model.fields import choice
from reconciler.model.inference_model import Service
from reconciler.model.shape import Selector, Shape, VersionText, default_version


class TemplateSpec(Service):
    """The InferenceModel of each edge; its place and version come from the set and from pins."""

    deployToLayer: Annotated[str, *choice("edge")]
    """A set is for edges."""


class Template(Shape):
    """What is made for each edge."""

    spec: TemplateSpec


class InferenceModelSetSpec(Shape):
    """One service on many edges."""

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
