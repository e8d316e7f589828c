"""Whether a commit is live, and else what holds it. May import: history. Pure.

In: the status at one time, and the log since the commit was read.  Out: Awaited. Live is a commit that is accepted, or
that a newer one contains which is, when none of what was planned since it is still to be begun, open, waiting, refused
or drifted. Of nothing else is said whether it is as Git says: that is what `status` is for.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reconciler.history import events as ev
from reconciler.history import standing as standings
from reconciler.history.events import Entry
from reconciler.history.status import ObjectRow, Row, Status
from reconciler.history.timeline import labelled
from reconciler.history.times import shown
from reconciler.natural import in_order
from reconciler.wording import general, grouped, names, of_all, together

LIVE, MOVING, WAITS, FAILING, REFUSED, UNREAD = "live", "under way", "waits", "failing", "refused", "unread"
WORST: Final = (REFUSED, FAILING, WAITS, UNREAD, MOVING)  # of several things that hold it the first one is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One thing that holds it.

    word: one of `under way`, `waits`, `failing`, `refused`, `unread`.  by_itself: whether it may end without anybody.
    until: when that is looked at next (RFC 3339), "" where it is no matter of time.  ends: a command, or in words what
    somebody does, that ends it.  edge, model: of a row of the status, or the edge for which a document is refused.
    """

    what: str
    word: str
    why: str
    by_itself: bool = False
    until: str = ""
    ends: str = ""
    edge: str = ""
    model: str = ""

    @property
    def words(self) -> str:
        """It, in one line."""
        tried = f"; again at {shown(self.until)}" if self.until else ""
        ends = standings.quoted(self.ends)
        return f"{self.what}: {self.word}: {self.why}{tried}" + (f"; {ends}" if ends else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """How it stands with a commit. accepted, read: the hub's newest ones.  keys: how many things it is about.

    seq: behind which entry of the log it was read; 0 where that is not known.  concerns: whether its plan is about
    anything of what was asked about.
    """

    commit: str
    accepted: str
    read: str
    word: str
    keys: int
    holds: tuple[Hold, ...] = ()
    seq: int = 0
    concerns: bool = True


def alike(holds: Iterable[Hold], *, each: bool = False) -> list[Hold]:
    """The same, those that differ only in what they are about, and in when that is tried again, as one, which counts
    them and names them, with the first such time. each: one by one.
    """
    holds = list(holds)
    every = Counter(hold.model for hold in holds if hold.ends.startswith(standings.RELEASE))
    return [
        those[0]
        if len(those) == 1
        else replace(
            hold,
            what=_listed(those),
            until=min((one.until for one in those if one.until), default=""),
            why=of_all((one.why, _own(one)) for one in those),
            ends=of_all((one.ends, _own(one, is_all=len(those) == every[one.model])) for one in those),
        )
        for hold, those in grouped(((_of_any(hold), hold) for hold in holds), each=each)
    ]


def _of_any(hold: Hold) -> Hold:
    """The same, whatever it is about."""
    own = _own(hold)
    why, ends = general(hold.why, own), general(hold.ends, own)
    return replace(hold, what=_subject(hold), edge="", until="", why=why, ends=ends)


def _own(hold: Hold, *, is_all: bool = False) -> dict[str, str]:
    """is_all: whether of its model no other edge is held so."""
    whole = together(hold.edge, hold.model) if is_all else {}
    return whole | {hold.edge: "EDGE", shown(hold.until): "TIME"}


def _subject(hold: Hold) -> str:
    """What is held, on whichever edge; "" of what is on none."""
    return hold.what.removeprefix(f"{hold.edge} ") if hold.edge else ""


def _listed(those: Sequence[Hold]) -> str:
    if not those[0].edge:
        return f"{len(those)} ({names(one.what for one in those)})"
    edges = in_order(one.edge for one in those)
    return f"{_subject(those[0])} on {len(edges)} edges ({names(edges)})"


class Line:
    """The commits that the followed branch had, in the order in which they were read, as far as it still has them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """entries: of the stream `git`."""
        self.commits: dict[str, Entry] = {}
        is_rewritten = False
        for entry in entries:
            if entry.event.type == ev.REF_REWRITTEN:
                is_rewritten = True
            elif entry.event.type == ev.REF_ADVANCED:
                if is_rewritten:
                    self._back_to(entry.event.data.get("parents", ()))
                    is_rewritten = False
                self.commits[entry.event.gitcommit] = entry

    def _back_to(self, parents: Iterable[str]) -> None:
        """Forget what the branch has no more: what was read behind a parent of the first new commit."""
        known = list(self.commits)
        last = max((known.index(parent) for parent in parents if parent in self.commits), default=-1)
        for commit in known[last + 1 :]:
            del self.commits[commit]

    def named(self, text: str) -> list[str]:
        """The commits whose ids begin so."""
        return [commit for commit in self.commits if commit.startswith(text)]

    def since(self, commit: str) -> list[str]:
        """It, and what was read behind it: all of that contains it, or is contained by what does."""
        known = list(self.commits)
        return known[known.index(commit) :]


def awaited(  # one question
    seen: Status, line: Line, entries: Iterable[Entry], commit: str, *, of: frozenset[str] | None = None, seq: int = 0
) -> Awaited:
    """How it stands with a commit that was read, or ("") with everything.

    entries: of the log, behind where the commit was read.  of: the keys alone that are asked about.  seq: see Awaited.
    """
    newer = line.since(commit) if commit else []
    keys = _planned(entries, frozenset(newer)) if commit else None
    every: tuple[Row | ObjectRow, ...] = (*seen.rows, *seen.objects)
    rows = [one for one in every if (keys is None or one.key in keys) and (of is None or one.key in of)]
    mine = frozenset(one.key for one in rows) if keys is None else keys
    holds = [
        *_of_documents(seen, [line.commits[one] for one in newer], mine),
        *_of_plans(seen, newer, is_all=not commit),
        *(hold for hold in map(_of_row, rows) if hold is not None),
    ]
    others = frozenset(one.key for one in every) - (of or frozenset())  # what is gone may be of what was named
    concerns = keys is None or of is None or not keys <= others
    return replace(_judged(seen, commit or seen.commit, holds, len(rows)), seq=seq, concerns=concerns)


def unread(seen: Status, commit: str, why: str, *, is_never: bool = False) -> Awaited:
    """How it stands with a commit that the hub has not read. is_never: nor will."""
    hold = Hold(what=f"commit {commit[:12]}", word=UNREAD, why=why, by_itself=not is_never)
    return _judged(seen, commit, [hold], 0)


def unserved(found: Awaited, where: str, *, has_log: bool) -> Awaited:
    """The same where no reconciler runs: what its log says, if there is one, is of the past, so nothing is live."""
    what = "and what its log says is of the past" if has_log else "nor is a log there"
    why, ends = f"no reconciler runs at {where}, {what}", "start it, or name another by --state"
    hold = Hold(what="the hub", word=UNREAD, why=why, by_itself=True, ends=ends)
    return replace(found, word=UNREAD, holds=(hold, *found.holds))


def _judged(seen: Status, commit: str, holds: list[Hold], keys: int) -> Awaited:
    words = {hold.word for hold in holds}
    word = next((one for one in WORST if one in words), LIVE)
    return Awaited(commit=commit, accepted=seen.accepted, read=seen.commit, word=word, keys=keys, holds=tuple(holds))


def _planned(entries: Iterable[Entry], commits: frozenset[str]) -> frozenset[str]:
    """The keys that the plans of these commits are about: what they order, and what of them waits or is held."""
    keys: set[str] = set()
    for _, _, event, origin in entries:
        if event.type == ev.STEPS_WAITING:
            keys |= {key for reason, those in event.data["waits"].items() if reason for key in those}
        if origin is not None or event.gitcommit not in commits:
            continue
        if event.type == ev.APPLY_INTENDED:
            keys.add(event.subject)
        elif event.type == ev.CHANGE_PLANNED:
            keys |= set(event.data.get("keys", ()))
    return frozenset(keys)


def _of_documents(seen: Status, read: Sequence[Entry], keys: frozenset[str]) -> Iterable[Hold]:
    """What is refused in a file that these commits changed, or of these keys; all of it where it is about no commit."""
    files = {path for entry in read for path in entry.event.data.get("files", ())}
    for problem in seen.problems:
        if problem.get("severity", "error") != "error":
            continue
        path = str(problem.get("path", ""))
        if not read or path in files or path in keys:
            place = f"{path}:{problem.get('line', 1)}"
            why = f"{problem['code']}: {problem['message']}"
            yield Hold(what=place, word=REFUSED, why=why, edge=str(problem.get("edge", "")))


def _of_plans(seen: Status, newer: list[str], *, is_all: bool) -> Iterable[Hold]:
    held = seen.held
    if held is not None and (is_all or held.commit in newer):
        why, ends = f"it is held: {held.reason}", f"reconciler approve {held.digest}"
        yield Hold(what=f"plan {held.digest}", word=WAITS, why=why, ends=ends)
    elif (seen.commit != seen.accepted) if is_all else seen.accepted not in newer:
        why = seen.lost or "it was read and has no plan yet"
        yield Hold(what=f"commit {seen.commit[:12]}", word=MOVING, why=why, by_itself=True)
    if seen.to_begin:
        yield Hold(what="the plan", word=MOVING, why=f"{seen.to_begin} more to begin", by_itself=True)
    for lost in seen.cluster_lost:
        why = f"it cannot be read since {shown(lost.since)}: {lost.error}"
        yield Hold(what=lost.what, word=MOVING, why=why, by_itself=True)


def _of_row(one: Row | ObjectRow) -> Hold | None:
    """What holds a row; None where it is as Git says."""
    standing = one.standing
    what = f"{one.edge} {labelled(one.kind, one.model)}" if isinstance(one, Row) else one.key
    if standing.is_as_git:
        return None
    is_under_way = one.under_way if isinstance(one, Row) else one.open
    word = FAILING if standing.word == standings.FAILING else MOVING if is_under_way else WAITS
    return Hold(
        what=what,
        word=word,
        why=standing.why,
        by_itself=is_under_way or bool(standing.until or standing.again),
        until=standing.until,
        ends=standing.ends,
        edge=one.edge if isinstance(one, Row) else "",
        model=one.model if isinstance(one, Row) else "",
    )
