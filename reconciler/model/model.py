"""Kind Model: the catalogue. Which versions of a model there are, what they measure, what they are for.

May import: model.shape, model.fields. In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated

from pydantic import AfterValidator

from reconciler.model.fields import Bytes, Number, Text, choice, problem
from reconciler.model.inference_model import FRAMEWORKS, ModelFile
from reconciler.model.shape import Shape, distinct


class Metric(Shape):
    """One figure of one version, with what it was measured on."""

    name: Text
    """accuracy, precision, recall, ..."""
    value: Number
    dataset: Text = ""
    """The dataset, as name@version."""
    split: Text = ""
    """Which part of the dataset."""
    source: Text = ""
    """Who says so, for example `measured`."""


class ModelVersion(ModelFile):
    """One version of the catalogue."""

    size: Bytes | None = None
    """Bytes of the archive as served."""
    metrics: tuple[Metric, ...] = ()


def _not_empty(versions: tuple[ModelVersion, ...]) -> tuple[ModelVersion, ...]:
    if not versions:
        raise problem("RX213", "a Model has at least one version", advice="add version, downloadURL and sha256sum")
    return versions


class ModelSpec(Shape):
    """Which versions of a model there are."""

    frameworkType: Annotated[str, *choice(*FRAMEWORKS)]
    """What the model was made with."""
    task: Text = ""
    """What it is for, for example image-classification."""
    labels: tuple[Text, ...] = ()
    """The classes that it tells apart, in the order of its outputs."""
    versions: Annotated[tuple[ModelVersion, ...], AfterValidator(_not_empty), AfterValidator(distinct)]
    """In any order."""
