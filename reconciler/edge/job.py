"""The job of one key that a worker has in hand, and its tools. May import: ports, engine.

In: begun by edge.work.  Out: what happened, as triggers for the loop, which alone writes the log.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.edge.runtimes import Runtimes
from reconciler.edge.slots import Slots
from reconciler.engine.queue import Cause, Trigger
from reconciler.history.events import Event
from reconciler.history.keys import Key
from reconciler.ports import ArtifactStore


@dataclass
class Job:
    """One key's work in hand."""

    key: Key
    spec: dict[str, Any] | None
    policy: Mapping[str, Any]
    operation: str
    stopped: bool = False  # its worker is to stop at its next step
    stage: str = "waiting"
    done: int = 0
    total: int | None = None
    went_back: bool = False  # the version was flipped to and left again


@dataclass(frozen=True)
class Tools:
    """The tools of a job."""

    edge: str
    store: ArtifactStore
    slots: Callable[[Key], Slots]
    runtimes: Runtimes
    event: Callable[..., Event]  # of the recorder of `deliver`
    post: Callable[[Trigger, float], object]  # queue.add
    monotonic: Callable[[], float]
    sample: Callable[[], float]  # uniform in [0, 1), for jitter
    cap_bytes: int  # what is not needed is evicted while the store holds more than this

    def say(self, job: Job, type_: str, data: Mapping[str, Any]) -> None:
        """Have the loop record what a worker did."""
        event = self.event(type_, job.key, data, operationid=job.operation)
        self.post(Trigger(Cause.HAPPENED, str(job.key), (event,)), 0.0)
