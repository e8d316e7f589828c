"""The followed branch as it would be, were the user's whole work tree committed. Imports mirror, worktree, commit.

In: a local work tree.  Out: a commit in the mirror that no branch holds, for a plan that looks before it leaps. The
user's repository is only read, and no filter or hook of it runs: files are compared byte for byte.
"""

import os
import stat
from pathlib import Path
from typing import Final

from reconciler.errors import GitUnavailable
from reconciler.history.codec import blob_id
from reconciler.sources.commit import Message, write_commit
from reconciler.sources.git import Git
from reconciler.sources.git_safety import path_problem
from reconciler.sources.mirror import Mirror
from reconciler.sources.tree import FILE_LIMIT, IGNORE_FILE, is_manifest
from reconciler.sources.worktree import WorkTree

NOBODY: Final = "not committed yet <nobody@localhost>"


class Uncommitted(Mirror):
    """A mirror whose head has the manifests of the work tree. Elsewhere than at a local work tree it is a mirror.

    paths: the files that differ from the branch's own head, after `fetch`.  head: that head.
    """

    head = ""
    paths: tuple[str, ...] = ()

    def fetch(self) -> str:
        """The id of a commit like the work tree; the branch's own head where they are the same."""
        self.head = super().fetch()
        tree = WorkTree.of(self.remote, self.branch)
        files = self._differing(tree.git) if tree is not None and self._is_checked_out(tree.git) else {}
        self.paths = tuple(sorted(files))
        return write_commit(self.git, self.head, files, Message("not committed yet"), NOBODY) if files else self.head

    def _is_checked_out(self, git: Git) -> bool:
        current = git.ask("symbolic-ref", "--quiet", "HEAD").output.decode("utf-8", "replace").strip()
        return current == f"refs/heads/{self.branch}"

    def _differing(self, git: Git) -> dict[str, bytes | None]:
        """Manifests that are not as the head has them; None where they are gone. What Git ignores does not count."""
        committed = {change.path: change.new_oid for change in self.changes(None, self.head) if change.problem is None}
        listed = git.run("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode("utf-8", "replace")
        files: dict[str, bytes | None] = {}
        for path in {*listed.split("\0"), *committed}:
            if not (is_manifest(path) or path.endswith(IGNORE_FILE)) or path_problem(path):
                continue
            content = _content(git.directory / path)
            if content is None:
                if path in committed and not (git.directory / path).exists():
                    files[path] = None
            elif committed.get(path) != blob_id(content, digits=len(self.head)):
                files[path] = content
        return files


def _content(path: Path) -> bytes | None:
    """The bytes of a plain file of bearable size; None for everything else. Raises GitUnavailable."""
    try:
        found = os.lstat(path)
        return path.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size <= FILE_LIMIT else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise GitUnavailable(f"{path} cannot be read: {problem.strerror}") from problem
