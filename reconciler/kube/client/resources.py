"""The resources that are watched and written, a row a kind. May import: history.keys, planning.

In: a kind.  Out: paths of its collections and objects (Kubernetes API Concepts, "Resource URIs"), and how it is read.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from reconciler.history.keys import Key
from reconciler.planning.fields import BY_VERSION, MergeKeys
from reconciler.planning.kinds import KINDS, models


class Resource(NamedTuple):
    """One kind as the API server has it. group: "" is the core group.

    merge_keys: which of its lists are maps.  content: the fields beside metadata and status that say what is wanted.
    defaulted: the API server fills in fields that nobody sent.  status_matters: a change of its status alone is told.
    selector: labels of those that are listed and watched.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    merge_keys: MergeKeys = BY_VERSION
    content: tuple[str, ...] = ("spec",)
    defaulted: bool = False
    status_matters: bool = False
    selector: Mapping[str, str] = {}

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def label_selector(self) -> str:
        """As LIST and watch want it; "" where it is watched whole."""
        return ",".join(f"{label}={value}" for label, value in self.selector.items())

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """Of one object, or without a name of the collection; without a namespace, of all namespaces."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [self.plural, *filter(None, (name, sub))]
        return "/" + "/".join(parts)


KEPT: Final = {  # all that Git can declare
    name: Resource(
        row.group,
        row.version,
        row.plural,
        name,
        row.scope == "Namespaced",
        content=() if KINDS[name].bare else ("spec",),
        defaulted=not row.is_ours,
    )
    for name, row in models().items()
}
OURS: Final = {name: KEPT[name] for name, row in models().items() if row.is_ours}


def document(resource: Resource, key: Key, metadata: Mapping[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """An object with its head. metadata: what stands there beside its name."""
    named = {"name": key.name} | ({"namespace": key.namespace} if key.namespace else {})
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {**named, **(metadata or {})},
        **parts,
    }


LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
CRDS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
NAMESPACES: Final = KEPT["Namespace"]
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event", namespaced=True)
