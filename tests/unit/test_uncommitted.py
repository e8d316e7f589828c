"""A work tree is taken as it is on disk, and the user's repository is only read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sources.git_safety import Remote
from reconciler.sources.uncommitted import Uncommitted
from tests.git_repository import Repository

Look = Callable[[], tuple[Uncommitted, str]]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "fleet")
    made.commit({"a.yaml": "a: 1\n", "b/c.yml": "c: 1\n", "README.md": "x\n", ".gitignore": "ignored/\n"})
    return made


@pytest.fixture
def look(repository: Repository, tmp_path: Path) -> Look:
    def looked() -> tuple[Uncommitted, str]:
        mirror = Uncommitted(tmp_path / "mirror", Remote.parse(str(repository.path)))
        return mirror, mirror.fetch()

    return looked


def content(mirror: Uncommitted, commit: str) -> dict[str, bytes]:
    found = {change.path: change.new_oid for change in mirror.changes(None, commit)}
    blobs = mirror.blobs(oid for oid in found.values() if oid)
    return {path: blobs[oid] for path, oid in found.items() if oid}


def test_a_clean_work_tree_is_its_head(repository: Repository, look: Look) -> None:
    mirror, head = look()
    assert (head, mirror.head, mirror.paths) == (repository.head(), repository.head(), ())


def test_changed_new_and_removed_files_are_seen(repository: Repository, look: Look) -> None:
    repository.write({"a.yaml": "a: 2\n", "new/d.yaml": "d: 1\n", "b/c.yml": None, "README.md": "y\n"})
    mirror, commit = look()
    assert mirror.paths == ("a.yaml", "b/c.yml", "new/d.yaml")
    assert content(mirror, commit) == {"a.yaml": b"a: 2\n", "new/d.yaml": b"d: 1\n"}
    assert mirror.is_ancestor(mirror.head, commit)


def test_what_is_staged_counts_as_it_is_on_disk(repository: Repository, look: Look) -> None:
    repository.write({"a.yaml": "a: 2\n"})
    repository.git("add", "a.yaml")
    repository.write({"a.yaml": "a: 1\n"})
    assert look()[0].paths == ()


def test_ignored_files_and_links_do_not_count(repository: Repository, look: Look) -> None:
    repository.write({"ignored/e.yaml": "e: 1\n"})
    (repository.path / "link.yaml").symlink_to("a.yaml")
    assert look()[0].paths == ()


def test_the_users_repository_is_only_read(repository: Repository, look: Look) -> None:
    repository.write({"a.yaml": "a: 2\n"})
    before = sorted(path for path in (repository.path / ".git").rglob("*") if path.is_file())
    _, commit = look()
    assert sorted(path for path in (repository.path / ".git").rglob("*") if path.is_file()) == before
    assert repository.git("rev-parse", "HEAD") != commit


def test_another_branch_checked_out_is_not_the_followed_one(repository: Repository, look: Look) -> None:
    repository.git("switch", "--quiet", "-c", "other")
    repository.write({"a.yaml": "a: 2\n"})
    assert look()[0].paths == ()


def test_a_bare_repository_has_nothing_uncommitted(repository: Repository, tmp_path: Path) -> None:
    bare = Repository(tmp_path / "bare.git", bare=True)
    repository.push(bare.path)
    mirror = Uncommitted(tmp_path / "other", Remote.parse(str(bare.path)))
    assert (mirror.fetch(), mirror.paths) == (repository.head(), ())


def test_a_filter_of_the_repository_does_not_run(repository: Repository, look: Look, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    repository.git("config", "filter.evil.clean", f"touch {mark}; cat")
    repository.commit({".gitattributes": "*.yaml filter=evil\n"})
    mark.unlink(missing_ok=True)
    repository.write({"a.yaml": "a: 3\n"})
    assert look()[0].paths == ("a.yaml",)
    assert not mark.exists()
