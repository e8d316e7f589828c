"""A model that others made goes from its file to an answer of every edge in four commands, as `package` prints them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.fleet import PATIENCE_S, Fleet, free_port
from tests.foreign_models import beside, classifier, convolution, silero, written

pytestmark = pytest.mark.e2e


def exported(directory: Path) -> Path:
    """What scikit-learn and skl2onnx leave, with a question of the user's own."""
    directory.mkdir()
    (directory / "iris.onnx").write_bytes(classifier())
    np.savez(directory.parent / "flower.npz", flower=np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]))
    return directory


# name -> the model's file or directory, and the options that it takes.
MODELS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "voice": (lambda _: silero(), []),
    "wide": (lambda place: beside(place / "wide"), []),
    "edges": (lambda place: written(place / "conv.onnx", convolution()), []),
    "iris": (lambda place: exported(place / "iris"), ["--example", "flower.npz"]),
}


def shell(fleet: Fleet, command: str, *, cwd: Path | None = None) -> str:
    """A command as a person types it; what it printed."""
    beside_us = Path(sys.executable).parent
    state = {"RECONCILER_STATE": str(fleet.state.root), "PATH": f"{beside_us}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd or fleet.repository.path,
        env=os.environ | state,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{fleet.output()}"
    return done.stdout


def test_four_commands_from_a_file_to_an_answer(fleet: Fleet, tmp_path: Path) -> None:
    fleet.hub()
    place = tmp_path / "mine"
    place.mkdir()
    for name, (make, options) in MODELS.items():
        words = ["reconciler", "package", str(make(place)), "--name", name, "--version", "1", *options]
        words += ["--write", "--deploy", "site=demo", "--port", str(free_port()), "--repo", str(fleet.repository.path)]
        packaged = json.loads(shell(fleet, " ".join([*words, "-o", "json"]), cwd=place))
        look, commit, wait, ask = packaged["next"]
        assert look == "reconciler plan --check"
        shell(fleet, commit)
        shell(fleet, wait)
        answer = json.loads(shell(fleet, ask))
        assert answer["model_version"] == "1"
        expected = golden(Path(packaged["archive"]))["outputs"]
        assert same(answer["outputs"], expected), name
        assert packaged["edges"] == ["edge-1", "edge-2", "edge-3"]
    rows = fleet.read("status")["rows"]
    assert {(row["phase"], row["message"]) for row in rows} == {("Committed", "")}  # none is unproven, none fails
    assert len(rows) == 3 * (len(MODELS) + 2)


def golden(archive: Path) -> Any:
    return json.loads(subprocess.run(["tar", "xOzf", archive, "golden.json"], capture_output=True, check=True).stdout)


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether the served model answers what was packed with it."""
    answers = {each["name"]: each for each in found}
    return all(
        answers[each["name"]]["shape"] == each["shape"]
        and np.allclose(answers[each["name"]]["data"], each["data"], atol=1e-3)
        for each in expected
    )
