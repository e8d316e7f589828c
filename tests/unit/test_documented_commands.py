"""Every `reconciler …` that is said anywhere is a command with options that it has: pages, help, hints, messages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler.cli.main import COMMANDS, cli
from reconciler.errors import DIAGNOSTICS, error_classes
from tests.documentation import HISTORIC, PAGES, ROOT, commands, inline, spoken, wrong

SOURCES = sorted((ROOT / "reconciler").rglob("*.py"))
OTHERS = sorted(
    [*(ROOT / "docs" / "ci").iterdir(), *(ROOT / "deploy").rglob("*.yaml"), *(ROOT / "repo-template").rglob("*.yaml")]
)


def refused(text: str, *, whole: bool) -> list[str]:
    """What is wrong with the commands of a line."""
    return [f"{text!r}: {said}" for words in spoken(text) if (said := wrong(words, whole=whole))]


def mentioned(text: str) -> str:
    """A command as prose writes it, as somebody would type it: `VERB [EDGE]`, `plan -v`, `status …`."""
    return "reconciler " + re.sub(r"[\[\]]", "", text).replace("…", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_can_be_typed(page: Path) -> None:
    text = page.read_text()
    found = [problem for command in commands(text) for problem in refused(command.text, whole=True)]
    if page not in HISTORIC:
        found += [problem for said in inline(text) for problem in refused(mentioned(said), whole=False)]
    assert found == []


def texts(path: Path) -> Iterator[str]:
    """Every text of a source file; what is put into it at run time is X, or nothing at the end of a word."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
            yield re.sub(r"(?<=\w)\0", "", "".join(parts)).replace("\0", "X")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_what_the_program_says_can_be_typed() -> None:
    said = [(path, text) for path in SOURCES for each in texts(path) for text in inline(each)]
    assert len(said) > 100
    found = [(path.name, problem) for path, text in said for problem in refused(mentioned(text), whole=False)]
    assert found == []


def test_what_hints_say_can_be_typed() -> None:
    hints = [cls.hint for cls in error_classes()] + [cls.retry.value for cls in error_classes()]
    said = [text for hint in [*hints, *(meaning for _, meaning in DIAGNOSTICS.values())] for text in inline(hint)]
    assert len(said) > 10
    assert [problem for text in said for problem in refused(mentioned(text), whole=False)] == []


def all_commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", one) for inner, one in command.commands.items())


def test_what_help_says_can_be_typed() -> None:
    examples = {name: command.epilog or "" for name, command in all_commands()}
    found = [
        problem for text in examples.values() for problem in refused(text.removeprefix("Example:").strip(), whole=True)
    ]
    assert found == []
    without = [name for name, text in examples.items() if "reconciler " not in text]
    assert without == ["demo", "log"]


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_other_files_say_can_be_typed(path: Path) -> None:
    text = path.read_text()
    found = [problem for said in inline(text) for problem in refused(mentioned(said), whole=False)]
    assert found == []


def test_a_wrong_one_is_found() -> None:
    assert "no such option" in wrong(["plan", "--hubb", "X"], whole=False).lower()
    assert "takes no c" in wrong(["approve", "a", "c"], whole=False)
    assert "takes no c" in wrong(["why", "a", "b", "c"], whole=False)
    assert "needs" in wrong(["log", "backup"], whole=True)
    assert wrong(["log", "backup"], whole=False) == ""
    assert wrong(["plam"], whole=False) == "there is no command plam"
    assert "requires an argument" in wrong(["plan", "--hub"], whole=True)
    assert wrong(["plan", "--hub"], whole=False) == ""  # prose names an option
    assert "none of" in wrong(["plan", "--output", "xml"], whole=True)
    assert wrong(["crds", "apply", "--context", "X"], whole=True) == ""
    assert list(spoken("reconciler init a && cd a   # reconciler b")) == [["init", "a"]]
    assert list(spoken("reconciler wait --commit $(git rev-parse HEAD) && reconciler status|head")) == [
        ["wait", "--commit", "X"],
        ["status"],
    ]
