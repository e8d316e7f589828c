"""The hub's stage without Kubernetes: declare's expansion, delivered to edges. May import: ports, planning, history.

In: commits (through `Repository`), what edges said (through links), verbs of people.  Out: orders, which are intents.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from reconciler.controller.following import Following, Reach, Repository
from reconciler.controller.hearing import hear
from reconciler.controller.loop import Batch, Order
from reconciler.controller.queue import Trigger
from reconciler.controller.recorder import Recorder
from reconciler.controller.verbs import Verbs
from reconciler.errors import HistoryError, LogWriteFailed, ReconcilerError
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import Key
from reconciler.history.state import FAILED
from reconciler.planning.diff import Observed
from reconciler.planning.expand import affected, all_keys, expand
from reconciler.planning.plan import Judgement, Plan
from reconciler.planning.wanted import Expansion
from reconciler.ports import Link


class Heard(NamedTuple):
    """What an edge has said: the keys whose outcome came, events about it and its link, whether its agent is there.

    keys: all where the log began a new epoch by what it said.
    """

    keys: set[Key]
    events: list[Event]
    alive: bool


class Hub:
    """Source and target of the hub's loop: both look at one log and one set of declarations."""

    def __init__(
        self,
        repository: Repository,
        recorder: Recorder,
        link_to: Callable[[str], Link],
        ring: Callable[[str], None],
        fleet_changed: Callable[[Iterable[str]], None],
    ) -> None:
        """What it reaches the world through.

        link_to: the link to an edge's log.  ring: tell an edge of orders.  fleet_changed: told which edges there are.
        """
        self._record = recorder
        self._following = Following(repository, recorder, Reach(affected, all_keys, lambda key: bool(key.edge)))
        self._verbs = Verbs(self._following, recorder, self._audit)
        self._link_to, self._ring, self._fleet_changed = link_to, ring, fleet_changed
        self._links: dict[str, Link] = {}

    # ── source ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, trigger: Trigger) -> Batch:
        """What the trigger means (see controller.loop.Source)."""
        match trigger.cause:
            case "start":
                return self._following.start(self._audit, then="audit")
            case "commit":
                batch = self._following.commit()
                if batch.commit:
                    self._supervise()
                return batch
            case "edge":
                heard = self._hear(trigger.subject, str(trigger.request.get("error", "")))
                if not heard.alive or any(str(key) not in self._record.state.keys for key in heard.keys):
                    self._supervise()  # an agent is gone, or an edge may have nothing left to take away
                return self._following.batch(heard.keys, heard.events)
            case "keys":
                return self._following.batch({Key.parse(trigger.subject)})
            case "happened":
                return Batch(events=trigger.events)
            case "verb":
                return self._verbs.batch(trigger.request)
            case _:
                return self._audit()

    def preview(self) -> Batch:
        """Everything there is or should be, where the branch has not moved: what waits is told too."""
        return self._following.preview()

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason."""
        return self._following.lost(failure) if trigger.cause == "commit" else ()

    def _supervise(self) -> None:
        """Every edge that is declared, or that still has something to take away, needs its agent."""
        there = {Key.parse(text).edge for text in self._record.state.keys} - {""}
        self._fleet_changed(sorted(there | {edge.name for edge in self._following.repository.declared.of_kind("Edge")}))

    def _hear(self, edge: str, last_words: str = "") -> Heard:
        link = self._links.get(edge)
        if link is None:
            link = self._links[edge] = self._link_to(edge)
        entries, events = hear(link, self._record, edge)
        keys = {Key.parse(entry.event.subject) for entry in entries if entry.event.type in ev.OUTCOMES}
        present = self._record.state.edges.get(edge)
        if present is not None and present.forked and self._renewed():
            keys = self._following.everything()
        alive = link.alive()
        said_more = not alive and last_words not in {"", present.error if present is not None else ""}
        if said_more or alive != (present is not None and present.present):
            data = {"edge": edge} | ({"error": last_words} if last_words and not alive else {})
            events.append(self._record.event(ev.EDGE_FOUND if alive else ev.EDGE_LOST, f"edge/{edge}", data))
        return Heard(keys, events, alive)

    def _renewed(self) -> bool:
        """Whether the log goes on in a new epoch: an edge holds more of it than it does itself, so it was put back."""
        try:
            self._record.log.renew()
        except LogWriteFailed:
            raise
        except HistoryError:  # somebody reads it just now; whatever is heard next, or an audit, tries again
            return False
        return True

    def _audit(self) -> Batch:
        """Every key there is or should be, and every edge heard: repairs lost notifications."""
        declared, state = self._following.repository.declared, self._record.state
        edges = {*state.edges, *(edge.name for edge in declared.of_kind("Edge"))}
        events = [event for edge in sorted(edges) for event in self._hear(edge).events]
        self._supervise()
        return self._following.batch(self._following.everything(), events, state.ref.event)

    # ── expansion and judgement ───────────────────────────────────────────────────────────────────────────────────

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What each key should be, by what Git declares."""
        declared, around = self._following.repository.declared, self._following.around()
        return self._following.expanded(keys, lambda key: expand(key, declared, around))

    def notice(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:  # noqa: ARG002  # rows tell what waits
        """Problems of keys, where they differ from what the log says."""
        return self._following.notice(expansions)

    def judge(self, batch: Batch) -> Judgement:
        """Limits of the Fleet in force; the first commit is judged by its own."""
        return self._following.judge(batch)

    def operation(self, key: Key) -> str:  # noqa: ARG002  # every order of the hub begins an operation
        """None: an order begins its own operation."""
        return ""

    # ── target ────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What was ordered last: an open order is under way, so waiting never orders twice.

        An order that failed, and was released since, counts as what the edge has instead; so does what an edge has
        that this log never ordered (the log before was lost), or in an epoch that no edge follows any more.
        """
        found = {}
        for key in keys:
            served = self._record.state.keys.get(str(key))
            if (
                served is not None
                and (served.operation or served.live)
                and served.ordered_seq < self._record.state.epoch
            ):
                found[key] = Observed({name: served.live.get(name, "") for name in ("version", "sha256")})
            elif served is not None and served.operation:
                failed, deleting = served.phase in FAILED, served.action == "delete"
                lifted = failed and served.lifted and not deleting
                instead = {name: served.live.get(name, "") for name in ("version", "sha256")} if lifted else {}
                found[key] = Observed(served.order | instead, served.policy, served.open, failed, deleting)
        return found

    def apply(self, batches: Iterable[Sequence[Order]]) -> Iterable[Sequence[Event]]:
        """The durable intents are the orders: tell their edges. Answers come back through the links."""
        for orders in batches:
            for edge in sorted({order.step.key.edge for order in orders}):
                self._ring(edge)
        return ()
