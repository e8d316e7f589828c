"""Bytes of HTTP/1.1 as they come: in any pieces, cut anywhere, or no HTTP at all."""

import time
from collections.abc import Iterator

import pytest

from reconciler.kube.client import http1 as wire_module
from reconciler.kube.client.http1 import Broken, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PLAIN = OK + b"Content-Length: 4\r\n\r\nbody"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\nTrailer: x\r\n\r\n"


class Tape:
    """A socket that plays what was recorded, then is closed, silent, or endless (plays the last piece forever)."""

    def __init__(self, *pieces: bytes, then: str = "closed") -> None:
        self.pieces, self.then, self.sent, self.received = list(pieces), then, b"", 0
        self.waits = True

    def settimeout(self, seconds: float) -> None:
        assert seconds >= 0
        self.waits = seconds > 0

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv_into(self, buffer: memoryview) -> int:
        if not self.pieces and self.then == "closed":
            return 0
        if not self.pieces:
            raise TimeoutError if self.waits else BlockingIOError
        piece = self.pieces[0][: len(buffer)]
        if self.then != "endless" or len(self.pieces) > 1:
            self.pieces[0] = self.pieces[0][len(piece) :]
            self.pieces = self.pieces if self.pieces[0] else self.pieces[1:]
        buffer[: len(piece)] = piece
        self.received += len(piece)
        return len(piece)


def wire(*pieces: bytes, then: str = "silent") -> Wire:
    return Wire(Tape(*pieces, then=then), 1)


def read(line: Wire) -> tuple[int, bytes]:
    deadline = time.monotonic() + 10
    line.send(b"", deadline)
    status, _ = line.head(deadline)
    return status, line.body(deadline)


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED], ids=["length", "chunked"])
def test_an_answer_in_any_two_pieces(whole: bytes) -> None:
    for cut in range(1, len(whole)):
        line = wire(whole[:cut], whole[cut:])
        assert read(line) == (200, b"body")
        assert line.keep
        assert line.idle()


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED], ids=["length", "chunked"])
def test_an_answer_cut_anywhere_is_broken(whole: bytes) -> None:
    for cut in range(len(whole)):
        line = wire(*[whole[:cut]] * bool(cut), then="closed")
        with pytest.raises(Broken):
            read(line)
        assert line.answered is (cut > 0)
        assert not line.idle()


def test_of_two_answers_in_one_piece_the_second_is_nobodys() -> None:
    line = wire(PLAIN + CHUNKED)
    assert read(line) == (200, b"body")
    assert not line.keep  # something came that nobody asked for
    assert not line.idle()


@pytest.mark.parametrize("bye", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: Close\r\n"])
def test_a_connection_that_ends_is_not_kept(bye: bytes) -> None:
    line = wire(bye + b"\r\nto the ", b"end", then="closed")
    assert read(line) == (200, b"to the end")
    assert not line.idle()


def test_an_answer_may_be_the_last_one_on_its_connection() -> None:
    line = wire(OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nbody")
    assert read(line) == (200, b"body")
    assert not line.keep
    assert not line.idle()


def test_whether_this_request_was_answered_and_not_the_one_before() -> None:
    line = wire(PLAIN)
    assert read(line) == (200, b"body")
    line.sock.then = "closed"
    with pytest.raises(Broken):
        read(line)
    assert not line.answered


def test_what_comes_unasked_makes_a_socket_useless() -> None:
    line = wire()
    assert line.idle()
    line.sock.pieces.append(b"x")
    assert not line.idle()
    assert not line.idle()  # it is not forgotten


def test_a_socket_that_was_closed_is_useless() -> None:
    line = wire()
    line.sock.then = "closed"
    assert not line.idle()


def test_names_of_codings_are_read_in_any_case() -> None:
    assert read(wire(OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")) == (200, b"ok")


def test_interim_answers_and_empty_ones() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    line = wire(interim + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert read(line) == (204, b"")
    assert line.idle()


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1_0\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 9000 + b"\r\n\r\n",
        OK + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
        OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"a line that is no header\r\nContent-Length: 4\r\n\r\nbody",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        OK + b"X: y\r\n Content-Length: 4\r\n\r\nbody",
    ],
    ids=range(16),
)
def test_what_is_not_http_is_broken(said: bytes) -> None:
    line = wire(said)
    with pytest.raises(Broken, match="not HTTP"):
        read(line)
    assert line.answered


BOUND = 200_000


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x" * 1000),
        (OK + b"Content-Length: 99999999999999\r\n\r\n", b"x" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nbody\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n", b"x" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
        (OK, b"X" * 1000),
        (OK, b"X: y\r\n" * 100),
        (b"HTTP/1.1 100 Continue\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"),
        (b"HTTP/1.1 103 Early Hints\r\n", b"\r\nHTTP/1.1 103 Early Hints\r\n"),
    ],
)
def test_an_answer_without_an_end_is_given_up(head: bytes, rest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "ANSWER_MAX", BOUND)
    line = wire(head, rest, then="endless")
    with pytest.raises(Broken):
        read(line)
    assert line.sock.received <= 2 * BOUND + 2 * wire_module.RECEIVE  # the head is one, the body another


def test_nothing_is_sent_or_awaited_behind_the_deadline() -> None:
    line = wire(PLAIN)
    for act in (lambda: line.send(b"GET", time.monotonic()), lambda: line.head(time.monotonic())):
        with pytest.raises(TimeoutError):
            act()
    assert line.sock.sent == b""
    assert line.sock.received == 0


def watched(line: Wire) -> Iterator[bytes]:
    line.head(time.monotonic() + 10)
    return line.lines(10)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def test_lines_of_a_watch_across_chunks_and_pieces() -> None:
    whole = HEAD + b"".join(map(chunk, (b'{"a', b'":1}\n{"b":2}\n{"c"', b":", b"3}\n", b"\n"))) + b"0\r\n\r\n"
    for cut in range(1, len(whole)):
        assert list(watched(wire(whole[:cut], whole[cut:]))) == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


@pytest.mark.parametrize(
    ("end", "then", "error"),
    [
        (b"", "silent", TimeoutError),
        (b"", "closed", Broken),
        (b"0", "closed", Broken),
        (b"zz\r\n", "silent", Broken),
        (b"5\r\n:2}\n", "closed", Broken),
        (b"\r\n", "silent", Broken),
    ],
)
def test_a_watch_that_is_cut_or_silent_gives_what_came(end: bytes, then: str, error: type[Exception]) -> None:
    lines = watched(wire(HEAD + chunk(b'{"a":1}\n{"b"') + end, then=then))
    assert next(lines) == b'{"a":1}'
    with pytest.raises(error):
        list(lines)


def test_a_watch_event_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "LINE_MAX", BOUND)
    line = wire(HEAD + chunk(b'{"a":1}\n'), chunk(b"x" * 1000), then="endless")
    lines = watched(line)
    assert next(lines) == b'{"a":1}'
    with pytest.raises(Broken):
        next(lines)
    assert line.sock.received <= BOUND + 2 * wire_module.RECEIVE


def test_a_watch_may_tell_more_than_one_event_may_be_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "LINE_MAX", BOUND)
    lines = watched(wire(HEAD, chunk(b"x" * 1000 + b"\n"), then="endless"))
    assert sum(len(next(lines)) for _ in range(3000)) == 3_000_000


def test_a_watch_is_no_document() -> None:
    with pytest.raises(Broken):
        next(watched(wire(PLAIN)))
