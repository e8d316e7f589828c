"""The edge's stage over a toy disk: from orders to steps, and what is left alone."""

import pytest

from reconciler.errors import ForkFound, NameUnknown
from reconciler.history import events as ev
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key
from reconciler.history.status import status
from tests.fleets import catalogue, edge, fleet, model_set, plain
from tests.stations import EdgeStation, HubStation, settle, types

MODEL = catalogue("digits", "1 2 3")
KEY = Key("InferenceModel", "default", "digits-e1", "e1")
NOBODY = "InferenceModel/default/nobody@e1"  # a key that nothing is known of
DIGEST = {entry["version"]: entry["sha256sum"] for entry in MODEL.spec["versions"]}
FLIP = {"live": {"version": "1"}}


@pytest.fixture
def hub() -> HubStation:
    station = HubStation()
    station.push(edge("e1"), MODEL, model_set("digits", "1", ref="digits"), fleet(100, "100%"))
    return station


@pytest.fixture
def station(hub: HubStation) -> EdgeStation:
    station = EdgeStation("e1", hub)
    settle(hub, station)
    return station


def order(hub: HubStation, station: EdgeStation, version: str) -> list[str]:
    """Push a version and have the edge take the order; the stored names of what it appended."""
    hub.push(model_set("digits", version, ref="digits"))
    return types(station.turn("orders"))


def test_an_order_becomes_an_intent_of_the_same_operation_then_work_then_an_outcome(hub: HubStation) -> None:
    station = EdgeStation("e1", hub)
    (intent,) = station.turn("orders")
    assert (intent.event.type, intent.event.operationid) == (ev.APPLY_INTENDED, hub.mine.served(KEY).operation)
    assert station.work.begun == [(str(KEY), "1")]
    (outcome,) = station.work.succeed(KEY)
    assert (outcome.event.type, outcome.event.operationid) == (ev.APPLY_SUCCEEDED, intent.event.operationid)
    assert station.mine.served(KEY).phase == "Committed"
    assert station.turn("orders") == station.turn("audit") == []


def test_orders_for_other_edges_are_left_to_them(hub: HubStation) -> None:
    hub.push(edge("e2"))
    station = EdgeStation("e2", hub)
    station.turn("orders")
    assert [key for key, _ in station.work.begun] == ["InferenceModel/default/digits-e2@e2"]


def test_a_newer_order_stops_the_worker_and_is_done_next(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    assert order(hub, station, "3") == []  # one worker a key: it is told to stop first
    assert station.work.cancelled == [KEY]
    assert types(station.work.give_up(KEY)) == [ev.APPLY_ABANDONED, ev.APPLY_INTENDED]
    assert station.work.begun[1:] == [(str(KEY), "2"), (str(KEY), "3")]
    settle(hub, station)
    assert (station.work.stands[KEY]["version"], hub.mine.served(KEY).open) == ("3", False)


def test_a_superseded_worker_that_succeeds_all_the_same_does_not_close_the_newer_order(
    hub: HubStation, station: EdgeStation
) -> None:
    order(hub, station, "2")
    order(hub, station, "3")
    assert types(station.work.succeed(KEY)) == [ev.APPLY_SUCCEEDED, ev.APPLY_INTENDED]
    hub.turn("edge", "e1")
    assert (hub.mine.served(KEY).open, hub.mine.served(KEY).live["version"]) == (True, "2")
    settle(hub, station)
    assert (hub.mine.served(KEY).open, hub.mine.served(KEY).live["version"]) == (False, "3")


def test_an_order_for_what_is_being_done_already_is_closed_by_it(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    hub.push(model_set("digits", "3", ref="digits"))
    hub.push(model_set("digits", "2", ref="digits"))
    assert station.turn("orders") == []
    assert station.work.cancelled == []
    first, second = station.work.succeed(KEY)
    assert (first.event.type, second.event.type) == (ev.APPLY_SUCCEEDED, ev.APPLY_SUCCEEDED)
    assert second.event.operationid == hub.mine.served(KEY).operation != first.event.operationid
    assert len(station.work.begun) == 2


def test_fault_88_three_four_three_while_offline_is_one_look_and_no_work(hub: HubStation, station: EdgeStation) -> None:
    for version in ("2", "3", "1"):
        hub.push(model_set("digits", version, ref="digits"))
    begun = len(station.work.begun)
    entries = station.turn("orders")
    assert types(entries) == [ev.APPLY_SUCCEEDED]
    assert entries[0].event.data["unchanged"] is True
    assert entries[0].event.operationid == hub.mine.served(KEY).operation
    assert len(station.work.begun) == begun
    hub.turn("edge", "e1")
    assert not hub.mine.served(KEY).open


def test_a_removal_is_done_and_the_key_forgotten_on_both_sides(hub: HubStation, station: EdgeStation) -> None:
    hub.push(without=[model_set("digits", "1", ref="digits")])
    station.turn("orders")
    assert station.work.jobs[KEY][0] is None
    assert types(station.work.succeed(KEY)) == [ev.APPLY_SUCCEEDED]
    hub.turn("edge", "e1")
    assert (station.mine.keys, hub.mine.keys) == ({}, {})


def test_several_removals_in_one_plan_meet_no_limit_on_the_edge() -> None:
    hub = HubStation()
    many = [plain(f"m{n}", nodeName="e1", servingPort=9000 + n) for n in range(5)]
    hub.push(edge("e1"), fleet(100, "100%"), *many)
    station = EdgeStation("e1", hub)
    settle(hub, station)
    hub.push(without=many)
    settle(hub, station)
    assert (station.work.stands, hub.mine.keys) == ({}, {})


def test_a_hub_that_is_away_is_no_reason_to_stop(hub: HubStation, station: EdgeStation) -> None:
    station.link.is_away = True
    station.work.silent.add(KEY)
    assert types(station.turn("audit")) == [ev.APPLY_INTENDED]  # what is ordered stands in the edge's own log
    assert types(station.work.succeed(KEY)) == [ev.APPLY_SUCCEEDED]


def test_a_forked_hub_log_is_said_once_and_what_serves_goes_on(hub: HubStation, station: EdgeStation) -> None:
    station.link.refusal = ForkFound("two different events 7")
    assert types(station.turn("orders")) == [ev.LINK_REFUSED]
    assert station.turn("orders") == []
    station.link.refusal = None
    assert types(station.turn("orders")) == [ev.LINK_RESTORED]


# ── failures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_transient_failure_is_tried_again_in_its_own_time_and_not_before(
    hub: HubStation, station: EdgeStation
) -> None:
    order(hub, station, "2")
    begun = len(station.work.begun)
    (outcome,) = station.work.stumble(KEY)
    delay_s = outcome.event.data["retryMs"] / 1000
    assert (outcome.event.type, 0 < delay_s <= 1) == (ev.APPLY_ABANDONED, True)
    assert len(station.work.begun) == begun
    station.clock.seconds += delay_s - 0.01
    assert station.turn("keys", NOBODY) == []
    station.clock.seconds += 0.02
    assert types(station.turn("keys", NOBODY)) == [ev.APPLY_INTENDED]
    assert len(station.work.begun) == begun + 1
    settle(hub, station)
    assert hub.mine.served(KEY).phase == "Committed"


def test_a_newer_order_need_not_wait_for_an_older_one_s_next_try(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    order(hub, station, "3")
    assert types(station.work.stumble(KEY)) == [ev.APPLY_ABANDONED, ev.APPLY_INTENDED]
    assert station.work.begun[-1] == (str(KEY), "3")


def test_a_refusal_waits_for_its_time_or_new_input(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    (refused,) = station.work.refuse(KEY, "RX410")
    assert refused.event.type == ev.APPLY_FAILED
    assert station.turn("orders") == station.turn("audit") == []  # an audit is no reason to ask again
    station.clock.seconds += refused.event.data["retryMs"] / 1000
    assert types(station.turn("keys", NOBODY)) == [ev.APPLY_INTENDED]
    station.work.refuse(KEY, "RX410")
    assert order(hub, station, "3") == [ev.APPLY_INTENDED]
    assert station.work.begun[1:] == [(str(KEY), "2"), (str(KEY), "2"), (str(KEY), "3")]


def test_a_model_that_was_refused_a_port_has_it_when_the_one_before_is_gone() -> None:
    hub, old, new = HubStation(), plain("old", nodeName="e1"), plain("new", nodeName="e1")
    hub.push(edge("e1"), fleet(100, "100%"), old)
    station = EdgeStation("e1", hub)
    settle(hub, station)
    hub.push(new, without=[old])
    station.turn("orders")
    station.work.taken.add(8080)
    first, second = (Key("InferenceModel", "default", name, "e1") for name in ("new", "old"))
    assert types(station.work.refuse(first, "RX406")) == [ev.APPLY_FAILED]
    station.work.taken.clear()
    assert types(station.work.succeed(second)) == [ev.APPLY_SUCCEEDED, ev.APPLY_INTENDED]
    settle(hub, station)
    assert list(station.work.stands) == [first]


def test_two_models_that_a_stranger_keeps_from_their_port_do_not_take_turns() -> None:
    hub = HubStation()
    hub.push(edge("e1"), *(plain(name, nodeName="e1", servingPort=port) for name, port in (("a", 9001), ("b", 9002))))
    station = EdgeStation("e1", hub)
    station.turn("orders")
    station.work.taken |= {9001, 9002}
    for key in list(station.work.jobs):
        station.work.refuse(key, "RX406")
    assert (station.work.jobs, len(station.work.begun)) == ({}, 2)


def test_a_port_that_became_free_is_noticed_by_itself_and_nothing_is_told_before(
    hub: HubStation, station: EdgeStation
) -> None:
    hub.push(plain("other", nodeName="e1", servingPort=9001))
    station.turn("orders")
    key = Key("InferenceModel", "default", "other", "e1")
    station.work.taken.add(9001)
    station.work.refuse(key, "RX406")
    for _ in range(20):
        station.clock.seconds += 6.0
        assert station.turn("keys", NOBODY) == []
    station.work.taken.clear()
    station.clock.seconds += 6.0
    assert types(station.turn("keys", NOBODY)) == [ev.APPLY_INTENDED]
    settle(hub, station)
    assert hub.mine.known(key).phase == "Committed"


def test_a_port_that_can_be_had_and_yet_is_refused_is_not_asked_in_a_loop(
    hub: HubStation, station: EdgeStation
) -> None:
    order(hub, station, "2")
    assert types(station.work.refuse(KEY, "RX406")) == [ev.APPLY_FAILED]


def test_each_failure_in_a_row_waits_longer_also_over_a_restart(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    waited = []
    for n in range(6):
        (refused,) = station.work.refuse(KEY, "RX401")
        waited.append(refused.event.data["retryMs"] / 1000)
        if n == 2:
            station = station.again(hub)
            assert types(station.turn("start")) == [ev.APPLY_INTENDED]  # a start asks once
        else:
            station.clock.seconds += waited[-1]
            assert types(station.turn("keys", NOBODY)) == [ev.APPLY_INTENDED]
    assert waited == [300, 600, 1200, 2400, 4800, 9600]
    station.work.succeed(KEY)
    assert (station.mine.known(KEY).tries, station.mine.known(KEY).retry) == (0, "")


def test_what_is_quarantined_has_no_next_time(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    refused = station.work.refuse(KEY, "RX404", quarantine=DIGEST["2"])[0].event
    assert "retryMs" not in refused.data
    station.clock.seconds += 1e6
    assert station.turn("audit") == []
    assert station.again(hub).turn("start") == []


def test_reconcile_tries_now_what_was_refused_or_waits_and_leaves_what_is_quarantined(
    hub: HubStation, station: EdgeStation
) -> None:
    order(hub, station, "2")
    station.work.refuse(KEY, "RX410")
    hub.turn("edge", "e1")
    assert types(hub.verb("reconcile", scope="e1", model="digits")) == [ev.RETRY_ASKED, ev.APPLY_INTENDED]
    assert hub.mine.known(KEY).open
    assert types(station.turn("orders")) == [ev.APPLY_INTENDED]
    station.work.stumble(KEY)
    hub.turn("edge", "e1")
    assert types(hub.verb("reconcile", scope="*")) == [ev.RETRY_ASKED, ev.APPLY_INTENDED]
    assert types(station.turn("orders")) == [ev.APPLY_INTENDED]
    station.work.refuse(KEY, "RX404", quarantine=DIGEST["2"])
    hub.turn("edge", "e1")
    assert hub.verb("reconcile", scope="e1") == []


def test_another_port_that_was_refused_is_asked_for_again_where_the_version_is_the_same(
    hub: HubStation, station: EdgeStation
) -> None:
    hub.push(model_set("digits", "1", ref="digits", servingPort=9001))
    station.work.taken.add(9001)
    station.turn("orders")
    station.work.refuse(KEY, "RX406")
    hub.turn("edge", "e1")
    assert types(hub.verb("reconcile", scope="e1")) == [ev.RETRY_ASKED, ev.APPLY_INTENDED]


def test_a_start_of_the_hub_has_tried_now_what_was_refused(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    station.work.refuse(KEY, "RX410")
    hub.turn("edge", "e1")
    after = hub.again()
    assert types(after.turn("start"))[-2:] == [ev.RETRY_ASKED, ev.APPLY_INTENDED]


def test_who_reconciles_what_an_edge_does_not_have_is_told_what_it_has(hub: HubStation) -> None:
    with pytest.raises(NameUnknown, match="e1 has no gone") as caught:
        hub.verb("reconcile", scope="e1", model="gone")
    assert caught.value.advice == "it has digits"


def test_fault_91_a_way_back_that_fails_too_is_no_ping_pong(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    station.work.refuse(KEY, quarantine=DIGEST["2"], phase="RolledBack")
    order(hub, station, "3")
    station.work.refuse(KEY, quarantine=DIGEST["3"], phase="RolledBack")
    begun = len(station.work.begun)
    order(hub, station, "2")  # back to what failed before
    for cause in ("orders", "audit", "audit"):
        station.turn(cause)
    assert (len(station.work.begun), station.work.stands[KEY]["version"]) == (begun, "1")
    hub.turn("edge", "e1")
    assert (hub.mine.served(KEY).open, hub.mine.served(KEY).phase) == (False, "Rejected")


def test_what_is_quarantined_answers_a_repeated_order_at_once(hub: HubStation, station: EdgeStation) -> None:
    order(hub, station, "2")
    station.work.refuse(KEY, quarantine=DIGEST["2"], phase="RolledBack")  # the hub has not heard of it yet
    order(hub, station, "1")
    settle(hub, station)
    del hub.mine.holds[str(KEY)]  # as if another hub began, which knows no holds
    assert order(hub, station, "2") == [ev.APPLY_FAILED]
    assert station.mine.served(KEY).message == "it cannot be"


def test_what_stands_is_served_again_beside_a_quarantine_and_not_mistaken_for_the_order(
    hub: HubStation, station: EdgeStation
) -> None:
    order(hub, station, "2")
    station.work.refuse(KEY, quarantine=DIGEST["2"], phase="RolledBack")
    station.work.silent.add(KEY)
    degraded = {"live": {}, "error": "the runtime (process 7) ended"}
    assert types(station.work.say(KEY, ev.MODEL_DEGRADED, degraded)) == [ev.MODEL_DEGRADED, ev.APPLY_INTENDED]
    assert station.work.begun[-1] == (str(KEY), "1")
    assert station.work.say(KEY, ev.DOWNLOAD_STARTED, {}, station.work.jobs[KEY][1]) != []
    assert station.work.cancelled == []  # it is busy with what is meant
    station.work.succeed(KEY)
    hub.turn("edge", "e1")
    served = hub.mine.served(KEY)
    assert (served.phase, served.live["version"], served.order["version"]) == ("RolledBack", "1", "2")
    assert station.turn("audit") == []


def test_a_job_that_trusts_the_first_use_is_not_stopped_by_what_it_finds_out() -> None:
    hub, bare = HubStation(), catalogue("digits")
    bare.spec["versions"] = [{"version": "1", "downloadURL": "https://models.example.com/d.tar.gz"}]
    hub.push(edge("e1"), bare, model_set("digits", "1", ref="digits"), fleet(require_digest=False))
    station = EdgeStation("e1", hub)
    station.turn("orders")
    operation = station.work.jobs[KEY][1]
    staged = {"sha256": "5" * 64, "size": 9, "trusted": "https://models.example.com/d.tar.gz 1"}
    station.work.say(KEY, ev.ARTIFACT_STAGED, staged, operation)
    station.turn("orders")
    station.turn("audit")
    station.work.stumble(KEY)
    station.clock.seconds += 2
    station.turn("keys", NOBODY)  # the second try knows the digest
    assert station.work.jobs[KEY][0] is not None
    station.work.say(KEY, ev.DOWNLOAD_RESUMED, {}, operation)
    assert station.work.cancelled == []
    station.work.succeed(KEY)
    assert station.turn("audit") == []


# ── after a crash ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_intent_that_a_crash_left_open_is_settled_as_done_when_it_is_there(
    hub: HubStation, station: EdgeStation
) -> None:
    order(hub, station, "2")
    spec = station.work.jobs[KEY][0]
    assert spec is not None
    station.work.stands[KEY] = spec  # flipped, and killed before anybody was told
    after = station.again(hub)
    (settled,) = after.turn("start")
    assert (settled.event.type, settled.event.data["recovered"]) == (ev.APPLY_SUCCEEDED, True)
    assert settled.event.data["live"]["version"] == "2"
    assert after.work.jobs == {}
    hub.turn("edge", "e1")
    assert (hub.mine.served(KEY).open, hub.mine.served(KEY).phase) == (False, "Committed")


def test_an_intent_that_a_crash_left_undone_is_abandoned_and_intended_again(
    hub: HubStation, station: EdgeStation
) -> None:
    order(hub, station, "2")
    after = station.again(hub)
    entries = after.turn("start")
    assert types(entries) == [ev.APPLY_ABANDONED, ev.APPLY_INTENDED]
    assert entries[0].event.data == {"reason": "the agent ended", "recovered": True}
    assert entries[1].event.operationid == entries[0].event.operationid  # the order is the same
    settle(hub, after)
    assert hub.mine.served(KEY).live["version"] == "2"


def test_a_removal_that_a_crash_left_open_is_settled_too(hub: HubStation, station: EdgeStation) -> None:
    hub.push(without=[model_set("digits", "1", ref="digits")])
    station.turn("orders")
    del station.work.stands[KEY]
    after = station.again(hub)
    assert types(after.turn("start")) == [ev.APPLY_SUCCEEDED]
    assert after.mine.keys == {}


def test_an_edge_that_starts_without_its_hub_brings_back_what_was_ordered(
    hub: HubStation, station: EdgeStation
) -> None:
    station.work.silent.add(KEY)
    after = station.again(hub)
    after.link.is_away = True
    assert types(after.turn("start")) == [ev.MODEL_DEGRADED, ev.APPLY_INTENDED]  # until it serves again it does not
    assert after.work.begun[-1] == (str(KEY), "1")


def test_a_fleet_that_was_served_before_is_under_way_until_its_edges_serve_again(
    hub: HubStation, station: EdgeStation
) -> None:
    station.work.silent.add(KEY)  # the agent before has ended its runtimes
    after = station.again(hub)
    after.turn("start")
    hub.turn("edge", "e1")
    operation = hub.mine.known(KEY).operation
    for said in ({}, {"sha256": DIGEST["1"], "size": 9}):
        if said:
            after.work.say(KEY, ev.ARTIFACT_STAGED, said, operation)
            hub.turn("edge", "e1")
        (row,) = status(hub.state, rfc3339(hub.clock.now())).rows
        assert (row.under_way, row.open, row.serving) == (True, False, "")
    after.work.succeed(KEY)
    hub.turn("edge", "e1")
    (row,) = status(hub.state, rfc3339(hub.clock.now())).rows
    assert (row.under_way, row.settled, row.serving) == (False, True, "1")


def test_agents_that_are_started_again_and_again_make_nothing_unstable(hub: HubStation, station: EdgeStation) -> None:
    for _ in range(8):
        station.work.silent.add(KEY)
        station = station.again(hub)
        station.turn("start")
        station.work.say(KEY, ev.MODEL_ACTIVATED, FLIP, hub.mine.known(KEY).operation)
        station.work.succeed(KEY)
    assert ev.STATE_UNSTABLE not in types(station.log.read())
    assert len(station.mine.known(KEY).flips) == 1


def test_an_edge_counts_as_heard_by_what_this_process_saw_and_not_by_the_log(hub: HubStation) -> None:
    settle(hub, EdgeStation("e1", hub))
    assert hub.hub.alive == {"e1"}
    after = hub.again()
    assert after.hub.alive == set()  # though the log says that the agent answers
    assert after.state.edges["e1"].present
    after.turn("edge", "e1")
    assert after.hub.alive == {"e1"}


# ── flips that come too often ─────────────────────────────────────────────────────────────────────────────────────────


def flip(station: EdgeStation, count: int, every_s: float = 30.0) -> list[str]:
    """The stored names of what `count` flips have appended, one every so many seconds."""
    told = []
    for n in range(count):
        station.clock.seconds += every_s
        type_ = (ev.MODEL_DEGRADED, ev.MODEL_ACTIVATED)[n % 2]
        told += types(station.work.say(KEY, type_, FLIP | {"error": "the runtime ended"}))
    return told


def test_flips_beyond_five_in_ten_minutes_are_one_statement_with_their_count(
    hub: HubStation, station: EdgeStation
) -> None:
    told = flip(station, 15)
    assert told == [*[ev.MODEL_DEGRADED, ev.MODEL_ACTIVATED] * 2, ev.MODEL_DEGRADED, ev.STATE_UNSTABLE]
    (first,) = [entry.event for entry in station.log.read() if entry.event.type == ev.STATE_UNSTABLE]
    assert first.data == {"count": 6, "seconds": 600, "live": {"version": "1"}}
    station.clock.seconds += 301
    assert types(station.turn("audit")) == []  # its window is not over
    station.clock.seconds += 301
    (second,) = station.turn("audit")
    assert (second.event.type, second.event.data["count"]) == (ev.STATE_UNSTABLE, 9)
    hub.turn("edge", "e1")
    assert hub.mine.served(KEY).message == "it was served or lost 9 times in 10 minutes"


def test_a_key_that_has_come_to_rest_tells_every_flip_again(station: EdgeStation) -> None:
    flip(station, 6)
    station.clock.seconds += 601
    assert flip(station, 5) == [*[ev.MODEL_DEGRADED, ev.MODEL_ACTIVATED] * 2, ev.MODEL_DEGRADED]
    assert flip(station, 1) == [ev.STATE_UNSTABLE]


def test_five_flips_in_ten_minutes_are_not_too_many(station: EdgeStation) -> None:
    assert ev.STATE_UNSTABLE not in flip(station, 12, every_s=121.0)


def test_another_key_s_flips_do_not_count(hub: HubStation) -> None:
    hub.push(plain("p", nodeName="e1", servingPort=9000))
    station = EdgeStation("e1", hub)
    settle(hub, station)
    flip(station, 5)
    other = Key("InferenceModel", "default", "p", "e1")
    assert types(station.work.say(other, ev.MODEL_ACTIVATED, FLIP)) == [ev.MODEL_ACTIVATED]


def test_fault_22_what_stands_and_cannot_be_had_is_put_off_and_never_tried_in_a_loop(
    hub: HubStation, station: EdgeStation
) -> None:
    """Somebody else's process has the port of a version that is ordered and stands."""
    station.work.silent.add(KEY)
    assert types(station.turn("audit")) == [ev.APPLY_INTENDED]
    assert types(station.work.refuse(KEY, "RX406")) == [ev.APPLY_FAILED]  # and nothing is begun again
    station.work.taken.add(8080)
    station.clock.seconds += 6.0
    assert station.turn("keys", NOBODY) == []  # it is looked at, and nothing is told
    station.work.taken.clear()
    station.clock.seconds += 6.0
    assert types(station.turn("keys", NOBODY)) == [ev.APPLY_INTENDED]
    station.work.succeed(KEY)
    hub.turn("edge", "e1")
    assert (hub.mine.served(KEY).phase, hub.mine.served(KEY).code) == ("Committed", "")  # the status tells it


def test_flips_that_somebody_ordered_make_nothing_unstable_and_are_all_told(hub: HubStation) -> None:
    station = EdgeStation("e1", hub)
    settle(hub, station)
    for n in range(12):
        hub.push(model_set("digits", "12"[n % 2], ref="digits"))
        station.turn("orders")
        if KEY in station.work.jobs:
            station.work.say(KEY, ev.MODEL_ACTIVATED, FLIP, hub.mine.known(KEY).operation)
            station.work.succeed(KEY)
        station.clock.seconds += 10
    told = types(station.log.read())
    assert (told.count(ev.MODEL_ACTIVATED), ev.STATE_UNSTABLE in told) == (11, False)
