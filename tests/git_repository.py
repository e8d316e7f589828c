"""A real repository on disk for tests: commits, merges, reverts, force pushes. It runs the git command, isolated."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "file",
}


class Repository:
    """A work tree (or bare repository) on branch main. Times advance by one minute a commit, so ids are stable."""

    def __init__(self, path: Path, *, bare: bool = False, object_format: str = "sha1") -> None:
        self.path = path
        self._minutes = 0
        path.mkdir(parents=True, exist_ok=True)
        words = ["--bare"] if bare else []
        self.git("init", "--quiet", "--template=", "-b", "main", f"--object-format={object_format}", *words)
        if not bare:
            self.git("config", "user.name", "Ada")
            self.git("config", "user.email", "ada@example.com")

    def git(self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """What the command printed, stripped. Raises CalledProcessError."""
        moment = f"{1_767_225_600 + 60 * self._minutes} +0000"
        dated = {"GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", *words],
            cwd=self.path,
            env={**clean, **IDENTITY, **dated, **(env or {})},
            input=stdin,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode().strip()

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Put files into the work tree; None removes one."""
        for name, content in files.items():
            place = self.path / name
            if content is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, str | bytes | None] | None = None, message: str = "Change") -> str:
        """The id of a commit on the current branch with these files written or removed."""
        self.write(files or {})
        self._minutes += 1
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def commit_tree(self, entries: Mapping[bytes, tuple[str, str]], message: str = "Change") -> str:
        """Commit a tree that no work tree could hold: flat path -> (mode, object id), moving main."""
        kinds = {"40000": b"tree", "160000": b"commit"}
        lines = b"".join(
            b"%s %s %s\t%s\0" % (mode.encode(), kinds.get(mode, b"blob"), oid.encode(), path)
            for path, (mode, oid) in entries.items()
        )
        self._minutes += 1
        tree = self.git("mktree", "-z", "--missing", stdin=lines)
        parents = [] if self.git("rev-list", "--all", "-n1") == "" else ["-p", self.head()]
        commit = self.git("commit-tree", tree, *parents, "-m", message)
        self.git("update-ref", "refs/heads/main", commit)
        return commit

    def blob(self, content: bytes) -> str:
        """The id of a stored blob."""
        return self.git("hash-object", "-w", "--stdin", "--no-filters", stdin=content)

    def head(self, branch: str = "main") -> str:
        """The branch's commit id."""
        return self.git("rev-parse", f"refs/heads/{branch}")

    def revert(self, commit: str = "HEAD") -> str:
        """The id of a commit that reverts one."""
        self._minutes += 1
        self.git("revert", "--no-edit", commit)
        return self.head()

    def reset(self, commit: str) -> None:
        """Move the branch as a force push would."""
        self.git("reset", "--quiet", "--hard", commit)

    def push(self, to: Path | str, *, force: bool = False) -> None:
        """Push main."""
        self.git("push", "--quiet", *(["--force"] if force else []), str(to), "main:main")
