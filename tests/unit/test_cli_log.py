"""`log` looks after files that a hub may be writing meanwhile; `crds`, `completion`, `explain` need no state at all."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from reconciler import control_socket
from reconciler.cli.explain import explanations
from reconciler.cli.main import main
from reconciler.errors import DIAGNOSTICS, error_classes
from reconciler.wiring.past import opened
from tests.unit.cli_world import World
from tests.unit.conftest import Call

ALTERED = "UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), '1', '2') AS BLOB) WHERE seq = 7"
CRDS = Path(__file__).parents[2] / "crds"


def entries(world: World) -> int:
    with opened(world.place.root) as past:
        return past.log.head().seq


def test_verify_names_what_it_read(call: Call, settled: World) -> None:
    said = call("log", "verify", "--state", settled.place.root, "--output", "json")
    assert said.code == 0
    assert (json.loads(said.out)["entries"], json.loads(said.out)["readers"]) == (entries(settled), 2)
    edge = call("log", "verify", "--edge", "berlin-07", "--state", settled.place.root)
    assert edge.out.startswith("6 entries in 1 file hold, for 1 reader; head ")


def test_an_altered_log_ends_with_6_and_the_entry(call: Call, settled: World) -> None:
    with sqlite3.connect(settled.place.hub.log) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(ALTERED)
    connection.close()
    said = call("log", "verify", "--state", settled.place.root)
    assert (said.code, said.out) == (6, "")
    assert "error[RX502]" in said.err


def test_an_export_is_a_line_an_entry(settled: World, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    capfdbinary.readouterr()
    assert main(["log", "export", "--after", "2", "--state", str(settled.place.root)]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(3, entries(settled) + 1))


def test_seal_without_a_reconciler(call: Call, settled: World) -> None:
    last = entries(settled)
    said = call("log", "seal", "--state", settled.place.root)
    assert said.code == 0
    assert said.out.strip().endswith(f"log-1-{last}.sealed.db")
    assert call("log", "verify", "--state", settled.place.root).out.startswith(f"{last + 1} entries in 2 files hold")
    assert call("why", "berlin-07", "defect", "--state", settled.place.root).code == 0


def test_seal_asks_the_reconciler_that_runs(call: Call, settled: World) -> None:
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["verb"])
        return {"sealed": "it"}

    server = control_socket.serve(settled.place.hub.control, answer)
    try:
        assert call("log", "seal", "--state", settled.place.root).out == "sealed it\n"
    finally:
        server.close()
    assert asked == ["seal"]


def test_a_backup_is_a_log_again(call: Call, settled: World, tmp_path: Path) -> None:
    target = tmp_path / "copy" / "hub" / "log.db"
    target.parent.mkdir(parents=True)
    assert call("log", "backup", target, "--state", settled.place.root).code == 0
    here = call("history", "--state", settled.place.root).out
    assert here
    assert call("history", "--state", tmp_path / "copy").out == here
    assert call("log", "backup", target, "--state", settled.place.root).code == 6
    nowhere = call("log", "backup", "/proc/x/log.db", "--state", settled.place.root)
    assert (nowhere.code, "a directory that can be written" in nowhere.err) == (6, True)


def test_crds_are_those_of_the_repository(call: Call, tmp_path: Path) -> None:
    assert call("crds", "--write", tmp_path).code == 0
    written = {path.name: path.read_text() for path in tmp_path.glob("*.yaml")}
    assert written == {path.name: path.read_text() for path in CRDS.glob("*.yaml")}
    assert call("crds").out.count("kind: CustomResourceDefinition") == len(written) > 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(call: Call, shell: str) -> None:
    said = call("completion", shell)
    assert said.code == 0
    assert f"_RECONCILER_COMPLETE={shell}_complete" in said.out


def test_every_code_is_explained() -> None:
    known = {one.code: one for one in explanations()}
    assert set(known) == {cls.code for cls in error_classes()} | set(DIAGNOSTICS)
    assert all(one.meaning and one.help for one in known.values())


def test_codes_are_found_in_any_case_and_strangers_refused(call: Call) -> None:
    assert call("explain", "rx201").out == call("explain", "RX201").out
    said = call("explain", "RX999")
    assert said.code == 2
    assert "error[RX103]" in said.err
