"""The process behind `api_proxy.ApiProxy`: HTTP/1.1 over TLS on both sides, one thread a connection.

In: pickled commands by stdin, one answer each by stdout; it ends with stdin.  Out: what the rules let through.
Each client connection has a connection of its own to the API server; both are kept alive.
"""

import contextlib
import io
import os
import pickle
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import IO, Any, Final
from urllib.parse import urlsplit

import msgspec

from tests.api_proxy import (
    ON_LINES,
    Answer,
    BrokenTls,
    Cut,
    CutBody,
    CutLine,
    Delay,
    Fault,
    Hold,
    Insert,
    Repeat,
    Request,
    Rule,
    Shuffle,
    Swap,
    status_body,
    verb_of,
)

PIECE: Final = 1 << 16
Headers = Mapping[str, str]


class Proxy:
    """What all connections share: rules with their counts, the record, who is connected."""

    def __init__(self, server: str, authority: str, own: Any, untrusted: Any) -> None:
        parts = urlsplit(server)
        self.upstream = (parts.hostname or "", parts.port or 443)
        self.trust = ssl.create_default_context(cadata=authority)
        self.contexts = {name: _server_context(path) for name, path in (("own", own), ("untrusted", untrusted))}
        self.lock = threading.Lock()
        self.rules: list[list[Any]] = []  # [rule, how many it has seen]
        self.record: list[list[Request]] = []  # cells, since an answer is noted later
        self.lanes: set[Lane] = set()
        self.silence = threading.Event()  # set when held watches are to end
        self.down_until = 0.0
        self.dialled = 0  # connections to the API server so far

    def act(self, request: Request | None, kinds: tuple[type[Fault], ...]) -> list[Fault]:
        """Faults of these kinds whose turn it is: delays, and the first of the others. None: a connection."""
        with self.lock:
            found: list[Fault] = []
            done = False
            for row in self.rules:
                rule: Rule = row[0]
                if not isinstance(rule.fault, kinds) or (request is not None and not rule.fits(request)):
                    continue
                row[1] += 1
                its_turn = row[1] > rule.after and (rule.times is None or row[1] <= rule.after + rule.times)
                if its_turn and (isinstance(rule.fault, Delay) or not done):
                    found.append(rule.fault)
                    done = done or not isinstance(rule.fault, Delay)
            return found

    def add(self, rules: tuple[Rule, ...]) -> None:
        """New rules; what they do to open connections happens before this returns."""
        with self.lock:
            self.rules += [[rule, 0] for rule in rules]
            lanes = list(self.lanes)
        for lane in lanes:
            with contextlib.suppress(OSError):  # its client is gone
                lane.insert()
        if any(isinstance(rule.fault, BrokenTls) for rule in rules):
            self.cut()

    def clear(self) -> None:
        """No rules, no outage, no held watch."""
        with self.lock:
            self.rules, self.down_until = [], 0.0
            self.silence.set()
            self.silence = threading.Event()

    def outage(self, seconds: float | None) -> None:
        """Nothing gets through."""
        self.down_until = float("inf") if seconds is None else time.monotonic() + seconds
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        with self.lock:
            lanes = list(self.lanes)
        for lane in lanes:
            lane.cut()

    def accept(self, listener: socket.socket) -> None:
        """Take connections for ever."""
        while True:
            client, _ = listener.accept()
            lane = Lane(self, client)
            with self.lock:
                self.lanes.add(lane)
            threading.Thread(target=lane.run, daemon=True).start()


class Lane:
    """One client's connection with its connection to the API server."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.server: socket.socket | None = None
        self.requests: IO[bytes]
        self.answers: IO[bytes]
        self.cell: list[Request] = []  # the current request, in the record
        self.watching: Request | None = None
        self.writing = threading.Lock()  # a line of a watch may come from two threads

    def run(self) -> None:
        """Requests until either side ends."""
        with contextlib.suppress(OSError, ValueError):
            if time.monotonic() >= self.proxy.down_until and self._handshake():
                self.requests = self.client.makefile("rb")
                while self._one():
                    pass
        with self.proxy.lock:
            self.proxy.lanes.discard(self)
        self.cut()
        self.client.close()
        if self.server is not None:
            self.server.close()

    def cut(self) -> None:
        """End it, from any thread."""
        for side in (self.client, self.server):
            if side is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(side, socket.SHUT_RDWR)

    def _handshake(self) -> bool:
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        broken = self.proxy.act(None, (BrokenTls,))
        how = broken[0].how if broken and isinstance(broken[0], BrokenTls) else "own"
        if how == "garbage":
            self.client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\nthis is not TLS")
        if how not in self.proxy.contexts:
            return False
        self.client = self.proxy.contexts[how].wrap_socket(self.client, server_side=True)
        return True

    def _one(self) -> bool:
        """One request and its answer. Whether the connection goes on."""
        head = _head(self.requests)
        if not head or time.monotonic() < self.proxy.down_until:
            return False
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        headers = _headers(head)
        body = b"".join(_wire(self.requests, headers, endless=False))
        path, _, query = target.partition("?")
        token = headers.get("authorization", "").removeprefix("Bearer ")
        verb, agent = verb_of(method, path, query), headers.get("user-agent", "")
        request = Request(time.monotonic(), method, path, query, verb, agent, token, size=len(body))
        self.cell = [request]
        with self.proxy.lock:
            self.proxy.record.append(self.cell)
        faults = self.proxy.act(request, (Answer, Cut, CutBody, Delay, Shuffle))
        self._note(fault=" ".join(type(fault).__name__ for fault in faults))
        self._wait(faults, applied=False)
        for fault in faults:
            if isinstance(fault, Answer):
                self._answer(fault)
                return True
            if fault == Cut(applied=False):
                return False
        return self._forward(request, head, body, faults)

    def _forward(self, request: Request, head: bytes, body: bytes, faults: list[Fault]) -> bool:
        if Shuffle() in faults:
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"accept-encoding"))
        self._connect()
        assert self.server is not None
        self.server.sendall(head + body)
        answer = _head(self.answers)
        if not answer:
            return False
        status, headers = int(answer.split(b" ", 2)[1]), _headers(answer)
        self._note(answered=status)
        empty = request.method == "HEAD" or status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        if request.verb == "watch" and status == HTTPStatus.OK:
            self._wait(faults, applied=True)
            if Cut(applied=True) in faults:
                return False
            self._note(status=status)
            self.client.sendall(answer)
            return self._watch(request, headers)
        pieces = iter(()) if empty else _wire(self.answers, headers, endless=True)
        if any(fault in (Cut(applied=True), CutBody(), Shuffle()) or isinstance(fault, Delay) for fault in faults):
            pieces = iter([b"".join(pieces)])  # the server has applied it, to the last byte of its answer
        self._wait(faults, applied=True)
        if Cut(applied=True) in faults:
            return False
        if Shuffle() in faults and status == HTTPStatus.OK:
            answer, pieces = _shuffled(answer, headers, b"".join(pieces))
        self._note(status=status)
        if CutBody() in faults:
            body = b"".join(pieces)
            self.client.sendall(answer + body[: len(body) // 2])
            return False
        waiting = answer
        for piece in pieces:
            waiting += piece
            if len(waiting) >= PIECE:
                self.client.sendall(waiting)
                waiting = b""
        self.client.sendall(waiting)
        sized = empty or "content-length" in headers or "chunked" in headers.get("transfer-encoding", "")
        return sized and headers.get("connection", "").lower() != "close"

    def _watch(self, request: Request, headers: Headers) -> bool:
        """Line by line, as the rules want. The connection ends with the watch: False."""
        silence = self.proxy.silence
        self.watching = request
        threading.Thread(target=self._leave, daemon=True).start()
        try:
            self.insert()
            late: list[bytes] = []
            for line in _lines(_plain(_wire(self.answers, headers, endless=True), headers)):
                faults = self.proxy.act(request, ON_LINES)
                fault = faults[0] if faults else None
                if fault is not None:
                    self._note(fault=type(fault).__name__)
                if fault == Hold():
                    silence.wait()
                    return False
                if fault == CutLine():
                    self._send(line[: len(line) // 2])
                    return False
                if fault == Swap():
                    late.append(line)
                    continue
                for each in [line, line] if fault == Repeat() else [line, *late]:
                    self._send(each)
                late.clear()
            self._send(b"")
            return False
        finally:
            self.watching = None

    def _leave(self) -> None:
        """End the watch when its client goes, so that no rule acts on what nobody reads."""
        ends = select.poll()
        with contextlib.suppress(OSError, ValueError):
            ends.register(self.client, select.POLLIN)
            ends.poll()
        self.watching = None
        self.cut()

    def insert(self) -> None:
        """Send what is to be inserted here, from any thread."""
        request = self.watching
        if request is None:
            return
        for fault in self.proxy.act(request, (Insert,)):
            assert isinstance(fault, Insert)
            self._note(fault="Insert")
            self._send(msgspec.json.encode(fault.event) + b"\n")
            if fault.end:
                self._send(b"")
                self.cut()

    def _send(self, line: bytes) -> None:
        """One chunk; an empty one ends the answer in order."""
        with self.writing:
            self.client.sendall(b"%x\r\n%b\r\n" % (len(line), line))

    def _connect(self) -> None:
        """Have a connection to the API server that it has not ended meanwhile."""
        if self.server is not None:
            if not select.select([self.server], [], [], 0)[0]:
                return
            self.server.close()  # nothing can come unasked but the end
        self.proxy.dialled += 1
        plain = socket.create_connection(self.proxy.upstream)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server = self.proxy.trust.wrap_socket(plain, server_hostname=self.proxy.upstream[0])
        self.answers = self.server.makefile("rb")

    def _answer(self, answer: Answer) -> None:
        body = status_body(answer)
        headers = {"Content-Type": "application/json", **answer.headers, "Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {answer.status} Bent", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._note(status=answer.status)
        self.client.sendall("\r\n".join(lines).encode() + body)

    def _note(self, *, fault: str = "", **fields: Any) -> None:
        with self.proxy.lock:
            old = self.cell[0]
            self.cell[0] = old._replace(fault=f"{old.fault} {fault}".strip(), **fields)

    def _wait(self, faults: list[Fault], *, applied: bool) -> None:
        for fault in faults:
            if isinstance(fault, Delay) and fault.applied == applied:
                time.sleep(fault.seconds)


def _server_context(path: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _head(file: IO[bytes]) -> bytes:
    """Start line and header lines to the empty one; empty at the end of the connection."""
    lines = []
    while (line := file.readline()) not in {b"\r\n", b""}:
        lines.append(line)
    return b"".join(lines) + line if lines and line else b""


def _headers(head: bytes) -> dict[str, str]:
    rows = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:] if line)
    return {name.lower(): value.strip() for name, _, value in rows}


def _wire(file: IO[bytes], headers: Headers, *, endless: bool) -> Iterator[bytes]:
    """A body as it is on the wire, chunk framing and all. endless: without a length it ends with the connection."""
    read1: Callable[[int], bytes] = file.read1  # type: ignore[attr-defined]  # makefile("rb") is a BufferedReader
    if "chunked" in headers.get("transfer-encoding", ""):
        size = -1
        while size:
            line = file.readline()
            if not line:
                raise ConnectionError("the body ended before its last chunk")
            size = int(line.split(b";")[0], 16)
            yield line + (file.read(size + 2) if size else file.readline())
    elif "content-length" in headers:
        left = int(headers["content-length"])
        while left:
            piece = read1(min(left, PIECE))
            if not piece:
                raise ConnectionError("the body ended before its length")
            left -= len(piece)
            yield piece
    elif endless:
        while piece := read1(PIECE):
            yield piece


def _plain(wire: Iterator[bytes], headers: Headers) -> Iterator[bytes]:
    """The body without its framing."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        yield from wire
        return
    for chunk in wire:
        yield chunk.partition(b"\r\n")[2][:-2]


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    waiting = b""
    for piece in pieces:
        *lines, waiting = (waiting + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)


def _shuffled(head: bytes, headers: Headers, wire: bytes) -> tuple[bytes, Iterator[bytes]]:
    """A list's answer with its items the other way round."""
    document = msgspec.json.decode(b"".join(_plain(_chunks(wire, headers), headers)))
    document["items"] = (document.get("items") or [])[::-1]
    body = msgspec.json.encode(document)
    framing = (b"content-length:", b"transfer-encoding:")
    kept = [line for line in head.rstrip(b"\r\n").split(b"\r\n") if not line.lower().startswith(framing)]
    return b"\r\n".join([*kept, b"Content-Length: %d" % len(body), b"", b""]), iter([body])


def _chunks(wire: bytes, headers: Headers) -> Iterator[bytes]:
    """A whole body on the wire, chunk by chunk again."""
    yield from _wire(io.BytesIO(wire), headers, endless=True)


def serve() -> None:
    """The child's main: see the module."""
    commands, answers = sys.stdin.buffer, sys.stdout.buffer
    server, authority, own, untrusted = pickle.load(commands)
    proxy = Proxy(server, authority, own, untrusted)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    threading.Thread(target=proxy.accept, args=[listener], daemon=True).start()
    answer: Any = listener.getsockname()[1]
    while True:
        pickle.dump(answer, answers)
        answers.flush()
        try:
            verb, *words = pickle.load(commands)
        except EOFError:
            os._exit(0)
        with proxy.lock:
            answer = {"requests": [cell[0] for cell in proxy.record], "dialled": proxy.dialled}.get(verb)
            if verb == "forget":
                proxy.record = []
        if verb in {"add", "clear", "outage"}:
            getattr(proxy, verb)(*words)
