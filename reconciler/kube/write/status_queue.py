"""The status queue: objects whose status may be due, and its content. May import: engine, history, planning, kube.

In: entries of the log, changes in the cluster: they say what may have changed.  Out: the objects that this concerns,
and for each the status as history.object_status has it. kube.write.status_writer writes it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from reconciler.engine.recorder import Recorder
from reconciler.errors import Defect, ReconcilerError
from reconciler.history import events as ev
from reconciler.history.conditions import FAILED, UNKNOWN, Verdict, conditions
from reconciler.history.events import Entry, rfc3339
from reconciler.history.keys import DECLARE, DELIVER, Key, set_scope, stage_of
from reconciler.history.object_status import Around, published
from reconciler.history.standing import Standings
from reconciler.history.status import standings
from reconciler.history.times import is_over
from reconciler.kube.client.resources import OURS
from reconciler.kube.watch.cache import Cache
from reconciler.kube.watch.object import Live
from reconciler.kube.write.annotations import Annotations
from reconciler.kube.write.dependents import Dependents
from reconciler.model.identity import EDGE, EDGE_LABEL, POLICY, Identity
from reconciler.planning.declared import Declared
from reconciler.planning.freeze import frozen
from reconciler.planning.kinds import KINDS, is_wide, scope_of
from reconciler.planning.look import held_by

Beside = Callable[[Key], Verdict | None]
PART: Final = 500  # notes that are resolved in one turn of the loop

EVERYTHING, THE_FLEET = "everything", "fleet"
AN_EDGE, WIDELY = "edge:", "all of:"  # what stands behind them: an edge; a key whose suspension is about others too


class StatusQueue:
    """Objects whose status is due. `hear`, `touch` and `again` are called from any thread, the rest from the loop's.

    dirty: the objects whose status is to be looked at; whoever does takes them out.
    """

    def __init__(
        self,
        cache: Cache,
        recorder: Recorder,
        asked: Annotations,
        *,
        declared: Callable[[], Declared],
        fleet: Callable[[], Mapping[str, Any]],
        branch: str,
        install: str = "",
    ) -> None:
        """declared: what Git says.  fleet: the policy in force.  install: of another one's objects nothing is told."""
        self._cache, self._record, self._asked = cache, recorder, asked
        self._declared, self._fleet, self._branch, self.install = declared, fleet, branch, install
        self._gathered = Dependents(declared)
        self._lock = threading.Lock()
        self._marked: set[str] = set()
        self._unresolved: list[str] = []
        self.dirty: dict[Key, None] = {}
        self._due: dict[Key, str] = {}  # when it is told anew by itself: RFC 3339
        self.beside: dict[str, Beside] = {}  # by the type of a condition, what a further stage says of an object
        self._now = ""  # of this turn, as is what annotations suspend
        self._wide: Mapping[str, Mapping[str, str]] = {}
        self._standings: Standings | None = None

    # ── what may have changed ─────────────────────────────────────────────────────────────────────────────────────

    def hear(self, entries: list[Entry]) -> None:
        """New entries of the log."""
        with self._lock:
            for entry in entries:
                self._marked.update(_marks(entry))

    def touch(self, key: Key) -> None:
        """An object is not as it was in the cluster."""
        with self._lock:
            self._marked.add(f"{WIDELY}{key}" if is_wide(key.kind) else str(key))

    def all_again(self) -> None:
        """What could not be written for want of a right may be now."""
        with self._lock:
            self._marked.add(EVERYTHING)

    def again(self, key: Key) -> None:
        """What was to be told of an object was not written."""
        with self._lock:
            self._marked.add(str(key))

    def resolve(self) -> bool:
        """Find the objects that a part of what was noted concerns. Whether that was all. Raises as Cache.all."""
        with self._lock:
            marks, self._marked = self._marked, set()
        self._unresolved += marks
        self.dirty.update(dict.fromkeys(self._resolved(self._unresolved[:PART])))
        del self._unresolved[:PART]
        return not self._unresolved

    def _resolved(self, marks: Iterable[str]) -> Iterator[Key]:
        """The objects that marks speak of."""
        for mark in marks:
            if mark == EVERYTHING:
                self._gathered.read(self._record.state)
                yield from (key for kind in OURS for key, _ in self._cache.all(kind))
            elif mark == THE_FLEET:
                yield from (key for key, _ in self._cache.all(POLICY))
            elif mark.startswith(AN_EDGE):
                yield from self._of_edge(mark.removeprefix(AN_EDGE))
            elif mark.startswith(WIDELY):
                yield from self._widely(Key.parse(mark.removeprefix(WIDELY)))
            else:
                yield from self._of_key(mark)

    def _of_edge(self, edge: str) -> Iterator[Key]:
        yield Key(EDGE, "", edge, "")
        for key in self._gathered.on(edge):
            yield key
            yield from self._gathered.summed_in(key, self._record.state)

    def _widely(self, key: Key) -> Iterator[Key]:
        yield key
        if is_wide(key.kind):
            yield from (Key.parse(text)._replace(edge="") for text in self._gathered.members(key))

    def _of_key(self, mark: str) -> Iterator[Key]:
        key = Key.named(mark)
        if key is None or key.kind not in OURS:  # a file
            yield from (Key(*obj.identity, "") for obj in self._gathered.declared_in(mark))
            return
        if key.edge:
            if mark in self._record.state.stage(DELIVER).keys:
                self._gathered.add(key)
            else:
                self._gathered.drop(key)
            yield Key(EDGE, "", key.edge, "")
        plain = key._replace(edge="")
        yield plain
        yield from self._gathered.summed_in(plain, self._record.state)

    # ── what it is ────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, now: str) -> None:
        """From here on it is `now`; what is due by then is told anew too. Raises ApiUnavailable."""
        self._now, self._wide = now, self._asked.suspended()
        self._standings = standings(self._record.state, DECLARE, now)
        for key in [key for key, until in self._due.items() if until <= now]:
            del self._due[key]
            self.dirty[key] = None

    @property
    def due(self) -> str:
        """When the next object is told anew by itself (RFC 3339); "" where none is."""
        return min(self._due.values(), default="")

    def status(self, key: Key, live: Live) -> dict[str, Any] | None:
        """What the status of an object should be; None where it has none from here."""
        if held_by(live, self.install):
            return None
        try:
            return published(KINDS[key.kind].facts, key, self._record.state, live, self._around(key, live))
        except ReconcilerError:
            raise
        except Exception as bug:  # noqa: BLE001  # of one object: what it says else stays
            verdict = Verdict(UNKNOWN, FAILED, Defect.at(key, bug).message)
            stand = live.status.get("conditions", ())
            return {**live.status, "conditions": conditions(verdict, live.generation, stand, f"{self._now[:19]}Z")}

    def _around(self, key: Key, live: Live) -> Around:
        now, state = self._now, self._record.state
        source = self._declared().get(Identity(key.kind, key.namespace, key.name))
        why = self._asked.suspension(key, live) or self._suspended(key, live)
        ends = ""
        if key.kind == POLICY:
            freeze = frozen(self._fleet(), now)
            ends = freeze.until if freeze is not None else ""
        for until in filter(None, (why.get("until", ""), ends, state.stage(DECLARE).known(key).fought)):
            self._wake(key, until)
        return Around(
            now=now,
            branch=self._branch,
            from_git=not KINDS[key.kind].from_git_only or source is not None or live.ours,
            members=self._gathered.members(key),
            problems=self._gathered.problems(key, state),
            suspended=why,
            frozen_until=ends,
            beside={type_: said for type_, say in self.beside.items() if (said := say(key))},
            standings=self._standings,
            handled=self._asked.handled.get(key) or str(live.status.get("lastHandledReconcileAt", "")),
        )

    def _suspended(self, key: Key, live: Live) -> dict[str, str]:
        """By what is said of everything, an edge, a set or this object. Everything is told by the Fleet alone."""
        scope = scope_of(key)
        beside = (live.labels.get(EDGE_LABEL, ""), set_scope(key.namespace, live.labels)) if scope == str(key) else ()
        scopes = (scope, *beside)
        for table in (self._record.state.suspensions(), self._wide):
            for scope in scopes:
                why = table.get(scope)
                if why is not None and not is_over(why.get("until", ""), self._now):
                    return {name: why[name] for name in ("actor", "reason", "until") if why.get(name)}
        return {}

    def _wake(self, key: Key, until: str) -> None:
        """Tell it anew at a time that is to come."""
        try:
            at = datetime.fromisoformat(until).timestamp()
        except (ValueError, OverflowError):
            return
        moment = rfc3339(at)
        if moment > self._now:
            self._due[key] = min(moment, self._due.get(key, moment))


def _marks(entry: Entry) -> Iterator[str]:
    """What an entry may have changed. A mere intent on an object changes nothing that is told."""
    event = entry.event
    match event.type:
        case ev.LEASE_ACQUIRED:
            yield EVERYTHING
        case ev.APPLY_INTENDED if stage_of(event.partitionkey) != DELIVER:
            return
        case ev.STEPS_WAITING:
            yield THE_FLEET
            yield from (key for keys in event.data["waits"].values() for key in keys)
        case ev.DRIFT_DETECTED | ev.DRIFT_RESOLVED | ev.DRIFT_FOUGHT | ev.OBJECT_ADOPTED | ev.OBJECT_GONE:
            yield from (THE_FLEET, event.subject)  # which counts them
        case ev.EDGE_FOUND | ev.EDGE_LOST:
            yield f"{AN_EDGE}{event.data['edge']}"
        case ev.MANIFESTS_CHECKED:
            yield THE_FLEET
            yield from event.data["problems"]
        case ev.RECONCILE_SUSPENDED | ev.RECONCILE_RESUMED:
            scope = str(event.data["scope"])
            yield THE_FLEET
            if scope != "*":
                yield f"{WIDELY}{scope if '/' in scope else Key(EDGE, '', scope, '')}"
        case _:
            yield event.subject or THE_FLEET
            if event.type in ev.OUTCOMES and stage_of(event.partitionkey) == DECLARE:
                yield THE_FLEET
