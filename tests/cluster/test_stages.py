"""A stage that only tests have, in the hub and on a real API server: nothing of the product knows of it."""

import hashlib
import itertools
import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from reconciler.engine.queue import Cause, Trigger
from reconciler.errors import ReconcilerError
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import StageState
from reconciler.kube.client.resources import OURS
from reconciler.model.identity import SERVICE, STAGE
from reconciler.serving import endpoint
from reconciler.wiring.agent import EdgeAgent
from reconciler.wiring.hub import ask
from tests.api_proxy import Delay, Rule
from tests.artifact_server import ArtifactServer
from tests.cluster.children_stage import (
    CONDITION,
    DEADLINE_S,
    FINALIZER,
    MANAGER,
    NAME,
    WATCHED,
    children,
    children_stage,
)
from tests.cluster.cluster_hub import EDITOR, PATIENCE_S, World, fleet, key, manifest, model, models, service
from tests.cluster.deliver_stage import deliver_stage
from tests.cluster.test_suspend import annotate
from tests.control_plane.client import Document
from tests.control_plane.plane import ControlPlane
from tests.digits import ARTIFACTS, free_port
from tests.e2e.fleet import QUESTION

COUNT: Final = 600
VERBS: Final = ["get", "list", "watch", "create", "patch", "delete"]
RIGHTS: Final = (
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": VERBS},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": VERBS},
)
FURTHER: Final = [children_stage]


class Family(World):
    """A world whose hub has the stage, unless it is left out."""

    @property
    def kept(self) -> StageState:
        """What the log knows of the children."""
        return self.state.stage(NAME)

    def started(self, files: Mapping[str, str]) -> None:
        """A hub with the stage that has done what Git says."""
        if files:
            self.commit(files)
        self.hub(further=FURTHER)
        self.wait_settled()

    def dying(self, step: str) -> "subprocess.Popen[bytes]":
        """A hub with the stage, as a process that is killed at a step."""
        return self.process(step, arguments=["tests.cluster.children_stage", json.dumps(self.settings())])

    def look_again(self) -> None:
        """Until both stages have looked at everything once more."""
        before = self.state.seq
        for stage in (DECLARE, NAME):
            happened = self.hubs[-1][0].record.event("test.looked.v1", "test", {"stage": stage})
            queue = self.hubs[-1][0].queue.stage(stage)
            queue.add(Trigger(Cause.AUDIT))
            queue.add(Trigger(Cause.HAPPENED, events=(happened,)), 0.3)
        self.wait(lambda: sum(one.seq > before for one in self.events("test.looked")) >= 2, "looked at")

    def by_hand(self, name: str, version: str = "1", **spec: Any) -> None:
        """Somebody makes an InferenceModel."""
        document = json.loads(model(name, version, **spec)[f"models/{name}.yaml"])
        self.plane.post(self.path("").rstrip("/"), document)

    def child(self, name: str, kind: str = "Deployment") -> Document | None:
        """As it is there."""
        code, found = self._read(WATCHED[kind].path("default", name))
        return found if code == 200 else None

    def change_child(self, name: str, kind: str, change: Document, sub: str = "") -> None:
        """Somebody changes a child."""
        path = WATCHED[kind].path("default", name, sub)
        code, answer = self.plane.request("PATCH", path, change, query={"fieldManager": EDITOR})
        assert code == 200, answer

    def version(self, name: str, kind: str = "Deployment") -> str:
        """Of a child; "" where there is none."""
        found = self.child(name, kind)
        if found is None:
            return ""
        if kind == "ConfigMap":
            return str(found["data"]["version"])
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]).partition(":")[2]

    def wait_versions(self, **wanted: str) -> None:
        """Until the children of these parents are of these versions; "" for gone."""
        for name, kind in itertools.product(wanted, WATCHED):
            self.wait(lambda: self.version(name, kind) == wanted[name], f"{kind} {name} {wanted[name]!r}")  # noqa: B023

    def made(self, name: str) -> list[str]:
        """Actions and kinds of the orders of a parent's children, as they were intended."""
        subjects = {str(child) for child in children(Key.parse(key(name)))}
        found = [one.event for one in self.events("apply.intended") if one.event.subject in subjects]
        return [f"{one.data['action']} {one.subject.partition('/')[0]}" for one in found]

    def condition(self, name: str) -> tuple[str, str]:
        """The stage's own, of a parent: its status and message; two empty texts where it has none."""
        found = (self.there(name) or {}).get("status", {}).get("conditions", ())
        return next(((one["status"], one["message"]) for one in found if one["type"] == CONDITION), ("", ""))


@pytest.fixture
def family(cluster: ControlPlane, tmp_path: Path) -> Iterator[Family]:
    made = Family(cluster, tmp_path, "hub", "", *RIGHTS)
    try:
        yield made
    finally:
        made.close()
        for row in WATCHED.values():
            cluster.request("DELETE", row.path("default"), query={"labelSelector": row.label_selector})
        for item in cluster.get(OURS[SERVICE].path())["items"]:
            cluster.request("PATCH", made.path(item["metadata"]["name"]), {"metadata": {"finalizers": None}})


def test_a_parent_made_by_hand_gets_both_children_the_second_after_the_first(family: Family) -> None:
    family.started(fleet())
    family.by_hand("one")
    family.wait_versions(one="1")
    assert family.made("one") == ["create ConfigMap", "create Deployment"]
    first, second = (family.wait_event("apply.succeeded", str(one)) for one in children(Key.parse(key("one"))))
    ordered = family.wait_event("apply.intended", second.event.subject)
    assert first.seq < ordered.seq < second.seq


def test_each_stage_has_its_own_field_manager_and_stamp_and_neither_takes_the_others_objects_up(family: Family) -> None:
    family.started({**fleet(), **model("git")})
    family.by_hand("hand")
    family.wait_versions(git="1", hand="1")
    for name in ("git", "hand"):
        for kind in WATCHED:
            metadata = (family.child(name, kind) or {})["metadata"]
            assert {one["manager"] for one in metadata["managedFields"]} == {MANAGER}
            assert metadata["annotations"][STAGE] == NAME
    metadata = (family.there("git") or {})["metadata"]
    assert metadata["annotations"][STAGE] == DECLARE
    assert metadata["finalizers"] == [FINALIZER]
    family.stop()
    shutil.rmtree(family.state_dir.hub.directory)  # the log is lost: what carries a stage is found by it alone
    family.forget()
    family.started({})
    family.wait(lambda: len(family.kept.keys) == 4, "taken up again")
    assert {one.event.partitionkey.partition("/")[0] for one in family.events("object.adopted")} == {"object", NAME}
    assert set(family.mine.keys) == {key("git"), key("fleet", "Fleet")}
    assert not family.made("git") + family.made("hand")


def test_children_follow_what_git_declares_and_go_before_it(family: Family) -> None:
    family.started({**fleet(), **model("one")})
    family.wait_versions(one="1")
    family.commit(model("one", "2"))
    family.wait_versions(one="2")
    family.commit({"models/one.yaml": None})
    family.wait(lambda: family.there("one") is None, "gone")
    family.wait_versions(one="")
    family.wait(lambda: not family.kept.keys and key("one") not in family.mine.keys, "and forgotten")
    deeds = itertools.product(("create", "update", "delete"), WATCHED)
    assert family.made("one") == [f"{action} {kind}" for action, kind in deeds]
    went = [one.event for one in family.events("apply.succeeded") if one.event.subject.endswith("/one")]
    assert went[-1].subject == key("one")  # the finalizer held it until its children were gone


def test_a_hand_edit_that_is_taken_back_never_reaches_a_child(family: Family) -> None:
    family.started({**fleet(), **model("one")})
    family.wait_versions(one="1")
    for version in "789":
        family.edit("one", {"spec": service(version)})
        family.wait(lambda: (family.there("one") or {})["spec"]["targetVersion"] == "1", "taken back")
    family.look_again()
    assert family.made("one") == ["create ConfigMap", "create Deployment"]


def test_a_hand_edit_that_a_rule_lets_stand_reaches_the_children(family: Family) -> None:
    family.started({**fleet(drift=[{"fields": ["spec"], "policy": "report"}]), **model("one")})
    family.wait_versions(one="1")
    family.edit("one", {"spec": service("9")})
    family.wait_versions(one="9")


def test_there_is_no_child_while_the_order_of_its_parent_is_open(family: Family) -> None:
    family.started(fleet())
    family.proxy.add(Rule(Delay(3.0, applied=True), verb="patch", path="inferencemodels/one", query="=reconciler(&|$)"))
    family.commit(model("one"))
    family.wait(lambda: family.there("one"), "it is there")
    family.look_again()
    assert not family.made("one")
    assert family.served("one").open
    family.wait_versions(one="1")
    answered = family.wait_event("apply.succeeded", key("one"))
    assert all(one.seq > answered.seq for one in family.entries() if one.event.partitionkey.startswith(f"{NAME}/"))


def test_a_child_that_somebody_changes_or_deletes_is_put_back_in_the_stream_of_its_stage(family: Family) -> None:
    family.started(fleet())
    family.by_hand("one")
    family.wait_versions(one="1")
    family.change_child("one", "ConfigMap", {"data": {"version": "8"}})
    found = family.wait_event("drift.detected", "ConfigMap/default/one")
    assert (found.event.partitionkey, found.event.actor) == (f"{NAME}/ConfigMap/default/one", EDITOR)
    family.change_child("one", "Deployment", {"spec": {"replicas": 5}})
    family.wait(lambda: (family.child("one") or {})["spec"]["replicas"] == 1, "put back")
    family.plane.request("DELETE", WATCHED["Deployment"].path("default", "one"))
    family.wait_event("drift.detected", "Deployment/default/one", what="deleted")
    family.wait_versions(one="1")


def test_what_a_child_says_of_itself_is_a_condition_of_its_parent(family: Family) -> None:
    family.started(fleet())
    family.by_hand("one")
    family.wait_versions(one="1")
    family.wait(lambda: family.condition("one") == ("False", "0 of 1 ready"), "not ready")
    family.change_child("one", "Deployment", {"status": {"replicas": 1, "readyReplicas": 1}}, "status")
    family.wait(lambda: family.condition("one") == ("True", "1 of 1 ready"), "ready")
    family.look_again()
    assert family.made("one") == ["create ConfigMap", "create Deployment"]  # a status is no drift


def test_deletes_of_children_spend_nothing_of_the_limit_of_the_fleet(family: Family) -> None:
    limits = {"prune": {"maxDeletes": 1, "maxShare": "100%"}}
    family.started({**fleet(**limits), **model("one"), **model("two")})
    names = [f"h{n}" for n in range(4)]
    for name in names:
        family.by_hand(name)
    family.wait_versions(**dict.fromkeys((*names, "one", "two"), "1"))
    for name in names:
        family.delete(name)
    family.wait_versions(**dict.fromkeys(names, ""))
    family.commit({"models/one.yaml": None})
    family.wait(lambda: family.there("one") is None, "not held")
    assert (len(family.mine.deletes), len(family.kept.deletes), family.mine.held_plan) == (1, 10, None)


@pytest.mark.parametrize("how", ["annotation", "verb"])
def test_who_suspends_a_parent_suspends_its_children(family: Family, how: str) -> None:
    family.started({**fleet(), **(model("one") if how == "verb" else {})})
    if how == "annotation":
        family.by_hand("one")
    family.wait_versions(one="1")

    def say(verb: str, value: str | None) -> None:
        if how == "verb":
            asked = {"verb": verb, "scope": key("one"), "actor": "ada", "reason": "is measured"}
            ask(family.hubs[-1][0].queue, asked)
        else:
            annotate(family, "one", reconcile=value, suspend_reason="is measured")

    say("suspend", "disabled")
    family.change_child("one", "Deployment", {"spec": {"replicas": 5}})
    family.wait(lambda: "is measured" in family.kept.waits.get("Deployment/default/one", ""), "waits")
    family.edit("one", {"spec": service("2")})
    family.look_again()
    assert (family.version("one", "ConfigMap"), (family.child("one") or {})["spec"]["replicas"]) == ("1", 5)
    say("resume", None)
    family.wait_versions(one="1" if how == "verb" else "2")  # declare takes back what it has made
    family.wait(lambda: (family.child("one") or {})["spec"]["replicas"] == 1, "put back")


def test_a_parent_waits_for_a_child_that_does_not_go_until_the_deadline(family: Family) -> None:
    family.started({**fleet(), **model("one")})
    family.wait_versions(one="1")
    family.change_child("one", "ConfigMap", {"metadata": {"finalizers": ["test.kubeedge.io/stuck"]}})
    begun = time.monotonic()
    family.commit({"models/one.yaml": None})
    family.wait(lambda: family.version("one") == "", "the other child has gone")
    family.wait(lambda: family.there("one") is None, "gone")
    assert time.monotonic() - begun > DEADLINE_S
    assert family.kept.known("ConfigMap/default/one").open
    family.change_child("one", "ConfigMap", {"metadata": {"finalizers": None}})
    family.wait(lambda: not family.kept.keys, "and forgotten when it has gone")


def test_what_happened_while_it_was_down_is_mended_at_a_restart_and_nothing_is_done_twice(family: Family) -> None:
    family.started({**fleet(), **model("git")})
    family.by_hand("hand")
    family.wait_versions(git="1", hand="1")
    family.stop()
    family.change_child("git", "ConfigMap", {"data": {"version": "8"}})
    family.edit("git", {"spec": service("7")})  # declare takes it back once Git has answered
    family.edit("hand", {"spec": service("2")})
    family.started({})
    family.wait_versions(git="1", hand="2")
    assert family.made("git")[2:] == ["update ConfigMap"]
    assert family.made("hand")[2:] == ["update ConfigMap", "update Deployment"]


@pytest.mark.parametrize("step", ["loop.intended:kill", "cluster.sent:kill:2", "loop.intended:kill:2"])
def test_killed_around_the_request_of_a_child_it_makes_each_once(family: Family, step: str) -> None:
    family.started(fleet())
    family.stop()
    names = [f"h{n}" for n in range(3)]
    for name in names:
        family.by_hand(name)
    assert family.dying(step).wait(60) == -signal.SIGKILL, family.output()
    family.bury()
    family.started({})
    family.wait_versions(**dict.fromkeys(names, "1"))
    family.wait(lambda: not any(one.open for one in family.kept.keys.values()), "answered")
    assert {
        (family.child(name, kind) or {})["metadata"].get("generation", 1) for name in names for kind in WATCHED
    } == {1}


def test_a_stage_that_is_left_out_of_a_start_keeps_what_it_knows(family: Family) -> None:
    family.started({**fleet(), **model("git"), **model("gone")})
    family.by_hand("hand")
    family.wait_versions(git="1", gone="1", hand="1")
    family.stop()
    before, counted = dict(family.kept.keys), len(family.mine.keys)
    family.commit({**model("git", "2"), "models/gone.yaml": None})
    family.hub()
    family.wait(lambda: (family.there("git") or {})["spec"]["targetVersion"] == "2", "declared")
    family.wait_event("apply.abandoned", key("gone"))  # it is held by a finalizer whose stage is not there
    ask(family.hubs[-1][0].queue, {"verb": "reconcile", "scope": "*", "actor": "ada"})
    assert family.kept.keys == before
    assert [family.version("git", kind) for kind in WATCHED] == ["1", "1"]
    assert len(family.mine.keys) == counted
    assert {one.kind for one in family.status().objects} == {"Fleet", "InferenceModel", *WATCHED}
    family.stop()
    family.hub(further=FURTHER)
    family.wait_versions(git="2", gone="", hand="1")
    family.wait(lambda: family.there("gone") is None, "gone")
    assert family.made("hand") == ["create ConfigMap", "create Deployment"]


def test_a_stage_that_begins_late_over_an_old_log_makes_what_is_not_there(family: Family) -> None:
    family.commit({**fleet(), **model("git")})
    family.hub()
    family.wait_settled()
    family.by_hand("hand")
    family.stop()
    family.started({})
    family.wait_versions(git="1", hand="1")
    assert len(family.mine.keys) == 2


def test_an_expansion_that_raises_is_its_keys_own_problem(family: Family) -> None:
    family.started({**fleet(), **model("git")})
    family.by_hand("bad", modelName="raises")
    family.by_hand("good")
    family.wait_versions(git="1", good="1")
    family.wait(lambda: family.condition("bad")[0] == "False", "told")
    assert "a bug of this stage" in family.condition("bad")[1]
    assert "a bug of this stage" in str(family.state.stage("children").problems["ConfigMap/default/bad"])
    family.commit(model("git", "2"))
    family.wait_versions(git="2", bad="")
    family.edit("bad", {"spec": {"modelName": "mended"}})
    family.wait_versions(bad="1")
    family.wait(lambda: "ConfigMap/default/bad" not in family.state.stage("children").problems, "told")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("step", ["loop.intended:kill:2", "loop.intended:kill:3"])
def test_killed_between_batches_of_one_plan_and_of_two_stages(family: Family, step: str) -> None:
    family.started(fleet())
    family.stop()
    family.commit(models(COUNT))
    assert family.dying(step).wait(120) == -signal.SIGKILL, family.output()
    family.bury()
    family.started({})
    family.wait(lambda: sum(one.phase == "Committed" for one in family.kept.keys.values()) == 2 * COUNT, "made", 200)
    assert not [one for one in (*family.mine.keys.values(), *family.kept.keys.values()) if one.open]
    assert family.mine.to_begin == family.kept.to_begin == {}
    for kind in WATCHED:
        items = family.plane.get(WATCHED[kind].path("default"))["items"]
        found = [one["metadata"].get("generation", 1) for one in items if one["metadata"]["name"].startswith("m0")]
        assert found == [1] * COUNT


# ── deliver in the same hub ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def artifacts() -> Iterator[ArtifactServer]:
    """Serves both versions of the digits."""
    with ArtifactServer() as server:
        for version in "12":
            name = f"digits-{version}.tar.gz"
            server.files[f"/{name}"] = (ARTIFACTS / name).read_bytes()
        yield server


@pytest.fixture
def agent(family: Family) -> Iterator[EdgeAgent]:
    """A real agent of the edge `berlin`, running."""
    made = EdgeAgent("berlin", family.state_dir)
    thread = threading.Thread(target=made.run, name="agent")
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(PATIENCE_S)


def spec_of_digits(server: ArtifactServer, version: str, port: int) -> dict[str, Any]:
    """Of an InferenceModel on the node `berlin`."""

    def entry(one: str) -> dict[str, str]:
        name = f"/digits-{one}.tar.gz"
        digest = hashlib.sha256(server.files[name]).hexdigest()
        return {"version": one, "downloadURL": server.url(name), "sha256sum": digest}

    both = [entry("1"), entry("2")]
    return {**service(version), "modelName": "digits", "manifest": both, "servingPort": port}


def test_live_objects_are_delivered_to_a_real_agent_beside_their_children(
    family: Family, artifacts: ArtifactServer, agent: EdgeAgent
) -> None:
    ports = {"git": free_port(), "hand": free_port()}

    def served() -> dict[str, str]:
        return {name: version(port) for name, port in ports.items()}

    def version(port: int) -> str:
        try:
            url = endpoint.model_url("127.0.0.1", port, "digits")
            return str(endpoint.infer(url, QUESTION, timeout_s=5.0)["model_version"])
        except ReconcilerError:
            return ""

    def of(name: str, one: str) -> dict[str, Any]:
        return spec_of_digits(artifacts, one, ports[name])

    berlin = {"edges/berlin.yaml": manifest("Edge", "berlin", {"address": "127.0.0.1"})}
    git = {"models/git.yaml": manifest("InferenceModel", "git", of("git", "1"))}
    family.commit({**fleet(artifacts={"allowLoopback": True}), **berlin, **git})
    family.hub(further=[children_stage, deliver_stage(family.state_dir)])
    family.by_hand("hand", **of("hand", "1"))
    family.wait(lambda: served() == {"git": "1", "hand": "1"}, "served")
    family.wait_versions(git="1", hand="1")

    family.edit("git", {"spec": of("git", "2")})  # which is taken back
    family.edit("hand", {"spec": of("hand", "2")})
    family.wait(lambda: served() == {"git": "1", "hand": "2"}, "changed")
    ordered = [one for one in family.events("apply.intended", f"{key('git')}@berlin") if one.origin is None]
    assert [one.event.data["spec"]["version"] for one in ordered] == ["1"]

    family.delete("hand")
    family.wait(lambda: served() == {"git": "1", "hand": ""}, "gone")
    family.wait(lambda: [row.name for row in family.status().rows] == ["git"], "told")
    assert {one.name for one in family.status().objects} == {"git", "fleet", "berlin"}
