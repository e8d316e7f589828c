"""What can be asked of a log: one function a question, for the command line here and for /api/v1. May import: wiring.

In: a Past and arguments, all text, by the names they have in a URL.  Out: typed values, which `document` writes and
`revived` reads back. `history` is long, so it stands in `records`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.errors import NameUnknown, UsageError
from reconciler.history.awaited import Awaited, Line, awaited, unread
from reconciler.history.events import rfc3339
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.standing import Standing
from reconciler.history.state import State, ordering
from reconciler.history.status import Held, Status, standings, status
from reconciler.history.why import Asked, WhyLink, why
from reconciler.natural import natural
from reconciler.web.chosen import FILTERS, NAMES, Chosen, chosen
from reconciler.web.moments import moment, point
from reconciler.web.records import number

if TYPE_CHECKING:
    from reconciler.planning.desired import Expansion
    from reconciler.wiring.past import Past

Arguments = Mapping[str, str]


@dataclass(frozen=True)
class Walk:
    """From what one key serves back to Git, and how it stands now."""

    key: str
    links: tuple[WhyLink, ...]
    standing: Standing


@dataclass(frozen=True)
class Why:
    """The walks of everything that goes by one name on one edge, models first."""

    walks: tuple[Walk, ...]


@dataclass(frozen=True)
class PlanAnswer:
    """The plan that waits for a person, if one does."""

    held: Held | None


@dataclass(frozen=True)
class Problems:
    """What is wrong in the files of the last commit that was read, as diagnostics."""

    problems: tuple[Mapping[str, Any], ...]


def ask_status(past: "Past", said: Arguments) -> Status:
    """Everything now, or what was chosen (see `web.chosen`). asOf: the time to take for now. Raises UsageError."""
    now = moment(said["asOf"]) if said.get("asOf") else rfc3339(time.time())
    state = past.replay.at()
    return chosen(past, state, said).of(status(state, now))


def ask_state(past: "Past", said: Arguments) -> Status:
    """The same at a point. at: see `points.point`; the end of the log without it. Raises PointUnknown, UsageError."""
    then = past.replay.at(point(said["at"], past.log) if said.get("at") else None)
    return chosen(past, then, said).of(status(then, then.time))


def ask_why(past: "Past", said: Arguments) -> Why:
    """The walk of all that was chosen: by names, labels, or how it stands. Raises NameUnknown, UsageError."""
    if not any(said.get(name) for name in (*NAMES, *FILTERS)):
        raise UsageError("nothing is named", hint="ask as in /api/v1/why?edge=edge-1&model=digits")
    now = past.replay.at()
    stage = DECLARE if DECLARE in ordering(now) else DELIVER
    choice, standing = chosen(past, now, said), standings(now, stage, rfc3339(time.time()))
    keys = walked(stage, choice, now)
    stands = {key: standing.of(key, now.stage(stage).known(key)) for key in keys}
    keys = [key for key in keys if choice.has(str(key), stands[key].word)]
    asked = {key: _asked(expansion) for key, expansion in past.asked(now, stage, keys).items()}

    def walk(key: Key) -> Walk:
        return Walk(str(key), tuple(why(stage, key, now, past.log.find, past.stream, asked.get(key))), stands[key])

    return Why(tuple(map(walk, keys)))


def ask_plan(past: "Past", said: Arguments) -> PlanAnswer:  # noqa: ARG001  # every question takes both
    """What waits for approval."""
    return PlanAnswer(status(past.replay.at(), rfc3339(time.time())).held)


EVERYTHING: Final = "*"  # in place of a commit


def ask_wait(past: "Past", said: Arguments) -> Awaited:
    """How it stands with a commit: the newest one where none is named, with everything where it is `*`.

    name, edge, model: of what alone.  after: what an earlier answer gave as `seq`, so that less is looked through.
    Raises NameUnknown, NameAmbiguous.
    """
    state, now = past.replay.at(), rfc3339(time.time())
    seen, asked = status(state, now), said.get("commit", "") or state.ref.commit
    after = number(said, "after")
    keys = chosen(past, state, said).keys
    if asked == EVERYTHING and state.ref.commit:
        return awaited(seen, Line(()), (), "", of=keys)
    if not state.ref.commit:
        return unread(seen, asked if asked != EVERYTHING else "", state.ref.lost or "the hub has read no commit yet")
    if not said.get("commit"):
        after = after or state.ref.seq - 1
    line = Line(past.log.read(after, stream="git"))
    found = line.named(asked.lower())
    if len(found) > 1:
        raise NameUnknown(f"{len(found)} commits begin with {asked}", hint="name more of it")
    if not found:
        newest = f"the hub has read {state.ref.commit[:12]} ({state.ref.subject}), and not this one"
        return unread(seen, asked, f"{newest}: {state.ref.lost}" if state.ref.lost else newest)
    since = line.commits[found[0]].seq
    entries = past.log.read(since)
    return awaited(seen, line, entries, found[0], of=keys, seq=since - 1)


def ask_problems(past: "Past", said: Arguments) -> Problems:  # noqa: ARG001  # every question takes both
    """What is wrong in Git."""
    return Problems(tuple(past.replay.at().all_problems))


class Query(NamedTuple):
    """One question. kind: of its document.  type: of its value.  arguments: the names that it takes."""

    kind: str
    type: type
    ask: Callable[["Past", Arguments], Any]
    arguments: frozenset[str] = frozenset()


CHOICE: Final = NAMES | FILTERS
QUESTIONS: Final[Mapping[str, Query]] = {
    "status": Query("Status", Status, ask_status, CHOICE | {"asOf"}),
    "state": Query("State", Status, ask_state, CHOICE | {"at"}),
    "why": Query("Why", Why, ask_why, CHOICE),
    "wait": Query("Awaited", Awaited, ask_wait, NAMES | {"commit", "after"}),
    "plan": Query("HeldPlan", PlanAnswer, ask_plan),
    "problems": Query("Problems", Problems, ask_problems),
}


def _asked(expansion: "Expansion") -> "Asked | None":
    """What the repository asks for, where that can be said."""
    from reconciler.planning.desired import Desired

    if not isinstance(expansion, Desired):
        return None
    version = expansion.spec.get("version") or expansion.spec.get("spec", {}).get("targetVersion", "")
    return Asked(str(version), expansion.because, expansion.origin)


def walked(stage: str, choice: Chosen, now: State) -> list[Key]:
    """The keys of a stage that were chosen: by edge, models first; of an API server those objects alone that bear the
    name themselves, where some do.
    """
    mine = now.stage(stage)
    texts = mine.keys.keys() | mine.problems.keys() | mine.waits.keys()
    chosen_ = texts if choice.keys is None else texts & choice.keys
    keys = [key for key in map(Key.named, chosen_) if key is not None]
    what = choice.sought.what
    if stage == DECLARE and what is not None:
        keys = [key for key in keys if what.is_own(key)] or keys
    return sorted(keys, key=lambda key: (natural(key.edge), key.kind != "InferenceModel", key.kind, natural(str(key))))
