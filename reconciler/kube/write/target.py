"""The cluster as the target of a stage. May import: engine, planning, history, kube.

In: what the watch cache sees, and orders.  Out: what is there, as the diff is to see it; outcomes. A key whose state is
not known is never taken for absent: where the cache cannot say, this raises.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from reconciler.engine.queue import Cause, StageQueue, Trigger
from reconciler.engine.recorder import StageRecorder
from reconciler.errors import Defect, KindMissing, ReconcilerError, RightMissing
from reconciler.history import events as ev
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.history.times import seconds_left
from reconciler.kube.client.api import Api
from reconciler.kube.client.resources import OURS, Resource
from reconciler.kube.watch.object import Live
from reconciler.kube.write.annotations import Annotations
from reconciler.kube.write.apply import MANAGER, Objects, Sender, seen_tree
from reconciler.kube.write.dispatcher import Dispatcher
from reconciler.model.identity import COMMIT, OPERATION
from reconciler.planning.declared import Declared
from reconciler.planning.diff import Observed
from reconciler.planning.drift_rules import policy_for
from reconciler.planning.look import Look, Rules, is_marked


class ClusterTarget(Dispatcher):
    """Objects of the API server: what is there, and the dispatcher of what is to be. Of the loop's thread alone."""

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
        super().__init__(Sender(api, cache, record, self._policy, resources, manager), triggers)
        self._cache, self._record = cache, record
        self._fleet, self._allowed, self._resources = fleet, allowed, resources
        self._known_rules: tuple[object, dict[str, Rules]] = (None, {})
        self._read: set[str] = set()  # the commits in the log, up to its entry `_read_upto`
        self._read_upto = 0
        self.asked = Annotations(cache, record, triggers, declared, kinds=resources)

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, key: Key) -> Look:
        """One object as it was ordered and as it is. Raises ApiUnavailable, KindMissing, RightMissing."""
        return self._look(key, self._cache.get(key))

    def strangers(self) -> Iterator[Look]:
        """What this stage has made and this log does not know, or not of its commit, of the kinds that can be read.

        Raises ApiUnavailable.
        """
        for kind in self._resources:
            with suppress(KindMissing, RightMissing):
                for key, live in self._cache.all(kind):
                    known = self._record.mine.keys.get(str(key))
                    if is_marked(live, self._record.name) and (known is None or self._ahead(known, live)):
                        yield self._look(key, live)

    def _look(self, key: Key, live: Live | None) -> Look:
        tree = {} if live is None else seen_tree(self._resources[key.kind], live)
        suspension = {} if live is None else self.asked.suspension(key, live)
        served = self._record.mine.known(key)
        contested = bool(served.fought) and served.fought > rfc3339(self._record.clock.now())
        ahead = "" if live is None else self._ahead(served, live)
        return Look(key, served, live, tree, self._rules(key.kind), suspension, contested, ahead, self._record.name)

    def _ahead(self, served: Served, live: Live) -> str:
        """The commit of which another reconciler made an object last, where this log never read it; else ""."""
        commit, ref = live.annotations.get(COMMIT, ""), self._record.state.ref
        ours = live.annotations.get(OPERATION) == served.operation or commit in {"", ref.commit, ref.accepted}
        if ours:
            return ""
        if commit not in self._read:
            new, self._read_upto = self._record.log.read(self._read_upto, stream="git"), self._record.state.seq
            self._read |= {entry.event.gitcommit for entry in new if entry.event.type == ev.REF_ADVANCED}
        return "" if commit in self._read else commit

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
                observed = look.observed()
            except (KindMissing, RightMissing) as failure:  # neither there nor absent; other kinds go on
                served = self._record.mine.known(key)
                found[key] = Observed(served.order, served.policy, served.open, waits={"": failure.message})
                continue
            except ReconcilerError:
                raise
            except Exception as bug:  # noqa: BLE001  # what is there cannot be said: nothing is done to it; that is told
                found[key] = Observed({}, waits={"": Defect.at(key, bug).message})
                continue
            if observed is not None:
                found[key] = observed
            if look.is_contested:  # at each look: an earlier trigger of this object takes the place of a later one
                delay_s = seconds_left(look.served.fought, self._record.clock.now())
                self._triggers.add(Trigger(Cause.OBJECT, str(key)), delay_s)
        return found

    def _policy(self, key: Key, path: str, manager: str) -> str:
        return self._rules(key.kind).policy(path, manager)

    def may_write(self) -> None:
        """See `stages.keeping.Cluster`."""
        self._allowed()
