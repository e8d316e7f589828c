"""Replication: entries of other logs, copied through links. May import: ports, engine.

In: links, read beside the loop.  Out: what is new there, copied, and an event when a link refuses to copy (a gap, a
fork, a broken chain), said once, and when it copies again. A log that cannot be trusted blocks nobody but its own
source; one that does not answer blocks nobody.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from reconciler.engine.question import Question
from reconciler.engine.queue import StageQueue, Trigger
from reconciler.engine.recorder import StageRecorder
from reconciler.errors import (
    ChainBroken,
    ForkFound,
    GapFound,
    HistoryError,
    LogTooNew,
    ReconcilerError,
    WorldUnavailable,
)
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event, Origin
from reconciler.history.readers import HUB, name_of
from reconciler.ports import Link, Workers

DEADLINE_S: Final = 10.0  # of one look at another log


class Heard(NamedTuple):
    """News of a peer: entries copied just now, events about the link itself, and whether a writer is there."""

    entries: list[Entry]
    events: list[Event]
    alive: bool


class Looked(NamedTuple):
    """A look at another log, as a worker made it. source: its own.  failure: why nothing could be read of it."""

    source: str
    fetched: list[tuple[Origin, bytes]]
    failure: ReconcilerError | None
    alive: bool


class Replication:
    """Listens to peers. Of the loop's thread alone."""

    def __init__(
        self,
        link_to: Callable[[str], Link],
        trigger_of: Callable[[str], Trigger],
        record: StageRecorder,
        queue: StageQueue,
        workers: Workers,
    ) -> None:
        """trigger_of: what has a peer heard again."""
        self._link_to, self._trigger_of = link_to, trigger_of
        self._record, self._queue, self._workers = record, queue, workers
        self._questions: dict[str, Question[Looked]] = {}

    def hear(self, peer: str, trigger: Trigger) -> Heard | None:
        """What is new of a peer; None while its log is read. trigger: see Question.answer."""
        try:
            answer = self._question(peer).answer(trigger)
        except WorldUnavailable:  # it hangs: what is known stands
            return Heard([], [], alive=False)
        if answer is None:
            return None
        source, fetched, failure, alive = answer.value
        if isinstance(failure, WorldUnavailable):  # not there yet, or away: what is known stands
            return Heard([], [], alive)
        try:
            self._check(peer, source)
            if failure is not None:
                raise failure
            entries = self._record.log.copy(fetched)
        except (ForkFound, GapFound, ChainBroken, LogTooNew) as refused:
            return Heard([], self._refused(peer, refused, source), alive)
        if entries:
            self._queue.add(self._trigger_of(peer))  # there may be more
        return Heard(entries, self._restored(peer), alive)

    def _question(self, peer: str) -> Question[Looked]:
        found = self._questions.get(peer)
        if found is None:
            link = self._link_to(peer)
            found = self._questions[peer] = Question(
                lambda: partial(_look, link),
                self._trigger_of(peer),
                queue=self._queue,
                workers=self._workers,
                clock=self._record.clock,
                deadline_s=DEADLINE_S,
            )
        return found

    def _check(self, peer: str, source: str) -> None:
        """Raises ForkFound where a peer's log is one that it had left for a newer epoch."""
        state = self._record.state
        if state.hub and source != state.hub and self._record.log.held(source).seq:
            raise ForkFound(f"{peer} writes as {source}, which it left for {state.hub}: an older copy")

    def _refused(self, peer: str, failure: HistoryError, source: str) -> list[Event]:
        if self._record.state.links.get(peer, "") == failure.message:
            return []
        data: dict[str, Any] = {"peer": peer, "error": failure.message, "code": failure.code}
        stream, log = f"link/{peer}", self._record.log
        if isinstance(failure, ForkFound):  # what that log does not know any more: it may begin a new epoch
            held = log.held(source)
            data |= {"source": source, "held": [held.seq, held.hash.hex()]}
            stream = f"deploy/{peer}/link" if name_of(log.source) == HUB else stream  # its edge reads that there
        return [self._record.event(ev.LINK_REFUSED, stream, data)]

    def _restored(self, peer: str) -> list[Event]:
        if peer not in self._record.state.links:
            return []
        return [self._record.event(ev.LINK_RESTORED, f"link/{peer}", {"peer": peer})]


def _look(link: Link) -> Looked:
    alive, source = link.alive(), ""
    try:
        source = link.source
        return Looked(source, link.fetch(), None, alive)
    except ReconcilerError as failure:
        return Looked(source, [], failure, alive)
