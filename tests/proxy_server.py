"""A loopback HTTP proxy that tests can bend: it passes on requests and tunnels, or refuses, asks or lies.

Its names lead to ports of this machine (`hosts`), as a proxy of a company knows names that nobody else does.
"""

import contextlib
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from tests.artifact_server import Loopback


@dataclass
class ProxyServer(Loopback):
    """hosts: name -> port.  wants: the Proxy-Authorization that it asks for.  says: an answer given to everybody.

    seen: the request lines that came, in order.
    """

    hosts: dict[str, int] = field(default_factory=dict)
    wants: str = ""
    says: bytes = b""
    seen: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer._answer(self)

        return self.begin(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _answer(self, client: Any) -> None:
        line = client.rfile.readline().decode()
        self.seen.append(line.strip())
        headers = b""
        given = ""
        while (header := client.rfile.readline()) not in {b"\r\n", b""}:
            name, _, value = header.decode().partition(":")
            if name.lower() == "proxy-authorization":
                given = value.strip()
            else:
                headers += header
        if self.says:
            client.wfile.write(self.says)
        elif given != self.wants:
            client.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif line.startswith("CONNECT "):
            self._tunnel(client, line.split()[1].rpartition(":")[0])
        else:
            method, url, version = line.split()
            parts = urlsplit(url)
            with socket.create_connection(("127.0.0.1", self.hosts[parts.hostname or ""])) as server:
                server.sendall(f"{method} {parts.path} {version}\r\n".encode() + headers + b"\r\n")
                while piece := server.recv(1 << 16):
                    client.wfile.write(piece)

    def _tunnel(self, client: Any, host: str) -> None:
        with socket.create_connection(("127.0.0.1", self.hosts[host])) as server:
            client.wfile.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: toy\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(server, client.connection))
            back.start()
            while piece := client.rfile.read1(1 << 16):
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)
            back.join()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)
