"""The bare repository on disk that mirrors one branch, and its replacement when it is damaged. Imports errors, git.

In: a remote, by fetch.  Out: a head that is here with all its history. It is a cache and may be thrown away.
Nothing is checked out, so hooks, filters, links and submodules of the repository never act.

    <directory>/current          symbolic link to the copy in use, replaced by one rename
    <directory>/mirror-*         bare repositories; all but the current one are removed
    <directory>/gitconfig        stands for the user's configuration; trusts exactly the followed local path
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from reconciler.errors import GitRefused, GitUnavailable, ReconcilerError, SourceMissing
from reconciler.sources.git import Git, deadline_passed
from reconciler.sources.git_safety import Remote, checked_branch, is_object_id
from reconciler.sources.place import GONE
from reconciler.sources.unknown import there_is

HEAD_DEADLINE_S: Final = 30.0
_FAULT: Final = re.compile(r"object ([0-9a-f]{40,64}): (\w+):")  # of `warning: object ID: FAULT: words`
# How servers say that there is no such repository: over https, at GitHub by ssh, by git itself at the other end.
_NO_REPOSITORY: Final = re.compile(
    r"repository '.*' not found|repository not found|does not appear to be a git repository", re.IGNORECASE
)


class LocalCopy:
    """One branch of one remote on this disk. Used from one thread at a time; nothing stays open between calls."""

    def __init__(self, directory: Path, remote: Remote, branch: str, fetch_deadline_s: float) -> None:
        """Fetches nothing yet. Raises GitRefused when `branch` cannot be one, GitUnavailable without room to write."""
        self.remote = remote
        self.branch = checked_branch(branch)
        self._ref = f"refs/heads/{self.branch}"
        self._directory = directory.resolve()
        self._fetch_deadline_s = fetch_deadline_s
        self.malformed: list[str] = []  # the faults that were let through at the last fetch, each kind once
        self._prepare()

    def _prepare(self) -> None:
        """Make the directory, at first and where somebody removed it."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._config = self._trusting_config()
        except OSError as problem:
            raise GitUnavailable(f"{self._directory} cannot be written: {problem.strerror}") from problem

    @property
    def git(self) -> Git:
        """Commands on the mirror."""
        return self._on(self._directory / "current")

    def update(self, head: str, *, afresh: bool) -> str:
        """The head that is here now: `head`, or a newer one that was pushed meanwhile.

        Does nothing when it is here already, else fetches, else (and always when `afresh`) makes a fresh copy.
        Raises GitUnavailable, GitRefused; the copy in use stays then.
        """
        if not afresh and (self._directory / "current").exists():  # with the history of what was followed before
            here = self._head(self.git)
            return head if here == head else self._fetched() or self._replace(len(head))
        return self._replace(len(head))

    def remote_head(self) -> str:
        """The commit id of the branch at the remote; for a local path read there, without a connection."""
        if not self._directory.is_dir():
            self._prepare()
        if (path := self.remote.path) is not None:
            return self._local_head(path)
        answer = self._on(None).ask(
            "ls-remote", "--", self.remote.url, self._ref, deadline_s=HEAD_DEADLINE_S, authenticated=True
        )
        if answer.status and _NO_REPOSITORY.search(answer.words):
            advice = "check the address; to who may not read it, a private repository is not there either (--token-env)"
            raise SourceMissing(f"there is no repository {self.remote}: {answer.words}", hint=advice)
        if answer.status:
            raise GitUnavailable(f"{self.remote} did not answer: {answer.words}")
        heads = _heads(answer.output)
        if self._ref in heads:
            return heads[self._ref]
        words = ("ls-remote", "--", self.remote.url, "refs/heads/*")
        every = self._on(None).ask(*words, deadline_s=HEAD_DEADLINE_S, authenticated=True)
        if every.status:
            raise GitUnavailable(f"{self.remote} did not answer: {every.words}")
        raise self._branch_missing(_heads(every.output))

    def _local_head(self, path: Path) -> str:
        if not path.is_dir():
            raise GitUnavailable(f"there is no directory {path}", hint=GONE)
        git = Git(directory=path, remote=self.remote)
        answer = git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._ref}^{{commit}}")
        oid = answer.output.decode("ascii", "replace").strip()
        if answer.status == 0 and is_object_id(oid):
            return oid
        if answer.words:
            raise GitUnavailable(f"{path} cannot be read as a Git repository: {answer.words}", hint=GONE)
        every = git.run("for-each-ref", "--format=%(objectname)%09%(refname)", "refs/heads/")
        raise self._branch_missing(_heads(every))

    def _branch_missing(self, heads: Iterable[str]) -> ReconcilerError:
        """That there is no such branch, with what there is. A repository without any waits for its first push."""
        names = sorted(name.removeprefix("refs/heads/") for name in heads)
        if not names:
            advice = f"it is read as soon as a commit is pushed to {self.branch}"
            return GitUnavailable(f"{self.remote} is empty: no branch has a commit yet", hint=advice)
        hint = there_is(self.branch, names, "its branches")
        return SourceMissing(f"{self.remote} has no branch {self.branch}", hint=hint)

    def _on(self, git_dir: Path | None) -> Git:
        return Git(directory=self._directory, remote=self.remote, git_dir=git_dir, global_config=self._config)

    def _trusting_config(self) -> str:
        """A configuration file that reaches the other end of a local fetch too: it trusts exactly the followed path."""
        if (path := self.remote.path) is None:
            return os.devnull
        file = self._directory / "gitconfig"
        file.unlink(missing_ok=True)
        for trusted in (path, path / ".git"):
            self._plain_git().run("config", "--file", str(file), "--add", "safe.directory", str(trusted))
        return str(file)

    def _plain_git(self) -> Git:
        return Git(directory=self._directory, remote=self.remote)

    def _fetched(self) -> str | None:
        """The head that a fetch into the current copy brought; None when the copy turns out to be damaged."""
        try:
            return self._fetch_into(self.git)
        except GitUnavailable as problem:
            if deadline_passed(problem):
                raise
            return None

    def _replace(self, id_length: int) -> str:
        """Fetch everything into a fresh repository and put it in the place of the current one by one rename."""
        try:
            fresh = Path(tempfile.mkdtemp(prefix="mirror-", dir=self._directory))
            object_format = "sha256" if id_length == 64 else "sha1"
            self._plain_git().run(
                "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", "--", str(fresh)
            )
            head = self._fetch_into(self._on(fresh))
            link = fresh.with_suffix(".link")
            link.symlink_to(fresh.name)
            link.replace(self._directory / "current")
        except OSError as problem:
            raise GitUnavailable(f"{self._directory} cannot be written: {problem.strerror}") from problem
        finally:
            self._sweep()
        return head

    def _sweep(self) -> None:
        """Remove every copy but the current one, also those that a crash left."""
        with suppress(OSError):
            link = self._directory / "current"
            current = link.readlink().name if link.is_symlink() else ""
            for left in self._directory.glob("mirror-*"):
                if left.name != current:
                    left.unlink() if left.is_symlink() else shutil.rmtree(left, ignore_errors=True)

    def _fetch_into(self, git: Git) -> str:
        answer = git.ask(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-shallow"),
            *("--", self.remote.url, f"+{self._ref}:{self._ref}"),
            deadline_s=self._fetch_deadline_s,
            authenticated=True,
        )
        self.malformed = [
            f"{fault} in {oid[:12]}" for fault, oid in {f: o for o, f in _FAULT.findall(answer.words)}.items()
        ]
        if answer.status and "fsck error" in answer.words:
            raise GitRefused(f"{self.remote} sends an object that could harm: {answer.words}")
        if answer.status and "promisor remote" in answer.words:
            raise GitUnavailable(
                f"{self.remote} is a partial clone, and lacks a part of {self.branch}; nothing is fetched there",
                hint=f"follow what it was cloned from, or run `git -C {self.remote} fetch --refetch --no-filter`",
            )
        head = None if answer.status else self._head(git)
        if head is None:
            raise GitUnavailable(f"{self.remote} could not be fetched: {answer.words or 'its objects are incomplete'}")
        return head

    def _head(self, git: Git) -> str | None:
        """The commit of the copy's own branch, complete at least at its top; None without one."""
        if git.git_dir is None or not git.git_dir.exists():
            return None
        answer = git.ask("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}")
        head = answer.output.decode("ascii", "replace").strip()
        return head if answer.status == 0 and git.ask("cat-file", "-e", f"{head}^{{tree}}").status == 0 else None


def _heads(output: bytes) -> dict[str, str]:
    """Full name of a branch -> commit id, of what `ls-remote` prints."""
    lines = (line.partition("\t") for line in output.decode("utf-8", "replace").splitlines())
    return {name: oid for oid, _, name in lines if is_object_id(oid)}
