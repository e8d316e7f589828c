"""The recorder of Kubernetes Events. May import: errors, history, kube.

In: what is to be told (history.kubernetes_events).  Out: objects of events.k8s.io/v1. They are no audit, so
one that cannot be written is dropped; one that is there already was written before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from reconciler.errors import ReconcilerError
from reconciler.history.keys import Key
from reconciler.history.kubernetes_events import FLEET, Told
from reconciler.kube.client.api import Api
from reconciler.kube.client.resources import EVENTS, LEASES, OURS, Resource
from reconciler.kube.watch.object import Live
from reconciler.model.identity import GROUP, OPERATION, SEQ

CONTROLLER: Final = f"{GROUP}/reconciler"
REVISION: Final = f"{GROUP}/revision"
CLUSTER_SCOPED: Final = "default"  # the namespace of Events about what has none
LONGEST_INSTANCE: Final = 128


@dataclass(frozen=True)
class EventLookup:
    """Objects that an Event is about: `live` by key, and the Fleet, if there is one."""

    live: Callable[[Key], Live | None]
    fleet: Callable[[], Key | None]
    resources: Mapping[str, Resource]


class EventRecorder:
    """Writes Events. Thread-safe."""

    def __init__(self, api: Api, lookup: EventLookup, *, lease: tuple[str, str], instance: str, branch: str) -> None:
        """lease: (namespace, name), what Events are about where there is no Fleet.  instance: who tells."""
        self._api, self._lookup, self._lease, self._branch = api, lookup, lease, branch
        self._instance = instance[:LONGEST_INSTANCE]

    def write(self, told: Told) -> None:
        """Create the Event. What fails is dropped."""
        regarding = self._regarding(told)
        namespace = regarding.get("namespace", CLUSTER_SCOPED)
        try:
            self._api.create(EVENTS, namespace, msgspec.json.encode(self._document(told, namespace, regarding)))
        except ReconcilerError:
            return

    def _regarding(self, told: Told) -> dict[str, str]:
        key = told.about
        if key == FLEET:
            found = self._lookup.fleet()
            if found is None:
                namespace, name = self._lease
                kind = {"apiVersion": LEASES.api_version, "kind": LEASES.kind}
                return {**kind, "namespace": namespace, "name": name}
            key = found
        live = self._lookup.live(key) if key.kind in OURS else None
        about = {"apiVersion": self._lookup.resources[key.kind].api_version, "kind": key.kind, "name": key.name}
        uid = told.uid or (live.uid if live is not None else "")
        return about | ({"namespace": key.namespace} if key.namespace else {}) | ({"uid": uid} if uid else {})

    def _document(self, told: Told, namespace: str, regarding: Mapping[str, str]) -> dict[str, Any]:
        annotations = {SEQ: str(told.seq)}
        annotations |= {REVISION: f"{self._branch}@sha1:{told.commit}"} if told.commit else {}
        annotations |= {OPERATION: told.operation} if told.operation else {}
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": told.name, "namespace": namespace, "annotations": annotations},
            "eventTime": told.time,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": told.reason,
            "reason": told.reason,
            "type": told.type,
            "note": told.note,
            "regarding": regarding,
        }
