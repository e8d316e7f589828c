"""Every benchmark works at its small size: it has its figures and meets what is counted; seconds are not judged."""

import json
from pathlib import Path
from typing import Any

import pytest

import tests.bench
from tests.bench import Figure
from tests.bench.__main__ import benchmarks, line, main

# What each yields, and how many of its figures are counts: the same on a slow or busy machine, so they must be met.
FIGURES = {
    "bench_agent": (3, 1),
    "bench_cli": (11, 1),
    "bench_demo": (5, 2),
    "bench_fetch": (5, 4),
    "bench_flip": (3, 2),
    "bench_history": (2, 0),
    "bench_log": (5, 0),
}
COUNTS = frozenset({"B", "MB", "MiB", "requests", "versions"})


@pytest.mark.e2e
@pytest.mark.parametrize("name", sorted({*benchmarks()} - {"bench_cluster"}))  # tests/cluster has its control plane
def test_a_small_run_yields_every_figure_and_meets_what_is_counted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(tests.bench.__file__).parents[2]))  # for the processes that they start
    monkeypatch.chdir(tmp_path)  # what they keep stands below build/

    assert main([name, "--small", "--json", "build/found.json"]) == 0

    found: list[dict[str, Any]] = json.loads(Path("build/found.json").read_text())
    counted = [one for one in found if one["unit"] in COUNTS]
    assert (len(found), len(counted)) == FIGURES[name]
    assert len({one["name"] for one in found}) == len(found)
    assert [one for one in counted if not one["met"]] == []
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == name
    assert [said.split("  ")[1] for said in lines] == [one["name"] for one in found]
    assert last.endswith(f"of {len(found)} targets met; written to build/found.json")


def test_a_line_says_what_was_missed_and_by_which_measure() -> None:
    slow = Figure("fetch", 2.5, "s", "lower", "limit, same run", 1.5, 1.3)
    assert " ".join(line(slow).split()) == "fetch 2.500 s MISSED ≤ 1.950 s 1.3 × 1.500, limit, same run"
    fast = Figure("append", 54_321.9, "per s", "higher", "peer", 50_000)
    assert " ".join(line(fast).split()) == "append 54,322 per s met ≥ 50,000 per s peer"
    assert line(slow).index("MISSED") == line(fast).index("met")
