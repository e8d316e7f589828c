"""What every request passes first: is it one that reads, from whom it should be, and short. Pure ASGI; no starlette.

In: HTTP requests.  Out: the application's answers with the headers that keep browsers out of harm, or a refusal.
A page of another site that has its name rebound to this address sends its own name as Host: on a loopback address only
loopback names are answered. Source: Fetch, HTTP (RFC 9110), and Content Security Policy Level 3.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from reconciler.errors import ReconcilerError, UsageError, WorldUnavailable
from reconciler.web.document import failure

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]

QUERY_CAP: Final = 2048
LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
STRICT: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
BODY: Final = frozenset({b"transfer-encoding", b"content-length"})
UNKEPT: Final = (b"cache-control", b"no-store")


class Guard:
    """An ASGI application around another one. ending: from when on every request is told to go elsewhere."""

    def __init__(self, inner: Application, *, loopback: bool) -> None:
        self._inner, self._loopback = inner, loopback
        self.ending = False

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(*refusal, send, is_head=scope["method"] == "HEAD")
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name for name, _ in message["headers"]}
                extra = (one for one in (*HEADERS, STRICT, UNKEPT) if one[0] not in named)
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await self._inner(scope, receive, guarded)

    def _refusal(self, scope: Message) -> tuple[int, ReconcilerError] | None:
        headers = list(scope["headers"])
        if scope["method"] not in {"GET", "HEAD"}:
            hint = "verbs that write go to the hub's own machine, or by --context NAME into its Pod"
            return 405, UsageError("this address only answers: GET and HEAD", hint=hint)
        if self._loopback and not _is_local(value for name, value in headers if name == b"host"):
            hint = "call it localhost, 127.0.0.1 or [::1]; --listen HOST:PORT decides who else may"
            return 421, UsageError("this hub listens on loopback and answers by its loopback names only", hint=hint)
        if len(scope["query_string"]) > QUERY_CAP:
            return 414, UsageError(f"a query holds at most {QUERY_CAP} bytes")
        if any(pair[0] in BODY and pair != (b"content-length", b"0") for pair in headers):
            return 413, UsageError("a question has no body")
        if self.ending:
            return 503, WorldUnavailable("the reconciler is ending")
        return None


def _is_local(hosts: Iterable[bytes]) -> bool:
    """Whether there is one Host and it is a loopback name, with any port: a forwarded one is another."""
    found = [host.decode("latin-1").lower() for host in hosts]
    if len(found) != 1:
        return False
    host = found[0]
    bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return bare in LOCAL


async def _refuse(status: int, error: ReconcilerError, send: Send, *, is_head: bool) -> None:
    body = json.dumps(failure(error), ensure_ascii=False).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *([(b"allow", b"GET, HEAD")] if status == 405 else []),
        *([(b"retry-after", b"5")] if status == 503 else []),
        (b"connection", b"close"),  # a body may follow, which nobody reads
        *HEADERS,
        STRICT,
        UNKEPT,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})
