"""The units and manifests in deploy/ start commands that exist, with settings that exist."""

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cli.main import cli
from reconciler.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


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


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd is not on this machine")
    for unit in UNITS:  # with a program that is there
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/reconciler/bin/reconciler", "/bin/true"))
    done = subprocess.run(
        [verify, "verify", *(str(tmp_path / unit.name) for unit in UNITS)], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def documents() -> list[dict[str, Any]]:
    files = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [one for file in files for one in yaml.safe_load_all((DEPLOY / file).read_text())]


def test_the_pod_starts_a_command_that_exists_with_settings_that_exist() -> None:
    (hub,) = (one for one in documents() if one["kind"] == "StatefulSet")
    (container,) = hub["spec"]["template"]["spec"]["containers"]
    name, *words = container["args"]
    command = cli.get_command(cli.make_context("reconciler", ["--help"], resilient_parsing=True), name)
    assert command is not None
    command.make_context(name, words, resilient_parsing=False)
    assert {one["name"] for one in container["env"]} <= {PREFIX + field.upper() for field in Settings.model_fields}


def test_the_pod_is_the_account_that_the_rights_are_given_to() -> None:
    (hub,) = (one for one in documents() if one["kind"] == "StatefulSet")
    account = hub["spec"]["template"]["spec"]["serviceAccountName"]
    bound = [subject for one in documents() for subject in one.get("subjects", ())]
    assert {(one["name"], one["namespace"]) for one in bound} == {(account, hub["metadata"]["namespace"])}


def test_the_image_copies_files_that_exist() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert copied
    assert all((DEPLOY.parent / path).exists() for path in copied)


def test_the_recipe_for_metrics_fits_the_manifests() -> None:
    blocks = (DEPLOY / "README.md").read_text().split("```yaml\n")[1:]
    recipes = [yaml.safe_load(block.partition("```")[0]) for block in blocks]
    (service,) = (one for one in documents() if one["kind"] == "Service")
    (hub,) = (one for one in documents() if one["kind"] == "StatefulSet")
    (policy,) = (one for one in recipes if isinstance(one, dict) and one.get("kind") == "NetworkPolicy")
    (monitor,) = (one for one in recipes if isinstance(one, dict) and one.get("kind") == "ServiceMonitor")
    (patch,) = (yaml.safe_load(one[0]["patch"])[0] for one in recipes if isinstance(one, list))
    template = hub["spec"]["template"]
    (port,) = template["spec"]["containers"][0]["ports"]
    assert policy["spec"]["podSelector"]["matchLabels"] == template["metadata"]["labels"]
    assert [one["port"] for one in policy["spec"]["ingress"][0]["ports"]] == [port["name"]]
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert [one["port"] for one in monitor["spec"]["endpoints"]] == [one["name"] for one in service["spec"]["ports"]]
    assert patch["value"]["prometheus.io/port"] == str(port["containerPort"])
    assert "annotations" not in template["metadata"]  # `add` replaces what is there
    namespaces = {one["metadata"]["namespace"] for one in (policy, monitor, service, hub)}
    assert len(namespaces) == 1
