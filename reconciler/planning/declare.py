"""Declare's expansion: the objects that the API server should have. May import: history.keys, model.identity, planning.

Declare's expansion, in two pure functions: `affected` says which objects a change may concern, `expand` says what one
should be. Every declared object is one as it was written; a set is an InferenceModel for each of its edges beside that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from reconciler.diagnostics import Diagnostic
from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.model.identity import EDGE_LABEL, GROUP, SERVICE, SET, SET_LABEL, Identity
from reconciler.planning import reach, refusals
from reconciler.planning.declared import Declared, Object, node_of, template_of
from reconciler.planning.desired import Desired, Expansion, Frozen, Gone
from reconciler.planning.kinds import KINDS
from reconciler.planning.naming import LONGEST_NAME, set_of
from reconciler.planning.refusals import port_of
from reconciler.planning.versions import Chosen, Circumstances, chosen, entries_of

MODEL_LABEL: Final = f"{GROUP}/model"
OWN_LABELS: Final = {"app.kubernetes.io/managed-by": "reconciler"}
_ENTRY: Final = ("version", "downloadURL", "sha256sum", "size")


def key_of(identity: Identity) -> Key:
    """The key of a declared object."""
    return Key(*identity, "")


def every(declared: Declared) -> Iterator[Key]:
    """Every object that there should be, worked out as it is asked for; some more than once."""
    yield from (key_of(obj.identity) for kind in KINDS for obj in declared.of_kind(kind))
    made = (key for source in declared.of_kind(SET) for key in reach.keys_of(declared, source))
    yield from (key._replace(edge="") for key in made)


def affected(before: Declared, after: Declared, changed: Iterable[Identity]) -> set[Key]:
    """The objects whose expansion may differ between two states, given which declared objects differ."""
    changed = list(changed)
    concerned = reach.affected(before, after, changed)
    return {key_of(one) for one in changed} | {key._replace(edge="") for key in concerned}


def source_of(declared: Declared, key: Key) -> tuple[Object | None, str]:
    """(the declared object that a key is, or whose set makes it; the edge of the latter). (None, "") where none is."""
    plain = declared.get(Identity(*key[:3]))
    return (plain, "") if plain is not None or key.kind != SERVICE else set_of(declared, key)


def expand(key: Key, declared: Declared, around: Circumstances) -> Expansion:
    """What the object of `key` should be: `{labels, annotations, spec}`, as far as we set it.

    around.served: what was ordered last, by object. What is written out in Git is refused at its line, before a node
    finds what is wrong with it.
    """
    source, edge_name = source_of(declared, key)
    if source is None:
        return Gone(key)
    edge = declared.edge(edge_name or declared.edge_of(source) or "")
    if edge is None and _named(source, declared) is not None:  # a node without an Edge is the cluster's to know
        return Frozen(key, unplaced(source, declared))
    found = made(key, source, edge, declared, around)
    missing = _digest(source, around) if source.kind == key.kind and isinstance(found, Desired) else None
    return found if missing is None else Frozen(key, missing)


def unplaced(source: Object, declared: Declared) -> Diagnostic:
    """What says its own place, and leads to no edge."""
    return refusals.unplaced(source, _named(source, declared))


def _named(source: Object, declared: Declared) -> Object | None:
    """The edge of its nodeName, whether or not it is selected too."""
    place = {"nodeName": source.spec.get("nodeName")}
    return declared.edge(declared.edge_of(Object(kind=source.kind, name=source.name, spec=place)) or "")


def made(key: Key, source: Object, edge: Object | None, declared: Declared, around: Circumstances) -> Desired | Frozen:
    """The object that comes of `source`, for the edge on which it lands, where it lands on one alone."""
    if edge is not None:
        clash = _port_conflict(key._replace(edge=edge.name), source, edge, declared, around)
        if clash is not None:
            return Frozen(key, clash)
    if source.kind == key.kind or edge is None:
        return Desired(key, _manifest(source), origin=source.place(""), because="declared")
    return _of_set(key, source, edge, declared, around)


def _of_set(key: Key, source: Object, edge: Object, declared: Declared, around: Circumstances) -> Desired | Frozen:
    """The InferenceModel that a set makes for one edge."""
    template = _tidy(template_of(source), KINDS[source.kind].unset)
    spec = {name: value for name, value in template.items() if name not in {"modelRef", "manifest"}}
    spec["nodeName"] = node_of(edge)
    origin, because, until = source.place("template"), f"{source.name} on {edge.name}", ""
    if not template.get("image"):
        found = chosen(source, edge, declared, around)
        if isinstance(found, Diagnostic):
            return Frozen(key, found)
        last = around.served.get(str(key), Served())
        entries = _entries(found, (last.before or last.order).get("spec", {}))
        spec |= {"targetVersion": str(found.entry["version"]), "manifest": entries}
        origin, because, until = found.choice.origin, found.choice.because, found.until
    labels = {SET_LABEL: source.name, EDGE_LABEL: edge.name, MODEL_LABEL: template["modelName"]}
    short = {name: value for name, value in labels.items() if len(value) <= LONGEST_NAME}
    manifest = {"labels": OWN_LABELS | short, "spec": spec}
    return Desired(key, manifest, {}, origin, because, until, remarks(source, edge))


def remarks(source: Object, edge: Object) -> tuple[Diagnostic, ...]:
    """Warnings that hold nothing up."""
    replicas = template_of(source).get("replicas")
    return () if replicas is None or replicas < 2 else (refusals.replicas_ignored(source, edge, replicas),)


def _entries(found: Chosen, last: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entry that is wanted and the one before it, so that no order needs a look-up, and a rollback no download.

    last: what was ordered last and had its effect.
    """
    entry = {name: value for name, value in found.entry.items() if name in _ENTRY and value not in (None, "")}
    target, known = last.get("targetVersion"), last.get("manifest", ())
    others = (one for one in known if one["version"] != entry["version"])
    if target != entry["version"]:
        others = (one for one in known if one["version"] == target)
    previous = next(others, None)
    return [entry] if previous is None else [entry, dict(previous)]


def _port_conflict(
    key: Key, source: Object, edge: Object, declared: Declared, around: Circumstances
) -> Diagnostic | None:
    """Two models on one edge would listen on one port: who was ordered onto it keeps it, then the least key."""
    port = port_of(source)
    rivals = reach.ports_of(declared, edge)[port] if port is not None else []
    if port is None or len(rivals) < 2:
        return None

    def rank(one: Key) -> tuple[bool, Key]:
        known = around.served.get(str(one)) or around.served.get(str(one._replace(edge="")))
        return known is None or _ordered_port(known.order) != port, one

    first, holder = min(rivals, key=lambda rival: rank(rival[0]))
    return None if first == key else refusals.port_conflict(source, edge, port, holder, reach.ports_of(declared, edge))


def _ordered_port(order: Mapping[str, Any]) -> object:
    """The port of an order for an edge, or of an API object."""
    return order.get("port") or order.get("spec", {}).get("servingPort")


def _digest(source: Object, around: Circumstances) -> Diagnostic | None:
    """An entry without sha256sum, of what edges are given, while policy wants one."""
    if KINDS[source.kind].order is None or template_of(source).get("image"):
        return None
    if not (around.fleet.get("artifacts") or {}).get("requireDigest", True):
        return None
    for entry in entries_of(source):
        version, url = str(entry["version"]), entry["downloadURL"]
        if not entry.get("sha256sum") and f"{url} {version}" not in around.digests:
            return refusals.digest_missing(source, version, url)
    return None


def _manifest(source: Object) -> dict[str, Any]:
    row = KINDS[source.kind]
    found: dict[str, Any] = {"labels": {**source.labels, **OWN_LABELS}}
    if source.annotations:
        found["annotations"] = dict(source.annotations)
    return found if row.bare else found | {"spec": as_text(source.kind, _tidy(source.spec, row.unset))}


def _tidy(spec: Mapping[str, Any], unset: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing: who sends a field keeps others from setting it."""
    found = {name: value for name, value in spec.items() if name not in unset or value != unset[name]}
    if isinstance(found.get("template"), Mapping):
        found["template"] = {**found["template"], "spec": _tidy(found["template"]["spec"], unset)}
    return found


def as_text(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec whose numbers with a fraction are text until they are sent: a log has none (history.codec)."""
    return as_sent(kind, spec, lambda value: repr(float(value)))


def as_sent(kind: str, spec: dict[str, Any], convert: Callable[[Any], Any] = float) -> dict[str, Any]:
    """A spec with the numbers that objects of its kind have made into such."""
    row = KINDS.get(kind)
    found: dict[str, Any] = _numbered(spec, row.numbers, convert) if row is not None and row.numbers else spec
    return found


def _numbered(value: Any, path: tuple[str, ...], convert: Callable[[Any], Any]) -> Any:
    """`value` with `convert` made of what is at `path`, where lists count as all of their items."""
    if isinstance(value, list | tuple):
        return [_numbered(one, path, convert) for one in value]
    if not path:
        return convert(value)
    if not isinstance(value, Mapping) or path[0] not in value:
        return value
    return {**value, path[0]: _numbered(value[path[0]], path[1:], convert)}
