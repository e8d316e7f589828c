"""The desired state of one key, as values. May import: history, diagnostics. Made by expand, compared by diff."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reconciler.diagnostics import Diagnostic
from reconciler.history.keys import Key
from reconciler.history.state import FAILED, Served


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired state of one key: what the API server or an edge should hold.

    spec: compared field by field with what was ordered or is there; absent objects have none.
    policy: what the edge may do to get it (loopback, file URLs); sent along, compared only while it is not there yet.
    origin: `path:line` that asks for it.  because: the same in words.  until: when a pin expires (RFC 3339), else "".
    remarks: warnings about it that hold nothing up.
    """

    key: Key
    spec: dict[str, Any]
    policy: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    because: str = ""
    until: str = ""
    remarks: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Frozen:
    """A desired state that cannot be said: the key stays as it was ordered last. `problem` says why and where.

    None: another key of the same object tells it.
    """

    key: Key
    problem: Diagnostic | None


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing declares the key any more."""

    key: Key


Expansion = Desired | Frozen | Gone


def as_ordered(key: Key, served: Served) -> Expansion:
    """What was ordered of a key last, where it was not refused and is not to go."""
    if not served.order or served.phase in FAILED or served.action == "delete":
        return Frozen(key, None)
    return Desired(key, served.order, served.policy, served.origin, served.reason)


def content_digest(spec: dict[str, Any]) -> str:
    """What a quarantine is about: the artifact's sha256; where none is pinned, a digest of its URL and version."""
    pinned = spec.get("sha256")
    if isinstance(pinned, str) and pinned:
        return pinned
    return hashlib.sha256(f"{spec.get('url', '')}\n{spec.get('version', '')}".encode()).hexdigest()


def digest_of(spec: dict[str, Any]) -> str:
    """What names the content of an order: the artifact's sha256, of an API object that of its fields; "" of nothing."""
    if spec.keys().isdisjoint({"spec", "labels"}):
        return str(spec.get("sha256", ""))
    return hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()
