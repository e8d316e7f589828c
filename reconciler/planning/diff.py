"""The diff: desired against observed, field by field. May import: history, planning.fields, planning.desired.

In: what each key should be, and what was ordered last or is there.  Out: differences, to planning.plan.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reconciler.history.keys import Key
from reconciler.planning.desired import Desired, Expansion, Frozen, Gone
from reconciler.planning.fields import BY_VERSION, MergeKeys, leaves

Action = Literal["create", "update", "delete"]
MISSING = None  # JSON's null: a field that is not there


@dataclass(frozen=True, slots=True)
class Observed:
    """The observed state of one key.

    spec: as ordered last (on the hub) or as found (on an edge).  under_way: an answer is still to come, so `policy`
    counts too.  failed: the last answer was a refusal.

    Of an object of the API server, beside that: spec is `{labels, annotations, spec}`.  foreign: it does not go when it
    is no longer declared, as it is none of ours or of a kind that stays.  found: its uid and resourceVersion.  left:
    leaf paths that rules leave to others, so that they are not sent.  forced: leaf paths of others that are taken back.
    waits: action ("": any) -> why it may not be done.  seen: leaf path -> value, where that is not what the spec says
    (others' own fields are left out, and what rules let stand counts as declared).
    """

    spec: Mapping[str, Any]
    policy: Mapping[str, Any] = field(default_factory=dict)
    under_way: bool = False
    failed: bool = False
    deleting: bool = False
    foreign: bool = False
    found: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    waits: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One key's difference. wanted: None for a delete.  there: what was observed, None for what is absent."""

    key: Key
    action: Action
    wanted: Desired | None
    changes: tuple[FieldChange, ...]
    there: Observed | None = None


def diff(
    wanted: Iterable[Expansion], observed: Mapping[Key, Observed], merge_keys: Mapping[str, MergeKeys] = {}
) -> list[Difference]:
    """The differences in key order; none for what is as it should be, and none for what cannot be said (Frozen).

    merge_keys: kind -> which of its lists are maps, where they are not so by version.
    """
    found = []
    for expansion in sorted(wanted, key=lambda expansion: expansion.key):
        there = observed.get(expansion.key)
        keys = merge_keys.get(expansion.key.kind, BY_VERSION)
        match expansion:
            case Frozen():
                continue
            case Gone():
                if there is not None and not there.deleting and not there.foreign:
                    gone = sorted(leaves(there.spec, keys))
                    changes = tuple(FieldChange(name, value, MISSING) for name, value in gone)
                    found.append(Difference(expansion.key, "delete", None, changes, there))
            case Desired():
                changes = _changes(expansion, there, keys)
                if changes:
                    action: Action = "create" if there is None or there.deleting else "update"
                    found.append(Difference(expansion.key, action, expansion, changes, there))
    return found


def _changes(wanted: Desired, there: Observed | None, keys: MergeKeys) -> tuple[FieldChange, ...]:
    old: Mapping[str, Any] = {} if there is None or there.deleting else dict(there.spec)
    new: Mapping[str, Any] = wanted.spec
    if there is not None and (there.under_way or there.failed):  # not there yet: how it may be fetched matters too
        old = {**old, **({"policy": there.policy} if there.policy else {})}
        new = {**new, **({"policy": wanted.policy} if wanted.policy else {})}
    seen = None if there is None or there.deleting else there.seen
    if old == new and seen is None:
        return ()
    found, new = dict(leaves(old, keys)), dict(leaves(new, keys))
    old = found if seen is None else seen
    fields = sorted(old.keys() | new.keys())
    return tuple(  # what is there is told, also where it is somebody else's until now
        FieldChange(name, old.get(name, found.get(name, MISSING)), new.get(name, MISSING))
        for name in fields
        if old.get(name, MISSING) != new.get(name, MISSING)
    )
