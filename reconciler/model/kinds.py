"""The one table of kinds. May import: the kinds.

In: nothing.  Out: whoever asks what there is: declaration, CRDs, the command line. A new kind is one file and one row.
"""

from typing import Any, Final, Literal, NamedTuple

from reconciler.model.dataset import DatasetSpec, DatasetStatus
from reconciler.model.edge import EdgeSpec, EdgeStatus
from reconciler.model.fleet import FleetSpec, FleetStatus
from reconciler.model.identity import GROUP
from reconciler.model.inference_model import InferenceModelSpec, InferenceModelStatus
from reconciler.model.inference_model_set import InferenceModelSetSpec, InferenceModelSetStatus
from reconciler.model.model import ModelSpec, ModelStatus
from reconciler.model.shape import Shape
from reconciler.model.status import Status

CATEGORY: Final = "kubeedge-ai"  # `kubectl get kubeedge-ai` lists the objects of every kind
_QUOTED_GROUP: Final = GROUP.replace(".", "\\.")


class Column(NamedTuple):
    """A column of `kubectl get`; a wide one only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


def _condition(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


READY: Final = Column("Ready", _condition("status"))
REASON: Final = Column("Reason", _condition("reason"))
MESSAGE: Final = Column("Message", _condition("message"), wide=True)
AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")
EDGE: Final = Column("Edge", rf".metadata.labels.{_QUOTED_GROUP}/edge")
COMMIT: Final = Column("Commit", rf".metadata.annotations.{_QUOTED_GROUP}/commit", wide=True)


class Kind(NamedTuple):
    """One row: how a kind is called, where its objects live, and what they say."""

    name: str
    spec: type[Shape]
    scope: Literal["Namespaced", "Cluster"]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    status: type[Status] = Status


_ROWS = (
    Kind(
        "InferenceModel",
        InferenceModelSpec,
        "Namespaced",
        "inferencemodels",
        ("im",),
        (
            READY,
            Column("Version", ".spec.targetVersion"),
            Column("Serving", ".status.servingVersion"),
            EDGE,
            REASON,
            AGE,
            Column("Layer", ".spec.deployToLayer", wide=True),
            Column("Node", ".spec.nodeName", wide=True),
            Column("Framework", ".spec.frameworkType", wide=True),
            Column("URL", ".status.url", wide=True),
            COMMIT,
            MESSAGE,
        ),
        InferenceModelStatus,
    ),
    Kind(
        "InferenceModelSet",
        InferenceModelSetSpec,
        "Namespaced",
        "inferencemodelsets",
        ("ims",),
        (
            Column("Model", ".spec.template.spec.modelName"),
            Column("Default", ".spec.defaultVersion"),
            Column("Edges", ".status.edges.desired", "integer"),
            Column("Updated", ".status.edges.updated", "integer"),
            Column("Ready", ".status.edges.ready", "integer"),
            Column("Pinned", ".status.edges.pinned", "integer"),
            AGE,
            Column("Failed", ".status.edges.failed", "integer", wide=True),
            REASON._replace(wide=True),
            COMMIT,
            MESSAGE,
        ),
        InferenceModelSetStatus,
    ),
    Kind(
        "Model",
        ModelSpec,
        "Namespaced",
        "models",
        ("mdl",),
        (
            Column("Framework", ".spec.frameworkType"),
            Column("Task", ".spec.task"),
            Column("Versions", ".status.versions", "integer"),
            Column("In-Use", ".status.edges", "integer"),
            AGE,
            COMMIT,
        ),
        ModelStatus,
    ),
    Kind(
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
    ),
    Kind(
        "Edge",
        EdgeSpec,
        "Cluster",
        "edges",
        (),
        (
            READY,
            Column("Node", ".spec.nodeName"),
            Column("Address", ".spec.address"),
            Column("Connected", ".status.present", "boolean"),
            Column("Serving", ".status.models.serving", "integer"),
            Column("Wanted", ".status.models.wanted", "integer"),
            Column("Last-Heard", ".status.lastHeard", "date"),
            AGE,
            REASON._replace(wide=True),
            COMMIT,
            MESSAGE,
        ),
        EdgeStatus,
    ),
    Kind(
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
    ),
)
KINDS: Final = {row.name: row for row in _ROWS}


def to_json(spec: Shape, *, defaults: bool = False) -> dict[str, Any]:
    """The spec as JSON: only what was set, or with `defaults` every field that has a value."""
    if defaults:
        filled: dict[str, Any] = _filled(spec.model_dump(mode="json", by_alias=True, exclude_none=True))
        return filled
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True)


def from_json(kind: str, fields: dict[str, Any]) -> Shape:
    """The inverse of `to_json`. Raises KeyError for an unknown kind, pydantic's ValueError for a spec that is wrong."""
    return KINDS[kind].spec.model_validate(fields)


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner) for name, inner in value.items() if inner != ""}
    return [_filled(inner) for inner in value] if isinstance(value, list) else value
