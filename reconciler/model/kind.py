"""What can be declared of a kind. May import: model.shape, model.status, model.identity.

In: nothing.  Out: `Kind`, of which each kind's file has one, to declaration, CRDs and the command line. Which kinds
there are says the table of planning.kinds.
"""

from typing import Any, Final, Literal, NamedTuple

from reconciler.model.identity import GROUP, VERSION
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
    """One row: how a kind is called, where its objects live, and what they say.

    group, version: ours, but for what stands beside our kinds.
    """

    name: str
    spec: type[Shape]
    scope: Literal["Namespaced", "Cluster"]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    status: type[Status] = Status
    group: str = GROUP
    version: str = VERSION

    @property
    def is_ours(self) -> bool:
        """Whether it is of our group, so that there is a definition of it."""
        return self.group == GROUP

    @property
    def api_version(self) -> str:
        """As a document says it."""
        return f"{self.group}/{self.version}" if self.group else self.version


def to_json(spec: Shape, *, defaults: bool = False) -> dict[str, Any]:
    """The spec as JSON: only what was set, or with `defaults` every field that has a value."""
    if defaults:
        filled: dict[str, Any] = _filled(spec.model_dump(mode="json", by_alias=True, exclude_none=True))
        return filled
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner) for name, inner in value.items() if inner != ""}
    return [_filled(inner) for inner in value] if isinstance(value, list) else value
