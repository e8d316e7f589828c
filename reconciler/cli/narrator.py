"""What `run` says while it runs: a line an event, and how far downloads are. May import: history, control_socket.

In: the log's new entries, and agents asked over their control sockets.  Out: lines on stdout, what comes together and
is equal once; bars on stderr, or a line now and then where there is no terminal. A slow reader of the output never
slows the hub: lines wait in a queue.
"""

import queue
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from reconciler.cli.telling import gathered, show
from reconciler.edge.paths import StateDirectory
from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.history.keys import DELIVER, Key
from reconciler.history.timeline import labelled, named
from reconciler.web.records import Contents, record

if TYPE_CHECKING:
    from reconciler.engine.recorder import Recorder

REDRAW_S: Final = 0.25
QUIET: Final = frozenset({ev.LOG_GENESIS})
FETCHING: Final = frozenset({"Downloading"})
FETCHES: Final = frozenset({ev.DOWNLOAD_STARTED, ev.DOWNLOAD_RESUMED, ev.DOWNLOAD_FAILED})  # what lets one begin


class Narrator:
    """Tells what is appended while it is entered. `hear` is the log's listener."""

    def __init__(self, recorder: "Recorder", state_dir: Path, form: str, *, each: bool = False) -> None:
        self._each, self._contents = each, Contents(recorder.state)
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
        is_end = False
        try:
            downloading = self._downloading()
            while True:
                bars.show(self._progress(downloading) if downloading else [], time.monotonic())
                try:
                    entries = self._next(REDRAW_S if downloading else None)
                except queue.Empty:
                    downloading = self._downloading()
                    continue
                is_end = entries[-1] is None
                heard = [entry for entry in entries if entry is not None]
                self._tell(heard)
                if is_end:
                    sys.stdout.flush()
                    return
                if downloading or any(entry.event.type in FETCHES for entry in heard):
                    downloading = self._downloading()  # it looks at every key, so not for every event
        except OSError:  # nobody reads any more: the hub goes on
            while not is_end and self._heard.get() is not None:
                pass
        finally:
            bars.close()

    def _tell(self, entries: list[Entry]) -> None:
        told = [entry for entry in entries if entry.event.type not in QUIET and not _is_copied_intent(entry)]
        show([record(entry, contents=self._contents) for entry in told], self._form, each=self._each)

    def _next(self, timeout_s: float | None) -> list[Entry | None]:
        """The next entries, those that come together. Lines are written out when none waits: of thousands at once not
        one by one.
        """
        try:
            first = self._heard.get_nowait()
        except queue.Empty:
            sys.stdout.flush()
            first = self._heard.get(timeout=timeout_s)
        return [first] if self._form != "table" else gathered(self._heard, first)

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


def _is_copied_intent(entry: Entry) -> bool:
    """Whether it is an edge's own word that it begins what it was ordered: the order was told."""
    return entry.event.type == ev.APPLY_INTENDED and entry.origin is not None
