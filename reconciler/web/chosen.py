"""What of a log a question is about: by names, by labels of edges, by how things stand. May import: planning, wiring.

In: a request and a Past.  Out: Chosen. Labels are those that Git gave the edges in the last commit read by then, which
the log keeps; nothing else has to be asked.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.errors import NameUnknown, UsageError
from reconciler.history.keys import Key
from reconciler.history.standing import FAILING, WAITS
from reconciler.history.state import State
from reconciler.history.status import ObjectRow, Row, Status
from reconciler.natural import in_order, listed
from reconciler.planning.names import EVERYTHING, Names, Order, Sought, edge_of, things

if TYPE_CHECKING:
    from reconciler.wiring.past import Past

Labels = Mapping[str, Mapping[str, str]]
NAMES: Final = frozenset({"name", "edge", "model"})
FILTERS: Final = frozenset({"selector", "standing"})
STANDINGS: Final = {"failing": FAILING, "waiting": WAITS}
_TERM: Final = re.compile(r"(!?)([A-Za-z0-9][A-Za-z0-9_./-]*)(?:\s*(!=|==|=)\s*([A-Za-z0-9_.-]*))?")


class Term(NamedTuple):
    """One condition on a label. value: None: that it is there.  is_not: the opposite."""

    name: str
    value: str | None
    is_not: bool

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil it."""
        has = self.name in labels if self.value is None else labels.get(self.name) == self.value
        return has != self.is_not


def terms(text: str) -> list[Term]:
    """The conditions of a selector, as `site=demo,ring!=canary,gpu,!old`. Raises UsageError."""
    found = []
    for part in text.split(","):
        match = _TERM.fullmatch(part.strip())
        if match is None or (match[1] and match[3]):
            hint = "write it as site=demo,ring!=canary, or a label's name alone where its value does not matter"
            raise UsageError(f"{part.strip()!r} is no condition on a label", hint=hint)
        found.append(Term(match[2], match[4], bool(match[1]) or match[3] == "!="))
    return found


def selected(selector: str, labels: Labels) -> frozenset[str]:
    """The edges that a selector takes. labels: of each edge.

    Raises NameUnknown where it asks for a label or a value that no edge has, UsageError.
    """
    wanted = terms(selector)
    for term in wanted:
        if not term.is_not:
            _require(term, labels)
    return frozenset(name for name, mine in labels.items() if all(term.takes(mine) for term in wanted))


def _require(term: Term, labels: Labels) -> None:
    values = {mine[term.name] for mine in labels.values() if term.name in mine}
    if values and (term.value is None or term.value in values):
        return
    names = {name for mine in labels.values() for name in mine}
    said, there = (term.value or "", values) if values else (term.name, names)
    near = difflib.get_close_matches(said, there, 1)
    has = f"{term.name} is {listed(in_order(values))}" if values else f"they have {listed(in_order(there)) or 'none'}"
    meant = f"is {f'{term.name}=' if values else ''}{near[0]} meant? {has}" if near else has
    what = f"{term.name}={term.value}" if values else f"the label {term.name}"
    raise NameUnknown(f"no edge has {what}", hint=meant)


def labels_at(past: "Past", state: State) -> Labels:
    """The labels of every edge that Git declares, by the last commit read until `state`. Raises UsageError."""
    from reconciler.wiring.past import remembered

    if state.source.startswith("/edge/"):
        raise UsageError("this is the log of one edge, which knows no labels", hint="ask the hub, by --hub or --state")
    return {edge.name: edge.labels for edge in remembered(state, past.log, past.place).declared.of_kind("Edge")}


@dataclass(frozen=True)
class Chosen:
    """A choice among what a log keeps. keys: those that names and labels take; None is all.

    sought: what the names mean.  edges: those that names and labels take, and None is all of them.  standings: words of
    `history.standing` that things stand in; none is any.
    """

    sought: Sought = EVERYTHING
    keys: frozenset[str] | None = None
    edges: frozenset[str] | None = None
    standings: frozenset[str] = frozenset()

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.keys is None and not self.standings

    @cached_property
    def scopes(self) -> frozenset[str]:
        """By which names what was chosen is suspended, apart from the rest."""
        keys = self.keys or frozenset()
        return keys | {key.partition("@")[0] for key in keys} | (self.edges or frozenset())

    def has(self, key: str, word: str) -> bool:
        """Whether a key is taken that stands so."""
        return (self.keys is None or key in self.keys) and (not self.standings or word in self.standings)

    def of(self, seen: Status) -> Status:
        """The same status, with what was chosen alone; what concerns all stays: commit, documents, the cluster."""
        if self.is_all:
            return seen
        rows = tuple(row for row in seen.rows if self.has(row.key, row.standing.word))
        objects = tuple(one for one in seen.objects if self.has(one.key, one.standing.word))
        there: tuple[Row | ObjectRow, ...] = (*rows, *objects)
        keys = {one.key for one in there}
        named = self.edges if self.sought.what is None and not self.standings else None
        names = {one.edge for one in there} if named is None else named
        scopes = {"*", *names, *keys, *(key.partition("@")[0] for key in keys)}
        held = seen.held if seen.held is not None and not keys.isdisjoint(seen.held.keys) else None
        return replace(
            seen,
            rows=rows,
            objects=objects,
            edges=tuple(edge for edge in seen.edges if edge.name in names),
            held=held,
            holds=tuple(one for one in seen.holds if one.key in keys),
            suspended=tuple(one for one in seen.suspended if one.scope in scopes),
            links=tuple(one for one in seen.links if one.peer in names),
        )


ALL: Final = Chosen()


def chosen(
    past: "Past", state: State, said: Mapping[str, str], ever: Callable[[Sought], bool] = lambda _: False
) -> Chosen:
    """What a request is about. said: see NAMES and FILTERS.  ever: see Names.

    Raises NameUnknown, NameAmbiguous, UsageError.
    """
    standings = _standings(said.get("standing", ""))
    if not any(said.get(name) for name in (*NAMES, "selector")):
        return Chosen(standings=standings)
    sought = Names.of(state, ever).sought(said) if any(said.get(name) for name in NAMES) else Sought()
    taken = selected(said["selector"], labels_at(past, state)) if said.get("selector") else None

    def is_taken(key: Key, order: Order) -> bool:
        return sought.has(key, order) and (taken is None or edge_of(key, order) in taken)

    keys = frozenset(str(key) for key, order in things(state) if is_taken(key, order))
    if sought.edge:
        mine: frozenset[str] | None = frozenset({sought.edge} if taken is None else {sought.edge} & taken)
    else:
        mine = taken
    return Chosen(sought, keys, mine, standings)


def _standings(text: str) -> frozenset[str]:
    """`failing,waiting` as the words that things stand in. Raises UsageError."""
    said = [part for part in text.split(",") if part]
    for part in said:
        if part not in STANDINGS:
            raise UsageError(f"standing={part[:20]!r} is none", hint=f"there are {' and '.join(STANDINGS)}")
    return frozenset(STANDINGS[part] for part in said)
