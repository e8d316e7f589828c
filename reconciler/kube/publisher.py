"""Writes status where it changed, and tells of changes in Events. May import: controller, history, planning, kube.

In: entries of the log, changes in the cluster: they say what may have changed.  Out: server-side apply of the `status`
subresource, on a few workers. The log is the truth: what is lost on the way is worked out again at the next start, and
what is there already is not written. An answer is not put into the cache: it may hold somebody's change of the object
that the watch has still to tell.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

import msgspec

from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.recorder import Recorder
from reconciler.errors import ApiUnavailable, KindMissing, WorldRefused, WorldUnavailable
from reconciler.history import events as ev
from reconciler.history.announced import Announcer
from reconciler.history.events import Entry, rfc3339
from reconciler.history.keys import Key, set_scope
from reconciler.history.published import MIRRORS, Around, published
from reconciler.history.times import is_over
from reconciler.kube.announcer import EventWriter, Lookup
from reconciler.kube.api import Api
from reconciler.kube.asked import WIDE, Asked, suspension
from reconciler.kube.cache import Cache
from reconciler.kube.gathered import Gathered
from reconciler.kube.live import Live
from reconciler.kube.resources import OURS, document
from reconciler.kube.rounds import LEAST_S, Rounds
from reconciler.kube.watching import later
from reconciler.model.identity import EDGE_LABEL, Identity
from reconciler.planning.declared import Declared
from reconciler.planning.freeze import frozen

MANAGER: Final = "reconciler-status"
AFTER_S: Final = 1.0  # changes that come within it are one write an object
WORKERS: Final = 4
CHUNK: Final = 500  # objects that are worked out in one turn of the loop
AHEAD: Final = 512  # writes under way above which no more are begun

EVERYTHING, THE_FLEET = "everything", "fleet"
AN_EDGE, WIDELY = "edge:", "all of:"  # what stands behind them: an edge; a key whose suspension is about others too

_log: Final = logging.getLogger(__name__)


class _Meta(msgspec.Struct, frozen=True):
    uid: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class _Answer(msgspec.Struct, frozen=True):
    metadata: _Meta


_answer: Final = msgspec.json.Decoder(_Answer)


class Publisher:
    """What is written of what is known. `hear` and `touch` are called from any thread, `publish` from the loop's."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        recorder: Recorder,
        triggers: Queue,
        asked: Asked,
        *,
        declared: Callable[[], Declared],
        fleet: Callable[[], Mapping[str, Any]],
        branch: str,
        lease: tuple[str, str],
        instance: str,
    ) -> None:
        """declared: what Git says.  fleet: the policy in force.  lease, instance: see EventWriter."""
        self._api, self._cache, self._record, self._triggers, self._asked = api, cache, recorder, triggers, asked
        self._declared, self._fleet, self._branch = declared, fleet, branch
        self._gathered, self._announcer = Gathered(declared), Announcer()
        lookup = Lookup(self._live, self._first_fleet)
        self._writer = EventWriter(api, lookup, lease=lease, instance=instance, branch=branch)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="status")
        self._lock = threading.Lock()
        self._marked: set[str] = set()
        self._unresolved: list[str] = []
        self._dirty: dict[Key, None] = {}
        self._due: dict[Key, str] = {}  # when it is told anew by itself: RFC 3339
        self._under_way: set[Key] = set()
        self._landed: dict[Key, str] = {}  # version of our write that the cache has still to hear of
        self._rounds = Rounds(triggers, "publish")
        self._refused: set[tuple[str, str]] = set()  # (kind, code) that was logged
        recorder.log.subscribe(self.hear)

    # ── what may have changed ─────────────────────────────────────────────────────────────────────────────────────

    def hear(self, entries: list[Entry]) -> None:
        """New entries of the log, under its writer's lock."""
        with self._lock:
            self._announcer.hear(entries)
            for entry in entries:
                self._marked.update(_marks(entry))
        self._triggers.add(Trigger("publish"), AFTER_S)

    def touch(self, key: Key) -> None:
        """An object is not as it was in the cluster."""
        with self._lock:
            self._marked.add(f"{WIDELY}{key}" if key.kind in WIDE else str(key))
        self._triggers.add(Trigger("publish"), AFTER_S)

    def _resolved(self, marks: Iterable[str]) -> Iterator[Key]:
        """The objects that marks speak of."""
        for mark in marks:
            if mark == EVERYTHING:
                self._gathered.read(self._record.state)
                yield from (key for kind in OURS for key, _ in self._cache.all(kind))
            elif mark == THE_FLEET:
                yield from (key for key, _ in self._cache.all("Fleet"))
            elif mark.startswith(AN_EDGE):
                yield from self._of_edge(mark.removeprefix(AN_EDGE))
            elif mark.startswith(WIDELY):
                yield from self._widely(Key.parse(mark.removeprefix(WIDELY)))
            else:
                yield from self._of_key(mark)

    def _of_edge(self, edge: str) -> Iterator[Key]:
        yield Key("Edge", "", edge, "")
        for key in self._gathered.on(edge):
            yield key
            yield from self._gathered.summed_in(key, self._record.state)

    def _widely(self, key: Key) -> Iterator[Key]:
        yield key
        if key.kind == "Edge":
            yield from self._of_edge(key.name)
        elif key.kind == "InferenceModelSet":
            yield from (Key.parse(text)._replace(edge="") for text in self._gathered.members(key))

    def _of_key(self, mark: str) -> Iterator[Key]:
        key = Key.named(mark)
        if key is None or key.kind not in OURS:  # a file
            yield from (Key(*obj.identity, "") for obj in self._gathered.declared_in(mark))
            return
        if key.edge:
            if mark in self._record.state.keys:
                self._gathered.add(mark)
            else:
                self._gathered.drop(mark)
            yield Key("Edge", "", key.edge, "")
        plain = key._replace(edge="")
        yield plain
        yield from self._gathered.summed_in(plain, self._record.state)

    # ── what is written ───────────────────────────────────────────────────────────────────────────────────────────

    def publish(self) -> None:
        """Begin to write what has changed. Raises ApiUnavailable where nothing can be known now."""
        if not self._record.state.lease.held:
            return  # whoever gets it begins with everything
        with self._lock:
            marks, self._marked = self._marked, set()
            told = self._announcer.take()
        for one in told:
            self._pool.submit(self._writer.write, one)
        self._unresolved += marks
        self._dirty.update(dict.fromkeys(self._resolved(self._unresolved[:CHUNK])))
        del self._unresolved[:CHUNK]
        if self._unresolved:  # first all of them: a set is told once
            self._triggers.add(Trigger("publish"))
            return
        now = rfc3339(self._record.clock.now())
        for key in [key for key, until in self._due.items() if until <= now]:
            del self._due[key]
            self._dirty[key] = None
        self._begin(now)

    def _begin(self, now: str) -> None:
        number = self._rounds.begin()
        self._caught_up()
        wide = self._asked.suspended()
        waiting: dict[Key, None] = {}
        for key in list(self._dirty)[:CHUNK]:
            del self._dirty[key]
            if key in self._under_way or key in self._landed or len(self._under_way) >= AHEAD:
                waiting[key] = None
                continue
            live = self._live(key)
            if live is None or live.deleting:
                continue
            status = published(key, self._record.state, live, self._around(key, live, wide, now))
            if status is not None and status != live.status:
                with self._lock:
                    self._under_way.add(key)
                self._pool.submit(self._write, key, live.uid, status, number)
        if self._dirty:
            self._triggers.add(Trigger("publish"))
        elif waiting:
            self._triggers.add(Trigger("publish"), LEAST_S)
        self._dirty.update(waiting)
        if self._due:  # each time: of equal triggers only the first one stays
            next_s = datetime.fromisoformat(min(self._due.values())).timestamp() - self._record.clock.now()
            self._triggers.add(Trigger("publish"), max(LEAST_S, next_s))

    def _caught_up(self) -> None:
        """Forget those of our writes that the watch has brought by now."""
        with self._lock:
            landed = list(self._landed.items())
        for key, version in landed:
            live = self._live(key)
            if live is None or not later(version, live.version):
                with self._lock:
                    self._landed.pop(key, None)

    def _live(self, key: Key) -> Live | None:
        try:
            return self._cache.get(key)
        except (ApiUnavailable, KindMissing):
            return None

    def _first_fleet(self) -> Key | None:
        try:
            return min((key for key, _ in self._cache.all("Fleet")), default=None)
        except (ApiUnavailable, KindMissing):
            return None

    def _around(self, key: Key, live: Live, wide: Mapping[str, Mapping[str, str]], now: str) -> Around:
        state, source = self._record.state, self._declared().get(Identity(key.kind, key.namespace, key.name))
        why = suspension(live, now) or self._suspended(key, live, wide, now)
        ends = ""
        if key.kind == "Fleet":
            freeze = frozen(self._fleet(), now)
            ends = freeze.until if freeze is not None else ""
        for until in filter(None, (why.get("until", ""), ends, state.known(key).fought)):
            self._wake(key, until, now)
        return Around(
            now=now,
            branch=self._branch,
            from_git=key.kind not in MIRRORS or source is not None or live.ours,
            members=self._gathered.members(key),
            problems=self._gathered.problems(key, state),
            suspended=why,
            frozen_until=ends,
            handled=self._asked.handled.get(key) or str(live.status.get("lastHandledReconcileAt", "")),
        )

    def _suspended(self, key: Key, live: Live, wide: Mapping[str, Mapping[str, str]], now: str) -> dict[str, str]:
        """By what is said of everything, an edge, a set or this object. Everything is told by the Fleet alone."""
        of_object = [str(key), live.labels.get(EDGE_LABEL, ""), set_scope(key.namespace, live.labels)]
        scopes = {"Fleet": ["*"], "Edge": [key.name]}.get(key.kind, of_object)
        for table in (self._record.state.suspended, wide):
            for scope in scopes:
                why = table.get(scope)
                if why is not None and not is_over(why.get("until", ""), now):
                    return {name: why[name] for name in ("actor", "reason", "until") if why.get(name)}
        return {}

    def _wake(self, key: Key, until: str, now: str) -> None:
        """Tell it anew at a time that is to come."""
        try:
            at = datetime.fromisoformat(until).timestamp()
        except (ValueError, OverflowError):
            return
        moment = rfc3339(at)
        if moment > now:
            self._due[key] = min(moment, self._due.get(key, moment))

    # ── on the workers ────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, key: Key, uid: str, status: Mapping[str, Any], number: int) -> None:
        try:
            if self._rounds.is_over(number):
                self._again(key)
                return
            answered = self._applied(key, status)
            with self._lock:
                self._landed[key] = answered.version
            self._rounds.succeeded()
            if answered.uid != uid:  # another object has that name now: told anew, of that one
                self._again(key)
                self._triggers.add(Trigger("publish"), LEAST_S)
        except WorldUnavailable as failure:
            self._again(key)
            self._rounds.failed(failure, number)
        except WorldRefused as refused:
            self._told_once(key, refused)
        finally:
            with self._lock:
                self._under_way.discard(key)

    def _applied(self, key: Key, status: Mapping[str, Any]) -> _Meta:
        resource = OURS[key.kind]
        body = msgspec.json.encode(document(key, status=status))
        answer = self._api.apply(
            resource, key.name, key.namespace, body, manager=MANAGER, force=True, sub="status"
        )  # nobody else writes it
        try:
            return _answer.decode(answer).metadata
        except msgspec.MsgspecError as error:
            raise ApiUnavailable(f"{key}: what was answered cannot be read: {error}", unknown=True) from None

    def _again(self, key: Key) -> None:
        with self._lock:
            self._marked.add(str(key))

    def _told_once(self, key: Key, refused: WorldRefused) -> None:
        """A status that is refused now would be again: it waits for the next change."""
        live = self._live(key)
        with self._lock:
            known = (key.kind, refused.code) in self._refused
            self._refused.add((key.kind, refused.code))
        if live is not None and not known:
            _log.warning("the status of %s cannot be written: %s: %s", key, refused.code, refused.message)

    def close(self) -> None:
        """End the workers when what they are at is done."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _marks(entry: Entry) -> Iterator[str]:
    """What an entry may have changed. A mere intent on an object changes nothing that is told."""
    event = entry.event
    match event.type:
        case ev.LEASE_ACQUIRED:
            yield EVERYTHING
        case ev.APPLY_INTENDED if "@" not in event.subject:
            return
        case ev.EDGE_FOUND | ev.EDGE_LOST:
            yield f"{AN_EDGE}{event.data['edge']}"
        case ev.MANIFESTS_CHECKED:
            yield THE_FLEET
            yield from event.data["problems"]
        case ev.RECONCILE_SUSPENDED | ev.RECONCILE_RESUMED:
            scope = str(event.data["scope"])
            yield THE_FLEET if scope == "*" else f"{WIDELY}{scope if '/' in scope else Key('Edge', '', scope, '')}"
        case _:
            yield event.subject or THE_FLEET
            if event.type in ev.OUTCOMES and "@" not in event.subject:
                yield THE_FLEET
