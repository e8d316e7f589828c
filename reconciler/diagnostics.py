"""What is wrong with a user's files, as a value. May import: wording.

In: whoever reads documents.  Out: the command line, events and JSON, each by its own rendering. Nothing here prints.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from reconciler.wording import cells, folded, general, grouped, names

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
        """The inverse of `as_dict`."""
        return cls(**{**fields, "notes": tuple(fields.get("notes", ()))})


def display_width(text: str) -> int:
    """Terminal cells that `text` takes: wide characters two, what joins another one none, a tab TAB_WIDTH."""
    return cells(text.replace("\t", " " * TAB_WIDTH))


def printable(text: str) -> str:
    """`text` with every control and bidirectional-override character made visible, safe for a terminal and a log."""
    if text.isascii() and text.isprintable():  # nearly every line
        return text
    return "".join(
        char if char == "\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs"} else f"\\u{ord(char):04x}"
        for char in text
    )


def render(problem: Diagnostic, columns: int = 0) -> str:
    """The problem as a person reads it: what, where, the line with a caret under the place, and what to do.

    columns: of the terminal, so that sentences are folded into it; 0 where there is none.
    """

    def said(text: str, hang: int) -> list[str]:
        return folded(text, columns, hang=hang) if columns else [text]

    lines = said(f"{problem.severity}[{problem.code}]: {printable(problem.message)}", 4)
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
    lines += [line for note in problem.notes for line in said(f" note: {printable(note)}", 7)]
    if problem.help:
        lines += said(f" help: {printable(problem.help)}", 7)
    return "\n".join(lines)


def render_all(problems: Sequence[Diagnostic], columns: int = 0, *, each: bool = False) -> str:
    """All problems, worst first, then by place, each said once, with a closing count; what is said of many edges is
    said of all of them. columns: see render.  each: of every edge by itself.
    """
    ordered = sorted(set(problems), key=lambda p: (p.severity != "error", p.path, p.line, p.column, p.code))
    errors = sum(p.severity == "error" for p in ordered)
    count = f"{errors} error{'s' * (errors != 1)}, {len(ordered) - errors} warning{'s' * (len(ordered) - errors != 1)}"
    alike = grouped(((_of_any(problem), problem) for problem in ordered), each=each)
    return "\n".join([*(render(_of_all(those), columns) for _, those in alike), count])


def _of_any(problem: Diagnostic) -> Diagnostic:
    """The same, of whichever edge it is said."""
    message = general(problem.message, {problem.edge: "EDGE"})
    return replace(problem, message=message, edge="EDGE" if problem.edge else "")


def _of_all(those: Sequence[Diagnostic]) -> Diagnostic:
    """Problems that differ in their edges as one, which names them."""
    if len(those) == 1:
        return those[0]
    on = f"on {len(those)} edges: {names(one.edge for one in those)}"
    return replace(_of_any(those[0]), notes=(*those[0].notes, on))
