"""HTTP/1.1 on one open socket: a request out, an answer in. May import: nothing of ours.

In: a connected socket (TLS done), bytes to send, a deadline.  Out: status, headers and body, or lines as they come.
The standard library reads the protocol (RFC 9112). Bounded here is what it leaves open: how long an answer may take,
how large it may be, and that it may end with the connection only where nothing else says where it ends.
"""

import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import Any, Final

RECEIVE: Final = 1 << 16
ANSWER_MAX: Final = 1 << 28
LINE_MAX: Final = 1 << 24  # one watch event; etcd takes objects of about 1.5 MB


class Broken(Exception):
    """The other side closed, or what it sent is not HTTP, or more than it may."""


class Wire:
    """One socket to one server. Used by one thread at a time."""

    __slots__ = ("_answer", "_incoming", "_reader", "identity", "keep", "sock", "used")

    def __init__(self, sock: Any, identity: int) -> None:
        self.sock, self.identity = sock, identity
        self.keep, self.used = True, False
        self._incoming = _Incoming(sock)
        self._reader: Any = _Reader(self._incoming, RECEIVE)
        self._answer: HTTPResponse

    @property
    def answered(self) -> bool:
        """Whether any byte has come since `send`, of an answer or of what is none."""
        return self._incoming.came

    def idle(self) -> bool:
        """Whether it can take another request: nothing has come unasked, which would be the other side's end."""
        self._incoming.expect(None, ANSWER_MAX)
        try:
            self._reader.peek(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return self.keep
        except (Broken, OSError):
            pass
        return False

    def send(self, request: bytes, deadline: float) -> None:
        """All of it. Raises OSError; TimeoutError once `deadline` (monotonic seconds) has passed."""
        self._incoming.came = False
        self.sock.settimeout(_left(deadline))
        self.sock.sendall(request)

    def head(self, deadline: float) -> tuple[int, dict[str, str]]:
        """The status and headers of the answer; header names in lower case. Raises Broken, OSError."""
        self._incoming.expect(deadline, ANSWER_MAX)
        with _http():
            answer = self._begun()
            while answer.status < 200:  # interim; http.client passes over 100 only
                answer = self._begun()
        self._answer, self.keep = answer, not answer.will_close
        return answer.status, {name.lower(): value.strip() for name, value in answer.headers.items()}

    def _begun(self) -> HTTPResponse:
        """http.client reads a body whose length it does not understand until the connection ends; that is refused."""
        answer = HTTPResponse(self._reader)
        answer.begin()
        lengths = [said.strip() for said in answer.headers.get_all("content-length", [])]
        if lengths not in ([], [str(answer.length)]) or answer.headers.defects:
            raise HTTPException
        if "transfer-encoding" in answer.headers and not answer.chunked:
            raise HTTPException
        return answer

    def body(self, deadline: float) -> bytes:
        """The whole body of the answer that `head` began. Raises Broken when it is cut, OSError."""
        may_end = self._answer.length is None and not self._answer.chunked
        self._incoming.expect(deadline, ANSWER_MAX, may_end=may_end)
        return b"".join(_pieces(self._answer.read))

    def lines(self, silence_s: float) -> Iterator[bytes]:
        """One line after another, without its end, until the body ends in order. `silence_s`: between two lines.

        Raises Broken when it is cut, TimeoutError on silence.
        """
        if not self._answer.chunked:
            raise Broken("answered a watch with a whole document")
        begun: list[bytes] = []
        self._incoming.expect(time.monotonic() + silence_s, LINE_MAX)
        for piece in _pieces(self._answer.read1):  # its readline takes a chunk without a size for the end
            *whole, last = piece.split(b"\n")
            for line in whole:
                begun.append(line)
                if found := b"".join(begun):
                    yield found
                begun.clear()
            if whole:
                self._incoming.expect(time.monotonic() + silence_s, LINE_MAX)
            begun.append(last)

    def close(self) -> None:
        """Let go of the socket."""
        self.keep = False
        self.sock.close()

    def cut(self) -> None:
        """End the connection under another thread that waits for it: that one sees the end."""
        with suppress(OSError):  # an SSLSocket's own shutdown takes away what the other thread reads with
            socket.socket.shutdown(getattr(self.sock, "socket", self.sock), socket.SHUT_RDWR)


class _Incoming(io.RawIOBase):
    """What comes from a socket, up to a deadline and a number of bytes."""

    def __init__(self, sock: Any) -> None:
        self._sock, self.came = sock, False
        self.expect(None, 0)

    def expect(self, deadline: float | None, most: int, *, may_end: bool = False) -> None:
        """deadline: None for what is there already.  may_end: whether the end of the connection is one of the body."""
        self._deadline, self._most, self._may_end = deadline, most, may_end

    def readable(self) -> bool:
        """Always: this is the reading end."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the buffer is always a memoryview here
        """Bytes put into the buffer; 0 at the end. Raises Broken, OSError."""
        self._sock.settimeout(0.0 if self._deadline is None else _left(self._deadline))
        count: int = self._sock.recv_into(buffer)
        if not count and not self._may_end:
            raise Broken("closed the connection")
        self.came = True
        self._most -= count
        if self._most < 0:
            raise Broken("sent more than it may")
        return count


class _Reader(io.BufferedReader):
    """The one reader of a socket. With one for each answer, as http.client has it, what came behind one were lost."""

    def makefile(self, _mode: str) -> "_Reader":
        """What http.client asks a socket for."""
        return self

    def close(self) -> None:
        """Nothing: http.client closes behind each answer."""


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    with _http():
        yield from iter(partial(read, RECEIVE), b"")


@contextmanager
def _http() -> Iterator[None]:
    try:
        yield
    except (HTTPException, ValueError) as error:
        raise Broken("sent something that is not HTTP/1.1") from error


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
