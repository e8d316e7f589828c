"""Answers as documents: plain values with what says how to read them, and back. May import: errors. Light.

In: frozen dataclasses of plain values.  Out: what `--output json` and /api/v1 say, with `schemaVersion`; fields only
grow under one version. Field names are written as Kubernetes writes them: `lastSequence`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from reconciler.errors import ReconcilerError, RepositoryRefused, WorldRefused

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


def failure(error: ReconcilerError) -> dict[str, Any]:
    """An error as a document; that of refused files has the problems."""
    problems = error.problems if isinstance(error, RepositoryRefused) else ()
    told = error.as_dict() | ({"problems": [problem.as_dict() for problem in problems]} if problems else {})
    return {"schemaVersion": SCHEMA_VERSION, "kind": "Error", **told}


def revived(type_: Any, said: Any) -> Any:
    """The inverse of `plain`: a value of `type_`. What a newer release added is left out.

    Raises WorldRefused where a field is missing: an older release said it.
    """
    if is_dataclass(type_):
        return _object(type_, said)
    of, inside = get_origin(type_), get_args(type_)
    if of in {Union, UnionType}:
        one = next(arg for arg in inside if arg is not NoneType)
        return None if said is None else revived(one, said)
    if of is tuple:
        return tuple(revived(inside[0], each) for each in said)
    return said


def _object(type_: Any, said: Mapping[str, Any]) -> Any:
    given = {}
    for name, named, hint, is_needed in _shape(type_):
        if named in said:
            given[name] = revived(hint, said[named]) if hint else said[named]
        elif is_needed:
            raise WorldRefused(
                f"the answer has no {named} of {type_.__name__}", hint="this command is newer than the hub: upgrade it"
            )
    return type_(**given)


@cache
def _shape(type_: Any) -> list[tuple[str, str, Any, bool]]:
    """(field, its name in JSON, its type where there is something to revive, whether it has no default) of each."""
    hints = get_type_hints(type_)
    return [
        (
            field.name,
            camel(field.name),
            hints[field.name] if is_dataclass(hints[field.name]) or get_args(hints[field.name]) else None,
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(type_)
    ]
