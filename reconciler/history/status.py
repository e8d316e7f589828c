"""The status at one time, as rows that people and machines read. May import: history. Pure.

In: State, the fold of a log, and the time.  Out: Status, to the command line and whoever else shows it. Nothing here is
stored: deleted, it is there again after a replay, byte for byte.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.standing import (
    AS_GIT,
    FAILING,
    RELEASE,
    UNHEARD,
    WAITS,
    Standing,
    Standings,
    Stop,
    quoted,
    tally,
    untold,
)
from reconciler.history.state import FAILED, PINNED, EdgeSeen, Served, StageState, State, suspended_by
from reconciler.history.timeline import content_words, drift_words, named, stays_words, unproven_words
from reconciler.history.times import shown
from reconciler.model.identity import EDGE_LABEL, GROUP
from reconciler.natural import natural

UNPROVEN = "RX230"  # nothing stands against such a row; `reconciler explain` says how to prove it
_T = TypeVar("_T")
NEVER = "never"  # stands where a time would: this edge has not been heard yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One object on one edge.

    wanted: the version that Git wants; "" when it is to go.  serving: the version that the edge itself answered last.
    phase: of what was ordered last; `Waiting` where a change of that waits.
    since: when `phase` began.  unknown_since: the edge is not heard since then, so the rest is what it said last; ""
    while it is heard.  last_sequence: of that edge's newest event here.  pinned: a pin chose the version.
    waits: why nothing more is ordered here: a suspension, or content that is held back; "" where nothing stops it.
    digest: sha256 of the bytes that the edge answered from last.
    """

    key: str
    edge: str
    kind: str
    name: str
    model: str
    wanted: str
    serving: str
    phase: str
    since: str
    open: bool
    pinned: bool
    reason: str
    origin: str
    url: str
    message: str
    code: str
    waits: str
    unknown_since: str
    last_sequence: int
    standing: Standing
    digest: str = ""

    @property
    def settled(self) -> bool:
        """Whether the edge has said that it is as Git says."""
        return self.standing.is_as_git

    @property
    def stands(self) -> str:
        """Its phase for people: of what failed, and is tried again by itself, that it is."""
        return "Retrying" if self.open and self.code not in {"", UNPROVEN} else self.phase

    @property
    def under_way(self) -> bool:
        """Whether its edge has still to say that what it was given stands, or why it does not."""
        return self.open or bool(self.unknown_since) or self.phase not in {"Committed", "Waiting", *FAILED}

    @property
    def said(self) -> str:
        """What stands against it, in words, and when it is tried again; "" where nothing does."""
        return sentence(coded(self.code, self.message) or self._why, self.waits, self.standing.again)

    @property
    def _why(self) -> str:
        """Why it is failing, where its last answer does not say so."""
        return self.standing.why if self.standing.word == FAILING else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """One object of the API server, as this log keeps it. wanted: the version that Git wants, where it has one.

    stage: that makes it.  there: the version that was applied last, or that somebody else made of it.
    since: when `phase` began.  drift: what somebody else made of it, in words, where that stands.  pending: a change of
    it waits; waits says for what, or by whom it is suspended.  stays: what of it the API server has otherwise, or
    somebody else keeps, in words.
    """

    key: str
    stage: str
    kind: str
    namespace: str
    name: str
    edge: str
    wanted: str
    phase: str
    since: str
    open: bool
    reason: str
    origin: str
    message: str
    code: str
    waits: str
    drift: str
    pending: bool
    there: str
    stays: str
    standing: Standing

    @property
    def settled(self) -> bool:
        """Whether the API server has it as Git says."""
        return self.standing.is_as_git

    @property
    def stands(self) -> str:
        """Its phase for people: a drift hides the phase of the order."""
        return "Drifted" if self.drift else self.phase

    @property
    def said(self) -> str:
        """What stands against it, in words, and when it is tried again; "" where nothing does."""
        return sentence(coded(self.code, self.message), self.drift, self.waits, self.stays, self.standing.again)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How many objects of the API server there are of one kind, and how they stand.

    settled: as Git says.  waits, failing: not.  pending: of which a change waits.  drifted: of which a drift stands.
    """

    kind: str
    objects: int
    settled: int
    waits: int
    failing: int
    pending: int
    drifted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What of the cluster cannot be read, and since when."""

    what: str
    error: str
    code: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One edge. since: when it was found or lost, `never` before it was heard."""

    name: str
    present: bool
    since: str
    last_time: str
    last_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One content digest that an edge is not given again until the content changes or a person releases it.

    version: that had this content when it was refused; "" where the log does not say.  model: see named.
    """

    key: str
    digest: str
    code: str
    reason: str
    time: str
    version: str = ""
    model: str = ""

    @property
    def what(self) -> str:
        """`version 3`, or, where the log does not say of which version it is, the beginning of the digest."""
        return content_words(self.version, self.digest)

    @property
    def ends(self) -> str:
        """The command by which a person lets it go."""
        key = Key.parse(self.key)
        return f"reconciler release {key.edge} {self.model or key.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The plan that waits for a person."""

    digest: str
    reason: str
    commit: str
    time: str
    counts: Mapping[str, int]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """What is suspended: `*` is everything, else an edge or an object. until: "" for as long as nobody resumes it.

    annotated: an annotation on the live `object` (a key) says so, and not the verb `suspend`; where the object is "",
    whether one does cannot be read.
    """

    scope: str
    actor: str
    reason: str
    time: str
    until: str
    annotated: bool = False
    object: str = ""

    @property
    def words(self) -> str:
        """By whom, until when and why."""
        return suspended_by({"actor": self.actor, "until": self.until, "reason": self.reason})

    @property
    def ends(self) -> str:
        """What a person does to end it; "" where it ends by itself."""
        if self.annotated and not self.object:
            return ""
        if not self.annotated:
            return "reconciler resume" + (f" {self.scope}" if self.scope != "*" else "")
        key = Key.parse(self.object)
        place = f" -n {key.namespace}" if key.namespace else ""
        return f"kubectl annotate {key.kind.lower()} {key.name}{place} {GROUP}/reconcile-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A peer whose log is not copied, because it has a gap, a fork or a broken chain."""

    peer: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything at one time. seq and time: the last entry of the log that this was folded from.

    lost: why the branch cannot be read, since `lost_since`; "" while it can.  to_begin: steps of plans under way that
    are still to be begun.
    """

    as_of: str
    seq: int
    time: str
    commit: str
    accepted: str
    author: str
    subject: str
    lost: str
    lost_since: str
    rows: tuple[Row, ...]
    objects: tuple[ObjectRow, ...]
    to_begin: int
    cluster_lost: tuple[Lost, ...]
    lease_holder: str
    edges: tuple[Edge, ...]
    held: Held | None
    holds: tuple[Hold, ...]
    suspended: tuple[Suspension, ...]
    links: tuple[Refused, ...]
    problems: tuple[Mapping[str, Any], ...]

    @property
    def counted(self) -> tuple[Counted, ...]:
        """The objects of the API server by kind, in the order of the kinds' names."""
        kinds: dict[str, list[ObjectRow]] = {}
        for one in self.objects:
            kinds.setdefault(one.kind, []).append(one)
        return tuple(_counted(kind, every) for kind, every in sorted(kinds.items()))

    @property
    def unsettled(self) -> tuple[ObjectRow, ...]:
        """The objects of the API server of which something is to be told; first those that are not as Git says."""
        told = (one for one in self.objects if not one.settled or one.waits or one.stays)
        return tuple(sorted(told, key=lambda one: one.settled))  # what is as Git says has only a remark

    @property
    def refused(self) -> bool:
        """Whether a document is refused."""
        return any(problem.get("severity", "error") == "error" for problem in self.problems)

    @property
    def is_heard(self) -> bool:
        """Whether every edge that was given something is heard."""
        return not any(row.unknown_since for row in self.rows)

    @property
    def tally(self) -> Mapping[str, int]:
        """How many rows and objects stand in each of the three words."""
        return tally(self._standings)

    @property
    def _standings(self) -> list[Standing]:
        return [*(row.standing for row in self.rows), *(one.standing for one in self.objects)]

    @property
    def standing(self) -> Standing:
        """How all of it stands: as Git says only where nothing stands against it."""
        counts = self.tally
        every = sum(counts.values())
        if self.refused:
            return Standing(word=FAILING, why="a document is refused", ends="mend it, and push")
        if counts[FAILING]:
            return Standing(word=FAILING, why=f"{counts[FAILING]} of {every} are failing")
        if self.held is not None:
            why = f"plan {self.held.digest} is held: {self.held.reason}"
            return Standing(word=WAITS, why=why, ends=f"reconciler approve {self.held.digest}")
        if counts[WAITS]:
            waiting = [one for one in self._standings if one.word == WAITS]
            first, idle = min(waiting, key=lambda one: one.idle), sum(one.idle for one in waiting)
            still = f" ({idle} of them only suspended, with nothing to change)" if idle else ""
            why = f"{counts[WAITS]} of {every} wait{still}: {first.why}"
            return Standing(word=WAITS, why=why, until=first.until, ends=first.ends)
        if self.to_begin:
            return Standing(word=WAITS, why=f"{self.to_begin} more to begin")
        if self.lost:
            return Standing(word=WAITS, why=f"the branch cannot be read since {shown(self.lost_since)}: {self.lost}")
        if self.cluster_lost:
            one = self.cluster_lost[0]
            return Standing(word=WAITS, why=f"{one.what} cannot be read since {shown(one.since)}: {one.error}")
        if not self.commit:
            return Standing(word=WAITS, why="no commit was read yet")
        return Standing()

    @property
    def converged(self) -> bool:
        """Whether everything is as Git says."""
        return self.standing.is_as_git


def refused_rows(state: State, now: str) -> list[Row]:
    """The rows whose order their edge refused, and nobody has ordered anything else since."""
    failed = (text for text, served in state.stage(DELIVER).keys.items() if served.phase in FAILED)
    return _rows(state, failed, suspensions(state, now), now)


def _sorted(table: Mapping[str, _T]) -> list[tuple[str, _T]]:
    """What a table has, by its names as people list them."""
    return sorted(table.items(), key=lambda one: natural(one[0]))


def object_rows(state: State, now: str) -> tuple[ObjectRow, ...]:
    """The objects of the API server that were ordered or wait to be, by stage, kind, namespace and name."""
    return tuple(_objects(state, suspensions(state, now), now))


def suspensions(state: State, now: str) -> tuple[Suspension, ...]:
    """Those that are not over at `now`, by scope."""
    every = (
        Suspension(
            scope=scope,
            actor=why.get("actor", ""),
            reason=why.get("reason", ""),
            time=why.get("time", ""),
            until=why.get("until", ""),
            annotated=annotated or bool(state.ref.ahead and scope == "*"),
            object=why.get("object", ""),
        )
        for annotated, table in ((False, state.suspensions()), (True, state.annotated))
        for scope, why in _sorted(table)
    )
    return tuple(one for one in every if not one.until or one.until > now)


def standings(state: State, stage: str, now: str) -> Standings:
    """How the keys of a stage stand at `now` (RFC 3339, UTC)."""
    return Standings(state, stage, _stops(suspensions(state, now)), now)


def status(state: State, now: str) -> Status:
    """What the log says at `now` (RFC 3339, UTC)."""
    suspended = suspensions(state, now)
    return Status(
        as_of=now,
        seq=state.seq,
        time=state.time,
        commit=state.ref.commit,
        accepted=state.ref.accepted,
        author=state.ref.author,
        subject=state.ref.subject,
        lost=state.ref.lost,
        lost_since=state.ref.lost_since,
        rows=tuple(_rows(state, {**state.stage(DELIVER).keys, **state.stage(DELIVER).waits}, suspended, now)),
        objects=tuple(_objects(state, suspended, now)),
        to_begin=sum(n for stage in state.stages.values() for n in stage.to_begin.values()),
        cluster_lost=tuple(
            Lost(what=what, error=why["error"], code=why["code"], since=why["since"])
            for what, why in sorted(state.lost.items())
        ),
        lease_holder=state.lease.holder,
        edges=tuple(_edge(name, seen) for name, seen in _sorted(state.edges)),
        held=_held(state),
        holds=tuple(_holds(state)),
        suspended=suspended,
        links=tuple(Refused(peer=peer, error=error) for peer, error in _sorted(state.links)),
        problems=tuple(state.all_problems),
    )


def _rows(state: State, keys: Iterable[str], suspended: tuple[Suspension, ...], now: str) -> list[Row]:
    """Those of `keys` that were ordered or wait to be; by edge, models first."""
    mine, standings = state.stage(DELIVER), Standings(state, DELIVER, _stops(suspended), now)
    found = []
    for text in keys:
        served = mine.known(text)
        if served.operation or text in mine.waits:
            key = Key.parse(text)
            held = _quarantined(key, served, mine, mine.holds.get(text, {}))
            why = mine.waits.get(text) or standings.stopped(key, served)
            waits = sentence("" if why == coded(served.code, served.message) else why, held)
            found.append(_row(key, served, state, waits, standings.of(key, served)))
    return sorted(found, key=_place)


def _place(row: Row) -> tuple[Any, ...]:
    """Where a row stands among others: by edge, models first."""
    return natural(row.edge), row.kind != "InferenceModel", row.kind, natural(row.name)


def _objects(state: State, suspended: tuple[Suspension, ...], now: str) -> Iterable[ObjectRow]:
    for stage in sorted(state.stages.keys() - {DELIVER}, key=lambda name: (name != DECLARE, name)):
        yield from _objects_of(state, stage, suspended, now)


def _objects_of(state: State, stage: str, suspended: tuple[Suspension, ...], now: str) -> Iterable[ObjectRow]:
    mine, standings = state.stage(stage), Standings(state, stage, _stops(suspended), now)
    ordered = (text for text, served in mine.keys.items() if served.operation)
    for text in sorted({*ordered, *mine.waits}, key=natural):
        served = mine.known(text)
        key, wish, pending = Key.parse(text), mine.wish(text), text in mine.waits
        standing = standings.of_object(text, served)
        waits = _is_waiting(served, standing, pending=pending or bool(wish.action))
        is_fought = served.fought > now
        there = _version_there(served)
        yield ObjectRow(
            key=text,
            stage=stage,
            kind=key.kind,
            namespace=key.namespace,
            name=key.name,
            edge=str(served.order.get("labels", {}).get(EDGE_LABEL, "")),
            wanted=wish.version if wish.action else str(served.order.get("spec", {}).get("targetVersion", "")),
            phase="Waiting" if waits else served.phase,
            since=(mine.waits_since(text) if waits else "") or served.phase_time,
            open=served.open,
            reason=served.reason,
            origin=wish.origin or served.origin,
            message="" if is_fought else served.message,
            code=served.code,
            waits=mine.waits.get(text) or standings.stopped(key, served),
            drift=standing.why if is_fought else drift_words(served.drift),
            pending=pending,
            there=there,
            stays=stays_words(served.live),
            standing=standing,
        )


def _is_waiting(served: Served, standing: Standing, *, pending: bool) -> bool:
    """Whether that a change waits is what there is to say of it: its order was answered, and well."""
    return not served.operation or (pending and not served.open and standing.word == WAITS)


def _version_there(served: Served) -> str:
    """The version that an object of the API server has: as it was applied last, or as somebody made it."""
    for one in served.drift.get("fields", ()):
        if one["field"] == "spec.targetVersion":
            return str(one.get("new") or "")
    applied = served.before if served.open else served.order
    return str(applied.get("spec", {}).get("targetVersion", ""))


def _counted(kind: str, every: Sequence[ObjectRow]) -> Counted:
    counts = tally(one.standing for one in every)
    return Counted(
        kind=kind,
        objects=len(every),
        settled=counts[AS_GIT],
        waits=counts[WAITS],
        failing=counts[FAILING],
        pending=sum(one.pending for one in every),
        drifted=sum(bool(one.drift) for one in every),
    )


def _stops(suspended: Iterable[Suspension]) -> dict[str, Stop]:
    """What is suspended -> by whom and why, until when, and what ends it."""
    return {one.scope: Stop(one.words, one.until, one.ends) for one in suspended}


def _quarantined(key: Key, served: Served, mine: StageState, holds: Mapping[str, Any]) -> str:
    """What of this key is held back that is wanted, and who lets it go; "" when nothing is.

    What nobody wants any more is no news of a row: `status --held` and `why` have it.
    """
    waits = str(key) in mine.waits
    if not holds or not (waits or served.phase in FAILED):
        return ""
    wanted = mine.wish(key).version if waits else str(served.order.get("version", ""))
    about = {digest: hold for digest, hold in holds.items() if hold.get("version", wanted) == wanted}
    if not about:
        return ""
    several = ", ".join(content_words(hold.get("version", ""), digest) for digest, hold in sorted(about.items()))
    what = "it" if served.phase in FAILED else several
    return f"{what} is held back: {quoted(f'{RELEASE}{key.edge} {named(key, served.order)}')}"


def _row(key: Key, served: Served, state: State, waits: str, standing: Standing) -> Row:
    order, live, seen = served.order, served.live, state.edges.get(key.edge, UNHEARD)
    silent, mine = untold(key, served, state), state.stage(DELIVER)
    wish = mine.wish(key)
    is_waiting = _is_waiting(served, standing, pending=bool(wish.action))
    against, unproven = seen.error or silent or served.message, unproven_words(live)
    return Row(
        key=str(key),
        edge=key.edge,
        kind=key.kind,
        name=key.name,
        model=named(key, order),
        wanted=wish.version if wish.action else str(order.get("version", "")),
        serving=str(live.get("version", "")),
        phase="Waiting" if is_waiting else served.phase,
        since=(mine.waits_since(key) if is_waiting else "") or served.phase_time,
        open=served.open or bool(silent),
        pinned=served.reason.startswith(PINNED),
        reason=served.reason,
        origin=wish.origin or served.origin,
        url=str(live.get("url", "")),
        message=against or unproven,
        code="" if seen.error or silent else UNPROVEN if unproven and not against else served.code,
        waits=waits,
        unknown_since="" if seen.present else seen.since or NEVER,
        last_sequence=seen.last_sequence,
        standing=standing,
        digest=str(live.get("digest") or live.get("sha256") or ""),
    )


def _edge(name: str, seen: EdgeSeen) -> Edge:
    return Edge(
        name=name,
        present=seen.present,
        since=seen.since or NEVER,
        last_time=seen.last_time,
        last_sequence=seen.last_sequence,
    )


def _held(state: State) -> Held | None:
    """Of several that are held the first by the name of its stage: one is released after the other."""
    held = next((stage.held_plan for _, stage in sorted(state.stages.items()) if stage.held_plan), None)
    if held is None:
        return None
    return Held(
        digest=held.digest,
        reason=held.reason,
        commit=held.commit,
        time=held.time,
        counts=dict(held.counts),
        keys=tuple(held.keys),
    )


def _holds(state: State) -> list[Hold]:
    return [
        Hold(
            key=key,
            digest=digest,
            code=hold["code"],
            reason=hold["reason"],
            time=hold["time"],
            version=hold.get("version", ""),
            model=named(Key.parse(key), state.stage(DELIVER).known(key).order),
        )
        for key, digests in _sorted(state.stage(DELIVER).holds)
        for digest, hold in sorted(digests.items())
    ]


def coded(code: str, message: str) -> str:
    """A message behind its code, where it has one."""
    return f"{code}: {message}" if code else message


def sentence(*parts: str) -> str:
    """What is said one after the other; parts that are "" say nothing."""
    return "; ".join(filter(None, parts))


def age(since: str, now: str) -> str:
    """How long ago `since` was, in its largest unit: `12s`, `3m`, `2h`, `5d`; "" where there is no time."""
    if not since or since == NEVER:
        return ""
    seconds = max(0, int((datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
