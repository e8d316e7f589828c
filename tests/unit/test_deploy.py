"""The units in deploy/ start commands that exist, with settings that exist."""

import configparser
import shlex
from pathlib import Path

import pytest

from reconciler.cli.main import cli
from reconciler.settings import PREFIX, Settings

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_exists(unit: Path) -> None:
    parsed = configparser.RawConfigParser(strict=False)
    parsed.read_string(unit.read_text())
    program, name, *words = shlex.split(parsed["Service"]["ExecStart"])
    assert program.endswith("/bin/reconciler")
    command = cli.get_command(cli.make_context("reconciler", ["--help"], resilient_parsing=True), name)
    assert command is not None
    command.make_context(name, words, resilient_parsing=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_sets_only_settings_that_exist(unit: Path) -> None:
    lines = [line for line in unit.read_text().splitlines() if line.startswith("Environment=")]
    assert lines
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"RECONCILER_STATE"}
    assert {line.removeprefix("Environment=").partition("=")[0] for line in lines} <= known
