"""The status writer, which has Kubernetes Events recorded too. May import: engine, history, kube.

In: what is to be told (status_queue.py), entries of the log.  Out: server-side apply of the `status` subresource, on a
few workers. The log is the truth: what is lost on the way is worked out again at the next start, and what is there
already is not written. An answer is not put into the cache: it may hold somebody's change of the object that the watch
has still to tell.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import msgspec

from reconciler.engine.queue import Cause, StageQueue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.errors import (
    ApiUnavailable,
    Defect,
    KindMissing,
    ReconcilerError,
    RightMissing,
    WorldRefused,
    WorldUnavailable,
)
from reconciler.history.events import Entry, rfc3339
from reconciler.history.keys import Key
from reconciler.history.kubernetes_events import Announcer
from reconciler.history.times import seconds_left
from reconciler.kube.client.api import Api
from reconciler.kube.client.api_errors import readable
from reconciler.kube.client.resources import OURS, Resource, document
from reconciler.kube.watch.cache import Cache
from reconciler.kube.watch.object import Live
from reconciler.kube.watch.reflector import later
from reconciler.kube.write.event_recorder import EventLookup, EventRecorder
from reconciler.kube.write.rounds import LEAST_S, Rounds
from reconciler.kube.write.status_queue import StatusQueue
from reconciler.model.identity import POLICY
from reconciler.planning.look import held_by

MANAGER: Final = "reconciler-status"
AFTER_S: Final = 1.0  # changes that come within it are one write an object
WORKERS: Final = 4
CHUNK: Final = 500  # objects that are worked out in one turn of the loop
AHEAD: Final = 512  # writes under way above which no more are begun

_log: Final = logging.getLogger(__name__)


class _Meta(msgspec.Struct, frozen=True):
    uid: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class _Answer(msgspec.Struct, frozen=True):
    metadata: _Meta


_answer: Final = msgspec.json.Decoder(_Answer)


class StatusWriter:
    """Writes statuses and Events. `hear` and `touch` are called from any thread, `publish` from the loop's."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        recorder: Recorder,
        triggers: StageQueue,
        telling: StatusQueue,
        *,
        branch: str,
        lease: tuple[str, str],
        instance: str,
        is_busy: Callable[[], bool],
        resources: Mapping[str, Resource],
    ) -> None:
        """branch, lease, instance: see EventRecorder.  resources: of every kind that is told of.

        is_busy: whether orders are being sent.
        """
        self._is_busy = is_busy
        self._api, self._cache, self._record, self._triggers, self._telling = api, cache, recorder, triggers, telling
        self._announcer = Announcer()
        lookup = EventLookup(self._live, self._first_fleet, resources)
        self._writer = EventRecorder(api, lookup, lease=lease, instance=instance, branch=branch)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="status")
        self._lock = threading.Lock()
        self._under_way: set[Key] = set()
        self._landed: dict[Key, str] = {}  # version of our write that the cache has still to hear of
        self._rounds = Rounds(triggers, Trigger(Cause.FOLLOW))
        self._refused: set[tuple[str, str]] = set()  # (kind, code) that was logged
        recorder.log.subscribe(self.hear)

    def hear(self, entries: list[Entry]) -> None:
        """New entries of the log, under its writer's lock."""
        with self._lock:
            self._announcer.hear(entries)
        self._telling.hear(entries)
        self._triggers.add(Trigger(Cause.FOLLOW), AFTER_S)

    def touch(self, key: Key) -> None:
        """An object is not as it was in the cluster."""
        self._telling.touch(key)
        self._triggers.add(Trigger(Cause.FOLLOW), AFTER_S)

    def again(self) -> None:
        """A right is back: what was refused for want of it is written."""
        with self._lock:
            self._refused.clear()
        self._telling.all_again()
        self._triggers.add(Trigger(Cause.FOLLOW), AFTER_S)

    # ── what is written ───────────────────────────────────────────────────────────────────────────────────────────

    def publish(self) -> None:
        """Begin to write what has changed. Raises ApiUnavailable where nothing can be known now."""
        if not self._record.state.lease.held:
            return  # whoever gets it begins with everything
        if self._is_busy():  # what a plan does is told together: Events are summed, and a status is worked out once
            self._triggers.add(Trigger(Cause.FOLLOW), AFTER_S)
            return
        with self._lock:
            told = self._announcer.take()
        for one in told:
            self._submit(self._writer.write, one)
        if self._telling.resolve():
            self._begin(rfc3339(self._record.clock.now()))
        else:  # first all of it: a set is told once
            self._triggers.add(Trigger(Cause.FOLLOW))

    def _begin(self, now: str) -> None:
        number = self._rounds.begin()
        self._caught_up()
        self._telling.begin(now)
        dirty = self._telling.dirty
        waiting: dict[Key, None] = {}
        for key in list(dirty)[:CHUNK]:
            del dirty[key]
            if key in self._under_way or key in self._landed or len(self._under_way) >= AHEAD:
                waiting[key] = None
                continue
            live = self._live(key)
            if live is None or live.deleting:
                continue
            status = self._telling.status(key, live)
            if status is not None and status != live.status:
                with self._lock:
                    self._under_way.add(key)
                self._submit(self._write, key, live.uid, status, number)
        if dirty:
            self._triggers.add(Trigger(Cause.FOLLOW))
        elif waiting:
            self._triggers.add(Trigger(Cause.FOLLOW), LEAST_S)
        dirty.update(waiting)
        if due := self._telling.due:  # each time: of equal triggers only the first one stays
            next_s = seconds_left(due, self._record.clock.now())
            self._triggers.add(Trigger(Cause.FOLLOW), max(LEAST_S, next_s))

    def _submit(self, work: Callable[..., None], *given: Any) -> None:
        """To a worker. A bug in it keeps one thing from being told."""
        self._pool.submit(work, *given).add_done_callback(self._ended)

    def _ended(self, work: Future[None]) -> None:
        bug = None if work.cancelled() else work.exception()
        if isinstance(bug, Exception) and not isinstance(bug, ReconcilerError):
            Defect.at("a status or an Event", bug)  # its traceback is kept
        elif bug is not None:
            self._triggers.fail(bug)

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
        except (ApiUnavailable, KindMissing, RightMissing):
            return None

    def _first_fleet(self) -> Key | None:
        try:
            fleets = self._cache.all(POLICY)
            return min((key for key, live in fleets if not held_by(live, self._telling.install)), default=None)
        except (ApiUnavailable, KindMissing, RightMissing):
            return None

    # ── on the workers ────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, key: Key, uid: str, status: Mapping[str, Any], number: int) -> None:
        try:
            if self._rounds.is_over(number):
                self._telling.again(key)
                return
            answered = self._applied(key, status)
            with self._lock:
                self._landed[key] = answered.version
            self._rounds.succeeded()
            if answered.uid != uid:  # another object has that name now: told anew, of that one
                self._telling.again(key)
                self._triggers.add(Trigger(Cause.FOLLOW), LEAST_S)
        except WorldUnavailable as failure:
            self._telling.again(key)
            self._rounds.failed(failure, number)
        except WorldRefused as refused:
            self._told_once(key, refused)
        finally:
            with self._lock:
                self._under_way.discard(key)

    def _applied(self, key: Key, status: Mapping[str, Any]) -> _Meta:
        resource = OURS[key.kind]
        body = msgspec.json.encode(document(resource, key, status=status))
        answer = self._api.apply(
            resource, key.name, key.namespace, body, manager=MANAGER, force=True, sub="status"
        )  # nobody else writes it
        with readable(key):
            return _answer.decode(answer).metadata

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
