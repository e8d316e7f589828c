"""etcd and kube-apiserver in a directory of their own.

etcd listens on a UNIX socket in a directory that only its owner may enter; the API server listens on 127.0.0.1 with a
certificate that it makes itself, RBAC on, one admin token. Nothing is needed for that beside the programs. A directory
whose test run was killed is removed by the next one: its lock is free.

In: a directory with programs.  Out: a `Home`, whose API server is ready in about four seconds.
"""

import fcntl
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from tests.control_plane.plane import write_kubeconfig
from tests.control_plane.process import CannotStart, Program

PREFIX: Final = f"reconciler-control-plane-{os.getuid()}-"
_LONGEST: Final = 100  # bytes of a UNIX socket's path, of 107
_TRIES: Final = 3  # a free port can be taken by another before the API server listens
_POLICY: Final = """{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
 "rules": [{"level": "Metadata"}]}"""


class Home:
    """The directory of one control plane and the two programs that it cannot do without."""

    def __init__(self, programs: Path, *, audit: bool, fsync: bool) -> None:
        self.programs = programs
        self.audit = audit
        self._fsync = fsync
        with _one_at_a_time():
            self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = hold(self.directory)
        self.data = self.directory / "data"
        self.socket = self.directory / "etcd.sock"
        if len(os.fsencode(self.socket)) > _LONGEST:
            raise CannotStart(f"{self.socket} is too long for a socket: set TMPDIR to a shorter path")
        self.certificates = self.directory / "certificates"
        # The API server makes both; the file has its certificate and that of the authority which signed it.
        self.ca, self.key = self.certificates / "apiserver.crt", self.certificates / "apiserver.key"
        self.kubeconfig = self.directory / "admin.kubeconfig"
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.etcd: Program | None = None
        self.api: Program | None = None
        tokens = self.directory / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self.token},admin,admin,"system:masters"\n')
        (self.directory / "audit-policy.json").write_text(_POLICY)

    def start(self) -> None:
        self.start_etcd()
        for left in reversed(range(_TRIES)):
            try:
                self.start_api()
            except CannotStart as error:
                if not left or "address already in use" not in str(error):
                    raise
                self.port = free_port()
            else:
                break
        server = f"https://127.0.0.1:{self.port}"
        write_kubeconfig(self.kubeconfig, server, self.ca.read_bytes(), self.token)

    def start_etcd(self) -> None:
        self.socket.unlink(missing_ok=True)
        url = f"unix://{self.socket}"
        # One member: no peer ever connects, and what it advertises is read by nobody.
        nobody = "http://localhost:1"
        arguments = ["--data-dir", str(self.data), "--listen-client-urls", url, "--advertise-client-urls", nobody]
        arguments += ["--listen-peer-urls", f"unix://{self.directory}/peer.sock"]
        arguments += ["--initial-advertise-peer-urls", nobody, "--initial-cluster", f"default={nobody}"]
        arguments += ["--logger", "zap", "--log-level", "warn", "--quota-backend-bytes", str(8 << 30)]
        if not self._fsync:
            arguments.append("--unsafe-no-fsync")
        self.etcd = Program(self.programs / "etcd", arguments, self.directory)
        self.etcd.wait_until(self._etcd_ready)

    def start_api(self) -> None:
        arguments = {
            "etcd-servers": f"unix://{self.socket}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self.port,
            "cert-dir": self.certificates,
            "token-auth-file": self.directory / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "anonymous-auth": "false",
            "service-account-issuer": "https://kubernetes.default.svc",
            # No second key pair is needed: nobody else trusts what these sign.
            "service-account-key-file": self.key,
            "service-account-signing-key-file": self.key,
            "service-cluster-ip-range": "10.0.0.0/24",
            # An endpoint of the `kubernetes` service may not be on loopback.
            "endpoint-reconciler-type": "none",
            # Names of fake nodes mean nothing to a resolver.
            "kubelet-preferred-address-types": "InternalIP",
        }
        if self.audit:
            arguments |= {"audit-policy-file": self.directory / "audit-policy.json"}
            arguments |= {"audit-log-path": self.directory / "audit.jsonl"}
        words = [f"--{name}={value}" for name, value in arguments.items()]
        self.api = Program(self.programs / "kube-apiserver", words, self.directory)
        self.wait_ready()

    def wait_ready(self) -> None:
        assert self.api
        self.api.wait_until(self._api_ready)

    def ask_etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """etcd's JSON gateway: every gRPC call as a POST."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.socket))
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            document: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise LookupError(f"etcd: {path}: {answer.status} {document}")
        return document

    def stop(self) -> None:
        for program in (self.api, self.etcd):
            if program:
                program.stop()
        self._lock.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _etcd_ready(self) -> bool:
        try:
            return bool(self.ask_etcd("/v3/kv/range", {"key": b64("/")}))
        except (OSError, http.client.HTTPException, LookupError, ValueError):
            return False

    def _api_ready(self) -> bool:
        if not self.ca.is_file():
            return False
        try:
            context = ssl.create_default_context(cafile=self.ca)
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)
            try:
                connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {self.token}"})
                return connection.getresponse().status == 200
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            return False


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def sweep() -> None:
    """Removes directories whose test run was killed: their lock is free."""
    with _one_at_a_time():
        for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/"):
            try:
                held = hold(directory)
            except OSError:
                continue  # its owner lives
            with held:
                shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Among a user's test runs: a new directory is not swept before its lock is held."""
    with (Path(tempfile.gettempdir()) / f"{PREFIX}lock").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def hold(directory: Path) -> IO[bytes]:
    """Raises BlockingIOError while another process holds it; the kernel frees it when its holder dies."""
    handle = (directory / "owner").open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        handle.close()
        raise
    return handle


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()
