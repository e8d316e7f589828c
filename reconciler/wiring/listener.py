"""The hub's listening socket and the server behind it. The only module of the hub that imports uvicorn.

In: HOST:PORT and an ASGI application.  Out: HTTP answers, from a thread with an event loop of its own that sleeps while
nobody asks. Requests are bounded: header bytes, connections, and how long an idle one stays.
"""

import asyncio
import ipaddress
import socket
import threading
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from reconciler.errors import PortTaken, SettingInvalid

HEADER_CAP: Final = 16 << 10  # bytes of one request's line and headers
CONNECTIONS: Final = 128
BACKLOG: Final = 128
IDLE_S: Final = 5
REQUEST_S: Final = 5.0  # a request is whole within twice as long
GRACE_S: Final = 2  # for answers in flight at the end
START_S: Final = 30.0


def bound(listen: str) -> socket.socket:
    """A socket at HOST:PORT. Raises PortTaken naming it, SettingInvalid where the host has no such address."""
    host, _, port = listen.rpartition(":")
    hint = "name another address by --listen HOST:PORT, or none by `--listen off`"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise SettingInvalid(f"--listen {listen}: {error.strerror}", hint=hint) from error
    # The protocol is named, else asyncio leaves Nagle's algorithm on and each answer waits 40 ms for an ACK.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise PortTaken(f"nobody can listen at {listen}: {error.strerror}", hint=hint) from error
    return found


def is_loopback(bound_: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(bound_.getsockname()[0].partition("%")[0]).is_loopback


def url(bound_: socket.socket) -> str:
    """Its address, for people."""
    host, port = bound_.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class ReadyListener:
    """Serves while it is open. The socket is its own from now on."""

    def __init__(self, bound_: socket.socket, application: Any) -> None:
        config = uvicorn.Config(
            application,
            log_config=None,
            log_level="critical",  # what goes wrong is told by the application
            access_log=False,
            lifespan="off",
            http=_Impatient,
            loop="asyncio",
            ws="none",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=HEADER_CAP,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([bound_],), name="listener", daemon=True)
        self._thread.start()
        self._server.up.wait(START_S)

    def close(self) -> None:
        """Take no more, give answers in flight a moment. Idempotent."""
        self._server.end()
        self._thread.join()


class _Impatient(H11Protocol):
    """Closes a connection whose request does not become whole: a hundred of them would leave no room for others."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(REQUEST_S, self._look, None)

    def _look(self, before: Any) -> None:
        """before: the answer that was the last one then. Behind a whole answer uvicorn itself waits for IDLE_S."""
        if self.transport.is_closing():
            return
        last = self.cycle
        if last is before and (last is None or last.response_complete):
            self.transport.abort()
        else:
            self.loop.call_later(REQUEST_S, self._look, last)


class _Server(uvicorn.Server):
    """uvicorn's server, told when to end instead of looking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()
        self._told = asyncio.Event()
        self._its_loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._its_loop = asyncio.get_running_loop()
        self.up.set()
        await self._told.wait()

    def end(self) -> None:
        loop = self._its_loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._told.set)
