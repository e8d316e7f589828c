"""Where a repository begins, and what is said of a directory that is none, or only a part of one."""

import os
import shutil
from pathlib import Path

import pytest

from reconciler.cli.followed import followed, settings_of
from reconciler.edge.paths import StateDirectory
from reconciler.errors import SettingInvalid
from reconciler.sources.git_safety import Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.place import root_of
from tests.git_repository import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "fleet")
    made.commit({"sub/deep/a.yaml": "a: 1\n"})
    return made


def shapes(repository: Repository, place: Path) -> dict[str, Path]:
    """What git makes of one repository, by name: each can be followed by its own path."""
    url, git = str(repository.path), repository.git
    git("worktree", "add", "--quiet", str(place / "linked"), "-b", "other")
    git("config", "extensions.worktreeConfig", "true")
    git("clone", "--quiet", "--bare", url, str(place / "bare.git"))
    git("clone", "--quiet", "--shared", url, str(place / "alternates"))
    git("clone", "--quiet", "--separate-git-dir", str(place / "apart.git"), url, str(place / "gitfile"))
    git("clone", "--quiet", "--depth=1", f"file://{url}", str(place / "shallow"))
    above = Repository(place / "above")
    above.git("submodule", "--quiet", "add", "--", url, "module")
    names = ("linked", "bare.git", "alternates", "gitfile", "shallow")
    return {"plain": repository.path, **{name: place / name for name in names}, "module": above.path / "module"}


def test_every_shape_of_a_repository_is_found_from_within_and_read(tmp_path: Path, repository: Repository) -> None:
    repository.git("pack-refs", "--all")
    for name, path in shapes(repository, tmp_path).items():
        assert root_of(path) == path, name
        if name != "bare.git":
            assert root_of(path / "sub" / "deep") == path, name
        assert settings_of({"repo": str(path), "state_dir": tmp_path / "state"}).repo == str(path)
        mirror = Mirror(tmp_path / "mirrors" / name, Remote.parse(str(path)))
        assert [change.path for change in mirror.changes(None, mirror.fetch())] == ["sub/deep/a.yaml"], name


def test_a_repository_of_sha256_is_read(tmp_path: Path) -> None:
    made = Repository(tmp_path / "fleet", object_format="sha256")
    made.commit({"a.yaml": "a: 1\n"})
    assert root_of(made.path) == made.path
    mirror = Mirror(tmp_path / "mirror", Remote.parse(f"file://{made.path}"))
    assert len(mirror.fetch()) == 64


def test_a_command_within_a_work_tree_is_about_all_of_it(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.path / "sub" / "deep")
    monkeypatch.delenv("RECONCILER_REPO", raising=False)
    settings = followed(tmp_path / "state", repo=None, branch=None, path=None)
    assert (settings.repo, settings.path) == (str(repository.path), "")


def test_a_folder_of_a_repository_is_refused_with_what_to_write(tmp_path: Path, repository: Repository) -> None:
    for path, within in (("", "sub"), ("deep/", "sub/deep")):
        with pytest.raises(SettingInvalid, match="is a folder of the repository") as refused:
            settings_of({"repo": f"file://{repository.path}/sub", "path": path, "state_dir": tmp_path / "state"})
        assert refused.value.advice == f"use --repo {repository.path} --path {within}"
    with pytest.raises(SettingInvalid) as refused:
        settings_of({"repo": str(repository.path / ".git"), "state_dir": tmp_path / "state"})
    assert refused.value.advice == f"use --repo {repository.path}"


def test_a_directory_that_is_no_repository_ends_at_once_unless_it_was_read_before(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    said = {"repo": str(tmp_path / "none"), "state_dir": tmp_path / "state"}
    assert root_of(tmp_path / "none") is None
    with pytest.raises(SettingInvalid, match="is no Git repository"):
        settings_of(said)
    log = StateDirectory(tmp_path / "state").hub.log
    log.parent.mkdir(parents=True)
    log.touch()
    assert settings_of(said).repo == str(tmp_path / "none")  # its disk may not be there yet


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("chown") is None, reason="only root gives files away")
def test_what_another_user_owns_is_read_where_it_is_named(tmp_path: Path, repository: Repository) -> None:
    for place in (repository.path, *repository.path.rglob("*")):
        os.chown(place, 12345, 12345, follow_symlinks=False)
    assert root_of(repository.path) == repository.path
    Mirror(tmp_path / "mirror", Remote.parse(str(repository.path))).fetch()
