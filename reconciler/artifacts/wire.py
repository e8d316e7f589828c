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

from reconciler.artifacts.address import Hop, resolve, shown
from reconciler.artifacts.limits import FetchLimits
from reconciler.artifacts.pace import SLICE_S, Interrupted, Pace, Watch


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

    def __init__(self, sock: socket.socket, pace: Pace, watch: Watch) -> None:
        self._sock, self._pace, self._watch = sock, pace, watch

    def makefile(self, _mode: str) -> io.BufferedReader:
        """The answer's bytes."""
        return io.BufferedReader(WatchedRaw(self._sock, self._pace, self._watch))

    def sendall(self, data: bytes) -> None:
        """Send a request; it fits into the socket's buffer."""
        self._sock.sendall(data)

    def close(self) -> None:
        """Nothing: http.client closes before the body is read, relying on makefile; `get` closes at the end."""


def connect(hop: Hop, limits: FetchLimits, *, allow_loopback: bool) -> socket.socket:
    """A connected socket, with TLS for https. Raises AddressRefused, OSError of the last address tried."""
    failure: OSError | None = None
    for address in resolve(hop, allow_loopback=allow_loopback):
        try:
            sock = socket.create_connection((address, hop.port), timeout=limits.connect_s)
        except OSError as error:
            failure = error
            continue
        if hop.scheme == "http":
            return sock
        try:
            return ssl.create_default_context().wrap_socket(sock, server_hostname=hop.host)
        except BaseException:
            sock.close()
            raise
    raise failure or OSError("the host has no address")


@contextmanager
def get(
    hop: Hop, headers: Mapping[str, str], limits: FetchLimits, watch: Watch, pace: Pace, *, allow_loopback: bool
) -> Iterator[http.client.HTTPResponse]:
    """The answer to one GET, closed with its connection at the end. Raises AddressRefused, Interrupted, Cancelled."""
    try:
        with connect(hop, limits, allow_loopback=allow_loopback) as sock:
            sock.settimeout(SLICE_S)
            connection = http.client.HTTPConnection(hop.host, hop.port)
            connection.sock = WatchedSocket(sock, pace, watch)
            connection.putrequest("GET", hop.target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": host_header(hop), "Connection": "close", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            with connection.getresponse() as response:
                yield response
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise Interrupted(f"{shown(hop.url)}: {reason}") from error


def host_header(hop: Hop) -> str:
    """The Host header: RFC 9110 section 7.2, without the scheme's own port."""
    host = f"[{hop.host}]" if ":" in hop.host else hop.host.encode("idna").decode()
    return host if hop.port == {"http": 80, "https": 443}[hop.scheme] else f"{host}:{hop.port}"
