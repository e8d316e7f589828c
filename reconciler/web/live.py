"""The hub's log as the listener reads it: by connections and a thread of its own. May import: wiring, history.

In: a state directory.  Out: answers. The loop's own fold is never touched: this is another one, moved on by what is new
each time somebody asks, as large as what is live.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from reconciler.edge.paths import StateDirectory
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.replay import Replay
from reconciler.history.fold import fold
from reconciler.history.state import State
from reconciler.wiring.past import Past

_T = TypeVar("_T")


class LiveReplay(Replay):
    """A replay that goes on from where it was asked last. The state of the end is one object: for one thread."""

    def __init__(self, log: SqliteReader, path: Path) -> None:
        super().__init__(log, path)
        self._reader = log
        self._state: State | None = None

    def at(self, seq: int | None = None) -> State:
        """See `Replay`; without seq, the one state that is moved on."""
        if seq is not None:
            return super().at(seq)
        state, self._state = self._state, None  # dropped where a read breaks off half-way
        state = super().at() if state is None else fold(state, self._reader.read(state.seq))
        self._state = state
        return state


class LiveLog:
    """The log, and the one thread that may ask for its state."""

    def __init__(self, state_dir: Path) -> None:
        place = StateDirectory(state_dir)
        self.log = SqliteReader(place.hub.log)
        self.past = Past(self.log, LiveReplay(self.log, place.hub.log), place.hub, place)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="answers")

    async def asked(self, what: Callable[[Past], _T]) -> _T:
        """What `what` answers about the log, alone with it."""
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(self._worker, what, self.past)

    def close(self) -> None:
        """End the thread, once it has answered."""
        self._worker.shutdown(wait=True, cancel_futures=True)
        self.log.close()
