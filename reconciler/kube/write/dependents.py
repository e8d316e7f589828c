"""The index of dependents: objects and edges of which a status speaks. May import: history, planning, kube.

In: State and what Git declares.  Out: the members of a set, a Model, an Edge, a Dataset; what is to be published when
one of them changed. Of the loop's thread alone. A set's members are found once a commit, and where they are asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.state import State
from reconciler.model.identity import CATALOGUE, EDGE, SERVICE, SET, SET_LABEL, Identity
from reconciler.planning import declare
from reconciler.planning.declared import Declared, Object, template_of
from reconciler.planning.kinds import KINDS
from reconciler.planning.reach import keys_of


class Dependents:
    """The index of which objects and edges belong together."""

    def __init__(self, declared: Callable[[], Declared]) -> None:
        self._declared = declared
        self._edges_of: dict[str, set[str]] = {}  # object -> the edges that it is given to
        self._on: dict[str, set[str]] = {}  # edge -> its objects
        self._sets: tuple[Declared | None, dict[Identity, tuple[str, ...]]] = (None, {})
        self._files: tuple[Declared | None, dict[str, list[Object]]] = (None, {})

    def read(self, state: State) -> None:
        """Begin with what the log knows."""
        for text in state.stage(DELIVER).keys:
            self.add(Key.parse(text))

    def add(self, key: Key) -> None:
        """A key of what an edge is given."""
        obj, edge = str(key._replace(edge="")), key.edge
        self._edges_of.setdefault(obj, set()).add(edge)
        self._on.setdefault(edge, set()).add(obj)

    def drop(self, key: Key) -> None:
        """A key that is gone from the log."""
        obj, edge = str(key._replace(edge="")), key.edge
        for index, slot, member in ((self._edges_of, obj, edge), (self._on, edge, obj)):
            index.get(slot, set()).discard(member)
            if not index.get(slot, True):
                del index[slot]

    def members(self, key: Key) -> list[str]:
        """What the status of an object sums up, by its row: keys on edges."""
        find = {"given": self._given, "on": self._on_edge, "made": self._made, "users": self._of_users}
        return list(find[KINDS[key.kind].members](key))

    def _given(self, key: Key) -> Iterable[str]:
        return (f"{key}@{edge}" for edge in self._edges_of.get(str(key), ()))

    def _on_edge(self, key: Key) -> Iterable[str]:
        return (f"{obj}@{key.name}" for obj in self._on.get(key.name, ()))

    def _made(self, key: Key) -> Iterable[str]:
        declared, identity = self._declared(), Identity(*key[:3])
        if self._sets[0] is not declared:
            self._sets = (declared, {})
        source, found = declared.get(identity), self._sets[1].get(identity)
        if found is None and source is not None:
            found = tuple(str(one) for one in keys_of(declared, source))
            self._sets[1][identity] = found
        return found or ()

    def _of_users(self, key: Key) -> Iterable[str]:
        """What uses a Model, on its edges; an InferenceModel of which no edge was told stands for itself."""
        for identity in self._declared().users(key.namespace, key.name):
            used = declare.key_of(identity)
            yield from self.members(used) or ([str(used)] if used.kind == SERVICE else [])

    def problems(self, key: Key, state: State) -> list[dict[str, Any]]:
        """What is wrong with an object, or with the document that declares it: those from its line to the next one."""
        found = [*state.problems.get(str(key), ()), *state.stage(DECLARE).problems.get(str(key), ())]
        source = self._declared().get(Identity(key.kind, key.namespace, key.name))
        in_file = state.problems.get(source.path, ()) if source is not None else ()
        if source is None or not in_file:
            return found
        beside = [obj.line for obj in self.declared_in(source.path)]
        until = min((line for line in beside if line > source.line), default=None)
        first = source.line if source.line > min(beside) else 0
        return found + [
            one for one in in_file if first <= one.get("line", 0) and (until is None or one["line"] < until)
        ]

    def declared_in(self, path: str) -> list[Object]:
        """The objects of one file."""
        declared = self._declared()
        if self._files[0] is not declared:
            self._files = (declared, {})
        if path not in self._files[1]:
            found = (obj for kind in KINDS for obj in declared.of_kind(kind))
            self._files[1][path] = [obj for obj in found if obj.path == path]
        return self._files[1][path]

    def on(self, edge: str) -> list[Key]:
        """The objects that an edge is given."""
        return [Key.parse(obj) for obj in self._on.get(edge, ())]

    def summed_in(self, key: Key, state: State) -> Iterator[Key]:
        """What else is told anew when this object, or what an edge says of it, has changed."""
        declared = self._declared()
        for edge in self._edges_of.get(str(key), ()):
            yield Key(EDGE, "", edge, "")
        if key.kind != SERVICE:
            return
        set_name = state.stage(DECLARE).known(key).order.get("labels", {}).get(SET_LABEL, "")
        source = declared.get(Identity(SET, key.namespace, set_name)) if set_name else None
        source = source or declare.source_of(declared, key)[0]
        if source is None:  # it is gone: any of them may have had it
            for kind in (SET, CATALOGUE):
                yield from (declare.key_of(obj.identity) for obj in declared.of_kind(kind))
            return
        if source.kind == SET:
            yield declare.key_of(source.identity)
        model = template_of(source).get("modelRef")
        if model:
            yield Key(CATALOGUE, key.namespace, model, "")
