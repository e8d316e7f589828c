"""The README is true: its commands are run, and its transcript has the lines that the demo prints."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.digits import ARTIFACTS
from tests.documentation import commands
from tests.e2e.fleet import free_port
from tests.e2e.guides import Reader

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def shapes(text: str) -> list[str]:
    """The lines of a demo's output with everything that differs from run to run taken out."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    for pattern in (r"[0-9a-f]{16,64}", r"commit [0-9a-f]{7}", r"/\S+/fleet", r"\d[\d,.:-]*"):
        lines = [re.sub(pattern, "#", line) for line in lines]
    return [re.sub(r"\s+", " ", line).strip() for line in lines]


def timeline(text: str) -> list[str]:
    """What the demo tells with a time, without the times."""
    return shapes("\n".join(line for line in text.splitlines() if re.match(r"\s*\d+\.\d\d s", line)))


def test_the_demo_ends_well_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    shown = re.search(r"<!-- transcript -->\n```text\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    words = [sys.executable, "-W", "error", "-m", "reconciler", "demo", "--once", "--port", str(free_port())]
    done = subprocess.run([*words, "--dir", str(tmp_path / "demo")], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert timeline(done.stdout) == timeline(shown[1])
    assert len(timeline(done.stdout)) == 11
    assert "0 failed" in done.stdout
    assert "nothing downloaded" in done.stdout


def test_every_command_that_the_readme_names_is_there() -> None:
    inline = re.findall(r"`reconciler ([a-z]+)", README)
    named = {*inline, *re.findall(r"^\$ reconciler ([a-z]+)", README, re.MULTILINE)}
    assert len(named) > 10
    for name in sorted(named):
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", name, "--help"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, name


def test_every_make_target_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"make ([a-z]+)", README))
    assert targets >= {"demo", "test", "check", "bench"}
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, target


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_a_fleet_and_a_model_of_ones_own_are_as_far_away_as_the_readme_says(tmp_path: Path) -> None:
    said = re.search(r"^## Your own fleet$.*?(?=^## In a cluster$)", README, re.MULTILINE | re.DOTALL)
    assert said is not None
    reader = Reader(tmp_path)
    try:
        with tarfile.open(ARTIFACTS / "digits-2.tar.gz") as archive:
            content = archive.extractfile("model.onnx")
            assert content is not None
            (reader.place / "model.onnx").write_bytes(content.read())
        *_, answer = reader.follow(said[0])
    finally:
        reader.close()
    assert json.loads(answer)["model_version"] == "1"
    assert len(commands(said[0])) == 2 + 1 + 4  # a fleet in two, and into it; a model of one's own in four


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.splitlines()) <= 150


def test_what_the_machine_lacks_is_said_with_what_to_install() -> None:
    done = subprocess.run(
        ["make", "PYTHON=no-such-python", "demo"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "install Python 3.11 or newer" in done.stdout
    assert "reconciler demo" not in done.stdout
