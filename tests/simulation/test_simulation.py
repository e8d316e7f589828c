"""Thirty days of a hub and three edges in one thread, in seconds: the same by the same seed, right by every seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.fleet import Fleet
from tests.simulation.story import DAY, Story

pytestmark = pytest.mark.slow


def test_a_remote_that_is_away_is_asked_less_and_less(tmp_path: Path) -> None:
    fleet = Fleet(1, tmp_path, names=())
    fleet.branch.is_up = False
    fleet.start()
    fleet.world.run_until(DAY)
    assert 86_400 / 900 < fleet.branch.asked < 2000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_happens_in_thirty_days_it_all_becomes_as_git_says(seed: int, tmp_path: Path) -> None:
    Story(seed, tmp_path).run()


def test_the_same_seed_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    heads = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.story", "4"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": order},
        ).stdout
        for order in ("1", "2")
    ]
    assert heads[0] == heads[1]
