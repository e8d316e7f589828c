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
from reconciler.history.keys import Key, stream_of
from reconciler.history.state import Served
from reconciler.history.times import seconds_left
from reconciler.kube.client.api import Api
from reconciler.kube.client.resources import KEPT, Resource
from reconciler.kube.watch.object import Live
from reconciler.kube.write.annotations import Annotations
from reconciler.kube.write.apply import MANAGER, Objects, Sender, seen_tree
from reconciler.kube.write.dispatcher import Dispatcher
from reconciler.model.identity import COMMIT, OPERATION
from reconciler.planning.declared import Declared
from reconciler.planning.diff import Observed
from reconciler.planning.drift_rules import people_of, policy_for
from reconciler.planning.look import Look, Rules, held_by, is_marked


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
        resources: Mapping[str, Resource] = KEPT,
        manager: str = MANAGER,
        install: str = "",
    ) -> None:
        """fleet: the policy in force.  allowed: raises LeaseLost where nothing may be written.  declared: by Git.

        install: see Sender.
        """
        super().__init__(Sender(api, cache, record, self._rules, resources, manager, install), triggers)
        self._install = install
        self._cache, self._record = cache, record
        self._fleet, self._allowed, self._resources = fleet, allowed, resources
        self._known_rules: tuple[object, dict[str, Rules]] = (None, {})
        self._read: set[str] = set()  # the commits in the log, up to its entry `_read_upto`
        self._read_upto = 0
        self.asked = Annotations(cache, record, triggers, declared, kinds=resources, install=install)

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
                    if not is_marked(live, self._record.name, self._install):
                        continue
                    if known is None or self._ahead(known, live) or self._is_elsewhere(key, known, live):
                        yield self._look(key, live)

    def _look(self, key: Key, live: Live | None) -> Look:
        holder = "" if live is None else held_by(live, self._install)
        tree = {} if live is None else seen_tree(self._resources[key.kind], live, holder)
        suspension = {} if live is None else self.asked.suspension(key, live)
        served = self._record.mine.known(key)
        contested = bool(served.fought) and served.fought > rfc3339(self._record.clock.now())
        ahead = "" if live is None or holder else self._ahead(served, live)
        is_otherwise = live is not None and not holder and not ahead and tree != served.order
        elsewhere = live is not None and is_otherwise and self._is_elsewhere(key, served, live)
        rules, stage = self._rules(key.kind), self._record.name
        return Look(
            key,
            served,
            live,
            tree,
            rules,
            suspension,
            contested,
            ahead,
            stage,
            self._install,
            is_elsewhere=elsewhere,
        )

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

    def _is_elsewhere(self, key: Key, served: Served, live: Live) -> bool:
        """Whether a reconciler made an object last by an operation that this log does not have: it was put back."""
        operation = live.annotations.get(OPERATION, "")
        if not operation or served.open or operation == served.operation or not served.operation:
            return False
        if not is_marked(live, self._record.name, self._install):
            return False
        past = self._record.log.read(stream=stream_of(self._record.name, key))
        return not any(entry.event.operationid == operation for entry in past)

    def _rules(self, kind: str) -> Rules:
        """Those of a kind, by the policy in force; worked out once for each policy."""
        fleet = self._fleet()
        if self._known_rules[0] is not fleet:
            self._known_rules = (fleet, {})
        found = self._known_rules[1].get(kind)
        if found is None:
            adopt, keys = bool(fleet.get("adopt")), self._resources[kind].merge_keys
            rules = Rules(policy_for(kind, fleet), adopt, keys, people_of(fleet))
            found = self._known_rules[1][kind] = rules
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

    def may_write(self) -> None:
        """See `stages.keeping.Cluster`."""
        self._allowed()
