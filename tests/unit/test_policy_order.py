"""Which policy judges what: that of the commit accepted before, however many are read at one look; and what undoes."""

from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.history.events import rfc3339
from reconciler.history.keys import DELIVER, Key
from reconciler.planning.declared import Object
from tests.fleets import catalogue, edge, fleet, model_set, plain
from tests.log_events import T0
from tests.stations import EdgeStation, HubStation, settle

E1, E2 = edge("e1"), edge("e2")
MODEL = catalogue("digits", "1 2 3 4 5")
ON_E1, ON_E2 = (str(Key("InferenceModel", "default", f"digits-{name}", name)) for name in ("e1", "e2"))
OPEN = fleet(100, "100%")
HOUR = 3600.0


def frozen(hours: float = 1, *, begins: float = -1, **more: Any) -> Object:
    """A Fleet with a freeze for so many hours from the beginning on."""
    start, until = rfc3339(T0 + begins * HOUR), rfc3339(T0 + hours * HOUR)
    return replace(OPEN, spec=OPEN.spec | {"freeze": [{"from": start, "until": until, "reason": "shops", **more}]})


def served(version: str) -> Object:
    return model_set("digits", version, ref="digits")


@pytest.fixture
def hub() -> HubStation:
    """Two edges with version 2, which was 1 before."""
    station = HubStation()
    station.push(E1, E2, MODEL, served("1"), OPEN)
    station.push(served("2"))
    settle(station, EdgeStation("e1", station), EdgeStation("e2", station))
    return station


def wants(hub: HubStation) -> tuple[str, str]:
    """The versions that are ordered on both edges."""
    one, other = (str(hub.mine.known(key).order.get("version", "")) for key in (ON_E1, ON_E2))
    return one, other


# ── however many commits are read at one look ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("scope", ["", "all"])
def test_a_freeze_holds_what_came_behind_it_and_not_what_came_before(
    hub: HubStation, is_restarted: bool, scope: str
) -> None:
    hub.branch.commit(served("3"))
    hub.branch.commit(frozen(scope=scope) if scope else frozen())
    hub.branch.commit(served("4"))
    now = hub.again() if is_restarted else hub
    before = now.log.head().seq
    now.turn("start" if is_restarted else "commit")
    assert wants(now) == ("2", "2")  # 3 was wanted no more when it was read
    assert now.orders(now.log.read(before)) == {}
    now.branch.commit(edge("e3"))
    now.turn("commit")
    assert wants(now) == ("2", "2")


def test_what_came_before_a_freeze_and_stays_is_ordered(hub: HubStation) -> None:
    hub.branch.commit(served("3"))
    hub.branch.commit(frozen())
    hub.branch.commit(edge("e3"))
    hub.turn("commit")
    assert wants(hub) == ("3", "3")


def test_a_freeze_that_is_taken_back_holds_nothing_behind_that(hub: HubStation) -> None:
    hub.branch.commit(frozen())
    hub.branch.commit(OPEN)
    hub.branch.commit(served("3"))
    hub.turn("commit")
    assert wants(hub) == ("3", "3")


@pytest.mark.parametrize(("before", "after", "is_held"), [(1, 100, False), (100, 1, True)])
def test_deletes_meet_the_limit_of_the_commit_before_them(before: int, after: int, is_held: bool) -> None:
    hub = HubStation()
    many = [plain(f"m{n}", servingPort=9000 + n, nodeName="e1") for n in range(6)]
    hub.push(E1, *many, fleet(before, "100%"))
    hub.branch.commit(fleet(after, "100%"))
    hub.branch.commit(without=many[:3])
    hub.turn("commit")
    assert (hub.mine.held_plan is not None) is is_held


def test_a_limit_that_waits_with_what_is_held_does_not_judge_what_was_read_with_it() -> None:
    hub = HubStation()
    many = [plain(f"m{n}", servingPort=9000 + n, nodeName="e1") for n in range(6)]
    hub.push(E1, *many, fleet(1, "100%"))
    hub.branch.commit(fleet(100, "100%"), without=many[:2])
    hub.branch.commit(without=many[2:5])
    hub.turn("commit")
    assert hub.mine.held_plan is not None
    assert hub.mine.held_plan.counts == {"delete": 5}


def test_every_part_is_planned_though_it_changes_again_behind_a_policy_and_then_comes_to_the_same(
    hub: HubStation,
) -> None:
    hub.branch.commit(served("3"), edge("e9"))
    hub.branch.commit(fleet(50, "100%"))
    hub.branch.commit(served("4"))
    hub.branch.commit(served("3"))
    hub.turn("commit")
    assert wants(hub) == ("3", "3")


# ── what undoes passes a freeze, whenever its time comes ──────────────────────────────────────────────────────────────


def test_what_a_revert_covers_passes_when_it_is_resumed_after_a_restart_and_beside_newer_commits(
    hub: HubStation,
) -> None:
    hub.push(frozen())
    hub.verb("suspend", scope="e1", reason="is looked at")
    hub.push(served("1"))  # as it was before version 2
    assert wants(hub) == ("2", "1")
    hub.push(edge("e9"))
    now = hub.again()
    now.turn("start")
    assert wants(now) == ("2", "1")
    now.verb("resume", scope="e1")
    assert wants(now) == ("1", "1")


def test_what_a_revert_covered_and_a_later_commit_wants_otherwise_waits(hub: HubStation) -> None:
    hub.push(frozen())
    hub.verb("suspend", scope="e1", reason="is looked at")
    hub.push(served("1"))
    hub.push(served("3"))
    hub.verb("resume", scope="e1")
    assert wants(hub) == ("2", "1")


def test_what_a_revert_covered_and_was_wanted_as_it_is_since_does_not_pass_later_by_an_ordinary_commit(
    hub: HubStation,
) -> None:
    hub.push(frozen())
    hub.verb("suspend", scope="e1", reason="is looked at")
    hub.push(served("1"))
    hub.push(edge("e1", pins=[{"model": "digits", "version": "2"}]))
    hub.verb("resume", scope="e1")
    assert wants(hub) == ("2", "1")
    hub.push(edge("e1", pins=[{"model": "digits", "version": "1"}]))
    assert wants(hub) == ("2", "1")


def test_a_revert_passes_though_another_commit_was_read_with_it(hub: HubStation) -> None:
    hub.push(frozen(), plain("p", nodeName="e1", servingPort=9001))
    hub.branch.commit(served("1"))
    hub.branch.commit(plain("p", "2", nodeName="e1", servingPort=9001))
    hub.turn("commit")
    assert wants(hub) == ("1", "1")
    assert hub.mine.known("InferenceModel/default/p@e1").order["version"] == "1"


def test_a_revert_to_what_never_ran_waits_and_one_behind_that_passes(hub: HubStation) -> None:
    hub.push(frozen())
    hub.push(served("3"))  # waits
    hub.push(served("4"))
    hub.push(served("3"))  # goes back to a commit, and not to what ran
    assert wants(hub) == ("2", "2")
    hub.push(served("1"))
    assert wants(hub) == ("1", "1")


def test_a_revert_to_what_never_ran_waits_where_both_were_read_at_one_look(hub: HubStation) -> None:
    hub.push(frozen())
    for version in ("3", "4", "3"):
        hub.branch.commit(served(version))
    hub.turn("commit")
    assert wants(hub) == ("2", "2")


def test_a_revert_to_what_was_taken_back_at_the_look_that_read_it_waits(hub: HubStation) -> None:
    hub.push(frozen())
    for version in ("3", "2"):
        hub.branch.commit(served(version))
    hub.turn("commit")
    hub.push(served("3"))  # an earlier commit had it so, and it never ran
    assert wants(hub) == ("2", "2")


def test_a_revert_of_the_last_of_two_commits_that_were_read_together_passes(hub: HubStation) -> None:
    hub.branch.commit(edge("e8"))
    hub.branch.commit(served("3"))
    hub.turn("commit")
    hub.push(frozen())
    hub.push(served("2"))
    assert wants(hub) == ("2", "2")


def test_a_revert_of_a_delete_and_of_an_addition_passes_and_a_mere_delete_waits(hub: HubStation) -> None:
    extra, other = (plain(name, nodeName="e1", servingPort=9001 + n) for n, name in enumerate("pq"))
    hub.push(extra, other)
    hub.push(edge("e9"), plain("r", nodeName="e1", servingPort=9009))
    hub.push(frozen())
    assert hub.orders(hub.push(without=[other])) == {}  # one of two that came together
    hub.push(other)
    taken = hub.push(without=[extra, other])
    assert set(hub.orders(taken).values()) == {"delete"}
    assert len(hub.orders(hub.push(extra, other))) == 2


def test_nothing_passes_a_freeze_of_the_scope_all(hub: HubStation) -> None:
    hub.push(frozen(scope="all"))
    hub.push(served("1"))
    assert wants(hub) == ("2", "2")
    hub.clock.seconds += HOUR
    hub.turn("audit")
    assert wants(hub) == ("1", "1")


def test_deletes_of_a_revert_that_are_above_the_limit_are_held_and_the_rest_of_it_goes(hub: HubStation) -> None:
    extra = [plain(f"m{n}", nodeName="e1", servingPort=9001 + n) for n in range(4)]
    hub.push(fleet(2, "100%"))
    hub.push(*extra, served("3"))
    limited = frozen()
    hub.push(replace(limited, spec=limited.spec | {"prune": {"maxDeletes": 2, "maxShare": "100%"}}))
    hub.push(served("2"), without=extra)
    assert wants(hub) == ("2", "2")
    held = hub.mine.held_plan
    assert held is not None
    assert len(hub.orders(hub.verb("approve", digest=held.digest))) == 4  # what undoes passes the freeze then too


# ── what waits is told ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_for_a_freeze_is_known_until_it_is_ordered(hub: HubStation) -> None:
    hub.push(frozen())
    hub.push(served("3"))
    waits = hub.record.state.stage(DELIVER).waits
    assert set(waits) == {ON_E1, ON_E2}
    assert {why.partition(" until")[0] for why in waits.values()} == {"frozen"}
    hub.clock.seconds += HOUR
    hub.turn("audit")
    assert (wants(hub), waits) == (("3", "3"), {})
