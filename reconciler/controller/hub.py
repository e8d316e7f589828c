"""The hub's stage without Kubernetes: declare's expansion, delivered to edges. May import: ports, planning, history.

In: commits (through `Repository`), what edges said (through links), verbs of people.  Out: orders, which are intents.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from reconciler.controller.hearing import hear
from reconciler.controller.loop import Batch, Order
from reconciler.controller.queue import Trigger
from reconciler.controller.recorder import Recorder
from reconciler.diagnostics import BLOCKS_PRUNING, Diagnostic
from reconciler.errors import NameUnknown, PlanHeld, ReconcilerError, UsageError
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import FAILED
from reconciler.history.timeline import named
from reconciler.model.identity import Identity
from reconciler.planning.declared import Declared
from reconciler.planning.diff import Observed
from reconciler.planning.expand import Circumstances, affected, all_keys, expand, unmatched_pins
from reconciler.planning.judge import judge_by
from reconciler.planning.plan import Judgement
from reconciler.planning.wanted import Expansion, Frozen, Wanted
from reconciler.ports import Link


@dataclass(frozen=True)
class CommitRead:
    """One commit as it stands in the log: its facts, and which files it changed since the one before it here."""

    commit: str
    facts: Mapping[str, Any]  # parents, tree, author, committed, subject, reverts
    files: Mapping[str, str | None]


@dataclass(frozen=True)
class Reading:
    """What was found when Git was read, from the last commit in the log to the newest one. A value: nothing done yet.

    documents: path -> where the last good content of each of its documents stands, None when the file is gone.
    problems: slot -> diagnostics, only for slots where they changed; empty when a slot is mended.
    """

    commits: tuple[CommitRead, ...]
    declared: Declared
    changed: frozenset[Identity]
    documents: Mapping[str, list[str] | None] = field(default_factory=dict)
    problems: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    rewritten_from: str = ""
    parsed: int = 0  # documents that had to be parsed


class Repository(Protocol):
    """The followed branch, as documents."""

    @property
    def declared(self) -> Declared:
        """What the last adopted reading declares."""
        ...

    def read(self) -> Reading | None:
        """What is new since the last adopted reading; None when the branch has not moved. Raises GitUnavailable."""
        ...

    def adopt(self, reading: Reading) -> None:
        """Make a reading the one that stands."""
        ...


class Heard(NamedTuple):
    """What an edge has said: the keys whose outcome came, events about it and its link, whether its agent is there."""

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
        self._repository, self._record = repository, recorder
        self._link_to, self._ring, self._fleet_changed = link_to, ring, fleet_changed
        self._links: dict[str, Link] = {}

    # ── source ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, trigger: Trigger) -> Batch:
        """What the trigger means (see controller.loop.Source)."""
        match trigger.cause:
            case "start":
                return self._unfinished(self._audit())
            case "commit":
                reading = self._repository.read()
                found = (self._record.event(ev.REF_FOUND, "git", {}),) if self._record.state.ref.lost else ()
                return Batch(events=found) if reading is None else self._adopt(reading, found)
            case "edge":
                heard = self._hear(trigger.subject, str(trigger.request.get("error", "")))
                if not heard.alive or any(str(key) not in self._record.state.keys for key in heard.keys):
                    self._supervise()  # an agent is gone, or an edge may have nothing left to take away
                return self._batch(heard.keys, heard.events)
            case "keys":
                return self._batch({Key.parse(trigger.subject)})
            case "happened":
                return Batch(events=trigger.events)
            case "verb":
                return self._verb(trigger.request)
            case _:
                return self._audit()

    def preview(self) -> Batch:
        """Everything there is or should be, where the branch has not moved: what waits is told too."""
        return Batch(frozenset(self._everything(self._repository.declared)), unreadable=self._unreadable())

    def _batch(self, keys: Iterable[Key], events: Sequence[Event] = (), cause: str = "") -> Batch:
        """What is not about a commit: without the keys that a held plan holds."""
        return Batch(frozenset(keys) - self._held_keys(), tuple(events), cause, unreadable=self._unreadable())

    def failed(self, trigger: Trigger, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason."""
        if trigger.cause != "commit" or self._record.state.ref.lost == failure.message:
            return ()
        return (self._record.event(ev.REF_LOST, "git", {"error": failure.message, "code": failure.code}),)

    def _adopt(self, reading: Reading, found: tuple[Event, ...]) -> Batch:
        record, before = self._record, self._repository.declared
        self._record.log.put_blobs(reading.blobs)
        keys = affected(before, reading.declared, reading.changed) | self._held_keys()
        if self._unreadable() and not reading.unreadable:  # what could not be pruned while a line was unreadable
            keys |= self._everything(reading.declared)
        problems = {**reading.problems, **self._pin_problems(reading, keys)}
        events = [self._ref_advanced(reading, n) for n in range(len(reading.commits))]
        newest = reading.commits[-1]
        if reading.rewritten_from:
            facts = {"from": reading.rewritten_from, "to": newest.commit}
            events.insert(0, record.event(ev.REF_REWRITTEN, "git", facts, gitcommit=newest.commit))
        self._repository.adopt(reading)
        if problems:
            data = {"problems": problems}
            events.append(
                record.event(ev.MANIFESTS_CHECKED, "git", data, causationid=events[-1].id, gitcommit=newest.commit)
            )
        self._supervise()
        cause = next(event.id for event in reversed(events) if event.type == ev.REF_ADVANCED)
        return Batch(
            keys=frozenset(keys),
            events=(*found, *events),
            cause=cause,
            commit=newest.commit,
            fleet=reading.declared.fleet() or {},
            unreadable=reading.unreadable,
        )

    def _pin_problems(self, reading: Reading, keys: Iterable[Key]) -> dict[str, list[dict[str, Any]]]:
        """Pins that act on nothing, by Edge, where that changed. Costs the edges that the commit concerns."""
        names = {key.edge for key in keys} | {identity.name for identity in reading.changed if identity.kind == "Edge"}
        found = {}
        for name in sorted(names - {""}):
            edge, slot = reading.declared.edge(name), str(Identity("Edge", "", name))
            warnings = [] if edge is None else [one.as_dict() for one in unmatched_pins(reading.declared, edge)]
            if warnings != self._record.state.problems.get(slot, []):
                found[slot] = warnings
        return found

    def _ref_advanced(self, reading: Reading, n: int) -> Event:
        read = reading.commits[n]
        is_newest = n == len(reading.commits) - 1
        data = {
            "commit": read.commit,
            **read.facts,
            "files": dict(read.files),
            "documents": dict(reading.documents) if is_newest else {},
        }
        return self._record.event(ev.REF_ADVANCED, "git", data, gitcommit=read.commit, actor=str(read.facts["author"]))

    def _supervise(self) -> None:
        """Every edge that is declared, or that still has something to take away, needs its agent."""
        there = {text.rpartition("@")[2] for text in self._record.state.keys}
        self._fleet_changed(sorted(there | {edge.name for edge in self._repository.declared.of_kind("Edge")}))

    def _hear(self, edge: str, last_words: str = "") -> Heard:
        link = self._links.get(edge)
        if link is None:
            link = self._links[edge] = self._link_to(edge)
        entries, events = hear(link, self._record, edge)
        keys = {Key.parse(entry.event.subject) for entry in entries if entry.event.type in ev.OUTCOMES}
        present = self._record.state.edges.get(edge)
        alive = link.alive()
        said_more = not alive and last_words not in {"", present.error if present is not None else ""}
        if said_more or alive != (present is not None and present.present):
            data = {"edge": edge} | ({"error": last_words} if last_words and not alive else {})
            events.append(self._record.event(ev.EDGE_FOUND if alive else ev.EDGE_LOST, f"edge/{edge}", data))
        return Heard(keys, events, alive)

    def _unfinished(self, audit: Batch) -> Batch:
        """The commit that was read but neither accepted nor held when the process ended, or the audit alone."""
        ref, held = self._record.state.ref, self._record.state.held_plan
        if ref.commit == ref.accepted or (held is not None and held.commit == ref.commit):
            return audit
        fleet = self._repository.declared.fleet() or {}
        return replace(audit, keys=audit.keys | self._held_keys(), commit=ref.commit, fleet=fleet)

    def _audit(self) -> Batch:
        """Every key there is or should be, and every edge heard: repairs lost notifications."""
        declared, state = self._repository.declared, self._record.state
        edges = {*state.edges, *(edge.name for edge in declared.of_kind("Edge"))}
        events = [event for edge in sorted(edges) for event in self._hear(edge).events]
        self._supervise()
        return self._batch(self._everything(declared), events, state.ref.event)

    def _everything(self, declared: Declared) -> set[Key]:
        return all_keys(declared) | {Key.parse(text) for text in self._record.state.keys}

    def _held_keys(self) -> frozenset[Key]:
        held = self._record.state.held_plan
        return frozenset(Key.parse(text) for text in held.keys) if held is not None else frozenset()

    def _unreadable(self) -> tuple[str, ...]:
        problems = self._record.state.problems.values()
        return tuple(
            f"{problem['path']}:{problem.get('line', 1)}"
            for group in problems
            for problem in group
            if BLOCKS_PRUNING in problem.get("notes", ())
        )

    # ── verbs of people ───────────────────────────────────────────────────────────────────────────────────────────

    def _verb(self, request: Mapping[str, Any]) -> Batch:
        verbs: dict[str, tuple[Callable[[Mapping[str, Any]], Batch], tuple[str, ...]]] = {
            "approve": (self._approve, ("digest",)),
            "release": (self._release, ("edge", "model")),
            "suspend": (self._suspend, ("scope",)),
            "resume": (self._resume, ("scope",)),
        }
        name = str(request.get("verb"))
        if name not in verbs:
            raise UsageError(f"no verb {name!r}: there are {', '.join(verbs)}")
        verb, needs = verbs[name]
        missing = [field for field in ("actor", *needs) if not request.get(field)]
        if missing:
            raise UsageError(f"{name} needs {', '.join(missing)}")
        return verb(request)

    def _approve(self, request: Mapping[str, Any]) -> Batch:
        held = self._record.state.held_plan
        if held is None:
            raise NameUnknown(
                "no plan is held", hint="nothing waits for approval; `reconciler plan` shows what is next"
            )
        if request["digest"] != held.digest:
            raise PlanHeld(f"the plan that is held is {held.digest}, not {request['digest']}: {held.reason}")
        event = self._record.event(
            ev.CHANGE_APPROVED, "plan", {"digest": held.digest}, actor=request["actor"], newdigest=held.digest
        )
        fleet = self._repository.declared.fleet() or {}
        unreadable = self._unreadable()
        keys, commit = self._held_keys(), held.commit
        return Batch(keys, (event,), event.id, commit, fleet, approved=held.digest, unreadable=unreadable)

    def _release(self, request: Mapping[str, Any]) -> Batch:
        edge, model, state = request["edge"], request["model"], self._record.state
        keys = [
            Key.parse(text)
            for text in state.holds
            if Key.parse(text).edge == edge and model in {Key.parse(text).name, state.known(text).order.get("model")}
        ]
        if not keys:
            names = sorted(
                {f"{Key.parse(text).edge} {named(Key.parse(text), state.known(text).order)}" for text in state.holds}
            )
            raise NameUnknown(f"nothing of {model} is held on {edge}", hint=_there("held", names))
        events = tuple(self._record.event(ev.HOLD_LIFTED, key, {}, actor=request["actor"]) for key in keys)
        return self._batch(keys, events, events[0].id)

    def _suspend(self, request: Mapping[str, Any]) -> Batch:
        data = {name: request[name] for name in ("scope", "reason", "until") if request.get(name)}
        self._known_scope(data["scope"])
        if not all(isinstance(value, str) for value in data.values()) or not _is_time(data.get("until")):
            raise UsageError("suspend takes text; `until` is an RFC 3339 time with its zone")
        return Batch(events=(self._record.event(ev.RECONCILE_SUSPENDED, "plan", data, actor=request["actor"]),))

    def _resume(self, request: Mapping[str, Any]) -> Batch:
        scope = request["scope"]
        if scope not in self._record.state.suspended:
            scopes = sorted(self._record.state.suspended)
            whole = "*" in scopes
            hint = "everything is suspended: `reconciler resume` ends it" if whole else _there("suspended", scopes)
            raise NameUnknown(
                "no suspension is of everything" if scope == "*" else f"{scope} is not suspended", hint=hint
            )
        event = self._record.event(ev.RECONCILE_RESUMED, "plan", {"scope": scope}, actor=request["actor"])
        audit = self._audit()
        return replace(audit, events=(*audit.events, event), cause=event.id)

    def _known_scope(self, scope: str) -> None:
        if scope != "*" and self._repository.declared.edge(scope) is None:
            names = sorted(edge.name for edge in self._repository.declared.of_kind("Edge"))
            raise NameUnknown(f"there is no edge {scope}", hint=_there("declared", names))

    # ── expansion and judgement ───────────────────────────────────────────────────────────────────────────────────

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What each key should be, by what Git declares."""
        state = self._record.state
        around = Circumstances(self._fleet(), state.digests, rfc3339(self._record.clock.now()), state.keys)
        return [expand(key, self._repository.declared, around) for key in keys]

    def notice(self, expansions: Iterable[Expansion]) -> Sequence[Event]:
        """Problems of keys, where they differ from what the log says."""
        known, found = self._record.state.problems, {}
        for expansion in expansions:
            problems = [problem.as_dict() for problem in _problems(expansion)]
            if problems != known.get(str(expansion.key), []):
                found[str(expansion.key)] = problems
        return [self._record.event(ev.MANIFESTS_CHECKED, "git", {"problems": found})] if found else []

    def judge(self, batch: Batch) -> Judgement:
        """Limits of the Fleet in force; the first commit is judged by its own."""
        now = rfc3339(self._record.clock.now())
        return judge_by(
            self._record.state, self._fleet(), now=now, unreadable=batch.unreadable, approved=batch.approved
        )

    def _fleet(self) -> dict[str, Any]:
        """The policy in force: of the last accepted commit; before there is one, the first commit's own."""
        state = self._record.state
        return state.fleet if state.ref.accepted else (self._repository.declared.fleet() or {})

    def operation(self, key: Key) -> str:  # noqa: ARG002  # every order of the hub begins an operation
        """None: an order begins its own operation."""
        return ""

    # ── target ────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What was ordered last: an open order is under way, so waiting never orders twice.

        An order that failed, and was released since, counts as what the edge has instead; so does what an edge has
        that this log never ordered (the log before was lost).
        """
        found = {}
        for key in keys:
            served = self._record.state.keys.get(str(key))
            if served is not None and not served.operation and served.live:
                found[key] = Observed({name: served.live.get(name, "") for name in ("version", "sha256")})
            elif served is not None and served.operation:
                failed, deleting = served.phase in FAILED, served.action == "delete"
                lifted = failed and served.lifted and not deleting
                instead = {name: served.live.get(name, "") for name in ("version", "sha256")} if lifted else {}
                found[key] = Observed(served.order | instead, served.policy, served.open, failed, deleting)
        return found

    def apply(self, orders: Sequence[Order]) -> Iterable[Sequence[Event]]:
        """The durable intents are the orders: tell their edges. Answers come back through the links."""
        for edge in sorted({order.step.key.edge for order in orders}):
            self._ring(edge)
        return ()


def _there(what: str, names: Sequence[str]) -> str:
    """What there is instead of the name that was given."""
    return f"{what} just now: {', '.join(names)}" if names else f"nothing is {what} just now"


def _is_time(text: str | None) -> bool:
    try:
        return text is None or datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _problems(expansion: Expansion) -> Sequence[Diagnostic]:
    match expansion:
        case Frozen(problem=problem):
            return () if problem is None else (problem,)
        case Wanted(remarks=remarks):
            return remarks
        case _:
            return ()
