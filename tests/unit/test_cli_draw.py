"""Colour is decided once, a row is one line, and nothing is redrawn where there is no terminal."""

import io
import os
import pty
from collections.abc import Callable

import click
import pytest

from reconciler.cli import draw
from reconciler.cli.options import COLOR

GREEN = "\x1b[32m"


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def decided(said: str, stream: io.StringIO) -> draw.Screen:
    context = click.Context(click.Command("x"))
    context.meta[COLOR] = said
    with context:
        return draw.screen(stream)


@pytest.mark.parametrize(
    ("said", "no_color", "kind", "color"),
    [
        ("auto", "", Terminal, True),
        ("auto", "", io.StringIO, False),
        ("auto", "1", Terminal, False),
        ("always", "1", io.StringIO, True),
        ("never", "", Terminal, False),
    ],
)
def test_the_option_then_no_color_then_the_terminal(
    monkeypatch: pytest.MonkeyPatch, said: str, no_color: str, kind: Callable[[], io.StringIO], color: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    assert decided(said, kind()).color is color


def test_a_table_has_a_line_a_row_and_no_trailing_blanks() -> None:
    stream = io.StringIO()
    draw.table(("A", "LONGER"), [("x", "y " * 200), ("日本", "z"), ("a\nb", "")], draw.Screen(stream, False, False))
    head, first, wide, escaped = stream.getvalue().splitlines()
    assert head == "A         LONGER"
    assert first == "x         " + ("y " * 200).rstrip()
    assert wide == "日本      z"  # four cells wide, two characters long
    assert escaped == r"a\u000ab"


ROW = ("edge-1", "digits", "RolledBack", "RX404: answered 7 at /a/very/long/path/to/state/log.db; back to 1")


def drawn_on(columns: int, monkeypatch: pytest.MonkeyPatch, kind: Callable[[], io.StringIO] = Terminal) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = kind()
    draw.table(("EDGE", "MODEL", "PHASE", "MESSAGE"), [ROW], draw.Screen(stream, stream.isatty(), False))
    return stream.getvalue().splitlines()


def test_on_a_terminal_the_last_column_folds_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn_on(60, monkeypatch) == [
        "EDGE    MODEL   PHASE       MESSAGE",
        "edge-1  digits  RolledBack  RX404: answered 7 at",
        "                            /a/very/long/path/to/state/log.db;",
        "                            back to 1",
    ]
    assert drawn_on(200, monkeypatch)[1:] == ["  ".join(ROW)]
    assert drawn_on(60, monkeypatch, io.StringIO)[1:] == ["  ".join(ROW)]


def test_where_too_little_room_is_left_it_stands_below(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn_on(45, monkeypatch)[1:] == [
        "edge-1  digits  RolledBack",
        "    RX404: answered 7 at",
        "    /a/very/long/path/to/state/log.db; back",
        "    to 1",
    ]


def test_styles_stand_around_words_and_never_change_the_columns() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    rows = [("a", "Committed", "b")]
    draw.table(("A", "PHASE", "C"), rows, draw.Screen(plain, False, False))
    draw.table(("A", "PHASE", "C"), rows, draw.Screen(coloured, False, True))
    assert GREEN in coloured.getvalue()
    assert "\x1b" not in plain.getvalue()
    assert click.unstyle(coloured.getvalue()) == plain.getvalue()


WORK = {"key": "a@b", "done": 1024, "total": 4096}


def test_without_a_terminal_progress_is_lines_at_the_start_now_and_then_and_at_the_end() -> None:
    stream = io.StringIO()
    bars = draw.Bars(draw.Screen(stream, False, False))
    for now in (0.0, 1.0, 9.9, 10.0, 11.0):
        bars.show([WORK | {"done": int(now) * 100}], now)
    bars.show([WORK | {"key": "c@d", "total": None}], 12.0)
    bars.close()
    assert stream.getvalue().splitlines() == [
        "a@b: 0 B of 4.0 KiB",
        "a@b: 1000 B of 4.0 KiB",
        "c@d: 1.0 KiB",
        "a@b: download ended",
        "c@d: download ended",
    ]


def test_on_a_terminal_bars_show_bytes_and_the_time_left() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        bars = draw.Bars(draw.Screen(stream, stream.isatty(), True))
        bars.show([WORK], 0.0)
        bars.show([WORK | {"done": 2048}], 1.0)
        bars.close()
        drawn = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "a@b" in drawn
    assert "4.1" in drawn  # of 4.1 kB
    assert "-:--:--" in drawn or "0:00:" in drawn


def test_what_a_person_wrote_does_not_draw_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for kind in (Terminal, io.StringIO):
        stream = kind()
        draw.line("suspended by ada: \x1b[2J\u202egone\u200d", at=draw.Screen(stream, stream.isatty(), False))
        assert " ".join(stream.getvalue().split()) == r"suspended by ada: \u001b[2J\u202egone\u200d"
