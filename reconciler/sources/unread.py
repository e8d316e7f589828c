"""Stands where no branch is to be read, because all that matters was read before and is in the log. Imports mirror.

In: nothing.  Out: a refusal to whoever asks for the branch after all.
"""

from reconciler.errors import GitUnavailable
from reconciler.sources.mirror import Mirror


class Unread(Mirror):
    """A mirror of nothing: it has no directory and starts no Git."""

    def __init__(self) -> None:
        """Nothing to remember; what a mirror begins with would write to the disk."""

    def fetch(self) -> str:
        """Raises GitUnavailable."""
        raise GitUnavailable("no repository is read here", hint="add --repo REPO")
