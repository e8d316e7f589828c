"""At 40, 50 and 80 columns of a real terminal every sentence breaks between words, and nothing of it is lost."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli.main import main
from reconciler.web.fold import cells
from tests.unit.cli_world import NOW, SET, World
from tests.unit.conftest import Call
from tests.unit.twenty_edges import EDGES, begin, refused

Drawn = Callable[..., list[str]]
WIDTHS = (40, 50, 80)
OF_A_FILE = re.compile(r" +[0-9]* *\| ")


@pytest.fixture
def drawn(call: Call, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The lines that a command writes on a terminal of so many columns, without colour."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    def draw(columns: int, *words: object) -> list[str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        said = bytearray()

        def read() -> None:
            try:
                while part := os.read(ours, 4096):
                    said.extend(part)
            except OSError:  # the other end is closed
                return

        reader = threading.Thread(target=read)
        reader.start()
        with os.fdopen(theirs, "w", encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            main([str(word) for word in words])
            stream.flush()
        reader.join()
        os.close(ours)
        return said.decode().replace("\r\n", "\n").splitlines()

    return draw


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Twenty edges of which a version was refused, and a document that is refused."""
    world = begin(tmp_path_factory.mktemp("narrow"))
    refused(world, "2", "Find smaller defects 検査 in parts that are long, narrow and dark")
    with world.hub(*EDGES):
        other = (SET % "1").replace("name: defect}", "name: other}").replace("modelName: defect", "modelName: other")
        world.commit({"deployments/other.yaml": other}, "Clash")
    return world


def words(text: str) -> list[str]:
    return re.findall(r"\S+", text)


ASKED = {
    "status": ("status", "--as-of", NOW),
    "history": ("history",),
    "why": ("why", "edge-7", "defect"),
    "plan": ("plan",),
    "wait": ("wait", "--timeout", "0"),
}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", ASKED)
def test_sentences_break_between_words_and_are_all_there(
    drawn: Drawn, call: Call, failing: World, name: str, columns: int
) -> None:
    where = ["--state", str(failing.place.root)]
    where += ["--repo", str(failing.repository.path)] if name == "plan" else []
    told = drawn(columns, *ASKED[name], *where)
    written = call(*ASKED[name], *where).out.splitlines()
    is_block = name == "status" and columns < 80  # a row has the names of its columns beside it
    prose, piped = ([line for line in text if not OF_A_FILE.match(line)] for text in (told, written))
    there, asked = words(" ".join(prose)), words(" ".join(piped))
    assert set(asked) <= set(there) if is_block else sorted(there) == sorted(asked)
    for line in told:
        longest = max(map(cells, words(line)), default=0)
        assert cells(line) <= columns or longest > columns - 40


@pytest.mark.parametrize("columns", WIDTHS)
def test_of_a_line_that_is_longer_what_is_meant_is_shown_above_its_caret(
    drawn: Drawn, failing: World, columns: int
) -> None:
    told = drawn(columns, "plan", "--state", failing.place.root, "--repo", failing.repository.path)
    line, caret = (line for line in told if OF_A_FILE.match(line))
    at = caret.index("^^^^")
    assert line[at : at + 4] == "8080"
    assert "…" in line
    assert max(cells(line), cells(caret)) <= columns


@pytest.mark.parametrize("columns", [40, 50])
def test_a_table_that_is_wider_than_the_terminal_has_a_block_a_row(drawn: Drawn, failing: World, columns: int) -> None:
    told = drawn(columns, *ASKED["status"], "--state", failing.place.root)
    at = told.index("edge-1 … edge-20 (20)")
    assert told[at + 1 : at + 6] == [
        "    MODEL    defect",
        "    WANTED   2",
        "    SERVING  1",
        "    PHASE    RolledBack",
        "    SINCE    47m … 49m",
    ]
    message = told[at + 6 : at + 14]
    assert message[0].startswith("    MESSAGE  RX404: answered 7")
    assert " ".join(" ".join(message).split()[1:]).startswith(
        "RX404: answered 7 instead of 3; it is held back: publish a new version or revert; `reconciler release defect` "
        "tries the same bytes once more"
    )
    assert all(line.startswith(" " * 13) for line in message[1:3])


def test_what_is_folded_hangs_below_where_it_began(drawn: Drawn, failing: World) -> None:
    told = drawn(80, *ASKED["why"], "--state", failing.place.root)
    order = next(n for n, line in enumerate(told) if line.startswith(" ← order"))
    assert told[order + 1].startswith(" " * 36)
    narrow = drawn(40, *ASKED["why"], "--state", failing.place.root)
    order = next(n for n, line in enumerate(narrow) if line.startswith(" ← order"))
    assert narrow[order + 1].startswith("    ")


def test_help_and_notes_hang_below_their_words(drawn: Drawn, failing: World) -> None:
    told = drawn(40, "plan", "--state", failing.place.root, "--repo", failing.repository.path)
    at = next(n for n, line in enumerate(told) if line.startswith(" help: give one of them"))
    assert told[at + 1].startswith("       ")


def test_without_a_terminal_a_record_is_a_line(call: Call, failing: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = call("history", "--each", "--state", failing.place.root).out
    assert all(re.match(r" +[0-9]+  20", line) for line in said.splitlines())


def test_an_error_is_folded_on_stderr_of_a_terminal(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = call("status", "--state", tmp_path / "none")
    assert len(said.err.splitlines()) == 2
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    monkeypatch.delenv("COLUMNS", raising=False)
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        main(["status", "--state", str(tmp_path / "none")])
        stream.flush()
        drawn = os.read(ours, 4096).decode()
    os.close(ours)
    assert words(drawn) == words(said.err)
    assert len(drawn.splitlines()) > 2
