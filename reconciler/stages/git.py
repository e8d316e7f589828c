"""Git as a source: the followed branch, as changes for a stage. May import: ports, planning, history, engine.

In: commits (through `Repository`), and the fold of the log.  Out: what may have changed, with the facts to be recorded.
Every stage that begins at Git follows it in this way; which keys a commit concerns is the stage's own (`Reach`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol

from reconciler.diagnostics import BLOCKS_PRUNING, Diagnostic
from reconciler.engine.question import Question
from reconciler.engine.queue import Cause, StageQueue, Trigger
from reconciler.engine.recorder import StageRecorder
from reconciler.engine.stage import Change
from reconciler.errors import ReconcilerError, SourceMissing, WorldRefused, WorldUnavailable
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event, rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import PINNED, HeldPlan, Wish, fingerprint
from reconciler.model.identity import Identity
from reconciler.planning.declared import Declared
from reconciler.planning.deliver import unmatched_pins
from reconciler.planning.desired import Desired, Expansion, Frozen
from reconciler.planning.gate import Judgement, judge_by
from reconciler.planning.plan import BATCH, Plan, Step, counts_of
from reconciler.planning.refusals import pointed
from reconciler.planning.versions import Circumstances
from reconciler.ports import Workers

LATER: Final = Change(is_later=True)
NOW: Final = 1 << 62  # behind every entry
DEADLINE_S: Final = 900.0  # of a look at the branch, whose own steps have shorter ones


@dataclass(frozen=True)
class CommitRead:
    """One commit as it stands in the log: its facts, and which files it changed since the one before it here."""

    commit: str
    facts: Mapping[str, Any]  # parents, tree, author, committed, subject, reverts
    files: Mapping[str, str | None]


@dataclass(frozen=True)
class Reading:
    """The result of reading Git, from the last commit in the log to the newest one. A value: nothing done yet.

    documents: path -> where the last good content of each of its documents stands, None when the file is gone.
    problems: slot -> diagnostics, only for slots where they changed; empty when a slot is mended.
    rewritten_from: a commit that was read or applied before and is not in the branch.  source: the place that it was
    read from, where the log names another.  missing: that the followed folder is gone, in words.  ahead: the commits
    applied by another reconciler that were looked for in the branch.
    later: what changes again behind it, where it ends at a commit that changes the policy: what comes then is judged by
    that, and read next. None where it ends at the newest commit.
    """

    commits: tuple[CommitRead, ...]
    declared: Declared
    changed: frozenset[Identity]
    documents: Mapping[str, list[str] | None] = field(default_factory=dict)
    problems: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    rewritten_from: str = ""
    source: Mapping[str, str] | None = None
    missing: str = ""
    ahead: frozenset[str] = frozenset()
    later: frozenset[Identity] | None = None
    parsed: int = 0  # documents that had to be parsed
    files: Mapping[str, Any] = field(default_factory=dict)  # what the repository itself keeps of it


class Repository(Protocol):
    """The followed branch, as documents."""

    @property
    def declared(self) -> Declared:
        """What the last adopted reading declares."""
        ...

    def reading(self) -> Callable[[], Reading | None]:
        """A look at the branch, to be made beside the loop: what it needs of the log is taken now.

        What is new since the last adopted reading; None when the branch has not moved, is the one that the log names,
        and no commit is `ahead`. Raises GitUnavailable, SourceMissing where nothing was read of this source yet.
        """
        ...

    def adopt(self, reading: Reading) -> None:
        """Make a reading the one that stands."""
        ...


class Expand(NamedTuple):
    """The expansion of a stage: three pure functions.

    affected: (before, after, changed) -> the keys whose expansion may differ.  every: all that is declared.
    one: (key, declared, around) -> what it should be.
    """

    affected: Callable[[Declared, Declared, Iterable[Identity]], set[Key]]
    every: Callable[[Declared], Iterable[Key]]
    one: Callable[[Key, Declared, Circumstances], Expansion]


@dataclass(frozen=True)
class Facts:
    """Git's facts of a change, by which its plan is judged and announced.

    policy: the Fleet by which it is judged.  fleet: the one that comes into force when the plan of this commit is
    accepted.  approved: a plan digest that a person released.  unreadable: places that cannot be read, so that nothing
    is pruned.  about: the keys that the commit itself concerns.  undone: those of them that go back by it.
    """

    policy: Mapping[str, Any] = field(default_factory=dict)
    fleet: Mapping[str, Any] = field(default_factory=dict)
    approved: str = ""
    unreadable: tuple[str, ...] = ()
    about: frozenset[Key] = frozenset()
    undone: frozenset[Key] = frozenset()


class GitSource:
    """Reads the branch beside the loop, and says what that means for the keys of one stage."""

    def __init__(
        self, repository: Repository, recorder: StageRecorder, expand: Expand, queue: StageQueue, workers: Workers
    ) -> None:
        self.repository, self._record, self._expand, self._queue = repository, recorder, expand, queue
        self._question = Question(
            lambda: self.repository.reading(),  # noqa: PLW0108  # as it is then
            Trigger(Cause.COMMIT),
            queue=queue,
            workers=workers,
            clock=recorder.clock,
            deadline_s=DEADLINE_S,
        )
        self.has_answered = self.has_begun = False  # whether a look has ended, and with the branch read
        self.failure: ReconcilerError | None = None  # of the last look
        self.is_starting = False  # nothing is planned until Git has answered
        self._held: tuple[HeldPlan | None, frozenset[Key]] = (None, frozenset())
        self._left: frozenset[Key] = frozenset()  # what was read, and changes again in what is read next
        self._waiting: list[Trigger] = []  # for the end of a look at the branch
        self._looked: dict[int, ReconcilerError | None] = {}  # who has waited, and what the look has failed by

    def commit(self, trigger: Trigger) -> Change:
        """What is new in the branch; LATER while it is looked at (see Question.answer). Raises GitUnavailable."""
        try:
            answer = self._question.answer(trigger)
        except ReconcilerError as failure:
            self._answered(failure)
            if isinstance(failure, SourceMissing):
                self._queue.fail(failure)  # what was typed is not there: who typed it is told at once
            raise
        if answer is None:
            return LATER
        ref = self._record.state.ref
        if not answer.value.ahead.issuperset(ref.ahead) if answer.value is not None else ref.ahead:
            self._queue.add(Trigger(Cause.COMMIT))  # told since: they are looked for too
            return LATER
        if answer.value is None or answer.value.later is None:
            self._answered()
        found = (self._record.event(ev.REF_FOUND, "git", {}),) if ref.lost or ref.ahead else ()
        change = self.change(events=found) if answer.value is None else self._adopt(answer.value, found)
        return replace(change, then=(*change.then, Trigger(Cause.AUDIT))) if ref.ahead else change

    def _answered(self, failure: ReconcilerError | None = None) -> None:
        """A look at the branch has ended: who waited for it is taken again."""
        self.has_answered, self.failure = True, failure
        self.has_begun |= failure is None
        for trigger in self._waiting:
            self._looked[id(trigger.request)] = failure
            self._queue.add(trigger)
        self._waiting.clear()

    def looked_for(self, trigger: Trigger) -> tuple[bool, ReconcilerError | None]:
        """(whether the branch was looked at since a verb was taken first, what that look has failed by). Asked once."""
        is_known = id(trigger.request) in self._looked
        return is_known, self._looked.pop(id(trigger.request), None)

    def wait(self, trigger: Trigger) -> Change:
        """Have the branch looked at, and a verb taken again then."""
        self._waiting.append(trigger)
        self._queue.add(Trigger(Cause.COMMIT))
        return LATER

    def start(self) -> None:
        """Look at the branch before anything is done: what stood when this ended may be withdrawn (decision 17)."""
        self.is_starting = True
        self._queue.add(Trigger(Cause.COMMIT))

    def started(self, trigger: Trigger, then: Trigger) -> Change:
        """What a start does once Git has answered, or has not in its time: then what is known stands.

        then: what looks at everything behind a new commit.
        """
        lost: Sequence[Event] = ()
        again: tuple[Trigger, ...] = ()
        try:
            newest = self.commit(trigger)
        except (WorldUnavailable, WorldRefused) as failure:
            newest, lost, again = Change(), self.lost(failure), (Trigger(Cause.COMMIT),)
        if newest.is_later:
            return newest
        self.is_starting = False
        if newest.commit:
            return replace(newest, then=(*newest.then, then))
        audit = self.audit()
        return replace(audit, events=(*newest.events, *lost, *audit.events), then=again)

    def in_order(self, change: Change) -> Change:
        """The same; until Git has answered a start only what was seen: whatever it is about, the start looks at it."""
        return Change(events=change.events) if self.is_starting and not change.is_later else change

    def lost(self, failure: ReconcilerError) -> Sequence[Event]:
        """That the branch cannot be read, once for each reason; of what was never followed nothing is lost."""
        if self._record.state.ref.lost == failure.message or isinstance(failure, SourceMissing):
            return ()
        return (self._record.event(ev.REF_LOST, "git", {"error": failure.message, "code": failure.code}),)

    # ── what is to be looked at ───────────────────────────────────────────────────────────────────────────────────

    def change(self, keys: Iterable[Key] = (), events: Sequence[Event] = (), cause: str = "") -> Change:
        """What is not about a commit: the keys that a held plan holds stay as they were ordered."""
        held, found = self.held_keys(), frozenset(keys)
        return Change(found - held, tuple(events), cause, kept=found & held, facts=self._facts())

    def audit(self) -> Change:
        """Everything there is or should be."""
        ref = self._record.state.ref
        return Change(cause=ref.event, kept=self.held_keys(), look=True, facts=self._facts())

    def looked(self, change: Change, found: frozenset[Key]) -> Change:
        """What an audit has found to be done, with the commit that was read but neither accepted nor held."""
        found |= frozenset() if self.is_finished else self.held_keys()
        return self.unfinished(replace(self.change(found, cause=change.cause), then=change.then))

    @property
    def is_finished(self) -> bool:
        """Whether the commit that was read last is accepted, or held."""
        ref, held = self._record.state.ref, self._record.mine.held_plan
        is_held = held is not None and held.commit == ref.commit and held.seq > ref.seq
        return ref.is_accepted or is_held

    def unfinished(self, audit: Change) -> Change:
        """The commit that was read but neither accepted nor held when the process ended, or the audit alone."""
        if self.is_finished:
            return audit
        ref, mine = self._record.state.ref, self._record.mine
        waited = {Key.parse(text) for text in mine.waits}  # for something else: it is not of this commit
        fleet = self.policy(self.repository.declared, self.unreadable())
        about = audit.keys - waited
        undone = about if ref.reverts else frozenset()
        facts = replace(self._facts(), fleet=fleet, about=about, undone=undone)
        return replace(
            audit, keys=audit.keys | audit.kept, kept=frozenset(), commit=self._record.state.ref.commit, facts=facts
        )

    def preview(self) -> Change:
        """Everything there is or should be, where the branch has not moved: what waits is told too."""
        return self.unfinished(Change(frozenset(self.everything()), facts=self._facts()))

    def _facts(self) -> Facts:
        return Facts(self.fleet(), unreadable=self.unreadable())

    def everything(self) -> Iterator[Key]:
        """See engine.stage.Source."""
        mine = self._record.mine
        known = [*mine.keys, *mine.waits, *mine.problems]
        return chain(self._expand.every(self.repository.declared), map(Key.parse, known))

    def held_keys(self) -> frozenset[Key]:
        """The keys of the plan that waits for a person."""
        held = self._record.mine.held_plan
        if held is not self._held[0]:
            self._held = held, frozenset(Key.parse(text) for text in held.keys) if held is not None else frozenset()
        return self._held[1]

    def unreadable(self) -> tuple[str, ...]:
        """The lines in force that cannot be read, so that nothing is pruned."""
        return tuple(
            f"{problem['path']}:{problem.get('line', 1)}"
            for group in self._record.state.problems.values()
            for problem in group
            if BLOCKS_PRUNING in problem.get("notes", ())
        )

    def around(self) -> Circumstances:
        """What expansion needs now beside the declarations."""
        state, now = self._record.state, rfc3339(self._record.clock.now())
        return Circumstances(self.fleet(), state.digests, now, self._record.mine.keys)

    def fleet(self) -> dict[str, Any]:
        """The policy in force: of the last accepted commit; before there is one, the first commit's own."""
        state = self._record.state
        return state.fleet if state.ref.accepted else (self.repository.declared.fleet() or {})

    def policy(self, declared: Declared, unreadable: Sequence[str]) -> dict[str, Any]:
        """The policy that a commit brings. While something cannot be read, a Fleet that vanished may stand there."""
        return declared.fleet() or (self.fleet() if unreadable else {})

    def judge(self, change: Change) -> Judgement:
        """Limits of the Fleet in force when it was made; the first commit is judged by its own."""
        facts = change.facts or self._facts()
        return judge_by(
            self._record.state,
            self._record.name,
            facts.policy,
            now=rfc3339(self._record.clock.now()),
            unreadable=facts.unreadable,
            approved=facts.approved,
            commit=change.commit,
            undone=facts.undone,
            waited=self.held_keys(),
        )

    def announce(self, change: Change, plan: Plan) -> Mapping[str, Any] | None:
        """What a plan is announced with: for a commit, when held, approved, or of many steps."""
        facts, state, held = change.facts or self._facts(), self._record.state, self._record.mine.held_plan
        is_known = held is not None and plan.holds <= self.held_keys()
        is_accepted = not plan.held or (is_known and not facts.approved and not plan.is_whole)
        is_told = held is not None and plan.digest == held.digest and plan.held
        if not (change.commit or facts.approved or (plan.held and not is_told) or len(plan.ready) > BATCH):
            return None
        data: dict[str, Any] = {}
        if plan.held:
            keys = sorted(str(key) for key in plan.holds)
            data = {"held": plan.held, "keys": keys, "counts": counts_of(plan.on_hold), "begins": counts_of(plan.ready)}
            data |= {"wants": wants(plan.on_hold)} | ({"accepted": True} if is_accepted else {})
        if facts.approved and not plan.held:
            released = {str(step.key): facts.approved for step in plan.steps if step.action == "delete"}
            data |= {"releases": facts.approved, "approved": released}
        fleet = facts.fleet
        if plan.held and is_accepted and held is not None and fleet == held.fleet:
            fleet = state.fleet  # it came with what is held still
        if change.commit and fleet != state.fleet:
            data["fleet"] = fleet
            if state.ref.accepted and is_accepted:  # other rules may be about anything that is there
                self._queue.add(Trigger(Cause.RULES))
        return data | self._marked(facts, plan)

    def _marked(self, facts: Facts, plan: Plan) -> dict[str, dict[str, str | None]]:
        """What a commit changes in what is known to undo, or to be approved, and was not done yet."""
        mine, steps = self._record.mine, {step.key: step for step in plan.steps}
        undoes = {str(key): fingerprint(steps[key].spec) for key in facts.undone if key in steps}
        ended: dict[str, None] = {}
        for text in mine.undoes.keys() - undoes.keys():
            key = Key.parse(text)
            step = steps.get(key)
            if key in facts.about and (step is None or fingerprint(step.spec) != mine.undoes[text]):
                ended[text] = None
        over: dict[str, None] = {}
        for text in mine.approved:
            key = Key.parse(text)
            step = steps.get(key)
            if key in facts.about and (step is None or step.action != "delete"):
                over[text] = None
        found: dict[str, dict[str, str | None]] = {"undoes": undoes | ended, "approved": dict(over)}
        return {name: marks for name, marks in found.items() if marks}

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """What each key should be. Before a commit was read nothing can be said, so nothing is taken for gone."""
        if not self._record.state.ref.commit:
            return [Frozen(key, None) for key in keys]
        declared, around = self.repository.declared, self.around()
        return [self._expand.one(key, declared, around) for key in keys]

    def _adopt(self, reading: Reading, found: tuple[Event, ...]) -> Change:
        record, before = self._record, self.repository.declared
        self._record.log.put_blobs(reading.blobs)
        about = self._left | self._expand.affected(before, reading.declared, reading.changed)
        self._left = frozenset(self._expand.affected(before, reading.declared, reading.later or ())) & about
        about -= self._left
        undone = self._undone(reading, before) & about
        keys = about | self.held_keys()
        is_over = self.unreadable() and not reading.unreadable  # what could not be pruned while a line was unreadable
        if is_over or reading.ahead:  # what another reconciler made is compared with this commit as a whole
            keys |= {*self._expand.every(reading.declared), *self.everything()}
        problems = {**reading.problems, **self._pin_problems(reading, keys)}
        events = [self._ref_advanced(reading, n) for n in range(len(reading.commits))]
        newest = reading.commits[-1]
        if reading.rewritten_from:
            data = {"from": reading.rewritten_from, "to": newest.commit}
            events.insert(0, record.event(ev.REF_REWRITTEN, "git", data, gitcommit=newest.commit))
        self.repository.adopt(reading)
        if problems:
            checked = {"problems": problems}
            events.append(
                record.event(ev.MANIFESTS_CHECKED, "git", checked, causationid=events[-1].id, gitcommit=newest.commit)
            )
        cause = next(event.id for event in reversed(events) if event.type == ev.REF_ADVANCED)
        fleet = self.policy(reading.declared, reading.unreadable)
        facts = Facts(self.fleet(), fleet, "", reading.unreadable, frozenset(about), undone)
        then = (Trigger(Cause.COMMIT),) if reading.later is not None else ()
        return Change(frozenset(keys), (*found, *events), cause, newest.commit, facts=facts, then=then)

    def _undone(self, reading: Reading, before: Declared) -> frozenset[Key]:
        """The keys that go back by commits that undo: whose files all of them the last that changed them brought back.

        Back to what ran: a key that waits may not be brought to what came while it did.
        """
        new = {read.commit for read in reading.commits}
        last = {path: str(read.facts.get("reverts") or "") for read in reading.commits for path in read.files}
        past = self._reads() if any(last.values()) else []
        back: dict[int | None, set[Identity]] = {}
        for identity in reading.changed:
            places = (before.get(identity), reading.declared.get(identity))
            ends = {(last.get(one.path, ""), one.path) for one in places if one is not None}
            stood = [_stood(past, end, path) if end and end not in new else None for end, path in ends]
            back.setdefault(None if None in stood else max(filter(None, stood), default=0), set()).add(identity)
        plain = self._expand.affected(before, reading.declared, back.pop(None, ()))
        found: set[Key] = set()
        for until, identities in back.items():
            keys = frozenset(self._expand.affected(before, reading.declared, identities)) - plain
            found |= keys - self._waited_at(until or 0)
        return frozenset(found)

    def _waited_at(self, seq: int) -> frozenset[Key]:
        """The keys that waited at an entry of the log: what was wanted of them then did not run."""
        waits: dict[str, str] = {}
        for entry in self._record.log.read(upto=seq, stream=f"waits/{self._record.name}") if seq else ():
            for why, keys in entry.event.data.get("waits", {}).items():
                waits.update(dict.fromkeys(keys, why))
        return frozenset(Key.parse(text) for text, why in waits.items() if why)

    def _reads(self) -> list[Entry]:
        """Every commit that was read."""
        return [one for one in self._record.log.read(stream="git") if one.event.type == ev.REF_ADVANCED]

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
        data |= {} if is_newest else {"more": True}  # it was read with the next one, and has no plan of its own
        if reading.source is not None and n == 0:
            before = self._record.state.ref.source
            data |= {"source": dict(reading.source)} | ({"before": before} if before else {})
        if is_newest:
            data |= {"missing": reading.missing} if reading.missing else {}
            data |= {} if len(reading.declared) else {"empty": True}
        return self._record.event(ev.REF_ADVANCED, "git", data, gitcommit=read.commit, actor=str(read.facts["author"]))


class FromGit:
    """The part of a source that is alike in every stage that begins at Git. git: the branch that it follows."""

    git: GitSource

    def change(self, keys: Iterable[Key] = (), events: Sequence[Event] = (), cause: str = "") -> Change:
        """See GitSource."""
        return self.git.change(keys, events, cause)

    def audit(self) -> Change:
        """Everything there is or should be."""
        return self.git.audit()

    def preview(self) -> Change:
        """Everything there is or should be, where the branch has not moved: what waits is told too."""
        return self.git.preview()

    def everything(self) -> Iterable[Key]:
        """See engine.stage.Source."""
        return self.git.everything()

    def looked(self, change: Change, found: frozenset[Key]) -> Change:
        """See engine.stage.Source."""
        return self.git.looked(change, found)

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """See engine.stage.Source."""
        return self.git.expand(keys)

    def announce(self, change: Change, plan: Plan) -> Mapping[str, Any] | None:
        """See engine.stage.Source."""
        return self.git.announce(change, plan)


def noticed(record: StageRecorder, expansions: Iterable[Expansion]) -> Sequence[Event]:
    """Problems of keys, where they differ from what the log says."""
    known, found = record.mine.problems, {}
    texts: dict[str, list[str]] = {}
    for expansion in expansions:
        problems = [_pointed(problem, record, texts).as_dict() for problem in _problems(expansion)]
        if problems != known.get(str(expansion.key), []):
            found[str(expansion.key)] = problems
    stream = f"problems/{record.name}"
    return [record.event(ev.MANIFESTS_CHECKED, stream, {"problems": found})] if found else []


def _pointed(problem: Diagnostic, record: StageRecorder, texts: dict[str, list[str]]) -> Diagnostic:
    """A problem with its line, as the log has the file. texts: the lines of those files that were looked at."""
    oid = record.state.files.get(problem.path, "")
    if oid and oid not in texts:
        texts[oid] = (record.log.blob(oid) or b"").decode("utf-8", "replace").split("\n")
    lines = texts.get(oid, [])
    return pointed(problem, lines[problem.line - 1]) if 0 < problem.line <= len(lines) else problem


def waiting(record: StageRecorder, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
    """Which of these keys wait, for what, and what is wanted of them, where that differs from what the log says."""
    now, mine = {str(step.key): step for step in plan.waiting}, record.mine
    changed: dict[str, list[str]] = {}
    steps: list[Step] = []
    for text in sorted(str(expansion.key) for expansion in expansions):
        step = now.get(text)
        why, wish = (step.waits, _wish(step)) if step is not None else ("", Wish())
        if why != mine.waits.get(text, "") or (wish != mine.wishes.get(text, Wish())):
            changed.setdefault(why, []).append(text)
            steps += [step] if step is not None else []
    if not changed:
        return []
    data = {"waits": changed} | ({"wants": wants(steps)} if steps else {})
    return [record.event(ev.STEPS_WAITING, f"waits/{record.name}", data)]


def wants(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """What steps would do, as events have it: those alike stand together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for step in steps:
        wish = _wish(step)
        groups.setdefault((wish.action, wish.version, wish.origin, wish.until), []).append(str(step.key))
    names = ("action", "version", "origin", "until")
    return [
        {name: value for name, value in zip(names, said, strict=True) if value} | {"keys": keys}
        for said, keys in groups.items()
    ]


def _wish(step: Step) -> Wish:
    version = step.spec.get("version") or step.spec.get("spec", {}).get("targetVersion") or ""
    return Wish(action=step.action, version=str(version), origin=step.origin, until=step.until)


def explained(record: StageRecorder, expansions: Iterable[Expansion], plan: Plan) -> Sequence[Event]:
    """Keys that a pin keeps as they are, or does so no more: there is nothing to do, and it is wanted otherwise."""
    planned, found = {step.key for step in plan.steps}, {}
    for one in expansions:
        if not isinstance(one, Desired) or one.key in planned:
            continue
        known = record.mine.known(one.key)
        is_pinned = one.because.startswith(PINNED) or known.reason.startswith(PINNED)
        if known.operation and known.order == one.spec and known.reason != one.because and is_pinned:
            found[str(one.key)] = {"reason": one.because, "origin": one.origin}
    return [record.event(ev.ORDER_EXPLAINED, f"waits/{record.name}", {"keys": found})] if found else []


def _stood(past: Sequence[Entry], commit: str, path: str) -> int | None:
    """The last entry before something else was read, of those that the file was planned in as it stood at `commit`.

    None where it never was: it was changed again in what was read with it. 0: before anything that was read.
    """
    at = next((n for n in range(len(past) - 1, -1, -1) if past[n].event.data["commit"] == commit), None)
    if at is None:
        return 0
    start = end = at
    while start and past[start - 1].event.data.get("more"):
        start -= 1
    while past[end].event.data.get("more"):
        end += 1
    if not any(path in one.event.data["files"] for one in past[at + 1 : end + 1]):
        return past[end + 1].seq - 1 if end + 1 < len(past) else NOW
    if any(path in one.event.data["files"] for one in past[start : at + 1]):
        return None
    return past[start].seq - 1 if start else 0


def _problems(expansion: Expansion) -> Sequence[Diagnostic]:
    match expansion:
        case Frozen(problem=problem):
            return () if problem is None else (problem,)
        case Desired(remarks=remarks):
            return remarks
        case _:
            return ()
