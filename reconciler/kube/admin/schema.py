"""What a structural schema would drop or refuse of a stored object. May import: nothing of ours. Pure.

In: an OpenAPI v3 schema as a CustomResourceDefinition has it, and a document.  Out: paths with what is wrong there.
Checked is what Kubernetes' structural schemas may say of a value, without CEL rules, formats and defaults (Kubernetes
documentation, "Specifying a structural schema"; pruning: "Field pruning").
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class Misfit(NamedTuple):
    """One value that the schema drops or refuses. path: as spec.manifest[0].url."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


def misfits(schema: dict[str, Any], document: dict[str, Any]) -> set[Misfit]:
    """All of them; apiVersion, kind and metadata are not the schema's."""
    ours = {name: value for name, value in document.items() if name not in {"apiVersion", "kind", "metadata"}}
    properties = {name: value for name, value in (schema.get("properties") or {}).items() if name in ours}
    required = [name for name in schema.get("required") or () if name not in {"apiVersion", "kind", "metadata"}]
    return set(_object({**schema, "properties": properties, "required": required}, ours, ""))


def _value(schema: dict[str, Any], value: Any, path: str) -> Iterator[Misfit]:
    if value is None:
        if not schema.get("nullable") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield Misfit(path, "could not be null")
        return
    kind = schema.get("type", "")
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield Misfit(path, "would have to be a number or text")
        return
    if kind in _TYPES and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield Misfit(path, f"would have to be of type {kind}")
        return
    if schema.get("enum") and value not in schema["enum"]:
        yield Misfit(path, "has a value that would be allowed no more")
    if isinstance(value, dict):
        yield from _object(schema, value, path)
    elif isinstance(value, list):
        yield from _bounds(schema, len(value), path, "minItems", "maxItems")
        for number, one in enumerate(value):
            yield from _value(schema.get("items") or {}, one, f"{path}[{number}]")
    elif isinstance(value, str):
        yield from _bounds(schema, len(value), path, "minLength", "maxLength")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield Misfit(path, "would not match its pattern")
    elif isinstance(value, int | float):
        yield from _bounds(schema, value, path, "minimum", "maximum")


def _object(schema: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[Misfit]:
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    open_ = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or more is True
    for name in schema.get("required") or ():
        if name not in value:
            yield Misfit(f"{path}.{name}".strip("."), "would be required")
    for name, one in value.items():
        inner = f"{path}.{name}".strip(".")
        if name in properties:
            yield from _value(properties[name], one, inner)
        elif isinstance(more, dict):
            yield from _value(more, one, inner)
        elif not open_:
            yield Misfit(inner, "would be dropped")
    yield from _bounds(schema, len(value), path, "minProperties", "maxProperties")


def _bounds(schema: dict[str, Any], size: float, path: str, least: str, most: str) -> Iterator[Misfit]:
    low, high = schema.get(least), schema.get(most)
    if low is not None and (size < low or (size == low and schema.get("exclusiveMinimum") and least == "minimum")):
        yield Misfit(path, f"would be below its {least}, {low}")
    if high is not None and (size > high or (size == high and schema.get("exclusiveMaximum") and most == "maximum")):
        yield Misfit(path, f"would be above its {most}, {high}")
