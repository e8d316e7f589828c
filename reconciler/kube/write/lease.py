"""Leader election: one writer a cluster, by a Lease of coordination.k8s.io/v1. May import: engine.retry, errors,
kube.client.api_errors, kube.client.clock, kube.client.resources.

In: the Lease as the API server has it, and a clock that goes on while the machine sleeps.
Out: `permit`, asked before each write; `changed`, told of each change.

The algorithm is that of Kubernetes' leader election (client-go, tools/leaderelection): a candidate never compares wall
clocks, it waits until the Lease has stood still for its whole duration by the candidate's own clock. A holder counts
each renewal from before its request was sent, so what it believes ends before what others can have seen. Every write
carries the resourceVersion that was seen, so of two who try only one succeeds.
"""

import math
import random
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from os import getpid
from typing import Annotated, Any, Final, Protocol

import msgspec

from reconciler.engine.retry import jittered
from reconciler.errors import ApiUnavailable, FieldConflict, LeaseLost, ReconcilerError
from reconciler.kube.client.api_errors import readable
from reconciler.kube.client.clock import awake_or_not
from reconciler.kube.client.resources import LEASES, Resource

DURATION_S: Final = 15.0
RENEW_S: Final = 10.0
RETRY_S: Final = 2.0
_CLOCK_RATE: Final = 0.01  # how much faster another machine's clock may run; NTP slews by at most 0.0005
_RACES: Final = 3  # lost one after another in one turn, before the next turn looks again
_RELEASED_S: Final = 1  # the shortest duration that the API server takes


class _Meta(msgspec.Struct, frozen=True):
    version: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="resourceVersion")


class _Spec(msgspec.Struct, frozen=True):
    holder: str | None = msgspec.field(default=None, name="holderIdentity")
    transitions: int | None = msgspec.field(default=None, name="leaseTransitions")
    duration_s: int | None = msgspec.field(default=None, name="leaseDurationSeconds")


class _Seen(msgspec.Struct, frozen=True):
    """What is looked at of a Lease."""

    metadata: _Meta
    spec: _Spec | None = None


_SEEN: Final = msgspec.json.Decoder(_Seen)


class LeaseApi(Protocol):
    """The part of `kube.client.api.Api` that leader election needs."""

    def within(self, seconds: Callable[[], float]) -> "LeaseApi":
        """See `Api`."""
        ...

    def get(self, resource: Resource, name: str, namespace: str = "") -> bytes | None:
        """See `Api`."""
        ...

    def create(self, resource: Resource, namespace: str, body: bytes) -> bytes:
        """See `Api`."""
        ...

    def replace(self, resource: Resource, name: str, namespace: str, body: bytes) -> bytes:
        """See `Api`."""
        ...


def new_identity() -> str:
    """Who this process is: another one after each start, so that a restart is a change of holder."""
    return f"{socket.gethostname()}_{getpid()}_{secrets.token_hex(4)}"


class Lease:
    """Tries to hold one Lease from `start` to `close`, on one thread of its own. `permit` and `held` are thread-safe.

    held, transitions and holder are what was last seen; trouble is why the Lease can be neither read nor written,
    None where it can. The API server's count of transitions grows with each change of holder and so orders terms.
    """

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        changed: Callable[[bool, int, str], None],
        may_take: Callable[[], None] = lambda: None,
        duration_s: float = DURATION_S,
        renew_s: float = RENEW_S,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = awake_or_not,
    ) -> None:
        """changed(held, transitions, holder): from the Lease's thread, also when `trouble` came or went.

        may_take: asked there until it has not raised; before that the Lease is neither read nor taken.
        duration_s: how long others wait after a renewal.  renew_s: after how long without one nothing is sent any more.
        Raises ValueError where retry_s < renew_s < duration_s does not hold.
        """
        if not 0 < retry_s < renew_s < duration_s * (1 - _CLOCK_RATE):
            raise ValueError(f"retry {retry_s} s < renew {renew_s} s < duration {duration_s} s does not hold")
        self.namespace, self.name, self.identity = namespace, name, identity
        self.transitions, self.holder = 0, ""
        self.trouble: ReconcilerError | None = None
        self._api, self._changed, self._clock = api.within(self._request_s), changed, clock
        self._may_take: Callable[[], None] | None = may_take
        self._duration_s, self._renew_s, self._retry_s = duration_s, renew_s, retry_s
        self._document: dict[str, Any] | None = None  # as last seen; whole, so that a write drops nothing
        self._looked = False  # whether _document is what the last answer said
        self._version, self._seen_at, self._wait_s = "", 0.0, 0.0  # since when it stands still; how long it must
        self._renewed_at: float | None = None  # None: not the holder
        self._ask_at = 0.0  # not earlier: the API server asked to wait
        self._told: tuple[object, ...] = (False, 0, "", type(None))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to try. Does not wait."""
        self._thread.start()

    def close(self) -> None:
        """Write no more, and let a successor start at once. Whoever writes must have ended before. Idempotent.

        Where the API server does not answer, the Lease expires by itself.
        """
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def held(self) -> bool:
        """Whether a write may be sent now."""
        return self._deadline() > self._clock() and not self._closing.is_set()

    def permit(self) -> float:
        """Seconds that a write may last from now, so that it ends before anybody else can take the Lease.

        Raises LeaseLost when another holds it, when it was not renewed in time, and after `close` began; where the
        Lease itself makes trouble, with the words and the fix of that.
        """
        now, renewed_at = self._clock(), self._renewed_at
        if renewed_at is not None and now < renewed_at + self._renew_s and not self._closing.is_set():
            return renewed_at + self._duration_s * (1 - _CLOCK_RATE) - now
        lease, trouble = f"the Lease {self.namespace}/{self.name}", self.trouble
        if trouble is not None:
            raise LeaseLost(f"{lease} cannot be had: {trouble.message}", hint=trouble.advice)
        if self.holder not in {"", self.identity}:
            raise LeaseLost(f"{lease} is held by {self.holder}")
        raise LeaseLost(f"{lease} was not renewed in time" if self.holder else f"{lease} is not held yet")

    def _request_s(self) -> float:
        """Seconds that a request of the Lease itself may last. Raises LeaseLost past the renew deadline of a term.

        Half of the deadline, so that one hanging connection does not cost the term.
        """
        left = self._deadline() - self._clock() if self._renewed_at is not None else self._renew_s
        if left <= 0:
            raise LeaseLost(f"the Lease {self.namespace}/{self.name} was not renewed in time")
        return min(left, self._renew_s / 2)

    def _run(self) -> None:
        while not self._closing.wait(self._turn()):
            pass
        self._release()

    def _turn(self) -> float:
        """Renew, take or look, once. Seconds until the next turn."""
        trouble: ReconcilerError | None = None
        self._end_if_late()
        if self._clock() < self._ask_at:
            return self._pause()
        for _ in range(_RACES):
            try:
                self._attempt()
                break
            except FieldConflict:
                self._looked = False  # somebody wrote first: see who
            except LeaseLost:
                break  # the term ended before the request was sent
            except ReconcilerError as error:
                self._looked = False  # what was sent may have been done
                trouble = error
                break
        self._end_if_late()
        self.trouble = trouble
        if isinstance(trouble, ApiUnavailable) and trouble.retry_after_s is not None:
            self._ask_at = self._clock() + trouble.retry_after_s
        self._tell()
        return self._pause()

    def _attempt(self) -> None:
        if self._may_take is not None:
            self._may_take()
            self._may_take = None
        if not self._looked or self._renewed_at is None:
            self._see(self._api.get(LEASES, self.name, self.namespace))
        if self.holder != self.identity and self._renewed_at is not None and self._document is not None:
            self._end()
        if not self._is_free():
            return
        before, sent_at = self._version, self._clock()
        body = msgspec.json.encode(self._claim())
        if self._document is None:
            answer = self._api.create(LEASES, self.namespace, body)
        else:
            answer = self._api.replace(LEASES, self.name, self.namespace, body)
        self._end_if_late()  # a term that ended while we waited has ended, whatever the answer
        self._see(answer)
        if self._version == before:
            raise ApiUnavailable("the API server took the renewal of the Lease and changed nothing")
        self._renewed_at = sent_at

    def _see(self, body: bytes | None) -> None:
        """Take in the Lease as an answer has it. The time counts from here: what it says was written before.

        Raises ApiUnavailable where it is no Lease.
        """
        with readable(f"the Lease {self.namespace}/{self.name}"):
            seen = None if body is None else _SEEN.decode(body)
            self._document = None if body is None else msgspec.json.decode(body)
        self._looked = True
        version = "" if seen is None else seen.metadata.version
        if version == self._version:
            return
        if seen is not None:
            spec = seen.spec or _Spec()
            self.holder, self.transitions = spec.holder or "", spec.transitions or 0
            self._wait_s = (spec.duration_s or self._duration_s) if self.holder else 0.0
        self._version, self._seen_at = version, self._clock()  # one that was deleted may still be believed in

    def _is_free(self) -> bool:
        return self.holder == self.identity or self._clock() >= self._seen_at + self._wait_s

    def _claim(self) -> dict[str, Any]:
        """The Lease as it is, with us as its holder."""
        document = dict(self._document or _new(self.namespace, self.name))
        now, ours = _micro_time(), self.holder == self.identity
        spec = {
            **(document.get("spec") or {}),
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._duration_s),
            "leaseTransitions": self.transitions + (not ours),
            "renewTime": now,
        }
        if not ours or "acquireTime" not in spec:
            spec["acquireTime"] = now
        return {**document, "spec": spec}

    def _release(self) -> None:
        if self._renewed_at is not None and self._deadline() > self._clock():
            with suppress(ReconcilerError):
                if not self._looked:
                    self._see(self._api.get(LEASES, self.name, self.namespace))
                if self.holder == self.identity and self._document is not None:
                    spec = {**self._claim()["spec"], "leaseDurationSeconds": _RELEASED_S}
                    del spec["holderIdentity"]
                    body = msgspec.json.encode({**self._document, "spec": spec})
                    self._see(self._api.replace(LEASES, self.name, self.namespace, body))
        self._renewed_at = None
        self._tell()

    def _deadline(self) -> float:
        renewed_at = self._renewed_at
        return -math.inf if renewed_at is None else renewed_at + self._renew_s

    def _end_if_late(self) -> None:
        if self._renewed_at is not None and self._clock() >= self._deadline():
            self._end()

    def _end(self) -> None:
        self._renewed_at = None
        self._tell()

    def _tell(self) -> None:
        state = (self._renewed_at is not None, self.transitions, self.holder)
        told = (*state, type(self.trouble))  # not its words, which may differ each time
        if told != self._told:
            self._told = told
            self._changed(*state)

    def _pause(self) -> float:
        """Seconds until the next turn: jittered, but not past the moment at which a term ends."""
        now = self._clock()
        pause = max(jittered(self._retry_s, random.random), self._ask_at - now)
        ends = self._deadline() if self._renewed_at is not None else self._seen_at + self._wait_s
        return min(pause, ends - now) if ends > now else pause


def _new(namespace: str, name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "reconciler"}
    metadata = {"namespace": namespace, "name": name, "labels": labels}
    return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": {}}


def _micro_time() -> str:
    """Now in the format of the API's MicroTime; for people, since nobody compares it with a clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
