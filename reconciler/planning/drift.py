"""Drift of one object, field by field: what others changed since it was ordered. May import: planning.fields. Pure.

In: an object as it was ordered, as it is, and who owns what.  Out: the fields that drifted with the policy on each, and
the object as the diff is to see it: without others' own fields, and with what rules let stand counted as declared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from reconciler.planning.fields import BY_VERSION, MergeKeys, leaves

CORRECT, REPORT, IGNORE = "correct", "report", "ignore"
RANK = (IGNORE, REPORT, CORRECT)

Tree = Mapping[str, Any]


class Field(NamedTuple):
    """One leaf that is not as ordered. old: as ordered; new: as found; None where there is none. policy: what of it."""

    path: str
    manager: str
    old: Any
    new: Any
    policy: str


@dataclass(frozen=True, slots=True)
class View:
    """An object as the diff is to see it, and how it may be sent.

    seen: leaf path -> value.  left: paths that are not sent.  forced: paths of others that are taken back.
    """

    seen: Mapping[str, Any]
    fields: tuple[Field, ...]

    @property
    def left(self) -> tuple[str, ...]:
        """The paths that rules leave to others."""
        return tuple(one.path for one in self.fields if one.policy != CORRECT)

    @property
    def forced(self) -> tuple[str, ...]:
        """The paths that are taken back."""
        return tuple(one.path for one in self.fields if one.policy == CORRECT)

    @property
    def policy(self) -> str:
        """The strictest policy on any of its fields; `ignore` where nothing drifted."""
        return max((one.policy for one in self.fields), key=RANK.index, default=IGNORE)


@dataclass(frozen=True, slots=True)
class Owners:
    """The owners of an object's fields.

    foreign: leaf path -> field manager, where it is not ours; "": nobody.  writer: who wrote last.
    """

    foreign: Mapping[str, str]
    writer: str


def view(
    ordered: Tree,
    found: Tree,
    owners: Owners,
    policy_of: Callable[[str, str], str],
    answered: Tree,
    *,
    keys: MergeKeys = BY_VERSION,
) -> View:
    """`found` as the diff is to see it.

    ordered: what was sent last; empty where nothing was.  policy_of: (path, manager) -> policy.
    answered: leaf path -> [sent, answered], where an admission webhook changed what was sent: no drift while it lasts.
    keys: which lists of this kind are maps.
    """
    before, seen = dict(leaves(ordered, keys)), dict(leaves(found, keys))
    for path, (sent, got) in answered.items():
        if before.get(path) == sent and seen.get(path) == got:
            seen[path] = sent
            if sent is None:
                del seen[path]
    fields = []
    for path in sorted(before.keys() | seen.keys()):
        old, new = before.get(path), seen.get(path)
        if old == new:
            continue
        if path not in before and path in owners.foreign:
            del seen[path]  # somebody's own, or the API server's default: none of ours
            continue
        if not before:  # nothing was ordered: what is there is simply there
            continue
        manager = owners.foreign.get(path) or owners.writer
        policy = policy_of(path, manager)
        fields.append(Field(path, manager, old, new, policy))
        if policy != CORRECT:
            seen.pop(path, None)
            if old is not None:
                seen[path] = old
    return View(seen, tuple(fields))
