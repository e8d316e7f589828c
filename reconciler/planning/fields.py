"""Fields of an object by path, as its differences, conflicts and owners name them. Imports nothing of ours.

In: an object's tree, or the `fieldsV1` of one field manager.  Out: leaf paths, values, trees without some leaves.

    spec.targetVersion                        a field
    labels["app.kubernetes.io/name"]          a key that is not plain; `metadata.` is left out
    spec.manifest[version=3].downloadURL      a field of one entry of a list that is a map by `version`

A leaf is a scalar, an empty mapping, or a list that is no such map (with all that is in it).
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

MERGE_KEY: Final = "version"  # what our CRDs declare as x-kubernetes-list-map-keys, wherever a list is a map
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_ENTRY: Final = re.compile(r"[A-Za-z0-9_.+-]+")
_STEP: Final = re.compile(
    r"\.?(?P<plain>[A-Za-z0-9_-]+)"
    r'|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]'
    rf"|\[{MERGE_KEY}=(?P<entry>[A-Za-z0-9_.+-]+)\]"
    rf'|\[{MERGE_KEY}=(?P<entry_quoted>"(?:[^"\\]|\\.)*")\]'
)


class _Step(NamedTuple):
    """One step of a path. entry: `key` is the version of an entry, not the key of a mapping. end: of its text."""

    key: str
    entry: bool
    end: int


def leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf, in the tree's order; none for an empty tree."""
    return _walk(tree, "")


def managed(fields_v1: Mapping[str, Any]) -> frozenset[str]:
    """The paths that one field manager owns; the inverse of the form that Server-Side Apply gives a set of fields.

    `f:` is a key of a mapping, `k:` the keys of an entry, `v:` an item of a set, `.` the thing itself (Kubernetes,
    "Server-Side Apply", FieldsV1). What is owned inside a list that is no map by version is the list.
    """
    return frozenset(_owned(fields_v1, ""))


def at(tree: Mapping[str, Any], path: str) -> Any:
    """What stands at a path, a leaf or not; None where there is nothing. Raises ValueError when it is no path."""
    here: Any = tree
    for key, entry, _ in _steps(path):
        here = (_entries(here) if entry else here if isinstance(here, Mapping) else {}).get(key)
        if here is None:
            return None
    return here


def without(tree: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """A copy without what stands at these paths, and without the mappings and lists that this leaves empty.

    An entry keeps its merge key while it keeps anything else: without it, it would be another entry.
    """
    kept: dict[str, Any] = _pruned(tree, "", frozenset(paths))
    return kept


def above(path: str) -> list[str]:
    """The paths that it lies in, the nearest first. Raises ValueError when it is no path."""
    return [path[: step.end] for step in _steps(path)[-2::-1]]


def _walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        if not node and path:
            yield path, node
        for key, value in node.items():
            yield from _walk(value, path + _key_text(key, bool(path)))
    elif entries := _entries(node):
        for version, entry in entries.items():
            yield from _walk(entry, path + _entry_text(version))
    else:
        yield path, node


def _entries(node: Any) -> dict[str, Any]:
    """The entries of a list that is a map by version; nothing for what is none."""
    if not isinstance(node, list) or not all(
        isinstance(item, Mapping) and isinstance(item.get(MERGE_KEY), str) for item in node
    ):
        return {}
    entries = {item[MERGE_KEY]: item for item in node}
    return entries if len(entries) == len(node) else {}


def _owned(fields: Mapping[str, Any], path: str) -> Iterator[str]:
    inside = False
    for step, below in fields.items():
        sort, _, text = step.partition(":")
        if sort == "f":
            if path or text != "metadata":
                yield from _owned(below, path + _key_text(text, bool(path)))
            else:
                yield from _owned(below, "")
        elif sort == "k" and (version := _version_of(text)) is not None:
            yield from _owned(below, path + _entry_text(version))
        else:
            continue
        inside = True
    if path and not inside:
        yield path


def _version_of(keys: str) -> str | None:
    """The version in `{"version":"3"}`; None where an entry is known by something else."""
    found = json.loads(keys)
    version = found.get(MERGE_KEY) if isinstance(found, dict) and len(found) == 1 else None
    return version if isinstance(version, str) else None


def _pruned(node: Any, path: str, paths: frozenset[str]) -> Any:
    if isinstance(node, Mapping):
        kept: dict[str, Any] = {}
        for key, value in node.items():
            below = path + _key_text(key, bool(path))
            if below not in paths and (found := _pruned(value, below, paths)) is not _NOTHING:
                kept[key] = found
        return kept if kept or not node or not path else _NOTHING
    if entries := _entries(node):
        items = [_pruned_entry(entry, path + _entry_text(version), paths) for version, entry in entries.items()]
        kept_items = [item for item in items if item is not _NOTHING]
        return kept_items or _NOTHING
    return node


def _pruned_entry(entry: Mapping[str, Any], path: str, paths: frozenset[str]) -> Any:
    if path in paths:
        return _NOTHING
    kept = _pruned(entry, path, paths)
    if kept is _NOTHING or MERGE_KEY in kept:
        return kept
    return {key: kept[key] if key in kept else entry[key] for key in entry if key in kept or key == MERGE_KEY}


_NOTHING: Final = object()


@lru_cache(4096)
def _key_text(key: str, inside: bool) -> str:
    if not _PLAIN.fullmatch(key):
        return f"[{json.dumps(key)}]"
    return f".{key}" if inside else key


@lru_cache(4096)
def _entry_text(version: str) -> str:
    return f"[{MERGE_KEY}={version if _ENTRY.fullmatch(version) else json.dumps(version)}]"


@lru_cache(4096)
def _steps(path: str) -> tuple[_Step, ...]:
    steps, read = [], 0
    for found in _STEP.finditer(path):
        if found.start() != read:
            break
        read = found.end()
        plain, quoted, entry, entry_quoted = found.groups()
        text = plain or entry or json.loads(quoted or entry_quoted)
        steps.append(_Step(text, entry is not None or entry_quoted is not None, read))
    if read != len(path):
        raise ValueError(f"{path!r} is no field path: cannot be read from character {read}")
    return tuple(steps)
