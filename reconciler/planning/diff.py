"""Wanted against observed, field by field. May import: history, planning.wanted.

In: what each key should be, and what was ordered last or is there.  Out: differences, to planning.plan.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reconciler.history.keys import Key
from reconciler.planning.wanted import Expansion, Frozen, Gone, Wanted

Action = Literal["create", "update", "delete"]
MISSING = None  # JSON's null: a field that is not there


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there for one key.

    spec: as ordered last (on the hub) or as found (on an edge).  under_way: an answer is still to come, so `policy`
    counts too.  failed: the last answer was a refusal.
    """

    spec: Mapping[str, Any]
    policy: Mapping[str, Any] = field(default_factory=dict)
    under_way: bool = False
    failed: bool = False
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """What must change for one key. wanted is None for a delete."""

    key: Key
    action: Action
    wanted: Wanted | None
    changes: tuple[FieldChange, ...]


def diff(wanted: Iterable[Expansion], observed: Mapping[Key, Observed]) -> list[Difference]:
    """The differences in key order; none for what is as it should be, and none for what cannot be said (Frozen)."""
    found = []
    for expansion in sorted(wanted, key=lambda expansion: expansion.key):
        there = observed.get(expansion.key)
        match expansion:
            case Frozen():
                continue
            case Gone():
                if there is not None and not there.deleting:
                    changes = tuple(FieldChange(name, there.spec[name], MISSING) for name in sorted(there.spec))
                    found.append(Difference(expansion.key, "delete", None, changes))
            case Wanted():
                changes = _changes(expansion, there)
                if changes:
                    action: Action = "create" if there is None or there.deleting else "update"
                    found.append(Difference(expansion.key, action, expansion, changes))
    return found


def _changes(wanted: Wanted, there: Observed | None) -> tuple[FieldChange, ...]:
    old = {} if there is None or there.deleting else dict(there.spec)
    new = dict(wanted.spec)
    if there is not None and (there.under_way or there.failed):  # not there yet: how it may be fetched matters too
        old |= {f"policy.{name}": value for name, value in there.policy.items()}
        new |= {f"policy.{name}": value for name, value in wanted.policy.items()}
    fields = sorted(old.keys() | new.keys())
    return tuple(
        FieldChange(name, old.get(name, MISSING), new.get(name, MISSING))
        for name in fields
        if old.get(name, MISSING) != new.get(name, MISSING)
    )
