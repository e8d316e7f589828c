"""Lines that fit a terminal: what a text takes of it, and where it breaks. The only module that measures by rich.

In: printable text and columns.  Out: lines.
"""

from typing import Final
from unicodedata import combining, east_asian_width

TAB_WIDTH: Final = 4
NARROW: Final = 24  # cells in which no sentence can be read
INDENT: Final = 4


def cells(text: str) -> int:
    """Cells of a terminal that a printable text takes: wide characters two, what joins another one none.

    An edge's install has nothing that knows graphemes: there each character counts by itself.
    """
    if text.isascii():
        return len(text)
    try:
        from rich.cells import cell_len
    except ModuleNotFoundError:
        return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)
    return cell_len(text)


def folded(text: str, columns: int, *, begins: int = 0, hang: int = INDENT) -> list[str]:
    """A line as several of at most `columns` cells, broken between words; a word that is longer stays whole.

    begins: cells that stand before it already.  hang: cells of indentation of every line but the first; where that
    leaves too little room, INDENT. A text that does not begin beside what stands before it begins below: first "".
    """
    if begins + cells(text) <= columns:
        return [text]
    hang = hang if columns - hang >= NARROW else INDENT
    blanks = len(text) - len(text.lstrip(" "))
    lines, room = ([""], columns - hang) if begins and columns - begins < NARROW else ([], columns - begins)
    for word in text[blanks:].split(" "):
        if not lines:
            lines.append(" " * blanks + word)
        elif lines[-1] and cells(lines[-1]) + 1 + cells(word) <= room:
            lines[-1] += f" {word}"
        elif word:
            lines.append(word)
            room = columns - hang
    return [lines[0].rstrip(), *(" " * hang + line.rstrip() for line in lines[1:])]


def display_width(text: str) -> int:
    """Terminal cells that `text` takes: wide characters two, what joins another one none, a tab TAB_WIDTH."""
    return cells(text.replace("\t", " " * TAB_WIDTH))
