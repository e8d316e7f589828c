"""What people call what a log keeps, and what one or two names mean. May import: errors, history, natural, kinds. Pure.

    edge-7                                   whichever the log knows: an edge, what goes by it on edges, an object
    edge/edge-7                              the edge
    model/digits, dataset/digits             what goes by it, wherever it is
    im/digits-edge-7, InferenceModel/default/digits-edge-7      one object, by its kind
    edge-7 digits                            what goes by it on that edge

In: names and State.  Out: `Sought`, to whoever answers or acts: decided where the log is, not where it is asked.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from reconciler.errors import NameAmbiguous, NameUnknown, UsageError
from reconciler.history.keys import Key, set_scope, spoken
from reconciler.history.state import State
from reconciler.history.timeline import named
from reconciler.model.identity import DEFAULT_NAMESPACE, EDGE, EDGE_LABEL
from reconciler.natural import in_order, listed

NEAR: Final = 3
DATASET: Final = "Dataset"
ROLES: Final = frozenset({"edge", "model", "dataset"})
LISTS: Final = "`reconciler status` lists what there is"

Order = Mapping[str, Any]
Thing = tuple[Key, Order]


class Word(NamedTuple):
    """One name as it was typed. role: `edge`, `model`, `dataset`, `object` (text is a key), or "": whatever it is."""

    role: str
    text: str

    def is_own(self, key: Key) -> bool:
        """Whether a key bears this name itself."""
        return self.text in {key.name, str(key)}

    def is_of(self, key: Key, order: Order) -> bool:
        """Whether a key, ordered so, goes by this name."""
        if self.role == "object":
            made = set_scope(key.namespace, order.get("labels", {}))  # a set is what it makes, too
            return self.text in {str(key), str(key._replace(edge="")), made}
        if key.kind == EDGE or (self.role and (self.role == "dataset") != (key.kind == DATASET)):
            return False
        return self.text in {key.name, called(key, order)}


def word(text: str) -> Word:
    """What was typed. Raises NameUnknown for a kind there is not."""
    head, slash, rest = text.partition("/")
    if not slash:
        return Word("", text)
    if head in ROLES and rest and "/" not in rest:
        return Word(head, rest)
    key = _key(text)
    return Word("edge", key.name) if key.kind == EDGE else Word("object", str(key))


def called(key: Key, order: Order) -> str:
    """What people call it: its model or dataset, else its name without the edge."""
    return str(order.get("spec", {}).get("modelName") or named(key, order))


def edge_of(key: Key, order: Order) -> str:
    """The edge that a key is of, as one edge holds it or as the API server does; "" of what is of none."""
    if key.edge or key.kind != EDGE:
        return key.edge or str(order.get("labels", {}).get(EDGE_LABEL, ""))
    return key.name


def _key(text: str) -> Key:
    path, _, edge = text.partition("@")
    kind, *names = path.split("/")
    found, scope = _kind(kind)
    namespace = names[0] if len(names) > 1 and names[0] else DEFAULT_NAMESPACE
    return Key(found, namespace if scope == "Namespaced" else "", names[-1], edge)


def _kind(text: str) -> tuple[str, str]:
    """(kind, scope) by its name, its plural or its short name, whatever the case."""
    from reconciler.planning.kinds import models

    wanted, kinds = text.lower(), models()
    for row in kinds.values():
        if wanted in {row.name.lower(), row.plural, *row.short_names}:
            return row.name, row.scope
    raise NameUnknown(f"there is no kind {text}", hint=f"there are {', '.join(kinds)}, and their short names")


class Sought(NamedTuple):
    """What was asked about. edge: "" for any.  what: None for everything."""

    edge: str = ""
    what: Word | None = None

    def has(self, key: Key, order: Order) -> bool:
        """Whether a key, ordered so, is meant."""
        if self.edge and edge_of(key, order) != self.edge:
            return False
        return self.what is None or self.what.is_of(key, order)


EVERYTHING: Final = Sought()


def things(state: State) -> Iterator[Thing]:
    """Every key that the log knows, of every stage, as it was ordered last."""
    for stage in state.stages.values():
        for text in stage.keys.keys() | stage.waits.keys() | stage.problems.keys():
            if (key := Key.named(text)) is not None:
                yield key, stage.known(text).order


def edges(state: State) -> set[str]:
    """Every edge that the log knows."""
    return {*state.edges, *state.links, *(edge_of(key, order) for key, order in things(state))} - {""}


class Names:
    """What names can mean at one time."""

    def __init__(
        self, every: Iterable[Thing], there: Iterable[str], ever: Callable[[Sought], bool] = lambda _: False
    ) -> None:
        """every: things.  there: edges.  ever: whether something that is gone went by a name."""
        self._things, self._edges, self._ever = list(every), frozenset(there), ever

    @classmethod
    def of(cls, state: State, ever: Callable[[Sought], bool] = lambda _: False) -> "Names":
        """As the fold of a log knows them."""
        return cls(things(state), edges(state), ever)

    def sought(self, said: Mapping[str, str]) -> Sought:
        """What a request is about. said: {name}, or {edge, model}, each with "" or without.

        Raises NameUnknown, NameAmbiguous, UsageError.
        """
        name, edge, model = (said.get(part, "") for part in ("name", "edge", "model"))
        if name and (edge or model):
            raise UsageError("name stands for either: edge and model are not given beside it")
        if name:
            return self._one(name)
        if not edge:
            return self._thing("", model) if model else Sought()
        found = self._edge(edge, model)
        return self._thing(found, model) if model else Sought(found)

    def _one(self, text: str) -> Sought:
        """One name: an edge, or what goes by it."""
        said = word(text)
        if said.role == "edge":
            return Sought(self._edge(text, ""))
        is_thing = self._has(Sought("", said))
        if said.role or said.text not in self._edges:
            is_gone = not (said.role or is_thing) and self._ever(Sought(said.text))
            return Sought(said.text) if is_gone else self._thing("", text)
        if is_thing:
            hint = f"write edge/{text}, or {self._spelled(said)}"
            raise NameAmbiguous(f"{text} is an edge, and something on edges goes by it too", hint=hint)
        return Sought(said.text)

    def _spelled(self, said: Word) -> str:
        """How what goes by a name is written, so that no edge is meant."""
        is_data = {key.kind == DATASET for key, order in self._things if said.is_of(key, order)}
        return f"dataset/{said.text}" if is_data == {True} else f"model/{said.text}"

    def _has_edge(self, text: str) -> bool:
        return text in self._edges or self._ever(Sought(text))

    def _has(self, what: Sought) -> bool:
        return any(what.has(key, order) for key, order in self._things)

    def _edge(self, text: str, model: str) -> str:
        said = word(text)
        if said.role in {"", "edge"} and self._has_edge(said.text):
            return said.text
        if model and said.role != "edge" and model in self._edges and self._has(Sought("", said)):
            raise NameUnknown(f"there is no edge {said.text}", hint=f"the edge comes first: {model} {text}")
        if said.role not in {"", "edge"}:
            raise UsageError(f"{text} is no edge", hint="name the edge first, then what is on it")
        raise NameUnknown(f"there is no edge {said.text}", hint=self._instead(said.text, self._edges))

    def _thing(self, edge: str, text: str) -> Sought:
        found = Sought(edge, word(text))
        if self._has(found) or self._ever(found):
            return found
        what = found.what or Word("", text)
        if edge:
            on = (one for one in self._things if edge_of(*one) == edge and one[0].kind != EDGE)
            mine = in_order(called(key, order) for key, order in on)
            hint = f"it has {listed(mine)}" if mine else "nothing was ordered for it"
            raise NameUnknown(f"{edge} has no {text}", hint=hint)
        if what.role == "object":
            kind = what.text.partition("/")[0]
            there = {spoken(key) for key, _ in self._things if key.kind == kind}
            raise NameUnknown(f"there is no {spoken(what.text)}", hint=self._instead(what.text, there))
        if what.role:
            there = {called(key, o) for key, o in self._things if what._replace(text=called(key, o)).is_of(key, o)}
            raise NameUnknown(f"there is no {what.role} {what.text}", hint=self._instead(what.text, there))
        there = {name for key, order in self._things for name in (called(key, order), key.name) if key.kind != EDGE}
        hint = self._instead(what.text, there | self._edges, {called(key, o) for key, o in self._things} | self._edges)
        raise NameUnknown(f"nothing is called {text}: no edge, model, dataset or object", hint=hint)

    @staticmethod
    def _instead(text: str, there: Iterable[str], shown: Iterable[str] | None = None) -> str:
        """What may have been meant, and what there is. shown: of many the ones to list."""
        every = in_order(there)
        of_name: dict[str, list[str]] = {}
        for name in every:
            of_name.setdefault(name.rpartition("/")[2], []).append(name)
        close = difflib.get_close_matches(text.rpartition("/")[2], of_name, NEAR)
        near = [name for part in close for name in of_name[part]][:NEAR]
        has = in_order(shown) if shown is not None else every
        if near and len(has) > NEAR:
            return f"is {' or '.join(near)} meant? {LISTS}"
        return f"there {'is' if len(has) == 1 else 'are'} {listed(has)}" if has else "the log knows none yet"


def known(state: State, sought: Sought) -> frozenset[str]:
    """The keys that are meant, as texts, of every stage."""
    return frozenset(str(key) for key, order in things(state) if sought.has(key, order))
