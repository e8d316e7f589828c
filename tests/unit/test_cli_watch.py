"""`--watch`: once a change where nothing can be redrawn, and wide tables with times in full."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from reconciler.cli import watching
from reconciler.cli.where import Where
from tests.unit.cli_world import NOW, World
from tests.unit.conftest import Call


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens between two looks; behind the last one a person interrupts."""

    def between(*steps: Callable[[], object]) -> None:
        left = list(steps)

        def sleep(_: float) -> None:
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(watching, "sleep", sleep)

    return between


def nothing() -> None:
    pass


@pytest.mark.parametrize("form", ["table", "json"])
def test_it_is_told_again_only_when_it_has_changed(
    call: Call, settled: World, looks: Callable[..., None], form: str
) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        looks(nothing, lambda: settled.serves("berlin-07", "2"), nothing)
        said = call("status", "--watch", "berlin-07", "--state", settled.place.root, "-o", form)
    assert said.code == 130
    if form == "json":
        told = [json.loads(line) for line in said.out.splitlines()]
        assert [[row["serving"] for row in one["rows"]] for one in told] == [["1", "7"], ["2", "7"]]
        assert {one["kind"] for one in told} == {"Status"}
    else:
        first, second = said.out.split("\n\ncommit ")
        assert "\x1b" not in said.out
        assert "berlin-07  defect           1       1" in first
        assert "berlin-07  defect           1       2" in second


def test_on_a_terminal_it_is_redrawn(
    call: Call, settled: World, looks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    looks(*[nothing] * (watching.ALL + 1))
    said = call("status", "-w", "--color", "never", "--state", settled.place.root)
    assert said.out.count(watching.CLEAR) == said.out.count("EDGE ") == 2
    assert (said.code, said.out[:8], said.out[-8:]) == (130, "\x1b[?1049h", "\x1b[?1049l")  # also when interrupted
    assert "\x1b[3J" not in said.out  # what was scrolled away stays


def test_a_watch_that_fails_leaves_the_terminal_as_it_was(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    said = call("status", "-w", "--state", tmp_path / "none")
    assert (said.code, said.out, "error[" in said.err) == (2, "\x1b[?1049h\x1b[?1049l", True)


def test_while_nothing_is_recorded_little_is_asked(
    call: Call, settled: World, looks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = Where.ask

    def counted(self: Where, question: str, said: Mapping[str, str | None]) -> object:
        asked.append(question)
        return ask(self, question, said)

    monkeypatch.setattr(Where, "ask", counted)
    looks(*[nothing] * (2 * watching.ALL + 3))
    said = call("status", "-w", "-o", "json", "--state", settled.place.root)
    assert (len(said.out.splitlines()), len(asked)) == (1, 1 + 2)


def test_to_watch_a_history_is_to_follow_it(call: Call, story: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("reconciler.wiring.past.Past.news", ended)
    at = ("--state", story.place.root)
    assert [call("history", way, *at).code for way in ("-w", "--watch", "-f", "--follow")] == [130] * 4
    assert call("history", *at).code == 0


def test_a_wide_table_has_exact_times_with_their_zone(call: Call, story: World) -> None:
    at = ("--state", story.place.root)
    said = call("status", "berlin-07", "defect", "-o", "wide", "--as-of", NOW, *at).out
    assert "EDGE       MODEL   WANTED   SERVING  PHASE        SINCE  AT" in said
    assert "57m    2026-11-30T14:02:27.000000Z  http://127.0.0.2:8080/v2/models/defect  2abc2abc2abc  edges/" in said
    assert "2026-11-30T" not in call("status", "berlin-07", "defect", "--as-of", NOW, *at).out
    assert "2026-11-30T14:02:04.000000Z" in call("state", "berlin-07", "--at", "29", "-o", "wide", *at).out
    said = call("history", "--limit", "1", "--type", "apply.intended", "-o", "wide", *at).out
    assert "[apply.intended.v1 by hub for commit ce65d87, recorded 2026-11-30T14:02:2" in said
    assert "2026-11-30 14:02:24Z  berlin-07 defect: " in said
