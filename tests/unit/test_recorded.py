"""Snapshots that a running process leaves behind: written beside its loop, as often as what one costs was recorded."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.edge.paths import Home
from reconciler.eventlog import snapshots
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.replay import Replay
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER, Key
from reconciler.wiring import process
from tests.log_events import StillClock


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The entries of which a snapshot was saved."""
    found: list[int] = []
    save = snapshots.Snapshots.save

    def counted(self: snapshots.Snapshots, snapshot: snapshots.Snapshot) -> None:
        save(self, snapshot)
        found.append(snapshot.seq)

    monkeypatch.setattr(snapshots.Snapshots, "save", counted)
    monkeypatch.setattr(process, "EVERY", 10)
    return found


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("keys", "expected"), [(1, [10, 20, 30, 40, 50, 60]), (25, [10, 35, 60])])
def test_a_snapshot_is_taken_as_often_as_there_are_entries_for_its_keys(
    tmp_path: Path, saved: list[int], keys: int, expected: list[int]
) -> None:
    home = Home(tmp_path)
    with closing(SqliteLog(home.log, "/hub", StillClock())) as log:
        record = process.recorded(log, home, StillClock(), "hub")
        begun = log.head().seq
        for n in range(60):
            key = Key("InferenceModel", "default", f"m{n % keys}", "e1")
            data = {"action": "create", "spec": {"version": str(n)}, "reason": "declared"}
            record.append([record.event(ev.APPLY_INTENDED, key, data, stage=DELIVER)])
            if n + 1 in expected:
                until(lambda: saved[-1:] == [log.head().seq])
        assert saved == [begun + one for one in expected]
        with closing(SqliteReader(home.log)) as reader:
            assert Replay(reader, home.log).at() == record.state
