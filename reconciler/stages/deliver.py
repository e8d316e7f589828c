"""The hub's stage without Kubernetes: declare's expansion, delivered to edges. May import: ports, planning, history.

In: commits (through `Repository`), what edges said (through links), verbs of people.  Out: orders, which are intents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from reconciler.engine.queue import Cause, Queue, StageQueue, Trigger
from reconciler.engine.recorder import Recorder, StageRecorder
from reconciler.engine.stage import Change, Order, Source, Target
from reconciler.errors import HistoryError, LogWriteFailed, ReconcilerError
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import FAILED, Served
from reconciler.planning.deliver import as_told, expand
from reconciler.planning.desired import Expansion
from reconciler.planning.diff import Observed
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import Plan
from reconciler.planning.reach import affected, every
from reconciler.ports import Peers, Workers
from reconciler.stages.git import Expand, FromGit, GitSource, Repository, explained, noticed, waiting
from reconciler.stages.replication import Replication
from reconciler.stages.verbs import Verbs, asked_again


class Said(NamedTuple):
    """News of an edge. keys: whose orders it answered.  events: to be recorded.

    is_renewed: the log goes on in a new epoch: every order is due again.  is_missed: its agent is to be looked after.
    """

    keys: set[Key]
    events: list[Event]
    is_renewed: bool
    is_missed: bool


class Edges(Target):
    """Edges as the target of a stage, and what they say."""

    def __init__(self, record: StageRecorder, queue: StageQueue, workers: Workers, peers: Peers) -> None:
        self._record, self._peers, self._last_words = record, peers, dict[str, str]()
        self.alive: set[str] = set()  # edges whose agent was there when their log was read last, by this process

        def edge(name: str) -> Trigger:
            return Trigger(Cause.EDGE, name)

        self._hearing = Replication(peers.link, edge, record, queue, workers)

    def heard(self, trigger: Trigger) -> Said | None:
        """What an edge has said; None while its log is read."""
        edge = trigger.subject
        if words := str(trigger.request.get("error", "")):
            self._last_words[edge] = words
        heard = self._hearing.hear(edge, trigger)
        if heard is None:
            return None
        entries, events, alive = heard
        (self.alive.add if alive else self.alive.discard)(edge)
        words = self._last_words.pop(edge, "")
        keys = {Key.parse(entry.event.subject) for entry in entries if entry.event.type in ev.OUTCOMES}
        present = self._record.state.edges.get(edge)
        is_renewed = present is not None and present.forked and self._renewed()
        said_more = not alive and words not in {"", present.error if present is not None else ""}
        if said_more or alive != (present is not None and present.present):
            data = {"edge": edge} | ({"error": words} if words and not alive else {})
            events.append(self._record.event(ev.EDGE_FOUND if alive else ev.EDGE_LOST, f"edge/{edge}", data))
        # an agent is gone, or an edge may have nothing left to take away
        is_missed = not alive or any(str(key) not in self._record.mine.keys for key in keys)
        return Said(keys, events, is_renewed, is_missed)

    def _renewed(self) -> bool:
        """Whether the log goes on in a new epoch: an edge holds more of it than it does itself, so it was put back."""
        try:
            self._record.log.renew()
        except LogWriteFailed:
            raise
        except HistoryError:  # somebody reads it just now; whatever is heard next, or an audit, tries again
            return False
        return True

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What was ordered last: an open order is under way, so waiting never orders twice.

        An order that failed or waits, and was released or asked for since, counts as what the edge has instead; so does
        what an edge has that this log never ordered (the log before was lost), or in an epoch that no edge follows.
        """
        found = {}
        for key in keys:
            served = self._record.mine.keys.get(str(key))
            if (
                served is not None
                and (served.operation or served.live)
                and served.ordered_seq < self._record.state.epoch
            ):
                found[key] = Observed(_has(served))
            elif served is not None and served.operation:
                failed, deleting = served.phase in FAILED, served.action == "delete"
                lifted = served.lifted and (failed or served.open) and not deleting
                instead = _instead(served) if lifted else {}
                found[key] = Observed(served.order | instead, served.policy, served.open, failed, deleting)
        return found

    def send(self, orders: Sequence[Order]) -> None:
        """Tell their edges. Answers come back through the links."""
        for edge in sorted({order.step.key.edge for order in orders}):
            self._peers.ring(edge)


def _instead(served: Served) -> dict[str, str]:
    """What an edge has instead of what it was ordered; nothing, where the two differ in something else."""
    has = _has(served)
    return has if any(served.order.get(name) != value for name, value in has.items()) else dict.fromkeys(has, "")


def _has(served: Served) -> dict[str, str]:
    """What an edge has of a key, as an order says it; "" where that is not known."""
    return {name: served.live.get(name, "") for name in ("version", "sha256")}


class Deliver(FromGit, Edges, Source):
    """Source and target of the hub's loop: both look at one log and one set of declarations."""

    def __init__(
        self,
        repository: Repository,
        recorder: Recorder,
        queue: Queue,
        workers: Workers,
        peers: Peers,
    ) -> None:
        self._queue = queue.stage(DELIVER)
        super().__init__(recorder.stage(DELIVER), self._queue, workers, peers)
        self.git = GitSource(repository, self._record, Expand(affected, every, expand), self._queue, workers)
        self._verbs = Verbs(self.git, self._record)

    # ── source ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, trigger: Trigger) -> Change:
        """What the trigger means (see engine.stage.Source)."""
        return self.git.in_order(self._meant(trigger))

    def _meant(self, trigger: Trigger) -> Change:
        match trigger.cause:
            case Cause.START:
                self.git.start()
                return Change()
            case Cause.COMMIT if self.git.is_starting:
                change = self.git.started(trigger, Trigger(Cause.AUDIT))
                asked = () if change.is_later else asked_again(self._record, self.git.everything())
                return self._followed(replace(change, events=(*change.events, *asked)))
            case Cause.COMMIT:
                return self._followed(self.git.commit(trigger))
            case Cause.EDGE if not trigger.subject:
                self._supervise()
                return Change()
            case Cause.EDGE:
                said = self.heard(trigger)
                return Change() if said is None else self._heard(said)
            case Cause.KEYS:
                return self.git.change({Key.parse(trigger.subject)})
            case Cause.HAPPENED | Cause.DONE:
                return Change(events=trigger.events)
            case Cause.VERB:
                return self._followed(self._verbs.change(trigger))
            case _:
                return self._followed(self.git.audit())

    def _followed(self, change: Change) -> Change:
        """The same; behind a commit or an audit it is seen to that every edge has its agent, and was heard."""
        if change.commit or change.look:
            self._supervise()
        if change.look:
            declared, state = self.git.repository.declared, self._record.state
            for edge in sorted({*state.edges, *(edge.name for edge in declared.of_kind("Edge"))}):
                self._queue.add(Trigger(Cause.EDGE, edge))
        return change

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason."""
        return self.git.lost(failure) if trigger.cause is Cause.COMMIT else ()

    def _supervise(self) -> None:
        """Every edge that is declared, or that still has something to take away, needs its agent."""
        there = {Key.parse(text).edge for text in self._record.mine.keys}
        declared = {edge.name for edge in self.git.repository.declared.of_kind("Edge")}
        self._peers.wanted(sorted(there | declared))

    def _heard(self, said: Said) -> Change:
        if said.is_missed:
            self._queue.add(Trigger(Cause.EDGE))  # once for all that are
        return self.git.change(self.git.everything() if said.is_renewed else said.keys, said.events)

    # ── expansion and judgement ───────────────────────────────────────────────────────────────────────────────────

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What each key should be, with what its order says beside."""
        return as_told(self.git.expand(keys), self._record.mine.keys)

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
        """Problems of keys, and what waits, where they differ from what the log says."""
        expansions = list(expansions)
        waits = waiting(self._record, expansions, plan)
        return [*noticed(self._record, expansions), *waits, *explained(self._record, expansions, plan)]

    def judge(self, change: Change) -> Judgement:
        """Limits of the Fleet in force; the first commit is judged by its own."""
        return self.git.judge(change)
