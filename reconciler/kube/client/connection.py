"""One API server as one identity: requests as bytes over kept-alive sockets. May import: diagnostics, errors, kube.

In: a kubeconfig, context or service account; methods, paths and bodies.  Out: statuses and bytes, watch lines.
What a status means is said in answers.py. A request that may have been received is never sent again here, save a GET
whose kept-alive socket turned out to be closed. Messages name the server, never a credential.
"""

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from reconciler import __version__
from reconciler.diagnostics import printable
from reconciler.errors import ApiUnavailable, CredentialsRefused, ReconcilerError, SettingInvalid
from reconciler.kube.client import impersonation
from reconciler.kube.client import kubeconfig as identity
from reconciler.kube.client.http1 import Broken, Wire
from reconciler.kube.client.kubeconfig import ClientIdentity, IdentityWanted

LOOK_AGAIN_S: Final = 1.0  # how often a token file is looked at
IDLE_MAX_S: Final = 80.0  # kept-alive sockets older than this are not used again: API servers close them after 90 s
SAFE: Final = "/:@!$'()*,;=-._~"


class Reply(NamedTuple):
    """What a server answered. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Answered(Exception):
    """A watch was answered with something else than its events. Does not leave reconciler/kube."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class _Current(NamedTuple):
    number: int
    identity: ClientIdentity
    head: bytes  # the request's headers that are always the same, with the credential


class Connection:
    """One API server as one identity. Thread-safe."""

    def __init__(self, wanted: IdentityWanted, connections: int) -> None:
        self.wanted = wanted
        self._lock = threading.Lock()
        self._free = threading.Semaphore(connections)
        self._idle: list[tuple[Wire, float]] = []
        self._watches: set[Wire] = set()
        self._closed = False
        self._current = _Current(1, first := identity.read(wanted), _head(first))
        self._looked, self._stamp = time.monotonic(), _stamp(first)
        self.server, self.context, self.namespace = first.server, first.context, first.namespace

    @classmethod
    def open(
        cls, *, kubeconfig: Path | None = None, context: str = "", in_cluster: bool = False, connections: int = 24
    ) -> "Connection":
        """Read who asks whom; no request is made. `connections`: sockets for requests; watches have their own.

        Raises SettingInvalid.
        """
        if in_cluster and (kubeconfig or context):
            raise SettingInvalid("in-cluster and a kubeconfig or context are two identities", hint="give one of them")
        return cls(IdentityWanted(kubeconfig, context, in_cluster), connections)

    @property
    def number(self) -> int:
        """Which reading of the credentials is in use; grows with each."""
        return self._current.number

    @property
    def verified(self) -> bool:
        """Whether the server has to prove who it is."""
        tls = self._current.identity.tls
        return tls is not None and tls.verify_mode is ssl.CERT_REQUIRED

    @property
    def acts_for(self) -> str:
        """The user that every request impersonates; "" where none."""
        return impersonation.user(self._current.identity.acting)

    @property
    def expires(self) -> float | None:
        """When the token of its kubeconfig ends (seconds since 1970); None where none stands there or it does not say.

        Raises SettingInvalid.
        """
        return identity.expires(self.wanted)

    def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = {},
        body: bytes = b"",
        content_type: str = "application/json",
        timeout_s: float = 10.0,
    ) -> Reply:
        """One request and its answer, whatever its status, within `timeout_s` in all.

        Raises ApiUnavailable: nothing answered; `unknown` is True when it may have been received.
        """
        deadline = time.monotonic() + timeout_s
        if not self._free.acquire(timeout=timeout_s):
            raise ApiUnavailable(f"{self.server}: no connection became free in {timeout_s:.0f} s")
        try:
            current = self._fresh()
            request = _request(current, method, path, query=query, body=body, content_type=content_type)
            wire = self._kept(current)
            if wire is None:
                wire = self._dialled(current, deadline)
            return self._asked(wire, current, method, request, deadline)
        finally:
            self._free.release()

    def _asked(self, wire: Wire, current: _Current, method: str, request: bytes, deadline: float) -> Reply:
        reused, sent = wire.used, False
        wire.used = True
        try:
            if time.monotonic() < deadline:  # also after the process was stopped for a while
                sent = True
                whole = _is_sent(wire, request, deadline)
                status, headers = wire.head(deadline)
                reply = Reply(status, headers, wire.body(deadline))
                wire.keep = wire.keep and whole
                self._put_back(wire)
                return reply
            error: Exception = TimeoutError()
        except (Broken, OSError) as failure:
            error = failure
        wire.close()
        stale = reused and not wire.answered and not isinstance(error, TimeoutError)
        if stale and method == "GET":
            return self._asked(self._dialled(current, deadline), current, method, request, deadline)
        raise ApiUnavailable(self._words(error), unknown=sent and method != "GET") from None

    @contextmanager
    def lines(self, path: str, *, query: Mapping[str, str], silence_s: float) -> Iterator[Iterator[bytes]]:
        """A watch: its lines as they come, on a socket of its own; the iterator ends where the server ended in order.

        `silence_s`: how long no line may come. Raises ApiUnavailable on silence or a cut (at once after `close`), and
        Answered when the status is not 200.
        """
        current = self._fresh()
        deadline = time.monotonic() + min(silence_s, 30.0)
        wire = self._dialled(current, deadline)
        with self._lock:
            self._watches.add(wire)
        try:
            if self._closed:
                raise ApiUnavailable(f"{self.server}: this connection is closed")
            try:
                wire.send(_request(current, "GET", path, query=query), deadline)
                status, headers = wire.head(deadline)
                refused = None if status == 200 else Reply(status, headers, wire.body(deadline))
            except (Broken, OSError) as error:
                raise ApiUnavailable(self._words(error)) from None
            if refused is not None:
                raise Answered(refused)
            yield self._told(wire, silence_s)
        finally:
            with self._lock:
                self._watches.discard(wire)
            wire.close()

    def _told(self, wire: Wire, silence_s: float) -> Iterator[bytes]:
        try:
            yield from wire.lines(silence_s)
        except TimeoutError:
            raise ApiUnavailable(f"{self.server}: a watch was silent for {silence_s:.0f} s") from None
        except (Broken, OSError) as error:
            raise ApiUnavailable(self._words(error)) from None

    def reload(self, seen: int = 0) -> None:
        """Read the credentials anew: token files, certificates, exec plugins. Open watches go on with the old ones.

        seen: the `number` that was refused; where another thread has read them since, nothing is done. Raises
        CredentialsRefused when they can no longer be read.
        """
        with self._lock:
            if seen and seen != self._current.number:
                return
            try:
                fresh = identity.read(self.wanted)
            except ReconcilerError as error:
                raise CredentialsRefused(
                    f"{self.server}: the credentials cannot be read again: {error.message}", hint=error.advice
                ) from None
            self._replace(fresh)

    def end_watches(self) -> None:
        """Cut every watch that is open: whoever hears one sees the end."""
        with self._lock:
            watches = list(self._watches)
        for wire in watches:
            wire.cut()

    def close(self) -> None:
        """End every connection; a watch under way ends at once. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        self.end_watches()
        for wire, _ in idle:
            wire.close()

    def _fresh(self) -> _Current:
        """The identity in use; a rotated token file or a token that is over is noticed within a second."""
        now = time.monotonic()
        current = self._current
        if now - self._looked < LOOK_AGAIN_S or not (current.identity.token_file or current.identity.refresh):
            return current
        if not self._lock.acquire(blocking=False):  # another thread looks
            return current
        try:
            self._looked = now
            if _stamp(current.identity) != self._stamp:
                self._replace(identity.read(self.wanted))
            elif current.identity.refresh and (newer := current.identity.refresh()) != current.identity.authorization:
                self._replace(current.identity._replace(authorization=newer))
        except Exception:  # noqa: BLE001  # half-written file, plugin away: the old credential is tried, then 401 says it
            return self._current
        finally:
            self._lock.release()
        return self._current

    def _replace(self, fresh: ClientIdentity) -> None:
        self._current = _Current(self._current.number + 1, fresh, _head(fresh))
        self._looked, self._stamp = time.monotonic(), _stamp(fresh)

    def _kept(self, current: _Current) -> Wire | None:
        """A socket of this identity on which nothing waits, the one used last first."""
        for _ in range(len(self._idle)):
            try:
                wire, since = self._idle.pop()
            except IndexError:
                return None
            if wire.identity == current.number and time.monotonic() - since < IDLE_MAX_S and wire.idle():
                return wire
            wire.close()
        return None

    def _put_back(self, wire: Wire) -> None:
        if wire.keep and not self._closed:
            self._idle.append((wire, time.monotonic()))
        else:
            wire.close()

    def _dialled(self, current: _Current, deadline: float) -> Wire:
        """A new socket, through TLS and a proxy where there is one. Nothing of a request has been sent."""
        from urllib3.exceptions import HTTPError

        left = deadline - time.monotonic()
        if left <= 0:
            raise ApiUnavailable(f"{self.server}: timed out before anything was sent")
        line = _line(current.identity, left)
        try:
            line.connect()
        except (HTTPError, OSError, ValueError) as error:
            line.close()
            raise ApiUnavailable(self._words(error)) from None
        return Wire(line.sock, current.number)

    def _words(self, error: BaseException) -> str:
        return f"{self.server}: {_reason(error)}"


def _is_sent(wire: Wire, request: bytes, deadline: float) -> bool:
    """Whether all of it went out: a server may answer and close before it has read the body (RFC 9112 §9.5)."""
    try:
        wire.send(request, deadline)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _line(who: ClientIdentity, timeout_s: float) -> Any:
    """An HTTP connection that is not open yet."""
    import socket

    from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
    from urllib3.util import parse_url

    options: list[tuple[int, int, int | bytes]] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    if not who.proxy and who.scheme == "http":
        return HTTPConnection(who.host, who.port, timeout=timeout_s, socket_options=options)
    if not who.proxy:
        return HTTPSConnection(
            who.host,
            who.port,
            timeout=timeout_s,
            socket_options=options,
            ssl_context=who.tls,
            server_hostname=who.tls_name,
        )
    proxy = parse_url(who.proxy)
    kind = HTTPSConnection if who.scheme == "https" or proxy.scheme == "https" else HTTPConnection
    more: dict[str, Any] = {"ssl_context": who.tls, "server_hostname": who.tls_name} if who.scheme == "https" else {}
    made = kind(
        str(proxy.host),
        proxy.port,
        timeout=timeout_s,
        socket_options=options,
        proxy=proxy,
        proxy_config=ProxyConfig(None, use_forwarding_for_https=False, assert_hostname=None, assert_fingerprint=None),
        **more,
    )
    if who.scheme == "https":
        made.set_tunnel(who.host, who.port, headers=dict(who.proxy_headers), scheme=proxy.scheme or "http")
    return made


def _head(who: ClientIdentity) -> bytes:
    host = f"[{who.host}]" if ":" in who.host else who.host
    lines = [
        f"Host: {host}:{who.port}",
        f"User-Agent: reconciler/{__version__}",
        "Accept: application/json",
        *([f"Authorization: {who.authorization}"] if who.authorization else []),
        *(f"{name}: {value}" for name, value in who.acting),
        *(f"{name}: {value}" for name, value in who.proxy_headers.items() if who.scheme == "http"),
    ]
    return ("\r\n".join(lines) + "\r\n").encode()  # names of users are UTF-8; all else is ASCII


def _request(
    current: _Current,
    method: str,
    path: str,
    *,
    query: Mapping[str, str],
    body: bytes = b"",
    content_type: str = "",
) -> bytes:
    who = current.identity
    target = who.base + quote(path, SAFE)
    if query:
        target += "?" + "&".join(f"{name}={quote(value, '')}" for name, value in query.items())
    if who.proxy and who.scheme == "http":
        target = who.server.removesuffix(who.base) + target
    first = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
    if not body and method == "GET":
        return b"".join((first, current.head, b"\r\n"))
    tail = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1")
    return b"".join((first, current.head, tail, body))


def _stamp(who: ClientIdentity) -> tuple[int, int, int] | None:
    """What changes when the token file does; a service account's token is swapped by a symlink, so it is followed."""
    if who.token_file is None:
        return None
    try:
        found = who.token_file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _reason(error: BaseException) -> str:
    """A failure of the network in words, with neither request nor headers."""
    from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError

    if isinstance(error, Broken):
        return f"the server {error}"
    if isinstance(error, NameResolutionError):
        return "its name cannot be resolved"
    if isinstance(error, HTTPError) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {printable(error.verify_message)}"
    if isinstance(error, TimeoutError | ConnectTimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {printable(str(error.reason or 'the connection was cut'))}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection was cut"
    return printable(str(getattr(error, "strerror", None) or type(error).__name__))[:200]
