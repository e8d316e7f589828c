"""The README's commands for a cluster are run as they are written, with a context of that name."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.control_plane.plane import ControlPlane

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTEXT = "kind-fleet"


def lines() -> list[list[str]]:
    block = re.search(r"```console\n(\$ export RECONCILER_STATE=.*?)```", README, re.DOTALL)
    assert block is not None
    return [shlex.split(line.removeprefix("$ ")) for line in block[1].strip().splitlines()]


def commands() -> list[list[str]]:
    return [words for words in lines() if words[0] != "export"]


def named(kubeconfig: Path, to: Path) -> Path:
    """The same kubeconfig, whose only context has the README's name."""
    document = yaml.safe_load(kubeconfig.read_text())
    document["contexts"][0]["name"] = document["current-context"] = CONTEXT
    to.write_text(json.dumps(document))
    return to


def test_the_commands_for_a_cluster_work_as_written(cluster: ControlPlane, tmp_path: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(named(cluster.kubeconfig, tmp_path / "kubeconfig"))}
    environment |= dict([words[1].split("=") for words in lines() if words[0] == "export"])
    told = {}

    def run(words: list[str], *, codes: tuple[int, ...] = (0,)) -> None:
        program = [sys.executable, "-m", "reconciler"] if words[0] == "reconciler" else words[:1]
        done = subprocess.run(
            [*program, *words[1:]], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode in codes, (words, done.stdout, done.stderr)
        told[words[1]] = done.stdout

    run(["reconciler", "init", "fleet"])
    apply, namespace, doctor, plan, follow = commands()
    run(apply)
    assert namespace[0] == "kubectl"  # which a machine that tests need not have
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace[-1]}})
    run(doctor, codes=(0, 4))  # what this machine itself lacks is not the README's matter
    assert "fail" not in "".join(line for line in told["doctor"].splitlines() if "right" in line)
    run(plan, codes=(1,))
    assert "create InferenceModel/default/digits-edge-1" in told["plan"]
    run([*follow, "--once", "--timeout", "60"])
    run(plan)
    assert "nothing to do" in told["plan"]
    found = cluster.get("/apis/ai.kubeedge.io/v1alpha1/inferencemodels")["items"]
    assert sorted(one["metadata"]["name"] for one in found) == ["digits-edge-1", "digits-edge-2", "digits-edge-3"]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_each_command_names_the_context(command: list[str]) -> None:
    assert CONTEXT in command
