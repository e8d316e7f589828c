"""The roles that grant what rights.py names. May import: kube.client.rights.

In: the namespace that the reconciler runs in, and its account.  Out: deploy/rbac.yaml, which a test keeps current.
"""

from collections.abc import Iterable
from typing import Any, Final

from reconciler.kube.client.rights import HOME, INSTALLER, OPERATOR, RULES, PolicyRule

NAMESPACE: Final = "reconciler-system"
ACCOUNT: Final = "reconciler"
_RBAC: Final = "rbac.authorization.k8s.io"
_HEADER: Final = """\
# Made by `reconciler crds roles`: change reconciler/kube/client/rights.py instead.
# The hub has the role `reconciler`, and in its own namespace the Role of that name. `reconciler-installer` (for
# `reconciler crds apply`) and `reconciler-operator` (for verbs of the command line) are bound to nobody: bind them to
# people.
"""


def roles(namespace: str = NAMESPACE, account: str = ACCOUNT) -> str:
    """All of them as YAML, the same on every run."""
    import yaml

    return _HEADER + "---\n".join(
        yaml.safe_dump(one, sort_keys=False, width=120) for one in documents(namespace, account)
    )


def documents(namespace: str, account: str) -> list[dict[str, Any]]:
    """The account, the roles and its bindings, whose names carry whose they are: none takes another's place."""
    bound = (f"{account}-{namespace}", {"kind": "ServiceAccount", "name": account, "namespace": namespace})
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}},
        _role("ClusterRole", "reconciler", RULES),
        _bound("ClusterRoleBinding", "reconciler", *bound),
        _role("Role", "reconciler", HOME, namespace),
        _bound("RoleBinding", "reconciler", *bound, namespace),
        _role("ClusterRole", "reconciler-installer", INSTALLER),
        _role("Role", "reconciler-operator", OPERATOR, namespace),
    ]


def _role(kind: str, name: str, rules: Iterable[PolicyRule], namespace: str = "") -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "rules": list(_merged(rules)),
    }


def _merged(rules: Iterable[PolicyRule]) -> Iterable[dict[str, list[str]]]:
    """One entry for all resources of a group that need the same verbs."""
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for rule in rules:
        together.setdefault((rule.group, rule.verbs), []).append(rule.resource)
    for (group, verbs), resources in together.items():
        yield {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}


def _bound(kind: str, role: str, name: str, subject: dict[str, str], namespace: str = "") -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": _RBAC, "kind": kind.removesuffix("Binding"), "name": role},
        "subjects": [subject],
    }
