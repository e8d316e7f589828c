"""Verbs reach a running reconciler by its socket, and do the same on the log where none runs."""

import json
from typing import Any

import pytest

from reconciler import control_socket
from reconciler.cli.verbs import actor
from reconciler.errors import NameUnknown, UsageError
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER
from reconciler.wiring.past import opened
from reconciler.wiring.preview import alone
from tests.unit.cli_world import FILES, SHA, World, key, live_of
from tests.unit.conftest import Call


def events(world: World, type_: str) -> list[Event]:
    with opened(world.place.root) as past:
        return [entry.event for entry in past.log.read() if entry.event.type == type_]


def test_suspend_and_resume_without_a_reconciler(call: Call, settled: World) -> None:
    at = ("--state", settled.place.root)
    said = call("suspend", "berlin-07", "--reason", "is moved", "--until", "2099-01-01", *at)
    assert (said.code, said.out) == (
        0,
        "suspended berlin-07 until 2099-01-01T00:00:00Z; `reconciler resume berlin-07` ends it\n",
    )
    (suspended,) = events(settled, ev.RECONCILE_SUSPENDED)
    assert suspended.actor == actor()
    assert suspended.data == {"scope": "berlin-07", "reason": "is moved", "until": "2099-01-01T00:00:00.000000Z"}
    assert f"berlin-07 is suspended by {actor()} until 2099-01-01T00:00:00Z: is moved" in call("status", *at).out
    assert call("resume", "berlin-07", *at).code == 0
    assert [event.data for event in events(settled, ev.RECONCILE_RESUMED)] == [{"scope": "berlin-07"}]
    assert "suspended" not in call("status", *at).out


def test_a_suspension_that_is_over_already_is_refused(call: Call, settled: World) -> None:
    said = call("suspend", "--reason", "night", "--until", "2020-01-01", "--state", settled.place.root)
    assert (said.code, said.out) == (2, "")
    assert "--until 2020-01-01 has passed: it is 20" in said.err
    assert events(settled, ev.RECONCILE_SUSPENDED) == []


@pytest.mark.parametrize(
    "odd",
    [
        {"verb": "resume", "scope": ["*"]},
        {"verb": "suspend", "scope": "*", "reason": "caf\udce9"},
        {"verb": "suspend", "scope": "*", "reason": "x", "actor": 5},
        {"verb": "suspend", "scope": {"a": 1}, "reason": "x"},
        {"verb": "release", "edge": 1.5, "model": "defect"},
    ],
)
def test_what_is_no_text_is_refused_and_ends_nobody(settled: World, odd: dict[str, object]) -> None:
    before = len(events(settled, ev.RECONCILE_SUSPENDED))
    with pytest.raises(UsageError, match="is not text that can be written down"):
        alone(settled.place.root, {"actor": "ada", **odd})
    assert len(events(settled, ev.RECONCILE_SUSPENDED)) == before


def test_a_reason_in_another_encoding_is_told_as_such(call: Call, settled: World) -> None:
    said = call("suspend", "--reason", "caf\udce9", "--state", settled.place.root)
    assert (said.code, "UTF-8" in said.err) == (2, True)


def test_suspending_everything_needs_a_reason(call: Call, settled: World) -> None:
    assert call("suspend", "--state", settled.place.root).code == 2
    assert call("suspend", "--reason", "n" * 1001, "--state", settled.place.root).code == 2
    assert call("suspend", "--reason", "night", "--state", settled.place.root).out.startswith("suspended everything;")
    assert events(settled, ev.RECONCILE_SUSPENDED)[0].data["scope"] == "*"


def test_names_that_are_not_there_are_refused(call: Call, settled: World) -> None:
    at = ("--state", settled.place.root)
    for words in (("suspend", "moon", "--reason", "x"), ("resume",), ("release", "moon", "defect"), ("approve", "ab")):
        said = call(*words, *at)
        assert (said.code, said.out) == (2, "")
        assert "error[RX103]" in said.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("approve", "ab"), "nothing waits for approval"),
        (("resume",), "nothing is suspended just now"),
        (("resume", "berlin-07"), "nothing is suspended just now"),
        (("release", "berlin-07", "defect"), "nothing is held just now"),
        (("suspend", "moon", "--reason", "x"), "there are berlin-07, berlin-08, defect, parts"),
    ],
)
def test_the_hint_says_what_there_is_instead(call: Call, settled: World, words: tuple[str, ...], hint: str) -> None:
    assert f" help: {hint}" in call(*words, "--state", settled.place.root).err


def test_the_hint_names_what_is_suspended(call: Call, settled: World) -> None:
    at = ("--state", settled.place.root)
    call("suspend", "berlin-08", "--reason", "x", *at)
    assert "help: suspended just now: berlin-08" in call("resume", "berlin-07", *at).err
    call("suspend", "--reason", "x", *at)
    assert "help: everything is suspended: `reconciler resume` ends it" in call("resume", "berlin-07", *at).err


def test_approve_releases_the_held_plan(call: Call, settled: World) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"edges/berlin-08.yaml": None}, "Too much")
        held = settled.record.state.stage(DELIVER).held_plan
    assert held is not None
    at = ("--state", settled.place.root)
    wrong = call("approve", "0123456789abcdef", *at)
    assert (wrong.code, wrong.out) == (5, "")
    said = call("approve", held.digest, *at, "--output", "json")
    assert said.code == 0
    assert json.loads(said.out)["counts"] == {"delete": 2}
    (approved,) = events(settled, ev.CHANGE_APPROVED)
    assert (approved.actor, approved.newdigest) == (actor(), held.digest)
    deletes = [event for event in events(settled, ev.APPLY_INTENDED) if event.data["action"] == "delete"]
    assert {event.subject for event in deletes} == {str(key("berlin-08")), str(key("berlin-08", "Dataset"))}


def test_release_orders_once_more_what_was_quarantined(call: Call, world: World) -> None:
    with world.hub("berlin-07", "berlin-08"):
        world.commit(FILES, "Begin")
        refusal = {"error": "wrong", "code": "RX404", "phase": "Rejected", "quarantine": SHA["1"], "live": {}}
        world.says("berlin-07", ev.APPLY_FAILED, refusal)
    said = call("release", "berlin-07", "defect", "--state", world.place.root)
    assert (said.code, said.out) == (0, "released defect on berlin-07: 1 to update\n")
    assert [event.subject for event in events(world, ev.HOLD_LIFTED)] == [str(key("berlin-07"))]
    orders = [event for event in events(world, ev.APPLY_INTENDED) if event.subject == str(key("berlin-07"))]
    assert len(orders) == 2


def test_without_a_log_there_is_nobody_to_tell(call: Call, world: World) -> None:
    said = call("resume", "--state", world.place.root)
    assert said.code == 2
    assert "error[RX104]" in said.err
    assert not world.place.root.exists()


@pytest.fixture
def asked(settled: World) -> Any:
    """What a reconciler that runs was asked; it answers as one does."""
    heard: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        heard.append(request)
        if request["verb"] == "release":
            raise NameUnknown("nothing of it is held")
        return {"digest": "d", "counts": {"update": 2}, "held": "too much" if request.get("digest") == "b" else ""}

    server = control_socket.serve(settled.place.hub.control, answer)
    yield heard
    server.close()


def test_a_running_reconciler_is_asked_by_its_socket(call: Call, settled: World, asked: list[dict[str, Any]]) -> None:
    at = ("--state", settled.place.root)
    assert call("approve", "a", *at).out == "released plan a: 2 to update\n"
    assert call("resume", *at).out == "resumed everything: 2 to update\n"
    assert asked == [
        {"verb": "approve", "actor": actor(), "digest": "a"},
        {"verb": "resume", "actor": actor(), "scope": "*"},
    ]
    assert events(settled, ev.CHANGE_APPROVED) == []


def test_its_refusal_is_ours(call: Call, settled: World, asked: list[dict[str, Any]]) -> None:
    said = call("release", "berlin-07", "defect", "--state", settled.place.root)
    assert said.code == 2
    assert "error[RX103]: nothing of it is held" in said.err
    assert [request["verb"] for request in asked] == ["release"]


def test_a_plan_that_is_held_anew_is_not_reported_as_released(
    call: Call, settled: World, asked: list[dict[str, Any]]
) -> None:
    said = call("approve", "b", "--state", settled.place.root)
    assert (said.code, said.out) == (5, "")
    assert "too much" in said.err
    assert len(asked) == 1


def test_live_of_is_what_status_shows(call: Call, settled: World) -> None:
    rows = json.loads(call("status", "--state", settled.place.root, "--output", "json").out)["rows"]
    assert rows[0]["url"] == live_of("berlin-07", "1")["url"]


@pytest.mark.enable_socket
def test_reconcile_asks_the_running_reconciler_and_needs_one(call: Call, settled: World) -> None:
    at = ("--state", settled.place.root)
    said = call("reconcile", *at)
    assert (said.code, said.out) == (2, "")
    assert "error[RX104]" in said.err
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["verb"])
        return {}

    server = control_socket.serve(settled.place.hub.control, answer)
    try:
        assert call("reconcile", *at).out == "it looks at everything now\n"
    finally:
        server.close()
    assert asked == ["reconcile"]
