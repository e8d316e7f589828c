"""What is wrong with a user's files, as a value. Imports nothing of ours.

In: whoever reads documents.  Out: the command line, events and JSON, each by its own rendering. Nothing here prints.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

TAB_WIDTH = 4
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
    """One problem at one place. `code` is a row of `errors.DIAGNOSTICS`; secrets are masked before they enter."""

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
        """The inverse of `as_dict`."""
        return cls(**{**fields, "notes": tuple(fields.get("notes", ()))})


def display_width(text: str) -> int:
    """Terminal cells that `text` takes: wide characters two, combining marks none, a tab TAB_WIDTH."""
    cells = 0
    for char in text:
        if char == "\t":
            cells += TAB_WIDTH
        elif not unicodedata.combining(char):
            cells += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return cells


def printable(text: str) -> str:
    """`text` with every control and bidirectional-override character made visible, safe for a terminal and a log."""
    if text.isascii() and text.isprintable():  # nearly every line
        return text
    return "".join(
        char if char == "\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs"} else f"\\u{ord(char):04x}"
        for char in text
    )


def render(problem: Diagnostic) -> str:
    """The problem as a person reads it: what, where, the line with a caret under the place, and what to do."""
    lines = [f"{problem.severity}[{problem.code}]: {printable(problem.message)}"]
    if problem.path:
        seen = f"  (commit {problem.commit[:7]})" if problem.commit else ""
        lines.append(f"  --> {printable(problem.place)}{seen}")
    if problem.snippet:
        gutter = f" {problem.line} | "
        before, marked = problem.snippet[: problem.column - 1], problem.snippet[problem.column - 1 :][: problem.width]
        caret = "^" * max(1, display_width(printable(marked)))
        lines.append(gutter + printable(problem.snippet).replace("\t", " " * TAB_WIDTH))
        blank = " " * (len(gutter) - 2) + "| "
        lines.append(f"{blank}{' ' * display_width(printable(before))}{caret} {printable(problem.label)}".rstrip())
    lines += [f" note: {printable(note)}" for note in problem.notes]
    if problem.help:
        lines.append(f" help: {printable(problem.help)}")
    return "\n".join(lines)


def render_all(problems: Sequence[Diagnostic]) -> str:
    """All problems, worst first, then by place, each said once, with a closing count."""
    ordered = sorted(set(problems), key=lambda p: (p.severity != "error", p.path, p.line, p.column, p.code))
    errors = sum(p.severity == "error" for p in ordered)
    count = f"{errors} error{'s' * (errors != 1)}, {len(ordered) - errors} warning{'s' * (len(ordered) - errors != 1)}"
    return "\n".join([*(render(p) for p in ordered), count])
