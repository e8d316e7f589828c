"""Which of our kinds a cluster has, and in which state. May import: model, errors, kube.

In: an Api.  Out: one Standing a kind; the objects of a kind, page by page. Only reads.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from reconciler.errors import ApiUnavailable
from reconciler.kube.client.api import Api
from reconciler.kube.client.resources import CRDS, OURS, Resource
from reconciler.model.crds import definition
from reconciler.planning.kinds import KINDS

MANAGER: Final = "reconciler"


class Standing(NamedTuple):
    """One kind in the cluster.

    state: missing; other (not what this release brings); current; unready (current, but not served); leaving (being
    deleted).  wanted and live: the whole CustomResourceDefinitions, live None where there is none.
    """

    resource: Resource
    state: Literal["missing", "other", "current", "unready", "leaving"]
    wanted: dict[str, Any]
    live: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of the CustomResourceDefinition."""
        return crd_name(self.resource)

    @property
    def foreign(self) -> tuple[str, ...]:
        """The field managers of its spec where we are none of them."""
        found = managers(self.live or {})
        return () if MANAGER in found else tuple(sorted(found))

    @property
    def trouble(self) -> str:
        """Why it is not served, in the API server's words."""
        conditions = ((self.live or {}).get("status") or {}).get("conditions") or []
        bad = [one for one in conditions if one.get("status") == _BAD.get(one.get("type"))]
        return "; ".join(str(one.get("message") or one.get("reason") or one.get("type")) for one in bad)


_BAD: Final = {"Established": "False", "NamesAccepted": "False", "NonStructuralSchema": "True", "Terminating": "True"}


def crd_name(resource: Resource) -> str:
    """The name of a kind's CustomResourceDefinition."""
    return f"{resource.plural}.{resource.group}"


def look(api: Api) -> list[Standing]:
    """Every kind of ours, in the order of the table of kinds. Raises what Api raises."""
    return [standing(api, resource) for resource in OURS.values()]


def standing(api: Api, resource: Resource) -> Standing:
    """One kind."""
    wanted = definition(KINDS[resource.kind].declares())
    body = api.get(CRDS, crd_name(resource))
    if body is None:
        return Standing(resource, "missing", wanted)
    live = decoded(body)
    if live["metadata"].get("deletionTimestamp"):
        return Standing(resource, "leaving", wanted, live)
    if not same(wanted, live):
        return Standing(resource, "other", wanted, live)
    return Standing(resource, "current" if established(live) else "unready", wanted, live)


def decoded(body: bytes) -> dict[str, Any]:
    """An object as plain data. Raises ApiUnavailable."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ApiUnavailable("the API server's answer cannot be read") from None


def same(wanted: dict[str, Any], live: dict[str, Any]) -> bool:
    """Whether a CustomResourceDefinition says what ours says: scope, names, and each version wholly."""
    there = live["spec"]
    names = {name: there["names"].get(name) for name in wanted["spec"]["names"]}
    return bool(
        there.get("scope") == wanted["spec"]["scope"]
        and names == wanted["spec"]["names"]
        and _bare(there.get("versions")) == _bare(wanted["spec"]["versions"])
    )


def _bare(value: Any) -> Any:
    """Without what is empty, which the API server neither keeps nor adds alike."""
    if isinstance(value, dict):
        return {key: inner for key, one in value.items() if (inner := _bare(one)) is not None}
    return [_bare(one) for one in value] or None if isinstance(value, list) else value


def established(live: dict[str, Any]) -> bool:
    """Whether its objects can be read and written."""
    conditions = (live.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def managers(live: dict[str, Any]) -> set[str]:
    """The field managers that own something of the spec."""
    entries = (live.get("metadata") or {}).get("managedFields") or []
    return {str(one.get("manager")) for one in entries if "f:spec" in (one.get("fieldsV1") or {})}


def served(standing: Standing) -> Resource:
    """The kind in the version in which the cluster stores it, which may be another than ours."""
    versions = (standing.live or standing.wanted)["spec"].get("versions") or []
    stored = next((str(one["name"]) for one in versions if one.get("storage") and one.get("served")), "")
    return standing.resource._replace(version=stored or standing.resource.version)


def objects(api: Api, resource: Resource) -> Iterator[dict[str, Any]]:
    """Every object of a kind at one version of the cluster. Raises what Api raises."""
    return (decoded(bytes(item)) for item in api.everything(resource))


def place(document: dict[str, Any]) -> str:
    """namespace/name."""
    meta = document.get("metadata") or {}
    return "/".join(filter(None, (meta.get("namespace"), meta.get("name"))))
