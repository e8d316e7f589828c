"""From the fold of the log to what a plan is judged by. May import: history, planning.plan. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from reconciler.history.keys import Key
from reconciler.history.state import StageState, State
from reconciler.history.times import is_over
from reconciler.planning.freeze import frozen
from reconciler.planning.plan import Judgement


def judge_by(
    state: State,
    stage: str,
    fleet: Mapping[str, object],
    *,
    now: str,
    unreadable: tuple[str, ...] = (),
    approved: str = "",
    commit: str = "",
    about: frozenset[Key] = frozenset(),
) -> Judgement:
    """The circumstances of a plan of a stage, made at `now` (RFC 3339 UTC) under the policy `fleet`.

    commit: that the plan is about, "" where about none.  about: the keys that it concerns.
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
        approved=approved,
        held_bytes={name: edge.artifacts for name, edge in state.edges.items()},
        freeze=frozen(fleet, now),
        strict=frozen(fleet, now, revert=True),
        reverted=about if state.ref.reverts and commit == state.ref.commit else frozenset(),  # it must be possible
        ordered=mine.keys,
    )


def _there(mine: StageState) -> int:
    """How many keys there are that are not going."""
    return sum(
        bool(served.order or served.live) and not (served.open and served.action == "delete")
        for served in mine.keys.values()
    )
