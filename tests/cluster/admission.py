"""An admission webhook for our kinds, on loopback, with a certificate of its own.

In: a function from an AdmissionRequest to an answer.  Out: what the API server asked, and what it was told.
"""

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.cluster.cluster_hub import World
from tests.git_server import make_certificate

GROUP = "ai.kubeedge.io"
Asked = Mapping[str, Any]
Judge = Callable[[Asked], Mapping[str, Any]]


def allow(_: Asked) -> dict[str, Any]:
    return {"allowed": True}


def deny(message: str) -> Judge:
    return lambda _: {"allowed": False, "status": {"message": message, "code": 403}}


def patch(*operations: Mapping[str, Any]) -> Judge:
    """Change each object. operations: JSON patch (RFC 6902)."""
    body = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": body}


class Webhook:
    """judge may be set at any time; asked lists what was asked, without dry runs and other users."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.asked: list[Asked] = []


@contextlib.contextmanager
def webhook(
    world: World, judge: Judge, *, mutating: bool = False, operations: tuple[str, ...] = ("CREATE", "UPDATE")
) -> Iterator[Webhook]:
    """A webhook that is in force, about InferenceModels. The API server waits a second for it."""
    hook = Webhook(judge)
    name = f"{world.home}.tests.example.com"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = review["request"]
            probe = request["name"] == "probe"
            if not probe:
                hook.asked.append(request)
            said = {"allowed": False, "status": {"message": "in force"}} if probe else hook.judge(request)
            answer = {**review, "response": {"uid": request["uid"], **said}}
            del answer["request"]
            body = json.dumps(answer).encode()
            with contextlib.suppress(OSError):  # the API server has gone
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    directory = world.root / "webhook"
    directory.mkdir(exist_ok=True)
    both = make_certificate(directory)
    server = _Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=[0.05], name="webhook")
    thread.start()
    kind = "MutatingWebhookConfiguration" if mutating else "ValidatingWebhookConfiguration"
    path = f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}s"
    rule = {
        "apiGroups": [GROUP],
        "apiVersions": ["*"],
        "operations": list(operations),
        "resources": ["inferencemodels"],
    }
    authority = base64.b64encode((directory / "cert.pem").read_bytes()).decode()
    one = {
        "name": name,
        "clientConfig": {"url": f"https://127.0.0.1:{server.server_port}/", "caBundle": authority},
        "rules": [rule],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    world.plane.post(path, {"kind": kind, "metadata": {"name": name}, "webhooks": [one]})
    try:
        world.wait(lambda: _in_force(world, operations), "the webhook in force")
        yield hook
    finally:
        world.plane.request("DELETE", f"{path}/{name}")
        world.wait(lambda: not _in_force(world, operations), "no webhook in force")
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake that was broken off."""


def _in_force(world: World, operations: tuple[str, ...]) -> bool:
    """By an object named `probe`, which the webhook always refuses."""
    from tests.cluster.cluster_hub import model

    path = world.path("probe")
    if "DELETE" in operations:
        world.plane.request("POST", path.rpartition("/")[0], json.loads(model("probe")["models/probe.yaml"]))
        code, answer = world.plane.request("DELETE", path)
    else:
        body = json.loads(model("probe")["models/probe.yaml"])
        code, answer = world.plane.request("POST", path.rpartition("/")[0], body, query={"dryRun": "All"})
    return code >= 400 and code != 404 and "in force" in str(answer)
