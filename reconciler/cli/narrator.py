"""What `run` says while it runs: a line an event, and how far downloads are. May import: history, control_socket.

In: the log's new entries, and agents asked over their control sockets.  Out: lines on stdout; bars on stderr, or a line
now and then where there is no terminal. A slow reader of the output never slows the hub: lines wait in a queue.
"""

import queue
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from reconciler.cli.history import show
from reconciler.edge.paths import StateDirectory
from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.history.keys import DELIVER, Key
from reconciler.history.timeline import labelled, named
from reconciler.web.records import record

if TYPE_CHECKING:
    from reconciler.engine.recorder import Recorder

REDRAW_S: Final = 0.25
QUIET: Final = frozenset({ev.LOG_GENESIS})
FETCHING: Final = frozenset({"Downloading"})
FETCHES: Final = frozenset({ev.DOWNLOAD_STARTED, ev.DOWNLOAD_RESUMED, ev.DOWNLOAD_FAILED})  # what lets one begin


class Narrator:
    """Tells what is appended while it is entered. `hear` is the log's listener."""

    def __init__(self, recorder: "Recorder", state_dir: Path, form: str) -> None:
        self._mine, self._state, self._form = recorder.state.stage(DELIVER), StateDirectory(state_dir), form
        self._heard: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="narrator", daemon=True)

    def hear(self, entries: list[Entry]) -> None:
        """Take what the log has just stored."""
        for entry in entries:
            self._heard.put(entry)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._heard.put(None)
        self._thread.join()

    def _run(self) -> None:
        """Lines as they come; while anything is fetched, look at it between them."""
        from reconciler.cli.draw import Bars, screen

        bars = Bars(screen(sys.stderr))
        try:
            downloading = self._downloading()
            while True:
                bars.show(self._progress(downloading) if downloading else [], time.monotonic())
                try:
                    entry = self._next(REDRAW_S if downloading else None)
                except queue.Empty:
                    downloading = self._downloading()
                    continue
                if entry is None:
                    sys.stdout.flush()
                    return
                self._tell(entry)
                if downloading or entry.event.type in FETCHES:  # it looks at every key, so not for every event
                    downloading = self._downloading()
        except OSError:  # nobody reads any more: the hub goes on
            while self._heard.get() is not None:
                pass
        finally:
            bars.close()

    def _tell(self, entry: Entry) -> None:
        event = entry.event
        copied_intent = event.type == ev.APPLY_INTENDED and entry.origin is not None
        if event.type not in QUIET and not copied_intent:
            show(record(entry), self._form)

    def _next(self, timeout_s: float | None) -> Entry | None:
        """The next entry. Lines are written out when none waits: of thousands at once not one by one."""
        try:
            return self._heard.get_nowait()
        except queue.Empty:
            sys.stdout.flush()
            return self._heard.get(timeout=timeout_s)

    def _downloading(self) -> list[str]:
        """The edges that fetch something just now."""
        keys = list(self._mine.keys.items())
        return sorted({Key.parse(text).edge for text, served in keys if served.open and served.phase in FETCHING})

    def _progress(self, edges: list[str]) -> list[dict[str, Any]]:
        """What the workers of these edges say that they are at."""
        from reconciler import control_socket
        from reconciler.errors import ReconcilerError

        found: list[dict[str, Any]] = []
        for edge in edges:
            try:
                found += control_socket.call(self._state.edge(edge).control, {"verb": "progress"}, 1.0)["work"]
            except ReconcilerError:  # it ends, or is just starting: the next look will tell
                continue
        fetching = (work for work in found if work["stage"] in {"downloading", "resuming"})
        return [work | {"key": self._label(Key.parse(work["key"]))} for work in fetching]

    def _label(self, key: Key) -> str:
        """`edge-1 digits`."""
        return f"{key.edge} {labelled(key.kind, named(key, self._mine.known(key).order))}"
