"""A stage of a test: every live InferenceModel gets a ConfigMap, and a Deployment after it.

In: the cluster's stage, on which it stands.  Out: `Stage`, with field manager, condition and finalizer of its own.
A child follows what stands once declare is done with its parent; the finalizer holds the parent until they are gone.
"""

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec

from reconciler.engine.queue import Cause, Trigger
from reconciler.engine.stage import Change, Stage
from reconciler.errors import ReconcilerError
from reconciler.history.conditions import FALSE, TRUE, Verdict
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key, scopes_of
from reconciler.history.times import is_over
from reconciler.kube.client.resources import OURS, document
from reconciler.kube.watch.object import Live
from reconciler.model.identity import SERVICE, STAGE
from reconciler.planning.declare import OWN_LABELS
from reconciler.planning.declared import Object
from reconciler.planning.desired import Desired, Expansion, Frozen, Gone
from reconciler.planning.drift import CORRECT
from reconciler.planning.gate import Judgement
from reconciler.planning.kinds import is_wide
from reconciler.settings import Settings
from reconciler.stages.keeping import Keeping
from reconciler.wiring.cluster import ClusterStage
from reconciler.wiring.hub import HubProcess
from reconciler.wiring.process import Pool
from tests.workloads import CONFIG_MAPS, DEPLOYMENTS

NAME: Final = "children"
MANAGER: Final = "reconciler-children"
FINALIZER: Final = "test.kubeedge.io/children"
CONDITION: Final = "ChildrenReady"
LABELS: Final = {**OWN_LABELS, STAGE: NAME}
WATCHED: Final = {row.kind: row._replace(selector={STAGE: NAME}) for row in (CONFIG_MAPS, DEPLOYMENTS)}
DEADLINE_S: Final = 5.0
AGAIN_S: Final = 0.5
AUDIT_S: Final = 300.0


def children(parent: Key) -> tuple[Key, Key]:
    """Those of an InferenceModel, in the order in which they are made."""
    config, deployment = (parent._replace(kind=kind) for kind in WATCHED)
    return config, deployment


def spec_of(key: Key, parent: Live) -> dict[str, Any]:
    """What a child should be. Pure."""
    if parent.spec.get("modelName") == "raises":
        raise RuntimeError("a bug of this stage")
    version = str(parent.spec.get("targetVersion", ""))
    if key.kind == "ConfigMap":
        return {"labels": LABELS, "data": {"model": str(parent.spec["modelName"]), "version": version}}
    app, container = {"app": key.name}, {"name": "model", "image": f"models/{parent.spec['modelName']}:{version}"}
    pod = {"metadata": {"labels": app}, "spec": {"containers": [container]}}
    return {"labels": LABELS, "spec": {"replicas": 1, "selector": {"matchLabels": app}, "template": pod}}


class Children(Keeping):
    """Its source."""

    def __init__(self, cluster: ClusterStage) -> None:
        self.cache, self.target = cluster.keep(NAME, WATCHED, MANAGER)
        super().__init__(cluster.record.stage(NAME), self.target)
        self._api, self._declare, self._parents = cluster.api, cluster.target, cluster.cache
        self._queue, self._repository = cluster.queue.stage(NAME), cluster.repository
        self._touch, self._pool = cluster.publisher.touch, Pool("children", 1)
        self._asked: dict[str, list[str]] = {}  # uid of a parent -> the finalizers that it was told to have last
        self._held: set[str] = set()  # uids of parents that have it for certain
        self._going: dict[str, float] = {}  # uid of a parent -> when it was seen to go
        cluster.telling.beside[CONDITION] = self.says

    def take(self, trigger: Trigger) -> Change:
        """See engine.stage.Source."""
        key = Key.named(trigger.subject) if trigger.cause is Cause.OBJECT else None
        if key is None:
            change = super().take(trigger)
            for parent, _ in self._parents.all(SERVICE) if change.look else ():
                self._hold(parent)
            return replace(change, then=tuple(_parent(event.subject) for event in trigger.events if event.subject))
        if key.kind == SERVICE:
            self._hold(key)
            return self.change(children(key))
        if key.kind not in WATCHED:  # what is said of an Edge may be said of all that is on it
            return self.audit() if is_wide(key.kind) else Change()
        self._touch(key._replace(kind=SERVICE))
        return replace(super().take(trigger), then=(_parent(trigger.subject),))

    def everything(self) -> list[Key]:
        """See engine.stage.Source."""
        wanted = {child for parent, _ in self._parents.all(SERVICE) for child in children(parent)}
        return sorted(wanted | {Key.parse(text) for text in self._record.mine.keys})

    def expand(self, keys: Iterable[Key]) -> list[Expansion]:
        """See engine.stage.Source."""
        return [self._expanded(key) for key in keys]

    def _expanded(self, key: Key) -> Expansion:
        parent, mine = key._replace(kind=SERVICE), self._record.mine
        look = self._declare.look(parent)
        live = self._parents.get(parent)
        if live is None or live.deleting:
            return Gone(key)
        drift = look.drift()
        if look.served.open or live.uid not in self._held or (drift is not None and drift.policy == CORRECT):
            return Frozen(key, None)  # it stays as it is until declare is done with its parent
        first = children(parent)[0]
        made = mine.known(first)
        if key != first and (made.open or made.phase != "Committed" or made.order != spec_of(first, live)):
            return Frozen(key, None)
        return Desired(key, spec_of(key, live), origin=str(parent), because=f"for {parent}")

    def judge(self, change: Change) -> Judgement:
        """No limits; who keeps a parent from being changed keeps its children."""
        now, declared = rfc3339(self._record.clock.now()), self._repository.declared
        said = {**self._record.state.suspended, **self._declare.asked.suspended(), **self.target.asked.suspended()}
        said = {scope: why for scope, why in said.items() if not is_over(str(why.get("until", "")), now)}
        for key in change.keys if said else ():
            parent = key._replace(kind=SERVICE)
            live = self._parents.get(parent)
            if live is not None:
                edge = declared.edge_of(Object(kind=SERVICE, namespace=key.namespace, name=key.name, spec=live.spec))
                found = (said[scope] for scope in scopes_of(parent, live.labels, edge or "") if scope in said)
                said |= {str(key): why for why in found}
        return Judgement(suspended=said, ordered=self._record.mine.keys)

    # ── what it tells its parents ─────────────────────────────────────────────────────────────────────────────────

    def says(self, parent: Key) -> Verdict | None:
        """The condition of a parent."""
        if parent.kind != SERVICE:
            return None
        problems = [one for child in children(parent) for one in self._record.mine.problems.get(str(child), ())]
        if problems:
            return Verdict(FALSE, "Stalled", str(problems[0]["message"]))
        with suppress(ReconcilerError):
            deployment = self.cache.get(children(parent)[1])
            if deployment is not None:
                ready = int(deployment.status.get("readyReplicas", 0))
                return Verdict(TRUE if ready else FALSE, "Counted", f"{ready} of {deployment.spec['replicas']} ready")
        return None

    def _hold(self, parent: Key) -> None:
        """See that a parent has the finalizer, and loses it when its children are gone or the deadline is over."""
        live = self._parents.get(parent)
        if live is None:
            return
        wanted = [FINALIZER]
        if live.deleting:
            now = self._record.clock.monotonic()
            left_s = self._going.setdefault(live.uid, now) + DEADLINE_S - now
            if left_s > 0 and any(str(child) in self._record.mine.keys for child in children(parent)):
                self._queue.add(Trigger(Cause.OBJECT, str(parent)), left_s)
                return
            wanted = []
        if self._asked.get(live.uid) != wanted:
            self._asked[live.uid] = wanted
            self._pool.submit(partial(self._write, parent, live.uid, wanted))

    def _write(self, parent: Key, uid: str, finalizers: list[str]) -> None:
        """On the worker."""
        row = OURS[SERVICE]
        body = msgspec.json.encode(document(row, parent, {"uid": uid, "finalizers": finalizers}))
        try:
            self._api.apply(row, parent.name, parent.namespace, body, manager=MANAGER, force=False)
        except ReconcilerError:
            self._asked.pop(uid, None)
            self._queue.add(Trigger(Cause.OBJECT, str(parent)), AGAIN_S)
        else:
            self._held.add(uid)
            self._queue.add(Trigger(Cause.OBJECT, str(parent)))


def _parent(child: str) -> Trigger:
    """Has the parent of a child looked at."""
    return Trigger(Cause.OBJECT, str(Key.parse(child)._replace(kind=SERVICE)))


def children_stage(cluster: ClusterStage) -> Stage:
    """The stage, on those of a cluster."""
    source = Children(cluster)
    merge_keys = {kind: row.merge_keys for kind, row in WATCHED.items()}
    return Stage(NAME, source, source.target, {Cause.AUDIT: lambda: AUDIT_S}, merge_keys)


if __name__ == "__main__":
    HubProcess(Settings(**json.loads(sys.argv[1])), further=[children_stage]).run()
