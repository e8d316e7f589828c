"""Drift of one object, field by field: what others changed since it was ordered. May import: planning.fields. Pure.

In: an object as it was ordered, as it is, and who owns what.  Out: the fields that drifted with the policy on each, and
the object as the diff is to see it: without others' own fields, and with what rules let stand counted as declared.
"""

from collections.abc import Callable, Collection, Mapping
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
    kept: paths that others kept when the object was taken over, and have still.
    """

    seen: Mapping[str, Any]
    fields: tuple[Field, ...]
    kept: tuple[str, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """The paths that are left to others."""
        return tuple(dict.fromkeys((*self.kept, *(one.path for one in self.fields if one.policy != CORRECT))))

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
    said: (path, manager) -> what a rule says of it, "" where none does.  people: whether people apply by a manager.
    """

    foreign: Mapping[str, str]
    writer: str
    said: Callable[[str, str], str] = lambda _path, _manager: ""
    people: Callable[[str], bool] = lambda _manager: False

    def has(self, path: str) -> bool:
        """Whether a leaf that was not ordered is another's, and none of ours.

        What people set on what Git keeps is drift, and so is what a rule says is; but by annotations people also speak
        to controllers, us among them.
        """
        manager = self.foreign.get(path)
        if manager is None:
            return False
        is_judged = self.people(manager) or self.said(path, manager) == CORRECT
        return not manager or path.startswith("annotations") or not is_judged

    def kept(self, path: str, manager: str) -> bool:
        """Whether it is a manager's still that kept it once."""
        said = self.said(path, manager)
        is_taken = said == CORRECT or (not said and self.people(manager))
        return bool(manager) and self.foreign.get(path) == manager and not is_taken


def otherwise(
    wanted: Tree,
    found: Tree,
    foreign: Mapping[str, str],
    *,
    told: Collection[str] = (),
    going: Collection[str] = (),
    kept: Collection[str] | None = None,
    keys: MergeKeys = BY_VERSION,
) -> dict[str, list[Any]]:
    """Leaf path -> [wanted, found, whose] of an object as it was answered, where that is not what was wanted.

    whose: the manager that has it; left out where that is ours, and an admission webhook or the schema made it so.
    foreign: see Owners.  told: paths of which it is said elsewhere.  going: those that were to go.  kept: those that
    others may have kept, None: any, as it is taken over now; what else they changed, they changed afterwards.
    """
    if wanted == found:
        return {}
    asked, there = dict(leaves(wanted, keys)), dict(leaves(found, keys))
    differ = {}
    for path in sorted(asked.keys() | there.keys()):
        value, answer, whose = asked.get(path), there.get(path), foreign.get(path, "")
        if value == answer or path in told:
            continue
        is_default = value is None and path in foreign and not whose  # of a field that nobody sent
        is_beside = value is None and whose and path not in going and path.startswith(("labels", "annotations"))
        is_later = value is not None and whose and kept is not None and path not in kept
        if not (is_default or is_beside or is_later):
            differ[path] = [value, answer, *([whose] if whose else [])]
    return differ


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
    answered: leaf path -> [sent, answered, whose], where the API server answered otherwise than it was sent: by an
    admission webhook, or since another manager kept it. No drift while it lasts.
    keys: which lists of this kind are maps.
    """
    before, seen = dict(leaves(ordered, keys)), dict(leaves(found, keys))
    kept = []
    for path, (sent, got, *whose) in answered.items():
        manager = next(iter(whose), "")
        if is_kept := owners.kept(path, manager) and path in before:
            kept.append(path)
        if before.get(path) == sent and seen.get(path) == got and (is_kept or not manager):
            seen[path] = sent
            if sent is None:
                del seen[path]
    fields = []
    for path in sorted(before.keys() | seen.keys()):
        old, new = before.get(path), seen.get(path)
        if old == new:
            continue
        if path not in before and owners.has(path):
            del seen[path]  # somebody's own, or the API server's default: none of ours
            continue
        if not before:  # nothing was ordered: what is there is simply there
            continue
        manager = owners.foreign.get(path) or owners.writer
        policy = REPORT if path in kept else policy_of(path, manager)
        fields.append(Field(path, manager, old, new, policy))
        if policy != CORRECT:
            seen.pop(path, None)
            if old is not None:
                seen[path] = old
    return View(seen, tuple(fields), tuple(kept))
