"""Rounds of retries: orders that got no answer are sent again together. May import: engine, errors.

In: failures, as workers meet them.  Out: whether a round goes on; a trigger when the next one may begin. One failure
ends a round, so an outage costs one request a worker and not one for each that waits.
"""

import random
import threading
from typing import Final

from reconciler.engine.queue import StageQueue, Trigger
from reconciler.engine.retry import retry_delay_s
from reconciler.errors import ApiUnavailable, WorldUnavailable

LEAST_S: Final = 0.2  # before anything is sent again


class Rounds:
    """Counts rounds. `begin` is called from the loop's thread alone, the rest from any."""

    def __init__(self, triggers: StageQueue, next_round: Trigger) -> None:
        """next_round: asks for it."""
        self._triggers, self._next_round = triggers, next_round
        self._lock = threading.Lock()
        self._number, self._failed, self._attempts = 0, 0, 0

    def begin(self) -> int:
        """The number of a new round."""
        self._number += 1
        return self._number

    def is_over(self, number: int) -> bool:
        """Whether this round, or a later one, has failed."""
        return self._failed >= number

    def succeeded(self) -> None:
        """Somebody answers: the next failure is a first one."""
        self._attempts = 0

    def failed(self, failure: WorldUnavailable, number: int) -> None:
        """End the round; the next one begins when the server said, else later and later."""
        with self._lock:
            self._attempts += self._failed < number
            self._failed = max(self._failed, number)
        asked = failure.retry_after_s if isinstance(failure, ApiUnavailable) else None
        delay_s = LEAST_S + retry_delay_s(self._attempts - 1, random.random())  # noqa: S311  # jitter, not a secret
        self._triggers.add(self._next_round, delay_s if asked is None else asked + random.random())  # noqa: S311
