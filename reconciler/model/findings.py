"""What pydantic found wrong, as diagnostics. May import: model.document, model.shape, diagnostics, pydantic.

In: a document and the shape that a part of it should have.  Out: the typed part, and problems with places and help.
"""

from collections.abc import Iterator
from itertools import islice
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from reconciler.diagnostics import Diagnostic
from reconciler.model.document import Document, Loc
from reconciler.model.fields import nearest
from reconciler.model.scalars import Plain, described, kubectl_reads
from reconciler.model.shape import Shape

MAX_PROBLEMS = 50  # a part of a document; more of the same help nobody
S = TypeVar("S", bound=Shape)
_CONTAINERS = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}


def validated(document: Document, field: str, shape: type[S]) -> tuple[S | None, list[Diagnostic]]:
    """The part of the document under `field` as a `shape`, None when it is wrong; every problem and warning in it."""
    raw = document.data.get(field)
    typed, problems = None, []
    try:
        typed = shape.model_validate({} if raw is None else raw)
    except ValidationError as error:
        found = error.errors(include_url=False)
        misspelt = {_meant(shape, (*one["loc"],)) for one in found if one["type"] == "extra_forbidden"}
        for one in found[:MAX_PROBLEMS]:
            if _follows(one, misspelt):
                continue
            problems.append(_diagnostic(document, field, shape, one))
    places = {(problem.line, problem.column) for problem in problems}
    misread = islice(_misread(document, shape, (field,), raw), MAX_PROBLEMS)
    warnings = [one for one in misread if (one.line, one.column) not in places]
    return typed, problems + warnings


def _follows(error: ErrorDetails, misspelt: set[Loc]) -> bool:
    """Whether the error is there only because a field of the same mapping is misspelt, which is shown already."""
    if error["type"] == "missing":
        return error["loc"] in misspelt
    across = error.get("ctx", {}).get("beside") is not None
    return across and any(loc[:-1] == error["loc"][:-1] for loc in misspelt if loc)


def _diagnostic(document: Document, field: str, shape: type[Shape], error: ErrorDetails) -> Diagnostic:
    inner = error["loc"]
    loc: Loc = (field, *inner)
    match error["type"]:
        case "missing":
            at = document.key_position(loc) if document.has(loc) else document.position(loc)
            return document.diagnostic("RX211", f"{_dotted(loc)} is missing", at, advice=_meaning(shape, inner))
        case "extra_forbidden":
            meant = _meant(shape, inner)
            known = ", ".join(_known(shape, inner[:-1]))
            hint = f"did you mean {meant[-1]}?" if meant else f"there is {known}"
            message = f"{_dotted(loc[:-1])} has no field {str(loc[-1])!r:.80}"
            return document.diagnostic("RX210", message, document.key_position(loc), advice=hint)
        case kind if kind in _CONTAINERS:
            message = f"expected {_CONTAINERS[kind]}, found {described(error['input'])}"
            return document.diagnostic("RX212", message, document.position(loc))
        case code if code.startswith("RX"):
            context = error["ctx"]
            beside = context["beside"]
            if beside is None:
                at = document.position(loc + context["below"])
            else:
                loc = (*loc[:-1], beside) if beside else loc[:-1]
                at = document.position(loc) if beside else document.key_position(loc)
            return document.diagnostic(code, f"{_dotted(loc)}: {error['msg']}", at, advice=context["advice"])
        case other:
            return document.diagnostic("RX212", f"{_dotted(loc)}: {other}: {error['msg']}", document.position(loc))


def _misread(document: Document, shape: type[Shape], loc: Loc, raw: Any) -> Iterator[Diagnostic]:
    """A warning for every text without quotes that kubectl would read as something else."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            if isinstance(key, Plain) and kubectl_reads(key):
                yield _otherwise(document, (*loc, key), key, document.key_position((*loc, key)))
            if value is not None:
                yield from _misread(document, shape, (*loc, key), value)
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _misread(document, shape, (*loc, index), value)
    elif isinstance(raw, Plain) and kubectl_reads(raw) and type_at(shape, loc[1:]) is str:
        yield _otherwise(document, loc, raw, document.position(loc))


def _otherwise(document: Document, loc: Loc, text: str, at: Any) -> Diagnostic:
    message = f"{_dotted(loc)}: kubectl would read {text:.60} as {kubectl_reads(text)}; here it is text"
    return document.diagnostic("RX217", message, at, advice=f"quote it: '{text:.60}'", severity="warning")


def type_at(shape: type[Shape], loc: Loc) -> Any:
    """The type of the field at `loc` below `shape`: a Shape, a generic or a plain type; None where there is none."""
    current: Any = shape
    for step in loc:
        if isinstance(current, type) and issubclass(current, Shape):
            field = _field(current, str(step))
            current = _bare(field.annotation) if field else None
        else:  # dict[str, X] and tuple[X, ...]
            inner = [one for one in get_args(current) if one is not Ellipsis]
            current = _bare(inner[-1]) if inner else None
    return current


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return _bare(next(one for one in get_args(annotation) if one is not type(None)))
    return annotation


def _known(shape: type[Shape], loc: Loc) -> list[str]:
    found = type_at(shape, loc)
    if not (isinstance(found, type) and issubclass(found, Shape)):
        return []
    return [field.alias or name for name, field in found.model_fields.items()]


def _field(shape: type[Shape], name: str) -> FieldInfo | None:
    """The field that a document calls so: `from` is no name in Python."""
    return next((field for own, field in shape.model_fields.items() if (field.alias or own) == name), None)


def _meant(shape: type[Shape], loc: Loc) -> Loc:
    """The place of the field that the unknown one at `loc` was probably meant to be; empty when there is none."""
    name = nearest(str(loc[-1]), _known(shape, loc[:-1]))
    return (*loc[:-1], name) if name else ()


def _meaning(shape: type[Shape], loc: Loc) -> str:
    """What the field at `loc` says, in the words of its documentation."""
    outer = type_at(shape, loc[:-1])
    field = _field(outer, str(loc[-1])) if isinstance(outer, type) and issubclass(outer, Shape) else None
    return f"{loc[-1]}: {field.description}" if field and field.description else ""


def _dotted(loc: Loc) -> str:
    """`spec.manifest[0].version`; each step cut where it is long."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{str(step)[:60]}" for step in loc)
    return text.removeprefix(".")
