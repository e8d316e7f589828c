"""etcd and kube-apiserver as processes of the test run, with the other three on demand.

etcd listens on a UNIX socket in a directory that only its owner may enter; the API server listens on 127.0.0.1 with a
certificate that it makes itself, RBAC on, one admin token. Nothing is needed for that beside the programs.

In: a directory with programs.  Out: a `LocalControlPlane`, ready in about four seconds.
"""

import fcntl
import http.client
import json
import secrets
import shutil
import socket
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import IO, Any, Final, Self

from tests.control_plane.plane import ControlPlane, write_kubeconfig
from tests.control_plane.process import CannotStart, Program

PREFIX: Final = "reconciler-control-plane-"
_TRIES: Final = 3  # a free port can be taken by another before the API server listens
_POLICY: Final = """{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
 "rules": [{"level": "Metadata"}]}"""
_PARTS: Final = {
    "controller-manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "kwok": "kwok",
}


class LocalControlPlane(ControlPlane):
    """Ours to stop, pause and set back. origin: "assets" or "built"."""

    def __init__(self, directory: Path, kubeconfig: Path, home: "_Home", *, origin: str) -> None:
        super().__init__(kubeconfig, directory)
        self._home = home
        self.origin = origin
        self._parts: dict[str, Program] = {}

    @classmethod
    def start(cls, programs: Path, *, origin: str = "built", audit: bool = False, fsync: bool = False) -> Self:
        """Returns when the API server is ready. audit: keep who sent what (see `audited`). Raises CannotStart."""
        sweep()
        home = _Home(programs, audit=audit, fsync=fsync)
        try:
            home.start()
            return cls(home.directory, home.kubeconfig, home, origin=origin)
        except BaseException:
            home.stop()
            raise

    def local(self) -> "LocalControlPlane":
        return self

    @property
    def pids(self) -> dict[str, int]:
        """Program name -> process id, of what runs."""
        running = (self._home.etcd, self._home.api, *self._parts.values())
        return {program.name: program.pid for program in running if program and program.running}

    def lacks(self, what: str) -> str:
        if what == "processes":
            return ""
        if what == "audit":
            return "" if self._home.audit else "this control plane was started without an audit log"
        name = _PARTS.get(what, what)
        return "" if (self._home.programs / name).is_file() else f"{self._home.programs} holds no {name}"

    def audited(self, resource: str = "") -> list[dict[str, Any]]:
        """audit.k8s.io/v1 Events, in the order in which their answers were complete; of one plural, or all.

        A request stands there just after its answer: user.username, verb, objectRef, requestReceivedTimestamp (µs).
        """
        lines = (self.directory / "audit.jsonl").read_bytes().splitlines()
        events = [json.loads(line) for line in lines if line.endswith(b"}")]
        return [one for one in events if not resource or one.get("objectRef", {}).get("resource") == resource]

    def pause(self) -> None:
        """SIGSTOP to the API server: connections stay open, nothing answers."""
        assert self._home.api
        self._home.api.pause()

    def resume(self) -> None:
        assert self._home.api
        self._home.api.resume()

    def restart(self, *, graceful_s: float = 10.0) -> None:
        """The API server anew at the same address; its watch caches start empty. graceful_s 0: killed."""
        self.halt(graceful_s=graceful_s)
        self._home.start_api()

    def halt(self, *, graceful_s: float = 0.0) -> None:
        """The API server is gone until `restart`: connections are refused."""
        assert self._home.api
        self._home.api.stop(graceful_s=graceful_s)

    def restart_etcd(self) -> None:
        """etcd is killed and comes back with its data; the API server answers 5xx in between."""
        assert self._home.etcd
        self._home.etcd.stop()
        self._home.start_etcd()
        self._home.wait_ready()

    def revision(self) -> int:
        """etcd's, which is the newest resourceVersion."""
        return int(self._home.ask_etcd("/v3/kv/range", {"key": _b64("/")})["header"]["revision"])

    def compact(self) -> int:
        """Forgets all history before now and restarts the API server, whose caches would remember it.

        After that an older resourceVersion, and a continue token of before, is answered with 410. Returns the revision.
        """
        revision = self.revision()
        self._home.ask_etcd("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        self.restart()
        return revision

    def snapshot(self) -> Path:
        """A copy of etcd's data as a crash right now would leave it; for `restore`."""
        assert self._home.etcd
        copy = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self.directory))
        self._home.etcd.pause()
        try:
            shutil.copytree(self._home.data, copy, dirs_exist_ok=True)
        finally:
            self._home.etcd.resume()
        return copy

    def restore(self, snapshot: Path) -> None:
        """Everything as at the snapshot: later writes never were, and resourceVersion goes back."""
        assert self._home.etcd
        self.halt()
        self._home.etcd.stop()
        shutil.rmtree(self._home.data)
        shutil.copytree(snapshot, self._home.data)
        self._home.start_etcd()
        self._home.start_api()

    def stop(self) -> None:
        """All programs end and the directory goes; the data was for this run only."""
        self.admin.close()
        for part in reversed(self._parts.values()):
            part.stop()
        self._home.stop()

    def _start(self, part: str) -> None:
        if part not in _PARTS or ((there := self._parts.get(part)) and there.running):
            return
        program = self._home.programs / _PARTS[part]
        port = free_port()
        common = ["--kubeconfig", str(self.kubeconfig)]
        if part == "kwok":
            arguments = [
                *common,
                "--manage-all-nodes",
                "--server-address",
                f"127.0.0.1:{port}",
                "--node-ip",
                "127.0.0.1",
            ]
            arguments += ["--node-port", str(port)]
        else:
            arguments = [*common, "--bind-address", "127.0.0.1", "--secure-port", str(port), "--leader-elect=false"]
            arguments += ["--authentication-kubeconfig", str(self.kubeconfig)]
            arguments += ["--authorization-kubeconfig", str(self.kubeconfig)]
        if part == "controller-manager":
            arguments += [
                "--service-account-private-key-file",
                str(self._home.key),
                "--root-ca-file",
                str(self._home.ca),
            ]
            arguments += ["--use-service-account-credentials", "--cert-dir", str(self.directory / part)]
        started = Program(program, arguments, self.directory)
        self._parts[part] = started
        started.wait_until(lambda: _listens(port))
        if part == "controller-manager":
            started.wait_until(lambda: not ControlPlane.lacks(self, part))

    def _authority(self) -> bytes:
        return self._home.ca.read_bytes()


class _Home:
    """The directory of one control plane and the two programs that it cannot do without."""

    def __init__(self, programs: Path, *, audit: bool, fsync: bool) -> None:
        self.programs = programs
        self.audit = audit
        self._fsync = fsync
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = _hold(self.directory)
        self.data = self.directory / "data"
        self.socket = self.directory / "etcd.sock"
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
            return bool(self.ask_etcd("/v3/kv/range", {"key": _b64("/")}))
        except (OSError, http.client.HTTPException, LookupError, ValueError):
            return False

    def _api_ready(self) -> bool:
        import ssl

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
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            held = _hold(directory)
        except OSError:
            continue  # its owner lives, or it is another user's
        with held:
            shutil.rmtree(directory, ignore_errors=True)


def _hold(directory: Path) -> IO[bytes]:
    """Raises BlockingIOError while another process holds it; the kernel frees it when its holder dies."""
    handle = (directory / "owner").open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        handle.close()
        raise
    return handle


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _b64(text: str) -> str:
    return b64encode(text.encode()).decode()
