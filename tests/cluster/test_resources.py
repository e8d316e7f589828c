"""Kinds of Kubernetes itself, registered by a test and kept by the parts that keep our own, on a real API server."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import pytest

from reconciler.engine.queue import Queue
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Order
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import State
from reconciler.kube.client.api import Api
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.resources import Resource
from reconciler.kube.watch.cache import Cache
from reconciler.kube.watch.object import Live
from reconciler.kube.write.apply import MANAGER
from reconciler.kube.write.target import ClusterTarget
from reconciler.planning.declared import Declared
from reconciler.planning.desired import Desired, digest_of
from reconciler.planning.diff import FieldChange, diff
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import make_plan
from tests.control_plane.plane import ControlPlane
from tests.log_events import StillClock
from tests.workloads import DEPLOYMENTS, LABEL, PODS, WORKLOADS

OWN = {"app.kubernetes.io/managed-by": "reconciler", **LABEL}
STRATEGIC = "application/strategic-merge-patch+json"
X = "spec.template.spec.containers[name=x]"
POD: dict[str, Any] = {
    "containers": [
        {
            "name": "x",
            "image": "x:1",
            "env": [
                {"name": "A", "value": "1"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP", "name": "dns"}],
            "readinessProbe": {"httpGet": {"port": 80}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
        {"name": "y", "image": "y:1", "resources": {"limits": {"cpu": "1000m"}}},
    ],
    "volumes": [{"name": "data", "configMap": {"name": "data"}}],
}
SERVED = {"name": "a", "port": 80, "protocol": "TCP"}
WANTED: dict[str, dict[str, Any]] = {
    "Deployment": {
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": POD},
        }
    },
    "Pod": {"spec": POD},
    "Service": {"spec": {"selector": {"app": "x"}, "ports": [SERVED, {**SERVED, "name": "b", "port": 81}]}},
    "ConfigMap": {"data": {"a": "1", "b.yaml": "two: 2\n"}, "immutable": False},
}


class Kept:
    """Objects as a stage has them: a table of resources, a cache, a target, a log."""

    def __init__(self, plane: ControlPlane, resources: Mapping[str, Resource], namespace: str = "") -> None:
        self.plane, self.resources = plane, resources
        self.namespace = namespace or plane.fresh_namespace("kept")
        account = {"metadata": {"name": "default"}}  # which a controller-manager would make, and every Pod needs
        plane.request("POST", f"/api/v1/namespaces/{self.namespace}/serviceaccounts", account)
        self.told: list[str] = []
        self.fleet: dict[str, Any] = {}
        clock = StillClock(time.time())
        recorder = Recorder(MemoryLog("/hub", clock), clock, State(), "hub")
        self.record = recorder.stage(DECLARE)
        self.api = Api(Connection.open(kubeconfig=plane.kubeconfig))
        self.cache = Cache(
            self.api, resources.values(), manager=MANAGER, changed=self._changed, trouble=lambda *_: None
        )
        self.target = ClusterTarget(
            self.api,
            self.cache,
            self.record,
            Queue(clock).stage(DECLARE),
            fleet=lambda: self.fleet,
            allowed=lambda: None,
            declared=Declared,
            resources=resources,
        )
        self.cache.start()
        assert self.cache.wait(60)

    def _changed(self, key: Key, before: Live | None, after: Live | None) -> None:
        self.told.append(str(key))

    def close(self) -> None:
        self.target.close()
        self.cache.close()
        self.api.connection.close()

    def key(self, kind: str) -> Key:
        return Key(kind, self.namespace, "x", "")

    def path(self, kind: str, sub: str = "", name: str = "x") -> str:
        return self.resources[kind].path(self.namespace, name, sub)

    def live(self, kind: str) -> Live:
        found = self.cache.get(self.key(kind))
        assert found is not None
        return found

    def differences(self, kind: str, wanted: Mapping[str, Any]) -> Iterable[Order]:
        """What is to be done, its intent in the log: a pass of the loop."""
        key, keys = self.key(kind), {kind: resource.merge_keys for kind, resource in self.resources.items()}
        found = diff([Desired(key, {"labels": OWN, **wanted})], self.target.observe([key]), keys)
        for step in make_plan(found, Judgement()).steps:
            assert not step.waits
            data = {"action": step.action, "spec": step.spec, "policy": {}, "reason": "", "found": dict(step.found)}
            operation, digest = f"o-{self.record.state.seq}", digest_of(step.spec)
            intent = self.record.event(ev.APPLY_INTENDED, key, data, operationid=operation, newdigest=digest)
            (entry,) = self.record.append([intent])
            yield Order(step, entry)

    def keep(self, kind: str, wanted: Mapping[str, Any] | None = None) -> list[FieldChange]:
        """Make it so; what differed."""
        orders = list(self.differences(kind, wanted or WANTED[kind]))
        events = self.send(orders)
        self.record.append(events)
        outcomes = [one.type for one in events if one.type != ev.APPLY_CONFLICTED]
        assert outcomes == [ev.APPLY_SUCCEEDED] * len(orders), events
        return [change for order in orders for change in order.step.changes]

    def send(self, orders: Sequence[Order]) -> list[Event]:
        """What is to be recorded of orders, when each is answered."""
        told: list[Event] = []

        def are_answered() -> bool:
            told.extend(self.target.answered())
            return sum(one.type != ev.APPLY_CONFLICTED for one in told) == len(orders)

        self.target.send(orders)
        self.until(are_answered)
        return told

    def outcomes(self) -> list[Event]:
        return [one.event for one in self.record.log.read() if one.event.type == ev.APPLY_SUCCEEDED]

    def drift(self, kind: str) -> list[tuple[str, str, Any, Any]]:
        """(path, who, as ordered, as found) of what is not as it was ordered."""
        found = self.target.look(self.key(kind)).drift()
        return [] if found is None else [(one.path, one.manager, one.old, one.new) for one in found.fields]

    def patch(self, kind: str, body: dict[str, Any], manager: str, sub: str = "") -> None:
        """As somebody else does it, seen by the cache when this returns."""
        form = "application/merge-patch+json" if sub else STRATEGIC
        query = {"fieldManager": manager}
        status, answer = self.plane.request("PATCH", self.path(kind, sub), body, query=query, content_type=form)
        assert status == 200, answer
        now = self.plane.get(self.path(kind))["metadata"]["resourceVersion"]
        self.until(lambda: self.live(kind).version == now)

    def until(self, done: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, self.told
            time.sleep(0.01)


@pytest.fixture
def kept(cluster: ControlPlane) -> Iterator[Kept]:
    made = Kept(cluster, WORKLOADS)
    yield made
    made.close()


@pytest.mark.parametrize("kind", WORKLOADS)
def test_what_the_api_server_fills_in_is_no_drift(kept: Kept, kind: str) -> None:
    assert kept.keep(kind)
    filled = {"Deployment": "progressDeadlineSeconds", "Pod": "dnsPolicy", "Service": "clusterIP"}.get(kind)
    assert filled is None or filled in kept.live(kind).spec
    assert kept.drift(kind) == []
    assert kept.keep(kind) == []  # nothing is to be done
    assert (len(kept.outcomes()), kept.told) == (1, [])


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ConfigMap"])
def test_an_outcome_tells_what_became_of_fields_that_were_sent_and_no_default(kept: Kept, kind: str) -> None:
    kept.keep(kind)
    (outcome,) = kept.outcomes()
    mutated = {
        f"{X}.env[name=NODE].valueFrom.fieldRef.apiVersion": [None, "v1"],  # in a mapping that is owned as a whole
        "spec.template.spec.containers[name=y].resources.limits.cpu": ["1000m", "1"],
    }
    assert outcome.data["live"].get("mutated", {}) == (mutated if kind == "Deployment" else {})


def test_a_default_is_no_drift_also_where_the_answer_was_not_seen(kept: Kept) -> None:
    orders = list(kept.differences("Service", WANTED["Service"]))
    assert kept.send(orders)  # and the process ends
    key = kept.key("Service")
    look = kept.target.look(key)
    type_, data = look.settled()
    assert (type_, data["recovered"]) == (ev.APPLY_SUCCEEDED, True)
    kept.record.append([kept.record.event(type_, key, data, operationid=look.served.operation)])
    assert kept.drift("Service") == []
    assert kept.keep("Service") == []


def test_an_image_changed_by_hand_is_named_and_taken_back(kept: Kept) -> None:
    kept.keep("Deployment")
    container = {"name": "x", "image": "x:2", "imagePullPolicy": "Always"}  # the latter is theirs alone
    kept.patch("Deployment", {"spec": {"template": {"spec": {"containers": [container]}}}}, "an-operator")
    assert kept.drift("Deployment") == [(f"{X}.image", "an-operator", "x:1", "x:2")]
    assert kept.told == [str(kept.key("Deployment"))]
    assert kept.keep("Deployment") == [FieldChange(f"{X}.image", "x:2", "x:1")]
    assert kept.drift("Deployment") == []
    assert kept.keep("Deployment") == []
    there = kept.plane.get(kept.path("Deployment"))["spec"]["template"]["spec"]["containers"][0]
    assert (there["image"], there["imagePullPolicy"]) == ("x:1", "Always")


def test_a_replica_count_set_by_another_names_it_also_by_the_subresource_for_it(kept: Kept) -> None:
    kept.keep("Deployment")
    kept.patch("Deployment", {"spec": {"replicas": 5}}, "autoscaler", "scale")
    assert kept.drift("Deployment") == [("spec.replicas", "autoscaler", 2, 5)]
    assert kept.keep("Deployment") == [FieldChange("spec.replicas", 5, 2)]
    kept.patch("Deployment", {"spec": {"replicas": 4}}, "an-operator")
    assert kept.drift("Deployment") == [("spec.replicas", "an-operator", 2, 4)]


def test_a_port_and_a_variable_that_somebody_takes_away_are_named(kept: Kept) -> None:
    kept.keep("Deployment")
    there = kept.plane.get(kept.path("Deployment"))
    there["spec"]["template"]["spec"]["containers"][0] |= {
        "ports": [{"containerPort": 80, "protocol": "UDP", "name": "dns"}],
        "env": POD["containers"][0]["env"][1:],
    }
    assert kept.plane.request("PUT", kept.path("Deployment"), there, query={"fieldManager": "hand"})[0] == 200
    kept.until(lambda: bool(kept.told))
    assert {path for path, *_ in kept.drift("Deployment")} == {
        f"{X}.ports[containerPort=80,protocol=TCP].containerPort",
        f"{X}.env[name=A].name",
        f"{X}.env[name=A].value",
    }
    kept.keep("Deployment")
    assert kept.keep("Deployment") == []


def test_a_value_of_a_config_map_is_named(kept: Kept) -> None:
    kept.keep("ConfigMap")
    kept.patch("ConfigMap", {"data": {"b.yaml": "three: 3\n", "c": "theirs"}}, "an-operator")
    assert kept.drift("ConfigMap") == [('data["b.yaml"]', "an-operator", "two: 2\n", "three: 3\n")]
    kept.keep("ConfigMap")
    assert kept.plane.get(kept.path("ConfigMap"))["data"] == {"a": "1", "b.yaml": "two: 2\n", "c": "theirs"}
    assert kept.keep("ConfigMap", {"data": {"a": "2"}, "immutable": False}) == [
        FieldChange("data.a", "1", "2"),
        FieldChange('data["b.yaml"]', "two: 2\n", None),
    ]
    assert kept.plane.get(kept.path("ConfigMap"))["data"] == {"a": "2", "c": "theirs"}
    assert (
        len({one.newdigest for one in (e.event for e in kept.record.log.read()) if one.type == ev.APPLY_INTENDED}) > 1
    )


@pytest.mark.parametrize(("policy", "image"), [("correct", "x:3"), ("report", "x:2")])
def test_a_conflict_names_the_field_as_drift_and_its_rules_do(kept: Kept, policy: str, image: str) -> None:
    """Somebody was quicker than the order that is on its way."""
    kept.fleet["drift"] = [{"policy": policy, "fields": [f"{X}.image"]}]
    kept.keep("Deployment")
    wanted = deepcopy(WANTED["Deployment"])
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "x:3"
    orders = list(kept.differences("Deployment", wanted))
    container = {"name": "x", "image": "x:2"}
    kept.patch("Deployment", {"spec": {"template": {"spec": {"containers": [container]}}}}, "kubectl-edit")
    told = kept.send(orders)
    assert [event.type for event in told] == [ev.APPLY_CONFLICTED, ev.APPLY_SUCCEEDED]
    assert told[0].data["fields"] == [{"field": f"{X}.image", "manager": "kubectl-edit"}]
    assert kept.live("Deployment").spec["template"]["spec"]["containers"][0]["image"] == image


@pytest.mark.parametrize("kind", ["Service", "ConfigMap"])
def test_what_a_new_log_finds_is_as_it_was_ordered_without_what_was_filled_in(kept: Kept, kind: str) -> None:
    kept.keep(kind)
    again = Kept(kept.plane, WORKLOADS, kept.namespace)
    try:
        key = again.key(kind)
        again.record.append([again.record.event(ev.OBJECT_ADOPTED, key, again.target.look(key).adopted())])
        assert again.drift(kind) == []
        assert again.keep(kind) == []
    finally:
        again.close()


@pytest.mark.parametrize("matters", [True, False])
def test_a_change_of_the_status_alone_is_told_where_it_matters(cluster: ControlPlane, matters: bool) -> None:
    kept = Kept(cluster, {"Deployment": DEPLOYMENTS._replace(status_matters=matters)})
    try:
        kept.keep("Deployment")
        kept.patch("Deployment", {"status": {"replicas": 2, "observedGeneration": 1}}, "controller", "status")
        assert kept.live("Deployment").status["replicas"] == 2
        assert kept.told == ([str(kept.key("Deployment"))] if matters else [])
        assert kept.drift("Deployment") == []
        assert kept.keep("Deployment") == []
    finally:
        kept.close()


def test_a_kind_that_is_selected_is_seen_where_it_is_labelled(kept: Kept) -> None:
    def pod(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
        head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": dict(labels)}}
        return {**head, "spec": {"containers": [{"name": "x", "image": "x:1"}]}}

    collection = PODS.path(kept.namespace)
    kept.plane.post(collection, pod("theirs", {"app": "x"}))
    kept.plane.post(collection, pod("x", OWN))
    kept.until(lambda: bool(kept.told))
    mine = kept.key("Pod")
    assert [key for key, _ in kept.cache.all("Pod") if key.namespace == kept.namespace] == [mine]
    assert kept.told == [str(mine)]
    theirs = mine._replace(name="theirs")
    body = kept.api.get(PODS, "theirs", kept.namespace)  # what was answered of it is not kept either
    assert body is not None
    kept.cache.put(theirs, body)
    assert kept.cache.get(theirs) is None
    labels = {"metadata": {"labels": dict.fromkeys(LABEL)}}
    assert kept.plane.request("PATCH", kept.path("Pod"), labels)[0] == 200
    kept.until(lambda: len(kept.told) == 2)
    assert kept.cache.get(mine) is None  # as if it were gone
