"""What the API server should have: one object a key. May import: history.keys, model.identity, planning.

Two pure functions as in planning.expand: `affected` says which objects a change may concern, `expand` says what one
should be. Every declared object is one as it was written; a set is an InferenceModel for each of its edges beside that.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from reconciler.diagnostics import Diagnostic
from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.model.identity import EDGE_LABEL, GROUP, SET_LABEL, Identity
from reconciler.planning import expand as deliver
from reconciler.planning import refusals
from reconciler.planning.declared import Declared, Object, node_of
from reconciler.planning.expand import Chosen, Circumstances, chosen
from reconciler.planning.naming import LONGEST_NAME, claimants, key_of_set, renamed
from reconciler.planning.refusals import template_of, unservable
from reconciler.planning.wanted import Expansion, Frozen, Gone, Wanted

MODEL_LABEL: Final = f"{GROUP}/model"
OWN_LABELS: Final = {"app.kubernetes.io/managed-by": "reconciler"}
MIRRORED: Final = ("InferenceModelSet", "InferenceModel", "Model", "Dataset", "Edge", "Fleet")

# Where a kind has numbers with a fraction. A log has none (history.codec), so they are text until they are sent.
NUMBERS: Final[dict[str, tuple[str, ...]]] = {"Model": ("versions", "metrics", "value")}


def key_of(identity: Identity) -> Key:
    """The key of a declared object."""
    return Key(*identity, "")


def every(declared: Declared) -> set[Key]:
    """Every object that there should be."""
    plain = {key_of(obj.identity) for kind in MIRRORED for obj in declared.of_kind(kind)}
    return plain | {key for source in declared.of_kind("InferenceModelSet") for key in _of_set(declared, source)}


def _of_set(declared: Declared, source: Object) -> Iterator[Key]:
    for edge in declared.edges_matching(source.spec.get("edgeSelector")):
        yield key_of_set(declared, source, edge.name)._replace(edge="")


def affected(before: Declared, after: Declared, changed: Iterable[Identity]) -> set[Key]:
    """The objects whose expansion may differ between two states, given which declared objects differ."""
    changed = list(changed)
    concerned = deliver.affected(before, after, changed)
    return {key_of(one) for one in changed} | {key._replace(edge="") for key in concerned}


def source_of(declared: Declared, key: Key) -> tuple[Object | None, str]:
    """(the declared object that a key is, or whose set makes it; the edge of the latter). (None, "") where none is."""
    identity = Identity(key.kind, key.namespace, key.name)
    plain = declared.get(identity)
    if plain is not None or key.kind != "InferenceModel":
        return plain, ""
    for source, edge in claimants(declared, identity):
        if key_of_set(declared, source, edge).name == key.name:
            return source, edge
    return renamed(declared).get(identity, (None, ""))


def expand(key: Key, declared: Declared, around: Circumstances) -> Expansion:
    """What the object of `key` should be: `{labels, annotations, spec}`, as far as we set it.

    around.served: what was ordered last, by object.
    """
    source, edge_name = source_of(declared, key)
    if source is None:
        return Gone(key)
    edge = declared.edge(edge_name)
    if edge is None:
        refusal = _refusal(source, declared, around) if source.kind in {"InferenceModel", "Dataset"} else None
        if refusal is not None:
            return Frozen(key, refusal)
        return Wanted(key, _manifest(source, _tidy(source.spec)), origin=source.place(""), because="declared")
    return _on_edge(key, source, edge, declared, around)


def _on_edge(key: Key, source: Object, edge: Object, declared: Declared, around: Circumstances) -> Expansion:
    """The InferenceModel that a set makes for one edge."""
    template = _tidy(template_of(source))
    clash = _clash(source, edge, declared, around)
    if clash is not None:
        return Frozen(key, clash)
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
    replicas = template.get("replicas")
    remarks = () if replicas is None or replicas < 2 else (refusals.replicas_ignored(source, edge, replicas),)
    return Wanted(key, manifest, {}, origin, because, until, remarks)


def _entries(found: Chosen, last: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entry that is wanted and the one before it, so that no order needs a look-up, and a rollback no download.

    last: what was ordered last and had its effect.
    """
    names = ("version", "downloadURL", "sha256sum")
    entry = {name: str(found.entry[name]) for name in names if found.entry.get(name)}
    target, known = last.get("targetVersion"), last.get("manifest", ())
    others = (one for one in known if one["version"] != entry["version"])
    if target != entry["version"]:
        others = (one for one in known if one["version"] == target)
    previous = next(others, None)
    return [entry] if previous is None else [entry, dict(previous)]


def _refusal(source: Object, declared: Declared, around: Circumstances) -> Diagnostic | None:
    """Why an object that is written out in Git cannot be had: found here, at its line, before a node finds it."""
    if source.kind == "InferenceModel":
        named = declared.edge_of(Object(kind=source.kind, name=source.name, spec=_place(source)))
        edge = declared.edge(declared.edge_of(source) or "")
        if named is not None and edge is None:  # a node without an Edge is the cluster's to know
            return refusals.unplaced(source, declared.edge(named))
        clash = _clash(source, edge, declared, around) if edge is not None else None
        if clash is not None or template_of(source).get("image"):
            return clash
    return _digest(source, around)


def _place(source: Object) -> dict[str, Any]:
    return {"nodeName": source.spec.get("nodeName")}


def _clash(source: Object, edge: Object, declared: Declared, around: Circumstances) -> Diagnostic | None:
    if unservable(source) is not None:
        return None
    is_set = source.kind == "InferenceModelSet"
    key = key_of_set(declared, source, edge.name) if is_set else Key(*source.identity, edge.name)
    return deliver.port_conflict(declared, key, source, edge, _Placed(around.served))


class _Placed(dict[str, Served]):
    """What was ordered of objects, asked for by the keys that they have on an edge."""

    def __init__(self, served: Mapping[str, Served]) -> None:
        self._served = served

    def get(self, key: str, default: Any = None) -> Any:
        return self._served.get(key.partition("@")[0], default)


def _digest(source: Object, around: Circumstances) -> Diagnostic | None:
    """An entry without sha256sum, while policy wants one."""
    if not (around.fleet.get("artifacts") or {}).get("requireDigest", True):
        return None
    for entry in deliver.entries_of(source):
        version, url = str(entry["version"]), entry["downloadURL"]
        if not entry.get("sha256sum") and f"{url} {version}" not in around.digests:
            return refusals.digest_missing(source, version, url)
    return None


def _manifest(source: Object, spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"labels": {**source.labels, **OWN_LABELS}}
    if source.annotations:
        found["annotations"] = dict(source.annotations)
    path = NUMBERS.get(source.kind)
    found["spec"] = spec if path is None else numbered(spec, path, lambda value: repr(float(value)))
    return found


def _tidy(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing: who sends a field keeps others from setting it."""
    found = {name: value for name, value in spec.items() if name not in UNSET or value != UNSET[name]}
    if isinstance(found.get("template"), Mapping):
        found["template"] = {**found["template"], "spec": _tidy(found["template"]["spec"])}
    return found


UNSET: Final[dict[str, Any]] = {
    "manifest": [],
    "nodeSelector": {},
    "servingPort": 0,
    "replicas": None,
    "pins": [],
    "labels": [],
    "drift": [],
    "freeze": [],
}


def numbered(value: Any, path: tuple[str, ...], convert: Any) -> Any:
    """`value` with `convert` made of what is at `path`, where lists count as all of their items."""
    if isinstance(value, list | tuple):
        return [numbered(one, path, convert) for one in value]
    if not path:
        return convert(value)
    if not isinstance(value, Mapping) or path[0] not in value:
        return value
    return {**value, path[0]: numbered(value[path[0]], path[1:], convert)}
