"""What belongs to a scope: everything (`*`), an edge by its name, or one object by its key; of a set, what it makes.

May import: history, model.identity, planning. In: a scope, as a suspension or a request has it.  Out: yes or no.
"""

from collections.abc import Sequence

from reconciler.errors import NameUnknown
from reconciler.history.keys import Key
from reconciler.history.state import State
from reconciler.model.identity import EDGE_LABEL, SET_LABEL, Identity
from reconciler.planning import objects
from reconciler.planning.declared import Declared

SETS = "InferenceModelSet/"


def known(scope: str, declared: Declared, state: State) -> None:
    """Raises NameUnknown where a scope names nothing."""
    if scope == "*":
        return
    key = Key.named(scope)
    if key is None:
        if declared.edge(scope) is None:
            names = sorted(edge.name for edge in declared.of_kind("Edge"))
            raise NameUnknown(f"there is no edge {scope}", hint=there("declared", names))
        return
    if objects.source_of(declared, key)[0] is None and not state.known(key).operation:
        names = sorted(f"{obj.namespace}/{obj.name}" for obj in declared.of_kind(key.kind))
        raise NameUnknown(f"there is no {scope}", hint=there("declared", names[:10]))


def within(scope: str, key: Key, declared: Declared, state: State) -> bool:
    """Whether a key belongs to a scope."""
    plain = key._replace(edge="")
    if scope == "*" or scope in {key.edge, str(plain)} or plain == ("Edge", "", scope, ""):
        return True
    source, edge = objects.source_of(declared, plain)
    labels = state.known(plain).order.get("labels", {})
    identity = source.identity if source is not None else Identity(*plain[:3])
    of_set = f"{SETS}{key.namespace}/{labels.get(SET_LABEL, '')}"
    return scope in {edge, labels.get(EDGE_LABEL), of_set, str(identity)}


def there(what: str, names: Sequence[str]) -> str:
    """What there is instead of the name that was given."""
    return f"{what} just now: {', '.join(names)}" if names else f"nothing is {what} just now"
