"""Twenty edges that do the same, as a hub leaves them: what is said of them is said once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.history import events as ev
from tests.unit.cli_world import DATASET, EDGE, MODEL, SET, SHA, World

EDGES: Final = tuple(f"edge-{n}" for n in range(1, 21))
FILES: Final[Mapping[str, str]] = {
    "models/defect.yaml": MODEL,
    "deployments/defect.yaml": SET % "1",
    **{f"edges/{edge}.yaml": EDGE % (edge, f"127.0.0.{n}") for n, edge in enumerate(EDGES, 2)},
}
DATA: Final = {"datasets/parts.yaml": DATASET}


def begin(root: Path) -> World:
    """Twenty edges that serve version 1."""
    world = World(root)
    with world.hub(*EDGES):
        world.commit(FILES, "Begin")
        for edge in EDGES:
            world.serves(edge, "1")
    return world


def served(world: World, version: str, message: str) -> str:
    """A commit that all of them follow."""
    with world.hub(*EDGES):
        made = world.commit({"deployments/defect.yaml": SET % version}, message)
        for edge in EDGES:
            world.serves(edge, version)
    return made


def refused(world: World, version: str, message: str) -> str:
    """A commit whose version all of them refuse, and go back."""
    with world.hub(*EDGES):
        made = world.commit({"deployments/defect.yaml": SET % version}, message)
        for edge in EDGES:
            live = {"version": "1", "sha256": SHA["1"], "digest": SHA["1"], "url": "http://127.0.0.2:8080"}
            said = {"error": "answered 7 instead of 3", "code": "RX404", "phase": "RolledBack"}
            world.says(edge, ev.APPLY_FAILED, {**said, "quarantine": SHA[version], "live": live})
    return made
