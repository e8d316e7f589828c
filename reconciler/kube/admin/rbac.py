"""The roles that grant what rights.py names. May import: kube.client.rights.

In: the namespace that the reconciler runs in.  Out: deploy/rbac.yaml, which a test keeps current.
"""

from collections.abc import Iterable
from typing import Any, Final

from reconciler.kube.client.rights import HOME, INSTALLER, OPERATOR, RULES, PolicyRule

NAMESPACE: Final = "reconciler-system"
_RBAC: Final = "rbac.authorization.k8s.io"
_HEADER: Final = """\
# Made by `reconciler crds roles`: change reconciler/kube/client/rights.py instead.
# The hub has the role `reconciler`, and in its own namespace the Role of that name. `reconciler-installer` (for
# `reconciler crds apply`) and `reconciler-operator` (for verbs of the command line) are bound to nobody: bind them to
# people.
"""


def roles(namespace: str = NAMESPACE) -> str:
    """All of them as YAML, the same on every run."""
    import yaml

    documents = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reconciler", "namespace": namespace}},
        _role("ClusterRole", "reconciler", RULES),
        _bound("ClusterRoleBinding", "ClusterRole", "reconciler", namespace, {}),
        _role("Role", "reconciler", HOME, namespace),
        _bound("RoleBinding", "Role", "reconciler", namespace, {"namespace": namespace}),
        _role("ClusterRole", "reconciler-installer", INSTALLER),
        _role("Role", "reconciler-operator", OPERATOR, namespace),
    ]
    return _HEADER + "---\n".join(yaml.safe_dump(one, sort_keys=False, width=120) for one in documents)


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


def _bound(kind: str, role: str, name: str, namespace: str, place: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name, **place},
        "roleRef": {"apiGroup": _RBAC, "kind": role, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "reconciler", "namespace": namespace}],
    }
