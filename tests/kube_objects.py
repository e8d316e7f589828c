"""An API server in miniature, for tests of what watches it: versions, LISTs in pages, watches, and what goes wrong."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from reconciler.kube.client.api import Page
from reconciler.kube.client.resources import OURS, Resource

MODELS = OURS["InferenceModel"]
Line = bytes | Exception | Callable[[], None]
API_VERSION = "ai.kubeedge.io/v1alpha1"


def owner(manager: str, fields: dict[str, Any], *, time: str = "2026-11-22T10:00:00Z", sub: str = "") -> dict[str, Any]:
    entry = {"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields}
    return entry | ({"subresource": sub} if sub else {})


def model(name: str, version: str, spec: dict[str, Any] | None = None, **meta: Any) -> bytes:
    """An InferenceModel as the API server writes it."""
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": version, "generation": 1}
    metadata["creationTimestamp"] = "2026-11-22T09:00:00Z"
    document = {"apiVersion": API_VERSION, "kind": "InferenceModel", "metadata": metadata | meta, "spec": spec or {}}
    return json.dumps(document).encode()


def event(deed: str, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}' % (deed.encode(), body)


def bookmark(version: str) -> bytes:
    metadata = {"resourceVersion": version, "creationTimestamp": None}
    document = {"kind": "InferenceModel", "apiVersion": API_VERSION, "metadata": metadata, "spec": {}}
    return event("BOOKMARK", json.dumps(document).encode())


def in_band(code: int, message: str) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": code, "message": message}
    return event("ERROR", json.dumps(status).encode())


class Miniature:
    """Holds InferenceModels by name. `faults` come instead of answers, in order: what they are is raised or sent."""

    def __init__(self, *, page: int = 2) -> None:
        self.revision, self.page = 100, page
        self.objects: dict[str, bytes] = {}
        self.events: list[tuple[int, bytes]] = []
        self.calls: list[str] = []
        self.list_faults: list[Exception | None] = []  # after a LIST's first page
        self.watch_faults: list[Exception | Sequence[Line] | None] = []  # instead of a watch, or of its lines

    def set(self, name: str, spec: dict[str, Any] | None = None, **meta: Any) -> bytes:
        self.revision += 1
        body = model(name, str(self.revision), spec, **meta)
        self.events.append((self.revision, event("MODIFIED" if name in self.objects else "ADDED", body)))
        self.objects[name] = body
        return body

    def delete(self, name: str) -> None:
        self.revision += 1
        document = json.loads(self.objects.pop(name))
        document["metadata"]["resourceVersion"] = str(self.revision)
        self.events.append((self.revision, event("DELETED", json.dumps(document).encode())))

    def pages(self, resource: Resource, *, limit: int = 500) -> Iterator[Page]:
        whole = limit > 1
        self.calls.append("list" if whole else "look")
        version, bodies = str(self.revision), list(self.objects.values())
        size = self.page if whole else 1
        for start in range(0, max(1, len(bodies)), size):
            yield Page([msgspec.Raw(body) for body in bodies[start : start + size]], version)
            if whole and self.list_faults and (fault := self.list_faults.pop(0)) is not None:
                raise fault

    @contextmanager
    def watch(self, resource: Resource, version: str, *, silence_s: float = 90.0) -> Iterator[Iterator[bytes]]:
        self.calls.append(f"watch {version}")
        fault = self.watch_faults.pop(0) if self.watch_faults else None
        if isinstance(fault, Exception):
            raise fault
        since = [line for revision, line in self.events if not version.isdecimal() or revision > int(version)]
        yield self._lines(since if fault is None else list(fault))

    def _lines(self, lines: list[Any]) -> Iterator[bytes]:
        for line in lines:
            if isinstance(line, Exception):
                raise line
            if callable(line):  # time passes
                line()
            else:
                yield line

    def end_watches(self) -> None:
        self.calls.append("end")
