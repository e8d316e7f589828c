"""One commit in the user's own work tree, beside whatever else is unsaved there. Imports errors, git, commit.

In: files by path.  Out: exactly one commit on the followed branch, with index and files to match; or nothing changed.
No hook, filter or other program of the repository runs: files are compared and written byte for byte.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.diagnostics import printable
from reconciler.errors import GitRefused, GitUnavailable
from reconciler.sources.commit import Files, Message, author, entries, write_commit
from reconciler.sources.git import Git
from reconciler.sources.git_safety import Remote, path_problem


@dataclass(frozen=True, slots=True)
class WorkTree:
    """A checked-out local repository whose current branch is the one that is followed."""

    remote: Remote
    branch: str
    switched_off: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, remote: Remote, branch: str) -> "WorkTree | None":
        """The work tree at a local remote; None when it is bare or elsewhere. Raises GitUnavailable."""
        if remote.path is None:
            return None
        git = Git(directory=remote.path, remote=remote)
        if git.run("rev-parse", "--is-bare-repository").strip() == b"true":
            return None
        top = Path(os.fsdecode(git.run("rev-parse", "--show-toplevel").rstrip(b"\n")))
        if top.resolve() != remote.path:
            raise GitRefused(f"the work tree of {remote} is somewhere else: {printable(str(top))}")
        return cls(remote, branch, _no_filters(git))

    @property
    def git(self) -> Git:
        """Commands in the work tree."""
        return Git(directory=self._top, remote=self.remote, extra=self.switched_off)

    @property
    def _top(self) -> Path:
        assert self.remote.path is not None
        return self.remote.path

    def commit(self, base: str, files: Files, message: Message) -> str | None:
        """The id of the one new commit on `base`; `base` when nothing differs; None when the branch has moved on.

        Raises GitRefused while one of the paths is dirty, staged or not a plain file, on another branch, or without
        an author; GitUnavailable when Git or the disk fails. Then files and index are as before.
        """
        self._require_branch()
        if not files:
            return base
        standing = self._require_clean(base, files)
        commit = write_commit(self.git, base, files, message, author(self.remote, self._top))
        if commit == base:
            return base
        before: Files = {path: self._content(path) for path in files}
        try:
            self._place(files, entries(self.git, commit, files), base)
            moved = self._advance(commit, base)
        except (OSError, GitUnavailable) as problem:
            with suppress(OSError, GitUnavailable):
                self._place(before, standing, base)
            raise GitUnavailable(
                f"nothing was committed: {problem}",
                hint=f"`git -C {self.remote} status` shows what was left, if anything",
            ) from problem
        if not moved:
            self._place(before, standing, base)
            return None
        return commit

    def _advance(self, commit: str, base: str) -> bool:
        """Whether the branch went from `base` to `commit`; False when it stood somewhere else."""
        words = ("update-ref", "-m", "commit (reconciler)", f"refs/heads/{self.branch}", commit, base)
        return self.git.ask(*words, variables=_REFLOG_NAME).status == 0

    def _require_branch(self) -> None:
        current = self.git.ask("symbolic-ref", "--quiet", "HEAD").output.decode("utf-8", "replace").strip()
        if current != f"refs/heads/{self.branch}":
            where = printable(current.removeprefix("refs/heads/")) or "no branch"
            raise GitRefused(
                f"{self.remote} has {where} checked out, not {self.branch}",
                hint=f"run `git -C {self.remote} switch {self.branch}`",
            )

    def _require_clean(self, base: str, files: Files) -> dict[str, tuple[str, str]]:
        """The entries of `base` at the paths, after index and disk were found to be the same."""
        for path in files:
            if why := path_problem(path) or self._led_away(path):
                raise GitRefused(f"{printable(path)}: {why}")
        standing = entries(self.git, base, files)
        staged = self._staged(files)
        dirty = [
            path
            for path in files
            if staged.get(path) != standing.get(path) or self._oid(path, base) != standing.get(path, ("", ""))[1]
        ]
        if dirty:
            names = " ".join(f"'{path}'" for path in dirty)
            raise GitRefused(
                f"there are changes that are not committed: {', '.join(dirty)}",
                hint=f"commit them, or put them away with `git -C {self.remote} stash push -- {names}`",
            )
        return standing

    def _led_away(self, path: str) -> str:
        place = self._top / path
        if place.parent.resolve() != place.parent:
            return "a symbolic link leads there"
        if place.is_symlink() or (place.exists() and not place.is_file()):
            return "not a plain file"
        return ""

    def _staged(self, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Mode and id in the index; an unmerged path has an id that fits nothing."""
        output = self.git.run("ls-files", "--stage", "-z", "--", *paths).decode("utf-8", "surrogateescape")
        found = {}
        for line in output.split("\0"):
            head, _, path = line.partition("\t")
            if path:
                mode, oid, stage = head.split(" ")
                found[path] = (mode, oid if stage == "0" else "unmerged")
        return found

    def _content(self, path: str) -> bytes | None:
        try:
            return (self._top / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise GitUnavailable(f"{path} cannot be read: {problem.strerror}") from problem

    def _oid(self, path: str, like: str) -> str:
        """The blob id of the file's bytes (a hash over `blob <size>`, NUL, bytes); empty when there is no file."""
        if (content := self._content(path)) is None:
            return ""
        kind = "sha256" if len(like) == 64 else "sha1"
        return hashlib.new(kind, b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()

    def _place(self, files: Files, standing: dict[str, tuple[str, str]], base: str) -> None:
        """Write the files, and the index as `standing` says. Raises OSError, GitUnavailable."""
        for path, content in files.items():
            if content is None:
                self._remove(self._top / path)
            else:
                replace_file(self._top / path, content)
        removed = ("0", "0" * len(base))
        lines = [f"{' '.join(standing.get(path, removed))}\t{path}\0" for path in files]
        self.git.run("update-index", "-z", "--index-info", stdin="".join(lines).encode())

    def _remove(self, place: Path) -> None:
        place.unlink(missing_ok=True)
        with suppress(OSError):  # the first directory that is not empty ends it
            for directory in place.relative_to(self._top).parents:
                if directory != Path():
                    (self._top / directory).rmdir()


def _no_filters(git: Git) -> tuple[tuple[str, str], ...]:
    """Configuration that empties every filter program the repository defines.

    Writing the index compares files whose time leaves doubt, and would run them. With none, such a file counts as
    unchecked, and the user's next `git status` looks at it again.
    """
    output = git.ask("config", "-z", "--name-only", "--get-regexp", r"^filter\.").output
    names = {os.fsdecode(name) for name in output.split(b"\0") if name}
    return tuple((name, "false" if name.endswith(".required") else "") for name in sorted(names))


# The reflog wants a name; the commit itself carries the user's.
_REFLOG_NAME = {"GIT_COMMITTER_NAME": "reconciler", "GIT_COMMITTER_EMAIL": "reconciler@localhost"}


def replace_file(place: Path, content: bytes) -> None:
    """Put a file in place by one rename, with the mode that it had."""
    place.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644
    handle, name = tempfile.mkstemp(prefix=".reconciler-", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(place)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
