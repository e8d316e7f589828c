"""The plan: which steps, in which order, which of them wait and for whom. May import: history, planning.

In: differences, and the circumstances under which they are judged.  Out: Plan, a value that can be shown, compared and
approved before anything happens; its steps become intents.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reconciler.history.keys import Key, scopes_of
from reconciler.history.state import Served
from reconciler.history.times import is_time, shown
from reconciler.planning.desired import content_digest
from reconciler.planning.diff import Difference, FieldChange, Observed
from reconciler.planning.freeze import Freeze
from reconciler.planning.kinds import rank_of

BATCH = 512


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do for one key, with its reason and what it costs.

    fetch_bytes: what the edge will fetch; 0 where it has the bytes; None where their size is not declared.
    waits: why this step is not done now; empty when it is.  until: when it no longer waits (RFC 3339), "" where a
    person decides.  found, left, forced: see planning.diff.Observed.
    """

    key: Key
    action: str
    spec: dict[str, Any]
    policy: dict[str, Any]
    changes: tuple[FieldChange, ...]
    reason: str
    origin: str = ""
    fetch_bytes: int | None = 0
    waits: str = ""
    until: str = ""
    found: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a plan is judged by, all as values.

    limits: `prune` of the Fleet in force; None where deletes have none.
    holds: key -> quarantined content digests with the reason.  suspended: "*" or edge -> reason.
    unreadable: lines that cannot be read, so that nothing may be pruned.  deleted_lately: deletes within the last hour.
    inventory: how many keys there were when it began; asked only where there are deletes.
    rewritten_from: the commit that the branch no longer contains.
    approved: the digest that a person has released.  held_bytes: edge -> digests on its disk.
    freeze: the window that is open now; what was ordered is still kept so.  ordered: what was ordered, by key.
    edge_of: (key, what is ordered) -> the edge on which an object of the API server is to run, "" where on none.
    reverted: the keys that go back by the commit in hand, which only windows of the scope `all` hold: `strict`.
    """

    limits: Mapping[str, Any] | None = None
    holds: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    suspended: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    deleted_lately: int = 0
    inventory: Callable[[], int] = lambda: 0
    rewritten_from: str = ""
    approved: str = ""
    held_bytes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    freeze: Freeze | None = None
    strict: Freeze | None = None
    reverted: frozenset[Key] = frozenset()
    ordered: Mapping[str, Served] = field(default_factory=dict)
    edge_of: Callable[[Key, Mapping[str, Any]], str] = lambda _key, _spec: ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are done. `held`: why the whole plan waits for `approve`; empty: it is ready."""

    steps: tuple[Step, ...]
    held: str = ""

    @property
    def ready(self) -> tuple[Step, ...]:
        """The steps to do now."""
        return () if self.held else tuple(step for step in self.steps if not step.waits)

    @property
    def waiting(self) -> tuple[Step, ...]:
        """The steps that wait one by one (quarantine, suspension, unreadable documents)."""
        return tuple(step for step in self.steps if step.waits)

    @property
    def digest(self) -> str:
        """Names the content: 16 hex digits over keys, actions and specs, equal wherever the same would be done."""
        steps = [(str(step.key), step.action, step.spec, step.policy) for step in self.steps if not step.waits]
        return hashlib.sha256(msgspec.json.encode(steps, order="sorted")).hexdigest()[:16]

    @property
    def counts(self) -> dict[str, int]:
        """How many steps of each action, and how many wait."""
        counted = dict.fromkeys(("create", "update", "delete"), 0)
        for step in self.steps:
            if not step.waits:
                counted[step.action] += 1
        return {name: n for name, n in (counted | {"waiting": len(self.waiting)}).items() if n}

    @property
    def fetch_bytes(self) -> int:
        """What all edges together will fetch, as far as sizes are declared."""
        return sum(step.fetch_bytes or 0 for step in self.steps if not step.waits)

    def beside(self, other: "Plan") -> "Plan":
        """The same, with what the other one does now."""
        return Plan(tuple(sorted((*self.steps, *other.ready), key=_order)), self.held)

    def batches(self) -> Iterator[tuple[Step, ...]]:
        """The ready steps, at most 512 at a time."""
        ready = self.ready
        for start in range(0, len(ready), BATCH):
            yield ready[start : start + BATCH]


def make_plan(differences: Iterable[Difference], judged_by: Judgement) -> Plan:
    """The plan for these differences."""
    steps = sorted((_step(difference, judged_by) for difference in differences), key=_order)
    return Plan(tuple(steps), _held(steps, judged_by))


def _order(step: Step) -> tuple[int, Key]:
    """Data before models, models before deletes: what is new stands before what it replaces goes."""
    if step.action == "delete":
        return 2, step.key
    return rank_of(step.key), step.key


def _step(difference: Difference, judged_by: Judgement) -> Step:
    key, wanted, there = difference.key, difference.wanted, difference.there or Observed({})
    spec = {} if wanted is None else wanted.spec
    kept = _kept(key, spec, judged_by)
    waits, until = stopped(key, difference.action, spec or there.spec, judged_by, there.waits, kept=kept)
    if wanted is None:
        changes = difference.changes
        return Step(key, "delete", {}, {}, changes, "no longer declared", waits=waits, until=until, found=there.found)
    return Step(
        key=key,
        action=difference.action,
        spec=spec,
        policy=wanted.policy,
        changes=difference.changes,
        reason=wanted.because,
        origin=wanted.origin,
        fetch_bytes=_fetch_bytes(spec, judged_by.held_bytes.get(key.edge, {})) if key.edge else 0,
        waits=waits or _quarantine(key, spec, judged_by),
        until=until,
        found=there.found,
        left=there.left,
        forced=there.forced,
    )


def stopped(
    key: Key,
    action: str,
    spec: Mapping[str, Any],
    judged_by: Judgement,
    there: Mapping[str, str],
    *,
    kept: bool,
) -> tuple[str, str]:
    """(why a step is not done now, until when that is known), or two empty texts.

    spec: what is ordered, or what is to go.  there: what the object itself says: see Observed.waits.  kept: whether the
    step only restores what was ordered before.
    """
    waits, until = _suspension(key, spec, judged_by)
    waits = waits or there.get(action) or there.get("", "")
    freeze = judged_by.strict if key in judged_by.reverted else judged_by.freeze
    if not waits and freeze is not None and not kept:
        return f"frozen until {shown(freeze.until)}: {freeze.reason}", freeze.until
    if not waits and action == "delete" and judged_by.unreadable:
        return f"nothing is pruned while {judged_by.unreadable[0]} cannot be read", ""
    return waits, until


def waits_now(step: Step, judged_by: Judgement, there: Observed | None) -> str:
    """Why a step that was ready when it was planned is not to be begun any more; "" where it is.

    there: what is observed now.
    """
    ordered = judged_by.ordered.get(str(step.key))
    spec = step.spec or (ordered.order if ordered is not None else {})
    kept = _kept(step.key, step.spec, judged_by)
    why, _ = stopped(step.key, step.action, spec, judged_by, there.waits if there is not None else {}, kept=kept)
    return why or _quarantine(step.key, step.spec, judged_by)


def _quarantine(key: Key, spec: Mapping[str, Any], judged_by: Judgement) -> str:
    holds = judged_by.holds.get(str(key))
    held = holds.get(content_digest(dict(spec))) if holds else None
    return f"{held['code']}: {held['reason']}" if held else ""


def _kept(key: Key, spec: Mapping[str, Any], judged_by: Judgement) -> bool:
    """Whether this is what was ordered before: to keep it so is no change."""
    ordered = judged_by.ordered.get(str(key))
    return bool(spec) and ordered is not None and ordered.order == spec


def _fetch_bytes(spec: Mapping[str, Any], there: Mapping[str, int]) -> int | None:
    if spec.get("bytes") is False or (spec.get("sha256") and spec["sha256"] in there):
        return 0
    size = spec.get("size")
    return None if size is None else int(size)


def _suspension(key: Key, spec: Mapping[str, Any], judged_by: Judgement) -> tuple[str, str]:
    """(why nothing is done, until when) by what is suspended."""
    if not judged_by.suspended:
        return "", ""
    scopes = scopes_of(key, spec.get("labels", {}), judged_by.edge_of(key, spec))
    found = next((judged_by.suspended[scope] for scope in scopes if scope in judged_by.suspended), None)
    if found is None:
        return "", ""
    why = f"suspended by {found.get('actor', 'somebody')}: {found.get('reason', 'no reason given')}"
    until = str(found.get("until", ""))
    return why, until if is_time(until) else ""


def delete_limit(limits: Mapping[str, Any], inventory: int) -> int:
    """How many deletes an hour may hold: the smaller of maxDeletes and maxShare of what was there when it began.

    A share above zero allows at least one.
    """
    percent = int(str(limits.get("maxShare", "10%")).rstrip("%"))
    return min(int(limits.get("maxDeletes", 20)), -(-percent * inventory // 100))  # rounded up, without floats


def _held(steps: list[Step], judged_by: Judgement) -> str:
    plan = Plan(tuple(steps))
    if judged_by.approved and judged_by.approved == plan.digest:
        return ""
    if judged_by.rewritten_from and steps:
        return f"history was rewritten: commit {judged_by.rewritten_from[:12]} is no longer in the branch"
    deletes = sum(step.action == "delete" for step in plan.ready)
    if judged_by.limits is None:
        return ""
    if not deletes:
        return ""
    inventory = judged_by.inventory()
    limit = delete_limit(judged_by.limits, inventory)
    if deletes + judged_by.deleted_lately > limit:
        lately = f" after {judged_by.deleted_lately} in the last hour" if judged_by.deleted_lately else ""
        number, share = judged_by.limits.get("maxDeletes", 20), judged_by.limits.get("maxShare", "10%")
        allowed = f"Fleet allows {limit} an hour (maxDeletes {number}, maxShare {share} of {inventory})"
        return f"it deletes {deletes} of {inventory}{lately}; {allowed}"
    return ""
