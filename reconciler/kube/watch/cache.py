"""The watch cache: objects by key, one store a kind, filled by its reflector. May import: errors, history.keys, kube.

In: LISTs and watches (watching.py), the answers to our own writes.  Out: `Live` by key, without a request; `changed`.
Reading what is a little old is allowed, so that nobody waits; reading what may be long gone is not: where nothing was
heard of a kind for STALE_S, its objects are not told, so that nothing is created or deleted for want of an answer.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import msgspec

from reconciler.errors import ApiUnavailable, KindMissing, ReconcilerError, RightMissing
from reconciler.history.keys import Key
from reconciler.kube.client.api_errors import readable
from reconciler.kube.client.clock import awake_or_not
from reconciler.kube.client.resources import Resource
from reconciler.kube.watch.object import Decoder, Live, ObjectHead, differs, key_named, key_of
from reconciler.kube.watch.reflector import Reflector, WatchApi, later
from reconciler.model.identity import OPERATION

STALE_S: Final = 120.0  # two bookmarks, and some
GONE_MAX: Final = 1 << 15  # uids of deleted objects that are remembered
CLOSE_S: Final = 5.0

Changed = Callable[[Key, Live | None, Live | None], None]


class Shelf:
    """The objects of one kind. Its thread is the only one that hears events; others put and remove."""

    def __init__(
        self,
        resource: Resource,
        reader: Decoder,
        changed: Changed,
        trouble: Callable[[str, ReconcilerError | None], None],
        clock: Callable[[], float],
    ) -> None:
        self._resource, self._reader, self._changed, self._told, self._clock = resource, reader, changed, trouble, clock
        self._lock = threading.Lock()
        self.objects: dict[Key, Live] = {}
        self.listed_once = threading.Event()
        self._found: dict[Key, Live] = {}  # what the LIST under way has brought so far
        self._since: dict[Key, Live | str] | None = None  # put, or the uid removed, since that LIST began
        self._gone: OrderedDict[str, str] = OrderedDict()  # uid -> version at which it went, "" where only we said so
        self._sending: dict[Key, str] = {}
        self._heard_at = 0.0
        self.trouble_now: ReconcilerError | None = None

    def check(self) -> None:
        """Raises KindMissing, or ApiUnavailable where what is known is nothing yet or too old."""
        trouble, plural = self.trouble_now, self._resource.plural
        if isinstance(trouble, KindMissing | RightMissing):
            raise type(trouble)(trouble.message, hint=trouble.advice)
        why = f": {trouble.message}" if trouble is not None else ""
        if not self.listed_once.is_set():
            raise ApiUnavailable(f"{plural}: not listed yet{why}")
        silent_s = self._clock() - self._heard_at
        if silent_s > STALE_S:
            raise ApiUnavailable(f"{plural}: nothing was heard of them for {silent_s:.0f} s{why}")

    def put(self, key: Key, body: bytes) -> Live:
        live = self._reader.object(body, self.objects.get(key))
        if not (live.uid and live.version):
            raise msgspec.ValidationError("an object without uid or resourceVersion")
        if not self._resource.selector.items() <= live.labels.items():
            return live  # its end would never be heard of
        with self._lock:
            there = before = self.objects.get(key)
            went = self._gone.get(live.uid)
            if went and later(went, live.version):
                return live  # its end was heard of first
            if there is None or there.version == live.version or later(live.version, there.version):
                self.objects[key] = live
                if self._since is not None:
                    self._since[key] = live
                there = None
        if there is not None and self._differs(live, there):  # written on since, and taken for ours while we sent
            self._changed(key, live, there)
        elif there is None and before is not None and self._resource.status_matters and before.status != live.status:
            self._changed(key, before, live)  # the event that told of it is older than this answer
        return live

    def remove(self, key: Key, uid: str) -> None:
        with self._lock:
            there = self.objects.get(key)
            if there is not None and there.uid == uid and there.deleting:
                return  # it waits for finalizers: its end is still to be heard of
            self._bury(uid, "")
            if there is not None and there.uid == uid:
                del self.objects[key]
            if self._since is not None:
                self._since[key] = uid

    @contextmanager
    def sending(self, key: Key, operation: str) -> Iterator[None]:
        self._sending[key] = operation
        try:
            yield
        finally:
            self._sending.pop(key, None)

    # What the watch thread tells (watching.Sink).

    def begin(self) -> None:
        with self._lock:
            self._found, self._since = {}, {}

    def page(self, items: Sequence[msgspec.Raw]) -> None:
        for item in items:
            key = key_of(self._resource.kind, item)
            self._found[key] = self._reader.object(item, self.objects.get(key))
        self.answered()

    def listed(self, version: str) -> None:
        with self._lock:
            found, since, before = self._found, self._since or {}, self.objects
            gone: OrderedDict[str, str] = OrderedDict()  # a restored etcd brings uids back
            for key, ours in since.items():
                there = found.get(key)
                if isinstance(ours, str):
                    gone[ours] = ""
                    if there is not None and there.uid == ours and not there.deleting:
                        del found[key]
                elif later(ours.version, version):
                    found[key] = ours
            self.objects, self._found, self._since, self._gone = found, {}, None, gone
        self.answered()
        if not self.listed_once.is_set():
            self.listed_once.set()
            return
        for key, old in before.items():
            new = found.get(key)
            if new is None or self._differs(old, new):
                self._changed(key, old, new)
        for key in found.keys() - before.keys():
            self._changed(key, None, found[key])

    def event(self, deed: str, head: ObjectHead, line: bytes) -> None:
        names = head.metadata
        key = key_named(self._resource.kind, names.namespace, names.name)
        there = self.objects.get(key)
        if deed == "DELETED":
            self._deleted(key, names.uid, names.resourceVersion)
        elif there is None or later(names.resourceVersion, there.version):  # else ours that comes round, or an old one
            self._seen(key, self._reader.event(line, there))

    def answered(self) -> None:
        self._heard_at = self._clock()

    def trouble(self, error: ReconcilerError | None) -> None:
        self.trouble_now = error
        self._told(self._resource.kind, error)

    def _seen(self, key: Key, after: Live) -> None:
        with self._lock:
            before = self.objects.get(key)
            went = self._gone.get(after.uid)
            if went or (went == "" and not after.deleting):
                return
            if before is not None and not later(after.version, before.version):
                return
            self.objects[key] = after
            if before is not None and not self._differs(before, after):
                return
            ours = self._sending.get(key)
            if ours and after.annotations.get(OPERATION) == ours:
                return  # the answer to our own write is on its way
        self._changed(key, before, after)

    def _deleted(self, key: Key, uid: str, version: str) -> None:
        with self._lock:
            before = self.objects.get(key)
            same = before is not None and before.uid == uid
            if before is not None and same and before.version != version and not later(version, before.version):
                return
            self._bury(uid, version)
            if before is None or not same:
                return
            del self.objects[key]
            if self._sending.get(key) == "":
                return
        self._changed(key, before, None)

    def _differs(self, before: Live, after: Live) -> bool:
        return differs(before, after, status=self._resource.status_matters)

    def _bury(self, uid: str, version: str) -> None:
        """No older event brings it back."""
        self._gone[uid] = version or self._gone.get(uid, "")
        if len(self._gone) > GONE_MAX:
            self._gone.popitem(last=False)


class Cache:
    """The watched kinds. Thread-safe. What it gives out is shared: it is read, never changed."""

    def __init__(
        self,
        api: WatchApi,
        resources: Iterable[Resource],
        *,
        manager: str,
        changed: Changed,
        trouble: Callable[[str, ReconcilerError | None], None],
        clock: Callable[[], float] = awake_or_not,
    ) -> None:
        """manager: our field manager.

        changed(key, before, after): called from a watch thread, or from a `put` that comes late; not for a kind's first
        LIST and not for the answers that were `put`; where uid, content, labels, our annotations, ownership or deletion
        differ, or the status of a kind where that matters.  trouble(kind, error): a kind cannot be listed or watched,
        or (None) can again; once a change.
        clock: seconds that never go back.
        """
        self._api, self._closed = api, threading.Event()
        self._shelves: dict[str, Shelf] = {}
        self._threads = []
        for resource in resources:
            shelf = self._shelves[resource.kind] = Shelf(resource, Decoder(manager, resource), changed, trouble, clock)
            watch = Reflector(api, resource, shelf, self._closed)
            self._threads.append(threading.Thread(target=watch.run, name=f"watch-{resource.plural}", daemon=True))

    def start(self) -> None:
        """Begin to list and watch. Returns at once."""
        for thread in self._threads:
            thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Whether every kind was listed within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        return all(shelf.listed_once.wait(max(0.0, deadline - time.monotonic())) for shelf in self._shelves.values())

    def unheard(self) -> dict[str, ReconcilerError | None]:
        """The kinds that cannot be listed or watched now, and why; None where they were only not listed yet."""
        found = ((kind, shelf.trouble_now, shelf.listed_once.is_set()) for kind, shelf in self._shelves.items())
        return {kind: trouble for kind, trouble, listed in found if trouble is not None or not listed}

    def get(self, key: Key) -> Live | None:
        """The object as it was heard of last; None where there is none.

        Raises ApiUnavailable where its kind was not listed yet or nothing was heard of it for STALE_S; KindMissing.
        """
        shelf = self._shelves[key.kind]
        shelf.check()
        return shelf.objects.get(key)

    def all(self, kind: str) -> list[tuple[Key, Live]]:
        """Every object of a kind. Raises as `get`."""
        shelf = self._shelves[kind]
        shelf.check()
        return list(shelf.objects.items())

    def put(self, key: Key, body: bytes) -> Live:
        """Take in the answer to our own write; an older event never overwrites it. Raises ApiUnavailable."""
        with readable(key):
            return self._shelves[key.kind].put(key, body)

    def remove(self, key: Key, uid: str) -> None:
        """Take in that our own delete was answered. Where finalizers keep it, it stays, as one that is deleting."""
        self._shelves[key.kind].remove(key, uid)

    def sending(self, key: Key, operation: str = "") -> AbstractContextManager[None]:
        """While our own write is under way, and until its answer is put: its event may come before its answer.

        operation: what it writes as operation-id; "" for a delete. Such an event is taken in and not told as a change.
        """
        return self._shelves[key.kind].sending(key, operation)

    def close(self) -> None:
        """End the threads. Nothing is told after this returned. Idempotent."""
        self._closed.set()
        self._api.end_watches()
        deadline = time.monotonic() + CLOSE_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
