"""Drawing: tables, colours and bars. The only module that imports rich, and only to draw bars.

In: cells and the screen that was decided on once.  Out: text on a stream. A row is one line, so that it can be
searched; on a terminal lines fold between words, and a table that is wider than it has a block a row. Without a
terminal nothing is folded, or ever redrawn.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from reconciler.cli.options import COLOR
from reconciler.diagnostics import Diagnostic, printable
from reconciler.web.fold import INDENT, TAB_WIDTH, cells, folded
from reconciler.web.problems import render_all

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

STYLES: Final[Mapping[str, str]] = {
    "Committed": "green", "Active": "green", "ok": "green", "create": "green",
    "Rejected": "red", "RolledBack": "red", "Degraded": "red", "error": "red", "fail": "red", "delete": "red",
    "Unknown": "yellow", "Retrying": "yellow", "Desired": "yellow",
    "Downloading": "cyan", "Verified": "cyan", "Staged": "cyan",
    "warning": "yellow", "warn": "yellow", "held": "yellow", "update": "yellow",
}  # fmt: skip


@dataclass(frozen=True)
class Screen:
    """One stream: whether it is a terminal, and whether it gets colour."""

    stream: TextIO
    terminal: bool
    color: bool

    @property
    def columns(self) -> int:
        """How wide lines may be; 0 where there is no terminal, and a line is as long as it is."""
        if not self.terminal:
            return 0
        try:
            there = os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError):
            there = 0
        said = os.environ.get("COLUMNS", "")
        return int(said) if said.isdigit() and int(said) else there or 80

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
    Where already they are wider than the terminal, each row is a block.
    """
    at = at or screen()
    drawn = [list(columns), *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(map(cells, column)) for column in zip(*drawn, strict=True)]
    begins, room = sum(widths[:-1]) + 2 * (len(widths) - 1), at.columns
    if room and begins - 2 > room:
        _blocks(drawn, room, at)
        return
    for number, row in enumerate(drawn):
        below: list[str] = []
        if room and begins + cells(row[-1]) > room:
            row[-1], *below = folded(row[-1], room, begins=begins, hang=begins)
        styled = [
            _styled(cell, "bold" if number == 0 else STYLES.get(cell.partition(" ")[0], ""), at)
            + " " * (width - cells(cell))
            for cell, width in zip(row, widths, strict=True)
        ]
        print("\n".join(["  ".join(styled).rstrip(), *below]), file=at.stream)


def _blocks(drawn: Sequence[Sequence[str]], room: int, at: Screen) -> None:
    """Each row as its first cell, and below it what the other columns say, one a line."""
    names, *rows = drawn
    width = max(map(cells, names[1:]))
    for row in rows:
        print(_styled(row[0], "bold", at), file=at.stream)
        for name, cell in zip(names[1:], row[1:], strict=True):
            if cell:
                told = f"{' ' * INDENT}{name}{' ' * (width - cells(name))}  "
                text = "\n".join(folded(cell, room, begins=cells(told), hang=cells(told)))
                print((told + _styled(text, STYLES.get(cell.partition(" ")[0], ""), at)).rstrip(), file=at.stream)


def _plain(cell: str) -> str:
    """A cell as it can be drawn."""
    return printable(cell).replace("\t", " " * TAB_WIDTH)


def line(text: str, style: str = "", at: Screen | None = None, *, hang: int = 0) -> None:
    """One line, or several, safe to print; on a terminal folded between words. hang: where what is folded begins,
    INDENT behind the line's own beginning where nobody says.
    """
    at = at or screen()
    for each in text.split("\n"):
        for part in _fitting(each, at.columns, hang):
            print(_styled(part, style, at), file=at.stream)


def _fitting(text: str, room: int, hang: int) -> Iterator[str]:
    text = _plain(text) if room else printable(text)
    blanks = len(text) - len(text.lstrip(" "))
    label = text[blanks:].partition(" ")[0]
    hang = hang or blanks + (len(label) + 1 if label in {"help:", "note:", "because:", "waits:"} else INDENT)
    yield from folded(text, room, hang=hang) if room else (text,)


def problems(found: Sequence[Diagnostic], at: Screen | None = None, *, each: bool = False) -> None:
    """Problems with their lines and their count; sentences are folded, lines of files never."""
    at = at or screen()
    print(render_all(found, at.columns, each=each), file=at.stream)


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
