"""Connections that never finish their request take nothing from those that do."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest

from reconciler.wiring import listener
from reconciler.wiring.listener import CONNECTIONS, ReadyListener, bound

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """The address of a listener."""
    place = bound("127.0.0.1:0")
    address = place.getsockname()
    served = ReadyListener(place, ok)
    try:
        yield address
    finally:
        served.close()


def asked(line: HTTPConnection) -> tuple[int, bytes]:
    line.request("GET", "/healthz")
    answer = line.getresponse()
    return answer.status, answer.read()


def test_half_sent_requests_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REQUEST_S", 0.5)
    with serving() as address:
        halves = [socket.create_connection(address, timeout=20) for _ in range(CONNECTIONS + 2)]
        for half in halves:
            half.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        for half in halves:
            with half:
                assert half.recv(1000) == b""  # let go without an answer
        with closing(HTTPConnection(address[0], address[1], timeout=20)) as whole:
            assert asked(whole) == (200, b"ok")


def test_a_connection_that_asks_now_and_then_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REQUEST_S", 0.4)
    with serving() as address, closing(HTTPConnection(address[0], address[1], timeout=20)) as line:
        line.connect()
        first = line.sock
        for _ in range(5):
            assert asked(line) == (200, b"ok")
            time.sleep(0.3)
        assert line.sock is first
