"""Kinds of Kubernetes itself as watched resources, a row each, as a stage that makes workloads registers them.

Merge keys are those of the API's own schema (x-kubernetes-list-map-keys in its OpenAPI document).
"""

from typing import Any, Final

from reconciler.kube.client.resources import Resource
from reconciler.planning.fields import MergeKeys

LABEL: Final = {"ai.kubeedge.io/stage": "run"}
_NAME: Final = {"name": None}
_PORT: Final = {"containerPort": None, "protocol": "TCP"}
POD_KEYS: Final[MergeKeys] = {
    "containers": _NAME,
    "initContainers": _NAME,
    "containers.ports": _PORT,
    "initContainers.ports": _PORT,
    "env": _NAME,
    "volumes": _NAME,
    "volumeMounts": {"mountPath": None},
    "imagePullSecrets": _NAME,
    "topologySpreadConstraints": {"topologyKey": None, "whenUnsatisfiable": None},
}


def _built_in(group: str, plural: str, kind: str, **more: Any) -> Resource:
    given: dict[str, Any] = {"merge_keys": {}, "defaulted": True, "selector": LABEL, **more}
    return Resource(group, "v1", plural, kind, namespaced=True, **given)


DEPLOYMENTS: Final = _built_in("apps", "deployments", "Deployment", merge_keys=POD_KEYS, status_matters=True)
PODS: Final = _built_in("", "pods", "Pod", merge_keys=POD_KEYS, status_matters=True)
SERVICES: Final = _built_in("", "services", "Service", merge_keys={"spec.ports": {"port": None, "protocol": "TCP"}})
CONFIG_MAPS: Final = _built_in("", "configmaps", "ConfigMap", content=("data", "binaryData", "immutable"))
WORKLOADS: Final = {one.kind: one for one in (DEPLOYMENTS, PODS, SERVICES, CONFIG_MAPS)}
