"""`run` ends as it says, and tells what happens as it happens."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler import control_socket
from reconciler.cli import run
from reconciler.cli.narrator import Narrator
from reconciler.cli.run import verdict
from reconciler.engine.recorder import Recorder
from reconciler.eventlog.lock import WriterLock
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER
from reconciler.history.state import EdgeSeen, HeldPlan, Served, State
from reconciler.history.status import status
from tests.unit.cli_world import FILES, SHA, World, key, live_of
from tests.unit.conftest import Call, Said

NOW = "2026-11-30T15:00:00.000000Z"
Once = Callable[..., Said]


@pytest.fixture
def once(call: Call) -> Once:
    def run(world: World, *words: str) -> Said:
        at = ("--repo", world.repository.path, "--state", world.place.root)
        return call("run", *at, "--once", "--no-agents", "--timeout", "0.5", *words)

    return run


def test_once_with_everything_as_it_should_be_ends_with_0(once: Once, world: World) -> None:
    world.repository.commit({"models/defect.yaml": FILES["models/defect.yaml"]}, "No edges yet")
    said = once(world)
    assert said.code == 0
    assert "No edges yet (1 file)" in said.out


def test_once_with_a_refused_document_ends_with_3(once: Once, world: World) -> None:
    world.repository.commit({"broken.yaml": "kind: [  # of ai.kubeedge.io\n"})
    said = once(world)
    assert said.code == 3
    assert "--> broken.yaml:2:1" in said.err


def test_once_without_an_answer_ends_with_4(once: Once, world: World) -> None:
    world.repository.commit(FILES)
    said = once(world)
    assert said.code == 4
    assert "berlin-07 defect: Desired: berlin-07 was never heard" in said.err


def test_once_without_a_repository_ends_at_once_with_2(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = call("run", "--once", "--repo", tmp_path / "empty", "--state", tmp_path / "state")
    assert said.code == 2
    assert "error[RX102]" in said.err


@pytest.mark.parametrize("words", [("--path", "modles"), ("--branch", "mian")])
@pytest.mark.parametrize("is_followed", [False, True])
def test_once_with_what_is_not_there_ends_with_2_and_what_there_is(
    once: Once, world: World, settled: World, words: tuple[str, str], is_followed: bool
) -> None:
    if not is_followed:
        world.repository.commit(FILES)
    at = settled if is_followed else world
    said = once(at, *words)
    assert said.code == 2
    assert "error[RX105]" in said.err
    assert f"did you mean {'models' if words[0] == '--path' else 'main'}?" in said.err
    assert "cannot be read" not in said.out


def test_another_repository_that_is_not_there_ends_with_2_where_one_is_followed(call: Call, settled: World) -> None:
    words = ("--once", "--no-agents", "--timeout", "0.5", "--state", settled.place.root)
    said = call("run", "--repo", settled.place.root / "nowhere", *words)
    assert (said.code, "error[RX102]" in said.err) == (2, True)


def test_once_with_another_folder_of_the_same_commit_acts(once: Once, settled: World) -> None:
    settled.repository.commit({"b/edge.yaml": FILES["edges/berlin-07.yaml"]})
    said = once(settled, "--path", "b")
    assert "the source was switched from" in said.out
    assert "from all folders of https://git.example.com/fleet.git to folder b of" in said.out
    assert said.code == 5
    assert "is held: it deletes 4 of 4" in said.err


def test_once_with_a_held_plan_ends_with_5(once: Once, settled: World) -> None:
    settled.repository.commit({"edges/berlin-08.yaml": None, "edges/berlin-07.yaml": None})
    said = once(settled)
    assert said.code == 5
    assert "is held: it deletes 4 of 4" in said.err


def test_a_second_one_is_told_of_the_first_and_not_of_its_port(
    call: Call, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HANDOVER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lock = WriterLock(world.place.hub.log)
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        said = call("run", "--repo", world.repository.path, "--state", world.place.root, "--listen", at)
        lock.release()
    assert (said.code, "RX503" in said.err, "RX406" in said.err) == (6, True, False)
    assert "waiting" in said.err


def test_one_that_begins_while_the_one_before_ends_takes_over(once: Once, world: World) -> None:
    world.repository.commit({"models/defect.yaml": FILES["models/defect.yaml"]}, "No edges yet")
    lock = WriterLock(world.place.hub.log)
    threading.Timer(0.5, lock.release).start()
    assert once(world).code == 0


def test_events_are_told_as_json_lines(once: Once, world: World) -> None:
    world.repository.commit({"models/defect.yaml": FILES["models/defect.yaml"]}, "No edges yet")
    said = once(world, "--output", "json")
    records = [json.loads(line) for line in said.out.splitlines()]
    assert ev.REF_ADVANCED in {record["type"] for record in records}


def test_settings_come_from_the_environment_too(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECONCILER_POLL_S", "0")
    said = call("run", "--once", "--repo", tmp_path, "--state", tmp_path / "state")
    assert said.code == 2
    assert "RECONCILER_POLL_S" in said.err
    assert call("run", "--once", "--state", tmp_path / "state").code == 2


def seen(**served: Any) -> State:
    state = State()
    state.ref.commit = "c" * 40
    known: dict[str, Any] = {"order": {"version": "1", "model": "defect"}, "operation": "o", "phase": "Committed"}
    state.stage(DELIVER).keys[str(key("a"))] = Served(**known | served)
    state.edges["a"] = EdgeSeen(present=True)
    return state


def test_the_verdict_over_every_way_to_end() -> None:
    held, broken, lost, suspended = seen(), seen(), seen(), seen()
    held.stage(DELIVER).held_plan = HeldPlan(digest="d", reason="too much", keys=[], counts={})
    broken.problems = {"a": [{"code": "RX201", "message": "no"}]}
    lost.edges["a"] = EdgeSeen(present=False)
    suspended.suspended = {"*": {"reason": "night"}}
    ways = [
        (seen(), 0),
        (broken, 3),
        (seen(open=True, phase="Downloading"), 4),
        (seen(phase="Staged"), 4),  # it was served before, and is not served again yet
        (lost, 4),
        (seen(phase="Rejected", message="no", code="RX401"), 5),
        (held, 5),
        (suspended, 5),
        (State(), 4),
    ]
    assert [verdict(status(state, NOW)) for state, _ in ways] == [code for _, code in ways]


# ── narration ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_asks_agents_only_while_something_is_fetched(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    log = MemoryLog("/hub", world.clock)
    record = Recorder(log, world.clock, State(), "hub")
    event = record.stage(DELIVER).event
    asked: list[str] = []
    about = key("berlin-07")

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["verb"])
        return {"work": [{"key": str(about), "stage": "downloading", "done": 1024, "total": 4096}]}

    world.place.edge("berlin-07").directory.mkdir(parents=True)
    server = control_socket.serve(world.place.edge("berlin-07").control, answer)
    narrator = Narrator(record, world.place.root, "table")
    log.subscribe(narrator.hear)
    order = {"action": "create", "spec": {"version": "1", "model": "defect"}, "reason": "because"}
    with narrator:
        record.append([event(ev.APPLY_INTENDED, about, order, operationid="o")])
        quiet = list(asked)
        record.append([event(ev.DOWNLOAD_STARTED, about, {"url": "https://x", "sha256": SHA["1"]}, operationid="o")])
        while not asked:
            record.append([event(ev.EDGE_FOUND, "edge/berlin-07", {"edge": "berlin-07"})])
        record.append([event(ev.APPLY_SUCCEEDED, about, {"live": live_of("berlin-07", "1")}, operationid="o")])
    server.close()
    out, err = capsys.readouterr()
    assert quiet == []
    assert set(asked) == {"progress"}
    assert "berlin-07 defect: ordered version 1: because" in out
    assert "berlin-07 defect: done, version 1 is there" in out
    assert "berlin-07 defect: 1.0 KiB of 4.0 KiB" in err
    assert "berlin-07 defect: download ended" in err


def test_what_an_edge_copied_of_its_own_order_is_not_told_twice(settled: World, capsys: Any) -> None:
    with settled.hub("berlin-07"):
        narrator = Narrator(settled.record, settled.place.root, "table")
        settled.record.log.subscribe(narrator.hear)
        with narrator:
            settled.says("berlin-07", ev.APPLY_INTENDED, {"action": "update", "spec": {"version": "1"}, "reason": "r"})
            settled.says("berlin-07", ev.MODEL_DEGRADED, {"error": "it ended", "live": {}})
    out = capsys.readouterr().out
    assert "degraded: it ended" in out
    assert "begins" not in out


@pytest.mark.parametrize(("form", "each", "many"), [("table", False, 1), ("table", True, 20), ("json", False, 20)])
def test_what_comes_together_and_is_equal_is_one_line(
    world: World, capsys: pytest.CaptureFixture[str], form: str, each: bool, many: int
) -> None:
    log = MemoryLog("/hub", world.clock)
    record = Recorder(log, world.clock, State(), "hub")
    narrator = Narrator(record, world.place.root, form, each=each)
    log.subscribe(narrator.hear)
    order = {"action": "create", "spec": {"version": "1", "model": "defect"}, "reason": "because"}
    event = record.stage(DELIVER).event
    with narrator:
        record.append([event(ev.APPLY_INTENDED, key(f"edge-{n}"), order, operationid=f"o{n}") for n in range(1, 21)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == many
    assert form != "table" or each or "defect on 20 edges (edge-1 … edge-20): ordered version 1: because" in lines[0]
