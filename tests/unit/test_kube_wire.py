"""Bytes of HTTP/1.1 as they come: in any pieces, cut anywhere, or no HTTP at all."""

import os
import time
from collections.abc import Iterator

import pytest

from reconciler.kube.wire import Broken, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PLAIN = OK + b"Content-Length: 4\r\n\r\nbody"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\nTrailer: x\r\n\r\n"


class Tape:
    """A socket that plays what was recorded, then is closed, or silent."""

    def __init__(self, *pieces: bytes, silent: bool = False) -> None:
        self.pieces, self.silent, self.sent = list(pieces), silent, b""
        self.ends = os.pipe()

    def fileno(self) -> int:
        return self.ends[0]

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, most: int) -> bytes:
        if not self.pieces:
            if self.silent:
                raise TimeoutError
            return b""
        return self.pieces.pop(0)

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


@pytest.fixture
def tapes() -> Iterator[list[Tape]]:
    made: list[Tape] = []
    yield made
    for one in made:
        one.close()


def wire(tapes: list[Tape], *pieces: bytes, silent: bool = False) -> Wire:
    tapes.append(Tape(*pieces, silent=silent))
    return Wire(tapes[-1], 1)


def read(line: Wire) -> tuple[int, bytes]:
    deadline = time.monotonic() + 10
    status, headers = line.head(deadline)
    return status, line.body(status, headers, deadline)


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED], ids=["length", "chunked"])
def test_an_answer_in_any_two_pieces(tapes: list[Tape], whole: bytes) -> None:
    for cut in range(1, len(whole)):
        line = wire(tapes, whole[:cut], whole[cut:])
        assert read(line) == (200, b"body")
        assert line.keep
        assert line.idle()
        tapes.pop().close()


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED], ids=["length", "chunked"])
def test_an_answer_cut_anywhere_is_broken(tapes: list[Tape], whole: bytes) -> None:
    for cut in range(len(whole)):
        with pytest.raises(Broken) as raised:
            read(wire(tapes, whole[:cut]) if cut else wire(tapes))
        assert raised.value.answered is (cut > 0)
        tapes.pop().close()


def test_two_answers_in_one_piece(tapes: list[Tape]) -> None:
    line = wire(tapes, PLAIN + CHUNKED)
    assert read(line) == (200, b"body")
    assert not line.idle()  # something came that nobody asked for
    assert read(line) == (200, b"body")
    assert line.idle()


@pytest.mark.parametrize("bye", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: Close\r\n"])
def test_a_connection_that_ends_is_not_kept(tapes: list[Tape], bye: bytes) -> None:
    line = wire(tapes, bye + b"\r\nto the ", b"end")
    assert read(line) == (200, b"to the end")
    assert not line.idle()


def test_what_comes_unasked_makes_a_socket_useless(tapes: list[Tape]) -> None:
    line = wire(tapes)
    assert line.idle()
    os.write(tapes[0].ends[1], b"x")
    assert not line.idle()


def test_interim_answers_and_empty_ones(tapes: list[Tape]) -> None:
    line = wire(tapes, b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert read(line) == (204, b"")


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1_0\r\n\r\n",
        OK + b"Content-Length: 99999999999999\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 200_000,
        OK + b"X" * 200_000,
    ],
)
def test_what_is_not_http_is_broken(tapes: list[Tape], said: bytes) -> None:
    with pytest.raises(Broken) as raised:
        read(wire(tapes, said, silent=True))
    assert raised.value.answered


def test_nothing_is_sent_or_awaited_behind_the_deadline(tapes: list[Tape]) -> None:
    line = wire(tapes, PLAIN)
    for act in (lambda: line.send(b"GET", time.monotonic()), lambda: line.head(time.monotonic())):
        with pytest.raises(TimeoutError):
            act()
    assert tapes[0].sent == b""


def watched(line: Wire) -> Iterator[bytes]:
    _, headers = line.head(time.monotonic() + 10)
    return line.lines(headers, 10)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def test_lines_of_a_watch_across_chunks_and_pieces(tapes: list[Tape]) -> None:
    whole = HEAD + b"".join(map(chunk, (b'{"a', b'":1}\n{"b":2}\n{"c"', b":", b"3}\n", b"\n"))) + b"0\r\n\r\n"
    for cut in range(1, len(whole)):
        assert list(watched(wire(tapes, whole[:cut], whole[cut:]))) == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
        tapes.pop().close()


@pytest.mark.parametrize("silent", [True, False])
def test_a_watch_that_is_cut_or_silent_gives_what_came(tapes: list[Tape], *, silent: bool) -> None:
    lines = watched(wire(tapes, HEAD + chunk(b'{"a":1}\n{"b"'), silent=silent))
    assert next(lines) == b'{"a":1}'
    with pytest.raises(TimeoutError if silent else Broken):
        next(lines)


def test_a_watch_is_no_document(tapes: list[Tape]) -> None:
    with pytest.raises(Broken):
        next(watched(wire(tapes, PLAIN)))
