"""Rights that were cut while the hub runs: said once, asked for until they are back. May import: engine.retry, kube.

In: refusals of requests, as whoever sent them met them.  Out: which right is missing, and that it is there again.
Asked is the API server (admin.access), so nothing is sent once more only to learn whether it may be.
"""

import random
import threading
from collections.abc import Callable
from typing import Final

from reconciler.engine.retry import Backoff
from reconciler.errors import ReconcilerError, RightMissing
from reconciler.kube.client.rights import PolicyRule
from reconciler.model.identity import RIGHT_TO

DELAY_MAX_S: Final = 30.0
LEAST_S: Final = 0.5
CLOSE_S: Final = 2.0


class Denials:
    """The rights that are missing now. `heard` is called from any thread; `told` also from one of its own."""

    def __init__(
        self, lacks: Callable[[PolicyRule, str], bool], told: Callable[[str, RightMissing | None], None]
    ) -> None:
        """lacks(rule, namespace): whether it is still missing; raises what Api raises.

        told(right, denial): it is missing, with the API server's words; None: it is there again. Once a change.
        """
        self._lacks, self._told = lacks, told
        self._lock = threading.Lock()
        self._lacking: dict[str, tuple[PolicyRule, str]] = {}  # by its name: the rule, and a namespace where it is due
        self._backoff = Backoff(cap_s=DELAY_MAX_S, sample=random.random)
        self._closed = threading.Event()
        self._asks: threading.Thread | None = None

    def heard(self, denial: RightMissing) -> None:
        """A request was refused for want of a right."""
        rule, namespace = denial.right
        name = f"{RIGHT_TO}{rule.verbs[0]} {rule.resource}"
        with self._lock:
            if name in self._lacking or self._closed.is_set():
                return
            self._lacking[name] = rule, namespace
            self._told(name, denial)
            if self._asks is None:
                self._asks = threading.Thread(target=self._run, name="denials", daemon=True)
                self._asks.start()

    def close(self) -> None:
        """Ask no more; a question that is under way is not waited for for long. Idempotent."""
        with self._lock:
            self._closed.set()
            asks = self._asks
        if asks is not None:
            asks.join(CLOSE_S)

    def _run(self) -> None:
        """Ask later and later for what is missing, until all of it is back."""
        while not self._closed.wait(LEAST_S + self._backoff.failed()):
            with self._lock:
                lacking = dict(self._lacking)
            for name, (rule, namespace) in lacking.items():
                if self._is_back(rule, namespace):
                    with self._lock:
                        if self._closed.is_set():
                            return
                        del self._lacking[name]
                        self._told(name, None)
            with self._lock:
                if not self._lacking:
                    self._asks = None
                    return

    def _is_back(self, rule: PolicyRule, namespace: str) -> bool:
        try:
            return not self._lacks(rule, namespace)
        except ReconcilerError:
            return False
