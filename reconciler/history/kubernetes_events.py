"""Kubernetes Events made of the log, for `kubectl get events`. May import: history. Pure.

In: entries of the log.  Out: `Told`, one an object's change; of more than 20 of one commit, kind and reason, one sum.
They expire and are no audit: the log is. Names are made of the log's own ids, so that one written again is the same.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.history.keys import DELIVER, Key, stage_of
from reconciler.history.timeline import words

MOST: Final = 20  # of one commit, kind and reason that are told one by one
LONGEST: Final = 1024  # of a note (events.k8s.io/v1)
REMEMBERED: Final = 4096
NORMAL, WARNING = "Normal", "Warning"
FLEET: Final = Key("Fleet", "", "", "")  # stands for the Fleet, whatever its name

DONE: Final = {"create": "Applied", "update": "Applied", "delete": "Deleted"}
REASONS: Final = {
    ev.APPLY_CONFLICTED: (WARNING, "Conflict"),
    ev.DRIFT_FOUGHT: (WARNING, "Conflict"),
    ev.DRIFT_RESOLVED: (NORMAL, "DriftResolved"),
    ev.OBJECT_ADOPTED: (NORMAL, "Adopted"),
    ev.MODEL_ACTIVATED: (NORMAL, "Activated"),
    ev.MODEL_ROLLEDBACK: (WARNING, "RolledBack"),
    ev.MODEL_DEGRADED: (WARNING, "Degraded"),
    ev.CHANGE_APPROVED: (NORMAL, "PlanApproved"),
    ev.RECONCILE_SUSPENDED: (NORMAL, "Suspended"),
    ev.RECONCILE_RESUMED: (NORMAL, "Resumed"),
    ev.REF_LOST: (WARNING, "GitUnavailable"),
    ev.REF_FOUND: (NORMAL, "GitAvailable"),
    ev.REF_REWRITTEN: (WARNING, "HistoryRewritten"),
}


class Told(NamedTuple):
    """One Event to be. about: an object, or FLEET.  uid: of the object, as far as the log knows it.

    name: unique and the same each time.  seq: of the entry (of a sum, the last one).
    """

    name: str
    about: Key
    uid: str
    type: str
    reason: str
    note: str
    time: str
    commit: str
    operation: str
    seq: int


class _Group:
    """What is to be told of one commit, kind and reason: all while they are few, else some names and a count."""

    def __init__(self) -> None:
        self.few: list[Told] = []
        self.count = 0

    def add(self, told: Told) -> None:
        self.count += 1
        if len(self.few) > MOST:
            self.few.pop()  # the last one stays, for its time and its entry
        self.few.append(told)


class Announcer:
    """Makes Events of entries. `hear` is cheap and keeps little; it and `take` are called by one thread at a time."""

    def __init__(self) -> None:
        self._intents: dict[str, Event] = {}  # operation -> the intent that waits for its outcome
        self._drifts: dict[str, Event] = {}  # event id -> the drift that an intent takes back
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._told_of = ("", Counter[tuple[str, str]]())  # of one commit: (kind, reason) -> told so far

    def hear(self, entries: Iterable[Entry]) -> bool:
        """Take in what the log has now; whether there is something to tell."""
        for entry in entries:
            told = self._told(entry)
            if told is not None:
                self._groups.setdefault((told.commit, told.about.kind, told.reason), _Group()).add(told)
        return bool(self._groups)

    def take(self) -> list[Told]:
        """What is to be told of what was heard since the last time."""
        groups, self._groups = self._groups, {}
        found: list[Told] = []
        for (commit, kind, reason), group in groups.items():
            before = 0
            if commit:
                if self._told_of[0] != commit:
                    self._told_of = (commit, Counter())
                before = self._told_of[1][kind, reason]
                self._told_of[1][kind, reason] += group.count
            found += group.few if before + group.count <= MOST else [_sum(group)]
        return found

    def _told(self, entry: Entry) -> Told | None:
        event, on_edge = entry.event, stage_of(entry.event.partitionkey) == DELIVER
        key = Key.named(event.subject)
        about = FLEET if key is None else key._replace(edge="")
        match event.type:
            case ev.APPLY_INTENDED if not on_edge:
                self._intents[event.operationid] = event
                return None
            case ev.DRIFT_DETECTED:
                return self._drifted(entry, about)
            case ev.APPLY_SUCCEEDED | ev.APPLY_FAILED if not on_edge:
                return self._done(entry, about)
            case ev.APPLY_FAILED:
                return _as(entry, about, WARNING, str(event.data.get("phase", "Rejected")))
            case ev.APPLY_ABANDONED:
                self._intents.pop(event.operationid, None)
                return None
            case ev.CHANGE_PLANNED:
                return _as(entry, FLEET, WARNING, "PlanHeld") if event.data.get("held") else None
            case ev.RECONCILE_SUSPENDED | ev.RECONCILE_RESUMED:
                about = scope_key(str(event.data["scope"]))
            case ev.MANIFESTS_CHECKED:
                return _as(entry, FLEET, WARNING, "BuildFailed") if any(event.data["problems"].values()) else None
        reason = REASONS.get(event.type)
        return None if reason is None else _as(entry, about, *reason)

    def _drifted(self, entry: Entry, about: Key) -> Told | None:
        """What is taken back is told once it was; what is left, now."""
        if entry.event.data["policy"] == "correct":
            self._drifts[entry.event.id] = entry.event
            if len(self._drifts) > REMEMBERED:  # of what was never taken back: suspended, gone
                del self._drifts[next(iter(self._drifts))]
            return None
        return _as(entry, about, WARNING, "DriftReported")

    def _done(self, entry: Entry, about: Key) -> Told | None:
        event = entry.event
        intent = self._intents.pop(event.operationid, None)
        drift = self._drifts.pop(intent.causationid, None) if intent is not None else None
        if event.type == ev.APPLY_FAILED:
            return _as(entry, about, WARNING, "ApplyFailed")
        if intent is None:
            return None
        if drift is not None:
            return _as(entry, about, WARNING, "DriftCorrected", words(drift))
        action = str(intent.data["action"])
        uid = str(intent.data.get("found", {}).get("uid", "")) if action == "delete" else ""
        return _as(entry, about, NORMAL, DONE[action], words(intent), uid)


def scope_key(scope: str) -> Key:
    """What a suspension is about: everything, an edge, or one object."""
    if scope == "*":
        return FLEET
    return (Key.named(scope) or Key("Edge", "", scope, ""))._replace(edge="")


def _as(entry: Entry, about: Key, type_: str, reason: str, note: str = "", uid: str = "") -> Told:  # noqa: PLR0917
    event = entry.event
    said = note or words(event)
    return Told(
        name=_name(about, reason, event.id),
        about=about,
        uid=uid or str((event.data.get("live") or {}).get("uid", "") or event.data.get("uid", "")),
        type=type_,
        reason=reason,
        note=said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…",
        time=event.time,
        commit=event.gitcommit,
        operation=event.operationid,
        seq=entry.seq,
    )


def _name(about: Key, reason: str, *parts: str) -> str:
    """`<object>.<16 hexadecimal digits>`, as other writers of Events name them."""
    digest = hashlib.sha256("\x1f".join((str(about), reason, *parts)).encode()).hexdigest()[:16]
    return f"{(about.name or 'fleet')[:200]}.{digest}"


def _sum(group: _Group) -> Told:
    """One for all of them."""
    first, last = group.few[0], group.few[-1]
    names = ", ".join(one.about.name for one in group.few[:3])
    more = f" and {group.count - 3} more" if group.count > 3 else ""
    return last._replace(
        name=_name(FLEET, first.reason, first.name, last.name),
        about=FLEET,
        uid="",
        note=f"{group.count} of kind {first.about.kind}: {names}{more}",
        operation="",
    )
