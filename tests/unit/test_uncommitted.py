"""A work tree is taken as it is on disk, and the user's repository is only read."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.errors import GitUnavailable
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


def test_another_branch_is_taken_as_it_is_checked_out(repository: Repository, look: Look) -> None:
    begun = repository.head()
    repository.git("switch", "--quiet", "-c", "other")
    repository.commit({"b/c.yml": None})
    repository.write({"a.yaml": "a: 2\n"})
    mirror, commit = look()
    assert (mirror.checked_out, mirror.head, mirror.paths) == ("other", repository.head("other"), ("a.yaml",))
    assert content(mirror, commit) == {"a.yaml": b"a: 2\n"}
    assert mirror.distance(begun) == (1, 0)
    assert mirror.tip() == begun


def test_a_detached_head_without_any_local_branch_is_taken(repository: Repository, look: Look, tmp_path: Path) -> None:
    begun = repository.head()
    repository.git("switch", "--quiet", "-c", "other")
    there = repository.commit({"a.yaml": "a: 2\n"})
    ci = Repository(tmp_path / "ci")
    ci.git("fetch", "--quiet", "--depth=1", f"file://{repository.path}", "other")
    ci.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    mirror = Uncommitted(tmp_path / "mirror", Remote.parse(str(ci.path)))
    assert (mirror.fetch(), mirror.checked_out, mirror.is_shallow, mirror.tip()) == (there, "", True, "")
    assert mirror.distance(begun) == (1, 0)  # its parent, though it is not here
    assert mirror.distance("f" * 40) is None
    assert not mirror.rewritten(begun, there)


def test_the_merge_commit_of_a_pull_request_is_ahead_of_both(repository: Repository, look: Look) -> None:
    repository.git("switch", "--quiet", "-c", "other")
    repository.commit({"a.yaml": "a: 2\n"})
    repository.git("switch", "--quiet", "main")
    main = repository.commit({"new.yaml": "n: 1\n"})
    repository.git("merge", "--quiet", "--no-ff", "-m", "Merge", "other")
    repository.git("checkout", "--quiet", "--detach", "HEAD")
    mirror, commit = look()
    assert mirror.distance(main) == (2, 0)
    assert not mirror.rewritten(main, commit)


def test_a_followed_branch_that_left_its_commits_is_rewritten_and_another_one_is_not(
    repository: Repository, look: Look
) -> None:
    before = repository.commit({"a.yaml": "a: 2\n"})
    repository.git("reset", "--quiet", "--hard", "HEAD~")
    repository.commit({"a.yaml": "a: 3\n"})
    mirror, commit = look()
    assert mirror.rewritten(before, commit)
    repository.git("switch", "--quiet", "-c", "other")
    assert not mirror.fetch() or not mirror.rewritten(before, commit)


def test_a_branch_that_is_named_is_planned_wherever_the_work_tree_is(repository: Repository, look: Look) -> None:
    repository.git("switch", "--quiet", "-c", "other")
    repository.commit({"a.yaml": "a: 2\n"})
    mirror, _ = look()
    mirror.is_named = True
    mirror._scratch, mirror.checked_out = None, None
    assert (mirror.fetch(), mirror.checked_out) == (repository.head("main"), None)


# ── what `git status` calls clean is clean ────────────────────────────────────────────────────────────────────────────


def is_clean(repository: Repository) -> bool:
    return not repository.git("status", "--short")


def test_what_a_sparse_checkout_leaves_out_stands(repository: Repository, look: Look) -> None:
    for words in (("x",), ("--sparse-index", "x"), ("--no-cone", "/x/")):
        repository.git("sparse-checkout", "set", *words)
        assert is_clean(repository)
        assert not (repository.path / "b").exists()
        assert look()[0].paths == ()


def test_a_sparse_file_that_was_staged_otherwise_is_as_it_is_staged(repository: Repository, look: Look) -> None:
    repository.git("update-index", "--skip-worktree", "a.yaml")
    (repository.path / "a.yaml").unlink()
    oid = repository.blob(b"a: 7\n")
    repository.git("update-index", "--cacheinfo", f"100644,{oid},a.yaml")
    repository.git("update-index", "--skip-worktree", "a.yaml")
    mirror, commit = look()
    assert mirror.paths == ("a.yaml",)
    assert content(mirror, commit)["a.yaml"] == b"a: 7\n"


def test_a_file_that_is_assumed_unchanged_stands(repository: Repository, look: Look) -> None:
    repository.git("update-index", "--assume-unchanged", "a.yaml")
    repository.write({"a.yaml": "a: 9\n", "b/c.yml": "c: 9\n"})
    repository.git("update-index", "--skip-worktree", "b/c.yml")
    assert is_clean(repository)
    assert look()[0].paths == ()


ENDS = {
    "autocrlf": (("core.autocrlf", "true"), ""),
    "input": (("core.autocrlf", "input"), ""),
    "eol": (("core.eol", "lf"), "*.yaml eol=crlf\n"),
    "text": (("core.eol", "crlf"), "*.yaml text\n"),
    "auto": (("core.eol", "crlf"), "* text=auto\n"),
    "what it was called once": (("core.eol", "crlf"), "*.yaml crlf\n"),
}


@pytest.mark.parametrize("ends", ENDS)
def test_line_ends_that_git_would_convert_are_no_change(repository: Repository, look: Look, ends: str) -> None:
    setting, attributes = ENDS[ends]
    repository.git("config", *setting)
    repository.commit({".gitattributes": attributes} if attributes else {})
    repository.write({"a.yaml": "a: 1\r\n"})
    repository.git("add", "a.yaml")  # which stores what stands there already
    assert is_clean(repository)
    assert look()[0].paths == ()
    repository.write({"a.yaml": "a: 2\r\n"})
    mirror, commit = look()
    assert (mirror.paths, content(mirror, commit)["a.yaml"]) == (("a.yaml",), b"a: 2\n")


@pytest.mark.parametrize("attributes", ["*.yaml -text\n", "*.yaml binary\n", "", "*.yaml -crlf\n"])
def test_line_ends_that_git_would_keep_are_a_change(repository: Repository, look: Look, attributes: str) -> None:
    repository.git("config", "core.autocrlf", "true" if attributes else "false")
    repository.commit({".gitattributes": attributes})
    repository.write({"a.yaml": "a: 1\r\n"})
    assert not is_clean(repository)
    assert look()[0].paths == ("a.yaml",)


def test_the_users_own_configuration_counts(
    repository: Repository, look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ignored").write_text("mine.yaml\n")
    (tmp_path / "attributes").write_text("b/* text\n")
    config = f"[core]\nautocrlf = input\nexcludesFile = {tmp_path}/ignored\nattributesFile = {tmp_path}/attributes\n"
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    repository.write({"mine.yaml": "m: 1\n", "a.yaml": "a: 1\r\n", "b/c.yml": "c: 1\r\n"})
    assert look()[0].paths == ()


def test_an_encoding_of_the_work_tree_and_an_ident_are_no_change(repository: Repository, look: Look) -> None:
    attributes = "a.yaml working-tree-encoding=UTF-16LE\nb/* ident\n"
    repository.commit({".gitattributes": attributes, "a.yaml": "a: 1\n".encode("utf-16-le"), "b/c.yml": "# $Id$\n"})
    repository.write({"b/c.yml": f"# $Id: {'a' * 40} $\n", "a.yaml": "a: 1\n".encode("utf-16-le")})
    repository.git("add", "-A")
    assert is_clean(repository)
    assert look()[0].paths == ()
    repository.write({"a.yaml": "a: 2\n".encode("utf-16-le")})
    mirror, commit = look()
    assert content(mirror, commit)["a.yaml"] == b"a: 2\n"


def test_a_rename_in_case_alone_is_one_where_the_disk_knows_no_case(repository: Repository, look: Look) -> None:
    repository.git("config", "core.ignorecase", "true")
    repository.git("mv", "a.yaml", "A.yaml")
    (repository.path / "a.yaml").write_text("a: 1\n")  # such a disk answers by either name
    mirror, commit = look()
    assert mirror.paths == ("A.yaml", "a.yaml")
    assert content(mirror, commit) == {"A.yaml": b"a: 1\n", "b/c.yml": b"c: 1\n"}


def test_a_file_that_left_the_index_alone_is_still_there(repository: Repository, look: Look) -> None:
    repository.git("rm", "--quiet", "--cached", "a.yaml")
    assert look()[0].paths == ()


def test_a_file_that_is_in_conflict_is_as_it_is_on_disk(repository: Repository, look: Look) -> None:
    repository.git("switch", "--quiet", "-c", "other")
    repository.commit({"a.yaml": "a: 2\n"})
    repository.git("switch", "--quiet", "main")
    repository.commit({"a.yaml": "a: 3\n"})
    with pytest.raises(subprocess.CalledProcessError):
        repository.git("merge", "other")
    mirror, commit = look()
    assert mirror.paths == ("a.yaml",)
    assert b"<<<<<<<" in content(mirror, commit)["a.yaml"]


def test_a_clone_without_blobs_is_read_as_far_as_it_goes(repository: Repository, tmp_path: Path) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.commit({"a.yaml": "a: 2\n"})
    words = ("clone", "--quiet", "--filter=blob:none", f"file://{repository.path}", str(tmp_path / "partial"))
    repository.git(*words)
    clone = Repository(tmp_path / "partial")
    clone.write({"a.yaml": "a: 3\n"})
    mirror = Uncommitted(tmp_path / "mirror", Remote.parse(str(clone.path)))
    commit = mirror.fetch()
    assert mirror.paths == ("a.yaml",)
    assert content(mirror, commit)["a.yaml"] == b"a: 3\n"
    old = next(c.old_oid for c in mirror.changes(f"{mirror.head}", commit) if c.old_oid)
    assert mirror.blobs([old])  # of the commit that is checked out
    gone = repository.git("rev-parse", "HEAD~:a.yaml")
    with pytest.raises(GitUnavailable):
        mirror.blobs([gone])


# ── nothing that a repository's configuration names is run ────────────────────────────────────────────────────────────


def test_a_filter_alone_decides_and_is_not_run(repository: Repository, look: Look, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for key in ("clean", "smudge", "process"):
        repository.git("config", f"filter.evil.{key}", f"touch {mark}; cat")
    repository.write({".gitattributes": "a.yaml filter=evil\nb/* filter=unknown\n"})
    repository.git("-c", "filter.evil.clean=", "-c", "filter.evil.process=", "add", "-A")
    repository.git("-c", "filter.evil.clean=", "-c", "filter.evil.process=", "commit", "--quiet", "-m", "x")
    mark.unlink(missing_ok=True)
    repository.write({"a.yaml": "a: 3\n", "b/c.yml": "c: 3\n"})
    mirror, commit = look()
    assert (mirror.paths, mirror.unsure) == (("b/c.yml",), ("a.yaml",))  # one that is not defined does nothing
    assert content(mirror, commit)["a.yaml"] == b"a: 1\n"
    assert not mark.exists()


def hostile(repository: Repository, mark: Path) -> None:
    """Have every program that a repository can name leave a mark."""
    script = repository.path / ".git" / "evil"
    script.write_text(f"#!/bin/sh\necho $0 $@ >> {mark}\ncat\n")
    script.chmod(0o755)
    hooks = repository.path / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "post-checkout", "pre-commit", "reference-transaction", "fsmonitor-watchman"):
        shutil.copy(script, hooks / hook)
    settings = {
        "core.fsmonitor": str(script),
        "core.hooksPath": str(hooks),
        "core.pager": str(script),
        "core.editor": str(script),
        "core.askPass": str(script),
        "core.sshCommand": str(script),
        "core.gitProxy": str(script),
        "core.alternateRefsCommand": str(script),
        "credential.helper": f"!{script}",
        "diff.external": str(script),
        "diff.evil.textconv": str(script),
        "diff.evil.command": str(script),
        "merge.evil.driver": str(script),
        "filter.evil.clean": str(script),
        "filter.evil.smudge": str(script),
        "filter.evil.process": str(script),
        "filter.evil.required": "true",
        "gpg.program": str(script),
        "log.showSignature": "true",
        "uploadpack.packObjectsHook": str(script),
        "remote.origin.url": f"ext::{script}",
        "remote.origin.uploadpack": str(script),
        "remote.origin.promisor": "true",
        "remote.origin.partialclonefilter": "blob:none",
        "remote.origin.vcs": "evil",
        "extensions.partialClone": "origin",
        "alias.ls-files": f"!{script}",
        "pager.log": str(script),
        "sequence.editor": str(script),
        "trace2.eventTarget": str(mark),
    }
    repository.git("config", "core.repositoryFormatVersion", "1")
    for name, value in settings.items():
        repository.git("config", name, value)
    (repository.path / ".gitattributes").write_text("* filter=evil diff=evil merge=evil text=auto\n")


def test_nothing_that_a_repository_names_is_run(repository: Repository, look: Look, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    missing = repository.git("rev-parse", "HEAD:b/c.yml")
    hostile(repository, mark)
    (repository.path / ".git" / "objects" / missing[:2] / missing[2:]).unlink()  # it would be fetched
    repository.write({"a.yaml": "a: 3\n", "new.yaml": "n: 1\n"})
    mirror, commit = look()
    assert mirror.unsure == ("a.yaml", "new.yaml")
    mirror.commits(None, commit)
    mirror.distance(mirror.head)
    with pytest.raises(GitUnavailable):
        mirror.blobs([missing])
    assert not mark.exists()


def test_a_bare_repository_has_nothing_uncommitted(repository: Repository, tmp_path: Path) -> None:
    bare = Repository(tmp_path / "bare.git", bare=True)
    repository.push(bare.path)
    mirror = Uncommitted(tmp_path / "other", Remote.parse(str(bare.path)))
    assert (mirror.fetch(), mirror.paths) == (repository.head(), ())
