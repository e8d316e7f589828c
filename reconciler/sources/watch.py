"""Noticing a commit in a local repository at once. Imports errors, git, git_safety.

In: file system notifications.  Out: calls of `wake`. A notification only wakes: what changed is read by `Mirror.fetch`,
so a lost, late or doubled one does no harm, and polling goes on beside it.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.sources.git import Git
from reconciler.sources.git_safety import Remote, checked_branch

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

SETTLE_S: Final = 0.05


class Watcher:
    """Watches one repository until `close`, which ends its two threads."""

    def __init__(self, remote: Remote, branch: str, wake: Callable[[], None]) -> None:
        """Raises GitUnavailable when the path is no repository, OSError when there are no notifications to be had."""
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers import Observer

        git_dir, common_dir = _directories(remote)
        self._interesting = {
            str(git_dir / "HEAD"),
            str(common_dir / "packed-refs"),
            str(common_dir / "refs" / "heads" / checked_branch(branch)),
        }
        self._tables = str(common_dir / "reftable") + "/"
        self._wake = wake
        self._noticed = threading.Event()
        self._closed = threading.Event()
        handler = FileSystemEventHandler()
        handler.on_any_event = self._notice  # type: ignore[method-assign]  # one handler, no class of its own
        self._observer = Observer()
        for place in {git_dir, common_dir}:
            self._observer.schedule(handler, str(place))
        for place in (common_dir / "refs" / "heads", common_dir / "reftable"):
            if place.is_dir():
                self._observer.schedule(handler, str(place), recursive=True)
        try:
            self._observer.start()
        except OSError:
            self._observer.stop()  # it has threads of its own before it is started
            raise
        self._thread = threading.Thread(target=self._settle, name="git-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End watching. Idempotent; `wake` is not called after it returned."""
        self._closed.set()
        self._noticed.set()
        self._observer.stop()
        self._observer.join()
        self._thread.join()

    def _notice(self, event: "FileSystemEvent") -> None:
        if event.event_type in {"opened", "closed_no_write"}:
            return
        for path in (str(event.src_path), str(event.dest_path)):
            if path in self._interesting or path.startswith(self._tables):
                self._noticed.set()

    def _settle(self) -> None:
        """One call for a burst: a commit touches several files."""
        while True:
            self._noticed.wait()
            self._closed.wait(SETTLE_S)
            self._noticed.clear()
            if self._closed.is_set():
                return
            self._wake()


def watch_head(remote: Remote, wake: Callable[[], None], *, branch: str = "main") -> Watcher | None:
    """A watcher that calls `wake`, from its own thread, soon after the branch of a local repository may have moved.

    None for a network remote, and where the system gives no notifications: then only polling notices.
    Raises GitUnavailable when the path is no repository (yet).
    """
    if remote.path is None:
        return None
    try:
        return Watcher(remote, branch, wake)
    except OSError:
        return None


def _directories(remote: Remote) -> tuple[Path, Path]:
    """The git directory and the one that it shares with other work trees."""
    assert remote.path is not None
    git = Git(directory=remote.path, remote=remote)
    output = git.run("rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    git_dir, common_dir = output.decode().splitlines()
    return Path(git_dir).resolve(), Path(common_dir).resolve()
