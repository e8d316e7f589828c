"""How keys stand against Git, in one word of three: as Git says, waits, failing. May import: history. Pure.

In: what the fold knows of one stage, what is suspended, and the time.  Out: `Standing`, from which status, page,
metrics, `why`, conditions and exit codes take what they say and count. It is told nowhere else.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from reconciler.history.keys import Key, scopes_of
from reconciler.history.state import FAILED, EdgeSeen, HeldPlan, Served, State
from reconciler.history.timeline import drift_words, named, stays_words
from reconciler.history.times import shown

AS_GIT, WAITS, FAILING = "as Git says", "waits", "failing"
WORDS: Final = (AS_GIT, WAITS, FAILING)
UNSTABLE_S: Final = 600.0  # a window in which what is served and lost is counted: see edge.stability
UNHEARD: Final = EdgeSeen()
UNDER_WAY: Final[Mapping[str, str]] = {
    "Desired": "its edge has not begun yet",
    "Downloading": "its edge downloads it",
    "Verified": "its edge has its bytes, and unpacks them",
    "Staged": "its edge has it, and is to load it",
    "Active": "it serves, and its edge has still to say that all of it is done",
}
TRY_NOW: Final = "reconciler reconcile "
RELEASE: Final = "reconciler release "


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one key stands. word: one of WORDS.  why: in words, "" where it is as Git says.

    until: when it ends by itself or is tried again (RFC 3339), "" where no time says.  ends: what a person says or does
    to end it or to have it tried now, "" where it is for the world to.  idle: whether it waits with nothing to change:
    it is suspended, and what it has is what Git says.
    """

    word: str = AS_GIT
    why: str = ""
    until: str = ""
    ends: str = ""
    idle: bool = False

    @property
    def is_as_git(self) -> bool:
        """Whether it is as Git says."""
        return self.word == AS_GIT

    @property
    def again(self) -> str:
        """When it is tried again by itself, and how to have it tried now; "" of what is not."""
        if not self.ends.startswith(TRY_NOW):
            return ""
        return (
            f"tried again {f'at {shown(self.until)}' if self.until else 'as soon as it can be'}, or now: `{self.ends}`"
        )

    @property
    def way_out(self) -> str:
        """What ends it, as a clause: a command in quotes; "" where nobody has to."""
        if self.again:
            return self.again
        said = quoted(self.ends)
        return said if said == self.ends or self.ends.startswith(RELEASE) else f"{said} ends it"


def quoted(ends: str) -> str:
    """What ends something, to print: a command between quotes, words as they are; of bytes that were refused first what
    makes others of them.
    """
    if ends.startswith(RELEASE):
        return f"publish a new version or revert; `{ends}` tries the same bytes once more"
    return f"`{ends}`" if ends.startswith(("reconciler ", "kubectl ")) else ends


SETTLED: Final = Standing()


class Stop(NamedTuple):
    """A suspension. words: by whom, until when and why.  until, ends: see Standing."""

    words: str
    until: str = ""
    ends: str = ""


class Standings:
    """The standings of the keys of one stage, at one time."""

    def __init__(self, state: State, stage: str, stops: Mapping[str, Stop], now: str) -> None:
        """stops: by scope, those that are not over at `now` (RFC 3339, UTC)."""
        self._state, self._mine, self._stops, self._now = state, state.stage(stage), stops, now
        self._plan = self._mine.held_plan
        self._held = frozenset(self._plan.keys) if self._plan is not None else frozenset()

    def of(self, key: Key, served: Served) -> Standing:
        """How a key stands of which this is known."""
        return self._unheard(key) or self._failing(key, served) or self._waiting(key, served) or SETTLED

    def of_object(self, text: str, served: Served) -> Standing:
        """The same of an object of the API server, by the text of its key; cheap where it is as Git says."""
        mine, live = self._mine, served.live
        odd = served.open or served.drift or served.fought or served.unstable or "mutated" in live or self._stops
        if not odd and served.phase == "Committed" and text not in mine.waits and text not in self._held:
            return SETTLED
        return self.of(Key.parse(text), served)

    def stopped(self, key: Key, served: Served) -> str:
        """By whom what belongs to a key is suspended, and which plan of it is held; "" where nothing stops it."""
        words = [stop.words for stop in self._stopping(key, served)]
        if plan := self._holding(str(key)):
            words.insert(0, f"held: {plan.reason}; `reconciler approve {plan.digest}` releases it")
        return "; ".join(words)

    def _holding(self, text: str) -> HeldPlan | None:
        """The plan that waits for a person, where it is about this key."""
        return self._plan if text in self._held else None

    def _stopping(self, key: Key, served: Served) -> Iterable[Stop]:
        if not self._stops:
            return ()
        scopes = scopes_of(key, served.order.get("labels", {}))
        return (self._stops[scope] for scope in scopes if scope in self._stops)

    def _unheard(self, key: Key) -> Standing | None:
        if not key.edge or (seen := self._state.edges.get(key.edge, UNHEARD)).present:
            return None
        since = f"is not heard since {shown(seen.since)}" if seen.since else "was never heard"
        return Standing(word=WAITS, why=f"{key.edge} {since}", ends=f"start the agent of {key.edge}")

    def _tried(self, key: Key, served: Served) -> dict[str, str]:
        """When what failed is tried again, and the command to have it now; of content, the one that lets it."""
        what = f"{key.edge} {named(key, served.order)}" if key.edge else str(key)
        if not served.is_tried_again:
            return {"ends": RELEASE + what} if key.edge and served.phase in FAILED else {}
        return {"until": served.retry if served.retry > self._now else "", "ends": TRY_NOW + what}

    def _failing(self, key: Key, served: Served) -> Standing | None:
        code = f"{served.code}: " if served.code else ""
        if served.phase in FAILED and not served.open:
            return Standing(word=FAILING, why=f"{code}{served.message}", **self._tried(key, served))
        if served.phase == "Degraded" or self._is_unstable(served):
            return Standing(word=FAILING, why=f"{code}{served.message or 'it is served and lost again and again'}")
        return None

    def _is_unstable(self, served: Served) -> bool:
        if not served.unstable:
            return False
        return _seconds(self._now) - _seconds(served.unstable) < UNSTABLE_S

    def _waiting(self, key: Key, served: Served) -> Standing | None:
        text, mine = str(key), self._mine
        if silent := untold(key, served, self._state):
            return Standing(word=WAITS, why=silent)
        if served.open:
            code = f"{served.code}: " if served.code else ""
            said = f"{code}{served.message}" if served.message else _under_way(key, served)
            return Standing(word=WAITS, why=said, **self._tried(key, served))
        if why := mine.waits.get(text):
            until, ends = mine.wish(text).until, next((stop.ends for stop in self._stopping(key, served)), "")
            if not ends and any(
                f"{hold['code']}: {hold['reason']}" == why for hold in mine.holds.get(text, {}).values()
            ):
                ends = f"{RELEASE}{key.edge} {named(key, served.order)}"
            return Standing(word=WAITS, why=why, until=until, ends=ends)
        if plan := self._holding(text):
            why = f"plan {plan.digest} is held: {plan.reason}"
            return Standing(word=WAITS, why=why, ends=f"reconciler approve {plan.digest}")
        if served.fought > self._now:
            why = f"{served.message}{over(served)}, left alone until {shown(served.fought)}"
            return Standing(word=WAITS, why=why, until=served.fought, ends="stop one of the two, or add a drift rule")
        if served.drift:
            ends = "undo it, take it up in Git, or let a drift rule say `ignore`" if lets_stand(served) else ""
            return Standing(word=WAITS, why=drift_words(served.drift), ends=ends)
        if stays := stays_words(served.live, declared=True):
            return Standing(word=WAITS, why=stays, ends="take it up in Git, or let a drift rule say `correct`")
        if served.phase != "Committed":
            return Standing(word=WAITS, why=f"it is {served.phase}")
        for stop in self._stopping(key, served):  # whoever edits it by hand is not hindered: nothing keeps it so
            return Standing(word=WAITS, why=stop.words, until=stop.until, ends=stop.ends, idle=True)
        return None


def _under_way(key: Key, served: Served) -> str:
    """What becomes of an order just now, in words."""
    if not key.edge:
        return "the API server has not answered yet"
    return UNDER_WAY.get(served.phase, f"it is {served.phase}")


def untold(key: Key, served: Served, state: State) -> str:
    """Why it is not known here how an edge stands, or not there what was ordered last; "" where it is."""
    if not key.edge:
        return ""
    if refusal := state.edges.get(key.edge, UNHEARD).refusal:
        return f"the edge takes no orders from this log: {refusal}"
    if refused := state.links.get(key.edge):
        return f"what it says is not taken: {refused}"
    return "" if served.ordered_seq >= state.epoch else "this log was put back: it is not ordered again yet"


def over(served: Served) -> str:
    """` (spec.replicas)`: the fields of a drift; "" where it is about none."""
    fields = ", ".join(str(one["field"]) for one in served.drift.get("fields", ())[:3])
    return f" ({fields})" if fields else ""


def lets_stand(served: Served) -> bool:
    """Whether a rule of the Fleet lets the drift of an object stand."""
    return served.left or served.drift.get("policy") == "report"


def tally(standings: Iterable[Standing]) -> Counter[str]:
    """How many stand in each of the words."""
    counts = Counter(dict.fromkeys(WORDS, 0))
    counts.update(one.word for one in standings)
    return counts


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
