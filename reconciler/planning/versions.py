"""The choice of a version for an edge: its pin, else what the object says. May import: history, model, planning.

In: objects, the edge, and what is beside the declarations.  Out: the entry of one version, with the reason, to
planning.declare and planning.deliver. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from reconciler.diagnostics import Diagnostic
from reconciler.history.events import rfc3339
from reconciler.history.state import PINNED, Served
from reconciler.model.expiry import expires_at
from reconciler.model.identity import CATALOGUE, Identity
from reconciler.planning import refusals
from reconciler.planning.declared import Declared, Object, template_of
from reconciler.planning.kinds import KINDS


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Inputs of an expansion beside the declarations.

    fleet: spec of the Fleet in force.  digests: "<url> <version>" -> sha256 seen at first use.  now: RFC 3339 UTC.
    served: what was ordered last, by key: who has a port keeps it.
    """

    fleet: Mapping[str, Any]
    digests: Mapping[str, str]
    now: str
    served: Mapping[str, Served] = field(default_factory=dict)


class Choice(NamedTuple):
    """The version that is meant, where that stands, and why."""

    version: str
    origin: str
    because: str


class Chosen(NamedTuple):
    """The entry of the version that an edge is to have, why it is that one, and when a pin on it ends ("": never)."""

    entry: dict[str, Any]
    choice: Choice
    until: str


def chosen(source: Object, edge: Object, declared: Declared, around: Circumstances) -> Chosen | Diagnostic:
    """Which version of `source` the edge gets, with its digest; or why that cannot be said."""
    pin = _pin(source, edge, around.now)
    choice = _choice(source, edge, pin)
    holder = holder_of(declared, source)
    entry = next((dict(one) for one in entries_of(holder) if str(one["version"]) == choice.version), None)
    if holder is None:
        models = (model.name for model in declared.of_kind(CATALOGUE) if model.namespace == source.namespace)
        return refusals.unknown_model(source, template_of(source)["modelRef"], models)
    if entry is None:
        known = [str(one["version"]) for one in entries_of(holder)]
        asked_by = KINDS[source.kind].version
        return refusals.unknown_version(source, edge, pin, choice.version, known=known, asked_by=asked_by)
    if not entry.get("sha256sum"):
        entry["sha256sum"] = around.digests.get(f"{entry['downloadURL']} {choice.version}", "")
    if not entry["sha256sum"] and (around.fleet.get("artifacts") or {}).get("requireDigest", True):
        return refusals.digest_missing(holder, choice.version, entry["downloadURL"])
    until = rfc3339(expires_at(str(pin["expires"]))) if pin is not None and pin.get("expires") else ""
    return Chosen(entry, choice, until)


def _pin(source: Object, edge: Object, now: str) -> dict[str, Any] | None:
    kind, name = KINDS[source.kind].pin(source)
    for pin in edge.spec.get("pins") or [] if kind else ():
        if pin.get(kind) == name and not _expired(pin, now):
            return dict(pin)
    return None


def _expired(pin: dict[str, Any], now: str) -> bool:
    expires = pin.get("expires")
    return bool(expires) and datetime.fromisoformat(now).timestamp() >= expires_at(str(expires))


def _choice(source: Object, edge: Object, pin: dict[str, Any] | None) -> Choice:
    if pin is not None:
        why = f": {pin['reason']}" if pin.get("reason") else ""
        place = edge.place(f"pins/{edge.spec['pins'].index(pin)}")
        return Choice(str(pin["version"]), place, f"{PINNED}{edge.name}{why}")
    named = KINDS[source.kind].version
    version = source.spec.get(named)
    entries = entries_of(source)
    if not version and len(entries) == 1:
        version = entries[0]["version"]
    because = f"the default version of {source.name}" if named == "defaultVersion" else f"its {named}"
    return Choice(str(version or ""), source.place(named), because)


def holder_of(declared: Declared, source: Object) -> Object | None:
    """Where the versions of an object stand: in itself, or in the Model that it refers to."""
    reference = template_of(source).get("modelRef")
    return declared.get(Identity(CATALOGUE, source.namespace, reference)) if reference else source


def entries_of(holder: Object | None) -> list[dict[str, Any]]:
    """The versions that an object itself lists."""
    return list(holder.spec.get("versions") or template_of(holder).get("manifest") or ()) if holder is not None else []
