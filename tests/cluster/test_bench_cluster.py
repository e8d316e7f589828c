"""The benchmark of the cluster works at its small size, and what it counts is exact; seconds are not judged."""

from pathlib import Path

import pytest

import tests.bench
from tests.bench import bench_cluster
from tests.bench.bench_cluster import SMALL
from tests.control_plane.plane import ControlPlane

COUNTS = frozenset({"writes", "calls", "events"})


@pytest.mark.e2e
def test_a_small_run_writes_exactly_what_changed(
    cluster: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(tests.bench.__file__).parents[2]))  # for the hubs that it starts
    figures = {one.name: one for one in bench_cluster.rows(cluster, tmp_path, SMALL)}
    counted = {name: (one.value, one.reference) for name, one in figures.items() if one.unit in COUNTS}
    models, edges, rounds = SMALL.models, SMALL.edges, SMALL.rounds
    assert {name: value for name, (value, _) in counted.items()} == {
        f"cold apply of {models} InferenceModels: writes": models,
        "one line pushed: writes of a pass": 1,
        "a pass when nothing changed: API calls": 0,
        "every object looked at: API calls": 0,
        "drift of one object: writes": 1,
        "drifts whose event names the writer": rounds,
        f"one default version changed for {edges} edges: writes": edges + 1,
        f"`git revert` of that, {edges} edges: writes": edges + 1,
        "restart on a warm cluster: writes": 0,
    }
    assert all(value == expected for value, expected in counted.values())
    assert len(figures) == 21
