"""Twenty edges that do the same take few lines, in whatever is asked; --each and JSON have every one."""

import json
from pathlib import Path

import pytest

from reconciler.cli.plan_forms import Shown, told_notes
from reconciler.cli.run import tell_stopped, verdict
from reconciler.history import events as ev
from reconciler.history.status import status
from tests.unit.cli_world import DATASET, MODEL, NOW, SET, SHA, World
from tests.unit.conftest import Call, Said
from tests.unit.twenty_edges import EDGES, FILES, begin, refused, served

MOST = 15  # lines that twenty edges may take
ALL = "edge-1 … edge-20"


@pytest.fixture(scope="module")
def begun_once(tmp_path_factory: pytest.TempPathFactory) -> World:
    return begin(tmp_path_factory.mktemp("twenty"))


@pytest.fixture
def twenty(begun_once: World, tmp_path: Path) -> World:
    return begun_once.copied(tmp_path / "world")


def asked(call: Call, world: World, *words: object) -> Said:
    return call(*words, "--state", world.place.root)


def lines(said: Said) -> list[str]:
    return said.out.splitlines()


def planned(call: Call, world: World, *words: object) -> Said:
    return asked(call, world, "plan", "--repo", world.repository.path, *words)


def test_a_plan_of_twenty_new_edges_says_it_once(call: Call, world: World, tmp_path: Path) -> None:
    world.repository.commit(FILES, "Begin")
    said = call("plan", "--repo", world.repository.path, "--state", tmp_path / "none")
    assert len(lines(said)) <= MOST
    assert f"create defect on 20 edges ({ALL}): version 1" in said.out
    assert "address    127.0.0.2 … 127.0.0.21" in said.out
    assert f"{ALL} (20) fetch 1000 B each" in said.out
    assert "20 to create" in lines(said)[-1]


def test_a_plan_of_one_change_on_twenty_edges_says_it_once(call: Call, twenty: World) -> None:
    twenty.repository.write({"deployments/defect.yaml": SET % "2"})
    said = planned(call, twenty)
    assert len(lines(said)) <= MOST
    assert f"update defect on 20 edges ({ALL}): version 1 → 2" in said.out
    assert said.out.count("because:") == 1
    each = planned(call, twenty, "--each")
    assert each.out.count("because:") == 20
    assert len(json.loads(planned(call, twenty, "-o", "json").out)["steps"]) == 20
    comment = planned(call, twenty, "-o", "markdown")
    assert len(lines(comment)) <= MOST
    assert f"! update defect on 20 edges ({ALL}): version 1 → 2" in comment.out


def test_an_edge_that_differs_is_told_apart(call: Call, twenty: World) -> None:
    pin = "  pins:\n    - {model: defect, version: '1', reason: it misreads}\n"
    twenty.repository.write(
        {"deployments/defect.yaml": SET % "2", "edges/edge-4.yaml": FILES["edges/edge-4.yaml"] + pin}
    )
    assert "update defect on 19 edges (edge-1 … edge-3, edge-5 … edge-20): version 1 → 2" in planned(call, twenty).out


def test_what_differs_by_its_own_name_alone_is_the_same(call: Call, twenty: World) -> None:
    pin = "  pins:\n    - {model: defect, version: '2', reason: try it}\n"
    twenty.repository.write({f"edges/{edge}.yaml": FILES[f"edges/{edge}.yaml"] + pin for edge in EDGES})
    said = planned(call, twenty)
    assert "because: pinned on EDGE: try it (edges/EDGE.yaml:7)" in said.out
    assert len(lines(said)) <= MOST


def test_a_status_of_twenty_edges_is_one_row_of_each_kind(call: Call, twenty: World) -> None:
    said = asked(call, twenty, "status", "--as-of", NOW)
    assert f"{ALL} (20)  defect  1       1        Committed  50m … 56m" in said.out
    assert len(lines(said)) <= MOST
    assert len(lines(asked(call, twenty, "status", "--as-of", NOW, "--each"))) > 20
    assert len(json.loads(asked(call, twenty, "status", "-o", "json").out)["rows"]) == 20


def test_a_row_that_stands_otherwise_is_a_row_of_its_own(call: Call, twenty: World) -> None:
    with twenty.hub(*EDGES):
        twenty.says("edge-3", ev.MODEL_DEGRADED, {"error": "the runtime ended", "live": {}})
    said = asked(call, twenty, "status", "--as-of", NOW)
    assert "edge-1, edge-2, edge-4 … edge-20 (19)" in said.out
    assert "edge-3 " in said.out


def test_twenty_refusals_are_one_sentence_wherever_they_are_told(
    call: Call, twenty: World, capsys: pytest.CaptureFixture[str]
) -> None:
    made = refused(twenty, "2", "Find smaller defects")
    seen = asked(call, twenty, "status", "--as-of", NOW)
    assert seen.out.count("RX404") == 1
    once_more = "publish a new version or revert; `reconciler release defect` tries the same bytes once more"
    assert f"it is held back: {once_more}" in seen.out
    past = asked(call, twenty, "history", "--commit", made[:7])
    assert len(lines(past)) <= MOST
    assert f"126-145  2026-11-30 14:10:16Z  defect on 20 edges ({ALL}): ordered version 2" in past.out
    whole = asked(call, twenty, "history")
    assert f"defect on 20 edges ({ALL}): rolled back: RX404: answered 7 instead of 3" in whole.out
    assert len(lines(asked(call, twenty, "history", "--each"))) == 165
    assert len(lines(asked(call, twenty, "history", "-o", "json"))) == 165
    waits = asked(call, twenty, "wait", "--timeout", "0")
    assert len(lines(waits)) <= MOST
    assert f"defect on 20 edges ({ALL}): failing: RX404: answered 7 instead of 3" in waits.out
    assert waits.out.count(f"; {once_more}\n") == 1
    capsys.readouterr()
    assert verdict(status(twenty.record.state, NOW)) != 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"defect on 20 edges ({ALL}): RolledBack: RX404: answered 7")
    assert len(told) <= MOST
    assert verdict(status(twenty.record.state, NOW), each=True) != 0
    assert len(capsys.readouterr().err.splitlines()) >= 20
    twenty.repository.write({"deployments/defect.yaml": (SET % "2").replace("8080", "8080, replicas: 1")})
    notes = planned(call, twenty)
    assert notes.out.count("is RolledBack: RX404") == 1


def test_what_nobody_wants_any_more_is_no_news_of_a_healthy_row(call: Call, twenty: World) -> None:
    refused(twenty, "2", "Find smaller defects")
    served(twenty, "1", "Back")
    seen = asked(call, twenty, "status", "--as-of", NOW)
    assert "held back" not in seen.out
    held = asked(call, twenty, "status", "--as-of", NOW, "--held")
    assert f"{ALL} (20)  defect  2          " in held.out
    assert "RX404: answered 7 instead of 3; `reconciler release EDGE defect` lets it be tried" in held.out
    assert SHA["2"][:12] not in held.out
    assert "version 2 (2abc2abc2abc) is not given to edge-7 again" in asked(call, twenty, "why", "edge-7", "defect").out
    assert json.loads(asked(call, twenty, "status", "-o", "json").out)["holds"][0]["version"] == "2"
    twenty.repository.write({"deployments/defect.yaml": SET % "2"})
    assert planned(call, twenty).out.count("waits: RX404: answered 7 instead of 3") == 1


def test_a_problem_of_twenty_edges_is_said_once_with_its_line(call: Call, twenty: World) -> None:
    other = (SET % "1").replace("name: defect}", "name: other}").replace("modelName: defect", "modelName: other")
    twenty.repository.write({"deployments/other.yaml": other})
    said = planned(call, twenty)
    assert said.code == 3
    assert said.out.count("error[RX220]") == 1
    assert " note: on 20 edges: edge-1 … edge-20" in said.out
    assert "--> deployments/other.yaml:8:103" in said.out
    assert "^^^^" in said.out
    assert "help: give one of them another servingPort: 8081 is asked for by nothing there" in said.out
    assert "nothing else to do; mend the 20 errors above, and plan again" in said.out
    assert len(lines(said)) <= MOST
    assert planned(call, twenty, "--each").out.count("error[RX220]") == 20
    with twenty.hub(*EDGES):
        twenty.commit({"deployments/other.yaml": other}, "Clash")
    waits = asked(call, twenty, "wait", "--timeout", "0")
    assert f"deployments/other.yaml:8 on 20 edges ({ALL}): refused: RX220: defect already serves" in waits.out
    seen = asked(call, twenty, "status", "--as-of", NOW)
    assert seen.out.count("error[RX220]") == 1
    assert "^^^^" in seen.out
    assert "^^^^" in planned(call, twenty).out  # also where nothing is read anew


def test_a_server_that_is_down_for_an_hour_takes_two_lines(call: Call, twenty: World) -> None:
    with twenty.hub(*EDGES):
        twenty.commit({"deployments/defect.yaml": SET % "2"}, "Find smaller defects")
        for n in range(20):
            url = "https://models.example.com/defect-2.tar.gz"
            twenty.says("edge-5", ev.DOWNLOAD_STARTED, {"sha256": SHA["2"], "url": url, "done": n * 1000})
            error = {"error": "it does not answer", "code": "RX302", "retryMs": 1000 + n}
            twenty.says("edge-5", ev.APPLY_ABANDONED, error)
    said = asked(call, twenty, "history", "--edge", "edge-5", "--since", "124")
    assert len(lines(said)) <= 5
    assert "edge-5 defect: not done: RX302: it does not answer (20 times, the last at 2026-11-30 14:1" in said.out
    seen = asked(call, twenty, "status", "--as-of", NOW)
    assert "Retrying" in seen.out


def test_what_is_staged_is_named_by_its_version_where_the_log_knows_it(call: Call, world: World) -> None:
    with world.hub("edge-1"):
        files = ("models/defect.yaml", "deployments/defect.yaml", "edges/edge-1.yaml")
        world.commit({name: FILES[name] for name in files}, "Begin")
        world.serves("edge-1", "1")
    said = asked(call, world, "history")
    assert "edge-1 defect: staged version 1, fetched 1000 B" in said.out


def test_a_rollback_says_what_it_brings_about(call: Call, twenty: World) -> None:
    served(twenty, "2", "Find smaller defects")
    said = asked(call, twenty, "rollback", "--to", "123", "--repo", twenty.repository.path)
    assert said.code == 2
    assert f"defect on 20 edges ({ALL}): version 2 → 1" in said.err


def test_a_plan_leaves_no_state_directory(call: Call, world: World, tmp_path: Path) -> None:
    world.repository.commit({"models/defect.yaml": MODEL, "datasets/parts.yaml": DATASET}, "Begin")
    call("plan", "--repo", world.repository.path, "--state", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_selector_that_no_edge_has_is_told_with_what_was_meant(call: Call, twenty: World) -> None:
    twenty.repository.write({"deployments/defect.yaml": (SET % "1").replace("berlin", "berlim")})
    said = planned(call, twenty)
    assert "warning[RX227]: InferenceModelSet defect is for no edge: none has site=berlim" in said.out
    assert "help: did you mean site=berlin?" in said.out


def test_two_edges_that_would_serve_at_one_address_are_told(call: Call, twenty: World) -> None:
    twenty.repository.write({"edges/edge-2.yaml": FILES["edges/edge-1.yaml"].replace("edge-1", "edge-2")})
    said = planned(call, twenty)
    assert "warning[RX220]: edge-2 would serve on 127.0.0.2:8080, where edge-1 does (edges/edge-1.yaml:5)" in said.out


def test_what_is_noted_of_twenty_edges_is_noted_once() -> None:
    shown = Shown(
        unknown="",
        of="it",
        commit="c",
        uncommitted=(),
        digest="",
        held="",
        counts={},
        then={},
        steps=(),
        fetch_bytes={},
        refused=(),
        notes=tuple(f"{edge} takes no orders from this log: it is a copy" for edge in EDGES),
        problems=(),
    )
    assert list(told_notes(shown)) == [f"{ALL} (20) takes no orders from this log: it is a copy"]
    assert len(list(told_notes(shown, each=True))) == 20


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ((), ""),
        (("edge-1",), "stopped, and with it the agent of 1 edge (edge-1) and the runtimes of their models"),
        (EDGES, f"stopped, and with it the agents of 20 edges ({ALL}) and the runtimes of their models"),
    ],
)
def test_who_stops_a_hub_is_told_what_ended_with_it(
    edges: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_stopped(edges)
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert not said or told.endswith("they serve again at the next `reconciler run`\n")
