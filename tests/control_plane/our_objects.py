"""Our CRDs in a cluster, and none of our objects. Raw requests: what is tested must not clean up after itself.

In: crds/*.yaml.  Out: a cluster in which they are Established and empty.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import yaml

from tests.control_plane.client import Document
from tests.control_plane.plane import ControlPlane

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DIRECTORY: Final = Path(__file__).parents[2] / "crds"

_Identity = tuple[str, int, bool]  # uid, generation, whether it is being deleted


class OurObjects:
    """Remembers what it installed, so that a cluster which is as it left it costs one request a kind."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._files: list[Document] = [yaml.safe_load(path.read_text()) for path in sorted(DIRECTORY.glob("*.yaml"))]
        self._installed: dict[str, _Identity] = {}

    def clean(self) -> None:
        """Our CRDs as in the tree and Established, none of our objects in any namespace."""
        self.install()
        for crd in self._files:
            self._empty(crd)

    def install(self) -> None:
        """Our CRDs as in the tree and Established."""
        there = {one["metadata"]["name"]: one for one in self._plane.get(CRDS)["items"]}
        for crd in self._files:
            now = there.get(crd["metadata"]["name"])
            if now is None or _identity(now) != self._installed.get(crd["metadata"]["name"], ()):
                self._install(crd, now)

    def _install(self, crd: Document, now: Document | None) -> None:
        name = crd["metadata"]["name"]
        path = f"{CRDS}/{name}"
        if now and "deletionTimestamp" in now["metadata"]:
            _until(lambda: self._plane.request("GET", path)[0] == 404, f"{name} to be gone")
            now = None
        if now is None:
            # A deleted CRD's paths answer a moment longer, and would be taken for the new one's.
            _until(lambda: self._plane.request("GET", _collection(crd))[0] == 404, f"the old {name} to be gone")
        if now:
            metadata = {**crd["metadata"], "resourceVersion": now["metadata"]["resourceVersion"]}
            status, answer = self._plane.request("PUT", path, {**crd, "metadata": metadata})
        else:
            status, answer = self._plane.request("POST", CRDS, crd)
        if status >= 300:
            raise LookupError(f"{name} could not be installed: {status} {answer.get('message')}")
        _until(lambda: _established(self._plane.get(path)), f"{name} to be Established")
        # Established is said before the new paths answer.
        _until(lambda: self._plane.request("GET", _collection(crd))[0] == 200, f"{name} to be served")
        self._installed[name] = _identity(self._plane.get(path))

    def _empty(self, crd: Document) -> None:
        _until(lambda: not self._delete(crd), f"all {crd['spec']['names']['plural']} to be gone")

    def _delete(self, crd: Document) -> list[Document]:
        """What was there before this call."""
        items: list[Document] = self._plane.get(_collection(crd))["items"]
        for one in items:
            if one["metadata"].get("finalizers"):
                namespace = one["metadata"].get("namespace", "")
                path = f"{_collection(crd, namespace)}/{one['metadata']['name']}"
                self._plane.request("PATCH", path, {"metadata": {"finalizers": None}})
        for namespace in {one["metadata"].get("namespace", "") for one in items}:
            self._plane.request("DELETE", _collection(crd, namespace))
        return items


def _collection(crd: Document, namespace: str = "") -> str:
    spec = crd["spec"]
    version = next(one["name"] for one in spec["versions"] if one["storage"])
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{spec['group']}/{version}{within}/{spec['names']['plural']}"


def _identity(crd: Document) -> _Identity:
    """A deletion that waits for the objects to go raises no generation."""
    return crd["metadata"]["uid"], crd["metadata"]["generation"], "deletionTimestamp" in crd["metadata"]


def _established(crd: Document) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _until(done: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.02)
