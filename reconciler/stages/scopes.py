"""Scopes of verbs and suspensions: everything (`*`), an edge by its name, or an object by its key.

May import: history, model.identity, planning. In: a scope, as a suspension or a request has it.  Out: yes or no.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from reconciler.errors import NameUnknown
from reconciler.history.keys import DECLARE, DELIVER, Key, set_scope
from reconciler.history.state import State
from reconciler.model.identity import EDGE_LABEL, Identity
from reconciler.planning import declare
from reconciler.planning.declared import Declared

FEW, NEAR = 10, 3
LISTED = "`reconciler status --output json` lists what there is"


def known(scope: str, declared: Declared, state: State) -> None:
    """Raises NameUnknown where a scope names nothing."""
    if scope == "*":
        return
    key = Key.named(scope)
    if key is None:
        there = {Key.parse(text).edge for text in state.stage(DELIVER).keys}
        kept = (Key.parse(text) for text in state.stage(DECLARE).keys if text.startswith("Edge/"))
        names = sorted({*there, *(key.name for key in kept), *(edge.name for edge in declared.of_kind("Edge"))})
        if scope not in names:
            raise NameUnknown(f"there is no edge {scope}", hint=_instead(scope, "Edge", names))
        return
    ordered = any(stage.known(key).operation for stage in state.stages.values())
    if declare.source_of(declared, key)[0] is None and not ordered:
        raise NameUnknown(f"there is no {scope}", hint=_instead(scope, key.kind, _named(key.kind, declared, state)))


def within(scope: str, key: Key, declared: Declared, state: State) -> bool:
    """Whether a key belongs to a scope."""
    plain = key._replace(edge="")
    if scope == "*" or scope in {key.edge, str(plain)} or plain == ("Edge", "", scope, ""):
        return True
    source, edge = declare.source_of(declared, plain)
    labels = state.stage(DECLARE).known(plain).order.get("labels", {})
    identity = source.identity if source is not None else Identity(*plain[:3])
    return scope in {edge, labels.get(EDGE_LABEL), set_scope(key.namespace, labels), str(identity)}


def _named(kind: str, declared: Declared, state: State) -> list[str]:
    """What can be named of a kind: what is declared, what sets have made of it, and the sets themselves."""
    kinds = {kind, "InferenceModelSet"} if kind == "InferenceModel" else {kind}
    found = {str(obj.identity) for each in kinds for obj in declared.of_kind(each)}
    made = (text for text, served in state.stage(DECLARE).keys.items() if served.operation)
    return sorted(found | {text for text in made if text.startswith(f"{kind}/")})


def _instead(scope: str, kind: str, names: Sequence[str]) -> str:
    """What may have been meant: what is called nearly the same, else all of a few, else how to list them."""
    of_name: dict[str, list[str]] = {}
    for name in names:
        of_name.setdefault(name.rpartition("/")[2], []).append(name)
    near = [text for name in get_close_matches(scope.rpartition("/")[2], of_name, NEAR) for text in of_name[name]]
    if near:
        return f"is {' or '.join(near[:NEAR])} meant? {LISTED}"
    if len(names) > FEW:
        return f"there are {len(names)}, such as {names[0]}; {LISTED}"
    return there("declared", names) if names else f"there is no {kind} just now; {LISTED}"


def there(what: str, names: Sequence[str]) -> str:
    """What there is instead of the name that was given."""
    return f"{what} just now: {', '.join(names)}" if names else f"nothing is {what} just now"
