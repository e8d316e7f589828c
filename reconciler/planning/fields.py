"""Fields of an object by path, as its differences, conflicts and owners name them. Imports nothing of ours.

In: an object's tree, or the `fieldsV1` of one field manager.  Out: leaf paths, values, trees without some leaves.

    spec.targetVersion                        a field
    labels["app.kubernetes.io/name"]          a key that is not plain; `metadata.` is left out
    spec.manifest[version=3].downloadURL      a field of one entry of a list that is a map by `version`
    spec.ports[port=80,protocol=TCP].name     the same by two fields

A leaf is a scalar, an empty mapping, or a list that is no such map (with all that is in it). Which lists are maps, and
by which fields, is a schema's to say: `MergeKeys`.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

# The end of a list's path without entries (`containers`, `spec.ports`; "": of every list) -> the fields that name its
# entries, each with what it is where it is left out, None where it never is (x-kubernetes-list-map-keys; the longest
# ending counts).
MergeKeys = Mapping[str, Mapping[str, Any]]
BY_VERSION: Final[MergeKeys] = {"": {"version": None}}  # what our CRDs declare, wherever a list is a map

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.+-]+")
_TEXT: Final = r'"(?:[^"\\]|\\.)*"'
_NAMED: Final = rf"{_PLAIN.pattern}=(?:{_VALUE.pattern}|{_TEXT})"
_STEP: Final = re.compile(rf"\.?{_PLAIN.pattern}|\[{_TEXT}\]|(\[{_NAMED}(?:,{_NAMED})*\])")
_KEY: Final = re.compile(rf"\[({_TEXT})\]")


def leaves(tree: Mapping[str, Any], keys: MergeKeys = BY_VERSION) -> list[tuple[str, Any]]:
    """(path, value) of every leaf, in the tree's order; none for an empty tree."""
    found: list[tuple[str, Any]] = []
    _walk(tree, "", keys, found)
    return found


def managed(fields_v1: Mapping[str, Any], keys: MergeKeys = BY_VERSION) -> frozenset[str]:
    """The paths that one field manager owns; the inverse of the form that Server-Side Apply gives a set of fields.

    `f:` is a key of a mapping, `k:` the keys of an entry, `v:` an item of a set, `.` the thing itself (Kubernetes,
    "Server-Side Apply", FieldsV1). What is owned inside a list that is no map is the list.
    """
    return frozenset(_owned(fields_v1, "", keys))


def divided(
    fields_v1: Mapping[str, Any], is_taken: Callable[[str], bool], keys: MergeKeys = BY_VERSION
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one field manager owns, as FieldsV1: (the leaves that are taken, the rest). Empty where there is none.

    What holds leaves (`.`) goes with the last of them.
    """
    taken, rest = _divided(fields_v1, "", is_taken, keys)
    return taken or {}, rest or {}


def united(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What two field managers own together, as FieldsV1."""
    return {**one, **{step: united(one.get(step, {}), below) for step, below in other.items()}}


def without(tree: Mapping[str, Any], paths: Collection[str], keys: MergeKeys = BY_VERSION) -> dict[str, Any]:
    """A copy without what stands at these paths, and without the mappings and lists that this leaves empty.

    An entry keeps its merge keys while it keeps anything else: without them, it would be another entry.
    """
    kept: dict[str, Any] = _pruned(tree, "", frozenset(paths), keys)
    return kept


def above(path: str) -> list[str]:
    """The paths that it lies in, the nearest first. Raises ValueError when it is no path."""
    ends = [end for end, _ in _steps(path)]
    return [path[:end] for end in ends[-2::-1]]


def contested(text: str, paths: Iterable[str]) -> str:
    """Which of these paths an API server means where it tells of a conflict; its own words where it is none of them.

    It writes `metadata.labels.app.kubernetes.io/name` and `spec.ports[port=80,protocol="TCP"].name`.
    """
    said = text.removeprefix("metadata.").replace('"', "")
    return next((path for path in paths if _KEY.sub(r".\1", path).replace('"', "") == said), said)


def _walk(node: Any, path: str, keys: MergeKeys, found: list[tuple[str, Any]]) -> None:
    if isinstance(node, Mapping):
        if not node and path:
            found.append((path, node))
        for key, value in node.items():
            _walk(value, path + _key_text(key, bool(path)), keys, found)
    elif isinstance(node, list) and (entries := _entries(node, _fields(path, keys))):
        for step, entry in entries.items():
            _walk(entry, path + step, keys, found)
    else:
        found.append((path, node))


def _entries(node: list[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a list that is a map, by the step that leads to each; nothing for what is none."""
    entries = {_entry_text(item, fields): item for item in node}
    return entries if len(entries) == len(node) and "" not in entries else {}


def _fields(path: str, keys: MergeKeys) -> Mapping[str, Any]:
    """What names the entries of the list at `path`; nothing where that is no map."""
    if len(keys) == 1 and "" in keys:
        return keys[""]
    place = _place(path)
    while place not in keys and place:
        place = place.partition(".")[2]
    return keys.get(place, {})


def _entry_text(item: Any, fields: Mapping[str, Any]) -> str:
    """The step that leads to an entry of a list; "" where its fields do not name it."""
    if not isinstance(item, Mapping):
        return ""
    parts = []
    for name, default in fields.items():
        value = item.get(name, default)
        if not isinstance(value, (str, int)):
            return ""
        parts.append(_value_text(name, value))
    return f"[{','.join(parts)}]" if parts else ""


def _owned(fields_v1: Mapping[str, Any], path: str, keys: MergeKeys) -> Iterator[str]:
    inside = False
    for step, below in fields_v1.items():
        place = _owned_place(step, path, keys)
        if place is not None:
            yield from _owned(below, place, keys)
            inside = True
    if path and not inside:
        yield path


def _owned_place(step: str, path: str, keys: MergeKeys) -> str | None:
    """The path of what a step of FieldsV1 leads to; None where that is nothing of its own."""
    sort, _, text = step.partition(":")
    if sort == "f":
        return path + _key_text(text, bool(path)) if path or text != "metadata" else ""
    entry = _owned_entry(text, _fields(path, keys)) if sort == "k" else ""
    return path + entry if entry else None


def _divided(
    node: Mapping[str, Any], path: str, is_taken: Callable[[str], bool], keys: MergeKeys
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    inside = {step: place for step in node if (place := _owned_place(step, path, keys)) is not None}
    if not inside:
        return (dict(node), None) if is_taken(path) else (None, dict(node))
    parts = {step: _divided(node[step], place, is_taken, keys) for step, place in inside.items()}
    taken = {step: part for step, (part, _) in parts.items() if part is not None}
    rest = {step: part for step, (_, part) in parts.items() if part is not None}
    (rest or taken).update((step, below) for step, below in node.items() if step not in inside)
    return taken or None, rest or None


def _owned_entry(text: str, fields: Mapping[str, Any]) -> str:
    """The step of `{"version":"3"}`; "" where an entry is known by something else."""
    found = json.loads(text)
    return _entry_text(found, fields) if isinstance(found, dict) and found.keys() == fields.keys() else ""


def _pruned(node: Any, path: str, paths: frozenset[str], keys: MergeKeys) -> Any:
    if isinstance(node, Mapping):
        kept: dict[str, Any] = {}
        for key, value in node.items():
            below = path + _key_text(key, bool(path))
            if below not in paths and (found := _pruned(value, below, paths, keys)) is not _NOTHING:
                kept[key] = found
        return kept if kept or not node or not path else _NOTHING
    if isinstance(node, list) and (entries := _entries(node, fields := _fields(path, keys))):
        there = {path + step: entry for step, entry in entries.items() if path + step not in paths}
        items = [_whole(_pruned(entry, step, paths, keys), entry, fields) for step, entry in there.items()]
        return [item for item in items if item is not _NOTHING] or _NOTHING
    return node


def _whole(kept: Any, entry: Mapping[str, Any], fields: Mapping[str, Any]) -> Any:
    """What was kept of an entry, with what names it."""
    if kept is _NOTHING or kept.keys() >= fields.keys():
        return kept
    return {key: value for key, value in entry.items() if key in kept or key in fields} | kept


_NOTHING: Final = object()


@lru_cache(4096)
def _key_text(key: str, inside: bool) -> str:
    if not _PLAIN.fullmatch(key):
        return f"[{json.dumps(key)}]"
    return f".{key}" if inside else key


@lru_cache(4096, typed=True)
def _value_text(name: str, value: str | int) -> str:
    return f"{name}={value if isinstance(value, str) and _VALUE.fullmatch(value) else json.dumps(value)}"


@lru_cache(4096)
def _place(path: str) -> str:
    """The path without its entries."""
    starts = [0, *(end for end, _ in _steps(path))]
    return "".join(path[start:end] for start, (end, entry) in zip(starts, _steps(path), strict=False) if not entry)


@lru_cache(4096)
def _steps(path: str) -> tuple[tuple[int, bool], ...]:
    """Where each step of a path ends, and whether it leads to an entry of a list."""
    steps, read = [], 0
    while read < len(path):
        found = _STEP.match(path, read)
        if found is None:
            raise ValueError(f"{path!r} is no field path: cannot be read from character {read}")
        read = found.end()
        steps.append((read, found[1] is not None))
    return tuple(steps)
