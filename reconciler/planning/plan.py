"""The plan: which steps, in which order, which of them wait and for whom. May import: history, planning.

In: differences, and the circumstances under which they are judged.  Out: Plan, a value that can be shown, compared and
approved before anything happens; its steps become intents.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reconciler.history.keys import Key
from reconciler.natural import natural
from reconciler.planning.diff import Difference, FieldChange, Observed
from reconciler.planning.gate import Judgement, hold, stopped
from reconciler.planning.kinds import rank_of

BATCH = 512  # steps that are begun together


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
class Plan:
    """Steps in the order in which they are done.

    held: why some of them wait for `approve`, "" where none does.  holds: their keys.  is_whole: see gate.Hold.
    """

    steps: tuple[Step, ...]
    held: str = ""
    holds: frozenset[Key] = frozenset()
    is_whole: bool = False

    @property
    def ready(self) -> tuple[Step, ...]:
        """The steps to do now."""
        return tuple(step for step in self.steps if not step.waits and step.key not in self.holds)

    @property
    def waiting(self) -> tuple[Step, ...]:
        """The steps that wait one by one (quarantine, suspension, unreadable documents)."""
        return tuple(step for step in self.steps if step.waits)

    @property
    def on_hold(self) -> tuple[Step, ...]:
        """The steps that wait for `approve`, whatever else stops them just now."""
        return tuple(step for step in self.steps if step.key in self.holds)

    @property
    def digest(self) -> str:
        """Names what would be done, or what is held: 16 hex digits over keys, actions and specs, equal wherever that is
        the same. What stops a step beside that does not count: an approval stands while it waits for something.
        """
        return digest_of_steps(self.on_hold or (step for step in self.steps if not step.waits))

    @property
    def counts(self) -> dict[str, int]:
        """How many steps of each action there are, held ones too, and how many wait."""
        return counts_of(step for step in self.steps if not step.waits) | counts_of(self.waiting, waiting=True)

    @property
    def fetch_bytes(self) -> int:
        """What all edges together will fetch, as far as sizes are declared."""
        return sum(step.fetch_bytes or 0 for step in self.steps if not step.waits)

    def beside(self, other: "Plan", *, but: Collection[Key] = ()) -> "Plan":
        """The same, with the steps of the other one and what it holds. but: of which keys this one says all."""
        more = tuple(step for step in other.steps if step.key not in but)
        holds = self.holds | (other.holds - frozenset(but))
        held = self.held or (other.held if holds else "")
        return Plan(tuple(sorted((*self.steps, *more), key=_order)), held, holds, self.is_whole)


def digest_of_steps(steps: Iterable[Step]) -> str:
    """See Plan.digest."""
    named = [(str(step.key), step.action, step.spec, step.policy) for step in steps]
    return hashlib.sha256(msgspec.json.encode(named, order="sorted")).hexdigest()[:16]


def counts_of(steps: Iterable[Step], *, waiting: bool = False) -> dict[str, int]:
    """How many steps there are of each action, or that wait."""
    counted = Counter("waiting" if waiting else step.action for step in steps)
    return {name: counted[name] for name in ("create", "update", "delete", "waiting") if counted[name]}


def make_plan(differences: Iterable[Difference], judged_by: Judgement) -> Plan:
    """The plan for these differences."""
    steps = sorted((_step(difference, judged_by) for difference in differences), key=_order)
    rows = ((step.key, step.action, bool(step.waits)) for step in steps)
    return Plan(
        tuple(steps), *hold(judged_by, rows, lambda keys: digest_of_steps(step for step in steps if step.key in keys))
    )


def _order(step: Step) -> tuple[int, Key]:
    """Data before models, models before deletes: what is new stands before what it replaces goes."""
    if step.action == "delete":
        return 2, step.key
    return rank_of(step.key), step.key


def place(step: Step) -> tuple[Any, ...]:
    """Where a step stands in a list for people; done and named by its digest it is in the order of plain text."""
    rank, key = _order(step)
    return rank, key.kind, key.namespace, natural(key.name), natural(key.edge)


def _step(difference: Difference, judged_by: Judgement) -> Step:
    key, wanted, there = difference.key, difference.wanted, difference.there or Observed({})
    spec = {} if wanted is None else wanted.spec
    waits, until = stopped(key, difference.action, spec or there.spec, judged_by, there.waits)
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
        waits=waits,
        until=until,
        found=there.found,
        left=there.left,
        forced=there.forced,
    )


def waits_now(step: Step, judged_by: Judgement, there: Observed | None) -> str:
    """Why a step that was ready when it was planned is not to be begun any more; "" where it is.

    there: what is observed now.
    """
    ordered = judged_by.ordered.get(str(step.key))
    spec = step.spec or (ordered.order if ordered is not None else {})
    return stopped(step.key, step.action, spec, judged_by, there.waits if there is not None else {}).why


def _fetch_bytes(spec: Mapping[str, Any], there: Mapping[str, int]) -> int | None:
    if spec.get("bytes") is False or (spec.get("sha256") and spec["sha256"] in there):
        return 0
    size = spec.get("size")
    return None if size is None else int(size)
