"""A hub elsewhere, asked over HTTP: at its own address, or in its Pod through the API server. May import: kube, web.

In: a Hub and a question.  Out: the documents of /api/v1, and the errors of the hub as the same classes.
"""

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from reconciler.control_socket import revived
from reconciler.errors import ReconcilerError, UsageError, WorldUnavailable
from reconciler.web.document import SCHEMA_VERSION

PATIENCE_S: Final = 60.0  # for connecting, then for each silence: a hub that is followed says something each 15 s
PORT: Final = 9484
HINT: Final = "`reconciler run` says where it listens; ask it with `curl URL/healthz`"


class Hub(NamedTuple):
    """Where a hub is: at `url`, else in its Pod."""

    url: str
    context: str = ""
    kubeconfig: Path | None = None
    namespace: str = ""


def document(hub: Hub, question: str, said: Mapping[str, str]) -> dict[str, Any]:
    """One whole answer. Raises what the hub raised, WorldUnavailable, UsageError."""
    with _answer(hub, question, said) as answer:
        return _checked(answer.read(), question)


def lines(hub: Hub, question: str, said: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A long answer, a document a line, as they come. Raises as `document` does."""
    with _answer(hub, question, said) as answer:
        for line in answer:
            if line.strip():  # an empty line says that the hub is there still
                yield _checked(line, question)


@contextlib.contextmanager
def _answer(hub: Hub, question: str, said: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
    path = f"/api/v1/{question}" + (f"?{urlencode(said)}" if said else "")
    name = hub.url or f"the Pod of the hub in {hub.namespace}"
    try:
        with _line(hub) as (line, before):
            line.request("GET", before + path, headers={"Accept": "application/json", "Connection": "close"})
            answer = line.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise _refusal(answer, name)
            yield answer
    except (OSError, http.client.HTTPException, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise WorldUnavailable(f"{name} did not answer: {words}", hint=HINT) from error


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
