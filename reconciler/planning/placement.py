"""Where the objects of a kind land: which keys on edges they lead to. May import: history.keys, planning. Pure.

In: declared objects.  Out: keys, to planning.expand; each row of planning.kinds has one of these.
"""

from collections.abc import Iterator

from reconciler.diagnostics import Diagnostic
from reconciler.history.keys import Key
from reconciler.model.identity import SERVICE, SET, Identity
from reconciler.planning import refusals
from reconciler.planning.declared import Declared, Object, matches
from reconciler.planning.naming import key_of_set
from reconciler.planning.refusals import port_of


class Placement:
    """On no edge."""

    def __init__(self, kind: str = "") -> None:
        self._kind = kind

    def keys(self, declared: Declared, obj: Object) -> Iterator[Key]:  # noqa: ARG002
        """Every key on an edge that comes from one object; one on the edge "" tells why it leads to none."""
        return iter(())

    def on(self, declared: Declared, edge: Object) -> Iterator[tuple[Key, Object]]:  # noqa: ARG002
        """Every key on one edge, with the object that it comes from."""
        return iter(())

    def reaches(self, declared: Declared, obj: Object, edge: str) -> bool:  # noqa: ARG002
        """Whether an object itself is the source of its key on this edge."""
        return False

    def shape(self, obj: Object) -> object:  # noqa: ARG002
        """What decides where an object's keys are, how they are called and on which port."""
        return None

    def names(self, declared: Declared, obj: Object) -> Iterator[Identity]:  # noqa: ARG002
        """The names that an object may take from what sets make, or give back."""
        return iter(())

    def home(self, declared: Declared, obj: Object) -> Object | None:  # noqa: ARG002
        """The one edge that an object leads to by itself."""
        return None

    def is_lost(self, declared: Declared, obj: Object) -> bool:  # noqa: ARG002
        """Whether it leads to no edge, though it is for one: where it was, it stays."""
        return False

    def refusal(self, declared: Declared, obj: Object, edge: Object | None) -> Diagnostic | None:  # noqa: ARG002
        """Why an edge cannot have it."""
        return None

    def misplaced(self, declared: Declared, obj: Object) -> Diagnostic | None:  # noqa: ARG002
        """Why it can be nowhere, also where a cluster has nodes that Git does not know."""
        return None


class BySelectors(Placement):
    """On the edges that `edges.bytes` or `edges.metadata` select."""

    def keys(self, declared: Declared, obj: Object) -> Iterator[Key]:
        """One on each edge."""
        selectors = obj.spec.get("edges") or {}
        for what in ("bytes", "metadata"):
            for edge in declared.edges_matching(selectors.get(what)):
                yield Key(*obj.identity, edge.name)

    def on(self, declared: Declared, edge: Object) -> Iterator[tuple[Key, Object]]:
        """Those of the kind that select it."""
        for obj in declared.of_kind(self._kind):
            if given(obj, edge):
                yield Key(*obj.identity, edge.name), obj

    def reaches(self, declared: Declared, obj: Object, edge: str) -> bool:
        """Where it is selected."""
        there = declared.edge(edge)
        return there is not None and bool(given(obj, there))

    def shape(self, obj: Object) -> object:
        """Its selectors."""
        return obj.spec.get("edges")


def given(obj: Object, edge: Object) -> str:
    """`bytes`, `metadata` or "": what of an object this edge gets. Bytes win where both selectors match."""
    selectors = obj.spec.get("edges") or {}
    return next((what for what in ("bytes", "metadata") if matches(selectors.get(what), edge.labels)), "")


class ByNode(Placement):
    """On the one edge that nodeName and nodeSelector lead to."""

    def keys(self, declared: Declared, obj: Object) -> Iterator[Key]:
        """One."""
        yield Key(*obj.identity, declared.edge_of(obj) or "")

    def on(self, declared: Declared, edge: Object) -> Iterator[tuple[Key, Object]]:
        """Those of the kind that lead to it."""
        for obj in declared.bound_to(edge):
            if obj.kind == self._kind:
                yield Key(*obj.identity, edge.name), obj

    def reaches(self, declared: Declared, obj: Object, edge: str) -> bool:
        """What leads to no edge at all is the source of its key on every edge where it was: it stays there."""
        return declared.edge_of(obj) in {None, edge}

    def shape(self, obj: Object) -> object:
        """Its node and its port."""
        return obj.spec.get("nodeSelector"), obj.spec.get("nodeName"), port_of(obj)

    def names(self, declared: Declared, obj: Object) -> Iterator[Identity]:  # noqa: ARG002
        """Its own."""
        yield obj.identity

    def home(self, declared: Declared, obj: Object) -> Object | None:
        """The one edge."""
        return declared.edge(declared.edge_of(obj) or "")

    def is_lost(self, declared: Declared, obj: Object) -> bool:
        """Whether there is no such edge."""
        return declared.edge_of(obj) is None

    def refusal(self, declared: Declared, obj: Object, edge: Object | None) -> Diagnostic | None:
        """It cannot be served there, or is nowhere."""
        refusal = refusals.unservable(obj)
        if refusal is not None or edge is not None:
            return refusal
        return refusals.unplaced(obj, _named(declared, obj))

    def misplaced(self, declared: Declared, obj: Object) -> Diagnostic | None:
        """Its node has an edge, which it does not select."""
        named = _named(declared, obj) if self.is_lost(declared, obj) else None
        return None if named is None else refusals.unplaced(obj, named)


def _named(declared: Declared, obj: Object) -> Object | None:
    """The edge of its nodeName, whether or not it is selected too."""
    named = declared.edge_of(Object(kind=obj.kind, name=obj.name, spec={"nodeName": obj.spec.get("nodeName")}))
    return declared.edge(named) if named else None


class OfSet(Placement):
    """One for each edge that a set selects, under a name of its own."""

    def keys(self, declared: Declared, obj: Object) -> Iterator[Key]:
        """Those of what it makes."""
        for edge in declared.edges_matching(obj.spec.get("edgeSelector")):
            yield key_of_set(declared, obj, edge.name)

    def on(self, declared: Declared, edge: Object) -> Iterator[tuple[Key, Object]]:
        """What sets that select it make for it."""
        for source in declared.of_kind(self._kind):
            if matches(source.spec.get("edgeSelector"), edge.labels):
                yield key_of_set(declared, source, edge.name), source

    def shape(self, obj: Object) -> object:
        """Its selector and its port."""
        return obj.spec.get("edgeSelector"), port_of(obj)

    def names(self, declared: Declared, obj: Object) -> Iterator[Identity]:
        """Those that it gives, unless they are taken."""
        for edge in declared.edges_matching(obj.spec.get("edgeSelector")):
            yield Identity(SERVICE, obj.namespace, f"{obj.name}-{edge.name}")

    def refusal(self, declared: Declared, obj: Object, edge: Object | None) -> Diagnostic | None:  # noqa: ARG002
        """It cannot be served there."""
        return refusals.unservable(obj)


class OfEdge(Placement):
    """An edge itself: what lands on it."""

    def shape(self, obj: Object) -> object:
        """All but its pins."""
        return obj.labels, {name: value for name, value in obj.spec.items() if name != "pins"}

    def names(self, declared: Declared, obj: Object) -> Iterator[Identity]:
        """Those that sets give on it."""
        for source in declared.of_kind(SET):
            if matches(source.spec.get("edgeSelector"), obj.labels):
                yield Identity(SERVICE, source.namespace, f"{source.name}-{obj.name}")
