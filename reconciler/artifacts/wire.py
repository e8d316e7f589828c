"""One HTTP exchange with a pinned address. May import address, pace, errors.

In: a Hop that policy allows.  Out: the server's answer as http.client reads it; every socket and protocol error as
`Interrupted`. The socket is read in slices, so a stalled or trickling server cannot outlast Pace or a cancellation.
"""

import http.client
import io
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from reconciler.artifacts.address import Hop, addresses_of, is_loopback, resolve, shown
from reconciler.artifacts.limits import FetchLimits
from reconciler.artifacts.pace import SLICE_S, Interrupted, Pace, Watch
from reconciler.artifacts.proxy import CREDENTIALS, CREDENTIALS_FILE, Proxy, proxy_of

PROXY_AUTHENTICATION: Final = 407
CHUNK: Final = io.DEFAULT_BUFFER_SIZE


class WatchedRaw(io.RawIOBase):
    """The reading end of a socket that asks Pace and Watch whenever it has waited a slice."""

    def __init__(self, sock: socket.socket, pace: Pace, watch: Watch) -> None:
        super().__init__()
        self._sock, self._pace, self._watch = sock, pace, watch

    def readable(self) -> bool:
        """Always: this is the reading end."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the buffer is always a memoryview here
        """Bytes put into the buffer; 0 at the end of the stream."""
        while True:
            self._watch.check()
            try:
                received = self._sock.recv_into(buffer)
            except TimeoutError:
                self._pace.check(0)
                continue
            self._pace.check(received)
            return received


class WatchedSocket:
    """As much of a socket as http.client uses."""

    def __init__(self, sock: socket.socket, pace: Pace, watch: Watch, *, whole: bool = True) -> None:
        """whole: everything that comes is of one answer; else no byte is taken that is not asked for."""
        self._sock, self._pace, self._watch, self._whole = sock, pace, watch, whole

    def makefile(self, _mode: str) -> io.BufferedReader:
        """The answer's bytes."""
        return io.BufferedReader(WatchedRaw(self._sock, self._pace, self._watch), CHUNK if self._whole else 1)

    def sendall(self, data: bytes) -> None:
        """Send a request; it fits into the socket's buffer."""
        self._sock.sendall(data)

    def close(self) -> None:
        """Nothing: http.client closes before the body is read, relying on makefile; `get` closes at the end."""


def connect(
    hop: Hop, proxy: Proxy | None, limits: FetchLimits, watch: Watch, pace: Pace, *, allow_loopback: bool
) -> socket.socket:
    """A connected socket, with TLS to the host for https. Raises AddressRefused, OSError of the last address tried."""
    failure: OSError | None = None
    addresses = resolve(hop, allow_loopback=allow_loopback) if proxy is None else addresses_of(proxy.host, proxy.port)
    for address in addresses:
        try:
            sock = socket.create_connection((address, proxy.port if proxy else hop.port), timeout=limits.connect_s)
        except OSError as error:
            failure = error
            continue
        if hop.scheme == "http":
            return sock
        try:
            if proxy is not None:
                _tunnel(sock, hop, proxy, watch, pace)
            sock.settimeout(limits.connect_s)
            return ssl.create_default_context().wrap_socket(sock, server_hostname=hop.host)
        except BaseException:
            sock.close()
            raise
    raise failure or OSError("the host has no address")


def _tunnel(sock: socket.socket, hop: Hop, proxy: Proxy, watch: Watch, pace: Pace) -> None:
    """Have a proxy pass bytes on to the host. Raises Interrupted where it does not."""
    sock.settimeout(SLICE_S)
    connection = http.client.HTTPConnection(proxy.host, proxy.port)
    connection.sock = WatchedSocket(sock, pace, watch, whole=False)
    place = f"{_bracketed(hop.host)}:{hop.port}"
    connection.putrequest("CONNECT", place, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": place, **_authorization(proxy)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = http.client.HTTPResponse(connection.sock, method="CONNECT")  # type: ignore[arg-type]  # as much as is used
    answer.begin()
    if answer.status != 200:
        raise Interrupted(refused_by(proxy, answer.status, answer.reason))


def refused_by(proxy: Proxy, status: int, reason: str) -> str:
    """That a proxy does not let a request through, and what to do."""
    if status == PROXY_AUTHENTICATION:
        asks = "other credentials" if proxy.authorization else "credentials"
        return f"the proxy {proxy} asks for {asks}: put user:password into {CREDENTIALS} or {CREDENTIALS_FILE}"
    return f"the proxy {proxy} answered {status} {reason}"


def _authorization(proxy: Proxy | None) -> dict[str, str]:
    return {"Proxy-Authorization": proxy.authorization} if proxy is not None and proxy.authorization else {}


def way(hop: Hop, *, allow_loopback: bool) -> Proxy | None:
    """The proxy that a request takes; None: it goes straight, as whatever leads to this machine does.

    A literal address, and a name that can be resolved here, are judged as without one. Raises AddressRefused, OSError.
    """
    proxy = proxy_of(hop)
    if proxy is None:
        return None
    try:
        addresses = resolve(hop, allow_loopback=allow_loopback)
    except socket.gaierror:  # the proxy knows it
        return proxy
    return None if any(is_loopback(address) for address in addresses) else proxy


@contextmanager
def get(
    hop: Hop, headers: Mapping[str, str], limits: FetchLimits, watch: Watch, pace: Pace, *, allow_loopback: bool
) -> Iterator[http.client.HTTPResponse]:
    """The answer to one GET, closed with its connection at the end.

    Raises AddressRefused, SettingInvalid (of a proxy), Interrupted, Cancelled.
    """
    proxy: Proxy | None = None
    try:
        proxy = way(hop, allow_loopback=allow_loopback)
        with connect(hop, proxy, limits, watch, pace, allow_loopback=allow_loopback) as sock:
            sock.settimeout(SLICE_S)
            connection = http.client.HTTPConnection(hop.host, hop.port)
            connection.sock = WatchedSocket(sock, pace, watch)
            relayed = proxy if hop.scheme == "http" else None
            target = hop.target if relayed is None else f"http://{host_header(hop)}{hop.target}"
            connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
            told = {"Host": host_header(hop), "Connection": "close", **headers, **_authorization(relayed)}
            for name, value in told.items():
                connection.putheader(name, value)
            connection.endheaders()
            with connection.getresponse() as response:
                if response.status == PROXY_AUTHENTICATION and relayed is not None:
                    raise Interrupted(f"{shown(hop.url)}: {refused_by(relayed, response.status, response.reason)}")
                yield response
    except (OSError, http.client.HTTPException) as error:
        by = f" (by the proxy {proxy})" if proxy is not None else ""
        reason = str(error) or type(error).__name__
        raise Interrupted(f"{shown(hop.url)}{by}: {reason}") from error


def host_header(hop: Hop) -> str:
    """The Host header: RFC 9110 section 7.2, without the scheme's own port."""
    host = _bracketed(hop.host)
    return host if hop.port == {"http": 80, "https": 443}[hop.scheme] else f"{host}:{hop.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.encode("idna").decode()
