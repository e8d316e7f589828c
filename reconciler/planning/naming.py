"""The names of the InferenceModels that a set makes. May import: history.keys, model.identity, planning.declared. Pure.

In: a set and an edge.  Out: the key, the same on every machine and in every order of documents.
"""

import hashlib
from collections.abc import Iterator

from reconciler.history.keys import Key
from reconciler.model.identity import SERVICE, SET, Identity
from reconciler.planning.declared import Declared, Object, matches

LONGEST_NAME = 63  # a DNS label (RFC 1123); the name becomes part of host names and of Kubernetes labels


def expanded_name(set_name: str, edge: str, *, taken: bool) -> str:
    """`<set>-<edge>`; where that is too long or taken, cut and made unique by a hash of both."""
    name = f"{set_name}-{edge}"
    if len(name) <= LONGEST_NAME and not taken:
        return name
    suffix = hashlib.sha256(f"{set_name}/{edge}".encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-.')}-{suffix}"


def key_of_set(declared: Declared, source: Object, edge: str) -> Key:
    """The key of a set's model on one edge. Of equal names the first is a declared model's, then the shortest set's."""
    plain = Identity(SERVICE, source.namespace, f"{source.name}-{edge}")
    first = next(claimants(declared, plain), None)
    taken = declared.get(plain) is not None or (first is not None and first != (source, edge))
    return Key(*plain[:2], expanded_name(source.name, edge, taken=taken), edge)


def claimants(declared: Declared, wanted: Identity) -> Iterator[tuple[Object, str]]:
    """Every set and edge whose model would be called this: `a` on `b-c` and `a-b` on `c` are both `a-b-c`."""
    name = wanted.name
    for at, char in enumerate(name):
        if char != "-":
            continue
        source = declared.get(Identity(SET, wanted.namespace, name[:at]))
        edge = declared.edge(name[at + 1 :]) if source is not None else None
        if source is not None and edge is not None and matches(source.spec.get("edgeSelector"), edge.labels):
            yield source, edge.name


def set_of(declared: Declared, key: Key) -> tuple[Object | None, str]:
    """(the set that makes the service of this key, the edge for which it does); (None, "") where none does.

    No service of this name is declared itself.
    """
    wanted, edge = Identity(*key[:3]), declared.edge(key.edge)
    first = next(claimants(declared, wanted), None) if len(key.name) <= LONGEST_NAME else None
    if first is not None:
        return first if key.edge in {"", first[1]} else (None, "")
    if not key.edge:
        return _renamed(declared).get(wanted, (None, ""))
    for source in declared.of_kind(SET):
        is_here = edge is not None and matches(source.spec.get("edgeSelector"), edge.labels)
        if is_here and key_of_set(declared, source, key.edge) == key:
            return source, key.edge
    return None, ""


def _renamed(declared: Declared) -> dict[Identity, tuple[Object, str]]:
    """(set, edge) by the name that it got because `<set>-<edge>` is too long or taken; worked out once for these."""
    if declared.renamed is None:
        declared.renamed = {}
        for source in declared.of_kind(SET):
            for edge in declared.edges_matching(source.spec.get("edgeSelector")):
                key = key_of_set(declared, source, edge.name)
                if key.name != f"{source.name}-{edge.name}":
                    declared.renamed[Identity(key.kind, key.namespace, key.name)] = (source, edge.name)
    return declared.renamed
