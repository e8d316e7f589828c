"""What can be asked of a log: one function a question, for the command line here and for /api/v1. May import: wiring.

In: a Past and arguments, all text, by the names they have in a URL.  Out: typed values, which `document` writes and
`revived` reads back. `history` is long, so it stands in `records`.
"""

import difflib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.errors import NameUnknown, UsageError
from reconciler.history.awaited import Awaited, Line, awaited, unread
from reconciler.history.events import rfc3339
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.standing import Standing
from reconciler.history.state import Served, State, ordering
from reconciler.history.status import Held, Status, standings, status
from reconciler.history.timeline import named
from reconciler.history.why import Asked, WhyLink, why
from reconciler.model.identity import EDGE_LABEL
from reconciler.web.moments import moment, point

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
    """Everything now. asOf: the time to take for now. Raises UsageError."""
    now = moment(said["asOf"]) if said.get("asOf") else rfc3339(time.time())
    return status(past.replay.at(), now)


def ask_state(past: "Past", said: Arguments) -> Status:
    """Everything at a point. at: see `points.point`; the end of the log without it. Raises PointUnknown, UsageError."""
    then = past.replay.at(point(said["at"], past.log) if said.get("at") else None)
    return status(then, then.time)


def ask_why(past: "Past", said: Arguments) -> Why:
    """The walk of a model, dataset or object on an edge, or of an API object. Raises NameUnknown, UsageError."""
    edge, model = said.get("edge", ""), _needed(said, "model")
    now = past.replay.at()
    stage = DECLARE if DECLARE in ordering(now) else DELIVER
    keys = keys_of(edge, model, now) if stage == DELIVER else objects_of(edge, model, now)
    asked = {key: _asked(expansion) for key, expansion in past.asked(now, stage, keys).items()}
    standing = standings(now, stage, rfc3339(time.time()))

    def walk(key: Key) -> Walk:
        links = tuple(why(stage, key, now, past.log.find, past.stream, asked.get(key)))
        return Walk(str(key), links, standing.of(key, now.stage(stage).known(key)))

    return Why(tuple(map(walk, keys)))


def ask_plan(past: "Past", said: Arguments) -> PlanAnswer:  # noqa: ARG001  # every question takes both
    """What waits for approval."""
    return PlanAnswer(status(past.replay.at(), rfc3339(time.time())).held)


EVERYTHING: Final = "*"  # in place of a commit


def ask_wait(past: "Past", said: Arguments) -> Awaited:
    """How it stands with a commit: the newest one where none is named, with everything where it is `*`.

    edge, model: of what alone.  after: what an earlier answer gave as `seq`, so that less is looked through. Raises
    NameUnknown.
    """
    state, now = past.replay.at(), rfc3339(time.time())
    seen, asked = status(state, now), said.get("commit", "") or state.ref.commit
    after = int(said["after"]) if said.get("after", "").isdigit() else 0
    if asked == EVERYTHING and state.ref.commit:
        return awaited(seen, Line(()), (), "", edge=said.get("edge", ""), model=said.get("model", ""))
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
    return awaited(seen, line, entries, found[0], edge=said.get("edge", ""), model=said.get("model", ""), seq=since - 1)


def ask_problems(past: "Past", said: Arguments) -> Problems:  # noqa: ARG001  # every question takes both
    """What is wrong in Git."""
    return Problems(tuple(past.replay.at().all_problems))


class Query(NamedTuple):
    """One question. kind: of its document.  type: of its value.  arguments: the names that it takes."""

    kind: str
    type: type
    ask: Callable[["Past", Arguments], Any]
    arguments: frozenset[str] = frozenset()


QUESTIONS: Final[Mapping[str, Query]] = {
    "status": Query("Status", Status, ask_status, frozenset({"asOf"})),
    "state": Query("State", Status, ask_state, frozenset({"at"})),
    "why": Query("Why", Why, ask_why, frozenset({"edge", "model"})),
    "wait": Query("Awaited", Awaited, ask_wait, frozenset({"commit", "edge", "model", "after"})),
    "plan": Query("HeldPlan", PlanAnswer, ask_plan),
    "problems": Query("Problems", Problems, ask_problems),
}


def _needed(said: Arguments, name: str) -> str:
    if not said.get(name):
        raise UsageError(f"{name} is not given", hint="ask as in /api/v1/why?edge=edge-1&model=digits")
    return said[name]


def _asked(expansion: "Expansion") -> "Asked | None":
    """What the repository asks for, where that can be said."""
    from reconciler.planning.desired import Desired

    if not isinstance(expansion, Desired):
        return None
    version = expansion.spec.get("version") or expansion.spec.get("spec", {}).get("targetVersion", "")
    return Asked(str(version), expansion.because, expansion.origin)


def objects_of(edge: str, name: str, now: State) -> list[Key]:
    """The objects of the API server that are called `name`, of one edge or of any ("").

    By key (`InferenceModel/default/digits-edge-1`), kind and name (`Edge/edge-1`), name, or what is served there.
    Raises NameUnknown.
    """
    there = sorted(Key.parse(text) for text in now.stage(DECLARE).keys)
    if edge:
        there = [key for key in there if now.stage(DECLARE).known(key).order.get("labels", {}).get(EDGE_LABEL) == edge]
    found = [key for key in there if name in {str(key), f"{key.kind}/{key.name}", key.name, _model_of(key, now)}]
    if not found:
        what = f"{edge} has no object {name}" if edge else f"no object is called {name}"
        near = difflib.get_close_matches(name, {key.name for key in there}, 3)
        hint = f"there is {', '.join(near)}" if near else "`reconciler status --output json` lists what there is"
        raise NameUnknown(what, hint=hint)
    exact = [key for key in found if name != _model_of(key, now)]
    return exact or found


def _model_of(key: Key, now: State) -> str:
    return str(now.stage(DECLARE).known(key).order.get("spec", {}).get("modelName", ""))


def keys_of(edge: str, model: str, now: State) -> list[Key]:
    """What is called `model` on `edge`, or on any (""): as requests name it, as its document does, or as its key does.

    Raises NameUnknown.
    """
    mine = now.stage(DELIVER)
    named_there = {Key.named(text) for text in mine.keys.keys() | mine.problems.keys()}
    there = sorted(key for key in named_there if key is not None and edge in {"", key.edge})
    if not there:
        raise NameUnknown(f"nothing was ever ordered for an edge {edge}" if edge else "nothing was ever ordered")
    found = [key for key in there if model in _names(key, mine.known(key))]
    found.sort(key=lambda key: (key.edge, key.kind != "InferenceModel"))  # before a dataset of this name
    if not found:
        names = sorted({named(key, mine.known(key).order) for key in there})
        near = names if edge else difflib.get_close_matches(model, {*names, *(key.name for key in there)}, 3)
        hint = f"{'it has' if edge else 'there is'} {', '.join(near)}" if near else "`reconciler status` lists them"
        raise NameUnknown(f"{edge} has no {model}" if edge else f"nothing is called {model}", hint=hint)
    return found


def _names(key: Key, served: Served) -> set[str]:
    """What a key of an edge may be called: by its document, its object, or as requests name it."""
    plain = key._replace(edge="")
    return {key.name, named(key, served.order), str(key), str(plain), f"{key.kind}/{key.name}"}
