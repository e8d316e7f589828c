"""Slots: the version on which a service stands. May import: ports, errors.

In: staged artifacts.  Out: two symlinks and a note, on disk; read by edge.keeper and by any runtime that mounts them.

    services/<ns>.<name>/current   -> ../../store/<sha256>     the version that serves; moved by one rename
    services/<ns>.<name>/previous  -> ../../store/<sha256>     the one before it, kept staged for the way back
    services/<ns>.<name>/<sha256>.json                         the order's spec that brought it here

What has no digest yet (a dataset of which only the metadata is wanted) is named by its URL and version instead.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.engine.failpoints import reached
from reconciler.errors import StorageExhausted
from reconciler.history.keys import Key
from reconciler.planning.desired import content_digest


class Slots:
    """The slots of one key. One writer; every change is durable when its method returns."""

    def __init__(self, services: Path, store: Path, key: Key) -> None:
        self.directory = services / f"{key.kind}.{key.namespace}.{key.name}"
        self._store = store

    def current(self) -> dict[str, Any] | None:
        """The spec that stands now; None when nothing does."""
        return self._spec("current")

    def previous(self) -> dict[str, Any] | None:
        """The spec that stood before; None when there was none."""
        return self._spec("previous")

    def digests(self) -> set[str]:
        """The artifacts that must stay on disk for this key."""
        return {spec["sha256"] for spec in (self.current(), self.previous()) if spec is not None}

    def flip(self, spec: dict[str, Any]) -> None:
        """Make `spec` current and what was current previous. A reader sees the old or the new one, never a mixture."""
        old = self.current()
        with _translated(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._note(spec)
            reached("edge.noted")
            if old is not None and content_digest(old) != content_digest(spec):
                self._point("previous", content_digest(old))
            reached("edge.previous")
            self._point("current", content_digest(spec))
            reached("edge.flipped")
            self._forget()

    def back(self) -> dict[str, Any] | None:
        """Make the previous version current again, with none before it; its spec, or None (then nothing is current)."""
        if not self.directory.exists():
            return None
        old = self.previous()
        with _translated(self.directory):
            if old is None:
                (self.directory / "current").unlink(missing_ok=True)
                _sync(self.directory)
            else:
                self._point("current", content_digest(old))
                (self.directory / "previous").unlink(missing_ok=True)
                _sync(self.directory)
                self._forget()
            reached("edge.returned")
        return old

    def remove(self) -> None:
        """Forget the key. The artifacts stay until they are evicted."""
        with _translated(self.directory), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)
            _sync(self.directory.parent)

    def _spec(self, slot: str) -> dict[str, Any] | None:
        try:
            digest = os.path.basename(os.readlink(self.directory / slot))  # noqa: PTH115, PTH119  # the link's own text
            found: dict[str, Any] = json.loads((self.directory / f"{digest}.json").read_text())
        except (OSError, ValueError):  # missing, not a link, or damaged: the boot check rebuilds it from the order
            return None
        return found

    def _note(self, spec: dict[str, Any]) -> None:
        path = self.directory / f"{content_digest(spec)}.json"
        with _scratch(path) as scratch:
            scratch.write_text(json.dumps(spec, sort_keys=True))
            with scratch.open("rb") as written:
                os.fsync(written.fileno())

    def _point(self, slot: str, digest: str) -> None:
        target = os.path.relpath(self._store / digest, self.directory)
        with _scratch(self.directory / slot) as scratch:
            scratch.symlink_to(target)

    def _forget(self) -> None:
        kept = {content_digest(spec) for spec in (self.current(), self.previous()) if spec is not None}
        for note in self.directory.glob("*.json"):
            if note.stem not in kept:
                note.unlink()


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A name beside `path` that takes its place by one durable rename."""
    scratch = path.with_name(path.name + ".tmp")
    scratch.unlink(missing_ok=True)
    yield scratch
    scratch.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _translated(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageExhausted(f"{directory} cannot be written: {error.strerror}") from error
