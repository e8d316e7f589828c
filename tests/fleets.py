"""Small fleets for tests: declared objects as `planning` sees them, with every default filled in."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.planning.declared import Declared, Object
from reconciler.planning.versions import Circumstances

NOW = "2027-01-15T08:00:00.000000Z"
ONNX = {"deployToLayer": "edge", "frameworkType": "onnx"}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def entry(name: str, version: str, **more: Any) -> dict[str, Any]:
    url = f"https://models.example.com/{name}-{version}.tar.gz"
    return {"version": version, "downloadURL": url, "sha256sum": sha(url), **more}


def entries(name: str, versions: str) -> list[dict[str, Any]]:
    return [entry(name, version, size=100) for version in versions.split()]


def edge(
    name: str, labels: Mapping[str, str] | None = None, pins: Iterable[Mapping[str, str]] = (), **spec: Any
) -> Object:
    pins = [dict(pin) for pin in pins]
    lines = {f"pins/{n}": 7 + n for n in range(len(pins))}
    spec = {"address": "127.0.0.1", "pins": pins, **spec}
    return Object(
        kind="Edge", name=name, labels=dict(labels or {}), spec=spec, path=f"edges/{name}.yaml", line=1, lines=lines
    )


def catalogue(name: str, versions: str = "1 2", **spec: Any) -> Object:
    spec = {"frameworkType": "onnx", "versions": entries(name, versions), **spec}
    return Object(
        kind="Model",
        namespace="default",
        name=name,
        spec=spec,
        path=f"models/{name}.yaml",
        line=1,
        lines={"versions": 5},
    )


def model_set(
    name: str,
    default: str = "1",
    *,
    on: Mapping[str, str] | None = None,
    ref: str = "",
    versions: str = "1 2",
    **template: Any,
) -> Object:
    source: dict[str, Any] = {"modelRef": ref} if ref else {"manifest": entries(name, versions)}
    spec = {
        "edgeSelector": {"matchLabels": dict(on or {})},
        "defaultVersion": default,
        "template": {"spec": ONNX | {"modelName": name} | source | template},
    }
    lines = {"edgeSelector": 6, "defaultVersion": 7, "template": 8}
    return Object(
        kind="InferenceModelSet",
        namespace="default",
        name=name,
        spec=spec,
        path=f"deployments/{name}.yaml",
        line=1,
        lines=lines,
    )


def plain(name: str, target: str = "1", versions: str = "1 2", **spec: Any) -> Object:
    spec = ONNX | {"modelName": name, "targetVersion": target, "manifest": entries(name, versions)} | spec
    lines = {"manifest": 6, "targetVersion": 9, "nodeName": 10, "nodeSelector": 11, "servingPort": 12}
    lines |= {"replicas": 13} if "replicas" in spec else {}
    return Object(
        kind="InferenceModel", namespace="default", name=name, spec=spec, path=f"plain/{name}.yaml", line=1, lines=lines
    )


def dataset(
    name: str,
    default: str = "1",
    versions: str = "1 2",
    *,
    to: Mapping[str, str] | None = None,
    known: Mapping[str, str] | None = None,
) -> Object:
    chosen = {"bytes": to, "metadata": known}
    reach = {what: {"matchLabels": dict(labels)} for what, labels in chosen.items() if labels is not None}
    spec = {"format": "csv", "versions": entries(name, versions), "defaultVersion": default, "edges": reach}
    return Object(
        kind="Dataset",
        namespace="default",
        name=name,
        spec=spec,
        path=f"datasets/{name}.yaml",
        line=1,
        lines={"versions": 5, "defaultVersion": 8},
    )


def fleet(max_deletes: int = 20, max_share: str = "10%", *, require_digest: bool = True, **artifacts: Any) -> Object:
    spec = {
        "prune": {"maxDeletes": max_deletes, "maxShare": max_share},
        "artifacts": {"requireDigest": require_digest, "allowLoopback": False, "allowFile": False, **artifacts},
    }
    return Object(kind="Fleet", name="fleet", spec=spec, path="fleet.yaml", line=1)


def declare(*objects: Object) -> Declared:
    return Declared(objects)


def around(now: str = NOW, **more: Any) -> Circumstances:
    return Circumstances(more.pop("fleet", {}), more.pop("digests", {}), now, **more)
