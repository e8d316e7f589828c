"""HTTP/1.1 on one open socket: a request out, an answer in. May import: nothing of ours.

In: a connected socket (TLS done), bytes to send, a deadline.  Out: status, headers and body, or lines as they come.
llhttp, in httptools, reads the protocol (RFC 9112). Bounded here is what it leaves open: how long an answer may take,
how large it may be, and that it may end with the connection only where nothing else says where it ends.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

RECEIVE: Final = 1 << 16
HEAD_MAX: Final = 1 << 17
ANSWER_MAX: Final = 1 << 28
LINE_MAX: Final = 1 << 24  # one watch event; etcd takes objects of about 1.5 MB


class Broken(Exception):
    """The other side closed, or what it sent is not HTTP, or more than it may."""


class Wire:
    """One socket to one server. Used by one thread at a time."""

    __slots__ = ("_answer", "_buffer", "_most", "answered", "identity", "keep", "sock", "used")

    def __init__(self, sock: Any, identity: int) -> None:
        self.sock, self.identity = sock, identity
        self.keep, self.used = True, False
        self.answered = False  # whether any byte has come since `send`, of an answer or of what is none
        self._answer = _Answer()
        self._buffer = memoryview(bytearray(RECEIVE))
        self._most = 0

    def idle(self) -> bool:
        """Whether it can take another request: nothing has come unasked, which would be the other side's end."""
        if not self.keep:
            return False
        try:
            self.sock.settimeout(0.0)
            self.sock.recv_into(self._buffer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        self.keep = False
        return False

    def send(self, request: bytes, deadline: float) -> None:
        """All of it. Raises OSError; TimeoutError once `deadline` (monotonic seconds) has passed."""
        self.answered = False
        self._answer.clear()
        self.sock.settimeout(_left(deadline))
        self.sock.sendall(request)

    def head(self, deadline: float) -> tuple[int, dict[str, str]]:
        """The status and headers of the answer; header names in lower case. Raises Broken, OSError."""
        answer, self._most = self._answer, HEAD_MAX
        while not answer.status:
            self._receive(deadline)
        self.keep = answer.keep
        return answer.status, answer.headers

    def body(self, deadline: float) -> bytes:
        """The whole body of the answer that `head` began. Raises Broken when it is cut, OSError."""
        answer, self._most = self._answer, ANSWER_MAX
        while not answer.ended:
            self._receive(deadline)
        self.keep = answer.keep
        return b"".join(answer.taken())

    def lines(self, silence_s: float) -> Iterator[bytes]:
        """One line after another, without its end, until the body ends in order. `silence_s`: between two lines.

        Raises Broken when it is cut, TimeoutError on silence.
        """
        answer = self._answer
        if not answer.chunked:
            raise Broken("answered a watch with a whole document")
        begun: list[bytes] = []
        deadline, self._most = time.monotonic() + silence_s, LINE_MAX
        while True:
            for piece in answer.taken():
                *whole, last = piece.split(b"\n")
                for line in whole:
                    begun.append(line)
                    if found := b"".join(begun):
                        yield found
                    begun.clear()
                if whole:
                    deadline, self._most = time.monotonic() + silence_s, LINE_MAX
                begun.append(last)
            if answer.ended:
                return
            self._receive(deadline)

    def close(self) -> None:
        """Let go of the socket."""
        self.keep = False
        self.sock.close()

    def cut(self) -> None:
        """End the connection under another thread that waits for it: that one sees the end."""
        with suppress(OSError):  # an SSLSocket's own shutdown takes away what the other thread reads with
            socket.socket.shutdown(getattr(self.sock, "socket", self.sock), socket.SHUT_RDWR)

    def _receive(self, deadline: float) -> None:
        """What comes next, told to the answer: what of it is sound counts, what is not is met by the next call."""
        answer = self._answer
        if answer.refused:
            raise Broken("sent something that is not HTTP/1.1") from answer.refused
        if self._most < 0:
            raise Broken("sent more than it may")
        self.sock.settimeout(_left(deadline))
        count = self.sock.recv_into(self._buffer)
        if not count:
            answer.cut()
            return
        self.answered = True
        self._most -= count
        try:
            answer.parser.feed_data(self._buffer[:count])
        except (HttpParserError, HttpParserUpgrade) as error:
            answer.refuse(error)


class _Answer:
    """What the parser tells of one answer: the methods that begin with `on_` are called by it."""

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self.clear()

    def clear(self) -> None:
        """Before the next one."""
        self.status = 0  # of the answer itself, once its headers are whole
        self.headers: dict[str, str] = {}
        self.keep, self.chunked, self.ended = True, False, False
        self.refused: Exception | None = None  # why nothing more can be read
        self._pieces: list[bytes] = []
        self._ends_with_connection = False

    def taken(self) -> list[bytes]:
        """What has come of the body and was not taken yet."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def cut(self) -> None:
        """The connection has ended. Raises Broken unless that ends the body."""
        if not self._ends_with_connection:
            raise Broken("closed the connection")
        self.ended = True

    def refuse(self, error: Exception) -> None:
        """Nothing more can be read. Behind the end of an answer that is no fault of its own."""
        self.keep, self.refused = False, error

    def on_message_begin(self) -> None:
        if self.ended:  # nobody asked for another one
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # else it is a trailer
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if self.ended:
            return
        if status < 200:  # interim
            self.headers.clear()
            return
        coding, version = self.headers.get("transfer-encoding"), self.parser.get_http_version()
        if (coding or "chunked").lower() != "chunked" or version not in {"1.0", "1.1"}:
            self.refuse(ValueError(f"HTTP/{version}, transfer coding {coding}"))
            return
        self.chunked = coding is not None
        self.keep = self.parser.should_keep_alive()
        self._ends_with_connection = not (self.chunked or "content-length" in self.headers or status in {204, 304})
        self.status = status

    def on_body(self, body: bytes) -> None:
        if not self.ended:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        self.ended = bool(self.status)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
