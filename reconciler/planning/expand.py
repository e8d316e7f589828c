"""Sets × edges × pins -> what each edge should have. May import: history, model.identity, planning.

Two pure functions: `affected` says which keys a change may concern, `expand` says what one key should be. Expanding the
affected keys equals expanding everything (by property test), so a commit costs what it changed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from reconciler.diagnostics import Diagnostic
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.model.expiry import expires_at
from reconciler.model.identity import Identity
from reconciler.planning import refusals
from reconciler.planning.declared import Declared, Object, matches, node_of
from reconciler.planning.naming import claimants, key_of_set
from reconciler.planning.refusals import SERVABLE, port_of, template_of
from reconciler.planning.wanted import Expansion, Frozen, Gone, Wanted


def keys_on(declared: Declared, edge: Object) -> Iterator[tuple[Key, Object]]:
    """Every key on one edge, with the object that it comes from."""
    for source in declared.of_kind("InferenceModelSet"):
        if matches(source.spec.get("edgeSelector"), edge.labels):
            yield key_of_set(declared, source, edge.name), source
    for model in declared.bound_to(edge):
        yield Key(*model.identity, edge.name), model
    for dataset in declared.of_kind("Dataset"):
        if placement(dataset, edge):
            yield Key(*dataset.identity, edge.name), dataset


def placement(dataset: Object, edge: Object) -> str:
    """`bytes`, `metadata` or "": what of the dataset this edge gets. Bytes win where both selectors match."""
    selectors = dataset.spec.get("edges") or {}
    return next((what for what in ("bytes", "metadata") if matches(selectors.get(what), edge.labels)), "")


def keys_from(declared: Declared, identity: Identity) -> Iterator[Key]:
    """Every key that comes from one object. An InferenceModel that leads to no edge has a key on the edge ""."""
    obj = declared.get(identity)
    if obj is None:
        return
    if obj.kind == "InferenceModelSet":
        for edge in declared.edges_matching(obj.spec.get("edgeSelector")):
            yield key_of_set(declared, obj, edge.name)
    elif obj.kind == "InferenceModel":
        yield Key(*identity, declared.edge_of(obj) or "")
    elif obj.kind == "Dataset":
        selectors = obj.spec.get("edges") or {}
        for what in ("bytes", "metadata"):
            for edge in declared.edges_matching(selectors.get(what)):
                yield Key(*identity, edge.name)
    elif obj.kind == "Model":
        for user in declared.users(obj.namespace, obj.name):
            yield from keys_from(declared, user)
    elif obj.kind == "Edge":
        yield from (key for key, _ in keys_on(declared, obj))


def all_keys(declared: Declared) -> set[Key]:
    """Every key that is declared."""
    kinds = ("InferenceModelSet", "InferenceModel", "Dataset")
    return {key for kind in kinds for obj in declared.of_kind(kind) for key in keys_from(declared, obj.identity)}


# ── which keys a change may concern ───────────────────────────────────────────────────────────────────────────────────


def affected(before: Declared, after: Declared, changed: Iterable[Identity]) -> set[Key]:
    """The keys whose expansion may differ between two states, given which objects differ."""
    keys: set[Key] = set()
    moved: set[Key] = set()  # keys that came, went, or ask for another port: they concern what else is on their edges
    edges: list[Identity] = []
    for identity in changed:
        old, new = before.get(identity), after.get(identity)
        if identity.kind == "Edge" and old is not None and new is not None and _shape(old) == _shape(new):
            keys |= _repinned(after, old, new)
            continue
        its = {*keys_from(before, identity), *keys_from(after, identity)}
        keys |= its
        if identity.kind == "Edge":
            edges.append(identity)
        if identity.kind != "Model" and _shape(old) != _shape(new):
            moved |= its | _namesakes(before, after, identity)
    if edges:
        moved |= _rebound(before, after, edges)
    return keys | moved | _rivals(before, after, moved)


def _shape(obj: Object | None) -> object:
    """What decides where an object's keys are, how they are called and on which port; for an Edge all but its pins."""
    if obj is None:
        return None
    if obj.kind == "Edge":
        return obj.labels, {name: value for name, value in obj.spec.items() if name != "pins"}
    reach = [obj.spec.get(name) for name in ("edgeSelector", "nodeSelector", "nodeName", "edges")]
    return reach, port_of(obj)


def _rivals(before: Declared, after: Declared, moved: Iterable[Key]) -> set[Key]:
    """The models on the ports that moved keys have left or want."""
    asked = {(key.edge, port_of(source_of(declared, key))) for declared in (before, after) for key in moved}
    edges = ((after.edge(name), port) for name, port in asked if port is not None)
    return {key for edge, port in edges if edge is not None for key, _ in _ports(after, edge).get(port, ())}


def _repinned(declared: Declared, old: Object, new: Object) -> set[Key]:
    before, after = old.spec.get("pins") or [], new.spec.get("pins") or []
    moved = [pin for pin in (*before, *after) if pin not in before or pin not in after]
    names = {(kind, pin[kind]) for pin in moved for kind in ("model", "dataset") if pin.get(kind)}
    return {key for key, source in keys_on(declared, new) if pinned_as(source) in names}


def _rebound(before: Declared, after: Declared, edges: Iterable[Identity]) -> set[Key]:
    """The InferenceModels that changed edges move between edges: by the node they name, or by what they select."""
    objects = [obj for identity in edges for obj in (before.get(identity), after.get(identity)) if obj is not None]
    models = {identity for node in {"", *map(node_of, objects)} for identity in after.naming(node)}
    places = [(set(keys_from(before, identity)), set(keys_from(after, identity))) for identity in models]
    moved = {key for was, now in places if was != now for key in was | now}
    waiting = {Key(*identity, "") for edge in objects for identity in after.naming(node_of(edge))}
    return moved | (waiting & {key for _, now in places for key in now})  # why they wait names what is on their node


def _namesakes(before: Declared, after: Declared, identity: Identity) -> set[Key]:
    """The keys of sets whose names the object may take, or give back."""
    names: set[Identity] = set()
    for declared in (before, after):
        obj = declared.get(identity)
        if obj is None:
            continue
        if obj.kind == "InferenceModel":
            names.add(identity)
        elif obj.kind == "InferenceModelSet":
            reached = declared.edges_matching(obj.spec.get("edgeSelector"))
            names |= {Identity("InferenceModel", obj.namespace, f"{obj.name}-{edge.name}") for edge in reached}
        elif obj.kind == "Edge":
            sets = (key_source for _, key_source in keys_on(declared, obj) if key_source.kind == "InferenceModelSet")
            names |= {Identity("InferenceModel", source.namespace, f"{source.name}-{obj.name}") for source in sets}
    return {
        key_of_set(declared, source, edge)
        for declared in (before, after)
        for name in names
        for source, edge in claimants(declared, name)
    }


def pinned_as(source: Object) -> tuple[str, str]:
    """What a pin must name to act on this object: ("model", modelRef or modelName), ("dataset", name), or nothing."""
    if source.kind == "Dataset":
        return "dataset", source.name
    if source.kind == "InferenceModel":  # says its own targetVersion
        return "", ""
    template = template_of(source)
    return "model", template.get("modelRef") or template.get("modelName", "")


def unmatched_pins(declared: Declared, edge: Object) -> list[Diagnostic]:
    """A warning for every pin that acts on nothing."""
    pins = edge.spec.get("pins") or []
    known = {pinned_as(source) for _, source in keys_on(declared, edge)} if pins else set()
    named = [("model", pin["model"]) if pin.get("model") else ("dataset", pin.get("dataset", "")) for pin in pins]
    return [refusals.pin_unmatched(edge, n) for n, name in enumerate(named) if name not in known]


# ── what a key should be ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What expansion needs beside the declarations.

    fleet: spec of the Fleet in force.  digests: "<url> <version>" -> sha256 seen at first use.  now: RFC 3339 UTC.
    served: what was ordered last, by key: who has a port keeps it.
    """

    fleet: Mapping[str, Any]
    digests: Mapping[str, str]
    now: str
    served: Mapping[str, Served] = field(default_factory=dict)


class Choice(NamedTuple):
    """Which version is meant, where that stands, and why."""

    version: str
    origin: str
    because: str


def expand(key: Key, declared: Declared, around: Circumstances) -> Expansion:
    """What `key` should be."""
    source, edge = source_of(declared, key), declared.edge(key.edge)
    if source is None:
        return Gone(key)
    if key.edge and source.kind == "InferenceModel" and declared.edge_of(source) is None:
        return Frozen(key, None)  # its key on no edge tells why
    if source.kind != "Dataset":
        refusal = refusals.unservable(source) or _unplaced(declared, source, key)
        refusal = refusal or port_conflict(declared, key, source, edge, lambda one: around.served.get(str(one)))
        if refusal is not None:
            return Frozen(key, refusal)
    assert edge is not None  # only what is unplaced has a key on no edge
    found = chosen(source, edge, declared, around)
    if isinstance(found, Diagnostic):
        return Frozen(key, found)
    entry, choice, until = found
    artifacts = around.fleet.get("artifacts") or {}
    spec = _dataset_spec(source, edge, entry) if source.kind == "Dataset" else _model_spec(source, edge, entry)
    policy = {name: artifacts.get(name, False) for name in ("allowLoopback", "allowFile")}
    return Wanted(key, spec, policy, choice.origin, choice.because, until, _remarks(source, edge))


class Chosen(NamedTuple):
    """The entry of the version that an edge is to have, why it is that one, and when a pin on it ends ("": never)."""

    entry: dict[str, Any]
    choice: Choice
    until: str


def chosen(source: Object, edge: Object, declared: Declared, around: Circumstances) -> Chosen | Diagnostic:
    """Which version of `source` the edge gets, with its digest; or why that cannot be said."""
    pin = _pin(source, edge, around.now)
    choice = _choice(source, edge, pin)
    holder, entry = _entry(declared, source, choice.version)
    if holder is None:
        models = (model.name for model in declared.of_kind("Model") if model.namespace == source.namespace)
        return refusals.unknown_model(source, template_of(source)["modelRef"], models)
    if entry is None:
        known = [str(one["version"]) for one in entries_of(holder)]
        return refusals.unknown_version(source, edge, pin, choice.version, known)
    if not entry.get("sha256sum"):
        entry["sha256sum"] = around.digests.get(f"{entry['downloadURL']} {choice.version}", "")
    if not entry["sha256sum"] and (around.fleet.get("artifacts") or {}).get("requireDigest", True):
        return refusals.digest_missing(holder, choice.version, entry["downloadURL"])
    until = rfc3339(expires_at(str(pin["expires"]))) if pin is not None and pin.get("expires") else ""
    return Chosen(entry, choice, until)


def source_of(declared: Declared, key: Key) -> Object | None:
    """The object that a key comes from, or None when nothing declares it there.

    An InferenceModel that leads to no edge at all is the source of its key on every edge where it was: it stays there.
    """
    edge = declared.edge(key.edge)
    if key.kind == "Dataset":
        dataset = declared.get(Identity("Dataset", key.namespace, key.name))
        return dataset if dataset is not None and edge is not None and placement(dataset, edge) else None
    plain = declared.get(Identity(key.kind, key.namespace, key.name))
    if plain is not None:
        return plain if declared.edge_of(plain) in {None, key.edge} else None
    if edge is None:
        return None
    usual = declared.get(Identity("InferenceModelSet", key.namespace, key.name.removesuffix(f"-{key.edge}")))
    hashed = () if usual is not None else declared.of_kind("InferenceModelSet")
    for source in [usual] if usual is not None else hashed:
        if matches(source.spec.get("edgeSelector"), edge.labels) and key_of_set(declared, source, key.edge) == key:
            return source
    return None


def _unplaced(declared: Declared, source: Object, key: Key) -> Diagnostic | None:
    if key.edge:
        return None
    named = declared.edge_of(Object(kind=source.kind, name=source.name, spec={"nodeName": source.spec.get("nodeName")}))
    return refusals.unplaced(source, declared.edge(named) if named else None)


def port_conflict(
    declared: Declared, key: Key, source: Object, edge: Object | None, served: Callable[[Key], Served | None]
) -> Diagnostic | None:
    """Two models on one edge would listen on one port: who was ordered onto it keeps it, then the least key.

    edge: where `source` lands; what it serves there was found servable before.  served: what was ordered of a key.
    """
    mine = port_of(source)
    assert edge is not None  # what is unplaced was refused before
    assert mine is not None  # so was what cannot be served

    def rank(one: Key) -> tuple[bool, Key]:
        known = served(one)
        return known is None or _ordered_port(known.order) != mine, one

    first, holder = min(_ports(declared, edge)[mine], key=lambda rival: rank(rival[0]))
    return None if first == key else refusals.port_conflict(source, edge, mine, holder)


def _ordered_port(order: Mapping[str, Any]) -> object:
    """The port of an order for an edge, or of an API object."""
    return order.get("port") or order.get("spec", {}).get("servingPort")


def _ports(declared: Declared, edge: Object) -> dict[int, list[tuple[Key, Object]]]:
    """Who asks for which port of an edge; worked out once for these declarations."""
    found = declared.ports.get(edge.name)
    if found is None:
        found = declared.ports[edge.name] = {}
        for key, source in keys_on(declared, edge):
            port = port_of(source)
            if port is not None:
                found.setdefault(port, []).append((key, source))
    return found


def _pin(source: Object, edge: Object, now: str) -> dict[str, Any] | None:
    kind, name = pinned_as(source)
    for pin in edge.spec.get("pins") or [] if kind else ():
        if pin.get(kind) == name and not _expired(pin, now):
            return dict(pin)
    return None


def _expired(pin: dict[str, Any], now: str) -> bool:
    expires = pin.get("expires")
    return bool(expires) and datetime.fromisoformat(now).timestamp() >= expires_at(str(expires))


def _choice(source: Object, edge: Object, pin: dict[str, Any] | None) -> Choice:
    if pin is not None:
        why = f": {pin['reason']}" if pin.get("reason") else ""
        place = edge.place(f"pins/{edge.spec['pins'].index(pin)}")
        return Choice(str(pin["version"]), place, f"pinned on {edge.name}{why}")
    field_name = "targetVersion" if source.kind == "InferenceModel" else "defaultVersion"
    version = source.spec.get(field_name)
    entries = entries_of(source)
    if not version and len(entries) == 1:
        version = entries[0]["version"]
    because = "its targetVersion" if source.kind == "InferenceModel" else f"the default version of {source.name}"
    return Choice(str(version or ""), source.place(field_name), because)


def _entry(declared: Declared, source: Object, version: str) -> tuple[Object | None, dict[str, Any] | None]:
    """Where the versions stand, and the entry of one."""
    holder: Object | None = source
    if source.kind != "Dataset" and template_of(source).get("modelRef"):
        holder = declared.get(Identity("Model", source.namespace, template_of(source)["modelRef"]))
    return holder, next((dict(entry) for entry in entries_of(holder) if str(entry["version"]) == version), None)


def entries_of(holder: Object | None) -> list[dict[str, Any]]:
    """The versions that an object itself lists."""
    if holder is None or holder.kind in {"Edge", "Fleet"}:
        return []
    if holder.kind in {"Model", "Dataset"}:
        return list(holder.spec.get("versions") or [])
    return list(template_of(holder).get("manifest") or [])


def _model_spec(source: Object, edge: Object, entry: dict[str, Any]) -> dict[str, Any]:
    template = template_of(source)
    framework = template["frameworkType"]
    return _artifact(entry) | {
        "model": template["modelName"],
        "framework": framework,
        "address": edge.spec.get("address") or "127.0.0.1",
        "port": template.get("servingPort") or SERVABLE[framework],
        "serving": template.get("replicas") != 0,  # 0 keeps the bytes and serves nothing; absent is 1
    }


def _dataset_spec(source: Object, edge: Object, entry: dict[str, Any]) -> dict[str, Any]:
    return _artifact(entry) | {
        "dataset": source.name,
        "format": source.spec["format"],
        "bytes": placement(source, edge) == "bytes",
    }


def _artifact(entry: dict[str, Any]) -> dict[str, Any]:
    spec = {"version": str(entry["version"]), "url": entry["downloadURL"], "sha256": entry.get("sha256sum") or ""}
    return spec | ({"size": entry["size"]} if entry.get("size") is not None else {})


def _remarks(source: Object, edge: Object) -> tuple[Diagnostic, ...]:
    replicas = 1 if source.kind == "Dataset" else template_of(source).get("replicas")
    return (refusals.replicas_ignored(source, edge, replicas),) if replicas is not None and replicas > 1 else ()
