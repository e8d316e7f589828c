"""A commit as people name it in their own work tree: `HEAD~1`, a branch, a tag. Imports errors, git, git_safety.

In: a word from the command line and a directory.  Out: a commit id. Only names are looked up; nothing is fetched.
"""

from pathlib import Path

from reconciler.errors import GitRefused, GitUnavailable
from reconciler.sources.git import Git
from reconciler.sources.git_safety import Remote


def revision(text: str, directory: Path) -> str:
    """The id of the commit that `text` names in the repository at `directory`; "" when it names none there."""
    if not text or text.startswith("-") or not text.isprintable():
        return ""
    return _asked(directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}") or ""


def contains(directory: Path, newer: str, commit: str) -> bool:
    """Whether one commit is another one, or comes after it, as the repository at `directory` knows; else False."""
    return _asked(directory, "merge-base", "--is-ancestor", commit, newer) is not None


def tips(directory: Path, branch: str) -> list[str]:
    """Where a branch of this name ends in the repository at `directory`: its own, and what it knows of remotes'."""
    named = (f"refs/heads/{branch}", f"refs/remotes/*/{branch}")
    return (_asked(directory, "for-each-ref", "--format=%(objectname)", *named) or "").split()


def _asked(directory: Path, *words: str) -> str | None:
    """What Git prints; None where it fails, or there is none."""
    try:
        answer = Git(directory=directory, remote=Remote.parse(str(directory))).ask(*words)
    except (GitRefused, GitUnavailable):
        return None  # without Git, a word is no commit
    return answer.output.decode("ascii", "replace").strip() if answer.status == 0 else None
