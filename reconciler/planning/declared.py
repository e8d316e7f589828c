"""Declared objects as plain data, with the indexes that expansion needs. May import: history, model.identity.

In: validated documents.  Out: `Declared`, an immutable value, to planning.deliver. A change makes a new one that shares
everything that did not change, so a commit costs what it touched.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

import msgspec

from reconciler.history.keys import Key
from reconciler.model.identity import EDGE, POLICY, Identity

Labels = Mapping[str, str]
HOSTNAME = "kubernetes.io/hostname"


class Object(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One declared object: identity, labels and its spec as validated JSON with every default filled in."""

    kind: str
    namespace: str = ""
    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    spec: dict[str, Any] = {}
    path: str = ""
    index: int = 0
    line: int = 0
    lines: dict[str, int] = {}  # of the fields that can be a reason: "defaultVersion", "pins/0"

    def place(self, field: str) -> str:
        """`path:line` of a field, or of the document where the field has no line of its own."""
        return f"{self.path}:{self.lines.get(field, self.line)}"

    @property
    def identity(self) -> Identity:
        """What names it."""
        return Identity(self.kind, self.namespace, self.name)


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether `matchLabels` holds: {} matches everything, an absent selector nothing."""
    if selector is None:
        return False
    return all(labels.get(name) == value for name, value in (selector.get("matchLabels") or {}).items())


def template_of(source: Object) -> Mapping[str, Any]:
    """What an object says of the service itself; what makes services has that in its template."""
    template = source.spec.get("template")
    spec: Mapping[str, Any] = source.spec if template is None else template["spec"]
    return spec


def says_place(obj: Object) -> bool:
    """Whether an object lands where its own nodeName and nodeSelector lead."""
    return "deployToLayer" in obj.spec


def node_of(edge: Object) -> str:
    """The name of an edge's node."""
    return str(edge.spec.get("nodeName") or edge.name)


def node_labels(edge: Object) -> dict[str, str]:
    """The labels by which nodeSelector finds an edge: its own and kubernetes.io/hostname."""
    return {HOSTNAME: node_of(edge), **edge.labels}


class Declared:
    """Every declared object by identity, with edges by label and by node, and what uses a Model."""

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        self._shares = False  # whether the indexes' sets belong to an older value too, and are copied when they change
        self._objects: dict[Identity, Object] = {}
        self._by_kind: dict[str, dict[Identity, Object]] = {}
        self._edges_by_label: dict[tuple[str, str], set[str]] = {}
        self._edges_by_node: dict[str, set[str]] = {}
        self._edges_by_node_label: dict[tuple[str, str], set[str]] = {}
        self._users: dict[tuple[str, str], set[Identity]] = {}
        self._bound: dict[str, set[Identity]] = {}  # nodeName -> what says its own place; "" -> by a selector
        self.ports: dict[str, dict[int, list[tuple[Key, Object]]]] = {}  # edge -> port -> who asks; filled by expansion
        self.renamed: dict[Identity, tuple[Object, str]] | None = None  # filled by naming, where it is asked for
        for obj in objects:
            self._add(obj)

    def paths(self) -> set[str]:
        """The files that declare something."""
        return {obj.path for objects in self._by_kind.values() for obj in objects.values()}

    def changed(self, changes: Mapping[Identity, Object | None]) -> "Declared":
        """This, with `changes` made (None: no longer declared)."""
        new = Declared()
        new._shares = True
        new._objects = dict(self._objects)
        new._by_kind = {kind: dict(members) for kind, members in self._by_kind.items()}
        new._edges_by_label = dict(self._edges_by_label)
        new._edges_by_node = dict(self._edges_by_node)
        new._edges_by_node_label = dict(self._edges_by_node_label)
        new._users = dict(self._users)
        new._bound = dict(self._bound)
        for identity, obj in changes.items():
            old = new._objects.get(identity)
            if old is not None:
                new._remove(old)
            if obj is not None:
                new._add(obj)
        return new

    def _add(self, obj: Object) -> None:
        self._objects[obj.identity] = obj
        self._by_kind.setdefault(obj.kind, {})[obj.identity] = obj
        for index, slot, member in self._index_rows(obj):
            if self._shares:
                index[slot] = index.get(slot, set()) | {member}
            else:
                index.setdefault(slot, set()).add(member)

    def _remove(self, obj: Object) -> None:
        del self._objects[obj.identity]
        del self._by_kind[obj.kind][obj.identity]
        for index, slot, member in self._index_rows(obj):
            left = index[slot] - {member}
            if left:
                index[slot] = left
            else:
                del index[slot]

    def _index_rows(self, obj: Object) -> Iterator[tuple[dict[Any, set[Any]], Any, Any]]:
        if obj.kind == EDGE:
            yield self._edges_by_node, node_of(obj), obj.name
            for label in obj.labels.items():
                yield self._edges_by_label, label, obj.name
            for label in node_labels(obj).items():
                yield self._edges_by_node_label, label, obj.name
        if says_place(obj):
            yield self._bound, obj.spec.get("nodeName") or "", obj.identity
        if reference := template_of(obj).get("modelRef"):
            yield self._users, (obj.namespace, reference), obj.identity

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, identity: Identity) -> Object | None:
        """The object of this identity."""
        return self._objects.get(identity)

    def of_kind(self, kind: str) -> Iterable[Object]:
        """Every object of one kind."""
        return self._by_kind.get(kind, {}).values()

    def edge(self, name: str) -> Object | None:
        """The Edge of this name."""
        return self._objects.get(Identity(EDGE, "", name))

    def fleet(self) -> dict[str, Any] | None:
        """The spec of the repository's Fleet (of several, the least name's); None when there is none."""
        fleets = sorted(self.of_kind(POLICY), key=lambda fleet: fleet.name)
        return fleets[0].spec if fleets else None

    def users(self, namespace: str, model: str) -> AbstractSet[Identity]:
        """What takes its versions from this Model."""
        return self._users.get((namespace, model), set())

    def bound_to(self, edge: Object) -> Iterator[Object]:
        """What says its own place, and so lands on this edge."""
        for identity in sorted(self.naming(node_of(edge)) | self._selected.get(edge.name, set())):
            obj = self._objects[identity]
            if self.edge_of(obj) == edge.name:
                yield obj

    def naming(self, node: str) -> AbstractSet[Identity]:
        """What names this node as its place; "" has those that name none."""
        return self._bound.get(node, set())

    @cached_property
    def _selected(self) -> dict[str, set[Identity]]:
        """Edge -> what lands there by nodeSelector alone. Worked out once, where it is asked for."""
        found: dict[str, set[Identity]] = {}
        for identity in self._bound.get("", ()):
            found.setdefault(self.edge_of(self._objects[identity]) or "", set()).add(identity)
        return found

    def edges_matching(self, selector: Mapping[str, Any] | None) -> Iterator[Object]:
        """The edges that `matchLabels` selects, by name."""
        if selector is None:
            return
        wanted: dict[str, str] = selector.get("matchLabels") or {}
        if wanted:
            names: Iterable[str] = _common(self._edges_by_label, wanted)
        else:
            names = (edge.name for edge in self.of_kind(EDGE))
        for name in sorted(names):
            edge = self.edge(name)
            if edge is not None:
                yield edge

    def edge_of(self, model: Object) -> str | None:
        """The edge on which what says its own place runs: the one of its nodeName that nodeSelector matches too.

        Of several, the least name: the choice is the same on every machine and moves only when that edge goes.
        """
        node, selector = model.spec.get("nodeName"), model.spec.get("nodeSelector") or {}
        names = set(self._edges_by_node.get(node, ())) if node else None
        if selector:
            matching = _common(self._edges_by_node_label, selector)
            names = matching if names is None else names & matching
        return min(names) if names else None


def _common(index: Mapping[tuple[str, str], set[str]], labels: Labels) -> set[str]:
    """Those that carry all of `labels`."""
    return set.intersection(*(index.get(label, set()) for label in labels.items()))
