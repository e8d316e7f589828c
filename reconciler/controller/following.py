"""The followed branch, as batches for a loop. May import: ports, planning, history, controller.loop.

In: commits (through `Repository`), and the fold of the log.  Out: what may have changed, with the facts to be recorded.
Every stage that begins at Git follows it in this way; which keys a commit concerns is the stage's own (`Reach`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from reconciler.controller.loop import Batch
from reconciler.controller.recorder import Recorder
from reconciler.diagnostics import BLOCKS_PRUNING, Diagnostic
from reconciler.errors import Defect, ReconcilerError, WorldRefused, WorldUnavailable
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import Key
from reconciler.model.identity import Identity
from reconciler.planning.declared import Declared
from reconciler.planning.expand import Circumstances, unmatched_pins
from reconciler.planning.judge import judge_by
from reconciler.planning.plan import Judgement, Plan
from reconciler.planning.wanted import Expansion, Frozen, Wanted


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


class Reach(NamedTuple):
    """Which keys a stage expands to.

    affected: (before, after, changed) -> the keys whose expansion may differ.  every: all that is declared.
    owns: whether a key of the log is of this stage.
    """

    affected: Callable[[Declared, Declared, Iterable[Identity]], set[Key]]
    every: Callable[[Declared], set[Key]]
    owns: Callable[[Key], bool]


class Following:
    """Reads the branch, and says what that means for the keys of one stage."""

    def __init__(self, repository: Repository, recorder: Recorder, reach: Reach) -> None:
        self.repository, self._record, self._reach = repository, recorder, reach

    def commit(self) -> Batch:
        """What is new in the branch; everything is due behind it where it was waited for. Raises GitUnavailable."""
        reading, ref = self.repository.read(), self._record.state.ref
        found = (self._record.event(ev.REF_FOUND, "git", {}),) if ref.lost or ref.ahead else ()
        batch = Batch(events=found) if reading is None else self._adopt(reading, found)
        return replace(batch, then="audit") if ref.ahead else batch

    def start(self, audit: Callable[[], Batch], then: str) -> Batch:
        """What is new in the branch, before anything is done: what stood when this ended may be withdrawn.

        Where it is as it was, or cannot be read (which a `commit` trigger tells), everything as it is known.
        audit: everything.  then: the cause that looks at it behind a new commit.
        """
        try:
            newest = self.commit()
        except (WorldUnavailable, WorldRefused):
            newest = Batch()
        if newest.commit:
            return replace(newest, then=then)
        found = audit()
        return self.unfinished(replace(found, events=(*newest.events, *found.events)))

    def lost(self, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason."""
        if self._record.state.ref.lost == failure.message:
            return ()
        return (self._record.event(ev.REF_LOST, "git", {"error": failure.message, "code": failure.code}),)

    def batch(self, keys: Iterable[Key], events: Sequence[Event] = (), cause: str = "") -> Batch:
        """What is not about a commit: the keys that a held plan holds stay as they were ordered."""
        held, found = self.held_keys(), frozenset(keys)
        return Batch(found - held, tuple(events), cause, unreadable=self.unreadable(), kept=found & held)

    def preview(self) -> Batch:
        """Everything there is or should be, where the branch has not moved: what waits is told too."""
        return Batch(frozenset(self.everything()), unreadable=self.unreadable())

    def unfinished(self, audit: Batch) -> Batch:
        """The commit that was read but neither accepted nor held when the process ended, or the audit alone."""
        ref, held = self._record.state.ref, self._record.state.held_plan
        if ref.commit == ref.accepted or (held is not None and held.commit == ref.commit):
            return audit
        fleet = self.repository.declared.fleet() or {}
        waited = {Key.parse(text) for text in self._record.state.waits}  # for something else: it is not of this commit
        keys, about = audit.keys | self.held_keys(), audit.keys - waited
        return replace(audit, keys=keys, commit=ref.commit, fleet=fleet, about=about)

    def everything(self, declared: Declared | None = None) -> set[Key]:
        """Every key there is or should be."""
        state = self._record.state
        known = (Key.parse(text) for text in state.keys.keys() | state.waits.keys())
        return self._reach.every(declared or self.repository.declared) | {key for key in known if self._reach.owns(key)}

    def held_keys(self) -> frozenset[Key]:
        """The keys of the plan that waits for a person."""
        held = self._record.state.held_plan
        return frozenset(Key.parse(text) for text in held.keys) if held is not None else frozenset()

    def unreadable(self) -> tuple[str, ...]:
        """The lines in force that cannot be read, so that nothing is pruned."""
        problems = self._record.state.problems.values()
        return tuple(
            f"{problem['path']}:{problem.get('line', 1)}"
            for group in problems
            for problem in group
            if BLOCKS_PRUNING in problem.get("notes", ())
        )

    def around(self) -> Circumstances:
        """What expansion needs now beside the declarations."""
        state, now = self._record.state, rfc3339(self._record.clock.now())
        return Circumstances(self.fleet(), state.digests, now, state.keys)

    def fleet(self) -> dict[str, Any]:
        """The policy in force: of the last accepted commit; before there is one, the first commit's own."""
        state = self._record.state
        return state.fleet if state.ref.accepted else (self.repository.declared.fleet() or {})

    def judge(self, batch: Batch) -> Judgement:
        """Limits of the Fleet in force; the first commit is judged by its own."""
        now = rfc3339(self._record.clock.now())
        return judge_by(
            self._record.state,
            self.fleet(),
            now=now,
            unreadable=batch.unreadable,
            approved=batch.approved,
            commit=batch.commit,
            about=batch.about,
        )

    def expanded(self, keys: Iterable[Key], one: Callable[[Key], Expansion]) -> list[Expansion]:
        """What each key should be. Before a commit was read nothing can be said, so nothing is taken for gone."""
        if not self._record.state.ref.commit:
            return [Frozen(key, None) for key in keys]
        return [_expanded(key, one) for key in keys]

    def notice(self, expansions: Iterable[Expansion]) -> Sequence[Event]:
        """Problems of keys, where they differ from what the log says."""
        known, found = self._record.state.problems, {}
        for expansion in expansions:
            problems = [problem.as_dict() for problem in _problems(expansion)]
            if problems != known.get(str(expansion.key), []):
                found[str(expansion.key)] = problems
        return [self._record.event(ev.MANIFESTS_CHECKED, "git", {"problems": found})] if found else []

    def waiting(self, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
        """Which of these keys wait, and for what, where that differs from what the log says."""
        known, now = self._record.state.waits, {str(step.key): step.waits for step in plan.steps if step.waits}
        changed: dict[str, list[str]] = {}
        for text in sorted(str(expansion.key) for expansion in expansions):
            if now.get(text, "") != known.get(text, ""):
                changed.setdefault(now.get(text, ""), []).append(text)
        return [self._record.event(ev.STEPS_WAITING, "waits", {"waits": changed})] if changed else []

    def _adopt(self, reading: Reading, found: tuple[Event, ...]) -> Batch:
        record, before = self._record, self.repository.declared
        self._record.log.put_blobs(reading.blobs)
        about = self._reach.affected(before, reading.declared, reading.changed)
        keys = about | self.held_keys()
        if self.unreadable() and not reading.unreadable:  # what could not be pruned while a line was unreadable
            keys |= self.everything(reading.declared)
        problems = {**reading.problems, **self._pin_problems(reading, keys)}
        events = [self._ref_advanced(reading, n) for n in range(len(reading.commits))]
        newest = reading.commits[-1]
        if reading.rewritten_from:
            facts = {"from": reading.rewritten_from, "to": newest.commit}
            events.insert(0, record.event(ev.REF_REWRITTEN, "git", facts, gitcommit=newest.commit))
        self.repository.adopt(reading)
        if problems:
            data = {"problems": problems}
            events.append(
                record.event(ev.MANIFESTS_CHECKED, "git", data, causationid=events[-1].id, gitcommit=newest.commit)
            )
        cause = next(event.id for event in reversed(events) if event.type == ev.REF_ADVANCED)
        return Batch(
            keys=frozenset(keys),
            events=(*found, *events),
            cause=cause,
            commit=newest.commit,
            fleet=reading.declared.fleet() or {},
            unreadable=reading.unreadable,
            about=frozenset(about),
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


def _expanded(key: Key, one: Callable[[Key], Expansion]) -> Expansion:
    """What a key should be; where a bug keeps that from being said it is the key's own problem, and no other's."""
    try:
        return one(key)
    except ReconcilerError:
        raise
    except Exception as bug:  # noqa: BLE001  # its traceback is kept
        defect = Defect.at(key, bug)
        return Frozen(key, Diagnostic(code=defect.code, message=defect.message, path=str(key), help=defect.advice))


def _problems(expansion: Expansion) -> Sequence[Diagnostic]:
    match expansion:
        case Frozen(problem=problem):
            return () if problem is None else (problem,)
        case Wanted(remarks=remarks):
            return remarks
        case _:
            return ()
