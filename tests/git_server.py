"""A Git server on loopback for tests: HTTPS with a certificate of its own, `git http-backend` behind it, and faults."""

import base64
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

Fault = Callable[[BaseHTTPRequestHandler], None]


def missing() -> str:
    """What this machine lacks to run the server; empty when nothing."""
    if shutil.which("openssl") is None:
        return "openssl, to make a certificate"
    exec_path = subprocess.run(["git", "--exec-path"], capture_output=True, check=True).stdout.decode().strip()
    lacking = [name for name in ("git-http-backend", "git-remote-https") if not (Path(exec_path) / name).exists()]
    return ", ".join(lacking)


def make_certificate(directory: Path) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1, good for a day."""
    key, certificate, both = directory / "key.pem", directory / "cert.pem", directory / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        check=True,
    )
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


class GitServer:
    """Serves the repositories under `root`. `requests` lists what was asked; `fault` answers instead, when it is set.

    fault is called for each pack transfer (protocol 2's fetch) and must answer it; None takes it away.
    redirect: where every request is sent on to, when it is set.
    """

    redirect = ""

    def __init__(self, root: Path, certificate: Path, token: str = "") -> None:
        self.root, self.token = root, token
        self.requests: list[str] = []
        self.fault: Fault | None = None
        self.released = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def url(self, name: str) -> str:
        """The HTTPS URL of a repository."""
        return f"https://127.0.0.1:{self._http.server_address[1]}/{name}"

    def close(self) -> None:
        """End, letting hanging answers go."""
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Http(ThreadingHTTPServer):
    owner: GitServer
    daemon_threads = False  # joined by server_close

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed leaves a broken connection; that is what some tests do."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_: object) -> None:
        """Nothing: tests read `requests`."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.close_connection = True
        owner = cast("_Http", self.server).owner
        owner.requests.append(f"{self.command} {self.path}")
        if owner.redirect:
            self.send_response(302)
            self.send_header("Location", owner.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if owner.token and not self._authorised(owner.token):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self._body()
        if owner.fault is not None and b"command=fetch" in body:
            owner.fault(self)
        else:
            self._backend(owner, body)

    def _authorised(self, token: str) -> bool:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        return kind == "Basic" and base64.b64decode(value).decode().partition(":")[2] == token

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _backend(self, owner: GitServer, sent: bytes) -> None:
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=sent,
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(owner.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": "git",
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [line.partition(": ")[::2] for line in head.decode().splitlines()]
        self.send_response(next((int(value[:3]) for name, value in fields if name == "Status"), 200))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
