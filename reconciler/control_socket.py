"""The control socket: how the processes of one machine talk. Imports diagnostics and errors; light at rest.

In: one JSON object on one line, from a process of the same user.  Out: one JSON object on one line.
A Unix stream socket of mode 0600. A request has a `verb`; what the verbs are is the handler's business.
A socket's path may hold 107 bytes, so every path is reached through /proc/self/fd/<directory>/<name>.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from reconciler.diagnostics import Diagnostic
from reconciler.errors import (
    HubUnreachable,
    ReconcilerError,
    RepositoryRefused,
    SecondWriter,
    SettingInvalid,
    UsageError,
    WorldUnavailable,
    error_classes,
)

Handler = Callable[[dict[str, Any]], dict[str, Any]]

REQUEST_CAP: Final = 1 << 20  # bytes of one request
PATIENCE_S: Final = 5.0  # how long a caller may take to say its line, or to take its answer
FULL_PAUSE_S: Final = 0.1
BACKLOG: Final = 128


class ControlServer:
    """A listening control socket with its own thread, blocked in accept at rest. Made by `serve`."""

    def __init__(self, path: Path, listener: socket.socket, handle: Handler, callers: int) -> None:
        self._path = path
        self._listener = listener
        self._inode = path.stat().st_ino
        self._handle = handle
        self._free = threading.BoundedSemaphore(callers)
        self._callers: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._run, name=f"control {path.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish the requests in hand, stop listening and remove the socket. Idempotent; not from a handler."""
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for caller in list(self._callers):
            caller.join()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:  # a successor may stand there already
                self._path.unlink()

    def _run(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError as error:
                if error.errno == errno.EINVAL:  # shut down by `close`
                    return
                time.sleep(FULL_PAUSE_S)  # no descriptor is free: the caller waits in the queue
                continue
            self._free.acquire()
            thread = threading.Thread(target=self._serve, args=(caller,), name=f"{self._thread.name} call", daemon=True)
            self._callers.add(thread)
            thread.start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            with caller, contextlib.suppress(OSError):  # the caller went away: nobody is left to tell
                caller.settimeout(PATIENCE_S)
                caller.sendall(self._answer(caller))
        finally:
            self._callers.discard(threading.current_thread())
            self._free.release()

    def _answer(self, caller: socket.socket) -> bytes:
        try:
            request = _request(caller)
        except UsageError as error:
            return _line({"error": _described(error)})
        try:
            return _line(self._handle(request))
        except ReconcilerError as error:
            return _line({"error": _described(error)})
        except Exception as error:  # noqa: BLE001  # a bug in one verb must not end the others; it keeps its traceback
            traceback.print_exc()
            return _line({"error": _described(ReconcilerError(f"{type(error).__name__}: {error}"))})


def serve(path: Path, handle: Handler, *, callers: int = 1) -> ControlServer:
    """A server that answers each request on `path` with what `handle` returns, in threads of its own.

    callers: how many are answered at a time; one that waits keeps the others waiting where that is one.
    A ReconcilerError from `handle` is raised again at the caller. A socket that nobody listens on is replaced.
    Raises SecondWriter when a living process listens there, SettingInvalid when the path cannot be a socket.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _reached(path) as (directory, name):
            fcntl.flock(directory, fcntl.LOCK_EX)  # two processes that replace a stale socket take turns
            _clear(path, name)
            os.fchmod(listener.fileno(), 0o600)  # before bind: the file is created with this mode
            listener.bind(name)
            listener.listen(BACKLOG)
        return ControlServer(path, listener, handle, callers)
    except OSError as error:
        listener.close()
        raise SettingInvalid(f"no control socket at {path}: {error.strerror}") from error
    except SecondWriter:
        listener.close()
        raise


def call(path: Path, request: dict[str, Any], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """The answer of the process that serves `path`.

    timeout_s: for connecting and then for each silence, so a verb that works long needs a long one.
    Raises HubUnreachable when nobody listens, WorldUnavailable when no whole answer came, and whatever
    ReconcilerError the handler raised, as the same class with its message and hint. UsageError: too long a request.
    """
    said = _line(request)
    if len(said) > REQUEST_CAP:
        raise UsageError(f"a request holds at most {REQUEST_CAP} bytes")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout_s)
        try:
            with _reached(path) as (_, name):
                line.connect(name)
        except OSError as error:
            raise HubUnreachable(f"nobody listens at {path}: {error.strerror or error}") from error
        try:
            line.sendall(said)
            with line.makefile("rb") as stream:
                said = stream.readline()
        except TimeoutError as error:
            raise WorldUnavailable(f"no answer at {path} within {timeout_s:g} s") from error
        except OSError as error:
            raise WorldUnavailable(f"{path} broke off: {error.strerror}") from error
    if not said.endswith(b"\n"):
        raise WorldUnavailable(f"{path} broke off before it answered")
    answer: dict[str, Any] = json.loads(said)
    if "error" in answer:
        raise revived(answer["error"])
    return answer


def ring(path: Path, caller: str = "") -> None:
    """Tell the process at `path`, if there is one, that the log of `caller` has news. Never waits, never raises."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, contextlib.suppress(OSError):
        line.setblocking(False)
        with _reached(path) as (_, name):
            line.connect(name)
        line.send(_line({"verb": "ring", "caller": caller}))


@contextlib.contextmanager
def _reached(path: Path) -> Iterator[tuple[int, str]]:
    """The open directory of `path`, and a short name for `path` that holds while it is open."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield directory, f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _clear(path: Path, name: str) -> None:
    """Remove the socket of a process that is gone. Raises SecondWriter naming the one that is not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect(name)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if path.is_socket():  # anything else that stands there is not ours to remove
                path.unlink()
            return
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        raise SecondWriter(f"process {pid} listens at {path} already")


def _request(caller: socket.socket) -> dict[str, Any]:
    with caller.makefile("rb") as stream:
        said = stream.readline(REQUEST_CAP + 1)
    if len(said) > REQUEST_CAP:
        raise UsageError(f"a request holds at most {REQUEST_CAP} bytes")
    try:
        request = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise UsageError("a request is one JSON object on one line") from error
    if not isinstance(request, dict):
        raise UsageError("a request is one JSON object on one line")
    return request


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _described(error: ReconcilerError) -> dict[str, Any]:
    described: dict[str, Any] = error.as_dict()
    if isinstance(error, RepositoryRefused):
        described["problems"] = [problem.as_dict() for problem in error.problems]
    return described


def revived(described: Mapping[str, Any]) -> ReconcilerError:
    """The error that another process described, as the same class."""
    cls = next((cls for cls in error_classes() if cls.code == described["code"]), ReconcilerError)
    if issubclass(cls, RepositoryRefused):
        return cls([Diagnostic.from_dict(each) for each in described["problems"]], hint=described["hint"])
    return cls(described["error"], hint=described["hint"])
