"""A followed repository, read through its mirror: what holds for a local path and for HTTPS alike, and writing back."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import git.cmd
import pytest

from reconciler.errors import GitRefused, GitUnavailable, SourceMissing
from reconciler.sources.commit import Message
from reconciler.sources.git_safety import Credentials, Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.publish import publish
from reconciler.sources.tree import FILE_LIMIT
from reconciler.sources.watch import watch_head
from tests.git_repository import Repository
from tests.git_server import GitServer, make_certificate, missing


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if lacking := missing():
        pytest.skip(f"an HTTPS Git server on loopback needs {lacking}")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each git command was started."""
    counted: Counter[str] = Counter()
    execute = git.cmd.Git.execute

    def counting(self: git.cmd.Git, command: list[str], **options: Any) -> Any:
        counted[command[command.index("--no-pager") + 1]] += 1
        return execute(self, command, **options)

    monkeypatch.setattr(git.cmd.Git, "execute", counting)
    return counted


class SourceContract:
    """What every remote promises. A subclass gives the remote that leads to `repository`."""

    @pytest.fixture
    def remote(self, repository: Repository) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def mirror(self, tmp_path: Path, remote: Remote) -> Mirror:
        return Mirror(tmp_path / "mirror", remote)

    def test_the_head_and_its_files(self, repository: Repository, mirror: Mirror) -> None:
        head = repository.commit({"models/a.yaml": "a: 1\n", "edges/b.yml": "b: 1\n", "README.md": "no\n"})
        assert mirror.fetch() == head
        files = mirror.read(mirror.changes(None, head))
        assert [(file.path, file.content, file.problem) for file in files] == [
            ("edges/b.yml", b"b: 1\n", None),
            ("models/a.yaml", b"a: 1\n", None),
        ]
        assert [file.path for file in mirror.changes(None, head, "models")] == ["models/a.yaml"]
        assert mirror.changes(None, head, "nowhere") == []

    def test_nothing_is_fetched_while_the_head_stands_still(
        self, repository: Repository, mirror: Mirror, commands: Counter[str]
    ) -> None:
        head = repository.commit({"a.yaml": "a: 1\n"})
        mirror.fetch()
        commands.clear()
        assert [mirror.fetch(), mirror.fetch()] == [head, head]
        assert sum(commands.values()) == 2

    def test_fault_053_a_restart_fetches_nothing_that_is_here(
        self, repository: Repository, mirror: Mirror, remote: Remote, tmp_path: Path, commands: Counter[str]
    ) -> None:
        head = repository.commit({"a.yaml": "a: 1\n"})
        mirror.fetch()
        commands.clear()
        assert Mirror(tmp_path / "mirror", remote).fetch() == head
        assert commands["fetch"] == 0

    def test_fault_055_every_commit_between_two_polls_in_order(self, repository: Repository, mirror: Mirror) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        mirror.fetch()
        ids = [repository.commit({"a.yaml": f"a: {n}\n"}, f"Set {n}") for n in (2, 3, 4)]
        head = mirror.fetch()
        commits = mirror.commits(first, head)
        assert [commit.commit for commit in commits] == ids
        assert [commit.subject for commit in commits] == ["Set 2", "Set 3", "Set 4"]
        assert commits[0].parents == (first,)
        assert commits[0].author == "Ada <ada@example.com>"
        assert commits[0].committed == "2026-01-01T00:02:00Z"
        assert commits[0].tree == repository.git("rev-parse", f"{ids[0]}^{{tree}}")
        assert mirror.commits(None, head) == [mirror.facts(head)]
        assert mirror.commits(head, head) == []

    def test_fault_049_a_force_push_is_known(self, repository: Repository, mirror: Mirror) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        left = repository.commit({"a.yaml": "a: 2\n"})
        assert mirror.fetch() == left
        assert not mirror.rewritten(first, left)
        repository.reset(first)
        assert mirror.fetch() == first  # a head older than before
        assert mirror.rewritten(left, first)
        other = repository.commit({"a.yaml": "a: 3\n"})
        assert mirror.fetch() == other
        assert mirror.rewritten(left, other)
        assert [commit.commit for commit in mirror.commits(left, other)] == [other]
        assert [change.path for change in mirror.changes(left, other)] == ["a.yaml"]
        assert mirror.rewritten("0" * 40, other)  # a commit that never was here

    def test_fault_050_no_commits_yet_then_a_branch_lost(self, repository: Repository, mirror: Mirror) -> None:
        with pytest.raises(GitUnavailable, match="is empty") as empty:
            mirror.fetch()
        assert not isinstance(empty.value, SourceMissing)
        head = repository.commit({"a.yaml": "a: 1\n"})
        assert mirror.fetch() == head
        repository.git("branch", "-m", "main", "mian")
        with pytest.raises(SourceMissing, match="no branch main") as missing:
            mirror.fetch()
        assert missing.value.advice == "did you mean mian? its branches: mian"
        assert mirror.read(mirror.changes(None, head))[0].content == b"a: 1\n"

    def test_the_history_of_what_was_followed_before_stays(self, repository: Repository, remote: Remote) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        repository.git("switch", "--quiet", "-c", "prod")
        prod = repository.commit({"a.yaml": "a: 2\n"})
        repository.git("switch", "--quiet", "main")
        main = repository.commit({"a.yaml": "a: 3\n"})
        directory = repository.path.parent / "mirror"
        assert Mirror(directory, remote).fetch() == main
        other = Mirror(directory, remote, "prod")
        assert other.fetch() == prod
        assert (other.rewritten(main, prod), other.related(main, prod), other.related("0" * 40, prod)) == (
            True,
            True,
            False,
        )
        gone = "1" * 40
        assert other.beyond([first, prod, main, gone, "by-hand"], prod) == {main, gone}
        assert other.beyond([first], prod) == other.beyond([], prod) == frozenset()

    def test_fault_056_merges_have_their_parents(self, repository: Repository, mirror: Mirror) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        sides = []
        for name in ("x", "y"):
            repository.git("switch", "--quiet", "-c", name, first)
            sides.append(repository.commit({f"{name}.yaml": "x: 1\n"}))
        repository.git("switch", "--quiet", "main")
        repository.git("merge", "--quiet", "--no-ff", "-m", "Octopus", "x", "y")
        head = mirror.fetch()
        commits = mirror.commits(first, head)
        assert {commit.commit for commit in commits} == {*sides, head}
        assert commits[-1].parents == (first, *sides)
        assert [change.path for change in mirror.changes(first, head)] == ["x.yaml", "y.yaml"]

    def test_fault_070_sha256_and_shallow_repositories(
        self, repository: Repository, mirror: Mirror, tmp_path: Path
    ) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        mirror.fetch()
        (tmp_path / "repo").rename(tmp_path / "old")
        newer = Repository(tmp_path / "repo", object_format="sha256")  # the repository was made anew in its place
        head = newer.commit({"a.yaml": "a: 2\n"})
        assert len(head) == 64
        assert mirror.fetch() == head
        assert mirror.read(mirror.changes(None, head))[0].content == b"a: 2\n"
        assert mirror.rewritten(first, head)
        (tmp_path / "repo").rename(tmp_path / "newer")
        later = Repository(tmp_path / "deep")
        later.commit({"a.yaml": "a: 3\n"})
        top = later.commit({"a.yaml": "a: 4\n"})
        later.git("clone", "--quiet", "--depth=1", f"file://{later.path}", str(tmp_path / "repo"))
        assert mirror.fetch() == top
        assert mirror.read(mirror.changes(None, top))[0].content == b"a: 4\n"

    def test_pushing_back_a_commit(self, repository: Repository, mirror: Mirror) -> None:
        head = repository.commit({"edges/e.yaml": "a: 1 # why\n", "gone.yaml": "x\n"})
        edit = {"edges/e.yaml": b"a: 2 # why\n", "gone.yaml": None, 'new/"q\\ü".yaml': b"n\n"}
        commit = publish(mirror, lambda _: edit, Message("Pin\n\nbody", {"Reconciler-Operation": "1\n2"}))
        assert mirror.fetch() == commit == repository.head()
        facts = mirror.facts(commit)
        assert facts.parents == (head,)
        assert facts.author.startswith("Ada <ada@")
        assert repository.git("log", "-1", "--format=%B", commit) == "Pin\n\nbody\n\nReconciler-Operation: 1\\u000a2"
        assert {(change.path, change.new_oid is None) for change in mirror.changes(head, commit)} == {
            ("edges/e.yaml", False), ("gone.yaml", True), ('new/"q\\ü".yaml', False)
        }  # fmt: skip
        assert publish(mirror, lambda _: edit | {"gone.yaml": None}, Message("Again")) == commit


class TestLocalPath(SourceContract):
    @pytest.fixture
    def remote(self, repository: Repository) -> Any:
        return Remote.parse(str(repository.path))


@pytest.mark.slow
class TestHttps(SourceContract):
    @pytest.fixture
    def remote(
        self, repository: Repository, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Remote]:
        monkeypatch.setenv("FLEET_TOKEN", "canary-5ecre7")
        home = tmp_path / "home"
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        repository.git("config", "http.receivepack", "true")
        repository.git("config", "receive.denyCurrentBranch", "ignore")
        server = GitServer(tmp_path, certificate, "canary-5ecre7")
        yield Remote.parse(server.url("repo/.git"), Credentials(token_env="FLEET_TOKEN", ca_file=certificate))
        server.close()


class TestChanges:
    @pytest.fixture
    def mirror(self, tmp_path: Path, repository: Repository) -> Mirror:
        return Mirror(tmp_path / "mirror", Remote.parse(str(repository.path)))

    def test_the_cost_follows_the_change(self, repository: Repository, mirror: Mirror, commands: Counter[str]) -> None:
        old = repository.commit({f"m/{n}.yaml": f"n: {n}\n" for n in range(300)})
        new = repository.commit({"m/7.yaml": "n: x\n", "m/9.yaml": "n: y\n"})
        mirror.fetch()
        commands.clear()
        changes = mirror.changes(old, new)
        assert [change.path for change in changes] == ["m/7.yaml", "m/9.yaml"]
        assert [file.content for file in mirror.read(changes)] == [b"n: x\n", b"n: y\n"]
        assert commands == {"diff-tree": 1, "ls-tree": 1, "cat-file": 2}  # the second one looks for an ignore file
        mirror.changes(new, new)
        mirror.changes(old, new)
        assert commands["ls-tree"] == 1

    def test_a_removed_file_and_a_renamed_one(self, repository: Repository, mirror: Mirror) -> None:
        old = repository.commit({"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
        new = repository.commit({"a.yaml": None, "b.yaml": None, "c.yaml": "b: 1\n"})
        mirror.fetch()
        changes = mirror.changes(old, new)
        assert [(change.path, change.old_oid is None, change.new_oid is None) for change in changes] == [
            ("a.yaml", False, True),
            ("b.yaml", False, True),
            ("c.yaml", True, False),
        ]
        assert changes[1].old_oid == changes[2].new_oid
        assert [file.content for file in mirror.read(changes)] == [None, None, b"b: 1\n"]

    def test_only_full_ids_reach_git(self, repository: Repository, mirror: Mirror, commands: Counter[str]) -> None:
        repository.commit({"a.yaml": "a: 1\n"})
        mirror.fetch()
        commands.clear()
        for bad in ("--all", "main", "HEAD", "abc", "A" * 40, ""):
            with pytest.raises(GitRefused):
                mirror.changes(None, bad)
            with pytest.raises(GitRefused):
                mirror.blobs([bad])
        assert commands == {}

    def test_fault_059_a_large_file_is_not_read(
        self, repository: Repository, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = repository.commit(
            {"a.yaml": "a: 1\n", "big.yaml": b"x" * (FILE_LIMIT + 1), "edge.yaml": b"y" * FILE_LIMIT}
        )
        mirror.fetch()
        small, big, edge = mirror.read(mirror.changes(None, head))
        assert small.content == b"a: 1\n"
        assert (big.content, big.problem and big.problem.code) == (None, "RX205")
        assert edge.content is not None
        assert len(edge.content) == FILE_LIMIT
        assert big.oid is not None
        assert mirror.blobs([big.oid]) == {}

    @pytest.mark.slow
    def test_fault_059_many_files_come_through_two_processes(
        self, repository: Repository, mirror: Mirror, commands: Counter[str]
    ) -> None:
        head = repository.commit({f"m/{n}.yaml": f"n: {n}\n" for n in range(3000)})
        mirror.fetch()
        commands.clear()
        files = mirror.read(mirror.changes(None, head))
        assert len(files) == 3000
        assert {file.content for file in files} == {f"n: {n}\n".encode() for n in range(3000)}
        assert commands == {"ls-tree": 1, "cat-file": 2}

    def test_fault_060_links_submodules_and_pointers_are_never_followed(
        self, repository: Repository, mirror: Mirror
    ) -> None:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        good, link = repository.blob(b"a: 1\n"), repository.blob(b"/etc/passwd")
        old = repository.commit_tree(
            {
                b"good.yaml": ("100644", good),
                b"link.yaml": ("120000", link),
                b"lfs.yaml": ("100644", repository.blob(pointer)),
                b"models": ("160000", "1" * 40),
                b"notes": ("120000", link),
            }
        )
        assert mirror.fetch() == old
        files = {file.path: file for file in mirror.read(mirror.changes(None, old))}
        assert files["good.yaml"].content == b"a: 1\n"
        told = {path: file.problem for path, file in files.items() if file.problem}
        assert {path: problem.code for path, problem in told.items()} == dict.fromkeys(
            ("link.yaml", "lfs.yaml", "models", "notes"), "RX218"
        )
        assert {path for path, problem in told.items() if problem.severity == "warning"} == {"models", "notes"}
        assert all(files[path].content is None for path in told)
        assert [c.problem and c.problem.severity for c in mirror.changes(None, old, "models")] == ["error"]
        new = repository.commit_tree({b"good.yaml": ("100644", good), b"notes": ("100644", good)})
        mirror.fetch()
        assert {(c.path, c.new_oid, c.problem) for c in mirror.changes(old, new)} == {
            (path, None, None) for path in ("link.yaml", "lfs.yaml", "models", "notes")
        }

    def test_fault_061_harmful_paths_are_named_and_the_rest_goes_on(
        self, repository: Repository, mirror: Mirror
    ) -> None:
        good = repository.blob(b"a: 1\n")
        flat = {b"good.yaml": ("100644", good), b"a\x1b[31m.yaml": ("100644", good), b"\xff.yaml": ("100644", good)}
        subtree = repository.git("mktree", "-z", stdin=f"100644 blob {good}\tx.yaml\0".encode())
        repository.commit_tree({**flat, b"sub": ("40000", subtree)})
        # mktree refuses these two names, so the tree is written as bytes.
        raw = b"".join(b"40000 %s\0%s" % (name, bytes.fromhex(subtree)) for name in (b"..", b".git"))
        evil = repository.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=raw)
        head = repository.commit_tree({**flat, b"sub": ("40000", evil)})
        assert mirror.fetch() == head
        files = {file.path: file for file in mirror.read(mirror.changes(None, head))}
        assert {path for path, file in files.items() if file.problem and file.problem.code == "RX219"} == {
            "a\x1b[31m.yaml",
            "\\xff.yaml",
            "sub/../x.yaml",
            "sub/.git/x.yaml",
        }
        assert files["good.yaml"].content == b"a: 1\n"

    def test_fault_061_paths_that_differ_only_in_case_are_both_refused_until_one_goes(
        self, repository: Repository, mirror: Mirror
    ) -> None:
        one = repository.commit({"m/a.yaml": "a: 1\n"})
        two = repository.commit({"m/A.yaml": "a: 2\n"})
        three = repository.commit({"m/A.yaml": None})
        mirror.fetch()
        both = mirror.changes(one, two)
        assert [(change.path, change.problem and change.problem.code) for change in both] == [
            ("m/A.yaml", "RX219"),
            ("m/a.yaml", "RX219"),
        ]
        assert [change.path for change in mirror.changes(None, two) if change.problem] == ["m/A.yaml", "m/a.yaml"]
        gone, back = mirror.read(mirror.changes(two, three))
        assert (gone.path, gone.oid) == ("m/A.yaml", None)
        assert (back.path, back.content, back.problem) == ("m/a.yaml", b"a: 1\n", None)

    def test_fault_152_texts_of_a_commit_are_printable(self, repository: Repository, mirror: Mirror) -> None:
        repository.write({"a.yaml": "a: 1\n"})
        repository.git("add", "-A")
        evil = {"GIT_AUTHOR_NAME": "Eve\x1b[31m", "GIT_AUTHOR_DATE": "1767225600 +0530"}
        repository.git("commit", "-q", "-m", "line\x1b]0;x\x07 <b>\u202e", env=evil)
        facts = mirror.facts(mirror.fetch())
        assert facts.author == "Eve\\u001b[31m <ada@example.com>"
        assert facts.subject == "line\\u001b]0;x\\u0007 <b>\\u202e"


class TestReverts:
    @pytest.fixture
    def mirror(self, tmp_path: Path, repository: Repository) -> Mirror:
        return Mirror(tmp_path / "mirror", Remote.parse(str(repository.path)))

    @pytest.fixture
    def judged(self, mirror: Mirror) -> Callable[[str], str | None]:
        def judge(commit: str) -> str | None:
            mirror.fetch()
            return mirror.reverts(mirror.changes(mirror.facts(commit).parents[0], commit), commit)

        return judge

    def test_a_delete_that_undoes_no_commit_as_a_whole_is_no_revert(
        self, repository: Repository, judged: Callable[[str], str | None]
    ) -> None:
        repository.commit({"a.yaml": "a: 1\n"})
        before = repository.commit({"b.yaml": "b: 1\n"})
        three = repository.commit({"1.yaml": "1\n", "2.yaml": "2\n", "3.yaml": "3\n", "README.md": "three more\n"})
        repository.commit({"b.yaml": "b: 2\n"})
        one = repository.commit({"3.yaml": None})
        assert judged(one) is None
        assert judged(repository.commit({"2.yaml": None, "b.yaml": "b: 1\n"})) is None
        repository.reset(one)
        repository.revert(one)
        assert judged(repository.head()) is not None
        repository.git("revert", "--no-edit", three)
        assert judged(repository.head()) == before
        assert judged(repository.commit({"a.yaml": None})) is None  # of the first commit, before which nothing stood

    def test_what_brings_back_a_part_of_what_a_commit_changed_is_no_revert(
        self, repository: Repository, judged: Callable[[str], str | None]
    ) -> None:
        repository.commit({"a.yaml": "a: 1\n", "edges.yaml": "1\n"})
        repository.commit({"a.yaml": "a: 2\n", "edges.yaml": "1\n---\n2\n"})
        assert judged(repository.commit({"edges.yaml": "1\n"})) is None  # an edge less

    def test_a_revert_of_what_was_undone_and_done_again_with_others_is_one(
        self, repository: Repository, judged: Callable[[str], str | None]
    ) -> None:
        first = repository.commit({"a.yaml": "a: 0\n", "b.yaml": "b: 0\n"})
        later = repository.commit({"a.yaml": "a: 1\n"})
        repository.commit({"a.yaml": "a: 2\n", "b.yaml": "b: 2\n"})
        repository.revert()
        repository.git("revert", "--no-edit", later)
        assert judged(repository.head()) == first

    def test_only_manifests_of_the_folder_count_in_what_is_undone(self, repository: Repository, mirror: Mirror) -> None:
        first = repository.commit({"fleet/a.yaml": "a: 1\n"})
        repository.commit({"fleet/new.yaml": "n\n", "fleet/notes.txt": "n\n", "other/b.yaml": "b: 1\n"})
        gone = repository.commit({"fleet/new.yaml": None})
        mirror.fetch()
        assert mirror.reverts(mirror.changes(mirror.facts(gone).parents[0], gone, "fleet"), gone, "fleet") == first

    def test_a_revert_is_known_by_blobs_not_by_its_message(
        self, repository: Repository, judged: Callable[[str], str | None]
    ) -> None:
        first = repository.commit({"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
        second = repository.commit({"a.yaml": "a: 2\n"})
        third = repository.commit({"b.yaml": "b: 2\n"})
        by_hand = repository.commit({"a.yaml": "a: 1\n"}, "Nothing to see")
        assert judged(by_hand) == first
        claims = repository.commit({"a.yaml": "a: 3\n"}, 'Revert "Change"')
        assert judged(claims) is None
        assert judged(second) is None
        assert judged(third) is None

    def test_fault_056_a_revert_of_a_revert_and_of_an_addition(
        self, repository: Repository, judged: Callable[[str], str | None]
    ) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        second = repository.commit({"a.yaml": "a: 2\n", "new.yaml": "n\n"})
        reverted = repository.revert()
        assert judged(reverted) == first
        assert judged(repository.revert()) == second

    def test_a_mixture_of_states_that_never_stood_together_is_no_revert(
        self, repository: Repository, judged: Callable[[str], str | None]
    ) -> None:
        repository.commit({"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
        repository.commit({"a.yaml": "a: 2\n", "b.yaml": "b: 2\n"})
        repository.commit({"a.yaml": "a: 3\n", "b.yaml": "b: 3\n"})
        assert judged(repository.commit({"a.yaml": "a: 1\n", "b.yaml": "b: 2\n"})) is None

    def test_a_merge_is_judged_along_first_parents(
        self, repository: Repository, judged: Callable[[str], str | None]
    ) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        repository.git("switch", "--quiet", "-c", "side")
        repository.commit({"a.yaml": "a: 2\n"})
        repository.git("switch", "--quiet", "main")
        repository.git("merge", "--quiet", "--no-ff", "-m", "Merge", "side")
        assert judged(repository.commit({"a.yaml": "a: 1\n"})) == first

    def test_it_looks_back_a_bounded_way(
        self, repository: Repository, judged: Callable[[str], str | None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("reconciler.sources.mirror.REVERT_DEPTH", 3)
        repository.commit({"a.yaml": "a: 0\n"})
        for n in (1, 2, 3, 4):
            repository.commit({"a.yaml": f"a: {n}\n"})
        assert judged(repository.commit({"a.yaml": "a: 0\n"})) is None
        repository.git("reset", "--hard", "--quiet", "HEAD~1")
        assert judged(repository.commit({"a.yaml": "a: 1\n"})) is not None


class TestWatch:
    @pytest.fixture(params=["work tree", "bare", "linked work tree"])
    def followed(self, request: pytest.FixtureRequest, repository: Repository, tmp_path: Path) -> Path:
        repository.commit({"a.yaml": "a: 1\n"})
        place = tmp_path / "followed"
        if request.param == "bare":
            repository.git("clone", "--quiet", "--bare", str(repository.path), str(place))
        elif request.param == "linked work tree":
            repository.git("worktree", "add", "--quiet", str(place), "-b", "other")
        else:
            return repository.path
        return place

    def test_a_commit_wakes_and_closing_leaves_nothing(self, followed: Path, repository: Repository) -> None:
        threads, files = threading.active_count(), _open_files()
        woken = threading.Event()
        watcher = watch_head(Remote.parse(str(followed)), woken.set)
        assert watcher is not None
        repository.commit({"a.yaml": "a: 2\n"})
        if followed.name == "followed" and not (followed / ".git").exists():
            repository.push(followed)
        assert woken.wait(10)
        watcher.close()
        watcher.close()
        assert (threading.active_count(), _open_files()) == (threads, files)

    def test_a_packed_and_nested_branch_wakes(self, repository: Repository) -> None:
        first = repository.commit({"a.yaml": "a: 1\n"})
        woken = threading.Event()
        watcher = watch_head(Remote.parse(str(repository.path)), woken.set, branch="release/1")
        assert watcher is not None
        repository.git("branch", "release/1", first)
        assert woken.wait(10)
        woken.clear()
        repository.git("pack-refs", "--all")
        assert woken.wait(10)
        watcher.close()

    def test_fault_069_half_written_files_are_neither_noticed_nor_read(
        self, repository: Repository, tmp_path: Path
    ) -> None:
        head = repository.commit({"a.yaml": "a: 1\n"})
        calls: list[int] = []
        woken = threading.Event()

        def wake() -> None:
            calls.append(1)
            woken.set()

        watcher = watch_head(Remote.parse(str(repository.path)), wake)
        assert watcher is not None
        mirror = Mirror(tmp_path / "mirror", Remote.parse(str(repository.path)))
        repository.write({"a.yaml": "a: [half"})
        repository.git("add", "-A")
        assert mirror.fetch() == head
        assert mirror.read(mirror.changes(None, head))[0].content == b"a: 1\n"
        assert calls == []
        repository.commit()
        assert woken.wait(10)
        watcher.close()

    def test_network_remotes_are_polled_only_and_a_missing_path_is_said(self, tmp_path: Path) -> None:
        assert watch_head(Remote.parse("https://git.example.com/fleet"), lambda: None) is None
        with pytest.raises(GitUnavailable):
            watch_head(Remote.parse(str(tmp_path / "nowhere")), lambda: None)

    def test_without_notifications_there_is_only_polling(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository.commit({"a.yaml": "a: 1\n"})
        threads, files = threading.active_count(), _open_files()

        def no_room(_: object) -> None:
            raise OSError(28, "inotify watch limit reached")

        monkeypatch.setattr("watchdog.observers.inotify.InotifyEmitter.start", no_room)
        assert watch_head(Remote.parse(str(repository.path)), lambda: None) is None
        assert (threading.active_count(), _open_files()) == (threads, files)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
