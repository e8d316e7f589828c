"""The stage as a value, and its two ports. May import: ports, planning, history, engine.queue.

A stage says where desired state comes from, how it expands and what it is applied to; the loop runs any number of
them over one log. What a stage knows of itself in the log is its own partition of the state (`history.state`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from reconciler.diagnostics import Diagnostic
from reconciler.engine.queue import Cause, Trigger
from reconciler.errors import ReconcilerError
from reconciler.history.events import Entry, Event
from reconciler.history.keys import Key
from reconciler.planning.desired import Expansion
from reconciler.planning.diff import Observed
from reconciler.planning.fields import MergeKeys
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import Plan, Step

AHEAD: Final = 256  # orders being sent below which a plan's next batch begins: making it durable takes a while


@dataclass(frozen=True)
class Change:
    """What a trigger means for a stage: keys to look at, events to record, a plan's circumstances.

    keys: what may have changed.  kept: of which only what was ordered last is restored.  events: what was seen,
    recorded before anything is planned.  cause: id of the event that explains the plan.  commit: the commit that this
    is about, "" where it is about none.  look: everything is compared first, in slices, and what differs is planned
    then.  approval: of a person, recorded with the plan that it releases, and not where that is held anew.
    then: triggers to follow.  is_later: it is answered when the source has the trigger taken again.
    facts: what the source itself judges and announces the plan by.  bugs: keys that cannot be handled, and why.
    """

    keys: frozenset[Key] = frozenset()
    events: tuple[Event, ...] = ()
    cause: str = ""
    commit: str = ""
    kept: frozenset[Key] = frozenset()
    look: bool = False
    approval: Event | None = None
    then: tuple[Trigger, ...] = ()
    is_later: bool = False
    facts: Any = None
    bugs: Mapping[Key, Diagnostic] = field(default_factory=dict)


class Considered(NamedTuple):
    """A plan, with the expansions and observations that it was made from, and what they have shown beside it."""

    plan: Plan
    expansions: list[Expansion]
    observed: Mapping[Key, Observed]
    noticed: Sequence[Event]


class Order(NamedTuple):
    """A step whose intent is durable."""

    step: Step
    intent: Entry


class Source(Protocol):
    """The port to where desired state comes from. All of it runs on the loop's thread and waits for nothing.

    What has a body is a default, for who extends this.
    """

    def take(self, trigger: Trigger) -> Change:
        """What the trigger means. Raises a retryable ReconcilerError where the world did not answer."""
        ...

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """What is to be recorded when the trigger could not be answered; nothing when that is known."""
        return ()

    def everything(self) -> Iterable[Key]:
        """Every key there is or should be, some more than once, worked out as it is asked for."""
        ...

    def seen(self, keys: Sequence[Key], observed: Mapping[Key, Observed]) -> Sequence[Event]:
        """What an audit of these keys shows that no trigger told: what others did meanwhile."""
        return ()

    def looked(self, change: Change, found: frozenset[Key]) -> Change:
        """What is to be done after a look at everything. found: the keys that differ."""
        return Change(found, cause=change.cause, then=change.then)

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What each key should be. Pure: by what is declared now."""
        ...

    def notice(self, expansions: Sequence[Expansion], plan: Plan) -> Sequence[Event]:
        """What expansion and plan have shown beside what is to be done (problems, what waits)."""
        return ()

    def judge(self, change: Change) -> Judgement:
        """By what the plan of this change is judged, now."""
        ...

    def announce(self, change: Change, plan: Plan) -> Mapping[str, Any] | None:
        """What a plan is announced with, beside its counts; None where its intents say all."""
        return None

    def operation(self, key: Key) -> str:
        """The operation that a step on this key carries out; "" when the step begins one of its own."""
        return ""


class Target(Protocol):
    """The port to what desired state is applied to. Called on the loop's thread; it waits for nothing."""

    @property
    def in_flight(self) -> int:
        """How many orders are being sent; 0 of a target whose order is sent once it is durable."""
        return 0

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What is there, overlaid by what is under way; a key that is not there is absent. Raises rather than guess."""
        ...

    def send(self, orders: Sequence[Order]) -> None:
        """Begin what is intended. Outcomes come later, by the trigger DONE."""
        ...

    def answered(self) -> Sequence[Event]:
        """The outcomes since this was asked last; nothing of a target whose outcomes come by triggers of its own."""
        return ()


@dataclass(frozen=True)
class Stage:
    """One stage. name: of its key space, its plans and its partition of the state.

    every: causes that come again by themselves, with the seconds to their next time.  merge_keys: kind -> which of its
    lists are maps, where they are not so by version.
    """

    name: str
    source: Source
    target: Target
    every: Mapping[Cause, Callable[[], float]] = field(default_factory=dict)
    merge_keys: Mapping[str, MergeKeys] = field(default_factory=dict)
