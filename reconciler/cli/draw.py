"""Drawing: tables, colours and bars. The only module that imports rich, and only to draw bars.

In: cells and the screen that was decided on once.  Out: text on a stream. A row is one line, also on a narrow terminal,
so that it can be searched; without a terminal nothing is ever redrawn.
"""

import os
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
    """Columns side by side, the last as wide as it is; a cell whose first word has a style is drawn in it."""
    at = at or screen()
    cells = [list(columns), *([cell if _is_plain(cell) else printable(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        drawn = [
            _styled(cell, "bold" if number == 0 else STYLES.get(cell.partition(" ")[0], ""), at)
            + " " * (width - _width(cell))
            for cell, width in zip(row, widths, strict=True)
        ]
        print("  ".join(drawn).rstrip(), file=at.stream)


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
