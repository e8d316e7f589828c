"""The gate: whether something may be done now, and if not, why. May import: history, planning. Pure.

In: the fold of the log and the policy in force, as a Judgement.  Out: one sentence for whatever stops a step (a
suspension, the object itself, a freeze, what cannot be read, a quarantine), or has a person asked: about the deletes of
a plan that are above the limits, about all of it where history was rewritten (decision 5).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from reconciler.diagnostics import HOLDS_DELETES
from reconciler.history.keys import Key, scopes_of
from reconciler.history.state import Served, StageState, State, fingerprint, suspended_by, switch
from reconciler.history.times import is_over, is_time, shown
from reconciler.planning.desired import content_digest
from reconciler.planning.freeze import Freeze, frozen


@dataclass(frozen=True, slots=True)
class Judgement:
    """The circumstances by which a plan is judged, all as values.

    limits: `prune` of the Fleet in force; None where deletes have none.
    holds: key -> quarantined content digests with the reason.  suspended: "*" or edge -> reason.
    unreadable: lines that cannot be read, so that nothing may be pruned.  deleted_lately: deletes within the last hour.
    inventory: how many keys there were when it began; asked only where there are deletes.
    rewritten_from: the commit that the branch no longer contains.  missing: that the followed folder is gone.
    switched: from which source to which it was, where nothing of the new one was accepted yet; elsewhere: that it is
    of another repository or branch, which need not have the history of the one before.
    moved: that a file which declared something is where nothing is read.
    approved: the digest that a person has released.  held_bytes: edge -> digests on its disk.
    freeze: the window that is open now; what was ordered is still kept so.  ordered: what was ordered, by key.
    edges_of: (key, what is ordered) -> the edges on which an object of the API server is to run.
    undone: the keys that go back by the commit in hand; undoes: key -> fingerprint of what others go back to, by one
    before. Only windows of the scope `all` hold them: `strict`.
    waited: the keys that wait for a person already.  is_anew: whether they may go where the limits allow it by now.
    released: the keys whose delete a person has approved, of which not all could be done then.
    """

    limits: Mapping[str, Any] | None = None
    holds: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    suspended: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    deleted_lately: int = 0
    inventory: Callable[[], int] = lambda: 0
    rewritten_from: str = ""
    moved: str = ""
    missing: str = ""
    switched: str = ""
    elsewhere: bool = False
    approved: str = ""
    held_bytes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    freeze: Freeze | None = None
    strict: Freeze | None = None
    undone: frozenset[Key] = frozenset()
    undoes: Mapping[str, str] = field(default_factory=dict)
    waited: frozenset[Key] = frozenset()
    is_anew: bool = False
    released: Mapping[str, str] = field(default_factory=dict)
    ordered: Mapping[str, Served] = field(default_factory=dict)
    edges_of: Callable[[Key, Mapping[str, Any]], Collection[str]] = lambda _key, _spec: ()

    def goes_back(self, key: Key, wanted: Mapping[str, Any]) -> bool:
        """Whether a key undoes recent commits by becoming this; {}: by going."""
        return key in self.undone or (str(key) in self.undoes and self.undoes[str(key)] == fingerprint(wanted))


def judge_by(
    state: State,
    stage: str,
    fleet: Mapping[str, object],
    *,
    now: str,
    unreadable: tuple[str, ...] = (),
    approved: str = "",
    commit: str = "",
    undone: frozenset[Key] = frozenset(),
    waited: frozenset[Key] = frozenset(),
) -> Judgement:
    """The circumstances of a plan of a stage, made at `now` (RFC 3339 UTC) under the policy `fleet`.

    commit: that the plan is about, "" where about none.  undone, waited: see Judgement.
    """
    mine = state.stage(stage)
    held = mine.held_plan
    is_asked = held is not None and held.commit == state.ref.commit and not commit  # about the rest, which stays
    start = datetime.fromisoformat(now) - timedelta(hours=1)
    limits = fleet.get("prune")
    lately = sum(datetime.fromisoformat(time) > start for time in mine.deletes)
    return Judgement(
        limits=limits if isinstance(limits, dict) else {},
        holds=mine.holds,
        suspended={scope: why for scope, why in state.suspensions().items() if not is_over(why.get("until", ""), now)},
        unreadable=unreadable,
        deleted_lately=lately,
        inventory=lambda: _there(mine) + lately,  # so that ten small commits meet the same limit as one
        rewritten_from="" if is_asked else state.ref.rewritten_from,
        moved=next(
            (
                f"{p['path']}: {p['message']}"
                for group in state.problems.values()
                for p in group
                if HOLDS_DELETES in p.get("notes", ())
            ),
            "",
        ),
        missing="" if is_asked else state.ref.missing,
        switched=switch(state.ref.switched, state.ref.source),
        elsewhere=any(
            (state.ref.switched or state.ref.source).get(name) != state.ref.source.get(name)
            for name in ("repo", "branch")
        ),
        approved=approved,
        held_bytes={name: edge.artifacts for name, edge in state.edges.items()},
        freeze=frozen(fleet, now),
        strict=frozen(fleet, now, revert=True),
        undone=undone,
        undoes=mine.undoes,
        waited=waited,
        is_anew=bool(commit),
        released=mine.approved,
        ordered=mine.keys,
    )


def _there(mine: StageState) -> int:
    """How many keys there are that are not going."""
    return sum(
        bool(served.order or served.live) and not (served.open and served.action == "delete")
        for served in mine.keys.values()
    )


class Stopped(NamedTuple):
    """The gate's answer.

    why: a step is not done now; "" where it may be.  until: when it may (RFC 3339), "" where a person decides.
    """

    why: str = ""
    until: str = ""


def stopped(
    key: Key,
    action: str,
    spec: Mapping[str, Any],
    judged_by: Judgement,
    there: Mapping[str, str],
    *,
    kept: bool | None = None,
) -> Stopped:
    """What keeps a step from being done now.

    spec: what is ordered, or what is to go.  there: what the object itself says: see planning.diff.Observed.waits.
    kept: whether the step only restores what was ordered before; None: where that is what it orders.
    """
    suspended = _suspension(key, spec, judged_by)
    if suspended.why:
        return suspended
    if itself := there.get(action) or there.get("", ""):
        return Stopped(itself)
    freeze = judged_by.freeze
    if freeze is not None and judged_by.goes_back(key, {} if action == "delete" else spec):
        freeze = judged_by.strict  # rolling back must be possible
    if freeze is not None and not (_is_kept(key, action, spec, judged_by) if kept is None else kept):
        return Stopped(f"frozen until {shown(freeze.until)}: {freeze.reason}", freeze.until)
    if action == "delete":
        unreadable = judged_by.unreadable
        return Stopped(f"nothing is pruned while {unreadable[0]} cannot be read" if unreadable else "")
    holds = judged_by.holds.get(str(key))
    held = holds.get(content_digest(dict(spec))) if holds else None
    return Stopped(f"{held['code']}: {held['reason']}" if held else "")


def _is_kept(key: Key, action: str, spec: Mapping[str, Any], judged_by: Judgement) -> bool:
    """Whether this is what was ordered before: to keep it so is no change."""
    ordered = judged_by.ordered.get(str(key))
    return action != "delete" and bool(spec) and ordered is not None and ordered.order == spec


def _suspension(key: Key, spec: Mapping[str, Any], judged_by: Judgement) -> Stopped:
    if not judged_by.suspended:
        return Stopped()
    ordered = judged_by.ordered.get(str(key))
    places = [spec] if ordered is None or ordered.order in (spec, {}) else [spec, ordered.order]  # where to, and from
    scopes = (
        scope
        for place in places
        for edge in judged_by.edges_of(key, place) or ("",)
        for scope in scopes_of(key, place.get("labels", {}), edge)
    )
    found = next((judged_by.suspended[scope] for scope in scopes if scope in judged_by.suspended), None)
    if found is None:
        return Stopped()
    until = str(found.get("until", ""))
    return Stopped(suspended_by(found), until if is_time(until) else "")


class Hold(NamedTuple):
    """What waits for a person. why: in one sentence, "" where nothing does.  keys: of the steps that do.

    is_whole: all that the commit asks for does, so that it is not accepted.
    """

    why: str = ""
    keys: frozenset[Key] = frozenset()
    is_whole: bool = False


def hold(judged_by: Judgement, steps: Iterable[tuple[Key, str, bool]], digest: Callable[[frozenset[Key]], str]) -> Hold:
    """The steps of a plan that wait for a person.

    steps: (key, action, whether something else stops it).  digest: of the plan that some keys are.
    """
    steps = list(steps)
    every = frozenset(key for key, _, _ in steps)
    doubt = _doubt(judged_by) if every else ""
    if doubt and judged_by.approved != digest(every):
        found = Hold(doubt, every, is_whole=True)
    else:
        found = _too_many(judged_by, steps)
    if not (found.why and judged_by.switched):
        return found
    said = (found.why, judged_by.switched)
    is_cause = found.is_whole and judged_by.elsewhere
    return found._replace(why="; ".join(reversed(said) if is_cause else said))


def _doubt(judged_by: Judgement) -> str:
    """Why nothing that a commit asks for is done before a person has looked; "" where it may be."""
    if judged_by.rewritten_from and judged_by.elsewhere:
        return f"commit {judged_by.rewritten_from[:12]}, which was accepted last, is not in it"
    if judged_by.rewritten_from:
        return f"history was rewritten: commit {judged_by.rewritten_from[:12]} is no longer in the branch"
    return judged_by.missing


def _too_many(judged_by: Judgement, steps: Iterable[tuple[Key, str, bool]]) -> Hold:
    """The deletes that are above the limit, with those that wait for a person already."""
    if judged_by.limits is None or judged_by.approved:
        return Hold()
    deletes = [(key, stops) for key, action, stops in steps if action == "delete"]
    deletes = [(key, stops) for key, stops in deletes if str(key) not in judged_by.released]
    waited = frozenset(key for key, _ in deletes) & judged_by.waited
    new = frozenset(key for key, stops in deletes if not stops) - waited
    if not (waited or new):
        return Hold()
    if judged_by.moved:
        return Hold(judged_by.moved, waited | new)
    inventory, lately = judged_by.inventory(), judged_by.deleted_lately
    limit = delete_limit(judged_by.limits, inventory)
    if judged_by.is_anew and len(waited | new) + lately <= limit:
        return Hold()
    keys, lately = (waited | new, lately) if len(new) + lately > limit else (waited, lately + len(new))
    if not keys:
        return Hold()
    after = f" after {lately} in the last hour" if lately else ""
    number, share = judged_by.limits.get("maxDeletes", 20), judged_by.limits.get("maxShare", "10%")
    allowed = f"Fleet allows {limit} an hour (maxDeletes {number}, maxShare {share} of {inventory})"
    return Hold(f"it deletes {len(keys)} of {inventory}{after}; {allowed}", keys)


def delete_limit(limits: Mapping[str, Any], inventory: int) -> int:
    """How many deletes an hour may hold: the smaller of maxDeletes and maxShare of what was there when it began.

    A share above zero allows at least one.
    """
    percent = int(str(limits.get("maxShare", "10%")).rstrip("%"))
    return min(int(limits.get("maxDeletes", 20)), -(-percent * inventory // 100))  # rounded up, without floats
