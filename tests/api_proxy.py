"""A proxy between a client and a real API server that tests can bend. It runs in a process of its own, on loopback.

    with ApiProxy(control_plane.kubeconfig_for("ada", ...), tmp_path) as proxy:
        proxy.add(Rule(Answer(429, headers={"Retry-After": "1"}), verb="patch", after=3, times=2))
        ...  # whatever reads proxy.kubeconfig
        assert [request.status for request in proxy.requests(verb="patch")][3:5] == [429, 429]

A `Rule` says which requests; its fault says what happens to them. Every rule counts the requests that it fits; of those
whose turn it is the first acts (delays act beside others). Faults of watches count lines (events and bookmarks), of TLS
connections. Bearer tokens pass through, client certificates cannot: the kubeconfig needs a token. No upgrades (exec).

Delay        wait before forwarding, or before answering       Cut      close before forwarding, or before answering
Answer       this answer instead of the server's               Shuffle  a list's items in another order
Hold         a watch goes silent and stays open                CutLine  a watch ends in the middle of a line
CutBody      an answer ends in the middle of its body
Repeat/Swap  a watch's line twice / behind the next one        Insert   a line of our own, at once where a watch is open
BrokenTls    garbage, an end, or a certificate nobody signed   proxy.outage()  nothing at all gets through
"""

import base64
import contextlib
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec
import yaml

from tests.git_server import make_certificate

ROOT: Final = Path(__file__).parents[1]
REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True)
class Answer:
    """An answer of the proxy's own: a Kubernetes Status, or `body`. The server never sees the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "bent by the test"
    body: bytes | None = None


@dataclass(frozen=True)
class Cut:
    """Close the connection: before the server sees the request, or (applied) when it has answered."""

    applied: bool = False


@dataclass(frozen=True)
class Delay:
    """Wait: before the server sees the request, or (applied) when it has answered."""

    seconds: float
    applied: bool = False


@dataclass(frozen=True)
class CutBody:
    """Half of the answer's body, then the end of the connection."""


@dataclass(frozen=True)
class Shuffle:
    """A list's items the other way round."""


@dataclass(frozen=True)
class Hold:
    """From this line on nothing is passed, and the watch stays open until the client goes or the rules are cleared."""


@dataclass(frozen=True)
class CutLine:
    """Half of this line, then the end of the connection."""


@dataclass(frozen=True)
class Repeat:
    """This line twice."""


@dataclass(frozen=True)
class Swap:
    """This line behind the one that follows it."""


@dataclass(frozen=True)
class Insert:
    """A line of our own in every watch that fits and is open, else in the next one. end: and then it ends in order."""

    event: Mapping[str, Any]
    end: bool = False


@dataclass(frozen=True)
class BrokenTls:
    """What a new connection gets instead of a handshake. Adding it cuts those that are open."""

    how: Literal["garbage", "cut", "untrusted"] = "garbage"


Fault = Answer | Cut | CutBody | Delay | Shuffle | Hold | CutLine | Repeat | Swap | Insert | BrokenTls
ON_LINES: Final = (Hold, CutLine, Repeat, Swap)
GONE: Final = Insert({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}, end=True)


@dataclass(frozen=True)
class Rule:
    """fault, for the requests that fit: empty fits all; path, query and agent are regular expressions to be found.

    verb: get, list, watch, create, update, patch, delete or deletecollection.  token: of the bearer, whole.
    after: let so many pass first.  times: then act on so many, None for all.
    """

    fault: Fault
    method: str = ""
    verb: str = ""
    path: str = ""
    query: str = ""
    agent: str = ""
    token: str = ""
    after: int = 0
    times: int | None = 1

    def fits(self, request: "Request") -> bool:
        """Whether it is about this request."""
        return (
            self.method in {"", request.method}
            and self.verb in {"", request.verb}
            and self.token in {"", request.token}
            and all(re.search(getattr(self, name), getattr(request, name)) for name in ("path", "query", "agent"))
        )


class Request(NamedTuple):
    """One request as it came. at: time.monotonic() when its last byte was here.

    agent, token: who sent it (User-Agent, bearer token).  size: bytes of its body.
    answered: the API server's status, 0 when it was not asked or has not answered yet.
    status: the status that the client was sent, 0 for none.  fault: names of the faults that acted, with spaces.
    """

    at: float
    method: str
    path: str
    query: str
    verb: str
    agent: str
    token: str
    size: int
    answered: int = 0
    status: int = 0
    fault: str = ""


class ApiProxy:
    """The proxy. Its process ends with `close`, and by itself when the test's process ends."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        """kubeconfig: of the server, with a token.  directory: for what it writes."""
        self._directory = directory
        for name in ("own", "untrusted"):
            (directory / name).mkdir(parents=True)
            make_certificate(directory / name)
        cluster = _part(yaml.safe_load(kubeconfig.read_text()), "cluster")
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.api_proxy_server import serve; serve()"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        authority = _authority(cluster, kubeconfig.parent)
        own, untrusted = (directory / name / "both.pem" for name in ("own", "untrusted"))
        self.server = f"https://127.0.0.1:{self._say(cluster['server'], authority, own, untrusted)}"
        self.kubeconfig = self.kubeconfig_for(kubeconfig)

    def kubeconfig_for(self, kubeconfig: Path) -> Path:
        """The same user, by way of this proxy."""
        document = yaml.safe_load(kubeconfig.read_text())
        if not {"token", "tokenFile"} & _part(document, "user").keys():
            raise ValueError(f"{kubeconfig} has no token, and a client certificate cannot pass a proxy")
        context = {"cluster": "proxy", "user": _part(document, "context")["user"]}
        if "namespace" in _part(document, "context"):
            context["namespace"] = _part(document, "context")["namespace"]
        certificate = base64.b64encode((self._directory / "own" / "cert.pem").read_bytes()).decode()
        cluster = {"server": self.server, "certificate-authority-data": certificate}
        document["clusters"] = [{"name": "proxy", "cluster": cluster}]
        document["contexts"] = [{"name": document["current-context"], "context": context}]
        path = self._directory / f"{len(list(self._directory.glob('*.kubeconfig')))}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    def add(self, *rules: Rule) -> None:
        """From now on, beside those that are there."""
        self._say("add", rules)

    def clear(self) -> None:
        """No rule any more. Watches that were held are cut, an outage is over."""
        self._say("clear")

    def outage(self, seconds: float | None = None) -> None:
        """Cut every connection, and each new one, for so long or until `clear`."""
        self._say("outage", seconds)

    def requests(self, **wanted: str | int) -> list[Request]:
        """Those so far, in the order in which they came, whose fields are as wanted (path: by regular expression)."""
        path = str(wanted.pop("path", ""))
        found: list[Request] = self._say("requests")
        return [
            request
            for request in found
            if re.search(path, request.path) and all(getattr(request, name) == value for name, value in wanted.items())
        ]

    def forget(self) -> None:
        """Begin the record anew."""
        self._say("forget")

    def wait(self, condition: Callable[[list[Request]], object], deadline_s: float = 20.0) -> list[Request]:
        """The requests, once they are as the condition wants. Raises TimeoutError with what there was."""
        end = time.monotonic() + deadline_s
        while not condition(found := self.requests()):
            if time.monotonic() > end:
                raise TimeoutError("\n".join(map(str, found[-20:])) or "no request came")
            time.sleep(0.01)
        return found

    def close(self) -> None:
        """End the process and every connection. Idempotent."""
        if self._process.stdin and self._process.stdout:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait(20)
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, *words: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        pickle.dump(words, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


def retry_after_date(seconds: float) -> str:
    """A Retry-After in its other form (RFC 9110, 10.2.3). It has whole seconds only: rounded up by one."""
    return formatdate(time.time() + seconds + 1, usegmt=True)


def status_body(answer: Answer) -> bytes:
    """What the API server itself would say with this status."""
    if answer.body is not None:
        return answer.body
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": answer.message}
    return msgspec.json.encode({**status, "reason": REASONS.get(answer.status, ""), "code": answer.status})


def verb_of(method: str, path: str, query: str) -> str:
    """The Kubernetes verb of a request (Kubernetes documentation, "Determine the request verb")."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:] if parts[0] == "apis" else []
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    named = len(parts) > 1
    if method == "GET":
        return "get" if named or not parts else "watch" if re.search(r"(^|&)watch=(true|1)", query) else "list"
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())


def _part(document: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The current context of a kubeconfig, or the cluster or user that it names."""
    contexts: dict[str, Any] = {row["name"]: row["context"] for row in document["contexts"]}
    context: dict[str, Any] = contexts[document["current-context"]]
    if kind == "context":
        return context
    rows: Iterator[dict[str, Any]] = (row[kind] for row in document[f"{kind}s"] if row["name"] == context[kind])
    return next(rows)


def _authority(cluster: Mapping[str, Any], directory: Path) -> str:
    """The PEM of who signed the API server's certificate; empty where the kubeconfig names nobody."""
    if "certificate-authority-data" in cluster:
        return base64.b64decode(cluster["certificate-authority-data"]).decode()
    name = cluster.get("certificate-authority")
    return (directory / str(name)).read_text() if name else ""  # the machine's own authorities
