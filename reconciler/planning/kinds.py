"""The one table of kinds: all that differs by kind hangs on its row. May import: history, model.identity, planning.

In: nothing.  Out: rows, to whoever would ask which kind something is. A new kind is one file, which says what can be
declared (`KIND`, see model.kind) and what is its own here, and one row. The model is named, not imported: an edge needs
the row of an order, and no pydantic.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from reconciler.history import published
from reconciler.history.keys import Key
from reconciler.history.published import FactsOf
from reconciler.model.identity import CATALOGUE, EDGE, POLICY, SERVICE, SET, Identity
from reconciler.planning.declared import Declared, Object, template_of
from reconciler.planning.placement import ByNode, BySelectors, OfEdge, OfSet, Placement, given
from reconciler.planning.refusals import port_of

if TYPE_CHECKING:
    from reconciler.model.kind import Kind

ALL_SCOPES: Final = "*"


class Together(Protocol):
    """Who belongs together, as a status asks it. Implemented by kube.gathered."""

    @property
    def declared(self) -> Declared:
        """What Git says."""
        ...

    def given(self, key: Key) -> list[str]:
        """The keys of an object on the edges that it is given to."""
        ...

    def on(self, edge: str) -> list[Key]:
        """The objects that an edge is given."""
        ...

    def made(self, source: Object) -> tuple[str, ...]:
        """The keys, on their edges, of what a set makes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What differs by kind.

    model: the module that says what can be declared.  holding: how an edge holds it (edge.holdings); "": not at all.
    placement: where its objects land.  order: (object, edge) -> what an edge is told of it beside the artifact.
    rank: what an edge is to have first has the least one.
    version: the field that says which one of the versions.  pin: the word of a pin and the name that it has to give.
    unset: fields that say nothing when they are so.  numbers: where it has numbers with a fraction.
    facts, tells_suspension, from_git_only: see history.published.
    members: what its status sums up, as keys on edges.  covers: of what is said of others too, which objects (of the
    policy: all, and none is named).  scope: by which name the log suspends what belongs to it.
    users: the objects whose keys depend on it too.
    """

    name: str
    model: str
    placement: Placement = field(default_factory=Placement)
    holding: str = ""
    order: Callable[[Object, Object], dict[str, Any]] | None = None
    rank: int = 1
    version: str = "defaultVersion"
    pin: Callable[[Object], tuple[str, str]] = lambda _: ("", "")
    unset: Mapping[str, Any] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    facts: FactsOf = published.nothing
    tells_suspension: bool = False
    from_git_only: bool = False
    members: Callable[[Together, Key], Iterable[str]] = lambda together, key: together.given(key)
    covers: Callable[[Together, Key], Iterable[Key]] | None = None
    scope: Callable[[Key], str] = str
    users: Callable[[Declared, Object], Iterable[Identity]] = lambda _declared, _obj: ()

    def declares(self) -> "Kind":
        """What can be declared of it; imported where it is asked for."""
        found: Kind = import_module(self.model).KIND
        return found


def is_wide(kind: str) -> bool:
    """Whether what is said of objects of a kind is said of others."""
    return kind in KINDS and KINDS[kind].covers is not None


def models() -> "dict[str, Kind]":
    """What can be declared, by kind."""
    return {name: row.declares() for name, row in KINDS.items()}


def _service_order(obj: Object, edge: Object) -> dict[str, Any]:
    template = template_of(obj)
    return {
        "model": template["modelName"],
        "framework": template["frameworkType"],
        "address": edge.spec.get("address") or "127.0.0.1",
        "port": port_of(obj),
        "serving": template.get("replicas") != 0,  # 0 keeps the bytes and serves nothing; absent is 1
    }


def _dataset_order(obj: Object, edge: Object) -> dict[str, Any]:
    return {"dataset": obj.name, "format": obj.spec["format"], "bytes": given(obj, edge) == "bytes"}


def _model_pin(source: Object) -> tuple[str, str]:
    template = template_of(source)
    return "model", template.get("modelRef") or template.get("modelName", "")


def _members_of_set(together: Together, key: Key) -> Iterable[str]:
    source = together.declared.get(Identity(*key[:3]))
    return () if source is None else together.made(source)


def _members_of_users(together: Together, key: Key) -> Iterable[str]:
    for identity in together.declared.users(key.namespace, key.name):
        yield from KINDS[identity.kind].members(together, Key(*identity, ""))


_SERVICE_UNSET: Final = {"manifest": [], "nodeSelector": {}, "servingPort": 0, "replicas": None}
_ROWS: Final = (
    Row(
        name=SERVICE,
        model="reconciler.model.inference_model",
        placement=ByNode(SERVICE),
        holding="service",
        order=_service_order,
        version="targetVersion",
        unset=_SERVICE_UNSET,
        facts=published.of_service,
        tells_suspension=True,
    ),
    Row(
        name=SET,
        model="reconciler.model.inference_model_set",
        placement=OfSet(SET),
        pin=_model_pin,
        unset=_SERVICE_UNSET,
        facts=published.of_set,
        from_git_only=True,
        members=_members_of_set,
        covers=lambda together, key: (Key.parse(text)._replace(edge="") for text in _members_of_set(together, key)),
    ),
    Row(
        name=CATALOGUE,
        model="reconciler.model.model",
        unset={"labels": []},
        numbers=("versions", "metrics", "value"),
        facts=published.of_model,
        from_git_only=True,
        members=_members_of_users,
        users=lambda declared, obj: declared.users(obj.namespace, obj.name),
    ),
    Row(
        name="Dataset",
        model="reconciler.model.dataset",
        placement=BySelectors("Dataset"),
        holding="bytes",
        order=_dataset_order,
        rank=0,
        pin=lambda obj: ("dataset", obj.name),
        facts=published.of_dataset,
    ),
    Row(
        name=EDGE,
        model="reconciler.model.edge",
        placement=OfEdge(),
        unset={"pins": []},
        facts=published.of_edge,
        from_git_only=True,
        members=lambda together, key: (f"{obj}@{key.name}" for obj in together.on(key.name)),
        covers=lambda together, key: together.on(key.name),
        scope=lambda key: key.name,
    ),
    Row(
        name=POLICY,
        model="reconciler.model.fleet",
        unset={"drift": [], "freeze": []},
        facts=published.of_fleet,
        tells_suspension=True,
        from_git_only=True,
        members=lambda _together, _key: (),
        covers=lambda _together, _key: (),
        scope=lambda _: ALL_SCOPES,
    ),
)
KINDS: Final = {row.name: row for row in _ROWS}
