"""Text that came out of YAML. Imports nothing of ours.

In: sources.documents.  Out: model.fields, which types it. Parsers disagree on `no`, `0644`, `1e3` and `1_000`; so
YAML's own guess is never used, and only what kubectl would make of a text is told, for a warning.
"""

import re
from typing import Final

# What go-yaml v2, and with it kubectl, takes for something else than text (its resolve table and number patterns).
_KUBECTL_WORDS: Final = frozenset(
    word
    for lower in ("y", "yes", "on", "true", "n", "no", "off", "false", "null")
    for word in (lower, lower.capitalize(), lower.upper())
) | {"~", "<<"}
_KUBECTL_NUMBER: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[1-9][0-9]*)"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_STARTS: Final = frozenset("0123456789-+.~<yYnNoOtTfF")


class Scalar(str):
    """A YAML scalar as it was written, quoted; `Plain` is the one without quotes."""

    __slots__ = ()
    plain = False


class Plain(Scalar):
    """A YAML scalar written without quotes: the only one that may stand for a number or a boolean."""

    __slots__ = ()
    plain = True


def kubectl_reads(text: str) -> str:
    """What kubectl takes a plain `text` for: `a number`, `a boolean`, `null`, or nothing when it stays text."""
    if text[:1] not in _STARTS:
        return ""
    if text in _KUBECTL_WORDS:
        return "null" if text.lower() in {"null", "~"} else "a merge key" if text == "<<" else "a boolean"
    return "a number" if _KUBECTL_NUMBER.fullmatch(text.replace("_", "")) else ""


def described(value: object) -> str:
    """What kind of value was found, for a message."""
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case None:
            return "nothing"
        case Scalar(plain=False):
            return f'the quoted text "{value:.60}"'
        case bool():
            return str(value).lower()
        case _:
            return f"{value!s:.60}"
