"""A plan made in a clone, by what a hub elsewhere knows, is the plan that the hub makes when it reads that commit."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.history import events as ev
from tests.git_repository import Repository
from tests.unit.cli_world import EDGE, FILES, SET, World
from tests.unit.conftest import Call, Said
from tests.unit.test_cli_hub import serve

pytestmark = pytest.mark.enable_socket


class Elsewhere(NamedTuple):
    """A clone of what a hub follows, with no log beside it."""

    clone: Repository
    call: Call
    url: str
    world: World
    reader: World

    def plan(self, *words: str) -> Said:
        place = ("--repo", self.clone.path, "--state", self.clone.path.parent / "none")
        return self.call("plan", *place, "--hub", self.url, *words)

    def shown(self, *words: str) -> dict[str, Any]:
        said = self.plan("-o", "json", *words)
        assert said.code in {0, 1, 3}, said.err
        found: dict[str, Any] = json.loads(said.out)
        return found


def cloned(world: World, root: Path, *words: str) -> Repository:
    """A clone at `root`, whose commits are dated like those of the world."""
    world.repository.git("clone", "--quiet", *words, f"file://{world.repository.path}", str(root))
    clone = Repository(root)
    clone._minutes = world.repository._minutes + 100
    return clone


@pytest.fixture
def elsewhere(call: Call, settled: World, tmp_path: Path) -> Iterator[Elsewhere]:
    reader = settled.copied(tmp_path / "reader")
    served = serve(settled)
    yield Elsewhere(cloned(settled, tmp_path / "clone"), call, next(served).url, settled, reader)
    with pytest.raises(StopIteration):
        next(served)


def pushed(here: Elsewhere) -> str:
    """The digest of the plan that a hub like that one makes when the clone's commit is pushed."""
    reader = here.reader
    here.clone.git("push", "--quiet", str(reader.repository.path), "HEAD:refs/heads/pushed")
    reader.repository.git("merge", "--quiet", "--ff-only", "pushed")
    with reader.hub("berlin-07", "berlin-08"):
        reader.turn("commit")
        planned = [entry for entry in reader.record.log.read() if entry.event.type == ev.CHANGE_PLANNED]
    assert planned[-1].event.gitcommit == here.clone.git("rev-parse", "HEAD")
    return planned[-1].event.newdigest


CHANGES: dict[str, Mapping[str, str | bytes | None]] = {
    "a default version": {"deployments/defect.yaml": SET % "2"},
    "an edge that comes": {"edges/berlin-09.yaml": EDGE % ("berlin-09", "127.0.0.9")},
    "an edge that goes": {"edges/berlin-08.yaml": None},
    "a pin": {"edges/berlin-07.yaml": FILES["edges/berlin-07.yaml"] + "  pins: [{model: defect, version: '2'}]\n"},
    "all": {"deployments/defect.yaml": None, "datasets/parts.yaml": None},
    "a broken file": {"deployments/defect.yaml": SET % "2", "broken.yaml": "kind: [\n"},
    "a moved file": {"edges/berlin-07.yaml": None, "b7.yaml": FILES["edges/berlin-07.yaml"].replace("0.0.2", "0.0.7")},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_is_the_one_that_the_hub_gives_once_it_reads_the_commit(elsewhere: Elsewhere, change: str) -> None:
    elsewhere.clone.commit(CHANGES[change])
    shown = elsewhere.shown()
    assert shown["counts"]
    assert shown["digest"] == pushed(elsewhere)
