"""Answers of the API server that are late, busy, broken or lost, with a whole hub behind them."""

import itertools
import time

import pytest

from reconciler.engine.queue import Cause, Trigger
from tests.api_proxy import Answer, BrokenTls, Cut, Delay, Rule, retry_after_date
from tests.cluster.cluster_hub import World, fleet, key, model, models, started

MODELS = "inferencemodels/[^/]+$"
WORKERS = 16


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_fault_024_nothing_is_sent_before_the_server_said(world: World, form: str) -> None:
    started(world, models(40))
    header = "2" if form == "seconds" else retry_after_date(1)  # a date has whole seconds: 1 to 2 s away
    world.proxy.add(Rule(Answer(429, headers={"Retry-After": header}), verb="patch", path=MODELS))
    world.commit(models(40, "2"))
    world.wait_settled()
    patches = world.sent("patch")
    (busy,) = [number for number, one in enumerate(patches) if one.status == 429]
    until = patches[busy].at + (2 if form == "seconds" else 1)
    assert sum(one.at < until for one in patches[busy:]) <= WORKERS  # what was on its way already
    good = [one for one in patches if one.status == 200]
    assert len(good) == 40
    assert set(world.versions().values()) == {"2"}
    assert len(world.events("apply.intended")) == 81  # nothing is ordered again: Fleet, 40, 40
    world.check()


@pytest.mark.parametrize(
    "fault", [Answer(500), Answer(502, body=b"<html>"), Answer(503), Cut(), BrokenTls("garbage"), BrokenTls("cut")]
)
def test_fault_025_what_comes_and_goes_needs_nobody(world: World, fault: Answer | Cut | BrokenTls) -> None:
    started(world, models(40))
    if isinstance(fault, BrokenTls):
        world.proxy.add(Rule(fault, times=4))
    else:
        world.proxy.add(Rule(fault, verb="patch", path=MODELS, times=4))
    world.commit(models(40, "2"))
    world.wait_settled()
    assert set(world.versions().values()) == {"2"}
    assert len(world.events("apply.succeeded")) == 81
    assert world.events("apply.failed") == []
    world.check()


def test_fault_025_an_outage_at_a_new_commit_ends_without_a_human(world: World) -> None:
    started(world, models(40))
    world.proxy.outage()
    since = time.monotonic()
    world.commit(models(40, "2"))
    world.wait_event("cluster.lost", what="InferenceModel")
    world.wait(lambda: world.state.ref.commit == world.repository.head(), "the commit read")
    world.wait(lambda: time.monotonic() > since + 5, "an outage of some seconds")
    tried = len(world.proxy.requests())
    assert tried <= 30 * 6  # 6 watches, 16 workers and the Lease, each later and later
    world.proxy.clear()
    world.wait_settled()
    assert set(world.versions().values()) == {"2"}
    world.wait(lambda: not world.state.lost, "nothing is lost any more")
    assert len(world.events("ref.advanced")) == 2
    world.check()


def test_fault_025_an_outage_longer_than_the_lease_ends_without_a_human(world: World) -> None:
    """No write is sent without the Lease, and it is won again."""
    started(world, models(40))
    world.proxy.outage()
    world.commit(models(40, "2"))
    world.wait_event("lease.lost")
    world.proxy.clear()
    world.wait_settled()
    assert set(world.versions().values()) == {"2"}
    world.wait_event("lease.acquired", count=2)
    world.check()


def test_fault_026_an_answer_that_was_lost_is_found_by_its_operation(world: World) -> None:
    started(world, models(20))
    world.proxy.add(Rule(Cut(applied=True), verb="patch", path=MODELS, times=5))
    world.proxy.add(Rule(Delay(12.0, applied=True), verb="patch", path="m00019"))
    world.commit(models(20, "2"))
    world.wait_settled()
    outcomes = world.events("apply.succeeded")[21:]
    recovered = [one for one in outcomes if one.event.data.get("recovered")]
    assert 2 <= len(recovered) <= 6
    assert len(outcomes) == 20
    patches = [at for at, verb, _, code in world.audited() if verb == "patch" and code < 300]
    assert len(patches) == 21 + 20  # and none twice
    assert set(world.versions().values()) == {"2"}
    world.check()


def test_fault_026_an_outcome_that_is_lost_with_the_process_is_found_by_its_operation(world: World) -> None:
    world.commit({**fleet(), **model("one")})
    dying = world.process(failpoint="cluster.sent:kill:2")
    assert dying.wait(60) == -9
    world.bury()
    world.hub()
    world.wait_settled()
    assert [one.event.data.get("recovered") for one in world.events("apply.succeeded")].count(True) >= 1
    assert sum(code < 300 for _, verb, _, code in world.audited() if verb == "patch") == 2
    world.check()


def port(world: World) -> int:
    """That of `one`."""
    found = world.there("one")
    assert found is not None
    return int(found["spec"]["servingPort"])


CONTEST = {"kinds": ["InferenceModel"], "fields": ["spec.servingPort"]}


@pytest.mark.parametrize("policy", ["report", "correct"])
def test_fault_027_contested_fields_are_told_and_taken_only_by_rule(world: World, policy: str) -> None:
    world.commit({**fleet(drift=[{**CONTEST, "policy": policy}]), **model("one", servingPort=1)})
    world.hub()
    world.wait_settled()
    world.edit("one", {"spec": {"servingPort": 9}}, "kubectl-edit")
    drift = world.wait_event("drift.detected", key("one"))
    assert drift.event.data["writer"] == "kubectl-edit"
    assert [one["field"] for one in drift.event.data["fields"]] == ["spec.servingPort"]
    if policy == "correct":
        world.wait(lambda: port(world) == 1, "taken back")
        assert [one.query for one in world.writes()][-1].count("force=true") == 1
        assert world.events("apply.intended", key("one"))[-1].event.data["forced"] == ["spec.servingPort"]
    else:
        world.look()
        world.commit(model("one", "2", servingPort=1))
        world.wait_settled()
        found = world.there("one")
        assert found is not None
        assert (found["spec"]["targetVersion"], found["spec"]["servingPort"]) == ("2", 9)
        assert not any("force" in one.query for one in world.writes())
        owners = [one["manager"] for one in found["metadata"]["managedFields"] if "f:servingPort" in str(one)]
        assert owners == ["kubectl-edit"]


def test_fault_027_a_conflict_that_the_cache_could_not_foresee_is_recorded(world: World) -> None:
    """Somebody writes between the plan and the apply: 409 from the API server itself."""
    world.commit({**fleet(drift=[{**CONTEST, "policy": "report"}]), **model("one", servingPort=1)})
    hub = world.hub()
    world.wait_settled()
    world.proxy.add(Rule(Delay(1.5), verb="patch", path=MODELS))
    world.commit(model("one", servingPort=2))
    world.wait_event("apply.intended", key("one"), count=2)
    world.edit("one", {"spec": {"servingPort": 9}}, "kubectl-edit")
    told = world.wait_event("apply.conflicted", key("one"))
    assert {"field": "spec.servingPort", "manager": "kubectl-edit"} in told.event.data["fields"]
    world.wait_settled()
    assert port(world) == 9
    assert not any("force" in one.query for one in world.writes())
    hub.queue.add(Trigger(Cause.AUDIT))
    assert [one.status for one in world.writes() if "one" in one.path].count(409) == 1


def test_fault_025_the_pause_between_rounds_grows(world: World) -> None:
    started(world, models(40))
    world.proxy.add(Rule(Answer(503), verb="patch", path=MODELS, times=None))
    world.commit(models(40, "2"))
    world.proxy.wait(lambda all_: sum(one.status == 503 for one in all_) >= 1)
    world.wait(lambda: time.monotonic() > world.sent("patch")[0].at + 8, "a few rounds")
    at = [one.at for one in world.sent("patch")]
    rounds = 1 + sum(later - before > 0.15 for before, later in itertools.pairwise(at))
    assert len(at) <= rounds * WORKERS
    assert rounds <= 20
    world.proxy.clear()
    world.wait_settled()
    world.check()


def test_fault_026_what_is_sent_again_never_overtakes_a_newer_order(world: World) -> None:
    started(world, model("one"))
    world.proxy.add(Rule(Answer(503), verb="patch", path=MODELS), Rule(Delay(3.0), verb="patch", path=MODELS, after=1))
    world.commit(model("one", "2"))
    world.wait(lambda: len(world.sent("patch")) == 2, "it is sent again")  # it is on its way once more
    world.commit(model("one", "3"))
    world.wait(lambda: world.served("one").order["spec"]["targetVersion"] == "3", "ordered")
    world.wait_settled()
    world.wait(lambda: [one.status for one in world.sent("patch")] == [503, 200, 200], "both answered", 20)
    assert world.versions()["one"] == "3"
    world.check()
