"""Kind InferenceModel: one serving service of one model, in the cloud or on an edge. The seed's fields, verbatim.

May import: model.kind, model.shape, model.fields, model.rules, model.status.
In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator

from reconciler.model.fields import Bytes, Count, Port, Text, at_most, choice, nearest, problem
from reconciler.model.kind import AGE, COMMIT, EDGE, MESSAGE, READY, REASON, Column, Kind
from reconciler.model.rules import checks, given, rule
from reconciler.model.shape import (
    MOST_VERSIONS,
    Digest,
    MatchLabels,
    Name,
    Shape,
    Url,
    VersionText,
    default_rules,
    default_version,
    distinct,
)
from reconciler.model.status import Status, SuspensionStatus, Time

FRAMEWORKS: Final = ["tensorflow", "onnx", "pytorch", "sklearn", "xgboost", "lightgbm", "tflite", "openvino", "custom"]

_IMAGE: Final = given("image")
_UNKNOWN: Final = (
    f"is none of {', '.join(FRAMEWORKS)}",
    "name one of them (edges without Kubernetes serve onnx), or an image that serves the model",
)
_TWO_SOURCES: Final = "manifest and modelRef both say which versions there are", "keep one of them"
_NO_SOURCE: Final = (
    "nothing says where the model is: there is no manifest, no image and no modelRef",
    "add a manifest with version, downloadURL and sha256sum",
)
_NO_EDGE: Final = (
    "a model at the edge needs a nodeName or a nodeSelector",
    "add nodeName: NAME-OF-THE-EDGE; an InferenceModelSet serves on many edges",
)
SERVICE_RULES: Final = (
    rule(
        f"{_IMAGE} || self.frameworkType in {FRAMEWORKS}",
        f"frameworkType {_UNKNOWN[0]}",
        advice=_UNKNOWN[1],
        at="frameworkType",
    ),
    rule(f"!({given('manifest')} && {given('modelRef')})", _TWO_SOURCES[0], advice=_TWO_SOURCES[1], at="modelRef"),
    rule(
        " || ".join(given(name) for name in ("image", "manifest", "modelRef")),
        _NO_SOURCE[0],
        advice=_NO_SOURCE[1],
        at="manifest",
        missing=True,
    ),
)


class ModelFile(Shape):
    """The archive of one version."""

    version: VersionText
    """Opaque text, compared exactly: 1.10 is not 1.1."""
    downloadURL: Url
    """Where the archive is: https, http or file, without credentials."""
    sha256sum: Digest = ""
    """SHA-256 of the archive as served: 64 hexadecimal digits."""
    size: Bytes | None = None
    """Bytes of the archive as served."""


class Service(Shape):
    """What an InferenceModel and the template of an InferenceModelSet have in common."""

    model_config = ConfigDict(json_schema_extra=checks(*SERVICE_RULES))

    modelName: Name
    """The name that clients ask for."""
    deployToLayer: Annotated[str, *choice("cloud", "edge")]
    """cloud: any number of replicas behind one address. edge: one, on the edge that is named."""
    frameworkType: Text
    """What the model was made with; edges without Kubernetes serve onnx alone. Informational with an image."""
    image: Text = ""
    """A container image that serves the model; manifest and targetVersion are then ignored."""
    manifest: Annotated[tuple[ModelFile, ...], AfterValidator(distinct), *at_most(MOST_VERSIONS)] = ()
    """The versions there are. Their order means nothing."""
    modelRef: Name = ""
    """A Model of the catalogue, in the same namespace, whose versions take the place of the manifest."""
    servingPort: Port = 0
    """The port of the service; 0 or absent is that of the runtime: 8080 for onnx."""
    replicas: Count | None = None
    """How many; absent is 1. With 0 nothing serves, and the bytes stay."""

    @field_validator("image")
    @classmethod
    def _framework_is_known(cls, image: str, info: ValidationInfo) -> str:
        framework = info.data.get("frameworkType")
        if framework and framework not in FRAMEWORKS and not image:
            meant = nearest(framework, FRAMEWORKS)
            hint = f"did you mean {meant}?" if meant else _UNKNOWN[1]
            raise problem("RX213", f"{framework!r:.60} {_UNKNOWN[0]}", advice=hint, beside="frameworkType")
        return image

    @field_validator("modelRef")
    @classmethod
    def _has_a_source(cls, reference: str, info: ValidationInfo) -> str:
        other = [info.data.get(name, "unreadable") for name in ("image", "manifest")]
        if reference and info.data.get("manifest"):
            raise problem("RX213", _TWO_SOURCES[0], advice=_TWO_SOURCES[1])
        if not reference and not any(other):
            raise problem("RX211", _NO_SOURCE[0], advice=_NO_SOURCE[1], beside="")
        return reference


class InferenceModelSpec(Service):
    """One serving service of one model, in the cloud or on an edge."""

    model_config = ConfigDict(
        json_schema_extra=checks(
            *SERVICE_RULES,
            rule(
                f"self.deployToLayer != 'edge' || {given('nodeName')} || {given('nodeSelector')}",
                _NO_EDGE[0],
                advice=_NO_EDGE[1],
                at="nodeName",
                missing=True,
            ),
            *default_rules("targetVersion", "manifest", unless=_IMAGE),
        )
    )

    nodeSelector: MatchLabels = Field(default_factory=dict)
    """Labels of the node; of several nodes that match, one is chosen."""
    nodeName: Name = ""
    """The node by its name; it has to match the selector too."""
    targetVersion: VersionText = ""
    """The entry of the manifest that is served. May be left out where there is only one."""

    @field_validator("nodeName")
    @classmethod
    def _edge_is_named(cls, node: str, info: ValidationInfo) -> str:
        selector = info.data.get("nodeSelector", "unreadable")
        if info.data.get("deployToLayer") == "edge" and not node and not selector:
            raise problem("RX211", _NO_EDGE[0], advice=_NO_EDGE[1], beside="deployToLayer")
        return node

    @field_validator("targetVersion")
    @classmethod
    def _target_is_there(cls, target: str, info: ValidationInfo) -> str:
        return target if info.data.get("image") else default_version(target, info.data.get("manifest", ()))


class InferenceModelStatus(Status):
    """What is observed of one service."""

    url: Text = ""
    """Where it answers; absent while it does not."""
    servingVersion: Text = ""
    """What the runtime itself says that it serves."""
    wantedVersion: Text = ""
    """What it is to serve."""
    edge: Text = ""
    """The Edge that it is on; absent in the cloud."""
    phase: Text = ""
    """How far the edge is with the wanted version, for example Downloading, Staged or Committed."""
    since: Time = ""
    """Since when it is in this phase."""
    suspended: SuspensionStatus | None = None
    """Who keeps it from being changed, and until when."""


KIND: Final = Kind(
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
)
