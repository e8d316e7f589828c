"""The dispatcher: orders on their way to the API server, on sixteen workers. May import: engine, errors, kube.write.

In: orders, a batch at a time.  Out: outcomes, gathered; a trigger tells of them. An order that gets no answer stays
open: it is sent again with the others that got none (rounds.py). Of one object one order is sent at a time, the newest:
what it takes the place of is sent no more, once it is not on its way.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from reconciler.engine.failpoints import reached
from reconciler.engine.queue import Cause, StageQueue, Trigger
from reconciler.engine.stage import AHEAD, Order
from reconciler.errors import ApiUnavailable, Defect, ReconcilerError, WorldUnavailable
from reconciler.history.events import Event
from reconciler.history.keys import Key
from reconciler.kube.write.apply import Sender, failed, withdrawn
from reconciler.kube.write.rounds import Rounds
from reconciler.model.identity import HOME

WORKERS: Final = 16  # what one API server on two cores answers without queueing
GATHER_S: Final = 0.01  # outcomes that come within it share one durable append
GATHER_MANY_S: Final = 0.05  # the same while more than AHEAD are in flight, so that nobody waits for it

Job = Callable[[], None]


class Dispatcher:
    """Sends orders. Called from the loop's thread alone."""

    def __init__(self, sender: Sender, triggers: StageQueue, workers: int = WORKERS) -> None:
        self._sender, self._triggers = sender, triggers
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # an executor makes a Future for each
        self._closed = threading.Event()
        self._many = workers
        self._workers: list[threading.Thread] = []  # begun with the first order: who only looks needs none
        self._answers: queue.SimpleQueue[tuple[Key, list[Event]]] = queue.SimpleQueue()
        self._lock = threading.Condition()
        self._newest: dict[Key, Order] = {}  # not answered: to be sent, on its way, or waiting for the next round
        self._waiting: dict[Key, Order] = {}  # of those: got no answer
        self._on_its_way: set[Key] = set()
        self._untold: set[Key] = set()  # answered, and nobody has asked for the outcome yet
        self._in_flight = 0  # to be sent for the first time, or on its way so
        self._behind: dict[Key, list[Job]] = {}  # by the namespace whose order has to end first
        self._sent: set[str] = set()  # operations that may have had their effect without an answer
        self._rounds = Rounds(triggers, Trigger(Cause.AGAIN))

    def send(self, orders: Sequence[Order]) -> None:
        """Begin to send. Returns at once."""
        number = self._rounds.begin()
        with self._lock:
            self._in_flight += len(orders)
            for order in orders:
                self._newest[order.step.key] = order
                self._waiting.pop(order.step.key, None)
        for order in orders:
            self._put(partial(self._work, order, number))

    def _waits(self, order: Order, work: Job) -> bool:
        """Whether the namespace that an order is for is made by an earlier order, after which `work` is done."""
        namespace = Key(HOME, "", order.step.key.namespace, "")
        with self._lock:
            first = self._newest.get(namespace) if namespace.name else None
            if first is None or namespace in self._waiting or first.intent.seq >= order.intent.seq:
                return False
            self._behind.setdefault(namespace, []).append(work)
            return True

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        """Send once more what got no answer.

        judge: which of them are not to be done any more, and why. What it raises leaves them all as they are.
        """
        with self._lock:
            orders = sorted(self._waiting.values(), key=lambda order: order.intent.seq)
        stopped = judge(orders) if orders else {}
        number = self._rounds.begin()
        with self._lock:
            for order in orders:
                del self._waiting[order.step.key]
        for order in orders:
            self._put(partial(self._work, order, number, stopped.get(order.step.key, ""), is_first=False))

    @property
    def in_flight(self) -> int:
        """How many orders are being sent for the first time."""
        return self._in_flight

    @property
    def unanswered(self) -> frozenset[Key]:
        """The keys whose orders are being sent or wait to be sent again, or whose outcomes were not taken yet."""
        with self._lock:
            return frozenset(self._newest) | self._untold

    def answered(self) -> list[Event]:
        """The outcomes since this was asked last."""
        events: list[Event] = []
        while not self._answers.empty():  # nobody else takes them
            key, told = self._answers.get()
            events += told
            with self._lock:
                self._untold.discard(key)
        if events:
            reached("cluster.answered")
        return events

    def forget(self) -> None:
        """Drop what waits to be sent again."""
        with self._lock:
            for key in self._waiting:
                del self._newest[key]
            self._waiting.clear()

    def close(self) -> None:
        """End the workers when what they are at is done."""
        self._closed.set()
        for _ in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.join()

    def _put(self, job: Job) -> None:
        if not self._workers:
            names = [f"apply-{n}" for n in range(self._many)]
            self._workers = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
            for worker in self._workers:
                worker.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not self._closed.is_set():
                job()

    # ── on the workers ────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self, order: Order, number: int, stopped: str = "", *, is_first: bool = True) -> None:
        """stopped: why it is not to be sent any more."""
        if self._waits(order, partial(self._work, order, number, stopped, is_first=is_first)):
            return
        told: list[Event] | None = []
        try:
            if self._is_begun(order):
                told = self._sent_once(order, number, stopped)
                self._ended(order, is_answered=told is not None)
        except BaseException as bug:  # noqa: BLE001  # risen again by the loop
            self._triggers.fail(bug)
        self._answers.put((order.step.key, told or []))  # before it counts as answered
        with self._lock:
            self._in_flight -= is_first
            left = self._in_flight
        self._triggers.add(Trigger(Cause.DONE), 0.0 if not left else GATHER_MANY_S if left > AHEAD else GATHER_S)

    def _is_begun(self, order: Order) -> bool:
        """Whether it is the newest of its object, whose turn it is; waits for the end of one that is on its way."""
        key = order.step.key
        with self._lock:
            self._lock.wait_for(lambda: key not in self._on_its_way or self._newest.get(key) is not order)
            if self._newest.get(key) is not order:
                return False
            self._on_its_way.add(key)
            return True

    def _ended(self, order: Order, *, is_answered: bool) -> None:
        key = order.step.key
        with self._lock:
            if self._newest.get(key) is order:
                if is_answered:
                    del self._newest[key]
                    self._untold.add(key)
                else:
                    self._waiting[key] = order
            self._on_its_way.discard(key)
            self._lock.notify_all()
            behind = self._behind.pop(key, ())
        for work in behind:
            self._put(work)

    def _sent_once(self, order: Order, number: int, stopped: str) -> list[Event] | None:
        """What became of an order; None where nobody answered."""
        if self._rounds.is_over(number):
            return None
        operation = order.intent.event.operationid
        try:
            told = self._sender.recovered(order) if operation in self._sent else None
            if told is None:
                told = [withdrawn(self._sender.record, order, stopped)] if stopped else self._sender.send(order)
        except WorldUnavailable as failure:
            if isinstance(failure, ApiUnavailable) and failure.unknown:
                self._sent.add(operation)
            self._rounds.failed(failure, number)
            return None
        except ReconcilerError:
            raise
        except Exception as bug:  # noqa: BLE001  # of one order: its outcome, with the traceback in the output
            told = [failed(self._sender.record, order, Defect.at(order.step.key, bug))]
        self._sent.discard(operation)
        self._rounds.succeeded()
        reached("cluster.sent")
        return told
