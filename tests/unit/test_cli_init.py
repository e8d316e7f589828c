"""`init` leaves a repository that can be planned at once."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import control_socket
from reconciler.cli import demo_world
from reconciler.cli.demo_story import own_command
from reconciler.cli.init import PLACEHOLDER
from reconciler.edge.paths import StateDirectory
from reconciler.errors import WorldUnavailable
from tests.unit.conftest import Call

ROOT = Path(__file__).parents[2]


def git(directory: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def test_a_repository_with_one_clean_commit_and_artifacts_that_are_there(call: Call, tmp_path: Path) -> None:
    said = call("init", tmp_path / "fleet")
    assert said.code == 0
    assert said.out.splitlines()[3:] == [
        "  git config --global user.name NAME",
        "  git config --global user.email MAIL",
    ]
    assert said.out.splitlines()[1].split() == ["reconciler", "run", "--repo", "."]
    assert git(tmp_path / "fleet", "status", "--porcelain") == ""
    assert git(tmp_path / "fleet", "log", "--format=%an|%s|%D") == "reconciler init|Begin the fleet|HEAD -> main"
    manifests = [path.read_text() for path in (tmp_path / "fleet").rglob("*.yaml")]
    assert manifests
    assert not any(PLACEHOLDER in text for text in manifests)
    urls = [line.split()[1] for text in manifests for line in text.splitlines() if "downloadURL:" in line]
    assert len(urls) == 3
    assert all(Path(url.removeprefix("file://")).is_file() for url in urls)


def test_the_new_repository_can_be_planned_at_once(call: Call, tmp_path: Path) -> None:
    call("init", tmp_path / "fleet")
    said = call("plan", "--repo", tmp_path / "fleet", "--state", tmp_path / "state")
    assert said.code == 1
    assert "6 to create" in said.out


def test_the_users_own_name_stands_in_the_commit(call: Call, tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    said = call("init", tmp_path / "fleet")
    assert "git config" not in said.out
    assert git(tmp_path / "fleet", "log", "--format=%an <%ae>") == "Ada <ada@example.com>"


def test_artifacts_may_lie_elsewhere(call: Call, tmp_path: Path) -> None:
    call("init", tmp_path / "fleet", "--artifacts-url", "https://artifacts.example.com/demo/")
    text = (tmp_path / "fleet" / "models" / "digits.yaml").read_text()
    assert "downloadURL: https://artifacts.example.com/demo/digits-1.tar.gz" in text


def test_a_directory_with_something_in_it_is_left_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    said = call("init", tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "is not empty" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_git_the_files_are_there_and_the_reason_is_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = call("init", tmp_path / "fleet")
    assert said.code == 4
    assert "error[RX301]" in said.err
    assert not (tmp_path / "fleet" / ".git").exists()


def test_the_demo_s_next_steps_work_where_git_knows_nobody(call: Call, tmp_path: Path) -> None:
    demo = demo_world.World(tmp_path, 8080)
    assert call("init", demo.fleet).code == 0
    demo.identify()
    for name, value in zip(("user.name", "user.email"), demo_world.YOU, strict=True):
        assert demo.git("config", "--local", name) == value
    (demo.fleet / "note.txt").write_text("x")
    demo.git("add", "note.txt")
    subprocess.run(["git", "commit", "--quiet", "-m", "Note"], cwd=demo.fleet, check=True)
    assert call("pin", "edge-3", "digits@2", "--reason", "try it", "--repo", demo.fleet).code == 0


def test_the_demo_names_its_page(tmp_path: Path) -> None:
    demo = demo_world.World(tmp_path, 8080)
    assert demo.page == ""
    (tmp_path / "run.log").write_text("following main\nlistening at http://127.0.0.1:40123/\n")
    assert demo.page == "http://127.0.0.1:40123/"


def test_the_demo_ends_when_its_reconciler_does(tmp_path: Path) -> None:
    demo = demo_world.World(tmp_path, 8080)
    demo.state.write_text("a file where its directory is to be")
    demo.start()
    with pytest.raises(WorldUnavailable, match=r"(?s)the reconciler of the demo has ended with code [1-9].*error\[RX"):
        demo.outlast()


def test_the_demo_ends_the_agents_of_a_reconciler_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = demo_world.World(tmp_path, 8080)
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeper) as agent, subprocess.Popen(sleeper) as hub:
        monkeypatch.setattr(demo, "_run", hub)
        home = StateDirectory(demo.state).edge("edge-2")
        home.directory.mkdir(parents=True)
        with contextlib.closing(control_socket.serve(home.control, lambda _: {"pid": agent.pid})):
            hub.kill()
            demo.close()
        assert agent.wait() == -signal.SIGTERM


def test_the_demo_names_the_program_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Path(sys.executable).with_name("reconciler")
    monkeypatch.setenv("PATH", str(ours.parent))
    assert own_command() == "reconciler"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_command() == str(ours)
    other = tmp_path / "reconciler"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert own_command() == str(ours)


def test_make_says_that_it_installs_only_when_it_does(tmp_path: Path) -> None:
    def said(*more: str) -> str:
        command = ["make", "--dry-run", "demo", f"VENV={tmp_path}", *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    first = said()
    assert first.index(f"installing into {tmp_path}, once") < first.index("pip install")
    assert "installing" not in said("--old-file=requirements/run.txt", f"--old-file={tmp_path}/run.stamp")
