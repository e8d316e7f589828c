"""From the fold of the log to what a plan is judged by. May import: history, planning.plan. Pure."""

from datetime import datetime, timedelta

from reconciler.history.keys import Key
from reconciler.history.state import State
from reconciler.history.times import is_over
from reconciler.planning.freeze import frozen
from reconciler.planning.plan import Judgement


def judge_by(
    state: State,
    fleet: dict[str, object],
    *,
    now: str,
    unreadable: tuple[str, ...] = (),
    approved: str = "",
    commit: str = "",
    about: frozenset[Key] = frozenset(),
) -> Judgement:
    """The circumstances of a plan made at `now` (RFC 3339 UTC) under the policy `fleet`.

    commit: that the plan is about, "" where about none.  about: the keys that it concerns.
    """
    held = state.held_plan
    is_asked = held is not None and held.commit == state.ref.commit and not commit  # about the rest, which stays
    start = datetime.fromisoformat(now) - timedelta(hours=1)
    limits = fleet.get("prune")
    lately = sum(datetime.fromisoformat(time) > start for time in state.deletes)
    going = {text for text, served in state.keys.items() if served.open and served.action == "delete"}
    there = sum(1 for text, served in state.keys.items() if (served.order or served.live) and text not in going)
    return Judgement(
        limits=limits if isinstance(limits, dict) else {},
        holds=state.holds,
        suspended={scope: why for scope, why in state.suspensions().items() if not is_over(why.get("until", ""), now)},
        unreadable=unreadable,
        deleted_lately=lately,
        inventory=there + lately,  # so that ten small commits meet the same limit as one
        rewritten_from="" if is_asked else state.ref.rewritten_from,
        approved=approved,
        held_bytes={name: edge.artifacts for name, edge in state.edges.items()},
        freeze=frozen(fleet, now),
        strict=frozen(fleet, now, revert=True),
        reverted=about if state.ref.reverts and commit == state.ref.commit else frozenset(),  # it must be possible
        ordered=state.keys,
    )
