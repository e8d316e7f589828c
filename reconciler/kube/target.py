"""The cluster as the target of a stage. May import: controller, planning, history, kube.

In: what the watch cache sees, and orders.  Out: what is there, as the diff is to see it; outcomes. A key whose state is
not known is never taken for absent: where the cache cannot say, this raises.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from reconciler.controller.declare import Drift
from reconciler.controller.loop import Order
from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.recorder import Recorder
from reconciler.errors import ApiUnavailable, Defect, KindMissing, ReconcilerError, RightMissing
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import Key
from reconciler.history.state import FAILED, Served
from reconciler.history.times import seconds_left
from reconciler.kube.api import Api
from reconciler.kube.asked import DISABLED, Asked
from reconciler.kube.deliveries import Deliveries
from reconciler.kube.fights import MOST, PAUSE_S, Fights
from reconciler.kube.live import Live
from reconciler.kube.resources import OURS
from reconciler.kube.sending import Objects, Sender, seen_tree
from reconciler.model.identity import COMMIT, GROUP, OPERATION
from reconciler.planning.declared import Declared
from reconciler.planning.diff import Observed
from reconciler.planning.drift import policy_for
from reconciler.planning.drifted import CORRECT, REPORT, Owners, View, view
from reconciler.planning.fields import without
from reconciler.planning.objects import OWN_LABELS

PRUNE: Final = f"{GROUP}/prune"


class ClusterTarget:
    """Objects of the API server. Of the loop's thread alone."""

    def __init__(
        self,
        api: Api,
        cache: Objects,
        recorder: Recorder,
        triggers: Queue,
        *,
        fleet: Callable[[], Mapping[str, Any]],
        allowed: Callable[[], object],
        declared: Callable[[], Declared],
    ) -> None:
        """fleet: the policy in force.  allowed: raises LeaseLost where nothing may be written.  declared: by Git."""
        self._cache, self._record, self._triggers = cache, recorder, triggers
        self._fleet, self._allowed = fleet, allowed
        self._fights = Fights()
        self._read: set[str] = set()  # the commits in the log, up to its entry `_read_upto`
        self._read_upto = 0
        self.asked = Asked(cache, recorder, triggers, declared)
        self.publish: Callable[[], None] = lambda: None  # set by wiring, where status is written
        self._deliveries = Deliveries(Sender(api, cache, recorder, self._policy), triggers)

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, keys: Iterable[Key]) -> dict[Key, Observed]:
        """What is there, as far as it is ours. Raises ApiUnavailable, KindMissing, LeaseLost."""
        keys = list(keys)
        if keys:
            self._allowed()
        found = {key: self._seen(key) for key in keys}
        return {key: there for key, there in found.items() if there is not None}

    def _seen(self, key: Key) -> Observed | None:
        served = self._record.state.known(key)
        try:
            live = self._cache.get(key)
            if served.open:
                waits = {} if live is None else self._waits(key, served, live)
                there = {} if live is None else live.found
                deleting = served.action == "delete"
                return Observed(
                    served.order, served.policy, under_way=True, deleting=deleting, found=there, waits=waits
                )
            if live is not None:
                return self._observed(key, served, live)
        except (KindMissing, RightMissing) as failure:  # neither there nor absent; other kinds go on
            return Observed(served.order, served.policy, under_way=served.open, waits={"": failure.message})
        except ReconcilerError:
            raise
        except Exception as bug:  # noqa: BLE001  # what is there cannot be said: nothing is done to it, and that is told
            return Observed({}, waits={"": Defect.at(key, bug).message})
        if _ordered(served) and served.live.get("uid") and self._stays_away(key, served):
            return Observed(served.order)  # somebody deleted it, and that is left so
        return None

    def _observed(self, key: Key, served: Served, live: Live) -> Observed:
        tree = seen_tree(key, live)
        there = live.found
        waits = self._waits(key, served, live)
        if tree == served.order and not live.deleting:
            return Observed(served.order, found=there, waits=waits)
        seen = self._view(key, served, live, tree)
        return Observed(
            tree,
            deleting=live.deleting,
            foreign=_is_theirs(served, live),
            found=there,
            left=seen.left,
            forced=seen.forced,
            waits=waits,
            seen=seen.seen,
        )

    def _stays_away(self, key: Key, served: Served) -> bool:
        """Whether nothing is made in place of what somebody deleted: by a rule, or for a while as they go on."""
        return self._is_contested(key, served) or self._policy(key, "", "") != CORRECT

    def _is_contested(self, key: Key, served: Served) -> bool:
        """Whether it is left alone for a while, after which it is looked at again.

        At each look: an earlier trigger of this object takes the place of a later one.
        """
        if served.fought <= self._now():
            return False
        self._triggers.add(Trigger("object", str(key)), seconds_left(served.fought, self._record.clock.now()))
        return True

    def _view(self, key: Key, served: Served, live: Live, tree: Mapping[str, Any]) -> View:
        contested, by_rule = self._is_contested(key, served), policy_for(key.kind, self._fleet())

        def policy(path: str, manager: str) -> str:
            said = by_rule(path, manager)
            return REPORT if contested and said == CORRECT else said

        return view(_ordered(served), tree, Owners(live.foreign, live.writer), policy, served.live.get("mutated", {}))

    def _policy(self, key: Key, path: str, manager: str) -> str:
        return policy_for(key.kind, self._fleet())(path, manager)

    def _waits(self, key: Key, served: Served, live: Live) -> dict[str, str]:
        """Why what is there may not be touched, by action; "" is any."""
        found: dict[str, str] = {}
        why = self.asked.suspension(key, live)
        if why:
            found[""] = f"suspended by {why['actor']}: {why.get('reason', 'no reason given')}"
        if live.deleting:
            found[""] = "it is being deleted, and waits for its finalizers"
        if live.annotations.get(PRUNE) == DISABLED:
            found["delete"] = f"it carries {PRUNE}: {DISABLED}"
        if not live.ours:
            writer = live.writer or "somebody"
            made = served.live.get("uid")
            if made != live.uid:
                found["delete"] = f"{writer} made it, and not this reconciler"
            if not made and not self._fleet().get("adopt"):
                found["update"] = f"{writer} made it; `adopt: true` in the Fleet takes it over"
        return found

    def drift(self, key: Key) -> Drift | None:
        """See `controller.declare.Cluster`. Where a bug keeps it from being said: none; what observes it tells."""
        try:
            return self._drift(key)
        except ReconcilerError:
            raise
        except Exception as bug:  # noqa: BLE001  # its traceback is kept
            Defect.at(key, bug)
            return None

    def _drift(self, key: Key) -> Drift | None:
        served = self._record.state.known(key)
        try:
            live = self._cache.get(key)
        except (KindMissing, RightMissing):
            return None
        if not _ordered(served) or (live is None and not served.live.get("uid")):
            return None
        if live is None:
            policy = REPORT if self._is_contested(key, served) else self._policy(key, "", "")
            return Drift("deleted", "", policy, uid=str(served.live.get("uid", "")))
        if self._ahead(served, live):
            return None
        tree = seen_tree(key, live)
        again = served.live.get("uid") not in {None, live.uid}
        if tree == served.order and not again:
            return None
        seen = self._view(key, served, live, tree)
        if not seen.fields and not again:
            return None
        what = "made again" if again else "changed"
        policy = seen.policy if seen.fields else self._policy(key, "", live.writer)
        writer = next((one.manager for one in seen.fields if one.manager), live.writer)
        return Drift(what, writer, policy, seen.fields, live.uid, live.version)

    def fought(self, key: Key, drift: Drift) -> Event | None:
        """That the fields of a drift were taken back too often: from now on they are left alone for a while."""
        now = self._record.clock.monotonic()
        over = [one for one in drift.fields if one.policy == CORRECT and self._fights.too_often((key, one.path), now)]
        whole = drift.what != "changed" and drift.policy == CORRECT and self._fights.too_often((key, drift.what), now)
        if not (over or whole):
            return None
        until = rfc3339(self._record.clock.now() + PAUSE_S)
        fields = [{"field": one.path, "manager": one.manager or drift.writer} for one in over]
        fields += [{"field": "the object itself", "manager": drift.writer}] if whole else []
        data = {"count": MOST, "fields": fields, "until": until}
        return self._record.event(ev.DRIFT_FOUGHT, key, data)

    def settle(self) -> list[Event]:
        """See `controller.declare.Cluster`: the operation id that an object carries tells whether it was applied."""
        self._allowed()
        self.asked.read()
        events, busy = [], self._deliveries.waiting
        for text, served in self._record.state.keys.items():
            key = Key.parse(text)
            if served.open and not key.edge and key not in busy:
                with suppress(KindMissing, RightMissing):  # settled when it can be read
                    events.append(self._settled(key, served))
        return events

    def ended(self, key: Key) -> Event | None:
        """See `controller.declare.Cluster`."""
        served = self._record.state.known(key)
        if served.action != "delete" or key in self._deliveries.waiting or self._there(key, served) is not None:
            return None
        return self._settled(key, served)

    def _there(self, key: Key, served: Served) -> Live | None:
        """The object that was ordered to go, while it is there: another one of its name is not it."""
        live, uid = self._cache.get(key), served.live.get("uid")
        return None if live is not None and uid and live.uid != uid else live

    def _settled(self, key: Key, served: Served) -> Event:
        going = served.action == "delete"
        live = self._there(key, served) if going else self._cache.get(key)
        done = live is None if going else live is not None and live.annotations.get(OPERATION) == served.operation
        data: dict[str, Any] = {"recovered": True} if done else {"reason": "the reconciler ended before it was sent"}
        if done and live is not None:
            data["live"] = live.told
        type_ = ev.APPLY_SUCCEEDED if done else ev.APPLY_ABANDONED
        return self._record.event(type_, key, data | {"settled": True}, operationid=served.operation)

    def look(self, key: Key) -> str:
        """See `controller.declare.Cluster`."""
        return self.asked.look(key)

    def suspended(self) -> Mapping[str, Mapping[str, str]]:
        """See `controller.declare.Cluster`."""
        return self.asked.suspended()

    def unknown(self) -> list[Event]:
        """See `controller.declare.Cluster`."""
        known = self._record.state.keys
        found: list[tuple[Key, Live]] = []
        for kind in OURS:
            with suppress(KindMissing, RightMissing):
                found += self._cache.all(kind)
        return [
            self._adopted(key, live)
            for key, live in found
            if _is_marked(live) and (str(key) not in known or self._ahead(known[str(key)], live))
        ]

    def _ahead(self, served: Served, live: Live) -> str:
        """The commit of which another reconciler made an object last, where this log never read it; else ""."""
        commit, ref = live.annotations.get(COMMIT, ""), self._record.state.ref
        ours = live.annotations.get(OPERATION) == served.operation or commit in {"", ref.commit, ref.accepted}
        if ours or not ref.commit:  # nothing was read yet: all is taken over as it is
            return ""
        if commit not in self._read:
            new, self._read_upto = self._record.log.read(self._read_upto, stream="git"), self._record.state.seq
            self._read |= {entry.event.gitcommit for entry in new if entry.event.type == ev.REF_ADVANCED}
        return "" if commit in self._read else commit

    def adopted(self, key: Key) -> Event | None:
        """See `controller.declare.Cluster`."""
        live = self._cache.get(key)
        return self._adopted(key, live) if live is not None and _is_marked(live) else None

    def _adopted(self, key: Key, live: Live) -> Event:
        ahead = self._ahead(self._record.state.known(key), live)
        data = {**live.found, "spec": without(seen_tree(key, live), live.foreign)}
        data |= {"ahead": ahead, "reason": f"another reconciler made it so, of commit {ahead[:12]}"} if ahead else {}
        operation = live.annotations.get(OPERATION, "")
        return self._record.event(ev.OBJECT_ADOPTED, key, data, operationid=operation)

    # ── what is done ──────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, batches: Iterable[Sequence[Order]]) -> Iterable[Sequence[Event]]:
        """Send what is intended (see controller.loop.Target)."""
        return self._deliveries.send(batches)

    def lacks(self, key: Key) -> bool:
        """See `controller.declare.Cluster`."""
        try:
            live = self._cache.get(key)
        except (ApiUnavailable, KindMissing, RightMissing):
            return False
        return live is None or _is_theirs(self._record.state.known(key), live)

    def forbidden(self, key: Key) -> Mapping[str, str]:
        """See `controller.declare.Cluster`."""
        try:
            live = self._cache.get(key)
        except (KindMissing, RightMissing):
            return {}
        return {} if live is None else self._waits(key, self._record.state.known(key), live)

    def stands(self, key: Key, spec: Mapping[str, Any]) -> Event | None:
        """See `controller.declare.Cluster`."""
        try:
            live = self._cache.get(key)
        except (ApiUnavailable, KindMissing, RightMissing):
            return None
        if live is None or not live.ours:
            return None
        data = {**live.found, "spec": spec, "reason": "it is as Git says again"}
        return self._record.event(ev.OBJECT_ADOPTED, key, data)

    def may_write(self) -> None:
        """See `controller.declare.Cluster`."""
        self._allowed()

    def again(self, judge: Callable[[Sequence[Order]], Mapping[Key, str]]) -> None:
        """See `controller.declare.Cluster`."""
        self._deliveries.again(judge)

    def forget(self) -> None:
        """See `controller.declare.Cluster`."""
        self._deliveries.forget()

    def close(self) -> None:
        """End the workers."""
        self._deliveries.close()

    def _now(self) -> str:
        return rfc3339(self._record.clock.now())


def _is_theirs(served: Served, live: Live) -> bool:
    """Whether others made it, and nothing of ours was ever done to it."""
    return not live.ours and not _ordered(served) and not served.live.get("uid")


def _is_marked(live: Live) -> bool:
    """Whether a reconciler made it: by its field manager and its label."""
    return live.ours and OWN_LABELS.items() <= live.labels.items()


def _ordered(served: Served) -> Mapping[str, Any]:
    """What an object was made to be last; nothing where that was refused, so that what is there is simply there."""
    return {} if served.phase in FAILED else served.order
