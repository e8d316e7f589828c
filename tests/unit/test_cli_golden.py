"""What people see, byte for byte, of one told story (UPDATE_GOLDEN=1 writes the files anew)."""

import json
from pathlib import Path

import pytest

from tests.unit.cli_world import NOW, SET, World, golden
from tests.unit.conftest import Call

READS = {
    "status": ("status", "--as-of", NOW),
    "history": ("history",),
    "why-running": ("why", "berlin-07", "defect"),
    "why-rejected": ("why", "berlin-08", "defect"),
    "state": ("state", "--at", "30"),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_the_answer_is_as_it_was(call: Call, story: World, name: str, form: str) -> None:
    said = call(*READS[name], "--state", story.place.root, "--output", form)
    assert said.code == 0
    golden(f"{name}.{'txt' if form == 'table' else form}", said.out)
    if form == "json":
        records = [json.loads(line) for line in said.out.splitlines()] if name == "history" else [json.loads(said.out)]
        assert records
        assert {record["schemaVersion"] for record in records} == {1}


def test_status_is_byte_identical_from_the_logs_alone(call: Call, story: World, tmp_path: Path) -> None:
    for name in ("hub", "edges"):
        for path in (story.place.root / name).rglob("log.db*"):
            target = tmp_path / "copy" / path.relative_to(story.place.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    here = call("status", "--as-of", NOW, "--state", story.place.root)
    there = call("status", "--as-of", NOW, "--state", tmp_path / "copy")
    assert here.out
    assert here.out == there.out


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_a_plan_is_as_it_was(call: Call, story: World, tmp_path: Path, form: str) -> None:
    world = story.copied(tmp_path / "world")
    world.repository.write({"deployments/defect.yaml": SET % "1"})
    said = call("plan", "--repo", world.repository.path, "--state", world.place.root, "--output", form)
    assert said.code == 3  # there are changes, and a document is refused
    golden(f"plan.{'txt' if form == 'table' else form}", said.out)


@pytest.mark.parametrize("code", ["", "RX401", "RX201"])
def test_an_explanation_is_as_it_was(call: Call, code: str) -> None:
    said = call("explain", *([code] if code else []))
    assert said.code == 0
    golden(f"explain{'-' if code else ''}{code}.txt", said.out)
