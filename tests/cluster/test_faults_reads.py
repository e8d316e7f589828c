"""What a whole hub does with reads that are old, in disorder or failed, and with rights that change while it runs."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from reconciler.wiring import cluster as wiring
from tests.api_proxy import GONE, Answer, Cut, CutBody, Delay, Hold, Rule, Shuffle
from tests.cluster.cluster_hub import World, fleet, key, manifest, model, models, port, started, uid, uids, written
from tests.control_plane.plane import USERS

KIND: Final = "inferencemodels$"
OBJECT: Final = "inferencemodels/[^/]+$"
ONE: Final = key("one")
SOMEBODY: Final = "somebody"


def made_by_hand(world: World, name: str, **spec: Any) -> str:
    """Somebody makes an InferenceModel. Its uid."""
    document = json.loads(model(name, **spec)[f"models/{name}.yaml"])
    made = world.plane.request("POST", world.path("").rstrip("/"), document, query={"fieldManager": SOMEBODY})
    assert made[0] == 201, made
    return str(made[1]["metadata"]["uid"])


def deaf(world: World) -> None:
    """From now on the hub hears nothing of InferenceModels; `proxy.clear` ends it."""
    world.proxy.add(Rule(Hold(), verb="watch", path=KIND, times=None))


# ── 33: what is read may be old ───────────────────────────────────────────────────────────────────────────────────────


def test_fault_033_lists_in_any_order_are_read_alike(world: World) -> None:
    started(world, models(20))
    before = uids(world)
    world.stop()
    world.proxy.forget()
    world.delete("m00001")
    world.edit("m00002", {"spec": {"nodeName": "elsewhere"}})
    world.proxy.add(Rule(Shuffle(), verb="list", times=None))
    world.hub()
    world.wait_settled()
    world.wait(lambda: uid(world, "m00001"), "made again")
    world.edit("m00003", {"spec": {"nodeName": "elsewhere"}})  # the watch goes on from where the list ended
    world.wait_event("drift.detected", count=3)
    world.wait_settled()
    assert [one for one in world.sent("list") if one.fault == "Shuffle"]
    assert {name for name, was in before.items() if uid(world, name) != was} == {"m00001"}
    world.proxy.wait(lambda _: written(world) == ["m00001", "m00002", "m00003"])
    assert len(world.events("drift.detected")) == 3
    world.check()


def test_fault_033_a_delete_never_takes_another_object_of_the_name(world: World) -> None:
    started(world, model("one"))
    deaf(world)
    world.delete("one")
    second = made_by_hand(world, "one")
    world.commit({"models/one.yaml": None, **model("two")})
    world.wait_event("apply.intended", ONE, action="delete")
    world.proxy.wait(lambda all_: [one.status for one in all_ if one.verb == "delete" and one.status])
    assert uid(world, "one") == second
    world.proxy.clear()
    world.wait_settled()
    world.wait(  # by whether its end and the new one's beginning are heard of apart
        lambda: world.events("object.gone", ONE) or "made it" in world.mine.waits.get(ONE, ""), "it is looked at anew"
    )
    world.look()
    world.commit(model("three"))
    world.wait(lambda: "three" in world.versions(), "others go on")
    assert uid(world, "one") == second
    assert [one.status for one in world.sent("delete")] == [409]
    world.check()


def test_fault_033_a_change_of_what_was_made_again_unseen_names_its_maker(world: World) -> None:
    started(world, model("one", servingPort=1))
    first = uid(world, "one")
    deaf(world)
    world.delete("one")
    second = made_by_hand(world, "one", servingPort=7)
    world.commit(model("one", "2", servingPort=1))
    world.wait_event("apply.intended", ONE, count=2)
    world.wait(lambda: port(world) == 1, "corrected")
    world.proxy.clear()
    world.wait_settled()
    assert first != second == uid(world, "one")
    conflict = world.wait_event("apply.conflicted", ONE)
    assert {"field": "spec.servingPort", "manager": SOMEBODY} in conflict.event.data["fields"]
    assert world.served("one").live["uid"] == second
    world.check()


def test_fault_033_what_somebody_made_unseen_is_not_taken_over(world: World) -> None:
    started(world, model("one"))
    deaf(world)
    theirs = made_by_hand(world, "two", servingPort=7)
    world.commit({**model("two", servingPort=1), **model("three")})
    world.wait(lambda: "three" in world.versions(), "others go on")
    world.wait_event("apply.intended", key("two"))
    world.wait(lambda: not world.served("two").open, "answered")
    assert port(world, "two") == 7
    world.proxy.clear()
    world.wait(lambda: "made it" in world.mine.waits.get(key("two"), ""), "it is looked at anew")
    world.look()
    world.commit(model("four"))
    world.wait(lambda: "four" in world.versions(), "others go on")
    assert (uid(world, "two"), port(world, "two")) == (theirs, 7)
    world.check()


# ── 40: a read that failed says nothing ───────────────────────────────────────────────────────────────────────────────

A_STATUS: Final = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}'
A_LIST: Final = b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":""},"items":[]}'
NO_VERSION: Final = b'{"kind":"InferenceModelList","apiVersion":"ai.kubeedge.io/v1alpha1","metadata":{},"items":[]}'
UNREADABLE: Final[dict[str, Answer | CutBody]] = {
    "500": Answer(500),
    "503": Answer(503),
    "403": Answer(403),
    "garbage": Answer(200, body=b"<html>log in</html>"),
    "a status": Answer(200, body=A_STATUS),
    "another list": Answer(200, body=A_LIST),
    "no version": Answer(200, body=NO_VERSION),
    "cut": CutBody(),
}


def begun_while(world: World, fault: Rule, monkeypatch: pytest.MonkeyPatch, count: int = 6) -> dict[str, str]:
    """A hub whose LISTs fail, and that has read a commit which adds, changes and deletes. uid by name, of before."""
    monkeypatch.setattr(wiring, "LISTED_S", 0.2)
    started(world, models(count))
    before = uids(world)
    world.stop()
    world.delete("m00002")
    files, newer = models(count), models(count, "2")
    rows = [first(newer)[1], *first(files)[2:]]
    world.commit({**files, "models/0.yaml": "\n---\n".join(rows), **model("new")})
    world.proxy.forget()
    world.proxy.add(fault)
    world.hub()
    return before


def first(files: dict[str, str]) -> list[str]:
    return files["models/0.yaml"].split("\n---\n")


def nothing_came_of_it(world: World) -> None:
    """Neither intent nor write, though the commit was read."""
    world.wait(lambda: world.state.ref.commit == world.repository.head(), "the commit read")
    so_far = len(world.proxy.requests())
    world.look()
    world.wait(
        lambda: world.writes() or sum(bool(one.fault) for one in world.proxy.requests()[so_far:]) >= 2,
        "read in vain again",
        90,  # later and later, up to 30 s
    )
    assert world.writes() == []
    assert world.state.ref.accepted != world.repository.head()


def did_it_all(world: World, before: dict[str, str]) -> None:
    """What the commit says, and no more, once all can be read."""
    world.wait_settled()
    world.wait(lambda: uid(world, "m00002"), "made again")
    now = uids(world)
    assert now.keys() == before.keys() - {"m00000"} | {"new"}
    assert {name for name in before.keys() & now.keys() if before[name] != now[name]} == {"m00002"}
    wanted = ["m00000", "m00001", "m00002", "new"]
    world.proxy.wait(lambda _: written(world) == wanted)
    world.check()


@pytest.mark.parametrize("name", UNREADABLE)
def test_fault_040_a_list_that_fails_at_the_start_is_not_empty(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = begun_while(world, Rule(UNREADABLE[name], verb="list", path=KIND, times=None), monkeypatch)
    nothing_came_of_it(world)
    world.wait_event("cluster.lost", what="InferenceModel")
    world.proxy.clear()
    did_it_all(world, before)
    world.wait(lambda: not world.state.lost, "nothing is lost any more")


@pytest.mark.parametrize("name", ["500", "cut"])
def test_fault_040_a_part_of_a_list_is_not_all_of_it(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Rule(UNREADABLE[name], verb="list", path=KIND, query="continue=", times=None)
    before = begun_while(world, rule, monkeypatch, count=600)
    nothing_came_of_it(world)
    world.proxy.clear()
    did_it_all(world, before)


FAILED_GETS: Final[dict[str, Answer | CutBody]] = {
    "404": Answer(404),
    "403": Answer(403),
    "500": Answer(500),
    "garbage": Answer(200, body=b"<html>log in</html>"),
    "cut": CutBody(),
}


@pytest.mark.parametrize("name", FAILED_GETS)
def test_fault_040_a_write_is_not_judged_by_a_get_that_failed(world: World, name: str) -> None:
    """Neither for lost nor for done: it is asked again until there is an answer."""
    started(world, models(6))
    before = uids(world)
    world.proxy.add(
        Rule(Cut(applied=True), verb="patch", path="m00001"),
        Rule(Cut(), verb="patch", path="m00002"),
        Rule(Cut(applied=True), verb="delete", path="m00003"),
        Rule(Cut(), verb="delete", path="m00004"),
        Rule(FAILED_GETS[name], verb="get", path=OBJECT, times=6),
    )
    changed = first(models(6, "2"))[:3]
    world.commit({"models/0.yaml": "\n---\n".join([*changed, first(models(6))[5]])})
    world.wait_settled()
    world.proxy.wait(lambda all_: sum(one.verb == "get" and bool(one.fault) for one in all_) == 6)
    assert world.versions() == {"m00000": "2", "m00001": "2", "m00002": "2", "m00005": "1"}
    assert all(uid(world, name) == before[name] for name in world.versions())
    effects = [(verb, subject) for _, verb, subject, code in world.audited() if code < 300][7:]
    assert sorted(effects) == [
        *(("delete", key(name)) for name in ("m00003", "m00004")),
        *(("patch", key(name)) for name in ("m00000", "m00001", "m00002")),
    ]
    recovered = {one.event.subject for one in world.events("apply.succeeded") if one.event.data.get("recovered")}
    assert {key("m00001"), key("m00003")} <= recovered
    assert key("m00002") not in recovered
    assert world.events("apply.failed") == []
    world.check()


def test_fault_040_a_conflict_waits_for_the_get_that_explains_it(world: World) -> None:
    started(world, model("one", servingPort=1))
    world.proxy.add(Rule(Delay(1.5), verb="patch", path=OBJECT), Rule(Answer(500), verb="get", path=OBJECT, times=3))
    world.commit(model("one", servingPort=2))
    world.wait_event("apply.intended", ONE, count=2)
    world.edit("one", {"spec": {"servingPort": 9}})
    world.wait(lambda: port(world) == 2, "taken by rule, once it was seen whose it is")
    world.wait_settled()
    assert len([one for one in world.sent("get") if one.status == 500]) == 3
    forced = [one for one in world.sent("patch") if "force=true" in one.query]
    assert [one.status for one in forced] == [200]
    world.check()


# ── 41: rights and credentials change while the hub runs ──────────────────────────────────────────────────────────────

RBAC: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
VERBS: Final = ("get", "list", "watch", "create", "patch", "delete")
MODELS: Final = {"group": "ai.kubeedge.io", "resource": "inferencemodels"}


def may(world: World, verb: str) -> bool:
    """Whether the hub's user may do this with InferenceModels."""
    spec = {"user": f"system:serviceaccount:{USERS}:{world.user}", "resourceAttributes": {**MODELS, "verb": verb}}
    made = world.plane.post(REVIEWS, {"spec": spec})
    return bool(made["status"]["allowed"])


def change_rights(world: World, *taken: str) -> None:
    """The hub's user may do everything that it needs, without these verbs on InferenceModels; once that is in force."""
    path = f"{RBAC}/{USERS}-{world.user}"
    rules = world.plane.get(path)["rules"]
    (mine,) = [rule for rule in rules if rule["resources"] == ["inferencemodels"]]
    mine["verbs"] = [verb for verb in VERBS if verb not in taken]
    code, said = world.plane.request("PATCH", path, {"rules": rules})
    assert code == 200, said
    world.wait(lambda: {verb for verb in VERBS if not may(world, verb)} == {*taken}, "the rights are in force")


def test_fault_041_a_right_to_change_is_taken_and_given_back(world: World) -> None:
    started(world, {**models(3), **edge("berlin", "n1")})
    change_rights(world, "patch")
    world.commit({**models(3, "2"), **edge("berlin", "n2")})
    world.wait_event("apply.failed", key("m00001"), code="RX413")
    told = world.wait_event("apply.failed", count=3).event.data
    assert "may not patch inferencemodels" in told["error"]
    assert "verbs: [patch]" in told["error"]
    assert "reconciler crds roles" in told["hint"]
    world.wait(lambda: node(world, "berlin") == "n2", "other kinds go on")
    world.wait(lambda: world.served("berlin", "Edge").phase == "Committed", "and are recorded")
    rows = [row for row in world.status().objects if row.kind == "InferenceModel"]
    assert ["may not patch" in row.message for row in rows] == [True] * 3
    assert set(world.versions().values()) == {"1"}
    (lost,) = world.status().cluster_lost
    assert (lost.what, "may not patch" in lost.error) == ("the right to patch inferencemodels", True)
    change_rights(world)
    world.wait(lambda: set(world.versions().values()) == {"2"}, "done by itself")
    world.wait_settled()
    world.wait(lambda: not world.status().cluster_lost, "nothing is missing any more")
    assert not any("may not" in row.message for row in world.status().objects)
    world.check()


def test_fault_041_a_right_to_delete_is_taken_and_given_back(world: World) -> None:
    """What may not be pruned stays in the inventory, so that it goes later."""
    started(world, {**models(3), **model("one")})
    change_rights(world, "delete")
    world.commit({**models(3, "2"), "models/one.yaml": None})
    refused = world.wait_event("apply.failed", ONE).event.data
    assert "may not delete inferencemodels" in refused["error"]
    world.wait(lambda: [world.versions()[f"m{n:05}"] for n in range(3)] == ["2"] * 3, "others go on")
    assert uid(world, "one")
    world.wait_event("cluster.lost", what="the right to delete inferencemodels")
    change_rights(world)
    world.wait(lambda: not uid(world, "one"), "it goes by itself")
    world.wait_settled()
    assert ONE not in world.mine.keys
    world.check()


def test_fault_041_a_right_to_read_is_taken_and_given_back(world: World) -> None:
    """What cannot be read is neither made again nor pruned; nobody has to ask for it when it can be."""
    started(world, {**models(3), **edge("berlin", "n1")})
    before = uids(world)
    change_rights(world, "list", "watch")
    world.proxy.add(Rule(GONE, verb="watch", path=KIND))  # watches that are open go on as long as they last
    lost = world.wait_event("cluster.lost", what="InferenceModel").event.data
    assert "may not list inferencemodels" in lost["error"]
    (told,) = world.status().cluster_lost
    assert "may not list" in told.error
    assert ["may not list inferencemodels" in one for one in not_ready(world)] == [True]
    files = first(models(3, "2"))
    world.commit({"models/0.yaml": "\n---\n".join(files[1:]), **edge("berlin", "n2")})
    world.wait(lambda: node(world, "berlin") == "n2", "other kinds go on")
    world.wait(lambda: "may not list" in world.mine.waits.get(key("m00000"), ""), "it is said what waits, and why")
    assert uids(world) == before
    assert {one.path.rpartition("/")[2] for one in world.writes()} == {"berlin"}
    change_rights(world)
    world.wait_event("cluster.found", what="InferenceModel")
    world.wait(lambda: world.versions() == {"m00001": "2", "m00002": "2"}, "done by itself")
    world.wait_settled()
    assert uids(world) == {name: before[name] for name in ("m00001", "m00002")}
    assert not_ready(world) == []
    world.check()


def not_ready(world: World) -> list[str]:
    """What /readyz would say."""
    return world.hubs[-1][0].vitals.waits()


def test_an_api_server_that_is_away_is_told_to_who_asks_whether_the_hub_is_ready(world: World) -> None:
    started(world, model("one"))
    assert not_ready(world) == []
    world.proxy.add(Rule(Answer(503), times=None), Rule(GONE, verb="watch", path=KIND))
    world.wait(lambda: any("503" in one or "lease" in one.lower() for one in not_ready(world)), "said")
    world.proxy.clear()
    world.wait(lambda: not not_ready(world), "ready again")


def test_the_right_to_namespaces_is_missed_only_where_git_declares_one(world: World) -> None:
    path = f"{RBAC}/{USERS}-{world.user}"
    rules = [one for one in world.plane.get(path)["rules"] if one["resources"] != ["namespaces"]]
    assert world.plane.request("PATCH", path, {"rules": rules})[0] == 200
    started(world, model("one"))
    assert (not_ready(world), world.status().cluster_lost) == ([], ())
    space = {"name": f"{world.home}-new", "annotations": {"ai.kubeedge.io/prune": "disabled"}}
    world.commit({"space.yaml": json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": space})})
    world.wait(lambda: "may not list namespaces" in str(world.mine.waits.values()), "what waits, and for which right")
    assert "may not list namespaces" in str(not_ready(world))


def test_fault_041_whichever_right_is_taken_is_said_and_what_it_kept_is_done_when_it_is_back(world: World) -> None:
    started(world, fleet() | model("one"))
    path = f"{RBAC}/{USERS}-{world.user}"
    whole = world.plane.get(path)["rules"]
    taken = {("inferencemodels", "create"), ("fleets/status", "patch"), ("events", "create")}

    def grant(rules: list[dict[str, Any]]) -> None:
        code, said = world.plane.request("PATCH", path, {"rules": rules})
        assert code == 200, said

    left = [one | {"verbs": [v for v in one["verbs"] if (one["resources"][0], v) not in taken]} for one in whole]
    grant([one for one in left if one["verbs"]])
    world.wait(lambda: not may(world, "create"), "the rights are in force")
    world.commit(model("one", "2") | model("two"))
    lost = {f"the right to {verb} {resource}" for resource, verb in taken}
    world.wait(lambda: {one.what for one in world.status().cluster_lost} == lost, "each is said")
    assert world.versions() == {"one": "2"}
    grant(whole)
    world.wait(lambda: world.versions() == {"one": "2", "two": "1"}, "made by itself")
    world.wait(lambda: not world.status().cluster_lost, "nothing is missing any more")
    revision = f"main@sha1:{world.repository.head()}"

    def revisions() -> list[str]:
        return [(world.there("fleet", "Fleet") or {}).get("status", {}).get("lastAppliedRevision", "")]

    world.wait(lambda: revisions() == [revision], "and told by itself")


@pytest.mark.parametrize("order", ["replaced, then revoked", "revoked, then replaced"])
def test_fault_041_a_token_is_replaced_while_the_hub_runs(world: World, order: str) -> None:
    started(world, models(3))
    old = token(world.proxy.kubeconfig)
    new = fresh_token(world)
    if order.startswith("replaced"):
        put_token(world.proxy.kubeconfig, new)
    world.proxy.add(Rule(Answer(401), token=old, times=None))  # the API server remembers tokens for a while
    world.commit(models(3, "2"))
    if order.startswith("revoked"):
        world.proxy.wait(lambda all_: sum(one.status == 401 for one in all_) >= 4)
        assert set(world.versions().values()) == {"1"}
        assert world.events("apply.failed") == []
        put_token(world.proxy.kubeconfig, new)
    world.wait(lambda: set(world.versions().values()) == {"2"}, "the new token is used")
    world.wait_settled()
    assert {one.token for one in world.writes() if one.status == 200} == {new}
    world.wait(lambda: not world.state.lost, "nothing is lost any more")
    told = json.dumps([one.event.data for one in world.entries()])
    assert old not in told
    assert new not in told
    world.check()


def edge(name: str, on: str) -> dict[str, str]:
    return {f"edges/{name}.yaml": manifest("Edge", name, {"nodeName": on})}


def node(world: World, name: str) -> str:
    return str((world.there(name, "Edge") or {})["spec"]["nodeName"])


def fresh_token(world: World) -> str:
    """Another one of the hub's user."""
    path = f"/api/v1/namespaces/{USERS}/serviceaccounts/{world.user}/token"
    return str(world.plane.post(path, {"spec": {"expirationSeconds": 3600}})["status"]["token"])


def token(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])


def put_token(kubeconfig: Path, value: str) -> None:
    """As who rotates it would: the whole file at once."""
    document = yaml.safe_load(kubeconfig.read_text())
    document["users"][0]["user"]["token"] = value
    beside = kubeconfig.with_suffix(".new")
    beside.write_text(yaml.safe_dump(document))
    beside.replace(kubeconfig)
