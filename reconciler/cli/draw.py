"""Drawing: tables, colours and bars. The only module that imports rich, and only to draw bars.

In: cells and the screen that was decided on once.  Out: text on a stream. A row is one line, so that it can be
searched; on a terminal its last cell folds between words. Without a terminal nothing is ever redrawn.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from reconciler.cli.options import COLOR
from reconciler.diagnostics import display_width, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

STYLES: Final[Mapping[str, str]] = {
    "Committed": "green", "Active": "green", "ok": "green", "create": "green",
    "Rejected": "red", "RolledBack": "red", "Degraded": "red", "error": "red", "fail": "red", "delete": "red",
    "Unknown": "yellow", "Desired": "yellow", "Downloading": "cyan", "Verified": "cyan", "Staged": "cyan",
    "warning": "yellow", "warn": "yellow", "held": "yellow", "update": "yellow",
}  # fmt: skip

NARROW: Final = 24  # cells in which no sentence can be read
INDENT: Final = 4


@dataclass(frozen=True)
class Screen:
    """One stream: whether it is a terminal, and whether it gets colour."""

    stream: TextIO
    terminal: bool
    color: bool

    def console(self) -> "Console":
        """The stream, as rich draws on it."""
        from rich.console import Console

        return Console(file=self.stream, no_color=not self.color, highlight=False, markup=False, emoji=False)


def screen(stream: TextIO | None = None) -> Screen:
    """Where to draw: --color decides, then NO_COLOR, then whether the stream (stdout) is a terminal."""
    stream = stream or sys.stdout
    terminal = stream.isatty()
    context = click.get_current_context(silent=True)
    said = context.meta.get(COLOR, "auto") if context else "auto"
    auto = terminal and not os.environ.get("NO_COLOR")
    return Screen(stream, terminal, auto if said == "auto" else said == "always")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], at: Screen | None = None) -> None:
    """Columns side by side; a cell whose first word has a style is drawn in it.

    The last column is as wide as it is; on a terminal it folds into the room that the others leave, which never fold.
    """
    at = at or screen()
    cells = [list(columns), *([cell if _is_plain(cell) else printable(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    columns_there, begins = shutil.get_terminal_size().columns, sum(widths[:-1]) + 2 * (len(widths) - 1)
    for number, row in enumerate(cells):
        below: list[str] = []
        if at.terminal and begins + _width(row[-1]) > columns_there:
            row[-1], *below = _folded(row[-1], begins, columns_there)
        drawn = [
            _styled(cell, "bold" if number == 0 else STYLES.get(cell.partition(" ")[0], ""), at)
            + " " * (width - _width(cell))
            for cell, width in zip(row, widths, strict=True)
        ]
        print("\n".join(["  ".join(drawn).rstrip(), *below]), file=at.stream)


def _folded(text: str, begins: int, columns: int) -> list[str]:
    """What stands beside the other cells, then the lines below: from `begins` on, else, too narrow, from the left.

    A word, such as a path, stays whole.
    """
    narrow = columns - begins < NARROW
    margin = INDENT if narrow else begins
    lines = [""] if narrow else []
    for word in text.split(" "):
        if lines and lines[-1] and _width(lines[-1]) + 1 + _width(word) <= columns - margin:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [lines[0], *(" " * margin + line for line in lines[1:])]


def _is_plain(text: str) -> bool:
    """Whether it is printable and as wide as it is long; nearly every cell of a large table is."""
    return text.isascii() and text.isprintable()


def _width(text: str) -> int:
    return len(text) if _is_plain(text) else display_width(text)


def line(text: str, style: str = "", at: Screen | None = None) -> None:
    """One line, or several, as they are."""
    at = at or screen()
    print(_styled(text, style, at), file=at.stream)


def _styled(text: str, style: str, at: Screen) -> str:
    if not style or not text or not at.color:
        return text
    return click.style(text, bold=True) if style == "bold" else click.style(text, fg=style)


class Bars:
    """How far downloads are: bars on a terminal, elsewhere a line at the start, at the end and every ten seconds."""

    LINE_S: Final = 10.0

    def __init__(self, at: Screen) -> None:
        self._at = at
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, float] = {}

    def show(self, works: Sequence[Mapping[str, Any]], now: float) -> None:
        """What is at work just now: {key, done, total} each; what is no longer named is done. now: monotonic."""
        if self._at.terminal:
            self._draw(works)
        else:
            self._tell(works, now)

    def close(self) -> None:
        """Leave the screen as it should stay."""
        self.show([], 0.0)

    def _tell(self, works: Sequence[Mapping[str, Any]], now: float) -> None:
        for work in works:
            if now - self._told.get(work["key"], -self.LINE_S) >= self.LINE_S:
                self._told[work["key"]] = now
                print(f"{work['key']}: {_amount(work)}", file=self._at.stream, flush=True)
        for key in self._told.keys() - {work["key"] for work in works}:
            del self._told[key]
            print(f"{key}: download ended", file=self._at.stream, flush=True)

    def _draw(self, works: Sequence[Mapping[str, Any]]) -> None:
        if not works:
            if self._progress is not None:
                self._progress.stop()
            self._progress, self._tasks = None, {}
            return
        progress = self._progress or self._begin()
        for work in works:
            key = work["key"]
            if key not in self._tasks:
                self._tasks[key] = progress.add_task(key, total=work["total"])
            progress.update(self._tasks[key], completed=work["done"], total=work["total"])
        for key in self._tasks.keys() - {work["key"] for work in works}:
            progress.remove_task(self._tasks.pop(key))
        progress.refresh()

    def _begin(self) -> "Progress":
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(
            *columns,
            console=self._at.console(),
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # a line goes above the bars; a pipe gets its lines undisturbed
        )
        self._progress.start()
        return self._progress


def _amount(work: Mapping[str, Any]) -> str:
    from reconciler.history.timeline import size

    return size(work["done"]) + (f" of {size(work['total'])}" if work["total"] else "")
