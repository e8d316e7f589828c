"""A hub elsewhere, asked over HTTP: at its own address, or in its Pod through the API server. May import: kube, web.

In: a Hub and a question.  Out: the documents of /api/v1, and the errors of the hub as the same classes.
"""

import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

from reconciler.control_socket import revived
from reconciler.errors import AnswerRefused, ReconcilerError, UsageError, WorldUnavailable
from reconciler.web.document import SCHEMA_VERSION

PATIENCE_S: Final = 60.0  # for connecting, then for each silence: a hub that is followed says something each 15 s
WHOLE_S: Final = 60.0  # for one whole answer about the basis
PACKED_CAP: Final = 32 << 20  # bytes of such an answer on the wire
BASIS_CAP: Final = 512 << 20  # and unpacked
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
PORT: Final = 9484
HINT: Final = "`reconciler run` says where it listens; ask it with `curl URL/healthz`"


class Token(NamedTuple):
    """Where the token is that a proxy before a hub wants, never what it is: a variable or a file."""

    env: str = ""
    file: Path | None = None

    def header(self, url: SplitResult) -> dict[str, str]:
        """It, to be sent; {} without one. Raises UsageError, which names the reference only."""
        if not self.env and self.file is None:
            return {}
        if url.scheme != "https" and (url.hostname or "") not in LOOPBACK:
            raise UsageError("a token goes to a hub by https only", hint="name the hub as https://HOST")
        try:
            said = os.environ.get(self.env, "") if self.file is None else self.file.read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise UsageError(f"the token file {self.file} cannot be read") from error
        name = f"the file {self.file}" if self.file is not None else f"the variable {self.env}"
        if not (token := said.strip()) or not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(f"{name} has no token in it")
        return {"Authorization": f"Bearer {token}"}


NO_TOKEN: Final = Token()


class Hub(NamedTuple):
    """Where a hub is: at `url`, else in its Pod."""

    url: str
    context: str = ""
    kubeconfig: Path | None = None
    namespace: str = ""
    token: Token = NO_TOKEN


def document(hub: Hub, question: str, said: Mapping[str, str]) -> dict[str, Any]:
    """One whole answer. Raises what the hub raised, WorldUnavailable, UsageError."""
    with _answer(hub, question, said) as answer:
        return _checked(answer.read(), question)


def basis(hub: Hub, said: Mapping[str, str]) -> bytes:
    """An answer about the basis, unpacked, whole within a deadline. Raises as `document` does, AnswerRefused."""
    try:
        with _answer(hub, "basis", said, {"Accept-Encoding": "gzip"}, WHOLE_S) as answer:
            packed = answer.read(PACKED_CAP + 1)
            is_packed = answer.headers.get("content-encoding", "") == "gzip"
    except UsageError as error:
        if "nothing is at" not in error.message:
            raise
        raise AnswerRefused("this hub is of a release that tells nobody its basis", hint="upgrade the hub") from error
    if len(packed) > PACKED_CAP:
        raise AnswerRefused(f"the hub's answer is larger than {PACKED_CAP >> 20} MiB")
    return _unpacked(packed) if is_packed else packed


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        body = unpacker.decompress(packed, BASIS_CAP)
    except zlib.error as error:
        raise AnswerRefused(f"the hub's answer cannot be unpacked: {error}") from error
    if unpacker.unconsumed_tail:
        raise AnswerRefused(f"the hub's answer is larger than {BASIS_CAP >> 20} MiB, unpacked")
    if not unpacker.eof:
        raise WorldUnavailable("the hub's answer breaks off", hint=HINT)
    return body


def lines(hub: Hub, question: str, said: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A long answer, a document a line, as they come. Raises as `document` does."""
    with _answer(hub, question, said) as answer:
        for line in answer:
            if line.strip():  # an empty line says that the hub is there still
                yield _checked(line, question)


@contextlib.contextmanager
def _answer(
    hub: Hub, question: str, said: Mapping[str, str], headers: Mapping[str, str] = {}, whole_s: float = 0
) -> Iterator[http.client.HTTPResponse]:
    """whole_s: within how many seconds all of the answer is there; 0: each silence has its own end alone."""
    path = f"/api/v1/{question}" + (f"?{urlencode(said)}" if said else "")
    name = hub.url or f"the Pod of the hub in {hub.namespace}"
    try:
        with _line(hub) as (line, before):
            sent = {"Accept": "application/json", "Connection": "close", **headers}
            sent |= hub.token.header(urlsplit(hub.url)) if hub.url else {}
            with _ended(line, whole_s):
                line.request("GET", before + path, headers=sent)
                answer = line.getresponse()
                if answer.status != http.HTTPStatus.OK:
                    raise _refusal(answer, name)
                yield answer
    except (OSError, http.client.HTTPException, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise WorldUnavailable(f"{name} did not answer: {words}", hint=HINT) from error


@contextlib.contextmanager
def _ended(line: http.client.HTTPConnection, whole_s: float) -> Iterator[None]:
    """End a connection when its time is over, however slowly something still comes. Raises TimeoutError then."""
    if not whole_s:
        yield
        return
    if line.sock is None:
        line.connect()
    over, sock = threading.Event(), line.sock

    def end() -> None:
        over.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(whole_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        if over.is_set():
            raise TimeoutError(f"its answer was not whole after {whole_s:.0f} s") from error
        raise
    finally:
        timer.cancel()
    if over.is_set():
        raise TimeoutError(f"its answer was not whole after {whole_s:.0f} s")


@contextlib.contextmanager
def _line(hub: Hub) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """A connection to the hub, and what stands before every path there."""
    if not hub.url:
        from reconciler.kube.admin.hub_pod import Pod

        with Pod.of_hub(hub.context, hub.kubeconfig, hub.namespace) as pod, pod.forwarded(PORT) as sock:
            line = http.client.HTTPConnection("localhost", PORT, timeout=PATIENCE_S)
            line.sock = sock
            yield line, ""
        return
    url = urlsplit(hub.url)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query or url.fragment:
        raise UsageError("--hub takes an address as http://127.0.0.1:9484")
    try:
        port = url.port or (443 if url.scheme == "https" else PORT)
    except ValueError as error:
        raise UsageError(f"--hub: {error}") from error
    made = (
        http.client.HTTPSConnection(url.hostname, port, timeout=PATIENCE_S, context=ssl.create_default_context())
        if url.scheme == "https"
        else http.client.HTTPConnection(url.hostname, port, timeout=PATIENCE_S)
    )
    with contextlib.closing(made) as line:
        yield line, url.path.rstrip("/")


def _refusal(answer: http.client.HTTPResponse, name: str) -> ReconcilerError:
    """The error that the hub sent; what is not one of ours stands for something else that listens there."""
    try:
        said = json.loads(answer.read(1 << 20))
        if said["kind"] == "Error":
            return revived(said)
    except (ValueError, KeyError, TypeError):
        pass
    return WorldUnavailable(f"{name} answered {answer.status} {answer.reason}, which is no hub's answer", hint=HINT)


def _checked(said: bytes, question: str) -> dict[str, Any]:
    found: Any = json.loads(said)
    if not isinstance(found, dict) or found.get("schemaVersion") != SCHEMA_VERSION:
        raise WorldUnavailable(f"what answered about {question} is no hub, or one of another release", hint=HINT)
    if found.get("kind") == "Error":
        raise revived(found)
    return dict(found)
