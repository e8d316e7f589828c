"""VERB [EDGE] [MODEL]: what names, labels and standings mean, alike in every command, here and at a hub elsewhere."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from reconciler.cli.main import COMMANDS, ELSEWHERE
from reconciler.history import events as ev
from tests.unit.cli_world import EDGE, SET, World, settle
from tests.unit.conftest import Call
from tests.unit.test_cli_hub import Served, serve

pytestmark = pytest.mark.enable_socket

REFUSED = {"error": "answered 7 instead of 3", "code": "RX404", "phase": "RolledBack", "quarantine": "x"}


def labelled(name: str, labels: str, address: str) -> str:
    return EDGE.replace("{site: berlin}", labels) % (name, address)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two edges that serve, of which one refuses version 2; two more that were never heard; one is called `defect`."""
    world = World(tmp_path_factory.mktemp("grammar"))
    settle(world)
    files = {
        "edges/berlin-08.yaml": labelled("berlin-08", "{site: berlin, ring: canary}", "127.0.0.3"),
        "edges/edge-10.yaml": labelled("edge-10", "{site: berlin, gpu: 'yes'}", "127.0.0.10"),
        "edges/edge-2.yaml": labelled("edge-2", "{site: berlin}", "127.0.0.2"),
        "edges/parts.yaml": labelled("parts", "{site: berlin}", "127.0.0.5"),
        "deployments/defect.yaml": SET % "2",
    }
    with world.hub("berlin-07", "berlin-08"):
        world.commit(files, "More edges, and version 2")
        world.serves("berlin-07", "2", previous="1")
        world.says("berlin-08", ev.APPLY_FAILED, REFUSED)
    return world


@pytest.fixture(scope="module")
def served(fleet: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve(fleet.copied(tmp_path_factory.mktemp("served")))


ASKED = [
    *(("status", *more) for more in [("berlin-07",), ("defect",), ("berlin-08", "defect"), ("edge/parts",)]),
    *(("status", *more) for more in [("-l", "ring=canary"), ("-l", "site=berlin,ring!=canary,!gpu"), ("--failing",)]),
    *(("status", *more) for more in [("--waiting", "-l", "gpu"), ("dataset/parts",), ("defect", "-l", "ring=canary")]),
    *(("why", *more) for more in [("berlin-08",), ("defect",), ("--failing",), ("im/defect-berlin-07",)]),
    *(("why", *more) for more in [("-l", "ring=canary", "defect"), ("berlin-08", "model/defect")]),
    *(("history", *more) for more in [("berlin-08",), ("defect",), ("berlin-07", "defect"), ("-l", "ring=canary")]),
    *(("history", *more) for more in [("--author", "ADA"), ("--actor", "berlin-08"), ("--type", "apply.failed")]),
    *(("history", *more) for more in [("--since", "9", "--until", "2026-11-30T14:01:00Z"), ("--until", "1h")]),
    *(("state", *more) for more in [("berlin-07", "--at", "20"), ("--failing",), ("-l", "ring=canary")]),
]
REFUSED_NAMES = [
    ("parts",),
    ("moon",),
    ("berlin-07", "moon"),
    ("defect", "berlin-07"),
    ("model/parts",),
    ("nokind/x",),
    ("-l", "site=brelin"),
    ("-l", "stie=berlin"),
    ("-l", "a b"),
]


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
@pytest.mark.parametrize("form", ["table", "json"])
def test_names_and_filters_mean_the_same_here_and_at_a_hub(
    call: Call, served: Served, words: tuple[str, ...], form: str
) -> None:
    now = ("--as-of", "2026-12-01") if words[0] == "status" else ()
    there = call(*words, *now, "--hub", served.url, "-o", form)
    here = call(*words, *now, "--state", served.world.place.root, "-o", form)
    assert (there.code, there.out) == (here.code, here.out) == (0, here.out), there.err
    assert bool(here.out) == (words != ("history", "--until", "1h")) or here.out


@pytest.mark.parametrize("words", REFUSED_NAMES, ids=" ".join)
@pytest.mark.parametrize("verb", ["status", "why", "history", "state"])
def test_names_that_mean_nothing_are_refused_the_same(
    call: Call, served: Served, verb: str, words: tuple[str, ...]
) -> None:
    there = call(verb, *words, "--hub", served.url, "-o", "json")
    here = call(verb, *words, "--state", served.world.place.root, "-o", "json")
    assert (there.code, there.err, there.out) == (here.code, here.err, here.out) == (2, here.err, "")
    assert json.loads(here.err)["hint"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("history", "--since", "2026-11-30", "--until", "2026-11-29"), "nothing is both since 2026-11-30"),
        (("history", "--since", "2200-01-01"), "still to come"),
        (("history", "--since", ""), "is empty"),
        (("status", "-l", " "), "is empty"),
        (("suspend", "berlin-07", "--reason", ""), "is empty"),
    ],
)
def test_what_can_mean_nothing_is_refused(call: Call, fleet: World, words: tuple[str, ...], why: str) -> None:
    said = call(*words, "--state", fleet.place.root)
    assert (said.code, said.out) == (2, "")
    assert why in said.err


def test_a_selector_that_is_repeated_is_all_of_its_conditions(call: Call, fleet: World) -> None:
    both = rows(call, fleet, "status", "-l", "site=berlin", "-l", "ring!=canary")
    assert both == rows(call, fleet, "status", "-l", "site=berlin,ring!=canary")
    assert both != rows(call, fleet, "status", "-l", "site=berlin")


def rows(call: Call, fleet: World, *words: str) -> list[tuple[str, str]]:
    said = json.loads(call(*words, "--state", fleet.place.root, "-o", "json").out)
    return [(row["edge"], row["model"]) for row in said["rows"]]


def test_a_status_is_of_what_is_named(call: Call, fleet: World) -> None:
    edges = ["berlin-07", "berlin-08", "edge-2", "edge-10", "parts"]
    assert rows(call, fleet, "status") == [(edge, model) for edge in edges for model in ("defect", "parts")]
    assert rows(call, fleet, "status", "edge-10") == [("edge-10", "defect"), ("edge-10", "parts")]
    assert rows(call, fleet, "status", "defect") == [(edge, "defect") for edge in edges]
    assert rows(call, fleet, "status", "dataset/parts") == [(edge, "parts") for edge in edges]
    assert rows(call, fleet, "status", "edge/parts") == [("parts", "defect"), ("parts", "parts")]
    assert rows(call, fleet, "status", "berlin-07", "parts") == [("berlin-07", "parts")]
    assert rows(call, fleet, "status", "-l", "ring=canary", "--failing") == [("berlin-08", "defect")]
    assert rows(call, fleet, "state", "--failing") == [("berlin-08", "defect")]
    waits = [(edge, model) for edge in edges[2:] for model in ("defect", "parts")]
    assert rows(call, fleet, "status", "--waiting") == waits
    assert rows(call, fleet, "status", "--waiting", "--failing") == [("berlin-08", "defect"), *waits]
    assert rows(call, fleet, "status", "--failing", "berlin-07") == []
    for verb in ("status", "state", "why"):
        said = call(verb, "--failing", "berlin-07", "--state", fleet.place.root)
        assert (said.code, "nothing of that is failing\n" in said.out, "as Git says" in said.out) == (0, True, False)


def test_labels_are_those_of_the_commit_that_was_read_by_then(call: Call, fleet: World) -> None:
    before = json.loads(
        call("history", "--type", "ref.advanced", "--state", fleet.place.root, "-o", "json").out.splitlines()[1]
    )
    at = str(before["seq"] - 1)
    said = call("state", "--at", at, "-l", "ring=canary", "--state", fleet.place.root)
    assert (said.code, said.err.splitlines()[0]) == (2, "error[RX103]: no edge has the label ring")
    assert rows(call, fleet, "state", "--at", at, "-l", "site=berlin", "defect") == [
        ("berlin-07", "defect"),
        ("berlin-08", "defect"),
    ]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("parts",), "RX107", "write edge/parts, or dataset/parts"),
        (("moon",), "nothing is called moon: no edge, model, dataset or object", "there are berlin-07, "),
        (("edge-20",), "nothing is called edge-20", "is edge-2 or "),
        (("berlin-07", "moon"), "berlin-07 has no moon", "it has defect, parts"),
        (("defect", "berlin-07"), "there is no edge defect", "the edge comes first: berlin-07 defect"),
        (("-l", "site=brelin"), "no edge has site=brelin", "is site=berlin meant? site is berlin"),
        (("-l", "stie=berlin"), "no edge has the label stie", "is site meant? they have gpu, ring, site"),
        (("a", "b", "c"), "unexpected extra argument (c)", ""),
    ],
)
def test_what_is_refused_says_what_there_is(
    call: Call, fleet: World, words: tuple[str, ...], message: str, hint: str
) -> None:
    said = call("status", *words, "--state", fleet.place.root)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert hint in said.err


def records(call: Call, fleet: World, *words: str) -> list[dict[str, Any]]:
    said = call("history", *words, "--state", fleet.place.root, "-o", "json")
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def test_a_history_is_of_who_and_what_and_when(call: Call, fleet: World) -> None:
    every = records(call, fleet)
    assert {one["edge"] for one in records(call, fleet, "berlin-08")} == {"berlin-08"}
    assert records(call, fleet, "berlin-08", "defect") == records(
        call, fleet, "--edge", "berlin-08", "--model", "defect"
    )
    assert {one["actor"] for one in records(call, fleet, "--actor", "edge/berlin-07")} == {"edge/berlin-07"}
    assert records(call, fleet, "--actor", "nobody") == []
    assert [one["type"] for one in records(call, fleet, "--type", "apply.failed")] == ["apply.failed.v1"]
    assert {one["commit"] for one in records(call, fleet, "--author", "ada")} == {e["commit"] for e in every} - {""}
    middle = every[9]["recordedTime"]
    assert records(call, fleet, "--until", middle) == [one for one in every if one["recordedTime"] < middle]
    said = call("history", "--author", "Nina", "--state", fleet.place.root)
    assert (said.code, said.out) == (2, "")
    assert "no commit here is by Nina" in said.err
    assert "there is Ada <ada@example.com>" in said.err


def test_an_edge_lists_what_it_has_each_in_short(call: Call, fleet: World) -> None:
    short, full = (
        call("why", *words, "--state", fleet.place.root) for words in [("berlin-08",), ("berlin-08", "defect")]
    )
    assert full.out.count("@berlin-08") == 1
    assert short.out.count("@berlin-08") == 2
    assert " ← plan" in full.out
    assert " ← plan" not in short.out
    assert "serving" in short.out
    assert "deployments/defect.yaml:6 in commit" in short.out
    assert short.out.endswith("each in full: `reconciler why EDGE MODEL`\n")
    walks = [
        json.loads(call("why", *w, "--state", fleet.place.root, "-o", "json").out)["walks"]
        for w in [("berlin-08",), ("berlin-08", "defect")]
    ]
    assert walks[1][0] == walks[0][0]
    assert call("why", "--state", fleet.place.root).code == 2


def copied(fleet: World, tmp_path: Path) -> tuple[World, tuple[str, str]]:
    world = fleet.copied(tmp_path / "world")
    return world, ("--state", str(world.place.root))


def scopes(call: Call, at: tuple[str, str]) -> list[str]:
    return [one["scope"] for one in json.loads(call("status", *at, "-o", "json").out)["suspended"]]


@pytest.mark.parametrize(
    ("words", "scope"),
    [
        ((), "*"),
        (("berlin-07",), "berlin-07"),
        (("edge/parts",), "parts"),
        (("berlin-07", "defect"), "InferenceModel/default/defect-berlin-07@berlin-07"),
        (("berlin-07", "dataset/parts"), "Dataset/default/parts@berlin-07"),
        (("dataset/parts",), "Dataset/default/parts"),
        (("im/defect-berlin-07",), "InferenceModel/default/defect-berlin-07"),
        (("defect-berlin-07",), "InferenceModel/default/defect-berlin-07"),
    ],
)
def test_suspend_and_resume_take_the_same_names(
    call: Call, fleet: World, tmp_path: Path, words: tuple[str, ...], scope: str
) -> None:
    _, at = copied(fleet, tmp_path)
    said = call("suspend", *words, "--reason", "x", "--until", "2h", *at)
    assert said.code == 0, said.err
    assert scopes(call, at) == [scope]
    if words:
        history = call("history", *words, "--limit", "1", *at)
        assert "suspended" in history.out, history.err
    assert call("resume", *words, *at).code == 0
    assert scopes(call, at) == []
    assert "nothing is suspended just now" in call("resume", *words, *at).err


@pytest.mark.parametrize("verb", [("suspend", "--reason", "x"), ("resume",), ("release",)])
def test_verbs_refuse_what_questions_refuse(call: Call, fleet: World, tmp_path: Path, verb: tuple[str, ...]) -> None:
    _, at = copied(fleet, tmp_path)
    said = call(*verb, "parts", *at)
    assert (said.code, "write edge/parts, or dataset/parts" in said.err) == (2, True)
    assert "nothing is called moon" in call(*verb, "moon", *at).err
    if verb[0] != "release":
        said = call(*verb, "defect", *at)
        assert (said.code, "is suspended edge by edge" in said.err) == (2, True)
        assert f"`reconciler {verb[0]} berlin-07 defect`" in said.err


@pytest.mark.parametrize("words", [("berlin-08",), ("defect",), ("berlin-08", "defect"), ("im/defect-berlin-08",)])
def test_what_is_held_is_released_by_any_of_its_names(
    call: Call, fleet: World, tmp_path: Path, words: tuple[str, ...]
) -> None:
    _, at = copied(fleet, tmp_path)
    assert "nothing is held on berlin-07" in call("release", "edge/berlin-07", *at).err
    assert call("release", *words, *at).code == 0
    assert json.loads(call("status", *at, "-o", "json").out)["holds"] == []


def test_a_pin_takes_the_same_names(call: Call, fleet: World, tmp_path: Path) -> None:
    world, at = copied(fleet, tmp_path)
    repo = ("--repo", str(world.repository.path))
    said = call(
        "pin", "edge/berlin-07", "dataset/parts@7", "--reason", "x", "--expires", "2d", *repo, *at, "-o", "json"
    )
    assert (said.code, json.loads(said.out)["edge"], json.loads(said.out)["dataset"]) == (0, "berlin-07", "parts")
    assert "is berlin-07 meant?" in call("pin", "berlin-7", "defect@1", *repo, *at).err
    assert "is defect meant?" in call("pin", "berlin-07", "defekt@1", *repo, *at).err


NOTHING = [
    ("status", "--namespace", "x"),
    ("history", "--until", "1h", "--follow"),
    ("history", "edge-1", "--edge", "edge-2"),
    ("reconcile", "--timeout", "3"),
    ("pin", "a", "b", "--timeout", "3"),
    ("rollback", "--to", "3", "--timeout", "3"),
    ("run", "--repo", "x", "--timeout", "3"),
    ("run", "--repo", "x", "--install", "a"),
    ("doctor", "--lease", "x"),
    ("pin", "a", "b", "--remove", "--reason", "x"),
    ("plan", "--hub", "http://127.0.0.1:1", "--check"),
    ("wait", "--branch", "x"),
    ("status", "--hub-token-env", "X"),
]


@pytest.mark.parametrize("words", NOTHING, ids=" ".join)
def test_an_option_that_would_do_nothing_is_refused(
    call: Call, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call(*words)
    assert (said.code, said.out) == (2, "")
    reasons = ("says nothing without", "keep one of the two", "and nothing else", "belongs to")
    assert any(reason in said.err for reason in reasons), said.err


WRITES = {"approve", "release", "suspend", "resume", "reconcile"}


def test_on_behalf_of_whom_is_asked_of_verbs_that_write_alone() -> None:
    hidden = {
        name
        for name in COMMANDS
        for option in import_module(f"reconciler.cli.{name}").command.params
        if "--actor" in option.opts and option.hidden
    }
    assert hidden == WRITES


@pytest.mark.parametrize(
    "name", ["status", "history", "why", "state", "wait", "reconcile", "suspend", "resume", "release"]
)
def test_every_verb_takes_the_same_two_names(name: str) -> None:
    command = import_module(f"reconciler.cli.{name}").command
    named = [one for one in command.params if isinstance(one, click.Argument)]
    assert [one.metavar for one in named] == ["[EDGE]", "[MODEL]"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("stauts", "did you mean `reconciler status`"),
        ("logs", "did you mean `reconciler history` or `reconciler log`?"),
        ("events", "did you mean `reconciler history`?"),
        ("sync", "did you mean `reconciler reconcile`?"),
        ("unpin", "did you mean `reconciler pin EDGE MODEL --remove`?"),
        ("frobnicate", "`reconciler --help` lists those there are"),
    ],
)
def test_an_unknown_command_is_guessed(call: Call, name: str, said: str) -> None:
    done = call(name, "edge-1")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error[RX101]: there is no command {name}\n help: ")
    assert said in done.err
    assert said in json.loads(call(name, "-o", "json").err)["hint"]


def test_a_guess_is_the_command_that_was_meant(call: Call) -> None:
    assert "did you mean `reconciler pin edge-2 digits --remove`?" in call("unpin", "edge-2", "digits").err


@pytest.mark.parametrize("words", [(), ("log",), ("-h",), ("log", "-h")])
def test_a_group_alone_says_what_there_is(call: Call, words: tuple[str, ...]) -> None:
    done = call(*words)
    is_asked = "-h" in words
    said = done.out if is_asked else done.err
    assert (done.code, "error" in done.err, said.startswith("Usage: reconciler")) == (2 * (not is_asked), False, True)
    assert "\nCommands:\n" in said


def test_what_is_guessed_is_there() -> None:
    assert {one.split()[0] for guesses in ELSEWHERE.values() for one in guesses} <= {*COMMANDS, "--version"}
    assert not ELSEWHERE.keys() & COMMANDS.keys()


def test_a_plan_lists_its_steps_in_the_order_of_people(call: Call, fleet: World, tmp_path: Path) -> None:
    world, at = copied(fleet, tmp_path)
    world.repository.write({"deployments/defect.yaml": SET % "1"})
    said = json.loads(call("plan", "--repo", str(world.repository.path), *at, "-o", "json").out)
    assert [step["edge"] for step in said["steps"]] == ["berlin-07", "berlin-08", "edge-2", "edge-10", "parts"]
    assert list(said["fetchBytes"]) == ["edge-2", "edge-10", "parts"]  # berlin-07 has them still
