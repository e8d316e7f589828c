"""The reflector: one kind, listed and then watched, for as long as it takes. May import: engine.retry, errors, kube.

In: pages of a LIST and lines of a watch.  Out: calls of a `Sink`, from one thread of its own.

The protocol is that of the Kubernetes API Concepts ("Efficient detection of changes"): the watch begins at the LIST's
own resourceVersion and goes on from the last one heard, bookmarks included; 410 asks for a new LIST. A resourceVersion
that went back is that of a restored etcd (comparable integers since Kubernetes 1.35, KEP-5504): all is listed anew. So
it is after the API server was away: a version that went back and then on looks like one that only went on.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from reconciler.diagnostics import printable
from reconciler.engine.retry import Backoff, Sample
from reconciler.errors import ApiUnavailable, CredentialsRefused, KindMissing, ReconcilerError, RightMissing
from reconciler.kube.client.api import Expired, Page
from reconciler.kube.client.resources import Resource
from reconciler.kube.watch.object import ObjectHead

SILENCE_S: Final = 90.0  # an API server sends a bookmark each minute or so
DELAY_MAX_S: Final = 30.0
SHORT_S: Final = 1.0  # a watch that ends sooner, having said nothing, has failed
MUTE_MAX: Final = 2  # watches in a row that say nothing, until all is listed anew
_CERTAIN: Final = (KindMissing, RightMissing, CredentialsRefused)  # told at once; others when they come again
_DEEDS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
_MOVES: Final = _DEEDS | {"BOOKMARK"}


class WatchApi(Protocol):
    """The part of `kube.client.api.Api` that a reflector needs."""

    def pages(self, resource: Resource, *, limit: int = 500) -> Iterator[Page]:
        """See `Api`."""
        ...

    def watch(
        self, resource: Resource, version: str, *, silence_s: float = 90.0
    ) -> AbstractContextManager[Iterator[bytes]]:
        """See `Api`."""
        ...

    def end_watches(self) -> None:
        """See `Api`."""
        ...


class Sink(Protocol):
    """The receiver of what a reflector hears. Every method is called from the one thread of its kind."""

    def begin(self) -> None:
        """A LIST begins: whatever else becomes known from now on may be newer than it."""
        ...

    def page(self, items: Sequence[msgspec.Raw]) -> None:
        """Some of its objects. Raises msgspec.MsgspecError."""
        ...

    def listed(self, version: str) -> None:
        """It is complete, and was so at this version."""
        ...

    def event(self, deed: str, head: ObjectHead, line: bytes) -> None:
        """ADDED, MODIFIED or DELETED, of the object in `line`. Raises msgspec.MsgspecError."""
        ...

    def answered(self) -> None:
        """The API server has said something that could be understood."""
        ...

    def trouble(self, error: ReconcilerError | None) -> None:
        """Why nothing can be heard; None when it can again. Told once a change."""
        ...


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    object: ObjectHead = ObjectHead()


_event = msgspec.json.Decoder(_Event)


def later(version: str, than: str) -> bool:
    """Whether a resourceVersion is newer than another; where they are not both numbers, whether it is another."""
    if _is_number(version) and _is_number(than):
        return _size(version) > _size(than)
    return version != than


def went_back(version: str, known: str) -> bool:
    """Whether a version of now is older than one known before. False where they cannot be compared."""
    return _is_number(version) and _is_number(known) and _size(version) < _size(known)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal()


def _size(number: str) -> tuple[int, str]:
    """What numbers are compared by: `int` refuses more than some thousand digits."""
    digits = number.lstrip("0")
    return len(digits), digits


class Reflector:
    """Lists and watches one kind until `closed`."""

    def __init__(
        self,
        api: WatchApi,
        resource: Resource,
        sink: Sink,
        closed: threading.Event,
        *,
        sample: Sample = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """sample: see `retry`.  clock: seconds that never go back."""
        self._clock = clock
        self._api, self._resource, self._sink, self._closed = api, resource, sink, closed
        self._failures = Backoff(cap_s=DELAY_MAX_S, sample=sample)
        self._version = ""  # "": all is to be listed
        self._mute = 0  # watches in a row that said nothing
        self._heard = False  # whether the watch under way has said anything
        self._told = ""

    def run(self) -> None:
        """Go on until closed. What fails is tried again after a delay with full jitter, for ever."""
        while not self._closed.is_set():
            self._closed.wait(self.turn())

    def turn(self) -> float:
        """One LIST where there is need of one, then one watch to its end. Seconds to wait before the next turn."""
        try:
            if not self._version or self._restored():
                self._list()
            short = self._watch()
        except Expired:
            self._version = ""
            return self._failures.failed(free=1)
        except ReconcilerError as error:
            if self._closed.is_set():
                return 0.0
            delay_s = self._failures.failed(asked_s=error.retry_after_s if isinstance(error, ApiUnavailable) else None)
            if self._failures.attempts() > 1 or isinstance(error, _CERTAIN):
                self._version = ""  # an etcd that was restored meanwhile may count further than before by then
                self._tell(error)
            return delay_s
        return self._failures.failed() if short else 0.0

    def _restored(self) -> bool:
        """Whether the API server's version went back while no watch was open; one small LIST tells."""
        page = next(self._api.pages(self._resource, limit=1))
        self._sink.answered()
        return went_back(page.version, self._version)

    def _list(self) -> None:
        """Nothing of a LIST counts before its last page has come."""
        self._version = version = ""
        self._sink.begin()
        for page in self._api.pages(self._resource):
            if self._closed.is_set():
                raise ApiUnavailable(f"{self._resource.plural}: no longer watched")
            try:
                self._sink.page(page.items)
            except msgspec.MsgspecError as error:
                raise self._unreadable(error) from None
            version = page.version
        self._sink.listed(version)
        self._version, self._mute = version, 0
        self._tell(None)

    def _watch(self) -> bool:
        """Hear one watch to its end. One that was open for long and said nothing may hide that it is dead.

        Whether it was none worth the name: short, and nothing said.
        """
        self._heard = False
        with self._api.watch(self._resource, self._version, silence_s=SILENCE_S) as lines:
            opened = self._clock()
            self._tell(None)
            try:
                for line in lines:
                    if self._closed.is_set():
                        return False
                    self._hear(line)
            finally:
                lived_s = self._clock() - opened
                short = not self._heard and lived_s < SHORT_S
                if not short:
                    self._failures.succeeded()
                if self._heard:
                    self._mute = 0
                elif lived_s >= SILENCE_S:
                    self._mute += 1
                if self._mute >= MUTE_MAX:
                    self._version = ""
        return short

    def _hear(self, line: bytes) -> None:
        try:
            event = _event.decode(line)
            version = event.object.metadata.resourceVersion
            if event.type == "ERROR":
                raise Expired if event.object.code == 410 else self._refused(event.object)
            if event.type == "BOOKMARK" and went_back(version, self._version):
                raise Expired
            known = event.object.kind in {"", self._resource.kind}
            if known and event.type in _DEEDS:
                self._sink.event(event.type, event.object, line)
        except msgspec.MsgspecError as error:
            self._version = ""  # what it said is lost
            raise self._unreadable(error) from None
        self._heard = True
        self._sink.answered()
        if known and event.type in _MOVES and version and later(version, self._version):
            self._version = version

    def _refused(self, status: ObjectHead) -> ApiUnavailable:
        return ApiUnavailable(f"{self._resource.plural}: the watch ended: {printable(status.message)[:200]}")

    def _unreadable(self, error: Exception) -> ApiUnavailable:
        return ApiUnavailable(f"{self._resource.plural}: what the API server sent cannot be read: {error}")

    def _tell(self, error: ReconcilerError | None) -> None:
        """Once a change: the same trouble again is not told again."""
        told = error.code if error is not None else ""
        if told != self._told:
            self._told = told
            self._sink.trouble(error)
