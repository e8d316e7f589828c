"""Sets × edges × pins -> what each edge should have. May import: history, model.identity, diagnostics.

Two pure functions: `affected` says which keys a change may concern, `expand` says what one key should be. Expanding the
affected keys equals expanding everything (by property test), so a commit costs what it changed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.diagnostics import Diagnostic
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key
from reconciler.model.expiry import expires_at
from reconciler.model.identity import Identity
from reconciler.planning.declared import Declared, Object, matches
from reconciler.planning.wanted import Expansion, Frozen, Gone, Wanted

LONGEST_NAME = 63  # a DNS label (RFC 1123); the name becomes part of host names and of Kubernetes labels
SERVABLE = {"onnx": 8080}  # frameworks that the embedded runtime serves, with their default port


def expanded_name(set_name: str, edge: str, *, taken: bool) -> str:
    """`<set>-<edge>`; where that is too long or taken by a declared object, cut and made unique by a hash of both."""
    name = f"{set_name}-{edge}"
    if len(name) <= LONGEST_NAME and not taken:
        return name
    suffix = hashlib.sha256(f"{set_name}/{edge}".encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{suffix}"


def key_of_set(declared: Declared, source: Object, edge: str) -> Key:
    """The key of a set's model on one edge."""
    plain = Identity("InferenceModel", source.namespace, f"{source.name}-{edge}")
    return Key(*plain[:2], expanded_name(source.name, edge, taken=declared.get(plain) is not None), edge)


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
    """Every key that comes from one object, on whatever edge."""
    obj = declared.get(identity)
    if obj is None:
        return
    if obj.kind == "InferenceModelSet":
        for edge in declared.edges_matching(obj.spec.get("edgeSelector")):
            yield key_of_set(declared, obj, edge.name)
    elif obj.kind == "InferenceModel":
        edge_name = declared.edge_of(obj)
        if edge_name:
            yield Key(*identity, edge_name)
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


def affected(before: Declared, after: Declared, changed: Iterable[Identity]) -> set[Key]:
    """The keys whose expansion may differ between two states, given which objects differ."""
    keys: set[Key] = set()
    for identity in changed:
        old, new = before.get(identity), after.get(identity)
        if identity.kind == "Edge" and old is not None and new is not None and _only_pins_differ(old, new):
            keys |= _repinned(after, old, new)
            continue
        keys.update(keys_from(before, identity))
        keys.update(keys_from(after, identity))
        if identity.kind == "Edge":  # a model bound by a selector may have moved to or from another edge
            keys |= _rebound(before, after)
        if identity.kind == "InferenceModel":  # its name may take, or give back, the name of a set's model
            keys |= _renamed(before, after, identity)
        if identity.kind in {"InferenceModel", "InferenceModelSet"} and _port(old) != _port(new):
            keys |= {
                key for near in {key.edge for key in keys_from(before, identity)} for key in _models_on(after, near)
            }
            keys |= {
                key for near in {key.edge for key in keys_from(after, identity)} for key in _models_on(after, near)
            }
    return keys


def _port(source: Object | None) -> int | None:
    """The port that a model asks for on its edge; None when nothing is declared or it cannot be served here."""
    if source is None or _unservable(source, _template(source)) is not None:
        return None
    template = _template(source)
    return int(template.get("servingPort") or SERVABLE[template["frameworkType"]])


def _models_on(declared: Declared, edge_name: str) -> set[Key]:
    edge = declared.edge(edge_name)
    return set() if edge is None else {key for key, _ in keys_on(declared, edge) if key.kind != "Dataset"}


def _only_pins_differ(old: Object, new: Object) -> bool:
    return old.labels == new.labels and _without_pins(old) == _without_pins(new)


def _without_pins(edge: Object) -> dict[str, Any]:
    return {name: value for name, value in edge.spec.items() if name != "pins"}


def _repinned(declared: Declared, old: Object, new: Object) -> set[Key]:
    before, after = old.spec.get("pins") or [], new.spec.get("pins") or []
    moved = [pin for pin in (*before, *after) if pin not in before or pin not in after]
    names = {(kind, pin[kind]) for pin in moved for kind in ("model", "dataset") if pin.get(kind)}
    return {key for key, source in keys_on(declared, new) if _pinned_as(source) in names}


def _rebound(before: Declared, after: Declared) -> set[Key]:
    keys: set[Key] = set()
    for model in after.of_kind("InferenceModel"):
        if model.spec.get("nodeSelector") and before.edge_of(model) != after.edge_of(model):
            keys.update(keys_from(before, model.identity))
            keys.update(keys_from(after, model.identity))
    return keys


def _renamed(before: Declared, after: Declared, identity: Identity) -> set[Key]:
    keys: set[Key] = set()
    for declared in (before, after):
        for source in declared.of_kind("InferenceModelSet"):
            edge = declared.edge(identity.name.removeprefix(f"{source.name}-"))
            same_space = source.namespace == identity.namespace
            if same_space and edge is not None and matches(source.spec.get("edgeSelector"), edge.labels):
                keys.add(key_of_set(declared, source, edge.name))
    return keys


def _pinned_as(source: Object) -> tuple[str, str]:
    """What a pin must name to act on this object: ("model", modelRef or modelName) or ("dataset", name)."""
    if source.kind == "Dataset":
        return "dataset", source.name
    template = _template(source)
    return "model", template.get("modelRef") or template.get("modelName", "")


def _template(source: Object) -> dict[str, Any]:
    spec = source.spec["template"]["spec"] if source.kind == "InferenceModelSet" else source.spec
    return dict(spec)


def source_of(declared: Declared, key: Key) -> Object | None:
    """The object that a key comes from, or None when nothing declares it on that edge."""
    edge = declared.edge(key.edge)
    if edge is None:
        return None
    if key.kind == "Dataset":
        dataset = declared.get(Identity("Dataset", key.namespace, key.name))
        return dataset if dataset is not None and placement(dataset, edge) else None
    plain = declared.get(Identity(key.kind, key.namespace, key.name))
    if plain is not None:
        return plain if declared.edge_of(plain) == key.edge else None
    usual = declared.get(Identity("InferenceModelSet", key.namespace, key.name.removesuffix(f"-{key.edge}")))
    candidates = [usual] if usual is not None else declared.of_kind("InferenceModelSet")
    for source in candidates:
        if matches(source.spec.get("edgeSelector"), edge.labels) and key_of_set(declared, source, key.edge) == key:
            return source
    return None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What expansion needs beside the declarations.

    fleet: spec of the Fleet in force.  digests: "<url> <version>" -> sha256 seen at first use.  now: RFC 3339 UTC.
    """

    fleet: Mapping[str, Any]
    digests: Mapping[str, str]
    now: str


def expand(key: Key, declared: Declared, around: Circumstances) -> Expansion:
    """What `key` should be."""
    source, edge = source_of(declared, key), declared.edge(key.edge)
    if source is None or edge is None:
        return Gone(key)
    pin = _pin(source, edge, around.now)
    template = _template(source)
    if source.kind != "Dataset":
        refusal = _unservable(source, template) or _port_conflict(declared, key, source, edge)
        if refusal is not None:
            return Frozen(key, refusal)
    version, origin, because = _version(source, template, edge, pin)
    entry, known = _entry(declared, source, template, version)
    if entry is None:
        return Frozen(key, _unknown_version(source, edge, pin, version, known))
    artifacts = around.fleet.get("artifacts") or {}
    if not entry.get("sha256sum"):
        entry["sha256sum"] = around.digests.get(f"{entry['downloadURL']} {version}", "")
    if not entry["sha256sum"] and artifacts.get("requireDigest", True):
        return Frozen(key, _digest_missing(source, version, entry))
    spec = _dataset_spec(source, edge, entry) if source.kind == "Dataset" else _model_spec(template, edge, entry)
    policy = {name: artifacts.get(name, False) for name in ("allowLoopback", "allowFile")}
    until = rfc3339(expires_at(str(pin["expires"]))) if pin is not None and pin.get("expires") else ""
    return Wanted(key, spec, policy, origin, because, until)


def _pin(source: Object, edge: Object, now: str) -> dict[str, Any] | None:
    if source.kind == "InferenceModel":  # says its own targetVersion
        return None
    for pin in edge.spec.get("pins") or []:
        kind, name = _pinned_as(source)
        if pin.get(kind) == name and not _expired(pin, now):
            return dict(pin)
    return None


def _expired(pin: dict[str, Any], now: str) -> bool:
    expires = pin.get("expires")
    return bool(expires) and datetime.fromisoformat(now).timestamp() >= expires_at(str(expires))


def _version(
    source: Object, template: dict[str, Any], edge: Object, pin: dict[str, Any] | None
) -> tuple[str, str, str]:
    if pin is not None:
        why = f": {pin['reason']}" if pin.get("reason") else ""
        place = edge.place(f"pins/{(edge.spec['pins']).index(pin)}")
        return str(pin["version"]), place, f"pinned on {edge.name}{why}"
    if source.kind == "InferenceModel":
        manifest = template.get("manifest") or []
        only = str(manifest[0]["version"]) if len(manifest) == 1 else ""
        return str(template.get("targetVersion") or only), source.place("targetVersion"), "its targetVersion"
    place = source.place("defaultVersion")
    return str(source.spec.get("defaultVersion") or ""), place, f"the default version of {source.name}"


def _entry(
    declared: Declared, source: Object, template: dict[str, Any], version: str
) -> tuple[dict[str, Any] | None, list[str]]:
    """The manifest entry of a version, and which versions there are."""
    if source.kind == "Dataset":
        entries = source.spec.get("versions") or []
    elif template.get("modelRef"):
        catalogue = declared.get(Identity("Model", source.namespace, template["modelRef"]))
        entries = catalogue.spec.get("versions") or [] if catalogue is not None else []
    else:
        entries = template.get("manifest") or []
    found = next((dict(entry) for entry in entries if str(entry["version"]) == version), None)
    return found, [str(entry["version"]) for entry in entries]


def _model_spec(template: dict[str, Any], edge: Object, entry: dict[str, Any]) -> dict[str, Any]:
    framework = template["frameworkType"]
    replicas = template.get("replicas")
    return _artifact(entry) | {
        "model": template["modelName"],
        "framework": framework,
        "address": edge.spec.get("address") or "127.0.0.1",
        "port": template.get("servingPort") or SERVABLE[framework],
        "serving": replicas != 0,  # edge > 1 runs one; 0 keeps the bytes and serves nothing
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


def _refusal(source: Object, field: str, code: str, message: str, advice: str) -> Diagnostic:
    line = source.lines.get(field, source.line)
    severity: Any = "warning" if code == "RX223" else "error"
    return Diagnostic(code=code, message=message, path=source.path, line=line, column=1, help=advice, severity=severity)


def _unservable(source: Object, template: dict[str, Any]) -> Diagnostic | None:
    if template.get("deployToLayer") != "edge":
        what = f"{source.kind} {source.name} is for the cloud layer"
    elif template.get("image"):
        what = f"{source.kind} {source.name} is a container image"
    elif template.get("frameworkType") not in SERVABLE:
        what = f"{source.kind} {source.name} needs {template.get('frameworkType')}"
    else:
        return None
    served = ", ".join(sorted(SERVABLE))
    advice = f"edges without Kubernetes serve model files of: {served}; it stays declared and blocks nothing"
    return _refusal(source, "template", "RX223", f"{what}: not servable here", advice)


def _port_conflict(declared: Declared, key: Key, source: Object, edge: Object) -> Diagnostic | None:
    """Two models on one edge would listen on one port: the one whose key sorts first keeps it."""
    mine = _port(source)
    for other_key, other in keys_on(declared, edge):
        if other.kind == "Dataset" or other_key >= key:
            continue
        theirs = _template(other)
        if (
            _unservable(other, theirs) is None
            and (theirs.get("servingPort") or SERVABLE[theirs["frameworkType"]]) == mine
        ):
            message = f"{other.name} already serves on port {mine} of {edge.name} ({other.path}:{other.line})"
            return _refusal(source, "servingPort", "RX220", message, "give one of them another servingPort")
    return None


def _unknown_version(
    source: Object, edge: Object, pin: dict[str, Any] | None, version: str, known: list[str]
) -> Diagnostic:
    asker, who = (edge, f"the pin on {edge.name}") if pin is not None else (source, f"{source.kind} {source.name}")
    template = {} if source.kind == "Dataset" else _template(source)
    catalogue = f"Model {template['modelRef']}" if template.get("modelRef") else f"{source.kind} {source.name}"
    there = f"has {', '.join(known)}" if known else "has no version, or does not exist"
    field = f"pins/{edge.spec['pins'].index(pin)}" if pin is not None else "defaultVersion"
    message = f"{who} asks for version {version or '(none)'}, but {catalogue} {there}"
    return _refusal(asker, field, "RX215", message, "name a version that exists; what was ordered last stays")


def _digest_missing(source: Object, version: str, entry: dict[str, Any]) -> Diagnostic:
    return _refusal(
        source, "versions", "RX222", f"version {version} of {source.name} has no sha256sum",
        f"add the output of `sha256sum` for {entry['downloadURL']}, or set Fleet.spec.artifacts.requireDigest: false",
    )  # fmt: skip
