"""What the shell completes, as a shell asks for it: by variables, of a process of its own."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.history import events as ev
from tests.unit.cli_world import World
from tests.unit.conftest import Call
from tests.unit.test_cli_main import HEAVY

LOADED = (
    "import sys\nfrom reconciler.__main__ import main\nsys.argv = ['reconciler']\n"
    "try:\n    main()\nfinally:\n"
    "    print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
)
Complete = Callable[..., list[str]]


@pytest.fixture
def complete(story: World, tmp_path: Path) -> Complete:
    """The words for the last one of a line; checks that nothing heavy was imported, and that nothing was said."""

    def completed(line: str, shell: str = "bash", state: Path = story.place.root, **more: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        if shell == "fish":
            words = {"COMP_WORDS": line, "COMP_CWORD": line.rpartition(" ")[2]}
        world = {"RECONCILER_STATE": str(state), "HOME": str(tmp_path), "_RECONCILER_COMPLETE": f"{shell}_complete"}
        env = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"} | world | words | more
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", LOADED], capture_output=True, text=True, env=env, check=False
        )
        *said, loaded = done.stderr.strip().splitlines()
        costs = {"--context": "yaml", "explain": "msgspec"}
        allowed = {"sqlite3", *(package for word, package in costs.items() if word in line)}
        assert [name for name in HEAVY if f"'{name}'" in loaded and name not in allowed] == []
        assert said == []
        return [word for word in done.stdout.splitlines() if word]

    return completed


EDGES = ["plain,berlin-07", "plain,berlin-08"]


@pytest.mark.parametrize("verb", ["status", "history", "why", "wait", "suspend --reason x", "release", "state"])
def test_a_first_name_is_an_edge_or_what_goes_by_it(complete: Complete, verb: str) -> None:
    assert complete(f"reconciler {verb} ") == [*EDGES, "plain,defect", "plain,parts"]
    assert complete(f"reconciler {verb} b") == EDGES
    assert complete(f"reconciler {verb} edge/") == ["plain,edge/berlin-07", "plain,edge/berlin-08"]
    assert complete(f"reconciler {verb} model/") == ["plain,model/defect"]
    assert complete(f"reconciler {verb} dataset/") == ["plain,dataset/parts"]


def test_a_second_name_is_what_the_edge_has(complete: Complete) -> None:
    assert complete("reconciler why berlin-07 ") == ["plain,defect", "plain,parts"]
    assert complete("reconciler why moon ") == []
    assert complete("reconciler why berlin-07 defect ") == []
    assert complete("reconciler pin ") == EDGES
    assert complete("reconciler pin berlin-07 d") == ["plain,defect"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_what_each_word_is(complete: Complete, shell: str) -> None:
    said = "\n".join(complete("reconciler status ", shell))
    assert "berlin-07" in said
    assert "edge" in said
    assert "Dataset" in said


def test_commits_come_newest_first_with_labels_and_codes(complete: Complete, story: World) -> None:
    commits = [f"plain,{story.repository.git('rev-parse', f'HEAD~{n}').strip()[:12]}" for n in range(4)]
    for line in ("wait --commit", "history --commit", "state --at", "rollback --to"):
        assert complete(f"reconciler {line} ") == commits
    assert complete("reconciler status -l ") == ["plain,site=berlin"]
    assert complete("reconciler status -l ring!=x,s") == ["plain,ring!=x,site=berlin"]
    assert complete("reconciler explain RX40")[:2] == ["plain,RX400", "plain,RX401"]


def test_a_pin_s_version_is_one_that_there_is(complete: Complete) -> None:
    assert complete("reconciler pin berlin-07 defect@") == ["plain,defect@1", "plain,defect@2"]
    assert complete("reconciler pin berlin-07 defect@2") == ["plain,defect@2"]
    assert complete("reconciler pin berlin-07 parts@") == ["plain,parts@7"]
    assert complete("reconciler pin berlin-07 moon@") == []


def test_to_bash_a_model_and_its_version_are_one_word(call: Call) -> None:
    script = call("completion", "bash").out.splitlines()[0]
    done = subprocess.run(
        ["bash", "-c", f"{script}; echo $COMP_WORDBREAKS"], capture_output=True, text=True, check=True
    )
    assert "@" not in done.stdout
    assert "COMP_WORDBREAKS" not in call("completion", "zsh").out


def test_what_can_be_explained_is_offered(complete: Complete) -> None:
    assert complete("reconciler explain edge.sp")[:2] == ["plain,edge.spec", "plain,edge.spec.nodeName"]
    assert complete("reconciler explain edge.spec.pins.r") == ["plain,edge.spec.pins.reason"]
    assert complete("reconciler explain Staged") == ["plain,Staged"]
    assert complete("reconciler explain InferenceModelS") == ["plain,InferenceModelSet"]


def test_what_is_suspended_is_what_can_be_resumed(complete: Complete, settled: World) -> None:
    assert complete("reconciler resume ", state=settled.place.root) == []
    with settled.hub("berlin-07"):
        for type_, scope in (
            (ev.RECONCILE_SUSPENDED, "berlin-07"),
            (ev.RECONCILE_SUSPENDED, "berlin-08"),
            (ev.RECONCILE_RESUMED, "berlin-08"),
        ):
            settled.record.append([settled.record.event(type_, "suspensions", {"scope": scope, "reason": "a test"})])
    assert complete("reconciler resume ", state=settled.place.root) == ["plain,berlin-07"]


def test_a_plan_that_is_held_is_offered_and_one_that_is_not_is_not(complete: Complete, settled: World) -> None:
    assert complete("reconciler approve ", state=settled.place.root) == []
    with settled.hub("berlin-07"):
        facts = {"held": "it deletes 9", "keys": [], "counts": {"delete": 9}}
        settled.record.append([settled.record.event(ev.CHANGE_PLANNED, "plan/deliver", facts, newdigest="ab12")])
    assert complete("reconciler approve ", state=settled.place.root) == ["plain,ab12"]


def test_contexts_are_those_of_the_kubeconfigs(complete: Complete, tmp_path: Path) -> None:
    for name in ("one", "two"):
        config = {"contexts": [{"name": f"kind-{name}", "context": {}}], "current-context": ""}
        (tmp_path / name).write_text(json.dumps(config))
    both = {"KUBECONFIG": f"{tmp_path / 'one'}:{tmp_path / 'two'}:{tmp_path / 'none'}"}
    assert complete("reconciler status --context k", **both) == ["plain,kind-one", "plain,kind-two"]
    only = f"reconciler status --kubeconfig {tmp_path / 'two'} --context "
    assert complete(only, **both) == ["plain,kind-two"]
    assert complete("reconciler run --context ") == []


def test_where_there_is_nothing_nothing_is_offered_and_nothing_said(complete: Complete, tmp_path: Path) -> None:
    lines = ("status ", "why e", "wait --commit ", "status -l ", "approve ", "pin ", "status --hub http://x:1 ")
    assert [complete(f"reconciler {line}", state=tmp_path / "none") for line in lines] == [[]] * len(lines)
    home = tmp_path / "odd" / "hub"
    home.mkdir(parents=True)
    (home / "log.db").write_bytes(b"not a log")
    assert [complete(f"reconciler {line}", state=home.parent) for line in lines] == [[]] * len(lines)


def test_what_is_in_a_sealed_file_is_offered_too(complete: Complete, settled: World) -> None:
    from contextlib import closing

    from reconciler.eventlog.sqlite import SqliteLog

    with closing(SqliteLog(settled.place.hub.log, "/hub", settled.clock)) as log:
        log.seal()
    assert complete("reconciler status ", state=settled.place.root) == [*EDGES, "plain,defect", "plain,parts"]


def test_a_completion_asks_few_questions(story: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    from reconciler.cli import completing

    asked: list[str] = []
    opened = completing._opened

    def traced(path: Path) -> sqlite3.Connection:
        connection = opened(path)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(completing, "_opened", traced)
    context = click.Context(click.Command("x"), info_name="x")
    context.params = {"state_dir": story.place.root}
    found = completing.completed("names", context, "")
    assert [one.value for one in found] == ["berlin-07", "berlin-08", "defect", "parts"]
    assert len(asked) == 2 * 2 + 2  # streams of both kinds, for edges and for names, and one order of each name
