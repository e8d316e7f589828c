"""Bringing one commit of ours into the followed branch. Imports errors, mirror, commit and worktree.

In: an edit, as a function of the head that it is made on.  Out: a commit on that branch, never forced. Where the
followed repository is a local work tree the commit is made there; everywhere else it is made in the mirror and pushed.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from reconciler.errors import GitRefused, GitUnavailable
from reconciler.sources.commit import Files, Message, author, write_commit
from reconciler.sources.mirror import Mirror
from reconciler.sources.worktree import WorkTree

ATTEMPTS: Final = 5
PUSH_DEADLINE_S: Final = 120.0

Edit = Callable[[str], Files]


def publish(mirror: Mirror, edit: Edit, message: Message) -> str:
    """The id of the commit that now holds the edit; the head itself when the edit changes nothing.

    edit: head commit -> files to write (None removes one); called again when the branch moved meanwhile, up to
    ATTEMPTS times. Raises GitRefused (dirty paths, refused push, no author) and GitUnavailable.
    """
    work_tree = WorkTree.of(mirror.remote, mirror.branch)
    for _ in range(ATTEMPTS):
        head = mirror.fetch()
        files = edit(head)
        commit = work_tree.commit(head, files, message) if work_tree else _push(mirror, head, files, message)
        if commit is not None:
            return commit
    raise GitUnavailable(f"{mirror.branch} of {mirror.remote} moved {ATTEMPTS} times while a commit was made for it")


def _push(mirror: Mirror, head: str, files: Files, message: Message) -> str | None:
    """The commit, pushed; None when somebody else pushed first."""
    # What stands behind a push into another user's local repository is that user's hooks: it is not trusted for this.
    git = replace(mirror.git, global_config=os.devnull)
    who = author(mirror.remote, mirror.remote.path or git.directory)
    commit = write_commit(git, head, files, message, who)
    if commit == head:
        return head
    answer = git.ask(
        *("push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--recurse-submodules=no"),
        *("--", mirror.remote.url, f"{commit}:refs/heads/{mirror.branch}"),
        deadline_s=PUSH_DEADLINE_S,
        authenticated=True,
    )
    if answer.status == 0:
        return commit
    said = [line for line in answer.output.decode("utf-8", "replace").splitlines() if line.startswith("!")]
    if not said:
        raise GitUnavailable(f"the push to {mirror.remote} failed: {answer.words}")
    if mirror.fetch() != head:
        return None
    raise GitRefused(
        f"{mirror.remote} refused the push: {answer.words}", hint="see the remote's rules for this branch and token"
    )
