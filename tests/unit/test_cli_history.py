"""`history` filters, limits and follows."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER
from tests.unit.cli_world import World
from tests.unit.conftest import Call

FLEET = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Fleet
metadata: {name: fleet}
spec: {prune: {maxShare: 100%}}
"""


@pytest.fixture
def records(call: Call, story: World) -> Any:
    def found(*words: str) -> list[dict[str, Any]]:
        said = call("history", "--state", story.place.root, "--output", "json", *words)
        assert said.code == 0
        return [json.loads(line) for line in said.out.splitlines()]

    return found


def test_everything_in_order(records: Any) -> None:
    seqs = [record["seq"] for record in records()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 30


def test_by_edge_model_and_commit(records: Any, story: World) -> None:
    every = records()
    mine = records("--edge", "berlin-08")
    assert {record["edge"] for record in mine} == {"berlin-08"}
    assert len(mine) == sum(record["edge"] == "berlin-08" for record in every)
    data = records("--model", "parts")
    assert data
    assert {record["subject"].partition("/")[0] for record in data} == {"Dataset"}
    assert records("--model", "defect", "--edge", "berlin-07")
    first = story.repository.git("rev-list", "--max-parents=0", "HEAD")
    brought = records("--commit", first[:8])
    assert {record["commit"] for record in brought} == {first}
    assert [record["type"] for record in brought][-1] == ev.APPLY_INTENDED


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--edge", "nope"), ("there is no edge nope", "there are berlin-07, berlin-08")),
        (("--model", "nope"), ("nothing is called nope", "there are berlin-07, berlin-08, defect, parts")),
        (("--commit", "zzz"), ("commit zzz was never read here", "the newest is ")),
    ],
)
def test_names_that_the_log_never_had_are_refused(
    call: Call, story: World, words: tuple[str, ...], why: tuple[str, str]
) -> None:
    said = call("history", "--state", story.place.root, *words)
    assert (said.code, said.out) == (2, "")
    assert "error[RX103]" in said.err
    assert all(part in said.err for part in why)


def test_what_is_gone_still_has_its_history(call: Call, settled: World) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"fleet.yaml": FLEET}, "Let everything go")
        settled.commit({"deployments/defect.yaml": None}, "No more")
        for edge in ("berlin-07", "berlin-08"):
            settled.says(edge, ev.APPLY_SUCCEEDED, {"live": {}})
        assert not any("defect" in text for text in settled.record.state.stage(DELIVER).keys)
    assert "serves version 1" in call("history", "--model", "defect", "--state", settled.place.root).out


def test_since_a_time_or_behind_an_entry(records: Any) -> None:
    every = records()
    assert [record["seq"] for record in records("--since", "30")] == [r["seq"] for r in every[30:]]
    third = every[2]["recordedTime"]
    assert records("--since", third)[0]["seq"] <= 3


def test_the_newest_so_many(records: Any) -> None:
    every = records()
    assert records("--limit", "3") == every[-3:]
    assert records("--limit", "1", "--edge", "berlin-08") == [r for r in every if r["edge"] == "berlin-08"][-1:]


def test_following_goes_on_until_it_is_interrupted(world: World) -> None:
    from tests.unit.cli_world import FILES

    with world.hub("berlin-07"):
        command = [sys.executable, "-m", "reconciler", "history", "--follow", "--state", str(world.place.root)]
        told = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        assert told.stdout is not None
        with told.stdout:
            assert "began" in told.stdout.readline()
            world.commit(FILES, "Begin")
            while "commit " not in (line := told.stdout.readline()):
                assert line
            assert "Begin" in line
            told.send_signal(signal.SIGINT)
            told.stdout.read()
        assert told.wait() == 130


def test_on_a_device_its_own_log_answers_and_names_what_stands_in_the_hubs_log_only(call: Call, settled: World) -> None:
    place = settled.place
    with (
        closing(SqliteLog(place.edge("berlin-07").log, "/edge/berlin-07", settled.clock)) as here,
        closing(FileLink(place.hub.log, here)) as link,
    ):
        here.copy(link.fetch())
    shutil.rmtree(place.hub.directory)
    shutil.rmtree(place.edge("berlin-08").directory)
    told = call("history", "--state", place.root).out
    assert "ordered version 1" in told
    assert told.count("; its cause stands in the hub's log only") == told.count(": ordered version")
    walk = call("why", "berlin-07", "defect", "--state", place.root).out
    assert "ordered version 1: the default version of defect (deployments/defect.yaml:" in walk
    assert "which stands in the hub's log only" in walk
    assert call("status", "--state", place.root).code == 2


def test_the_hub_has_every_cause(call: Call, settled: World) -> None:
    assert "hub's log only" not in call("history", "--state", settled.place.root).out
    assert "hub's log only" not in call("why", "berlin-07", "defect", "--state", settled.place.root).out
