"""Scopes of verbs and suspensions: everything (`*`), an edge by its name, or an object by its key.

May import: history, model.identity, planning. In: a scope, as a suspension or a request has it.  Out: yes or no.
"""

from collections.abc import Iterator, Sequence

from reconciler.history.keys import DECLARE, Key, set_scope
from reconciler.history.state import State
from reconciler.model.identity import EDGE, EDGE_LABEL, Identity
from reconciler.planning import declare
from reconciler.planning.declared import Declared
from reconciler.planning.kinds import KINDS
from reconciler.planning.names import Order, edges, things


def known_things(declared: Declared, state: State) -> Iterator[tuple[Key, Order]]:
    """What a name can mean: what the log keeps, and what is declared by now."""
    kept = list(things(state))
    yield from kept
    there = {key for key, _ in kept}
    for kind in KINDS:
        for obj in declared.of_kind(kind):
            key = Key(*obj.identity, "")
            if key not in there:
                yield key, {"labels": obj.labels, "spec": obj.spec}


def known_edges(declared: Declared, state: State) -> set[str]:
    """The edges that a name can mean."""
    return edges(state) | {edge.name for edge in declared.of_kind(EDGE)}


def within(scope: str, key: Key, declared: Declared, state: State) -> bool:
    """Whether a key belongs to a scope."""
    plain = key._replace(edge="")
    if scope == "*" or scope in {key.edge, str(key), str(plain)} or plain == ("Edge", "", scope, ""):
        return True
    source, edge = declare.source_of(declared, plain)
    labels = state.stage(DECLARE).known(plain).order.get("labels", {})
    identity = source.identity if source is not None else Identity(*plain[:3])
    return scope in {edge, labels.get(EDGE_LABEL), set_scope(key.namespace, labels), str(identity)}


def there(what: str, names: Sequence[str]) -> str:
    """What there is instead of the name that was given."""
    return f"{what} just now: {', '.join(names)}" if names else f"nothing is {what} just now"
