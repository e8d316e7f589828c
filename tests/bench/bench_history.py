"""The state at any point of a long log, by the snapshots that the hub left while it wrote it. Row 4 of the log.

The log is a hub's: orders for 1,000 keys, and what 250 edges said of them, copied. It is built as a hub builds it.
"""

import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from reconciler.edge.paths import StateDirectory
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.replay import EVERY, Replay
from reconciler.eventlog.snapshots import Snapshots
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.fold import CODE_VERSION, fold
from reconciler.history.state import State
from reconciler.wiring.process import recorded
from tests.bench import Figure
from tests.bench.rollout import Rollouts
from tests.log_events import StillClock

EDGES, MODELS = 250, 4
POINTS = 7
TOLD_EVERY = 100_000
RECONCILER = str(Path(sysconfig.get_path("scripts")) / "reconciler")


def figures(small: bool) -> Iterator[Figure]:
    """The slowest of random points, in a process that runs already; and one whole `reconciler state --at`."""
    count = 20_000 if small else 1_000_000
    with tempfile.TemporaryDirectory() as place:
        state = StateDirectory(Path(place))
        _build(state, count)
        name = f"log of {count:,} events"
        with closing(SqliteReader(state.hub.log)) as log:
            points = [
                *random.Random(7).sample(range(1, log.head().seq), POINTS - 1),
                log.head().seq // EVERY * EVERY - 1,
            ]
            took = [_asked(Replay(log, state.hub.log), seq) for seq in points]
            _check(log, state.hub.log)
        yield Figure(f"{name}: state at any point, slowest of {POINTS}", max(took), "s", "lower", "limit", 1.0)
        took = [_command(place, seq) for seq in points]
        yield Figure(f"{name}: reconciler state --at SEQ, slowest of {POINTS}", max(took), "s", "lower", "limit", 1.5)


def _build(state: StateDirectory, count: int) -> None:
    home, clock, began = state.hub, StillClock(), time.monotonic()
    home.directory.mkdir(parents=True)
    with closing(SqliteLog(home.log, "/hub", clock)) as log:
        rollouts = Rollouts(recorded(log, home, clock, "hub"), clock, EDGES, MODELS)
        while (seq := log.head().seq) < count:
            rollouts.round()
            if log.head().seq // TOLD_EVERY > seq // TOLD_EVERY:
                print(f"{log.head().seq:,} of {count:,} events", file=sys.stderr, flush=True)
        rate = log.head().seq / (time.monotonic() - began)
        print(f"{log.head().seq:,} events written, {rate:,.0f} a second", file=sys.stderr, flush=True)


def _asked(replay: Replay, seq: int) -> float:
    began = time.perf_counter()
    found = replay.at(seq)
    took = time.perf_counter() - began
    assert found.seq == seq
    return took


def _check(log: SqliteReader, path: Path) -> None:
    """Raises RuntimeError unless the state at the end comes from a snapshot and equals the fold of the whole log."""
    if Snapshots(path, CODE_VERSION).nearest(log.head().seq, log) is None:
        raise RuntimeError("the hub left no snapshot")
    if Replay(log, path).at() != fold(State(), log.read()):
        raise RuntimeError("the state at the end is not the fold of the log")


def _command(place: str, seq: int) -> float:
    began = time.perf_counter()
    command = [RECONCILER, "state", "--at", str(seq), "--state", place]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    took = time.perf_counter() - began
    assert said.startswith(f"entry {seq}, "), said[:200]
    return took
