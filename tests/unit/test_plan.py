"""Order, costs, limits, what waits and why, and the digest that names a plan."""

from typing import Any

import pytest

from reconciler.history.keys import Key
from reconciler.planning.desired import Desired, content_digest
from reconciler.planning.diff import Difference
from reconciler.planning.gate import Judgement, delete_limit
from reconciler.planning.plan import Plan, make_plan


def key(name: str, on: str = "e1", kind: str = "InferenceModel") -> Key:
    return Key(kind, "default", name, on)


def wish(of: Key, version: str = "1", **more: Any) -> Difference:
    spec = {"version": version, "url": f"u/{version}", "sha256": version * 64, **more}
    return Difference(of, "create", Desired(of, spec, origin="a.yaml:7", because="it says so"), ())


def removal(of: Key) -> Difference:
    return Difference(of, "delete", None, ())


def removals(count: int) -> list[Difference]:
    return [removal(key(f"m{n}")) for n in range(count)]


def test_data_comes_before_models_and_deletes_come_last() -> None:
    plan = make_plan([removal(key("a")), wish(key("c")), wish(key("b")), wish(key("z", kind="Dataset"))], Judgement())
    assert [(step.action, step.key.name) for step in plan.steps] == [
        ("create", "z"),
        ("create", "b"),
        ("create", "c"),
        ("delete", "a"),
    ]


def test_every_step_has_its_reason_and_place() -> None:
    plan = make_plan([wish(key("a")), removal(key("b"))], Judgement())
    assert [(step.reason, step.origin) for step in plan.steps] == [
        ("it says so", "a.yaml:7"),
        ("no longer declared", ""),
    ]


def test_each_edge_s_bytes_are_counted_once_they_are_not_there() -> None:
    held = {"e1": {"1" * 64: 500}}
    steps = make_plan(
        [
            wish(key("a"), size=500),
            wish(key("a", "e2"), size=500),
            wish(key("b", "e2"), "2"),
            wish(key("d", "e2", "Dataset"), size=9, bytes=False),
        ],
        Judgement(held_bytes=held),
    )
    assert {(step.key.name, step.key.edge): step.fetch_bytes for step in steps.steps} == {
        ("a", "e1"): 0,
        ("a", "e2"): 500,
        ("b", "e2"): None,  # nobody said how large it is
        ("d", "e2"): 0,
    }
    assert steps.fetch_bytes == 500


@pytest.mark.parametrize(
    ("limits", "inventory", "allowed"),
    [
        ({}, 1000, 20),
        ({}, 50, 5),
        ({}, 51, 6),  # rounded up
        ({}, 1, 1),
        ({"maxDeletes": 3, "maxShare": "100%"}, 1000, 3),
        ({"maxDeletes": 1000, "maxShare": "7%"}, 100, 7),
        ({"maxDeletes": 0, "maxShare": "100%"}, 100, 0),
        ({"maxDeletes": 20, "maxShare": "0%"}, 100, 0),
    ],
)
def test_the_limit_is_the_smaller_of_number_and_share(limits: dict[str, Any], inventory: int, allowed: int) -> None:
    assert delete_limit(limits, inventory) == allowed


def test_the_deletes_above_the_limit_are_held_and_released_by_their_digest() -> None:
    differences = [*removals(6), wish(key("new"))]
    circumstances: dict[str, Any] = {"limits": {"maxDeletes": 5, "maxShare": "100%"}, "inventory": lambda: 10}
    held = make_plan(differences, Judgement(**circumstances))
    assert (held.held, [step.action for step in held.ready]) == (
        "it deletes 6 of 10; Fleet allows 5 an hour (maxDeletes 5, maxShare 100% of 10)",
        ["create"],
    )
    assert (held.counts, len(held.on_hold)) == ({"create": 1, "delete": 6}, 6)
    assert held.digest == make_plan(removals(6), Judgement()).digest  # of what is held alone
    suspended = Judgement(**circumstances, waited=held.holds, suspended={"*": {}})
    assert make_plan(differences, suspended).digest == held.digest  # whatever else stops it
    released = make_plan(differences, Judgement(**circumstances, approved=held.digest))
    assert (released.held, len(released.ready)) == ("", 7)
    assert make_plan(removals(5), Judgement(**circumstances)).held == ""


def test_deletes_of_the_last_hour_count_too() -> None:
    circumstances = {"limits": {"maxDeletes": 5, "maxShare": "100%"}, "inventory": lambda: 10}
    held = make_plan(removals(1), Judgement(**circumstances, deleted_lately=5))  # type: ignore[arg-type]  # by name
    assert held.held.startswith("it deletes 1 of 10 after 5 in the last hour; Fleet allows 5 an hour")
    without = make_plan([wish(key("a"))], Judgement(**circumstances, deleted_lately=5))  # type: ignore[arg-type]  # same
    assert without.held == ""


def test_rewritten_history_holds_whatever_it_would_do_and_nothing_else() -> None:
    judged = Judgement(rewritten_from="f" * 40)
    assert make_plan([], judged).held == ""
    held = make_plan([wish(key("a"))], judged)
    assert held.held == "history was rewritten: commit ffffffffffff is no longer in the branch"
    assert make_plan([wish(key("a"))], Judgement(rewritten_from="f" * 40, approved=held.digest)).held == ""


def test_a_quarantine_holds_its_content_on_its_key_and_nothing_else() -> None:
    holds = {str(key("a")): {"1" * 64: {"code": "RX404", "reason": "the probe failed"}}}
    plan = make_plan([wish(key("a")), wish(key("b")), wish(key("a", "e2"))], Judgement(holds=holds))
    assert {str(step.key): step.waits for step in plan.steps if step.waits} == {
        str(key("a")): "RX404: the probe failed"
    }
    assert make_plan([wish(key("a"), "2")], Judgement(holds=holds)).waiting == ()


def test_what_has_no_digest_is_held_by_url_and_version() -> None:
    assert content_digest({"sha256": "5" * 64, "url": "u"}) == "5" * 64
    one, other = ({"sha256": "", "url": "u", "version": version} for version in "12")
    assert content_digest(one) == content_digest(dict(one)) != content_digest(other)


@pytest.mark.parametrize(("scope", "waiting"), [("*", 3), ("e1", 2), ("e9", 0)])
def test_a_suspension_holds_steps_one_by_one_and_says_whose_it_is(scope: str, waiting: int) -> None:
    judged = Judgement(suspended={scope: {"actor": "ada", "reason": "a visit"}})
    plan = make_plan([wish(key("a")), removal(key("b")), wish(key("a", "e2"))], judged)
    assert [step.waits for step in plan.waiting] == ["suspended by ada: a visit"] * waiting
    assert (len(plan.ready), plan.counts.get("waiting", 0)) == (3 - waiting, waiting)


def test_nothing_is_pruned_while_a_line_is_unreadable_and_it_is_named() -> None:
    plan = make_plan([wish(key("a")), *removals(2)], Judgement(unreadable=("b.yaml:3", "c.yaml:1")))
    assert [step.key.name for step in plan.ready] == ["a"]
    assert {step.waits for step in plan.waiting} == {"nothing is pruned while b.yaml:3 cannot be read"}


def test_what_waits_does_not_count_against_the_limit() -> None:
    judged = Judgement(limits={"maxDeletes": 0, "maxShare": "100%"}, inventory=lambda: 9, unreadable=("b.yaml:3",))
    assert make_plan(removals(2), judged).held == ""


def test_the_digest_names_what_would_be_done() -> None:
    one = make_plan([wish(key("a")), wish(key("b"))], Judgement())
    same = make_plan([wish(key("b")), wish(key("a"))], Judgement(rewritten_from="f" * 40))
    assert one.digest == same.digest == make_plan([wish(key("a")), wish(key("b"))], Judgement()).digest
    others = [
        [wish(key("a"))],
        [wish(key("a")), wish(key("b"), "2")],
        [wish(key("a")), removal(key("b"))],
        [wish(key("a")), wish(key("b", "e2"))],
    ]
    assert len({make_plan(other, Judgement()).digest for other in others} | {one.digest}) == 5
    assert (len(one.digest), Plan(()).digest != one.digest) == (16, True)
