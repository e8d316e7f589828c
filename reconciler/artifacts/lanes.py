"""A thread with a bounded queue in front: hashing and writing go on while the next bytes arrive. Standard library only.

hashlib, zlib and os.write release the interpreter lock, so two lanes and their feeder use two cores.
"""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Lane(Generic[Item]):
    """Applies `work` to every item that is put, in order, in a thread of its own. At most `depth` items wait."""

    def __init__(self, work: Callable[[Item], None], *, depth: int = 8) -> None:
        self._work = work
        self._failure: BaseException | None = None
        self._queue: queue.Queue[Item | None] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item; waits while the queue is full. Raises what `work` raised on an earlier item."""
        self._raise()
        self._queue.put(item)

    def drain(self) -> None:
        """Return when all that was put is done. Raises what `work` raised."""
        self._queue.join()
        self._raise()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the thread, after what was put. A failure of `work` is raised unless another is on its way."""
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            try:
                if item is None:
                    return
                if self._failure is None:  # after a failure the rest is swallowed, so that nobody waits for ever
                    self._work(item)
            except BaseException as failure:  # noqa: BLE001  # raised again in the feeding thread
                self._failure = failure
            finally:
                self._queue.task_done()
