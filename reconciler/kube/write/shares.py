"""Shares of field managers in an object, moved to us as client-go's csaupgrade does. May import: planning. Pure.

In: an object with its managedFields, and which leaves of whom are taken.  Out: a JSON patch, bound to the version of
the object that was read. An apply takes away only what its manager alone owns: what people applied before would stay.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from reconciler.planning.fields import MergeKeys, divided, united

APPLIES: Final = "Apply"


class _Meta(msgspec.Struct, frozen=True):
    version: str = msgspec.field(default="", name="resourceVersion")
    managed: list[dict[str, Any]] = msgspec.field(default=[], name="managedFields")


class _Document(msgspec.Struct, frozen=True):
    api_version: str = msgspec.field(name="apiVersion")
    metadata: _Meta


_DOCUMENT: Final = msgspec.json.Decoder(_Document)


def taken_over(body: bytes, manager: str, takes: Callable[[str, str], bool], keys: MergeKeys) -> bytes | None:
    """The patch by which `manager` has the leaves that it takes; None where it takes none.

    takes: (leaf path, the manager that has it).  Raises msgspec.MsgspecError.
    """
    document = _DOCUMENT.decode(body)
    mine: dict[str, Any] = {}
    kept: list[dict[str, Any]] = []
    ours: dict[str, Any] | None = None
    for entry in document.metadata.managed:
        if _is_whole(entry, document.api_version):
            if entry["manager"] == manager and entry.get("operation") == APPLIES:
                ours = entry
                continue
            if entry["manager"] != manager:
                whose = str(entry["manager"])
                part, rest = divided(entry["fieldsV1"], lambda path, whose=whose: takes(path, whose), keys)  # type: ignore[misc]  # bound now
                mine = united(mine, part)
                if part and rest:
                    kept.append({**entry, "fieldsV1": rest})
                if part:
                    continue
        kept.append(entry)
    if not mine:
        return None
    share = united(ours["fieldsV1"] if ours is not None else {}, mine)
    head = {"manager": manager, "operation": APPLIES, "apiVersion": document.api_version, "fieldsType": "FieldsV1"}
    managed = [{**(ours or head), "fieldsV1": share}, *kept]
    return msgspec.json.encode(
        [
            {"op": "replace", "path": "/metadata/managedFields", "value": managed},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": document.metadata.version},
        ]
    )


def _is_whole(entry: Mapping[str, Any], version: str) -> bool:
    """Whether it is about the object itself, in the version in which we write it."""
    return not entry.get("subresource") and entry.get("apiVersion") == version and "fieldsV1" in entry
