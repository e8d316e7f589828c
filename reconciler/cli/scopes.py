"""What a person means by a name. May import: errors, history.keys, planning.kinds.

(nothing)  *  fleet/fleet                    everything: `*`
edge-1  edge/edge-1                          an edge: its name
im/faces  InferenceModel/default/faces       one object: its key
"""

from reconciler.errors import NameUnknown
from reconciler.history.keys import Key
from reconciler.model.identity import DEFAULT_NAMESPACE


def scope_of(text: str | None) -> str:
    """A scope as the hub knows it. Raises NameUnknown for a kind there is not."""
    if not text or "/" not in text:
        return text or "*"
    from reconciler.planning.kinds import KINDS

    kind, *names = text.split("/")
    found, scope = _kind(kind)
    namespace = names[0] if len(names) > 1 and names[0] else DEFAULT_NAMESPACE
    return KINDS[found].scope(Key(found, namespace if scope == "Namespaced" else "", names[-1], ""))


def _kind(word: str) -> tuple[str, str]:
    """(kind, scope) by its name, its plural or its short name, whatever the case."""
    from reconciler.planning.kinds import models

    wanted, kinds = word.lower(), models()
    for row in kinds.values():
        if wanted in {row.name.lower(), row.plural, *row.short_names}:
            return row.name, row.scope
    raise NameUnknown(f"there is no kind {word}", hint=f"there are {', '.join(kinds)}, and their short names")
