"""The runtime processes of one edge: which answers for which key, adopted again after the agent was away.
May import: ports, serving.process.

In: keys and what they should listen on.  Out: running runtimes; a call when one has ended, from a watching thread.
"""

import contextlib
import hashlib
import os
import selectors
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.errors import RuntimeUnavailable
from reconciler.history.keys import Key
from reconciler.ports import Answer
from reconciler.serving.process import End, RuntimeProcess, RuntimeSpec, adopt, end_orphan, start


def runtime_spec(directory: Path, spec: dict[str, Any]) -> RuntimeSpec:
    """The runtime that an order's spec needs. Its directory is named by its endpoint, so two can stand side by side."""
    model, address, port = spec["model"], spec["address"], spec["port"]
    name = hashlib.sha256(f"{model} {address} {port}".encode()).hexdigest()[:8]
    return RuntimeSpec(model=model, address=address, port=port, directory=directory / f"runtime-{name}")


class Runtimes:
    """At most one serving runtime a key. Thread-safe for different keys."""

    def __init__(self, services: Path, ended: Callable[[Key, int, End], None]) -> None:
        """services: the directory below which every runtime of this edge has its own.

        ended: called from the watching thread with the key, the process id and how, when a runtime ended unasked.
        """
        self._services, self._ended = services.resolve(), ended
        self._running: dict[Key, RuntimeProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._closed = False
        self._watcher = threading.Thread(target=self._watch, name="runtimes", daemon=True)
        self._watcher.start()

    def of(self, key: Key) -> RuntimeProcess | None:
        """The runtime that serves the key, as far as it is known."""
        return self._running.get(key)

    def answer(self, key: Key) -> Answer | None:
        """What the key's runtime itself says; None when there is none or it is silent."""
        runtime = self._running.get(key)
        if runtime is None:
            return None
        try:
            return runtime.answer()
        except RuntimeUnavailable:
            return None

    def adopt(self, key: Key, wanted: RuntimeSpec) -> RuntimeProcess | None:
        """The runtime that an earlier agent left running here, if it is the one that is wanted."""
        found = adopt(wanted)
        if found is not None:
            self.register(key, found)
        return found

    def start(self, wanted: RuntimeSpec, patience_s: float = 0.0) -> RuntimeProcess:
        """A runtime that serves nothing yet, unwatched until it is registered. Raises PortTaken, RuntimeUnavailable.

        patience_s: how long it is waited for the port.
        """
        found = adopt(wanted)
        if found is None:
            end_orphan(wanted, self._services)
        return found or start(wanted, patience_s=patience_s)

    def register(self, key: Key, runtime: RuntimeProcess) -> RuntimeProcess | None:
        """Make `runtime` the one that serves the key, and watch it; the one that served before, if it is another."""
        with self._lock:
            old = self._running.get(key)
            if old is not None and old.pid == runtime.pid:
                return None
            if old is not None:
                self._forget(old)
            self._running[key] = runtime
            self._selector.register(runtime, selectors.EVENT_READ, key)
        os.write(self._wake_in, b"w")
        return old

    def drop(self, key: Key) -> None:
        """End the key's runtime in an orderly way."""
        with self._lock:
            runtime = self._running.pop(key, None)
            if runtime is not None:
                self._forget(runtime)
        if runtime is not None:
            runtime.stop()

    def _forget(self, runtime: RuntimeProcess) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(runtime)

    def _watch(self) -> None:
        while not self._closed:
            for ready, _ in self._selector.select():
                if ready.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_out, 512)
                    continue
                key: Key = ready.data
                with self._lock:
                    runtime = self._running.get(key)
                    if runtime is None or ready.fileobj is not runtime:
                        continue
                    del self._running[key]
                    self._forget(runtime)
                runtime.close()
                self._ended(key, runtime.pid, runtime.end)

    def close(self, *, stop: bool) -> None:
        """End watching. stop: end every runtime too (an orderly end); otherwise they go on and are adopted later."""
        self._closed = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_in, b"w")
        self._watcher.join()
        for key, runtime in list(self._running.items()):
            if stop:
                self.drop(key)
            runtime.close()
        self._running.clear()
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)
