"""The fields of the kinds as a person asks for them. May import: model.kind, model.crds, model.examples, pydantic.

In: a path as in `edge.spec.pins`, and the kinds.  Out: `Explained`, to the command line and docs/reference. It is read
from the same schemas as the CustomResourceDefinitions, so the two cannot say different things.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.errors import NameUnknown
from reconciler.model.crds import structural
from reconciler.model.declaration import Metadata
from reconciler.model.examples import examples
from reconciler.model.fields import nearest
from reconciler.model.kind import Kind
from reconciler.model.shape import Shape

_SCOPES: Final = {"Namespaced": "in a namespace", "Cluster": "of the whole cluster"}
_INDEX: Final = re.compile(r"\[[^]]*\]")
_KEEPING_DEFAULTS: Final = frozenset({"title", "additionalProperties", "$defs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldLine:
    """One field, as its parent lists it. default: None where it has none."""

    name: str
    type: str
    required: bool
    default: Any
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One kind or field.

    type: in words of JSON schema, as in `list of string`; `kind` of a kind.  default: None where it has none.  values:
    the only ones that it takes; () where it takes others.  limits: in words, as in `0 to 65535`.  refused: what is said
    of a value that is refused.  example: what a document says, from `spec` or `metadata` down; None where nobody
    declares it.
    """

    path: str
    type: str
    required: bool
    default: Any
    values: tuple[str, ...]
    limits: tuple[str, ...]
    refused: tuple[str, ...]
    description: str
    example: Any
    fields: tuple[FieldLine, ...]


def explained(path: str, kinds: Mapping[str, Kind]) -> Explained:
    """The kind or field at `path`: a kind by its name, plural or short name, then fields, indices left out.

    Raises NameUnknown, with the field that was probably meant.
    """
    first, *steps = _INDEX.sub("", path).strip(".").split(".")
    row, said, required = _kind(first, kinds), first, False
    node: Mapping[str, Any] = _object(row)
    for step in steps:
        inner = _inside(node)
        fields = inner.get("properties", {})
        if step not in fields:
            where = f"{row.name}{said.removeprefix(first)}"
            raise NameUnknown(f"{where} has no field {step!a:.60}", hint=_meant(step, said, list(fields)))
        required, node, said = step in inner.get("required", ()), fields[step], f"{said}.{step}"
    return _explained(row, ".".join((row.name, *steps)), node, required=required)


def every(row: Kind) -> Iterator[Explained]:
    """The kind and all its fields, parents before children, in the order in which they are declared."""

    def walk(node: Mapping[str, Any], path: str, *, required: bool) -> Iterator[Explained]:
        yield _explained(row, path, node, required=required)
        inner = _inside(node)
        for name, below in inner.get("properties", {}).items():
            yield from walk(below, f"{path}.{name}", required=name in inner.get("required", ()))

    yield from walk(_object(row), row.name, required=False)


def called(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """The kinds by all that they are called, in lower case: name, plural and short names."""
    return {name.lower(): row for row in kinds.values() for name in (row.name, row.plural, *row.short_names)}


def _kind(word: str, kinds: Mapping[str, Kind]) -> Kind:
    found = called(kinds).get(word.lower())
    if found is None:
        meant = nearest(word, list(kinds))
        hint = f"did you mean {meant}?" if meant else f"there is {', '.join(kinds)}"
        raise NameUnknown(f"there is no kind {word!a:.60}", hint=hint)
    return found


def _meant(step: str, parent: str, fields: Sequence[str]) -> str:
    meant = nearest(step, list(fields))
    if meant:
        return f"did you mean {meant}? `reconciler explain {parent}.{meant}`"
    return f"it has {', '.join(fields)}" if fields else f"it has no fields: `reconciler explain {parent}`"


def _object(row: Kind) -> dict[str, Any]:
    """The schema of a whole document of this kind, with defaults."""
    parts: dict[str, type[Shape]] = {"metadata": Metadata, "spec": row.spec}
    parts |= {"status": row.status} if row.is_ours else {}
    made = {name: structural(shape.model_json_schema(), _KEEPING_DEFAULTS) for name, shape in parts.items()}
    if row.scope == "Cluster":
        del made["metadata"]["properties"]["namespace"]
    needed = ["metadata"] + (["spec"] if made["spec"].get("required") else [])
    return {
        "type": "kind",
        "description": made["spec"].get("description", ""),
        "properties": {name: node for name, node in made.items() if name != "spec" or node.get("properties")},
        "required": needed,
    }


def _inside(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a field has fields in: itself, or the entries of the list that it is."""
    inner: Mapping[str, Any] = node["items"] if node["type"] == "array" else node
    return inner


def _explained(row: Kind, path: str, node: Mapping[str, Any], *, required: bool) -> Explained:
    inner = _inside(node)
    needed = inner.get("required", ())
    is_kind = node["type"] == "kind"
    also = (f"also {', '.join((row.plural, *row.short_names))}", row.api_version, _SCOPES[row.scope]) if is_kind else ()
    entries = node.get("additionalProperties") or (inner if inner is not node else {})
    return Explained(
        path=path,
        type=_type(node),
        required=required,
        default=_default(node),
        values=tuple(str(value) for value in (inner.get("enum") or entries.get("enum") or ()) if value != ""),
        limits=also + tuple(_limits(node)) + tuple(f"each {limit}" for limit in _limits(entries)),
        refused=tuple(
            rule["message"].replace("'it'", "the text")
            for each in (node, entries)
            for rule in each.get("x-kubernetes-validations", ())
        ),
        description=_one_line(node.get("description", "") or inner.get("description", "")),
        example=_example(row, path.split(".")[1:]),
        fields=tuple(
            FieldLine(
                name=name,
                type=_type(below),
                required=name in needed,
                default=_default(below),
                description=_one_line(below.get("description", "")),
            )
            for name, below in inner.get("properties", {}).items()
        ),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _type(node: Mapping[str, Any]) -> str:
    """`list of object`, `map of string`, `time`, or a type of JSON schema."""
    if node["type"] == "array":
        return f"list of {_type(node['items'])}"
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type(node['additionalProperties'])}"
    return "time" if node.get("format") == "date-time" else str(node["type"])


def _default(node: Mapping[str, Any]) -> Any:
    """None where a field that is left out says nothing."""
    found = node.get("default")
    if isinstance(found, dict):
        found = {name: value for name, value in found.items() if value not in (None, "", [], {})}
    return None if found in (None, "", [], {}) else found


def _limits(node: Mapping[str, Any]) -> Iterator[str]:
    if "minimum" in node:
        yield f"{node['minimum']} to {node['maximum']}"
    for word, what in (("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "entries")):
        if word in node:
            yield f"at most {node[word]} {what}"


def _example(row: Kind, steps: Sequence[str]) -> Any:
    """The first example that says something there, down to that: `{"spec": {"pins": [...]}}`; None where none does."""
    if not steps:
        return next(iter(examples(row.name)), None)
    documents = examples(row.name if steps[0] == "spec" else "")  # metadata is the same everywhere
    return next((found for one in documents if (found := _picked(one, steps)) is not None), None)


def _picked(value: Any, steps: Sequence[str]) -> Any:
    """What of a value lies at the path; of a list, the first entry that has something there."""
    if not steps:
        return value
    if isinstance(value, list):
        return next(([found] for one in value if (found := _picked(one, steps)) is not None), None)
    if steps[0] not in value:
        return None
    found = _picked(value[steps[0]], steps[1:])
    return None if found is None else {steps[0]: found}
