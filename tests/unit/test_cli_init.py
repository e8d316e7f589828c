"""`init` leaves a repository that can be planned at once."""

import subprocess
from pathlib import Path

import pytest

from reconciler.cli import demo_world
from reconciler.cli.init import PLACEHOLDER
from tests.unit.conftest import Call


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
