"""From the fold of the log to what a plan is judged by. May import: history, planning.plan. Pure."""

from datetime import datetime, timedelta

from reconciler.history.state import State
from reconciler.history.times import is_over
from reconciler.planning.freeze import frozen
from reconciler.planning.plan import Judgement


def judge_by(
    state: State, fleet: dict[str, object], *, now: str, unreadable: tuple[str, ...], approved: str
) -> Judgement:
    """The circumstances of a plan made at `now` (RFC 3339 UTC) under the policy `fleet`."""
    start = datetime.fromisoformat(now) - timedelta(hours=1)
    limits = fleet.get("prune")
    lately = sum(datetime.fromisoformat(time) > start for time in state.deletes)
    going = {text for text, served in state.keys.items() if served.open and served.action == "delete"}
    there = sum(1 for text, served in state.keys.items() if (served.order or served.live) and text not in going)
    return Judgement(
        limits=limits if isinstance(limits, dict) else {},
        holds=state.holds,
        suspended={scope: why for scope, why in state.suspended.items() if not is_over(why.get("until", ""), now)},
        unreadable=unreadable,
        deleted_lately=lately,
        inventory=there + lately,  # so that ten small commits meet the same limit as one
        rewritten_from=state.ref.rewritten_from,
        approved=approved,
        held_bytes={name: edge.artifacts for name, edge in state.edges.items()},
        freeze=frozen(fleet, now, revert=state.ref.reverts),  # rollback must be possible
        ordered=state.keys,
    )
