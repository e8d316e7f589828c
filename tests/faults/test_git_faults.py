"""What Git remotes and repositories do wrong or on purpose, and that nothing of ours or the user's suffers."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import git.cmd
import pytest

from reconciler.errors import GitRefused, GitUnavailable, SourceMissing
from reconciler.sources.commit import Message
from reconciler.sources.git import Git, deadline_passed
from reconciler.sources.git_safety import Credentials, Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.publish import publish
from reconciler.sources.watch import watch_head
from tests.git_repository import Repository
from tests.git_server import GitServer, make_certificate, missing

TOKEN = "canary-5ecre7"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if lacking := missing():
        pytest.skip(f"an HTTPS Git server on loopback needs {lacking}")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "root" / "repo")
    made.commit({"a.yaml": "a: 1\n"})
    return made


@pytest.fixture
def mirror(tmp_path: Path, repository: Repository) -> Mirror:
    return Mirror(tmp_path / "mirror", Remote.parse(str(repository.path)))


@pytest.fixture
def server(tmp_path: Path, repository: Repository, certificate: Path) -> Iterator[GitServer]:
    started = GitServer(tmp_path / "root", certificate, TOKEN)
    yield started
    started.close()


def over_https(tmp_path: Path, server: GitServer, certificate: Path, deadline_s: float = 60.0, **where: Any) -> Mirror:
    remote = Remote.parse(server.url("repo/.git"), Credentials(ca_file=certificate, **where))
    return Mirror(tmp_path / "mirror", remote, fetch_deadline_s=deadline_s)


def contents(mirror: Mirror, commit: str) -> dict[str, bytes | None]:
    return {file.path: file.content for file in mirror.read(mirror.changes(None, commit))}


def copies(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "mirror").glob("mirror-*"))


def whole_chain(problem: BaseException) -> str:
    """Everything that a traceback could print."""
    said, at = "", problem
    seen: BaseException | None = at
    while seen is not None:
        said += repr(seen) + str(seen) + repr(vars(seen))
        seen = seen.__cause__ or seen.__context__
    return said


def running_in_group(group: int) -> list[str]:
    """Processes of this process group that are not merely waiting to be reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(stat.parent.name)
    return found


def left_in_group(group: int, patience_s: float = 10.0) -> list[str]:
    """Who still runs in the group once what was killed has had time to die: a signal is sent before it is obeyed."""
    deadline = time.monotonic() + patience_s
    while (found := running_in_group(group)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


class TestRemote:
    def test_fault_050_a_deleted_repository_keeps_the_last_good(
        self, tmp_path: Path, repository: Repository, mirror: Mirror
    ) -> None:
        head = mirror.fetch()
        repository.path.rename(tmp_path / "elsewhere")
        with pytest.raises(GitUnavailable):
            mirror.fetch()
        assert contents(mirror, head) == {"a.yaml": b"a: 1\n"}
        (tmp_path / "elsewhere").rename(repository.path)
        assert mirror.fetch() == head

    @pytest.mark.slow
    def test_fault_050_a_repository_that_the_server_does_not_have_is_told_from_one_out_of_reach(
        self, tmp_path: Path, server: GitServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLEET_TOKEN", TOKEN)
        monkeypatch.setenv("LANGUAGE", "de")  # whatever language Git speaks here
        remote = Remote.parse(server.url("nowhere"), Credentials(ca_file=certificate, token_env="FLEET_TOKEN"))
        with pytest.raises(SourceMissing, match="there is no repository"):
            Mirror(tmp_path / "mirror", remote).fetch()
        with pytest.raises(GitUnavailable) as refused:
            over_https(tmp_path, server, certificate).fetch()  # without the token
        assert not isinstance(refused.value, SourceMissing)

    def test_fault_052_a_stale_lock_is_left_behind_by_a_fresh_copy(
        self, tmp_path: Path, repository: Repository, mirror: Mirror
    ) -> None:
        mirror.fetch()
        before = copies(tmp_path)
        (tmp_path / "mirror/current/refs/heads/main.lock").touch()
        head = repository.commit({"a.yaml": "a: 2\n"})
        assert mirror.fetch() == head
        assert contents(mirror, head) == {"a.yaml": b"a: 2\n"}
        assert len(copies(tmp_path)) == 1
        assert copies(tmp_path) != before

    @pytest.mark.parametrize("harm", ["garbage", "removed"])
    def test_fault_052_damaged_objects_are_found_and_fetched_again(
        self, tmp_path: Path, repository: Repository, mirror: Mirror, harm: str
    ) -> None:
        repository.commit({f"{n}.yaml": f"n: {n}\n" for n in range(200)})  # enough to arrive as a pack
        head = mirror.fetch()
        packs = list((tmp_path / "mirror/current/objects/pack").glob("*.pack"))
        assert packs
        for pack in packs:
            pack.chmod(0o600)
            pack.write_bytes(b"PACK" + bytes(500)) if harm == "garbage" else pack.unlink()
        with pytest.raises(GitUnavailable):
            contents(mirror, head)
        assert mirror.fetch() == head
        assert len(contents(mirror, head)) == 201

    def test_fault_052_what_a_killed_fetch_left_is_swept_away(
        self, tmp_path: Path, repository: Repository, mirror: Mirror
    ) -> None:
        half = tmp_path / "mirror" / "mirror-half"
        half.mkdir(parents=True)
        (half / "HEAD").write_text("ref: ")
        (tmp_path / "mirror" / "mirror-x.link").symlink_to("mirror-half")
        assert mirror.fetch() == repository.head()
        assert [path.name for path in copies(tmp_path)] == [(tmp_path / "mirror/current").readlink().name]

    def test_fault_054_a_server_that_hangs_mid_pack_meets_a_deadline(
        self,
        tmp_path: Path,
        repository: Repository,
        server: GitServer,
        certificate: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("FLEET_TOKEN", TOKEN)
        mirror = over_https(tmp_path, server, certificate, token_env="FLEET_TOKEN")
        head = mirror.fetch()
        hasty = over_https(tmp_path, server, certificate, deadline_s=1.5, token_env="FLEET_TOKEN")
        later = repository.commit({"a.yaml": "a: 2\n"})

        def hang(request: Any) -> None:
            request.send_response(200)
            request.send_header("Content-Type", "application/x-git-upload-pack-result")
            request.end_headers()
            request.wfile.write(b"000dpackfile\n")
            request.wfile.flush()
            server.released.wait(30)

        started: list[Any] = []
        execute = git.cmd.Git.execute

        def remembering(self: git.cmd.Git, command: list[str], **options: Any) -> Any:
            started.append(execute(self, command, **options))
            return started[-1]

        monkeypatch.setattr(git.cmd.Git, "execute", remembering)
        server.fault = hang
        with pytest.raises(GitUnavailable) as caught:
            hasty.fetch()
        assert deadline_passed(caught.value)
        assert caught.value.retryable
        assert TOKEN not in whole_chain(caught.value)
        assert left_in_group(started[-1].pid) == []  # no child of it is left either
        assert contents(mirror, head) == {"a.yaml": b"a: 1\n"}
        server.fault = None
        server.released.set()
        assert mirror.fetch() == later

    def test_fault_054_garbage_is_an_error_and_then_it_goes_on(
        self,
        tmp_path: Path,
        repository: Repository,
        server: GitServer,
        certificate: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("FLEET_TOKEN", TOKEN)
        mirror = over_https(tmp_path, server, certificate, token_env="FLEET_TOKEN")

        def garbage(request: Any) -> None:
            request.send_response(200)
            request.send_header("Content-Type", "application/x-git-upload-pack-result")
            request.send_header("Content-Length", "400")
            request.end_headers()
            request.wfile.write(b"\x1b[31mnot a pack" * 10)  # and fewer bytes than were announced

        server.fault = garbage
        with pytest.raises(GitUnavailable) as caught:
            mirror.fetch()
        assert "\x1b" not in caught.value.message
        assert copies(tmp_path) == []
        server.fault = None
        assert mirror.fetch() == repository.head()

    def test_fault_054_a_server_that_wants_credentials_is_not_answered_by_a_prompt(
        self, tmp_path: Path, server: GitServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = tmp_path / "asked"
        helper = tmp_path / "askpass"
        helper.write_text(f"#!/bin/sh\ntouch '{asked}'\necho x\n")
        helper.chmod(0o700)
        monkeypatch.setenv("GIT_ASKPASS", str(helper))
        monkeypatch.setenv("SSH_ASKPASS", str(helper))
        with pytest.raises(GitUnavailable):
            over_https(tmp_path, server, certificate).fetch()
        assert server.requests
        assert not asked.exists()

    @pytest.mark.parametrize("place", ["env", "file"])
    def test_fault_149_a_wrong_token_is_in_no_error_and_a_right_one_in_no_file_or_argv(
        self, tmp_path: Path, server: GitServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        commands: list[list[str]] = []
        execute = git.cmd.Git.execute

        def remembering(self: git.cmd.Git, command: list[str], **options: Any) -> Any:
            commands.append(command)
            return execute(self, command, **options)

        monkeypatch.setattr(git.cmd.Git, "execute", remembering)
        file = tmp_path / "token"
        where = {"token_env": "FLEET_TOKEN"} if place == "env" else {"token_file": file}
        mirror = over_https(tmp_path, server, certificate, **where)

        def set_token(value: str) -> None:
            monkeypatch.setenv("FLEET_TOKEN", value)
            file.write_text(value)

        set_token("wrong-" + TOKEN)
        with pytest.raises(GitUnavailable) as caught:
            mirror.fetch()
        assert TOKEN not in whole_chain(caught.value)
        set_token(TOKEN)
        head = mirror.fetch()
        assert contents(mirror, head) == {"a.yaml": b"a: 1\n"}
        assert commands
        assert not any(TOKEN in word for command in commands for word in command)
        kept = [path for path in (tmp_path / "mirror").rglob("*") if path.is_file()]
        assert kept
        assert not any(TOKEN.encode() in path.read_bytes() for path in kept)
        assert TOKEN not in repr(mirror.remote) + repr(mirror.git)

    def test_fault_150_a_redirect_is_not_followed_so_no_other_host_sees_the_token(
        self, tmp_path: Path, server: GitServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLEET_TOKEN", TOKEN)
        other = GitServer(tmp_path / "root", certificate)
        monkeypatch.setattr(server, "redirect", other.url("repo/.git/info/refs?service=git-upload-pack"))
        try:
            with pytest.raises(GitUnavailable):
                over_https(tmp_path, server, certificate, token_env="FLEET_TOKEN").fetch()
            assert server.requests
            assert other.requests == []
        finally:
            other.close()

    def test_an_unknown_certificate_is_refused(self, tmp_path: Path, server: GitServer) -> None:
        with pytest.raises(GitUnavailable, match="certificate"):
            Mirror(tmp_path / "mirror", Remote.parse(server.url("repo/.git"))).fetch()
        assert server.requests == []

    def test_a_harmful_object_is_refused_and_nothing_of_it_kept(
        self, tmp_path: Path, repository: Repository, mirror: Mirror
    ) -> None:
        head = mirror.fetch()
        good = repository.head()
        entry = b"100644 a.yaml\0" + bytes.fromhex(repository.git("rev-parse", f"{good}:a.yaml"))
        tree = repository.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=entry * 2)
        repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", tree, "-p", good, "-m", "twice"))
        with pytest.raises(GitRefused, match="could harm"):
            mirror.fetch()
        assert contents(mirror, head) == {"a.yaml": b"a: 1\n"}

    @pytest.mark.parametrize(
        ("who", "fault"),
        [
            (b"T <t@example.com> 1312735823 +051800", "badTimezone"),
            (b"T <t@example.com>1700000000 +0000", "missingSpaceBeforeDate"),
            (b"T <t@example.com> 01700000000 +0000", "zeroPaddedDate"),
            (b"T 1700000000 +0000", "missingEmail"),
            (b"T<t@example.com> 1700000000 +0000", "missingSpaceBeforeEmail"),
            (b"<t@example.com> 1700000000 +0000", "missingNameBeforeEmail"),
            (b"T > <t@example.com> 1700000000 +0000", "badName"),
            (b"T <t<@example.com> 1700000000 +0000", "badEmail"),
            (b"T <t@example.com> 99999999999999999999 +0000", "badDateOverflow"),
            (b"T <t@example.com> yesterday +0000", "badDate"),
            (b"\xff\x1b[2J <t@example.com> 17 +0000\nauthor U <u@example.com> 17 +0000", "multipleAuthors"),
            (b"", "missingAuthor"),
        ],
    )
    def test_a_fault_that_cannot_harm_is_let_through_and_named_once(
        self, repository: Repository, mirror: Mirror, who: bytes, fault: str
    ) -> None:
        mode = b"0100644" if fault == "badTimezone" else b"100644"  # as long gone tools wrote trees
        entry = mode + b" a.yaml\0" + bytes.fromhex(repository.git("rev-parse", "HEAD:a.yaml"))
        tree = repository.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=entry)
        author = b"author " + who + b"\n" if who else b""
        raw = b"tree %s\n%scommitter T <t@example.com> 17 +0000\n\nold\n" % (tree.encode(), author)
        odd = repository.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw)
        repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", tree, "-p", odd, "-m", "new"))
        assert contents(mirror, mirror.fetch()) == {"a.yaml": b"a: 1\n"}
        assert any(said.startswith(f"{fault} in ") for said in mirror.malformed)
        facts = mirror.facts(odd)
        assert (facts.author.isprintable(), facts.author != "", facts.committed[-1]) == (True, True, "Z")
        repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", tree, "-p", "main", "-m", "more"))
        mirror.fetch()
        assert mirror.malformed == []

    def test_a_partial_clone_is_said_to_be_one_and_nothing_is_fetched_into_it(
        self, tmp_path: Path, repository: Repository
    ) -> None:
        repository.git("config", "uploadpack.allowFilter", "true")
        partial, ran = tmp_path / "partial.git", tmp_path / "ran"
        url = f"file://{repository.path}"
        repository.git("clone", "--quiet", "--bare", "--filter=blob:none", url, str(partial))
        script = tmp_path / "upload-pack"
        script.write_text(f'#!/bin/sh\ntouch {ran}\nexec git-upload-pack "$@"\n')
        script.chmod(0o755)
        repository.git("-C", str(partial), "config", "remote.origin.uploadpack", str(script))
        with pytest.raises(GitUnavailable, match="is a partial clone"):
            Mirror(tmp_path / "mirror", Remote.parse(str(partial))).fetch()
        assert not ran.exists()

    def test_git_that_is_not_installed_is_said(self, tmp_path: Path) -> None:
        script = (
            "from pathlib import Path\n"
            "from reconciler.errors import GitUnavailable\n"
            "from reconciler.sources.git_safety import Remote\n"
            "from reconciler.sources.mirror import Mirror\n"
            "try:\n"
            f"    Mirror(Path({str(tmp_path / 'm')!r}), Remote.parse('https://git.example.com/x')).fetch()\n"
            "except GitUnavailable as problem:\n"
            "    print(problem.message)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PATH": ""}, capture_output=True, check=True, text=True
        )
        assert "could not be started" in done.stdout

    def test_variables_of_a_hook_lead_nowhere(
        self, tmp_path: Path, repository: Repository, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Repository(tmp_path / "other")
        other.commit({"b.yaml": "b: 1\n"})
        for name, value in {
            "GIT_DIR": other.path / ".git",
            "GIT_OBJECT_DIRECTORY": tmp_path / "objects",
            "GIT_INDEX_FILE": tmp_path / "index",
            "GIT_WORK_TREE": other.path,
            "GIT_CONFIG_PARAMETERS": "'core.bare=maybe'",
            "GIT_TRACE": tmp_path / "trace",
        }.items():
            monkeypatch.setenv(name, str(value))
        assert contents(mirror, mirror.fetch()) == {"a.yaml": b"a: 1\n"}
        assert not (tmp_path / "trace").exists()
        assert not (tmp_path / "objects").exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="giving a repository to another user needs root")
    def test_another_users_repository_is_read_because_the_operator_named_it(
        self, repository: Repository, mirror: Mirror
    ) -> None:
        for place in [repository.path, *repository.path.rglob("*")]:
            os.chown(place, 12345, 12345, follow_symlinks=False)
        assert contents(mirror, mirror.fetch()) == {"a.yaml": b"a: 1\n"}


class TestHostile:
    """A repository made to run a program wherever Git would let it."""

    @pytest.fixture
    def canary(self, tmp_path: Path, repository: Repository) -> Path:
        sung, program = tmp_path / "sung", tmp_path / "program"
        program.write_text(f"#!/bin/sh\necho \"$0 $* [$(tr '\\0' ' ' < /proc/$PPID/cmdline)]\" >> '{sung}'\ncat\n")
        program.chmod(0o755)
        repository.commit({".gitattributes": "*.yaml filter=evil diff=evil merge=evil\n", "models/m.yaml": "m: 1\n"})
        hooks = repository.path / ".git" / "hooks"
        hooks.mkdir()
        for hook in ("pre-commit", "post-commit", "commit-msg", "prepare-commit-msg", "reference-transaction"):
            (hooks / hook).symlink_to(program)
        for hook in ("post-index-change", "post-checkout", "pre-push", "post-rewrite", "pre-auto-gc", "update"):
            (hooks / hook).symlink_to(program)
        for key in (
            "filter.evil.clean",
            "filter.evil.smudge",
            "filter.evil.process",
            "diff.evil.textconv",
            "core.pager",
        ):
            repository.git("config", key, str(program))
        for key in ("core.fsmonitor", "core.sshCommand", "core.editor", "core.askPass", "diff.external", "gpg.program"):
            repository.git("config", key, str(program))
        for key in ("uploadpack.packObjectsHook", "core.alternateRefsCommand", "credential.helper", "alias.fetch"):
            repository.git("config", key, f"!{program}" if key == "alias.fetch" else str(program))
        repository.git("config", "commit.gpgSign", "true")
        repository.git("config", "filter.evil.required", "true")
        return sung

    def test_fault_063_nothing_runs_when_it_is_followed(
        self, tmp_path: Path, repository: Repository, mirror: Mirror, canary: Path
    ) -> None:
        assert contents(mirror, mirror.fetch())["models/m.yaml"] == b"m: 1\n"
        watcher = watch_head(mirror.remote, lambda: None)
        assert watcher is not None
        watcher.close()
        assert not canary.exists()
        with suppress(subprocess.CalledProcessError):
            repository.git("status")  # the same repository does sing for a plain git
        assert canary.exists()

    def test_fault_063_nothing_runs_when_a_commit_is_made_in_it(
        self, repository: Repository, mirror: Mirror, canary: Path
    ) -> None:
        commit = publish(mirror, lambda _: {"models/m.yaml": b"m: 2\n", "new.yaml": b"n\n"}, Message("Pin"))
        assert (repository.path / "models/m.yaml").read_bytes() == b"m: 2\n"
        assert not canary.exists(), canary.read_text()
        assert contents(mirror, mirror.fetch())["models/m.yaml"] == b"m: 2\n"
        assert mirror.fetch() == commit

    def test_fault_063_alternates_of_ours_are_never_used(
        self, tmp_path: Path, repository: Repository, mirror: Mirror
    ) -> None:
        secret = Repository(tmp_path / "secret")
        secret.commit({"s.yaml": "s: 1\n"})
        oid = secret.git("rev-parse", "HEAD:s.yaml")
        alternates = repository.path / ".git/objects/info/alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{secret.path}/.git/objects\n")
        mirror.fetch()
        assert not (tmp_path / "mirror/current/objects/info/alternates").exists()
        with pytest.raises(GitUnavailable, match="missing"):
            mirror.blobs([oid])

    def test_fault_062_a_transport_that_a_repository_names_is_not_opened(
        self, tmp_path: Path, repository: Repository
    ) -> None:
        sung = tmp_path / "sung"
        git_ = Git(directory=repository.path, remote=Remote.parse(str(repository.path)))
        answer = git_.ask("ls-remote", "--", f"ext::touch {sung}")
        assert answer.status != 0
        assert "not allowed" in answer.words
        assert not sung.exists()


class TestWritingBack:
    EDIT: Mapping[str, bytes | None] = {"a.yaml": b"a: 2\n"}

    def test_other_unsaved_work_is_untouched(self, repository: Repository, mirror: Mirror) -> None:
        head = repository.commit({"b.yaml": "b: 1\n", "c.yaml": "c: 1\n"})
        repository.write({"b.yaml": "b: unsaved\n", "c.yaml": "c: staged\n", "d.yaml": "untracked\n"})
        repository.git("add", "c.yaml")
        commit = publish(mirror, lambda _: self.EDIT, Message("Pin", {"Reconciler-Actor": "ada"}))
        assert repository.git("diff-tree", "-r", "--name-only", "--no-commit-id", commit) == "a.yaml"
        assert repository.git("rev-parse", "HEAD", "HEAD^").split() == [commit, head]
        assert repository.git("status", "--porcelain").splitlines() == ["M b.yaml", "M  c.yaml", "?? d.yaml"]
        assert (repository.path / "b.yaml").read_text() == "b: unsaved\n"

    @pytest.mark.parametrize("state", ["edited", "staged", "deleted", "untracked", "unmerged"])
    def test_a_dirty_path_is_refused_with_the_fixing_command(
        self, repository: Repository, mirror: Mirror, state: str
    ) -> None:
        path = "new.yaml" if state == "untracked" else "a.yaml"
        repository.write({path: None if state == "deleted" else "mine\n"})
        if state == "staged":
            repository.git("add", path)
            repository.write({path: "a: 1\n"})
        if state == "unmerged":
            repository.write({path: "a: 1\n"})
            oid = repository.git("rev-parse", "HEAD:a.yaml")
            stages = "".join(f"100644 {oid} {n}\ta.yaml\n" for n in (1, 2, 3))
            repository.git("update-index", "--index-info", stdin=f"0 {'0' * 40}\ta.yaml\n{stages}".encode())
        before = (repository.head(), repository.git("status", "--porcelain"))
        with pytest.raises(GitRefused, match=path) as caught:
            publish(mirror, lambda _: {path: b"ours\n"}, Message("Pin"))
        assert "git -C" in caught.value.advice
        assert (repository.head(), repository.git("status", "--porcelain")) == before

    def test_another_branch_is_refused(self, repository: Repository, mirror: Mirror) -> None:
        repository.git("switch", "--quiet", "-c", "side")
        with pytest.raises(GitRefused, match="side") as caught:
            publish(mirror, lambda _: self.EDIT, Message("Pin"))
        assert "switch main" in caught.value.advice
        repository.git("switch", "--quiet", "--detach", "main")
        with pytest.raises(GitRefused, match="no branch"):
            publish(mirror, lambda _: self.EDIT, Message("Pin"))

    def test_without_an_author_it_is_refused(
        self, tmp_path: Path, repository: Repository, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        repository.git("config", "--unset", "user.email")
        with pytest.raises(GitRefused) as caught:
            publish(mirror, lambda _: self.EDIT, Message("Pin"))
        assert "user.email" in caught.value.advice
        monkeypatch.setenv("GIT_AUTHOR_EMAIL", "env@example.com")
        commit = publish(mirror, lambda _: self.EDIT, Message("Pin"))
        assert repository.git("log", "-1", "--format=%ae", commit) == "env@example.com"

    @pytest.mark.parametrize("path", ["edges/e.yaml", "link.yaml", "../x.yaml", ".git/config"])
    def test_a_link_out_of_the_work_tree_is_not_written_through(
        self, tmp_path: Path, repository: Repository, mirror: Mirror, path: str
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (repository.path / "edges").symlink_to(outside)
        (repository.path / "link.yaml").symlink_to(outside / "x")
        repository.commit()
        with pytest.raises(GitRefused):
            publish(mirror, lambda _: {path: b"x\n"}, Message("Pin"))
        assert list(outside.iterdir()) == []

    @pytest.mark.parametrize("lock", ["index.lock", "refs/heads/main.lock"])
    def test_a_lock_of_somebody_else_leaves_everything_as_it_was(
        self, repository: Repository, mirror: Mirror, lock: str
    ) -> None:
        repository.commit({"z/b.yaml": "b: 1\n"})
        place = repository.path / ".git" / lock
        place.touch()
        head = repository.head()
        with pytest.raises(GitUnavailable):
            publish(mirror, lambda _: {"a.yaml": None, "z/b.yaml": None, "n/w.yaml": b"n\n"}, Message("Pin"))
        place.unlink()
        assert repository.head() == head
        assert repository.git("status", "--porcelain") == ""

    def test_a_commit_made_meanwhile_is_built_upon(self, repository: Repository, mirror: Mirror) -> None:
        seen: list[str] = []

        def edit(head: str) -> Mapping[str, bytes | None]:
            seen.append(head)
            if len(seen) == 1:
                repository.commit({"b.yaml": "b: 1\n"})
            return self.EDIT

        commit = publish(mirror, edit, Message("Pin"))
        assert len(seen) == 2
        assert repository.git("rev-parse", f"{commit}^") == seen[1]
        assert repository.git("status", "--porcelain") == ""

    def test_a_file_keeps_its_mode_and_an_emptied_directory_goes(self, repository: Repository, mirror: Mirror) -> None:
        repository.write({"x/y/z.yaml": "z\n"})
        (repository.path / "a.yaml").chmod(0o755)
        repository.commit()
        publish(mirror, lambda _: {"a.yaml": b"a: 2\n", "x/y/z.yaml": None}, Message("Pin"))
        assert repository.git("ls-tree", "HEAD", "a.yaml").startswith("100755 ")
        assert repository.git("status", "--porcelain") == ""
        assert not (repository.path / "x").exists()

    def test_a_rejected_push_is_fetched_redone_and_never_forced(self, tmp_path: Path, repository: Repository) -> None:
        bare = Repository(tmp_path / "bare.git", bare=True)
        bare.git("config", "user.name", "Ada")
        bare.git("config", "user.email", "ada@example.com")
        repository.push(bare.path)
        mirror = Mirror(tmp_path / "mirror", Remote.parse(str(bare.path)))
        others: list[str] = []

        def edit(_: str) -> Mapping[str, bytes | None]:
            if len(others) < 2:
                others.append(repository.commit({f"{len(others)}.yaml": "x\n"}))
                repository.push(bare.path)
            return self.EDIT

        commit = publish(mirror, edit, Message("Pin"))
        assert bare.head() == commit
        assert bare.git("rev-list", "--reverse", "HEAD").splitlines()[-3:] == [*others, commit]

        def always(_: str) -> Mapping[str, bytes | None]:
            repository.git("pull", "--quiet", "--rebase", str(bare.path), "main")
            others.append(repository.commit({f"{len(others)}.yaml": "x\n"}))
            repository.push(bare.path)
            return {"a.yaml": b"a: 3\n"}

        with pytest.raises(GitUnavailable, match="moved 5 times"):
            publish(mirror, always, Message("Pin"))
        assert len(others) == 7

    def test_a_push_that_the_remote_forbids_is_refused_in_its_words(
        self, tmp_path: Path, repository: Repository
    ) -> None:
        bare = Repository(tmp_path / "bare.git", bare=True)
        bare.git("config", "user.name", "Ada")
        bare.git("config", "user.email", "ada@example.com")
        repository.push(bare.path)
        hook = bare.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nprintf 'main is \\033[31mprotected\\n' >&2\nexit 1\n")
        hook.chmod(0o755)
        with pytest.raises(GitRefused, match="protected") as caught:
            publish(Mirror(tmp_path / "mirror", Remote.parse(str(bare.path))), lambda _: self.EDIT, Message("Pin"))
        assert "\x1b" not in caught.value.message
        assert bare.head() == repository.head()


def test_a_mirror_that_somebody_removed_is_made_again(tmp_path: Path, repository: Repository, mirror: Mirror) -> None:
    mirror.fetch()
    shutil.rmtree(tmp_path / "mirror")
    repository.commit({"a.yaml": "a: 2\n"})
    assert contents(mirror, mirror.fetch()) == {"a.yaml": b"a: 2\n"}
    shutil.rmtree(tmp_path / "mirror")
    (tmp_path / "mirror").write_text("in the way")
    repository.commit({"a.yaml": "a: 3\n"})
    said = set()
    for _ in range(2):
        with pytest.raises(GitUnavailable) as caught:
            mirror.fetch()
        said.add(caught.value.message)
    assert len(said) == 1  # told once for each reason
    (tmp_path / "mirror").unlink()
    assert contents(mirror, mirror.fetch()) == {"a.yaml": b"a: 3\n"}
