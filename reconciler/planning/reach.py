"""The reach of a change: keys on edges that it may concern. May import: history, model.identity, planning.

In: declared objects, before and after.  Out: keys, to planning.declare and planning.deliver. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.history.keys import Key
from reconciler.model.identity import CATALOGUE, EDGE, SERVICE, SET, Identity
from reconciler.planning.declared import Declared, Object, matches, node_of, says_place
from reconciler.planning.kinds import KINDS
from reconciler.planning.naming import claimants, key_of_set, set_of
from reconciler.planning.refusals import port_of


def keys_on(declared: Declared, edge: Object) -> Iterator[tuple[Key, Object]]:
    """Every key on one edge, with the object that it comes from."""
    for obj in declared.bound_to(edge):
        yield key_on(declared, obj, edge.name), obj
    for kind, row in KINDS.items():
        for obj in declared.of_kind(kind) if row.selectors is not None else ():
            if _selects(obj, edge):
                yield key_on(declared, obj, edge.name), obj


def key_on(declared: Declared, obj: Object, edge: str) -> Key:
    """The key on one edge of an object, or of what a set makes there."""
    return key_of_set(declared, obj, edge) if obj.kind == SET else Key(*obj.identity, edge)


def keys_of(declared: Declared, obj: Object) -> Iterator[Key]:
    """Every key that comes from one object. What names its own place, and leads to no edge, has one on the edge ""."""
    if says_place(obj):
        yield Key(*obj.identity, declared.edge_of(obj) or "")
    for selector in _selectors(obj):
        for edge in declared.edges_matching(selector):
            yield key_on(declared, obj, edge.name)


def keys_from(declared: Declared, identity: Identity) -> Iterator[Key]:
    """Every key that comes from one object, or depends on it."""
    obj = declared.get(identity)
    if obj is None:
        return
    yield from keys_of(declared, obj)
    for user in declared.users(obj.namespace, obj.name) if obj.kind == CATALOGUE else ():
        yield from keys_from(declared, user)
    if obj.kind == EDGE:
        yield from (key for key, _ in keys_on(declared, obj))


def every(declared: Declared) -> Iterator[Key]:
    """Every key that is declared, worked out as it is asked for; some more than once."""
    return (key for kind in KINDS for obj in declared.of_kind(kind) for key in keys_of(declared, obj))


def source_of(declared: Declared, key: Key) -> Object | None:
    """The object that a key comes from, or None when nothing declares it there.

    What names its own place, and leads to no edge at all, is the source of its key wherever it was: it stays there.
    """
    plain, edge = declared.get(Identity(*key[:3])), declared.edge(key.edge)
    if plain is None:
        return set_of(declared, key)[0] if key.kind == SERVICE and key.edge else None
    if says_place(plain):
        return plain if declared.edge_of(plain) in {None, key.edge} else None
    return plain if edge is not None and key_on(declared, plain, key.edge) == key and _selects(plain, edge) else None


def _selects(obj: Object, edge: Object) -> bool:
    return any(matches(selector, edge.labels) for selector in _selectors(obj))


def _selectors(obj: Object) -> Iterable[Mapping[str, Any] | None]:
    selectors = KINDS[obj.kind].selectors
    return () if selectors is None else selectors(obj)


def affected(before: Declared, after: Declared, changed: Iterable[Identity]) -> set[Key]:
    """The keys whose expansion may differ between two states, given which objects differ."""
    keys: set[Key] = set()
    moved: set[Key] = set()  # keys that came, went, or ask for another port: they concern what else is on their edges
    edges: list[Identity] = []
    for identity in changed:
        old, new = before.get(identity), after.get(identity)
        if identity.kind == EDGE and old is not None and new is not None and _shape(old) == _shape(new):
            keys |= _repinned(after, old, new)
            continue
        its = {*keys_from(before, identity), *keys_from(after, identity)}
        keys |= its
        if identity.kind == EDGE:
            edges.append(identity)
        if _shape(old) != _shape(new):
            moved |= its | _namesakes(before, after, identity)
    if edges:
        moved |= _rebound(before, after, edges)
    return keys | moved | _rivals(before, after, moved)


def _shape(obj: Object | None) -> object:
    """What decides where an object's keys are, how they are called and on which port; for an Edge all but its pins."""
    if obj is None:
        return None
    if obj.kind == EDGE:
        return obj.labels, {name: value for name, value in obj.spec.items() if name != "pins"}
    reach = [obj.spec.get(name) for name in ("edgeSelector", "nodeSelector", "nodeName", "edges")]
    return (reach, port_of(obj)) if reach != [None] * 4 else None


def _rivals(before: Declared, after: Declared, moved: Iterable[Key]) -> set[Key]:
    """The models on the ports that moved keys have left or want."""
    asked = {(key.edge, port_of(source_of(declared, key))) for declared in (before, after) for key in moved}
    edges = ((after.edge(name), port) for name, port in asked if port is not None)
    return {key for edge, port in edges if edge is not None for key, _ in ports_of(after, edge).get(port, ())}


def _repinned(declared: Declared, old: Object, new: Object) -> set[Key]:
    before, after = old.spec.get("pins") or [], new.spec.get("pins") or []
    moved = [pin for pin in (*before, *after) if pin not in before or pin not in after]
    names = {(kind, pin[kind]) for pin in moved for kind in ("model", "dataset") if pin.get(kind)}
    return {key for key, source in keys_on(declared, new) if KINDS[source.kind].pin(source) in names}


def _rebound(before: Declared, after: Declared, edges: Iterable[Identity]) -> set[Key]:
    """What changed edges move between edges: by the node that it names, or by what it selects."""
    objects = [obj for identity in edges for obj in (before.get(identity), after.get(identity)) if obj is not None]
    models = {identity for node in {"", *map(node_of, objects)} for identity in after.naming(node)}
    places = [(set(keys_from(before, identity)), set(keys_from(after, identity))) for identity in models]
    moved = {key for was, now in places if was != now for key in was | now}
    waiting = {Key(*identity, "") for edge in objects for identity in after.naming(node_of(edge))}
    return moved | (waiting & {key for _, now in places for key in now})  # why they wait names what is on their node


def _namesakes(before: Declared, after: Declared, identity: Identity) -> set[Key]:
    """The keys of sets whose names the object may take, or give back."""
    names = {name for declared in (before, after) for name in _names(declared, declared.get(identity))}
    return {
        key_of_set(declared, source, edge)
        for declared in (before, after)
        for name in names
        for source, edge in claimants(declared, name)
    }


def _names(declared: Declared, obj: Object | None) -> Iterator[Identity]:
    """What a service, those of a set, or those that sets make on an edge are called unless their names are taken."""
    pairs: Iterable[tuple[Object, Object]] = ()
    if obj is not None and obj.kind == SERVICE:
        yield obj.identity
    elif obj is not None and obj.kind == EDGE:
        pairs = ((source, obj) for source in declared.of_kind(SET) if _selects(source, obj))
    elif obj is not None and obj.kind == SET:
        pairs = ((obj, edge) for selector in _selectors(obj) for edge in declared.edges_matching(selector))
    yield from (Identity(SERVICE, source.namespace, f"{source.name}-{edge.name}") for source, edge in pairs)


def ports_of(declared: Declared, edge: Object) -> dict[int, list[tuple[Key, Object]]]:
    """Who asks for which port of an edge; worked out once for these declarations."""
    found = declared.ports.get(edge.name)
    if found is None:
        found = declared.ports[edge.name] = {}
        for key, source in keys_on(declared, edge):
            port = port_of(source)
            if port is not None:
                found.setdefault(port, []).append((key, source))
    return found
