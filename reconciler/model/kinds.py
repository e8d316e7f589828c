"""The one table of kinds. May import: the kinds.

In: nothing.  Out: whoever asks what there is: declaration, CRDs, the command line. A new kind is one file and one row.
"""

from typing import Any, Final, Literal, NamedTuple

from reconciler.model.dataset import DatasetSpec
from reconciler.model.edge import EdgeSpec
from reconciler.model.fleet import FleetSpec
from reconciler.model.inference_model import InferenceModelSpec, InferenceModelStatus
from reconciler.model.inference_model_set import InferenceModelSetSpec
from reconciler.model.model import ModelSpec
from reconciler.model.shape import Shape


class Column(NamedTuple):
    """A column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"


class Kind(NamedTuple):
    """One row: how a kind is called, where its objects live, and what they say."""

    name: str
    spec: type[Shape]
    scope: Literal["Namespaced", "Cluster"]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    status: type[Shape] = Shape


_ROWS = (
    Kind(
        "InferenceModel",
        InferenceModelSpec,
        "Namespaced",
        "inferencemodels",
        ("im",),
        (
            Column("Layer", ".spec.deployToLayer"),
            Column("Target", ".spec.targetVersion"),
            Column("Serving", ".status.servingVersion"),
            Column("URL", ".status.url"),
        ),
        InferenceModelStatus,
    ),
    Kind(
        "InferenceModelSet",
        InferenceModelSetSpec,
        "Namespaced",
        "inferencemodelsets",
        ("ims",),
        (Column("Model", ".spec.template.spec.modelName"), Column("Default", ".spec.defaultVersion")),
    ),
    Kind(
        "Model",
        ModelSpec,
        "Namespaced",
        "models",
        (),
        (Column("Framework", ".spec.frameworkType"), Column("Task", ".spec.task")),
    ),
    Kind(
        "Dataset",
        DatasetSpec,
        "Namespaced",
        "datasets",
        ("ds",),
        (Column("Format", ".spec.format"), Column("Default", ".spec.defaultVersion")),
    ),
    Kind(
        "Edge",
        EdgeSpec,
        "Cluster",
        "edges",
        (),
        (Column("Node", ".spec.nodeName"), Column("Address", ".spec.address")),
    ),
    Kind(
        "Fleet",
        FleetSpec,
        "Cluster",
        "fleets",
        (),
        (Column("Max-Deletes", ".spec.prune.maxDeletes", "integer"), Column("Max-Share", ".spec.prune.maxShare")),
    ),
)
KINDS: Final = {row.name: row for row in _ROWS}


def to_json(spec: Shape, *, defaults: bool = False) -> dict[str, Any]:
    """The spec as JSON: only what was set, or with `defaults` every field that has a value."""
    if defaults:
        filled: dict[str, Any] = _filled(spec.model_dump(mode="json", exclude_none=True))
        return filled
    return spec.model_dump(mode="json", exclude_unset=True)


def from_json(kind: str, fields: dict[str, Any]) -> Shape:
    """The inverse of `to_json`. Raises KeyError for an unknown kind, pydantic's ValueError for a spec that is wrong."""
    return KINDS[kind].spec.model_validate(fields)


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner) for name, inner in value.items() if inner != ""}
    return [_filled(inner) for inner in value] if isinstance(value, list) else value
