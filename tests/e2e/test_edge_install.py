"""An edge's install, as docs/install.md makes it: the wheel and what requirements/edge.txt names, and nothing else."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet
from tests.installs import EDGE, ROOT, build, environment, here

pytestmark = pytest.mark.e2e

ABSENT = (
    "git",
    "gitdb",
    "httptools",
    "kubernetes",
    "prometheus_client",
    "pydantic",
    "rich",
    "ruamel",
    "watchdog",
    "yaml",
)


class Edge:
    """The commands of an edge's install, on a fleet's state directory."""

    def __init__(self, programs: Path, fleet: Fleet) -> None:
        self._programs, self._fleet = programs, fleet
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A program of it, finished."""
        command = [str(self._programs / program), *words]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=self._environment, cwd=self._fleet.root
        )

    def reconciler(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A command of the product on the fleet's state directory, which ends with this code."""
        done = self.run("reconciler", *words, "--state", str(self._fleet.state.root))
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def read(self, *words: str) -> Any:
        """A command's JSON."""
        return json.loads(self.reconciler(*words, "-o", "json").stdout)

    def agent(self, edge: str) -> subprocess.Popen[bytes]:
        """Its agent, running."""
        words = ["agent", edge, "--state", str(self._fleet.state.root)]
        with (self._fleet.root / "agent.log").open("ab") as output:
            return subprocess.Popen(
                [str(self._programs / "reconciler"), *words], env=self._environment, stdout=output, stderr=output
            )


@pytest.fixture
def edge(fleet: Fleet) -> Edge:
    (wheel,) = build(ROOT, fleet.root / "dist", "wheel")
    return Edge(environment(fleet.root / "venv", here(EDGE), wheel), fleet)


@pytest.fixture
def served(fleet: Fleet, edge: Edge) -> Iterator[Edge]:
    """It, with an agent of edge-1 beside a hub of the whole install, once version 1 answers."""
    fleet.hub("--no-agents")
    agent = edge.agent("edge-1")
    try:
        fleet.wait(lambda: fleet.ask("edge-1")[0] == "1" or agent.poll() is not None, "version 1 answers")
        yield edge
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(40) == 0
    finally:
        agent.kill()
        agent.wait()


def test_an_edges_install_keeps_and_serves_and_says_what_it_lacks(fleet: Fleet, served: Edge) -> None:
    there = served.run("python", "-c", f"from importlib.util import find_spec; print([*map(find_spec, {ABSENT})])")
    assert there.stdout.split() == str([None] * len(ABSENT)).split(), there

    fleet.edit("deployments/digits.yaml", "defaultVersion: '1'", "defaultVersion: '2'")
    fleet.wait(lambda: fleet.ask("edge-1")[0] == "2", "version 2 answers")
    assert fleet.ask("edge-2") == ("", "")

    for words in (("status",), ("history",), ("state",), ("log", "verify")):
        assert served.reconciler(*words).stdout, words
    assert served.run("reconciler", "doctor").returncode == 0  # of the state directory that it has by itself
    found = {one["check"]: one for one in served.read("doctor")["findings"]}
    assert (found["install"]["verdict"], found["install"]["found"]) == ("ok", "an edge's: its agent, no hub")
    assert found["onnxruntime"]["verdict"] == found["agent edge-1"]["verdict"] == "ok"
    assert not {"git", "git author", "repository", "listener", "hub", "cluster"} & set(found)

    alone = fleet.root / "alone"
    (alone / "edges" / "edge-1").mkdir(parents=True)
    for path in fleet.state.edge("edge-1").directory.glob("log.db*"):
        shutil.copy(path, alone / "edges" / "edge-1")
    assert "answers version 2" in served.run("reconciler", "why", "digits", "--state", str(alone)).stdout

    for line in ("plan --repo .", "run --repo .", "status -o yaml"):
        said = served.reconciler(*line.split(), code=2).stderr
        assert f"error[RX106]: `reconciler {line.split()[0]}` needs " in said, said
        assert "-py3-none-any.whl` brings what is missing; an edge's install goes without" in said
    said = served.run("reconciler", "init", "own").stderr
    assert "`reconciler init` needs gitpython" in said
    assert not (fleet.root / "own").exists()
