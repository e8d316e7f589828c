import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.snapshots import Snapshot, Snapshots
from reconciler.eventlog.sqlite import SqliteLog
from tests.log_events import StillClock, some_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(path, "/hub", StillClock())) as log:
        log.append(some_events(9))
        yield log


@pytest.fixture
def snapshots(path: Path) -> Snapshots:
    return Snapshots(path, 1)


def taken(log: SqliteLog, seq: int, content: bytes = b"state") -> Snapshot:
    (entry,) = log.read(seq - 1, seq)
    return Snapshot(seq, entry.hash, content)


def count(path: Path) -> int:
    with closing(sqlite3.connect(path.with_name("log.snapshots.db"))) as connection:
        found: int = connection.execute("SELECT count(*) FROM snapshot").fetchone()[0]
    return found


def test_the_nearest_at_or_before_is_found(log: SqliteLog, snapshots: Snapshots) -> None:
    assert snapshots.nearest(10, log) is None
    four, eight = taken(log, 4, b"four"), taken(log, 8, b"\x00eight")
    snapshots.save(eight)
    snapshots.save(four)
    assert [snapshots.nearest(seq, log) for seq in (3, 4, 7, 8, 99)] == [None, four, four, eight, eight]


def test_it_is_found_through_a_sealed_segment(log: SqliteLog, snapshots: Snapshots) -> None:
    snapshots.save(taken(log, 4))
    log.seal()
    assert snapshots.nearest(11, log) == taken(log, 4)


def test_what_other_code_made_is_not_used_and_dropped(path: Path, log: SqliteLog, snapshots: Snapshots) -> None:
    snapshots.save(taken(log, 4))
    newer = Snapshots(path, 2)
    assert newer.nearest(10, log) is None
    newer.save(taken(log, 5))
    assert snapshots.nearest(10, log) is None
    assert count(path) == 1


def test_fault_13_one_whose_entry_the_log_no_longer_has_is_dropped(
    path: Path, log: SqliteLog, snapshots: Snapshots
) -> None:
    snapshots.save(taken(log, 4))
    snapshots.save(Snapshot(6, bytes(32), b"of another history"))
    snapshots.save(Snapshot(99, bytes(32), b"from beyond the end"))
    assert snapshots.nearest(100, log) == taken(log, 4)
    assert count(path) == 1
    assert snapshots.nearest(100, MemoryLog("/hub", StillClock())) is None


def test_a_damaged_one_is_dropped(path: Path, log: SqliteLog, snapshots: Snapshots) -> None:
    snapshots.save(taken(log, 4, b"four"))
    snapshots.save(taken(log, 8, b"eight"))
    with closing(sqlite3.connect(path.with_name("log.snapshots.db"))) as connection, connection:
        connection.execute("UPDATE snapshot SET content = x'00' WHERE seq = 8")
    assert snapshots.nearest(10, log) == taken(log, 4, b"four")
    path.with_name("log.snapshots.db").write_bytes(b"no database" * 1000)
    assert snapshots.nearest(10, log) is None
    snapshots.save(taken(log, 4, b"four"))
    assert snapshots.nearest(10, log) == taken(log, 4, b"four")
