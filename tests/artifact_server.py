"""A loopback HTTP server that tests can bend: it answers each request as the next `Bend` says, and counts.

In: files by path, and bends in the order of the requests to come; without one it answers as RFC 9110 wants.
Out: `requests` (path and headers, in order) and `sent` (body bytes handed to the socket).
`Stager` is a store in front of it that keeps what it was told and how long it would have slept.
"""

import contextlib
import gzip
import re
import socketserver
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from reconciler.artifacts.limits import FetchLimits
from reconciler.artifacts.store import Store
from reconciler.ports import Artifact, Staged

PIECE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Bend:
    """How one answer differs. Positions and lengths are in bytes of the body that would be sent.

    length: `right`, `absent` (the body ends with the connection), `chunked`, or a number to claim.
    cut_at: end the connection after so many bytes.  stall_at: send so many, then nothing until the client leaves.
    etag: None keeps the file's own; empty sends none.  body: another body (a login page).
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    length: int | str = "right"
    cut_at: int | None = None
    stall_at: int | None = None
    ignore_range: bool = False
    ignore_if_range: bool = False
    content_range: str | None = None
    etag: str | None = None
    gzip: bool = False
    endless: bool = False


class Request(NamedTuple):
    """One request as it came: path with query, headers with lower-case names."""

    path: str
    headers: dict[str, str]


class Loopback:
    """A server of this process on 127.0.0.1, on a thread of its own between `begin` and `__exit__`."""

    def begin(self, server: socketserver.TCPServer) -> Self:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])


@dataclass
class ArtifactServer(Loopback):
    """Serves `files` (path -> bytes) on 127.0.0.1. Use as a context manager."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"v1"'
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    _bends: deque[Bend] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                if outer.tls is not None:
                    plain = self.request
                    self.request = outer.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                super().setup()

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    _Exchange(outer, self).answer()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                if outer.tls is not None:
                    self.request.close()  # the server itself only knows the socket beneath

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = False
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that leaves in the handshake is no news."""

        return self.begin(Server(("127.0.0.1", 0), Handler))

    def url(self, path: str, *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def bend(self, *bends: Bend) -> None:
        """Answer the next requests so, in this order."""
        self._bends.extend(bends)

    def take(self, request: Request) -> Bend:
        with self._lock:
            self.requests.append(request)
            return self._bends.popleft() if self._bends else Bend()

    def count(self, sent: int) -> None:
        with self._lock:
            self.sent += sent


class _Exchange:
    def __init__(self, server: ArtifactServer, handler: socketserver.StreamRequestHandler) -> None:
        self._server, self._in, self._out = server, handler.rfile, handler.wfile

    def answer(self) -> None:
        request = self._read()
        bend = self._server.take(request)
        body = bend.body if bend.body is not None else self._server.files.get(request.path.partition("?")[0])
        etag = self._server.etag if bend.etag is None else bend.etag
        status, headers = bend.status or (200 if body is not None else 404), list(bend.headers)
        body = body or b""
        if etag:
            headers.append(("ETag", etag))
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        same = bend.ignore_if_range or request.headers.get("if-range") in {None, etag}
        if wanted and same and status == 200 and not bend.ignore_range:
            start, total = int(wanted[1]), len(body)
            status, body = (206, body[start:]) if start < total else (416, b"")
            headers.append(("Content-Range", bend.content_range or f"bytes {start}-{total - 1}/{total}"))
        if bend.gzip:
            body = gzip.compress(body, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        self._write(status, headers, body, bend)

    def _read(self) -> Request:
        path = self._in.readline().split(b" ")[1].decode()
        headers = {}
        while line := self._in.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Request(path, headers)

    def _write(self, status: int, headers: list[tuple[str, str]], body: bytes, bend: Bend) -> None:
        if bend.length == "chunked":
            headers.append(("Transfer-Encoding", "chunked"))
        elif bend.length != "absent":
            headers.append(("Content-Length", str(len(body) if bend.length == "right" else bend.length)))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._out.write(f"HTTP/1.1 {status} Bent\r\n{head}\r\n".encode("latin-1"))
        end = next((at for at in (bend.cut_at, bend.stall_at) if at is not None), len(body))
        for at in range(0, end, PIECE):
            self._piece(body[at : min(at + PIECE, end)], bend)
        while bend.endless:
            self._piece(b"\x55" * PIECE, bend)
        if bend.stall_at is not None:
            self._in.read(1)  # returns when the client leaves
        elif bend.length == "chunked" and bend.cut_at is None:
            self._out.write(b"0\r\n\r\n")

    def _piece(self, piece: bytes, bend: Bend) -> None:
        framed = b"%x\r\n%s\r\n" % (len(piece), piece) if bend.length == "chunked" else piece
        self._out.write(framed)
        self._server.count(len(piece))


@dataclass
class SteppingClock:
    """Every look at the monotonic time takes `step` seconds: a stall is over after a few looks, not after a while."""

    step: float = 0.0
    wall: float = 1_700_000_000.0
    _seconds: float = 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        self._seconds += self.step
        return self._seconds if self.step else time.monotonic()

    def gate(self) -> threading.Condition:
        return threading.Condition()


@dataclass
class Stager:
    """A store in `directory`; each call of `store` is what a restart of the process would open."""

    directory: Path
    limits: FetchLimits = field(default_factory=FetchLimits)
    clock: SteppingClock = field(default_factory=SteppingClock)
    sleeps: list[float] = field(default_factory=list)
    told: list[tuple[str, int, int | None]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def store(self) -> Store:
        settings = {"reserve_bytes": 0, "jitter": lambda: 1.0, **self.options}
        return Store(self.directory, clock=self.clock, fetch_limits=self.limits, sleep=self.sleeps.append, **settings)

    def stage(self, url: str, sha256: str, size: int | None = None, **allowed: bool) -> Staged:
        rules = {"allow_loopback": True, **allowed}
        return self.store().stage(
            Artifact(sha256, url, size, **rules), lambda *told: self.told.append(told), lambda: False
        )

    @property
    def left(self) -> list[str]:
        """Names in the store's directory."""
        return sorted(path.name for path in self.directory.iterdir())
