"""The cluster as the target of a stage. May import: controller, planning, history, kube.

In: what the watch cache sees, and orders.  Out: what is there, as the diff is to see it; outcomes. A key whose state is
not known is never taken for absent: where the cache cannot say, this raises.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from reconciler.controller.queue import Cause, StageQueue, Trigger
from reconciler.controller.recorder import StageRecorder
from reconciler.controller.stage import Order
from reconciler.errors import KindMissing, RightMissing
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import Key
from reconciler.history.times import seconds_left
from reconciler.kube.api import Api
from reconciler.kube.asked import Asked
from reconciler.kube.deliveries import Deliveries
from reconciler.kube.live import Live
from reconciler.kube.resources import OURS, Resource
from reconciler.kube.sending import MANAGER, Objects, Sender, seen_tree
from reconciler.planning.declared import Declared
from reconciler.planning.diff import Observed
from reconciler.planning.drift import policy_for
from reconciler.planning.look import Look, Rules, is_marked


class ClusterTarget:
    """Objects of the API server. Of the loop's thread alone."""

    def __init__(
        self,
        api: Api,
        cache: Objects,
        record: StageRecorder,
        triggers: StageQueue,
        *,
        fleet: Callable[[], Mapping[str, Any]],
        allowed: Callable[[], object],
        declared: Callable[[], Declared],
        resources: Mapping[str, Resource] = OURS,
        manager: str = MANAGER,
    ) -> None:
        """fleet: the policy in force.  allowed: raises LeaseLost where nothing may be written.  declared: by Git."""
        self._cache, self._record, self._triggers = cache, record, triggers
        self._fleet, self._allowed, self._resources = fleet, allowed, resources
        self._known_rules: tuple[object, dict[str, Rules]] = (None, {})
        self.asked = Asked(cache, record, triggers, declared, kinds=resources)
        self._deliveries = Deliveries(Sender(api, cache, record, self._policy, resources, manager), triggers)

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, key: Key) -> Look:
        """One object as it was ordered and as it is. Raises ApiUnavailable, KindMissing, RightMissing."""
        return self._look(key, self._cache.get(key))

    def strangers(self) -> Iterator[Look]:
        """What this stage of a reconciler has made and this log does not know, of the kinds that can be read.

        Raises ApiUnavailable.
        """
        for kind in self._resources:
            with suppress(KindMissing, RightMissing):
                for key, live in self._cache.all(kind):
                    if is_marked(live, self._record.name) and str(key) not in self._record.mine.keys:
                        yield self._look(key, live)

    def _look(self, key: Key, live: Live | None) -> Look:
        tree = {} if live is None else seen_tree(self._resources[key.kind], live)
        suspension = {} if live is None else self.asked.suspension(key, live)
        now = rfc3339(self._record.clock.now())
        rules, mine = self._rules(key.kind), self._record
        return Look(key, mine.mine.known(key), live, tree, rules, suspension, now, mine.name)

    def _rules(self, kind: str) -> Rules:
        """Those of a kind, by the policy in force; worked out once for each policy."""
        fleet = self._fleet()
        if self._known_rules[0] is not fleet:
            self._known_rules = (fleet, {})
        found = self._known_rules[1].get(kind)
        if found is None:
            adopt, keys = bool(fleet.get("adopt")), self._resources[kind].merge_keys
            found = self._known_rules[1][kind] = Rules(policy_for(kind, fleet), adopt, keys)
        return found

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What is there, as far as it is ours. Raises ApiUnavailable, LeaseLost."""
        keys = list(keys)
        if keys:
            self._allowed()
        found = {}
        for key in keys:
            try:
                look = self.look(key)
            except (KindMissing, RightMissing) as failure:  # neither there nor absent; other kinds go on
                served = self._record.mine.known(key)
                found[key] = Observed(served.order, served.policy, served.open, waits={"": failure.message})
                continue
            observed = look.observed()
            if observed is not None:
                found[key] = observed
            if look.is_contested:  # at each look: an earlier trigger of this object takes the place of a later one
                delay_s = seconds_left(look.served.fought, self._record.clock.now())
                self._triggers.add(Trigger(Cause.OBJECT, str(key)), delay_s)
        return found

    # ── what is done ──────────────────────────────────────────────────────────────────────────────────────────────

    def _policy(self, key: Key, path: str, manager: str) -> str:
        return self._rules(key.kind).policy(path, manager)

    @property
    def in_flight(self) -> int:
        """See controller.stage.Target."""
        return self._deliveries.in_flight

    def send(self, orders: Sequence[Order]) -> None:
        """See controller.stage.Target."""
        self._deliveries.send(orders)

    def answered(self) -> Sequence[Event]:
        """See controller.stage.Target."""
        return self._deliveries.answered()

    @property
    def unanswered(self) -> frozenset[Key]:
        """See `controller.declare.Cluster`."""
        return self._deliveries.unanswered

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        """See `controller.declare.Cluster`."""
        self._deliveries.again(judge)

    def forget(self) -> None:
        """See `controller.declare.Cluster`."""
        self._deliveries.forget()

    def may_write(self) -> None:
        """See `controller.declare.Cluster`."""
        self._allowed()

    def close(self) -> None:
        """End the workers."""
        self._deliveries.close()
