"""The files that docs/ci.md gives to copy: they are YAML, and each command in them is one that this release has."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from reconciler.cli.main import cli

CI = Path(__file__).parents[2] / "docs" / "ci"
FILES = sorted(CI.glob("*.yml"))


def texts(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for one in value.values() for text in texts(one))
    elif isinstance(value, list):
        yield from (text for one in value for text in texts(one))


def commands(path: Path) -> list[list[str]]:
    """The words of each `reconciler …` in a file, up to what the shell takes."""
    found = []
    for text in texts(yaml.safe_load(path.read_text())):
        for line in re.findall(r"^\s*reconciler (.*)$", text, re.MULTILINE):
            words = shlex.split(line)
            found.append(words[: next((n for n, word in enumerate(words) if word in {">", "||", "|"}), len(words))])
    return found


def test_there_are_files_for_both() -> None:
    assert [path.name for path in FILES] == ["github.yml", "gitlab-ci.yml"]
    assert all(f"](ci/{path.name})" in (CI.parent / "ci.md").read_text() for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_plans_and_waits_with_words_that_this_release_knows(path: Path) -> None:
    verbs = []
    for verb, *words in commands(path):
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None, verb
        with command.make_context(verb, [word.replace("$", "") for word in words]):
            verbs.append(verb)
    assert {"plan", "wait"} == set(verbs)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_installed_is_named_by_a_variable_and_never_by_a_name_that_somebody_else_has(path: Path) -> None:
    lines = [line for text in texts(yaml.safe_load(path.read_text())) for line in text.splitlines() if "pip " in line]
    assert lines
    for line in lines:
        assert shlex.split(line)[-1].startswith("${RECONCILER_PACKAGE:?"), line
        for value in ("", None):
            variables = {"PATH": "/nowhere"} | ({"RECONCILER_PACKAGE": value} if value is not None else {})
            done = subprocess.run(["/bin/sh", "-ec", line], env=variables, capture_output=True, text=True, check=False)
            assert (done.returncode != 0, "is not set" in done.stderr) == (True, True)
    assert "`RECONCILER_PACKAGE`" in (CI.parent / "ci.md").read_text()


def test_what_is_installed_sees_no_token() -> None:
    workflow = yaml.safe_load((CI / "github.yml").read_text())
    scopes = [workflow, *workflow["jobs"].values()]
    assert not [value for one in scopes for value in one.get("env", {}).values() if "secrets." in value]
    steps = [step for job in workflow["jobs"].values() for step in job["steps"] if "HUB_TOKEN" in step.get("run", "")]
    assert len(steps) == 2
    assert all("HUB_TOKEN" in step["env"] for step in steps)


def test_no_expression_of_a_pull_requests_own_text_stands_in_a_script() -> None:
    workflow = yaml.safe_load((CI / "github.yml").read_text())
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    said = {name for script in scripts for name in re.findall(r"\$\{\{\s*(.*?)\s*\}\}", script)}
    assert said <= {"github.event.number"}
    assert True in workflow or "on" in workflow  # YAML 1.1 reads `on` as true
    assert "pull_request_target" not in (CI / "github.yml").read_text()
