"""The recorder: makes events, appends them, keeps the fold of the log. May import: ports, history.

In: what happened, in the words of whoever did it.  Out: the log; `state` is always the fold of what the log has.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.errors import HistoryError
from reconciler.history.events import Entry, Event, event_id, rfc3339
from reconciler.history.fold import fold
from reconciler.history.keys import Key, stream_of
from reconciler.history.state import State
from reconciler.ports import Clock, EventLog


class Recorder:
    """A log with its live fold. `event` may be called from any thread, `append` from the loop's alone."""

    def __init__(self, log: EventLog, clock: Clock, state: State, actor: str) -> None:
        """state: the fold of the log up to `state.seq`; what is behind it is folded here."""
        self.log, self.clock, self.state, self.actor = log, clock, state, actor
        self.epoch = ""  # what stands in each event: under which term of a Lease it was written
        self._count = itertools.count()
        self._born = log.head().seq  # no two recorders of one log begin there and append: ids need no clock
        fold(state, list(log.read(after=state.seq)))
        log.subscribe(self._folded)

    def stage(self, name: str) -> "StageRecorder":
        """The same for one stage."""
        return StageRecorder(self, name)

    def event(
        self, type_: str, about: Key | str, data: Mapping[str, Any], *, stage: str = "", **attributes: str
    ) -> Event:
        """An event about a key of a stage, or about a stream.

        attributes: causationid, operationid, gitcommit, actor.
        """
        if isinstance(about, Key) and not stage:
            raise ValueError(f"of which stage is {about}?")
        parts = (self.log.source, type_, str(about), self._born, next(self._count))
        is_key = isinstance(about, Key)
        if self.epoch:
            attributes.setdefault("epoch", self.epoch)
        return Event(
            id=event_id(*parts),
            type=type_,
            partitionkey=stream_of(stage, about) if isinstance(about, Key) else about,
            subject=str(about) if is_key else "",
            time=rfc3339(self.clock.now()),
            data=dict(data),
            actor=attributes.pop("actor", self.actor),
            **attributes,  # type: ignore[arg-type]  # every attribute that is passed here is text
        )

    def _folded(self, entries: list[Entry]) -> None:
        """Raises HistoryError: on a state that was folded half nothing may be based."""
        try:
            fold(self.state, entries)
        except Exception as bug:
            raise HistoryError(f"the log cannot be folded at entry {self.state.seq + 1}: {bug!r}") from bug

    def append(self, events: Sequence[Event], *, plans: int | None = None, stage: str = "") -> list[Entry]:
        """The entries of `events`, durable. plans: how many plans of `stage` there must be (see StageState.plans)."""
        expected = None if plans is None else {f"plan/{stage}": plans}
        return self.log.append(events, expected=expected) if events else []


class StageRecorder:
    """A recorder as one stage has it: what it says of a key is of this stage, and `mine` is its part of the state."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder, self.name, self.mine = recorder, name, recorder.state.stage(name)
        self.log, self.clock, self.state = recorder.log, recorder.clock, recorder.state

    def event(self, type_: str, about: Key | str, data: Mapping[str, Any], **attributes: str) -> Event:
        """See `Recorder.event`."""
        return self._recorder.event(type_, about, data, stage=self.name, **attributes)

    def append(self, events: Sequence[Event], *, plans: int | None = None) -> list[Entry]:
        """See `Recorder.append`."""
        return self._recorder.append(events, plans=plans, stage=self.name)
