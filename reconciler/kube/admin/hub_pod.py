"""The Pod of a hub, reached through an API server: its listener forwarded, a command in it run. May import: errors.

In: a kubeconfig, a context and a namespace.  Out: a socket that leads to a port of the Pod; what a command printed.
A context that impersonates is refused: the client would send the WebSocket as whoever stands behind it.
The official client speaks the protocol, the channels of v4.channel.k8s.io and v5.channel.k8s.io over a WebSocket.
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from reconciler.diagnostics import printable
from reconciler.errors import (
    ApiUnavailable,
    CredentialsRefused,
    HubUnreachable,
    ReconcilerError,
    RightMissing,
    SettingInvalid,
)

SELECTOR: Final = "app.kubernetes.io/name=reconciler"
ASK_S: Final = 10.0
CLOSE_S: Final = 5.0
RUN_S: Final = 90.0  # as long as a verb may take at the control socket
PORT_NAME: Final = "http"
ERROR_CHANNEL: Final = 3
UNKNOWN: Final = -1
CONTEXTS: Final = "`kubectl config get-contexts` lists what there is"


class Ran(NamedTuple):
    """What a command in the Pod left. code: UNKNOWN where the node says that it failed, in words, and not how."""

    code: int
    out: str
    err: str
    said: str = ""


class Pod:
    """One Pod in which a hub runs."""

    def __init__(self, api: Any, name: str, namespace: str, container: str, port: int | None) -> None:
        """api: a CoreV1Api of this Pod's own.  port: of its listener, where the Pod says one."""
        self._api, self.name, self.namespace = api, name, namespace
        self._container, self._port = container, port

    @classmethod
    @contextlib.contextmanager
    def of_hub(cls, context: str, kubeconfig: Path | None, namespace: str) -> Iterator[Self]:
        """The running Pod labelled as a hub, the ready one first.

        Raises SettingInvalid (no such context), HubUnreachable (no such Pod), RightMissing, CredentialsRefused,
        ApiUnavailable.
        """
        from kubernetes.client import CoreV1Api

        client = _client(context, kubeconfig)
        try:
            api = CoreV1Api(client)
            with _translated(f"pods in {namespace}", "list pods"):
                found: Any = api.list_namespaced_pod(
                    namespace, label_selector=SELECTOR, _preload_content=False, _request_timeout=ASK_S
                )
                pods = json.loads(found.data)["items"]
            yield cls._chosen(api, pods, namespace)
        finally:
            client.rest_client.pool_manager.clear()
            client.close()

    @classmethod
    def _chosen(cls, api: Any, pods: list[dict[str, Any]], namespace: str) -> Self:
        running = [
            pod
            for pod in pods
            if pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        ]
        if not running:
            states = ", ".join(sorted(f"{p['metadata']['name']} is {p.get('status', {}).get('phase')}" for p in pods))
            raise HubUnreachable(
                f"no Pod with {SELECTOR} runs in the namespace {namespace}" + (f": {states}" if states else ""),
                hint=f"name its namespace by --namespace (`kubectl get pods -A -l {SELECTOR}` looks everywhere); a hub "
                "that runs elsewhere is asked by its state directory, --state DIR, or its address, --hub URL",
            )
        pod = min(running, key=lambda one: (not _is_ready(one), one["metadata"]["name"]))
        containers = pod["spec"]["containers"]
        mine = next((one for one in containers if one["name"] == "reconciler"), containers[0])
        ports = {one.get("name"): int(one["containerPort"]) for one in mine.get("ports", ())}
        return cls(api, pod["metadata"]["name"], namespace, mine["name"], ports.get(PORT_NAME))

    @contextlib.contextmanager
    def forwarded(self, port: int) -> Iterator[Any]:
        """A connected socket that leads to the listener: the port that the Pod calls `http`, else `port`.

        Raises ApiUnavailable with what the node said where nobody listens there, once the socket has ended.
        """
        from kubernetes.stream import portforward

        at = self._port or port
        with _translated(self._words("cannot be forwarded"), "get, create pods/portforward"):
            forward = portforward(
                self._api.connect_get_namespaced_pod_portforward, self.name, self.namespace, ports=str(at)
            )
        try:
            yield forward.socket(at)
        except (OSError, ValueError, HTTPException) as error:  # what whoever speaks HTTP over it met
            raise self._broken(forward.error(at), at) from error
        finally:
            forward.close()
            _ended(forward, at)

    def run(self, words: Sequence[str]) -> Ran:
        """What a command in the Pod printed, and its exit code. Raises ApiUnavailable; it may have run then."""
        from kubernetes.stream import stream

        with _translated(self._words("does not run commands"), "get, create pods/exec"):
            line = stream(
                self._api.connect_get_namespaced_pod_exec,
                self.name,
                self.namespace,
                container=self._container,
                command=list(words),
                stdin=False,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
            )
        try:
            with _translated(self._words("broke off"), "get, create pods/exec"):
                line.run_forever(timeout=RUN_S)
                if line.is_open():
                    raise ApiUnavailable(self._words(f"did not finish within {RUN_S:g} s"), unknown=True)
                out, err = line.read_stdout() or "", line.read_stderr() or ""
                code, said = exit_code(line.read_channel(ERROR_CHANNEL), self._words("broke off"))
                return Ran(code, out, err, said)
        finally:
            line.close()
            line.sock.shutdown()  # which `close` leaves out where the other side ended first

    def _words(self, what: str) -> str:
        return f"the Pod {self.namespace}/{self.name} {what}"

    def _broken(self, said: str | None, port: int) -> ApiUnavailable:
        reason = f": {printable(said.strip())[:300]}" if said else ""
        hint = f"is its hub started with `--listen off`? The Pod's port named `{PORT_NAME}`, else 9484, is asked"
        return ApiUnavailable(self._words(f"gave no answer at port {port}{reason}"), hint=hint)


def _ended(forward: Any, port: int) -> None:
    """Let the client's own thread finish, then close what it leaves open where the other side ended first."""
    name = f"Kubernetes port forward proxy: {port}"
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(CLOSE_S)
    forward.websocket.shutdown()


def exit_code(said: str, words: str) -> tuple[int, str]:
    """The exit code and the words of the Status that ends a command. Raises ApiUnavailable where there is none.

    Source: the error channel of v4.channel.k8s.io; k8s.io/apimachinery/pkg/util/remotecommand.
    """
    try:
        status = json.loads(said)
        if status["status"] == "Success":
            return 0, ""
        causes = status.get("details", {}).get("causes", [])
        code = next((int(one["message"]) for one in causes if one.get("reason") == "ExitCode"), UNKNOWN)
        return code, printable(str(status.get("message", "")))[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ApiUnavailable(f"{words} before the command ended", unknown=True) from None


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _client(context: str, kubeconfig: Path | None) -> Any:
    from kubernetes import config

    from reconciler.kube.client.kubeconfig import IdentityWanted, acts_for

    new: Callable[..., Any] = config.new_client_from_config
    where = f"--kubeconfig {kubeconfig}" if kubeconfig else "the kubeconfig"
    try:
        made = new(config_file=str(kubeconfig) if kubeconfig else None, context=context or None)
    except Exception as error:  # noqa: BLE001  # whatever its parts raise; a kubeconfig's text may hold secrets
        said = str(error) if isinstance(error, config.ConfigException) and context and context in str(error) else ""
        what = f"has no usable context {context}" if context else "cannot be used"
        raise SettingInvalid(f"{where} {what}{f': {printable(said)[:200]}' if said else ''}", hint=CONTEXTS) from None
    if acting := acts_for(IdentityWanted(kubeconfig, context, in_cluster=False)):
        made.close()
        raise SettingInvalid(
            f"{where} acts for {acting} (`as` of its user), which is not passed on into Pods",
            hint=f"name a context without `as`, or `kubectl --as={acting} exec` the command in the Pod",
        )
    return made


@contextlib.contextmanager
def _translated(what: str, right: str) -> Iterator[None]:
    """What the official client raises, as ours. right: verbs and resource that a refusal is about."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError
    from websocket import WebSocketException

    try:
        yield
    except ApiException as error:
        raise _meant(error, what, right) from None
    except (HTTPError, WebSocketException, OSError) as error:
        raise ApiUnavailable(f"{what}: {printable(str(error))[:300]}") from None


def _meant(error: Any, what: str, right: str) -> ReconcilerError:
    """By its status; a refused WebSocket has it in its words only: `Handshake status 403 Forbidden -+-+- …`."""
    words = str(error.reason or "")
    shaken = re.match(r"Handshake status (\d+)", words)
    status = error.status or (int(shaken[1]) if shaken else 0)
    if status == 401:
        return CredentialsRefused(f"{what}: the API server does not know who asks")
    if status == 403:
        verbs, _, resource = right.rpartition(" ")  # a WebSocket begins as a GET; since 1.35 `create` is asked too
        rule = f'{{apiGroups: [""], resources: [{resource}], verbs: [{verbs}]}}'
        return RightMissing(f"{what}: not allowed to {right}; this rule grants it: {rule}")
    if status == 404:
        return HubUnreachable(f"{what}: it is not there any more", hint="try again: its Pod was replaced")
    return ApiUnavailable(f"{what}: {printable(words.partition(' -+-+- ')[0])[:300] or status}")
