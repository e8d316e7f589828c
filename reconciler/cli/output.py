"""Answers as JSON or YAML: the same value that the table shows. Imports light modules only.

In: frozen dataclasses of plain values.  Out: text on stdout with `schemaVersion`; fields only grow under one version.
Field names are written as Kubernetes writes them: `lastSequence`.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final

SCHEMA_VERSION: Final = 1


def plain(value: Any) -> Any:
    """The value as JSON knows it. Keys of mappings stay as they are: they are names, not fields."""
    if value is None or isinstance(value, str | int):  # nearly all that there is
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(field.name): plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    return value


@cache
def camel(name: str) -> str:
    """`last_sequence` -> `lastSequence`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def document(kind: str, value: Any) -> dict[str, Any]:
    """The value with what says how to read it."""
    return {"schemaVersion": SCHEMA_VERSION, "kind": kind, **plain(value)}


def write(form: str, kind: str, value: Any) -> None:
    """The whole answer, on stdout."""
    if form == "json":
        print(json.dumps(document(kind, value), indent=2, ensure_ascii=False))
    else:
        print(_yaml(document(kind, value)), end="")


def write_one(form: str, kind: str, value: Any) -> None:
    """One record of a long answer: a line of JSON, or a YAML document."""
    if form == "json":
        print(json.dumps(document(kind, value), ensure_ascii=False))
    else:
        print("---\n" + _yaml(document(kind, value)), end="")
    sys.stdout.flush()


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    return text
