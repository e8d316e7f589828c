"""The limit of applying: the same bodies, sent by a loop that does nothing else.

In: a control plane, bodies by path.  Out: seconds. Threads with a kept-alive TLS socket each, requests composed before
the clock starts, answers read to their end and looked at for their status alone: what is left is the transport, the
API server and etcd. No watch is open and nothing is kept, so that whatever a reconciler does beyond sending is its own.
"""

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from tests.control_plane.plane import ControlPlane

CONNECTIONS: Final = 16
QUERY: Final = "fieldManager=reconciler&fieldValidation=Strict"


class Apply(NamedTuple):
    """One server-side apply. path: of the object."""

    path: str
    body: bytes


def seconds(plane: ControlPlane, applies: Sequence[Apply], connections: int = CONNECTIONS) -> float:
    """From the first request's first byte to the last answer's last. Raises ValueError where one is not 200 or 201."""
    head = _head(plane)
    return _sent(plane, [_request(head, one) for one in applies], connections)


def delete(plane: ControlPlane, paths: Sequence[str]) -> None:
    """Every object; a delete of ten thousand in one request takes longer than an answer may."""
    head = _head(plane)
    _sent(
        plane,
        [f"DELETE {path} HTTP/1.1\r\n{head}\r\nContent-Length: 0\r\n\r\n".encode() for path in paths],
        CONNECTIONS,
    )


def _sent(plane: ControlPlane, requests: Sequence[bytes], connections: int) -> float:
    waiting = deque(requests)
    sockets = [_connected(plane) for _ in range(connections)]
    refused: list[bytes] = []
    threads = [threading.Thread(target=_send_all, args=(sock, waiting, refused)) for sock in sockets]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    for sock in sockets:
        sock.close()
    if refused:
        raise ValueError(f"{len(refused)} connections ended: {refused[0].decode(errors='replace')[:500]}")
    return taken


def _send_all(sock: ssl.SSLSocket, waiting: deque[bytes], refused: list[bytes]) -> None:
    try:
        while True:
            try:
                request = waiting.popleft()
            except IndexError:
                return
            sock.sendall(request)
            answer = _answer(sock)
            if answer[9:12] not in {b"200", b"201"}:
                refused.append(answer)
                return
    except OSError as error:
        refused.append(str(error).encode())


def _answer(sock: ssl.SSLSocket) -> bytes:
    """One whole answer."""
    data = sock.recv(1 << 16)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(sock)
    at = data.lower().find(b"content-length:", 0, end)
    if at < 0:  # chunked
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += _more(sock)
        return data
    length = end + 4 + int(data[at + 15 : data.index(b"\r\n", at)])
    while len(data) < length:
        data += _more(sock)
    return data


def _more(sock: ssl.SSLSocket) -> bytes:
    data = sock.recv(1 << 16)
    if not data:
        raise ConnectionResetError("the API server closed the connection")
    return data


def _head(plane: ControlPlane) -> str:
    """The headers that every request has."""
    configuration = plane.admin._configuration
    lines = [f"Host: {urlsplit(plane.server).netloc}", "Accept: application/json"]
    lines += [
        f"{setting['key']}: {setting['value']}"
        for setting in configuration.auth_settings().values()
        if setting["in"] == "header"
    ]
    return "\r\n".join(lines)


def _request(head: str, one: Apply) -> bytes:
    first = f"PATCH {one.path}?{QUERY} HTTP/1.1\r\n{head}\r\n"
    content = f"Content-Type: application/apply-patch+yaml\r\nContent-Length: {len(one.body)}\r\n\r\n"
    return (first + content).encode() + one.body


def _connected(plane: ControlPlane) -> ssl.SSLSocket:
    configuration = plane.admin._configuration
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    place = urlsplit(plane.server)
    plain = socket.create_connection((place.hostname or "", place.port or 443), timeout=30)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=configuration.tls_server_name or place.hostname)
