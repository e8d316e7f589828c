"""Kind InferenceModel: one serving service of one model, in the cloud or on an edge. The seed's fields, verbatim.

May import: model.shape, model.fields. In: a document's spec.  Out: typed values, to expansion.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from reconciler.model.fields import Count, Port, Text, choice, nearest, problem
from reconciler.model.shape import Digest, Labels, Name, Shape, Url, VersionText, default_version, distinct

FRAMEWORKS: Final = ["tensorflow", "onnx", "pytorch", "sklearn", "xgboost", "lightgbm", "tflite", "openvino", "custom"]


class ModelFile(Shape):
    """The archive of one version."""

    version: VersionText
    """Opaque text, compared exactly: 1.10 is not 1.1."""
    downloadURL: Url
    """Where the archive is: https, http or file, without credentials."""
    sha256sum: Digest = ""
    """SHA-256 of the archive as served: 64 hexadecimal digits."""


class Service(Shape):
    """What an InferenceModel and the template of an InferenceModelSet have in common."""

    modelName: Name
    """The name that clients ask for."""
    deployToLayer: Annotated[str, *choice("cloud", "edge")]
    """cloud: any number of replicas behind one address. edge: one, on the edge that is named."""
    frameworkType: Text
    """What the model was made with; it decides on the runtime. Informational where an image is given."""
    image: Text = ""
    """A container image that serves the model; manifest and targetVersion are then ignored."""
    manifest: Annotated[tuple[ModelFile, ...], AfterValidator(distinct)] = ()
    """The versions there are. Their order means nothing."""
    modelRef: Name = ""
    """A Model of the catalogue, in the same namespace, whose versions take the place of the manifest."""
    servingPort: Port = 0
    """The port of the service; 0 or absent is the framework's own."""
    replicas: Count | None = None
    """How many; absent is 1. With 0 nothing serves, and the bytes stay."""

    @field_validator("image")
    @classmethod
    def _framework_is_known(cls, image: str, info: ValidationInfo) -> str:
        framework = info.data.get("frameworkType")
        if framework and framework not in FRAMEWORKS and not image:
            meant = nearest(framework, FRAMEWORKS)
            message = f"{framework!r:.60} has no runtime; there is one for {', '.join(FRAMEWORKS)}"
            hint = f"did you mean {meant}?" if meant else "name one of them, or an image that serves the model"
            raise problem("RX213", message, advice=hint, beside="frameworkType")
        return image

    @field_validator("modelRef")
    @classmethod
    def _has_a_source(cls, reference: str, info: ValidationInfo) -> str:
        other = [info.data.get(name, "unreadable") for name in ("image", "manifest")]
        if reference and info.data.get("manifest"):
            message = "manifest and modelRef both say which versions there are"
            raise problem("RX213", message, advice="keep one of them")
        if not reference and not any(other):
            message = "nothing says where the model is: there is no manifest, no image and no modelRef"
            hint = "add a manifest with version, downloadURL and sha256sum"
            raise problem("RX211", message, advice=hint, beside="")
        return reference


class InferenceModelSpec(Service):
    """What one service serves, and where."""

    nodeSelector: Labels = Field(default_factory=dict)
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
            message = "a model at the edge needs a nodeName or a nodeSelector"
            hint = "add nodeName: NAME-OF-THE-EDGE; an InferenceModelSet serves on many edges"
            raise problem("RX211", message, advice=hint, beside="deployToLayer")
        return node

    @field_validator("targetVersion")
    @classmethod
    def _target_is_there(cls, target: str, info: ValidationInfo) -> str:
        return target if info.data.get("image") else default_version(target, info.data.get("manifest", ()))


class InferenceModelStatus(Shape):
    """What is observed of one service."""

    url: Text = ""
    """Where it answers; absent while it does not."""
    servingVersion: Text = ""
    """What the runtime itself says that it serves."""
