"""The types that a field may ask for. May import: model.scalars, model.rules, pydantic.

In: `Scalar`s from YAML, or JSON values that were typed before (a cache, a custom resource).  Out: exact Python values
to the kinds. The field says the type, and one strict grammar a type says what fits it.
"""

import re
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from reconciler.model.rules import Rule, checks
from reconciler.model.scalars import Plain, Scalar, described

INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")
NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def problem(
    code: str,
    message: str,
    *,
    advice: str = "",
    below: tuple[str | int, ...] = (),
    beside: str | None = None,
) -> PydanticCustomError:
    """An error that becomes a diagnostic with this code.

    below: where in the checked value.  beside: the sibling field that it is about instead; "" is the mapping itself.
    """
    context = {"message": message, "advice": advice, "below": below, "beside": beside}
    return PydanticCustomError(code, "{message}", context)


def nearest(word: str, known: list[str]) -> str:
    """The known word that was probably meant, or nothing. Case does not count."""
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def is_slip(word: str, known: str) -> bool:
    """Whether at most two edits make `known` of `word`: a character more, less or another. Case does not count."""
    word = word.lower()
    if abs(len(word) - len(known)) > 2:
        return False
    row = list(range(len(known) + 1))
    for n, char in enumerate(word, 1):
        before, row = row, [n]
        for m, other in enumerate(known, 1):
            row.append(min(before[m] + 1, row[-1] + 1, before[m - 1] + (char != other)))
    return row[-1] <= 2


def _integer(value: object) -> int:
    if isinstance(value, Plain) and INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise problem("RX212", f"expected an integer, found {described(value)}", advice=_number_help(value, "8080"))


def _number(value: object) -> float:
    if isinstance(value, Plain) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        return value
    raise problem("RX212", f"expected a number, found {described(value)}", advice=_number_help(value, "0.976"))


def _number_help(value: object, example: str) -> str:
    if isinstance(value, Scalar) and not value.plain and NUMBER.fullmatch(value):
        return "remove the quotes: quoted, it is text, and kubectl refuses text for a number"
    return f"write plain digits, as in {example}: no sign +, leading zero, blank, underscore, nan or inf"


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Plain) and value in {"true", "false"}:
        return value == "true"
    raise problem("RX212", f"expected true or false, found {described(value)}", advice="write true or false, unquoted")


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    hint = "put it in quotes" if isinstance(value, int | float) else ""
    raise problem("RX212", f"expected text, found {described(value)}", advice=hint)


def choice(*known: str) -> Any:
    """The annotations of a text field with a closed list of values, for `Annotated[str, *choice(...)]`."""

    def check(value: str) -> str:
        if value in known:
            return value
        meant = nearest(value, list(known))
        raise problem(
            "RX213",
            f"{value!a:.60} is not one of {', '.join(known)}",
            advice=f"did you mean {meant}?" if meant else f"write {' or '.join(known)}",
        )

    return BeforeValidator(_text), AfterValidator(check), Field(json_schema_extra={"enum": list(known)})


def within(low: int, high: int, width: str) -> Any:
    """The annotations of an integer field in [low, high], for `Annotated[Integer, *within(...)]`."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise problem("RX213", f"{value} is not between {low} and {high}")
        return value

    return AfterValidator(check), Field(json_schema_extra={"format": width, "minimum": low, "maximum": high})


def at_most(count: int, *rules: Rule) -> Any:
    """The annotations of a list or mapping with so many entries at the most, for `Annotated[..., *at_most(64)]`.

    rules: for the API server, which counts what a rule may cost by the number of entries.
    """

    def check(value: Any) -> Any:
        if len(value) > count:
            raise problem("RX213", f"it has {len(value):,} entries; at most {count:,} are taken", advice="split it")
        return value

    def bounded(schema: dict[str, Any]) -> None:
        schema["maxItems" if schema["type"] == "array" else "maxProperties"] = count
        if rules:
            schema |= checks(*rules)

    return AfterValidator(check), Field(json_schema_extra=bounded)


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text)]
Port = Annotated[Integer, *within(0, 2**16 - 1, "int32")]
Count = Annotated[Integer, *within(0, 2**31 - 1, "int32")]
Bytes = Annotated[Integer, *within(0, 2**53 - 1, "int64")]
