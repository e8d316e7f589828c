"""A kubeconfig for an account of its own. May import: errors, kube.

In: an Api of somebody who may make roles.  Out: the account with its roles and bindings in the cluster, and a
kubeconfig with a token that ends (TokenRequest of authentication.k8s.io/v1).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from reconciler.errors import ApiUnavailable, FieldConflict, SettingInvalid, UsageError
from reconciler.kube.admin.rbac import documents
from reconciler.kube.client.api import Api
from reconciler.kube.client.kubeconfig import cluster_of
from reconciler.kube.client.resources import NAMESPACES, Resource

MANAGER: Final = "reconciler-installer"
_RBAC: Final = "rbac.authorization.k8s.io"
_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
_MADE: Final = {
    row.kind: row
    for row in (
        _ACCOUNTS,
        Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        Resource(_RBAC, "v1", "roles", "Role", namespaced=True),
        Resource(_RBAC, "v1", "rolebindings", "RoleBinding", namespaced=True),
    )
}


class _Token(msgspec.Struct, frozen=True):
    token: str
    expires: str = msgspec.field(name="expirationTimestamp")


class _Answer(msgspec.Struct, frozen=True):
    status: _Token


def kubeconfig(api: Api, namespace: str, account: str, *, seconds: int) -> tuple[str, str]:
    """The account and its rights, made or brought up to date: (kubeconfig as YAML, when its token ends, RFC 3339).

    Raises SettingInvalid where the cluster was not named by a kubeconfig, and what Api raises.
    """
    import yaml

    wanted = api.connection.wanted
    if wanted.in_cluster:
        raise SettingInvalid(
            "a Pod's account has no kubeconfig to begin from", hint="name the cluster by --context or --kubeconfig"
        )
    cluster = cluster_of(wanted)
    if api.get(NAMESPACES, namespace) is None:
        with suppress(FieldConflict):  # somebody made it meanwhile
            api.create(NAMESPACES, "", msgspec.json.encode({"metadata": {"name": namespace}}))
    for one in documents(namespace, account):
        metadata, body = one["metadata"], msgspec.json.encode(one)
        place = metadata.get("namespace", "")
        api.apply(_MADE[one["kind"]], metadata["name"], place, body, manager=MANAGER, force=True)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}}
    answer = api.create(_ACCOUNTS, namespace, msgspec.json.encode(asked), name=account, sub="token")
    try:
        made = msgspec.json.decode(answer, type=_Answer).status
    except msgspec.MsgspecError:
        raise ApiUnavailable("the answer to the request for a token cannot be read") from None
    user = f"{account}-{namespace}"
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": made.token}}],
        "contexts": [{"name": user, "context": {"cluster": "cluster", "user": user, "namespace": namespace}}],
        "current-context": user,
    }
    return yaml.safe_dump(document, sort_keys=False), made.expires


@contextmanager
def write(path: Path, *, replace: bool) -> Iterator[Callable[[str], None]]:
    """What writes a secret to `path`, for its owner's eyes alone, whole or not at all.

    Whether it can be written is known before anything is made in the cluster. Raises UsageError.
    """
    if path.exists() and not replace:
        raise UsageError(f"{path} is there already", hint="name another file, or give --replace to write over it")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        made = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    def into(text: str) -> None:
        with os.fdopen(made, "w", closefd=False) as file:
            file.write(text)
        beside.replace(path)

    try:
        yield into
    finally:
        os.close(made)
        beside.unlink(missing_ok=True)
