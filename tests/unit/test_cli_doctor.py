"""`doctor` says what is wrong, and only looks."""

import contextlib
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import control_socket
from reconciler.cli import checks
from reconciler.edge.paths import Home
from reconciler.serving import process
from tests.git_repository import Repository
from tests.unit.cli_world import World
from tests.unit.conftest import Call

ALTERED = "UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), '1', '2') AS BLOB) WHERE seq = 7"


@pytest.fixture
def findings(call: Call) -> Any:
    def found(state: Path, code: int) -> dict[str, dict[str, str]]:
        said = call("doctor", "--state", state, "--output", "json")
        assert said.code == code
        return {one["check"]: one for one in json.loads(said.out)["findings"]}

    return found


def verdicts(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {check: one["verdict"] for check, one in found.items()}


def test_a_machine_with_a_log_and_nobody_at_work(findings: Any, settled: World) -> None:
    settled.place.root.chmod(0o755)
    said = verdicts(findings(settled.place.root, 0))
    for check in ("python", "git", "state", "log", "clock"):
        assert said[check] == ("warn" if check == "clock" else "ok"), check  # the story plays in the future
    assert said["hub"] == said["agent berlin-07"] == said["agent berlin-08"] == "warn"
    assert said["port berlin-07"] == said["port berlin-08"] == "ok"


def test_what_a_laptop_needs_is_looked_at(findings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(tmp_path / "fleet")
    head = repository.commit({"README.md": "ours"})
    state, place = tmp_path / "none", str(repository.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none.kubeconfig"))
    assert "reconciler init" in findings(state, 0)["repository"]["fix"]
    monkeypatch.setenv("RECONCILER_REPO", place)
    found = findings(state, 0)
    assert found["repository"]["found"] == f"{place}, main is at {head[:12]}"
    assert "none is needed" in found["cluster"]["found"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RECONCILER_LISTEN", f"127.0.0.1:{taken.getsockname()[1]}")
        assert findings(state, 0)["listener"]["verdict"] == "warn"
    assert findings(state, 0)["listener"]["verdict"] == "ok"
    monkeypatch.setenv("RECONCILER_BRANCH", "nowhere")
    found = findings(state, 4)
    assert (found["repository"]["verdict"], "no branch nowhere" in found["repository"]["found"]) == ("fail", True)
    assert not state.exists()


def test_how_the_fleet_stands_is_a_finding(findings: Any, settled: World) -> None:
    found = findings(settled.place.root, 0)["fleet"]
    assert (found["verdict"], found["found"]) == ("ok", "4 as Git says")
    with settled.hub("berlin-07"):
        settled.commit({"models/other.yaml": "apiVersion: ai.kubeedge.io/v1alpha1\na: {"}, "Break something")
    found = findings(settled.place.root, 4)["fleet"]
    assert (found["verdict"], found["found"]) == ("fail", "failing: a document is refused")


def test_agents_that_answer_are_found(findings: Any, settled: World) -> None:
    server = control_socket.serve(settled.place.edge("berlin-07").control, lambda _: {"pid": 4711})
    try:
        found = findings(settled.place.root, 0)
    finally:
        server.close()
    assert found["agent berlin-07"]["found"] == "process 4711"
    assert "nothing listens at 127.0.0.2:8080" in found["port berlin-07"]["found"]


def test_an_empty_machine_has_warnings_only(findings: Any, tmp_path: Path) -> None:
    found = findings(tmp_path / "none", 0)
    assert found["state"]["verdict"] == found["log"]["verdict"] == "warn"
    assert not (tmp_path / "none").exists()


def test_edges_that_left_git_are_one_line_and_no_warning(findings: Any, settled: World) -> None:
    for number in range(1, 13):
        home = settled.place.edge(f"gone-{number}")
        home.directory.mkdir(parents=True)
        home.log.touch()
    found = findings(settled.place.root, 0)
    assert not [check for check in found if check.startswith("agent gone")]
    assert found["agent berlin-07"]["verdict"] == "warn"  # which has something
    left = found["former edges"]
    assert (left["verdict"], left["found"]) == ("ok", "gone-1 … gone-12 (12): nothing there, and nothing to come")
    assert str(settled.place.root / "edges") in left["fix"]


@pytest.fixture
def served_at(settled: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Home, int]]:
    """An edge's directory whose agent runs, and the port where it is to serve and this very process listens."""
    home = settled.place.edge("berlin-07")
    agent = control_socket.serve(home.control, lambda _: {"pid": 4711})
    with contextlib.closing(agent), socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(checks, "_served", lambda _: {("127.0.0.1", port): "berlin-07"})
        yield home, port


def test_a_port_at_which_another_process_answers_is_not_the_edge_s(
    findings: Any, settled: World, served_at: tuple[Home, int]
) -> None:
    found = findings(settled.place.root, 0)["port berlin-07"]
    assert (found["verdict"], f"(pid {os.getpid()}) listens there" in found["found"]) == ("warn", True)
    assert "servingPort" in found["fix"]


def test_a_port_at_which_the_edge_s_runtime_answers_is_its_own(
    findings: Any, settled: World, served_at: tuple[Home, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, port = served_at
    directory = home.services / "x"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory)  # as a runtime does
    process.write_receipt(process.RuntimeSpec("x", "127.0.0.1", port, directory))
    found = findings(settled.place.root, 0)["port berlin-07"]
    assert (found["verdict"], found["found"]) == ("ok", f"127.0.0.1:{port} answers")


def test_what_is_alike_of_many_edges_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    edges = [f"edge-{n}" for n in range(1, 16)]
    every = [
        checks.Finding("ok", "python", "3.11.7"),
        *(checks.Finding("ok", f"agent {e}", f"process {n + 400}", edge=e) for n, e in enumerate(edges)),
        *(checks.Finding("ok", f"port {e}", f"127.0.0.{n}:8080 answers", edge=e) for n, e in enumerate(edges[1:], 3)),
        checks.Finding("warn", "port edge-1", "nothing listens at 127.0.0.2:8080", edge="edge-1"),
    ]
    monkeypatch.setattr(checks, "every", lambda *_, **__: list(every))
    said = call("doctor", "--state", tmp_path).out
    assert [" ".join(line.split()) for line in said.splitlines()[1:]] == [
        "ok python 3.11.7",
        "ok agent edge-1 … edge-15 (15) process PID",
        "ok port edge-2 … edge-15 (14) ADDRESS:PORT answers",
        "warn port edge-1 nothing listens at 127.0.0.2:8080",
    ]
    assert len(call("doctor", "--state", tmp_path, "--each").out.splitlines()) == 1 + len(every)
    assert len(json.loads(call("doctor", "--state", tmp_path, "-o", "json").out)["findings"]) == len(every)


def test_a_directory_that_others_may_write_fails(findings: Any, settled: World) -> None:
    settled.place.root.chmod(0o777)
    found = findings(settled.place.root, 4)
    assert found["state"]["fix"] == f"chmod go-w {settled.place.root}"


def test_a_tail_that_does_not_fit_fails(findings: Any, settled: World) -> None:
    settled.place.root.chmod(0o755)
    with sqlite3.connect(settled.place.hub.log) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(ALTERED)
    connection.close()
    assert findings(settled.place.root, 4)["log"]["found"] == "entry 7 does not fit the chain"


@pytest.mark.parametrize(("version", "is_noted"), [((3, 51, 2), True), ((3, 51, 3), False)])
def test_fault_21_an_older_sqlite_is_noted(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], is_noted: bool
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert checks.sqlite().verdict == "ok"
    assert ("one process alone writes" in checks.sqlite().found) is is_noted


def test_whose_commits_pin_and_rollback_make(findings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nobody = findings(tmp_path / "none", 0)["git author"]
    assert nobody["verdict"] == "warn"
    assert "git config --global user.name" in nobody["fix"]
    assert "git config --global user.email" in nobody["fix"]
    (tmp_path / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    somebody = findings(tmp_path / "none", 0)["git author"]
    assert (somebody["verdict"], somebody["found"]) == ("ok", "Ada <ada@example.com>")


def test_without_git_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks.git().verdict == "fail"


def test_every_finding_that_is_not_ok_has_a_fix(call: Call, tmp_path: Path) -> None:
    found = json.loads(call("doctor", "--state", tmp_path / "none", "-o", "json").out)["findings"]
    wrong = [one for one in found if one["verdict"] != "ok"]
    assert wrong
    assert all(one["fix"] for one in wrong)
