"""What `make dist` builds is whole, is the same each time, and works where there is no checkout."""

import json
import os
import re
import subprocess
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

from reconciler import __version__, packages
from tests.installs import EDGE, ROOT, build, environment, here, pinned

NAME = f"reconciler-{__version__}"
WHEEL, SDIST = f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, as they are built of this tree."""
    into = tmp_path_factory.mktemp("dist")
    assert [path.name for path in build(ROOT, into, "wheel", "sdist")] == [WHEEL, SDIST]
    return into


@pytest.fixture(scope="module")
def metadata(dist: Path) -> Message:
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        return HeaderParser().parsestr(wheel.read(f"{NAME}.dist-info/METADATA").decode())


def kept(*folders: str) -> set[str]:
    """The files of these folders that Git keeps."""
    said = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in said.stdout.split("\0") if name and (ROOT / name).exists()}


def test_the_wheel_holds_the_program_its_template_and_its_kinds_and_nothing_else(dist: Path) -> None:
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = {name for name in wheel.namelist() if not name.startswith(f"{NAME}.dist-info/")}
        for name in kept("repo-template"):
            there = name.replace("repo-template", "reconciler/_template", 1)
            assert wheel.read(there) == (ROOT / name).read_bytes()
    moved = {"reconciler": "reconciler", "repo-template": "reconciler/_template", "crds": "reconciler/_crds"}
    wanted = {name.replace(old, new, 1) for old, new in moved.items() for name in kept(old)}
    assert names >= wanted
    assert {name.partition("/")[0] for name in names} == {"reconciler"}
    assert not {name for name in names if name.endswith(".pyc") or "/tests/" in name}


def test_the_same_tree_makes_the_same_bytes_and_the_source_distribution_makes_the_same_wheel(
    dist: Path, tmp_path: Path
) -> None:
    build(ROOT, tmp_path / "again", "wheel", "sdist")
    with tarfile.open(dist / SDIST) as sdist:
        sdist.extractall(tmp_path, filter="data")
    assert not (tmp_path / NAME / "tests").exists()
    build(tmp_path / NAME, tmp_path / "from-source", "wheel")
    assert (tmp_path / "again" / SDIST).read_bytes() == (dist / SDIST).read_bytes()
    for place in ("again", "from-source"):
        assert (tmp_path / place / WHEEL).read_bytes() == (dist / WHEEL).read_bytes(), place


def test_its_metadata_says_what_it_is(metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("reconciler", __version__)
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert set(metadata.get_all("Provides-Extra", [])) >= {"onnx"}
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_what_is_missing_is_had_from_this_very_file() -> None:
    assert f"`pip install '{WHEEL}[onnx]'`" in packages.RUNTIME.had
    assert f"`pip install {WHEEL}`" in packages.HUB.had


def test_the_page_names_the_files_of_this_release() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    assert set(re.findall(r"[\w.-]+\.whl", page)) == {WHEEL}
    assert "| an edge's |" in page
    assert f" | {len({one.name for one in pinned(EDGE)})} | " in page
    targets = set(re.findall(r"make ([a-z-]+)", page))
    assert targets == set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) & targets


@pytest.mark.slow
def test_every_command_of_the_wheel_finds_what_it_needs_without_a_checkout(dist: Path, tmp_path: Path) -> None:
    without = {"numpy", "onnxruntime", "editables", "hatchling"}
    names = [name for name in here(ROOT / "requirements" / "run.txt") if name not in without]
    programs = environment(tmp_path / "venv", names, dist / WHEEL)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RECONCILER_"))}
    home = tmp_path / "home"
    home.mkdir()

    def reconciler(*words: str, code: int = 0) -> str:
        command = [str(programs / "reconciler"), *words]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=home, env=plain | {"HOME": str(home)}
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    assert reconciler("--version") == f"{__version__}\n"
    reconciler("init", "fleet")
    made = {str(path.relative_to(home / "fleet")) for path in (home / "fleet").rglob("*") if path.is_file()}
    assert made >= {name.removeprefix("repo-template/") for name in kept("repo-template")}
    assert json.loads(reconciler("plan", "--repo", "fleet", "-o", "json", code=1))["steps"]
    reconciler("crds", "--write", "kinds")
    for path in (ROOT / "crds").iterdir():
        assert (home / "kinds" / path.name).read_bytes() == path.read_bytes()
    assert "RX106" in reconciler("explain", "RX106")
    assert "complete: command line, hub and cluster" in reconciler("doctor")
    assert "_RECONCILER_COMPLETE" in reconciler("completion", "bash")
    said = reconciler("demo", "--once", code=2)
    assert "error[RX106]: `reconciler demo` needs onnxruntime, numpy, which are not installed here" in said
