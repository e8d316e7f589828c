"""HTTP/1.1 on one open socket: a request out, an answer in. May import: nothing of ours.

In: a connected socket (TLS done), bytes to send, a deadline.  Out: status, headers and body, or lines as they come.
It reads what an API server sends and no more (RFC 9112): no trailers kept, no compression asked for, no redirect
followed. A general client spends more time on its own objects than an answer takes to read.
"""

import select
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, Final

RECEIVE: Final = 1 << 18
HEAD_MAX: Final = 1 << 16
BODY_MAX: Final = 1 << 28
LINE_MAX: Final = 1 << 24  # one watch event; etcd takes objects of about 1.5 MB


class Broken(Exception):
    """The other side closed, or what it sent is not HTTP. answered: whether any byte of an answer had come."""

    def __init__(self, words: str, *, answered: bool) -> None:
        super().__init__(words)
        self.answered = answered


class Wire:
    """One socket to one server. Used by one thread at a time."""

    __slots__ = ("_poll", "_rest", "identity", "keep", "sock", "used")

    def __init__(self, sock: Any, identity: int) -> None:
        self.sock, self.identity = sock, identity
        self.keep, self.used = True, False
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)

    def idle(self) -> bool:
        """Whether it can take another request: nothing has come unasked, which would be the other side's end."""
        return self.keep and not self._rest and not self._poll.poll(0)

    def send(self, request: bytes, deadline: float) -> None:
        """All of it. Raises OSError; TimeoutError once `deadline` (monotonic seconds) has passed."""
        self.sock.settimeout(_left(deadline))
        self.sock.sendall(request)

    def head(self, deadline: float) -> tuple[int, dict[str, str]]:
        """The status and headers of the answer; header names in lower case. Raises Broken, OSError."""
        status, headers = self._one_head(deadline)
        while status < 200:  # an interim answer: 100, 103
            status, headers = self._one_head(deadline)
        return status, headers

    def _one_head(self, deadline: float) -> tuple[int, dict[str, str]]:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > HEAD_MAX:
                raise Broken("sent a header without an end", answered=True)
            data += self._receive(deadline, answered=bool(data))
        self._rest = data[end + 4 :]
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise Broken("sent something that is not HTTP/1.1", answered=True)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return int(rest[:3]), headers

    def body(self, status: int, headers: dict[str, str], deadline: float) -> bytes:
        """The answer's whole body. Raises Broken when it is cut or above BODY_MAX, OSError."""
        if status in {204, 304}:
            return b""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            pieces = list(self.chunks(deadline))
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if "content-length" in headers:
            return self._exactly(_length(headers["content-length"], 10), deadline)
        self.keep = False  # the body ends where the connection does
        return b"".join(self._until_closed(deadline))

    def chunks(self, deadline: float) -> Iterator[bytes]:
        """The pieces of a chunked body (RFC 9112 §7.1), to its end."""
        total = 0
        while size := _length(self._line(deadline).split(b";", 1)[0].decode("latin-1"), 16):
            total += size
            if total > BODY_MAX:
                raise Broken("sent more than it may", answered=True)
            yield self._exactly(size, deadline)
            self._line(deadline)
        while self._line(deadline):  # trailers
            pass

    def lines(self, headers: dict[str, str], silence_s: float) -> Iterator[bytes]:
        """One line after another, without its end, until the body ends in order. `silence_s`: between two lines.

        Raises Broken when it is cut, TimeoutError on silence.
        """
        if "chunked" not in headers.get("transfer-encoding", "").lower():
            raise Broken("answered a watch with a whole document", answered=True)
        begun: list[bytes] = []
        held = 0
        deadline = time.monotonic() + silence_s
        while size := _length(self._line(deadline).split(b";", 1)[0].decode("latin-1"), 16):
            *whole, last = self._exactly(size, deadline).split(b"\n")
            self._line(deadline)
            for line in whole:
                begun.append(line)
                if found := b"".join(begun):
                    yield found
                begun, held = [], 0
            if whole:
                deadline = time.monotonic() + silence_s
            begun.append(last)
            held += len(last)
            if held > LINE_MAX:
                raise Broken("sent a watch event without an end", answered=True)

    def close(self) -> None:
        """Let go of the socket."""
        self.keep = False
        self.sock.close()

    def cut(self) -> None:
        """End the connection under another thread that waits for it: that one sees the end."""
        try:
            if isinstance(self.sock, ssl.SSLSocket):  # its own shutdown takes away what the other thread reads with
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            else:
                self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _receive(self, deadline: float, *, answered: bool) -> bytes:
        self.sock.settimeout(_left(deadline))
        data: bytes = self.sock.recv(RECEIVE)
        if not data:
            raise Broken("closed the connection", answered=answered)
        return data

    def _line(self, deadline: float) -> bytes:
        while (end := self._rest.find(b"\r\n")) < 0:
            if len(self._rest) > HEAD_MAX:
                raise Broken("sent a line without an end", answered=True)
            self._rest += self._receive(deadline, answered=True)
        line, self._rest = self._rest[:end], self._rest[end + 2 :]
        return line

    def _exactly(self, size: int, deadline: float) -> bytes:
        if size > BODY_MAX:
            raise Broken("sent more than it may", answered=True)
        if len(self._rest) >= size:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        pieces, have = [self._rest], len(self._rest)
        while have < size:
            pieces.append(self._receive(deadline, answered=True))
            have += len(pieces[-1])
        data = b"".join(pieces)
        self._rest = data[size:]
        return data[:size]

    def _until_closed(self, deadline: float) -> Iterator[bytes]:
        data, total, self._rest = self._rest, 0, b""
        while data:
            yield data
            total += len(data)
            if total > BODY_MAX:
                raise Broken("sent more than it may", answered=True)
            self.sock.settimeout(_left(deadline))
            data = self.sock.recv(RECEIVE)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _length(text: str, base: int) -> int:
    digits = text.strip()
    try:
        size = int(digits, base)
    except ValueError:
        size = -1
    if size < 0 or not digits.isalnum():
        raise Broken("sent a body without a length", answered=True)
    return size
