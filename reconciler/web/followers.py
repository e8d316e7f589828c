"""Rung by the log, heard by those who follow it. Imports history.

In: the writer's thread, which only rings.  Out: coroutines, woken.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from reconciler.history.events import Entry


class Bell:
    """Wakes every coroutine that waits, from any thread. While nobody follows, a ring costs one look at a set."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def followers(self) -> int:
        """How many follow just now."""
        return len(self._followers)

    def heard(self, entries: list[Entry]) -> None:  # noqa: ARG002  # a listener of the log
        """Something was appended."""
        self.ring()

    def ring(self) -> None:
        """Wake all."""
        if self._followers and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who followed
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for one in self._followers:
            one.set()

    @contextlib.contextmanager
    def following(self) -> Iterator[asyncio.Event]:
        """An event that every ring sets; clear it, then look."""
        self._loop = asyncio.get_running_loop()
        mine = asyncio.Event()
        self._followers.add(mine)
        try:
            yield mine
        finally:
            self._followers.discard(mine)
