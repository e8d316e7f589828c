"""Where a repository of this machine begins, as Git finds it from a directory. Imports errors, git and git_safety.

In: a directory.  Out: the root of its repository. Nothing is fetched, and nothing of the repository is run.
"""

import os
from pathlib import Path

from reconciler.errors import GitRefused
from reconciler.sources.git import Git
from reconciler.sources.git_safety import Remote

GONE = "is the path right, and the disk that it is on there? name another with --repo"
NAMED = "name its root with --repo: then it is read, whoever owns it"


def is_work_tree(directory: Path) -> bool:
    """Whether files that are written there are files of a repository. Raises GitUnavailable without Git."""
    git = Git(directory=directory, remote=Remote.parse(str(directory)))
    return git.ask("rev-parse", "--is-inside-work-tree").output.strip() == b"true"


def root_of(directory: Path) -> Path | None:
    """The work tree that `directory` is in, or the repository where there is none; None where Git finds neither.

    Raises GitRefused where there is one that Git will not read, with its words; GitUnavailable without Git.
    """
    git, above = Git(directory=directory, remote=Remote.parse(str(directory))), {"GIT_CEILING_DIRECTORIES": ""}
    words = ("rev-parse", "--is-inside-work-tree", "--absolute-git-dir")
    answer = git.ask(*words, variables=above)
    if answer.status:
        if any((place / ".git").exists() for place in (directory, *directory.parents)):
            raise GitRefused(f"{directory} cannot be read as a Git repository: {answer.words}", hint=NAMED)
        return None
    inside, git_dir = os.fsdecode(answer.output).splitlines()
    if inside == "true":
        top = git.ask("rev-parse", "--show-toplevel", variables=above)
        return Path(os.fsdecode(top.output).rstrip("\n"))
    place = Path(git_dir)
    return place.parent if place.name == ".git" else place
