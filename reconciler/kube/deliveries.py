"""Orders on their way to the API server, on a bounded number of workers. May import: controller, errors, kube.sending.

In: orders, a batch at a time.  Out: outcomes. An order that gets no answer stays open: it is sent again together with
the others that got none (kube.rounds), and its outcome comes back as a trigger.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from reconciler.controller.loop import Order
from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.steps import reached
from reconciler.errors import ApiUnavailable, Defect, ReconcilerError, WorldUnavailable
from reconciler.history.events import Event
from reconciler.history.keys import Key
from reconciler.kube.rounds import Rounds
from reconciler.kube.sending import Sender, failed, withdrawn

WORKERS: Final = 16  # what one API server on two cores answers without queueing
AHEAD: Final = 256  # orders in flight below which the next batch is asked for: making it durable takes a while
GATHER_S: Final = 0.01  # outcomes that come within it share one durable append
GATHER_MANY_S: Final = 0.05  # the same while more than AHEAD are in flight, so that nobody waits for it

Answer = list[Event] | BaseException | None
Answers = queue.SimpleQueue[tuple[Order, Answer]]
Job = Callable[[], None]


class Deliveries:
    """Sends orders. `send` is called from the loop's thread alone, the rest from any."""

    def __init__(self, sender: Sender, triggers: Queue, workers: int = WORKERS) -> None:
        self._sender, self._triggers = sender, triggers
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # an executor makes a Future for each
        self._closed = threading.Event()
        self._many = workers
        self._workers: list[threading.Thread] = []  # begun with the first order: who only looks needs none
        self._lock = threading.Condition()
        self._waiting: dict[Key, Order] = {}  # got no answer
        self._flying: set[Key] = set()  # on their way once more
        self._superseded: set[Key] = set()  # of those: a newer order waits for the end of this one
        self._sent: set[str] = set()  # operations that may have had their effect without an answer
        self._rounds = Rounds(triggers, "again")

    def send(self, batches: Iterable[Sequence[Order]]) -> Iterator[list[Event]]:
        """Outcomes as they come. The next batch is asked for while the last orders of the one before are in flight."""
        answers: Answers = queue.SimpleQueue()
        in_flight = 0
        for orders in batches:
            number = self._rounds.begin()
            for order in orders:
                self._supersede(order.step.key)
                self._put(partial(self._work, order, number, answers))
            in_flight += len(orders)
            while in_flight > AHEAD:
                answered = _gathered(answers, in_flight)
                in_flight -= len(answered)
                yield self._told(answered)
        while in_flight:
            answered = _gathered(answers, in_flight)
            in_flight -= len(answered)
            yield self._told(answered)

    def _supersede(self, key: Key) -> None:
        """What was ordered of it before is sent no more, once it is not on its way already."""
        with self._lock:
            self._waiting.pop(key, None)
            if key in self._flying:
                self._superseded.add(key)

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        """Send once more what got no answer; outcomes come as triggers `done`.

        judge: which of them are not to be done any more, and why. What it raises leaves them all as they are.
        """
        with self._lock:
            orders = list(self._waiting.values())
        stopped = judge(orders) if orders else {}
        number = self._rounds.begin()
        with self._lock:
            for order in orders:
                del self._waiting[order.step.key]
                self._flying.add(order.step.key)
        for order in orders:
            self._put(partial(self._retry, order, number, stopped.get(order.step.key, "")))

    @property
    def waiting(self) -> frozenset[Key]:
        """The keys whose orders wait to be sent again, or are being sent."""
        with self._lock:
            return frozenset(self._waiting) | self._flying

    def forget(self) -> None:
        """Drop what waits to be sent again."""
        with self._lock:
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

    def _told(self, answered: Iterable[tuple[Order, Answer]]) -> list[Event]:
        """What is to be recorded. What failed by a bug of ours rises here, in the loop's thread."""
        events: list[Event] = []
        for order, answer in answered:
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                self._keep(order)
            else:
                events += answer
        reached("cluster.answered")
        return events

    def _keep(self, order: Order) -> None:
        with self._lock:
            self._waiting[order.step.key] = order

    def _work(self, order: Order, number: int, answers: Answers) -> None:
        try:
            with self._lock:  # what is sent once more began before: it must not arrive later
                self._lock.wait_for(lambda: order.step.key not in self._flying)
            answers.put((order, self._sent_once(order, number)))
        except BaseException as bug:  # noqa: BLE001  # risen again by the loop, which waits for an answer
            answers.put((order, bug))

    def _retry(self, order: Order, number: int, stopped: str) -> None:
        told: list[Event] | None = None
        try:
            told = self._sent_once(order, number, stopped)
        except BaseException as bug:  # noqa: BLE001  # risen again by the loop
            self._triggers.fail(bug)
        with self._lock:
            if told is None and order.step.key not in self._superseded:
                self._keep(order)
            self._superseded.discard(order.step.key)
            self._flying.discard(order.step.key)
            self._lock.notify_all()
        if told is not None:
            self._triggers.add(Trigger("done", str(order.step.key), events=tuple(told)))

    def _sent_once(self, order: Order, number: int, stopped: str = "") -> list[Event] | None:
        """What became of an order; None where nobody answered. stopped: why it is not to be sent any more."""
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


def _gathered(answers: Answers, in_flight: int) -> list[tuple[Order, Answer]]:
    """The next answers: at least one, and those that come right behind it."""
    found = [answers.get()]
    if in_flight > 1:
        time.sleep(GATHER_MANY_S if in_flight > AHEAD else GATHER_S)
    while len(found) < in_flight:
        try:
            found.append(answers.get_nowait())
        except queue.Empty:
            break
    return found
