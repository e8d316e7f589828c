"""An HTTP server on loopback that answers what a test says, byte for byte, and remembers what it was asked.

    with ScriptedServer([answer(429, {"Retry-After": "7"}), CLOSE]) as server: ...

Answers are taken in order, one a request, whichever connection it comes on; behind the last one every request gets 200.
"""

import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

CLOSE: Final = b""  # read the request, answer nothing, close
HOLD: Final = None  # read the request, answer nothing, stay open
RESET: Final = b"RESET"  # read the request, cut the connection hard

Script = Sequence[bytes | None]


class Asked(NamedTuple):
    """One request. connection: which one it came on, from 1."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


def answer(status: int, headers: Mapping[str, str] = {}, body: bytes = b"{}", form: str = "application/json") -> bytes:
    said = {"Content-Type": form, "Content-Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in said.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(code: int, message: str, *, reason: str = "", **details: Any) -> bytes:
    """A metav1.Status."""
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    return json.dumps(document | {"reason": reason} | ({"details": details} if details else {})).encode()


class ScriptedServer:
    def __init__(self, script: Script = ()) -> None:
        self.requests: list[Asked] = []
        self.connections = 0
        self._script = list(script)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, directory: Path, **user: Any) -> Path:
        path = directory / "kubeconfig"
        document = {
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.server}}],
            "users": [{"name": "me", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        path.write_text(json.dumps(document))
        return path

    def say(self, *script: bytes | None) -> None:
        with self._lock:
            self._script += script

    def left_open(self, wait_s: float = 5.0) -> int:
        """How many connections their clients have not ended, once all have or `wait_s` is over."""
        deadline = time.monotonic() + wait_s
        for thread in self._threads[1:]:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in self._threads[1:])

    def drop(self) -> None:
        """Close every connection that is open, as a server does with idle ones."""
        with self._lock:
            lines, self._open = self._open, []
        for line in lines:
            with suppress(OSError):  # the client was first
                line.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.append(line)
                thread = threading.Thread(target=self._serve, args=(line, self.connections))
                self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket, number: int) -> None:
        with line, line.makefile("rb") as reader:
            while (first := reader.readline())[-11:-3] == b" HTTP/1.":  # else it is no request: the end, or TLS
                method, target, _ = first.decode().split(" ", 2)
                headers = {}
                while (header := reader.readline().strip()) != b"":
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", "0")))
                with self._lock:
                    self.requests.append(Asked(method, target, headers, body, number))
                    said = self._script.pop(0) if self._script else answer(200)
                if said is HOLD:
                    continue
                if said == RESET:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                if said in {CLOSE, RESET}:
                    break
                line.sendall(said)
        with self._lock:
            if line in self._open:
                self._open.remove(line)
