"""A control plane as tests and benchmarks see it, whichever it is.

In: an admin's kubeconfig.  Out: requests, users with exact rights, counts, and what this control plane can do beyond.
"""

import json
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from tests.control_plane.client import Calls, Client, Document, counted

if TYPE_CHECKING:
    from tests.control_plane.local import LocalControlPlane

USERS: Final = "reconciler-tests"  # the namespace of the service accounts that `kubeconfig_for` makes
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
Rule = dict[str, list[str]]


class ControlPlane:
    """An API server and an admin of it. kubeconfig: the admin's. server: https://host:port."""

    origin = "existing"

    def __init__(self, kubeconfig: Path, directory: Path | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.admin = Client(kubeconfig)
        self.server = self.admin.server
        self.request = self.admin.request
        self.get = self.admin.get
        self.post = self.admin.post
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="reconciler-control-plane-")
        self.directory = directory or Path(self._temporary.name if self._temporary else "")
        self._namespaces: list[str] = []

    def client(self, kubeconfig: Path | None = None) -> Client:
        """Raw requests as this identity, the admin's unless told."""
        return Client(kubeconfig or self.kubeconfig)

    def fresh_namespace(self, prefix: str = "test") -> str:
        """A namespace that nothing else uses. It is deleted at the end where something here can delete it."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.post("/api/v1/namespaces", {"metadata": {"name": name}})
        self._namespaces.append(name)
        return name

    def kubeconfig_for(self, user: str, *rules: Rule, namespace: str = "") -> Path:
        """A user with exactly these rules, in one namespace or in all, beside what every authenticated user may.

        A rule is a PolicyRule: {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}. The user is the service
        account reconciler-tests/<user> with a token for a day; asked again, it has the new rules and only these.
        """
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": USERS}})
        accounts = f"/api/v1/namespaces/{USERS}/serviceaccounts"
        self.request("POST", accounts, {"metadata": {"name": user}})
        scope = f"{RBAC}/namespaces/{namespace}/" if namespace else f"{RBAC}/"
        role, binding = ("roles", "rolebindings") if namespace else ("clusterroles", "clusterrolebindings")
        name = f"{USERS}-{user}"
        for kind in (binding, role):
            self.request("DELETE", f"{scope}{kind}/{name}")
        self.post(scope + role, {"metadata": {"name": name}, "rules": list(rules)})
        subject = {"kind": "ServiceAccount", "name": user, "namespace": USERS}
        ref = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role" if namespace else "ClusterRole",
            "name": name,
        }
        self.post(scope + binding, {"metadata": {"name": name}, "subjects": [subject], "roleRef": ref})
        answer = self.post(f"{accounts}/{user}/token", {"spec": {"expirationSeconds": 86400}})
        path = self.directory / f"{user}.kubeconfig"
        write_kubeconfig(path, self.server, self._authority(), answer["status"]["token"], namespace or "default")
        return path

    def calls(self) -> Calls:
        """Requests answered so far by (verb, resource); take two and subtract. See client.counted for the names.

        The API server counts a request just after its answer is out: this reads until two readings agree.
        """
        before = counted(self.metrics())
        for _ in range(10):
            now = counted(self.metrics())
            if now == before:
                break
            before = now
        return now

    def metrics(self) -> str:
        """The API server's own, as text."""
        return self.admin.raw("GET", "/metrics")[1].decode()

    def lacks(self, what: str) -> str:
        """Why this control plane cannot do `what`, "" when it can. Starts nothing.

        audit: who sent what. controller-manager, scheduler, kwok: by name. processes: see `local`.
        """
        if what == "controller-manager":
            # It publishes this ConfigMap into every namespace; nothing else does.
            status, _ = self.request("GET", "/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt")
            return "" if status == 200 else "the cluster runs no controller-manager"
        if what == "scheduler":
            return self.lacks("controller-manager")
        return f"an {self.origin} cluster is used as it is"

    def need(self, *what: str) -> None:
        """What a test cannot do without: an optional part is started; what is not there skips the test."""
        for one in what:
            if reason := self.lacks(one):
                skip(f"needs {one}: {reason}")
            self._start(one)

    def end(self, part: str) -> None:
        """End an optional part that a test needed: a controller left running changes the objects of the next test."""

    def local(self) -> "LocalControlPlane":
        """This control plane where its processes are ours to pause, restart and set back, else the test is skipped."""
        skip(f"needs processes: {self.lacks('processes')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leaves nothing behind that it made, as far as an API server can do that."""
        for name in self._namespaces:
            self.request("DELETE", f"/api/v1/namespaces/{name}")
        self.admin.close()
        if self._temporary:
            self._temporary.cleanup()

    def _start(self, part: str) -> None:
        """An optional part; nothing to do where it runs anyway."""

    def _authority(self) -> bytes:
        """The certificates that clients trust."""
        configuration = self.admin._configuration
        return Path(configuration.ssl_ca_cert).read_bytes() if configuration.ssl_ca_cert else b""


def write_kubeconfig(path: Path, server: str, authority: bytes, token: str, namespace: str = "default") -> None:
    """One cluster, one user with a token, one context named `tests`; JSON is YAML. Only its owner may read it."""
    import base64

    cluster: dict[str, Any] = {"server": server}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    document: Document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": namespace}}],
        "current-context": "tests",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1))


def skip(reason: str) -> NoReturn:
    import pytest

    pytest.skip(reason)
