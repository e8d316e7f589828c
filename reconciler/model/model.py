"""Kind Model: the catalogue. Which versions of a model there are, what they measure, what they are for.

May import: model.kind, model.shape, model.fields, model.rules, model.status.
In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated, Final

from pydantic import AfterValidator

from reconciler.model.fields import Count, Number, Text, at_most, choice, problem
from reconciler.model.inference_model import FRAMEWORKS, ModelFile
from reconciler.model.kind import AGE, COMMIT, READY, Column, Kind
from reconciler.model.rules import rule
from reconciler.model.shape import MOST_VERSIONS, Shape, distinct
from reconciler.model.status import Status


class Metric(Shape):
    """One figure of one version, with what it was measured on."""

    name: Text
    """accuracy, precision, recall, ..."""
    value: Number
    """The figure."""
    dataset: Text = ""
    """The dataset, as name@version."""
    split: Text = ""
    """Which part of the dataset."""
    source: Text = ""
    """Who says so, for example `measured`."""


class ModelVersion(ModelFile):
    """One version of the catalogue."""

    metrics: tuple[Metric, ...] = ()


_NO_VERSION = "a Model has at least one version", "add version, downloadURL and sha256sum"


def _not_empty(versions: tuple[ModelVersion, ...]) -> tuple[ModelVersion, ...]:
    if not versions:
        raise problem("RX213", _NO_VERSION[0], advice=_NO_VERSION[1])
    return versions


class ModelSpec(Shape):
    """The catalogue: which versions of a model there are, what they measure, what they are for."""

    frameworkType: Annotated[str, *choice(*FRAMEWORKS)]
    """What the model was made with. Edges without Kubernetes serve onnx alone."""
    task: Text = ""
    """What it is for, for example image-classification."""
    labels: tuple[Text, ...] = ()
    """The classes that it tells apart, in the order of its outputs."""
    versions: Annotated[
        tuple[ModelVersion, ...],
        AfterValidator(_not_empty),
        AfterValidator(distinct),
        *at_most(MOST_VERSIONS, rule("self.size() > 0", _NO_VERSION[0], advice=_NO_VERSION[1], missing=True)),
    ]
    """In any order."""


class Use(Shape):
    """How far one version is spread."""

    version: Text
    """The version."""
    edges: Count
    """How many edges serve it."""


class ModelStatus(Status):
    """What is observed of a model, wherever it is served."""

    versions: Count | None = None
    """How many versions there are."""
    users: Count | None = None
    """How many InferenceModels use it, those that sets make among them."""
    edges: Count | None = None
    """How many edges serve one of them."""
    inUse: Annotated[tuple[Use, ...], *at_most(50)] = ()
    """The versions that are served, the most spread first; of more than 50, the first 50."""


KIND: Final = Kind(
    "Model",
    ModelSpec,
    "Namespaced",
    "models",
    ("mdl",),
    (
        READY,
        Column("Framework", ".spec.frameworkType"),
        Column("Task", ".spec.task"),
        Column("Versions", ".status.versions", "integer"),
        Column("In-Use", ".status.users", "integer"),
        AGE,
        COMMIT,
    ),
    ModelStatus,
)
