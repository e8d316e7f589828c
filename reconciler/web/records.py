"""The log in words, an event a record: which are asked for, and what is said of each. May import: history, wiring.

In: entries of a log and what a person named.  Out: Records, to `history`, `run` and /api/v1/history.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from time import time as time_now
from typing import TYPE_CHECKING, Any, Final

import msgspec

from reconciler.errors import NameUnknown, UsageError
from reconciler.history.events import (
    APPLY_INTENDED,
    ARTIFACT_EVICTED,
    ARTIFACT_STAGED,
    ARTIFACT_VERIFIED,
    RECONCILE_RESUMED,
    RECONCILE_SUSPENDED,
    REF_ADVANCED,
    Entry,
    Event,
    rfc3339,
)
from reconciler.history.keys import DECLARE, DELIVER, Key, stage_of
from reconciler.history.state import State
from reconciler.history.timeline import subject, words
from reconciler.history.why import Find, stands_elsewhere
from reconciler.natural import in_order, listed
from reconciler.planning.names import Sought
from reconciler.web.chosen import ALL, NAMES, Chosen, chosen
from reconciler.web.moments import moment

if TYPE_CHECKING:
    from reconciler.wiring.past import Past

CONTENTS: Final = frozenset({ARTIFACT_STAGED, ARTIFACT_VERIFIED, ARTIFACT_EVICTED})  # what names bytes
SUSPENSIONS: Final = frozenset({RECONCILE_SUSPENDED, RECONCILE_RESUMED})
LOOK_S: Final = 0.2  # between two looks at a log that another process writes


@dataclass(frozen=True, slots=True)
class Record:
    """One event. time: when it happened, by the clock of whoever says so.  cause: the id of another event."""

    seq: int
    id: str
    time: str
    recorded_time: str
    type: str
    source: str
    edge: str
    model: str
    subject: str
    actor: str
    commit: str
    cause: str
    operation: str
    text: str


@dataclass(frozen=True)
class Wanted:
    """Which events are asked for; "" is no condition.

    choice: what they are about, and keys: of that, as the log knows it now.  commit: what it brought about.  author:
    what commits of people whose name or address has this text brought about.  actor: who did it.  type: how its type
    begins, as `apply.failed`.  after: behind which entry to begin.  until: before which time (RFC 3339).  limit: only
    the newest so many; 0 is all.  cursor: an entry's number: a page of what is behind it, so that `limit` takes the
    oldest instead.
    """

    choice: Chosen = ALL
    commit: str = ""
    author: str = ""
    actor: str = ""
    type: str = ""
    after: int = 0
    until: str = ""
    limit: int = 0
    cursor: int | None = None
    authored: set[str] = field(default_factory=set, compare=False)  # commits of the author; grows as they are read

    @classmethod
    def of(cls, said: Mapping[str, str], past: "Past") -> "Wanted":
        """As a request names it. Raises NameUnknown, NameAmbiguous, UsageError: names that this log never had."""
        until = moment(said["until"]) if said.get("until") else ""
        found = cls(
            _choice(said, past),
            commit=said.get("commit", ""),
            author=said.get("author", ""),
            actor=said.get("actor", ""),
            type=said.get("type", ""),
            after=_after(said.get("since", ""), until, past),
            until=until,
            limit=number(said, "limit"),
            cursor=number(said, "cursor") if said.get("cursor") else None,
        )
        found._require_commits(past)
        return found

    def _require_commits(self, past: "Past") -> None:
        """Learn which commits are the author's. Raises NameUnknown where there is no such commit or author."""
        if not (self.commit or self.author):
            return
        read = [entry.event for entry in past.log.read(stream="git") if entry.event.type == REF_ADVANCED]
        if self.commit and not any(event.gitcommit.startswith(self.commit) for event in read):
            newest = f"the newest is {read[-1].gitcommit[:12]}" if read else "none was read yet"
            raise NameUnknown(f"commit {self.commit} was never read here", hint=newest)
        self.authored.update(event.gitcommit for event in read if _has(self.author, str(event.data["author"])))
        if self.author and not self.authored:
            people = in_order(str(event.data["author"]) for event in read)
            raise NameUnknown(f"no commit here is by {self.author}", hint=f"there is {listed(people) or 'none yet'}")

    def has(self, entry: Entry) -> bool:
        """Whether this one is."""
        event = entry.event
        if self.commit and not event.gitcommit.startswith(self.commit):
            return False
        if self.author and not self._is_authors(event):
            return False
        if self.until and (event.recordedtime or event.time) >= self.until:
            return False
        if not (_has(self.actor, event.actor) and event.type.startswith(self.type)):
            return False
        return self._is_chosen(event)

    def _is_authors(self, event: Event) -> bool:
        if event.type == REF_ADVANCED and _has(self.author, str(event.data["author"])):
            self.authored.add(event.gitcommit)
        return event.gitcommit in self.authored

    def _is_chosen(self, event: Event) -> bool:
        """Whether it is about what was chosen: as the log knows that now, or as the event itself names it."""
        choice = self.choice
        if choice.keys is None or event.subject in choice.keys or _scope(event) in choice.scopes:
            return True
        if choice.sought.what is not None and not is_about(choice.sought, event):
            return False
        if choice.edges is None or subject(event)[0] in choice.edges:
            return True
        return any(_is_object_of(name, event) for name in choice.edges)


def _has(text: str, within: str) -> bool:
    return text.lower() in within.lower()


def _scope(event: Event) -> str:
    """What an event suspends, or has go on."""
    return str(event.data.get("scope") or "") if event.type in SUSPENSIONS else ""


def is_about(sought: Sought, event: Event) -> bool:
    """Whether an event is, by what it says itself, about what was asked for."""
    if sought.edge and subject(event)[0] != sought.edge and not _is_object_of(sought.edge, event):
        return False
    key = Key.named(event.subject)
    return sought.what is None or (key is not None and sought.what.is_of(key, event.data.get("spec") or {}))


def _choice(said: Mapping[str, str], past: "Past") -> Chosen:
    """What the events are about. What is gone from the fold still has its events."""
    if not any(said.get(name) for name in (*NAMES, "selector")):
        return Chosen()
    return chosen(past, past.replay.at(), said, lambda sought: any(is_about(sought, e.event) for e in past.log.read()))


def _is_object_of(edge: str, event: Event) -> bool:
    """Whether an event is about an Edge of this name at the API server, or by its name what a set makes for it."""
    key = Key.named(event.subject)
    if key is None or stage_of(event.partitionkey) != DECLARE:
        return False
    return key.name == edge if key.kind == "Edge" else key.name.endswith(f"-{edge}")


class Contents:
    """Of which version a content is, by the orders that were seen: what an older agent says of bytes is a digest."""

    def __init__(self, state: State | None = None) -> None:
        """state: what is ordered now, where the log is not read from its beginning."""
        self._versions: dict[str, str] = {}
        for served in state.stage(DELIVER).keys.values() if state is not None else ():
            for spec in (served.before, served.order):
                self._see(spec)

    def _see(self, spec: Mapping[str, Any]) -> None:
        if spec.get("sha256") and spec.get("version"):
            self._versions[str(spec["sha256"])] = str(spec["version"])

    def named(self, event: Event) -> Event:
        """The same event, with the version where it has none; what it orders is known from here on."""
        if event.type == APPLY_INTENDED:
            self._see(event.data.get("spec") or {})
        version = self._versions.get(str(event.data.get("sha256", ""))) if event.type in CONTENTS else None
        if version is None or event.data.get("version"):
            return event
        return msgspec.structs.replace(event, data={**event.data, "version": version})


def record(entry: Entry, find: Find | None = None, contents: Contents | None = None) -> Record:
    """One event, in words. find: another by its id, to say where its cause stands.  contents: see there."""
    event = entry.event if contents is None else contents.named(entry.event)
    elsewhere = find is not None and stands_elsewhere(entry, find)
    edge, model = subject(event)
    return Record(
        seq=entry.seq,
        id=event.id,
        time=event.time,
        recorded_time=event.recordedtime,
        type=event.type,
        source=event.source,
        edge=edge,
        model=model,
        subject=event.subject,
        actor=event.actor,
        commit=event.gitcommit,
        cause=event.causationid,
        operation=event.operationid,
        text=words(event) + ("; its cause stands in the hub's log only" if elsewhere else ""),
    )


def past_records(past: "Past", wanted: Wanted, head: int) -> Iterator[Record]:
    """What was asked for, oldest first, up to the entry `head`; read as it is taken."""
    after = max(wanted.after, wanted.cursor or 0)
    upto = min(head, past.log.seq_at(_before(wanted.until))) if wanted.until else head
    contents = Contents(past.replay.at() if after or wanted.limit else None)
    entries = (entry for entry in past.log.read(after, upto) if wanted.has(entry))
    if wanted.cursor is not None:
        taken: Iterable[Entry] = islice(entries, wanted.limit or None)
    else:
        taken = _newest(entries, wanted.limit) if wanted.limit else entries
    return (record(entry, past.log.find, contents) for entry in taken)


def _newest(entries: Iterable[Entry], many: int) -> Iterator[Entry]:
    yield from deque(entries, maxlen=many)


def number(said: Mapping[str, str], name: str) -> int:
    """A number of a request; 0 without one. Raises UsageError."""
    text = said.get(name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError(f"{name}={text[:20]!r} is not a number", hint=f"write {name}=100")
    return int(text)


def _after(since: str, until: str, past: "Past") -> int:
    """The entry behind which to begin. Raises UsageError for a time to come, or one that `until` is not after."""
    if not since:
        return 0
    if since.isascii() and since.isdigit() and len(since) < 8:
        return int(since)
    begin = moment(since)
    after = max(0, past.log.seq_at(_before(begin)))
    if begin > rfc3339(time_now()) and after == past.log.head().seq:  # a log may be ahead of this clock
        raise UsageError(f"since {since}: that is still to come", hint="give a time that has passed")
    if until and until <= begin:
        raise UsageError(
            f"nothing is both since {begin[:19]}Z and before {until[:19]}Z", hint="give `until` the later time"
        )
    return after


def _before(time: str) -> str:
    """The microsecond before `time`, so that what was recorded at that very time is shown too."""
    return (datetime.fromisoformat(time) - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
