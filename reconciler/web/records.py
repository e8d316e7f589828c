"""The log in words, an event a record: which are asked for, and what is said of each. May import: history, wiring.

In: entries of a log and what a person named.  Out: Records, to `history`, `run` and /api/v1/history.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from reconciler.errors import NameUnknown, UsageError
from reconciler.history.events import (
    APPLY_INTENDED,
    ARTIFACT_EVICTED,
    ARTIFACT_STAGED,
    ARTIFACT_VERIFIED,
    REF_ADVANCED,
    Entry,
    Event,
)
from reconciler.history.keys import DECLARE, DELIVER, Key, stage_of
from reconciler.history.state import State
from reconciler.history.timeline import named, subject, words
from reconciler.history.why import Find, stands_elsewhere
from reconciler.web.moments import moment

if TYPE_CHECKING:
    from reconciler.wiring.past import Past

CONTENTS: Final = frozenset({ARTIFACT_STAGED, ARTIFACT_VERIFIED, ARTIFACT_EVICTED})  # what names bytes
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

    since: a time (RFC 3339) or an entry's number, behind which to begin.  limit: only the newest so many; 0 is all.
    cursor: an entry's number: a page of what is behind it, so that `limit` takes the oldest instead.
    """

    edge: str = ""
    model: str = ""
    commit: str = ""
    since: str = ""
    limit: int = 0
    cursor: int | None = None

    @classmethod
    def of(cls, said: Mapping[str, str]) -> "Wanted":
        """As a request names it. Raises UsageError."""
        names = {name: said.get(name, "") for name in ("edge", "model", "commit", "since")}
        cursor = _number(said, "cursor") if said.get("cursor") else None
        return cls(**names, limit=_number(said, "limit"), cursor=cursor)

    def has(self, entry: Entry) -> bool:
        """Whether this one is."""
        event = entry.event
        if self.commit and not event.gitcommit.startswith(self.commit):
            return False
        if self.edge and subject(event)[0] != self.edge and not _is_object_of(self.edge, event):
            return False
        if not self.model:
            return True
        key = Key.named(event.subject)
        return key is not None and self.model in {key.name, named(key, event.data.get("spec") or {})}


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
    """What was asked for, oldest first, up to the entry `head`; read as it is taken. Raises NameUnknown, UsageError."""
    _require_known(wanted, past)
    after = max(_after(wanted.since, past), wanted.cursor or 0)
    contents = Contents(past.replay.at() if after or wanted.limit else None)
    entries = (entry for entry in past.log.read(after, head) if wanted.has(entry))
    if wanted.cursor is not None:
        taken: Iterable[Entry] = islice(entries, wanted.limit or None)
    else:
        taken = _newest(entries, wanted.limit) if wanted.limit else entries
    return (record(entry, past.log.find, contents) for entry in taken)


def _newest(entries: Iterable[Entry], many: int) -> Iterator[Entry]:
    yield from deque(entries, maxlen=many)


def _number(said: Mapping[str, str], name: str) -> int:
    text = said.get(name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError(f"{name}={text[:20]!r} is not a number", hint=f"write {name}=100")
    return int(text)


def _require_known(wanted: Wanted, past: "Past") -> None:
    """Refuse names that this log never had: nothing would ever be shown for them. Raises NameUnknown."""
    if not (wanted.edge or wanted.model or wanted.commit):
        return
    now = past.replay.at()
    every = [(Key.parse(text), served.order) for stage in now.stages.values() for text, served in stage.keys.items()]
    objects = {key.name for key in map(Key.parse, now.stage(DECLARE).keys) if key.kind == "Edge"}
    edges = {*now.edges, *now.links, *objects, *(key.edge for key, _ in every if key.edge)}
    if wanted.edge and wanted.edge not in edges and not _ever(Wanted(edge=wanted.edge), past):
        raise NameUnknown(f"the log has no edge {wanted.edge}", hint=f"it has {', '.join(sorted(edges)) or 'none yet'}")
    models = {named(key, order) for key, order in every}
    if wanted.model and wanted.model not in models and not _ever(Wanted(model=wanted.model), past):
        has = ", ".join(sorted(models)) or "none yet"
        raise NameUnknown(f"the log has no model, dataset or object {wanted.model}", hint=f"it has {has}")
    if wanted.commit and not any(
        entry.event.type == REF_ADVANCED and entry.event.gitcommit.startswith(wanted.commit)
        for entry in past.log.read(stream="git")
    ):
        newest = f"the newest is {now.ref.commit[:12]}" if now.ref.commit else "none was read yet"
        raise NameUnknown(f"commit {wanted.commit} was never read here", hint=newest)


def _ever(wanted: Wanted, past: "Past") -> bool:
    """Whether the log, which may have forgotten in its fold what is gone, has an event of it."""
    return any(wanted.has(entry) for entry in past.log.read())


def _after(since: str, past: "Past") -> int:
    if not since:
        return 0
    if since.isascii() and since.isdigit() and len(since) < 8:
        return int(since)
    return max(0, past.log.seq_at(_before(moment(since))))


def _before(time: str) -> str:
    """The microsecond before `time`, so that what was recorded at that very time is shown too."""
    return (datetime.fromisoformat(time) - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
