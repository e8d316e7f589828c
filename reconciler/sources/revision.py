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
    try:
        git = Git(directory=directory, remote=Remote.parse(str(directory)))
        answer = git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    except (GitRefused, GitUnavailable):
        return ""  # without Git, a word is no commit
    return answer.output.decode("ascii", "replace").strip() if answer.status == 0 else ""
