"""One YAML document with the place of everything in it. May import: diagnostics, model.secrets.

In: sources.documents, which reads the bytes.  Out: model.declaration, and whoever reports a problem at a line.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from reconciler.diagnostics import Diagnostic, Position
from reconciler.model.secrets import masked

Loc = tuple[str | int, ...]
WIDEST = 240
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""")


class Place(NamedTuple):
    """Where a value stands, as offsets into the document's text. key: -1 in a list.  below: what is inside it."""

    key: int
    start: int
    end: int
    below: "dict[str | int, Place] | None" = None


NOWHERE = Place(-1, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a file: `index` counts from 0, `line` (of its first value) and `first_line` (of its text) from 1.

    data: mappings, lists, `Scalar`s and None, nothing else.  broken: its reader refused it and has said why; `data`
    is then what could be read.  ambiguous: keys that stand twice, and what was still open where reading ended.
    """

    path: str
    index: int
    line: int
    data: Any
    text: str = ""
    first_line: int = 1
    places: Place = NOWHERE
    broken: bool = False
    ambiguous: frozenset[Loc] = field(default_factory=frozenset)

    def position(self, loc: Loc) -> Position:
        """Where the value at `loc` stands; of something absent, the key of the nearest mapping around it."""
        place, found = self._place(loc)
        return self.span(place.start, place.end) if found == len(loc) else self.key_position(loc[:found])

    def key_position(self, loc: Loc) -> Position:
        """Where the key of `loc` stands; in a list, the item; of the whole document, its first character."""
        place, found = self._place(loc)
        if found and place.key >= 0:
            quoted = _QUOTED.match(self.text, place.key)
            return self.span(place.key, quoted.end() if quoted else place.key + len(str(loc[found - 1])))
        return self.span(place.start, place.start + 1)

    def place(self, loc: Loc) -> Place | None:
        """Where the value at `loc` stands, as offsets; None when there is none."""
        place, found = self._place(loc)
        return place if found == len(loc) else None

    def has(self, loc: Loc) -> bool:
        """Whether the document says something at `loc`, be it null."""
        return self._place(loc)[1] == len(loc)

    def span(self, start: int, end: int) -> Position:
        """The position of [start, end) of the document's text; never wider than its first line."""
        before = self.text.rfind("\n", 0, start) + 1
        stop = self.text.find("\n", start, max(end, start))
        width = (end if stop < 0 else stop) - start
        return Position(self.first_line + self.text.count("\n", 0, start), start - before + 1, max(1, width))

    def snippet(self, line: int) -> str:
        """The text of a line of the file, secrets masked, cut where it is very long; empty outside the document."""
        lines = self.text.split("\n")
        number = line - self.first_line
        if not 0 <= number < len(lines):
            return ""
        return masked(lines[number].rstrip("\r"))[:WIDEST].encode("utf-8", "replace").decode()

    def diagnostic(
        self,
        code: str,
        message: str,
        at: Position,
        *,
        advice: str = "",
        label: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> Diagnostic:
        """A problem of this document at `at`, with its line."""
        return Diagnostic(
            code=code,
            message=masked(message),
            path=self.path,
            line=at.line,
            column=at.column,
            width=at.width,
            label=label,
            snippet=self.snippet(at.line) if at.column <= WIDEST else "",
            help=advice,
            severity=severity,
        )

    def _place(self, loc: Loc) -> tuple[Place, int]:
        """The place of the longest known beginning of `loc`, and how long that is."""
        place = self.places
        for depth, step in enumerate(loc):
            below = place.below.get(step) if place.below else None
            if below is None:
                return place, depth
            place = below
        return place, len(loc)
