"""Who may ask what: the guard before every route."""

import asyncio
import json
from typing import Any

import pytest

from reconciler.web.guard import HEADERS, Guard


class Heard:
    """An application that counts what reaches it."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"ok"})


def ask(
    guard: Guard, method: str = "GET", host: str | None = "localhost:9484", query: str = "", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    pairs += [(b"host", host.encode())] if host is not None else []
    scope = {"type": "http", "method": method, "path": "/", "query_string": query.encode(), "headers": pairs}

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, sent[1]["body"]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:9484", "[::1]:9484", "LOCALHOST:9"])
def test_loopback_names_are_answered_with_headers_that_keep_browsers_out(heard: Heard, host: str) -> None:
    status, headers, body = ask(Guard(heard, loopback=True), host=host)
    assert (status, body) == (200, b"ok")
    assert all(headers[name.decode()] == value.decode() for name, value in HEADERS)
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9484", "", "[evil]", None]
)
def test_a_rebound_name_is_refused_on_loopback(heard: Heard, host: str | None) -> None:
    status, _, body = ask(Guard(heard, loopback=True), host=host)
    assert (status, json.loads(body)["kind"], heard.asked) == (421, "Error", 0)


def test_another_address_was_chosen_by_the_operator_and_has_any_name(heard: Heard) -> None:
    assert ask(Guard(heard, loopback=False), host="hub.example.com")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_but_reading_is_let_through(heard: Heard, method: str) -> None:
    status, headers, body = ask(Guard(heard, loopback=True), method)
    assert (status, headers["allow"], json.loads(body)["code"], heard.asked) == (405, "GET, HEAD", "RX101", 0)


def test_head_is_answered(heard: Heard) -> None:
    assert ask(Guard(heard, loopback=True), "HEAD")[0] == 200
    assert ask(Guard(heard, loopback=True), "HEAD", host="evil.example")[2] == b""


def test_long_queries_and_bodies_are_refused(heard: Heard) -> None:
    guard = Guard(heard, loopback=True)
    assert ask(guard, query="a" * 2049)[0] == 414
    assert ask(guard, content_length="5")[0] == 413
    assert ask(guard, transfer_encoding="chunked")[0] == 413
    assert heard.asked == 0
    assert ask(guard, content_length="0")[0] == 200


def test_at_the_end_everybody_is_sent_away(heard: Heard) -> None:
    guard = Guard(heard, loopback=True)
    guard.ending = True
    status, headers, body = ask(guard)
    assert (status, headers["retry-after"], json.loads(body)["retryable"], heard.asked) == (503, "5", True, 0)
