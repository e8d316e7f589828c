"""The one table of kinds: all that differs by kind hangs on its row. May import: history, model.identity, planning.

In: nothing.  Out: rows, to whoever would ask which kind something is. A new kind is one file, which says what can be
declared (`KIND`, see model.kind) and what is its own here, and one row. The model is named, not imported: an edge needs
the row of an order, and no pydantic.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from reconciler.history import object_status as published
from reconciler.history.keys import Key
from reconciler.history.object_status import FactsOf
from reconciler.model.identity import CATALOGUE, EDGE, HOME, POLICY, SERVICE, SET
from reconciler.planning.declared import Object, matches, template_of
from reconciler.planning.refusals import SERVABLE

if TYPE_CHECKING:
    from reconciler.model.kind import Kind

ALL_SCOPES: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """One kind: all that differs by kind.

    model: the module that says what can be declared.  holding: how an edge holds it (edge.work); "": not at all.
    selectors: of the edges on which an object lands, where it does not name its own place (declared.says_place).
    order: (object, edge) -> what an edge is told of it beside the artifact.
    rank: what an edge is to have first has the least one.
    version: the field that says which one of the versions.  pin: the word of a pin and the name that it has to give.
    unset: fields that say nothing when they are so.  numbers: where it has numbers with a fraction.
    facts: what is said in its status, see history.object_status.  from_git_only: nothing follows from one made by hand.
    members: what its status sums up (dependents.py): what of it is `given` to edges, or what it has `on` it, has `made`
    or has for `users`.  wide: what is said of it is said of them too, of the policy of all.
    scope: by which name the log suspends what belongs to it.
    bare: it says nothing beside its metadata.  stays: it is deleted only where an annotation asks for it.
    """

    name: str
    model: str
    selectors: Callable[[Object], Iterable[Mapping[str, Any] | None]] | None = None
    holding: str = ""
    order: Callable[[Object, Object], dict[str, Any]] | None = None
    rank: int = 1
    version: str = "defaultVersion"
    pin: Callable[[Object], tuple[str, str]] = lambda _: ("", "")
    unset: Mapping[str, Any] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    facts: FactsOf = published.nothing
    from_git_only: bool = False
    members: str = "given"
    wide: bool = False
    scope: Callable[[Key], str] = str
    bare: bool = False
    stays: bool = False

    def declares(self) -> "Kind":
        """What can be declared of it; imported where it is asked for."""
        found: Kind = import_module(self.model).KIND
        return found


def is_wide(kind: str) -> bool:
    """Whether what is said of objects of a kind is said of others. A kind without a row may be asked for too."""
    return kind in KINDS and KINDS[kind].wide


def rank_of(key: Key) -> int:
    """What is to be had first has the least one."""
    return KINDS[key.kind].rank if key.kind in KINDS else 1


def scope_of(key: Key) -> str:
    """By which name the log suspends what belongs to an object."""
    return KINDS[key.kind].scope(key) if key.kind in KINDS else str(key)


def models() -> "dict[str, Kind]":
    """What can be declared, by kind."""
    return {name: row.declares() for name, row in KINDS.items()}


def by_reach(obj: Object) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Of the edges that get the bytes, and of those that get only the metadata."""
    reach = obj.spec.get("edges") or {}
    return reach.get("bytes"), reach.get("metadata")


def _service_order(obj: Object, edge: Object) -> dict[str, Any]:
    template = template_of(obj)
    return {
        "model": template["modelName"],
        "framework": template["frameworkType"],
        "address": edge.spec.get("address") or "127.0.0.1",
        "port": template.get("servingPort") or SERVABLE[template["frameworkType"]],
        "serving": template.get("replicas") != 0,  # 0 keeps the bytes and serves nothing; absent is 1
    }


def _dataset_order(obj: Object, edge: Object) -> dict[str, Any]:
    bytes_, _ = by_reach(obj)  # they win where both match
    return {"dataset": obj.name, "format": obj.spec["format"], "bytes": matches(bytes_, edge.labels)}


def _model_pin(source: Object) -> tuple[str, str]:
    template = template_of(source)
    return "model", template.get("modelRef") or template.get("modelName", "")


_SERVICE_UNSET: Final = {"manifest": [], "nodeSelector": {}, "servingPort": 0, "replicas": None}
_ROWS: Final = (
    KindRow(
        name=SERVICE,
        model="reconciler.model.inference_model",
        holding="service",
        order=_service_order,
        version="targetVersion",
        unset=_SERVICE_UNSET,
        facts=published.of_service,
    ),
    KindRow(
        name=SET,
        model="reconciler.model.inference_model_set",
        selectors=lambda obj: (obj.spec.get("edgeSelector"),),
        pin=_model_pin,
        unset=_SERVICE_UNSET,
        facts=published.of_set,
        from_git_only=True,
        members="made",
        wide=True,
    ),
    KindRow(
        name=CATALOGUE,
        model="reconciler.model.model",
        unset={"labels": []},
        numbers=("versions", "metrics", "value"),
        facts=published.of_model,
        from_git_only=True,
        members="users",
    ),
    KindRow(
        name="Dataset",
        model="reconciler.model.dataset",
        selectors=by_reach,
        holding="bytes",
        order=_dataset_order,
        rank=0,
        pin=lambda obj: ("dataset", obj.name),
        facts=published.of_dataset,
    ),
    KindRow(
        name=EDGE,
        model="reconciler.model.edge",
        unset={"pins": []},
        facts=published.of_edge,
        from_git_only=True,
        members="on",
        wide=True,
        scope=lambda key: key.name,
    ),
    KindRow(
        name=POLICY,
        model="reconciler.model.fleet",
        unset={"drift": [], "freeze": [], "overrideManagers": []},
        facts=published.of_fleet,
        from_git_only=True,
        wide=True,
        scope=lambda _: ALL_SCOPES,
    ),
    KindRow(name=HOME, model="reconciler.model.namespace", rank=-1, bare=True, stays=True),
)
KINDS: Final = {row.name: row for row in _ROWS}
