"""What is wrong with a user's files, as a value. Imports nothing of ours.

In: whoever reads documents.  Out: the command line, events and JSON, each by its own rendering. Nothing here prints.
"""

import unicodedata
from dataclasses import dataclass, replace
from typing import Any, Literal

BLOCKS_PRUNING = "nothing is pruned while this cannot be read"  # the note by which such a problem is known

HOLDS_DELETES = "what is deleted meanwhile waits for approval"  # likewise


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text. Lines and columns count from 1, in characters; width is how many characters are meant."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One problem at one place. `code` is a row of `errors.DIAGNOSTICS`; secrets are masked before they enter.

    edge: of which one it is said, where the same place may be wrong for many.
    """

    code: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    width: int = 1
    label: str = ""
    snippet: str = ""
    notes: tuple[str, ...] = ()
    help: str = ""
    commit: str = ""
    edge: str = ""
    severity: Literal["error", "warning"] = "error"

    def at(self, commit: str) -> "Diagnostic":
        """The same problem, seen in this commit."""
        return replace(self, commit=commit)

    @property
    def place(self) -> str:
        """`path:line:column`, as far as it is known."""
        parts = [self.path] + [str(n) for n in (self.line, self.column) if n]
        return ":".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """JSON form; empty fields are left out."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Diagnostic":
        """The inverse of `as_dict`; what a newer release says beside it is left out."""
        known = {name: value for name, value in fields.items() if name in cls.__slots__}
        return cls(**{**known, "notes": tuple(fields.get("notes", ()))})


def printable(text: str) -> str:
    """`text` with every control and bidirectional-override character made visible, safe for a terminal and a log."""
    if text.isascii() and text.isprintable():  # nearly every line
        return text
    return "".join(
        char if char == "\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs"} else f"\\u{ord(char):04x}"
        for char in text
    )
