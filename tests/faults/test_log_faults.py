"""What happens to the log when its disk, its process or its files fail."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.failpoints import STEPS, reached
from reconciler.errors import ChainBroken, LogWriteFailed, WorldUnavailable
from reconciler.eventlog import ballast
from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import codec
from reconciler.history.events import SEGMENT_SEALED
from tests.log_events import StillClock, an_event, some_events

# Works until it is killed; prints what it was told is durable.
WORKS = """
import sys
from pathlib import Path
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import codec
from tests.log_events import StillClock, an_event
log = SqliteLog(Path(sys.argv[1]), "/hub", StillClock())
for number in range(100 * int(sys.argv[2]), 100 * int(sys.argv[2]) + 3):
    log.append([an_event(number), an_event(number, "deploy/b")])
    print(number, flush=True)
    content = b"%d" % number
    log.put_blobs({codec.blob_id(content): content})
    log.seal()
"""
FILLS = """
import resource, sys
from pathlib import Path
from reconciler.errors import LogWriteFailed
from reconciler.eventlog.sqlite import SqliteLog
from tests.log_events import StillClock, an_event
path = Path(sys.argv[1])
log = SqliteLog(path, "/hub", StillClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("log.db-wal").stat().st_size + 100_000,) * 2)
for number in range(1000):
    try:
        log.append([an_event(number, data={"much": "x" * 1000})])
    except LogWriteFailed as error:
        print(error, flush=True)
        break
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def open_log(path: Path) -> SqliteLog:
    return SqliteLog(path, "/hub", StillClock())


def run(program: str, *arguments: object, failpoint: str = "") -> "subprocess.CompletedProcess[str]":
    """`program` in a process of its own, which dies at `failpoint`."""
    environment = {**os.environ, "RECONCILER_FAILPOINT": failpoint}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def numbers(log: SqliteLog, stream: str = "deploy/a") -> list[int]:
    return [entry.event.data["number"] for entry in log.read(stream=stream)]


LOG_STEPS = sorted(name for name in STEPS if name.startswith("log."))


@pytest.mark.slow
@pytest.mark.parametrize("step", LOG_STEPS)
def test_fault_3_killed_at_any_step_nothing_acknowledged_is_lost(path: Path, step: str) -> None:
    acknowledged: list[int] = []
    for life in range(2):
        ended = run(WORKS, path, life, failpoint=f"{step}:kill")
        assert ended.returncode == (-9 if life == 0 or step != "log.create" else 0), ended.stderr
        acknowledged += map(int, ended.stdout.split())
        with closing(open_log(path)) as log:
            found = numbers(log)
            assert set(acknowledged) <= set(found)
            assert numbers(log, "deploy/b") == found  # all or none of an append
            log.verify()
            repeated = [an_event(number) for number in found]
            assert [entry.event.version for entry in log.append(repeated)] == list(range(1, len(found) + 1))
            log.append([an_event(1000 + life, "other")])
    with closing(open_log(path)) as log:
        sealed = [entry.event.data for entry in log.read() if entry.event.type == SEGMENT_SEALED]
        assert log.verify().segments == len(sealed) + 1
        assert [data["last"] + 1 for data in sealed[:-1]] == [data["first"] for data in sealed[1:]]
    expected = {f"log-{data['first']}-{data['last']}.sealed.db" for data in sealed}
    assert {file.name for file in path.parent.glob("*.sealed.db")} == expected
    assert len(list(path.parent.glob("log-*.db"))) == len(sealed) + bool(sealed)


def test_every_step_of_the_log_is_known() -> None:
    assert len(LOG_STEPS) == 9
    with pytest.raises(KeyError):
        reached("log.invented")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, int]]]:
    """A live log's files as a crash would leave them, and after each append: (size of the -wal file, events)."""
    path = tmp_path_factory.mktemp("written") / "log.db"
    marks = []
    with closing(open_log(path)) as log:
        wal = path.with_name("log.db-wal")
        marks.append((wal.stat().st_size, 0))
        for number in range(12):
            log.append(some_events(1 + number % 3, start=10 * number))
            marks.append((wal.stat().st_size, len(numbers(log))))
        crashed = path.parent / "crashed"
        crashed.mkdir()
        for file in (path, wal):
            shutil.copy(file, crashed)
    return crashed / "log.db", marks


def crash_state(written: Path, directory: Path, wal: bytes) -> Path:
    """A copy of the crashed files with this -wal file."""
    path = directory / f"{len(list(directory.iterdir()))}" / "log.db"
    path.parent.mkdir()
    shutil.copy(written, path)
    path.with_name("log.db-wal").write_bytes(wal)
    return path


@pytest.mark.slow
def test_fault_3_a_power_cut_at_any_write_opens_at_the_last_complete_commit(
    written: tuple[Path, list[tuple[int, int]]], tmp_path: Path
) -> None:
    source, marks = written
    wal = source.with_name("log.db-wal").read_bytes()
    chance = random.Random(3)
    frame = 24 + 4096
    boundaries = range(marks[0][0], len(wal) + 1, frame)
    torn = [chance.randrange(marks[0][0], len(wal)) for _ in range(60)]
    cuts = sorted({*boundaries, *torn, *(mark - 1 for mark, _ in marks[1:])})
    assert len(cuts) > 100
    for cut in cuts:
        path = crash_state(source, tmp_path, wal[:cut])
        expected = max(events for size, events in marks if size <= cut)
        with closing(open_log(path)) as log:
            assert len(numbers(log)) == expected, cut
            log.verify()
            assert log.append([an_event(999)])[0].event.version == expected + 1
        shutil.rmtree(path.parent)


@pytest.mark.parametrize("garbage", [b"\0" * 512, b"\xff" * 512, None])
def test_fault_3_a_torn_sector_ends_the_log_before_its_commit(
    written: tuple[Path, list[tuple[int, int]]], tmp_path: Path, garbage: bytes | None
) -> None:
    source, marks = written
    wal = source.with_name("log.db-wal").read_bytes()
    chance = random.Random(4)
    for _ in range(20):
        at = chance.randrange(marks[0][0] // 512 + 1, len(wal) // 512) * 512
        sector = chance.randbytes(512) if garbage is None else garbage
        path = crash_state(source, tmp_path, wal[:at] + sector + wal[at + 512 :])
        expected = max(events for size, events in marks if size <= at)
        if wal[at : at + 512] == sector:
            continue
        with closing(open_log(path)) as log:
            assert len(numbers(log)) == expected
            log.verify()


class FailingConnection:
    """The writer's connection on a disk that refuses one statement."""

    def __init__(self, connection: sqlite3.Connection, refused: str) -> None:
        self._connection = connection
        self._refused = refused
        self.asked: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self.asked.append(sql)
        if sql == self._refused:
            self._connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_fault_5_after_a_failed_fsync_the_log_object_is_finished(path: Path) -> None:
    with closing(open_log(path)) as log:
        log.append(some_events(2))
        failing = FailingConnection(log._writer, "COMMIT")
        log._writer = failing  # type: ignore[assignment]  # as much of a connection as the writer uses
        with pytest.raises(LogWriteFailed, match="disk I/O error"):
            log.append([an_event(5)])
        asked = len(failing.asked)
        for use in (
            lambda: log.append([an_event(6)]),
            lambda: log.copy(list(MemoryLog("/edge/a", StillClock()).raw("hub"))),
            lambda: log.put_blobs({codec.blob_id(b""): b""}),
            lambda: list(log.read()),
            log.head,
            log.verify,
            log.seal,
        ):
            with pytest.raises(LogWriteFailed, match="disk I/O error"):
                use()
        assert len(failing.asked) == asked
    with closing(open_log(path)) as log:
        assert numbers(log) == [0, 1]
        assert any("gave up: disk I/O error" in warning for warning in log.warnings)
        assert log.append([an_event(5)])[0].event.version == 3


def test_fault_5_a_source_file_that_was_not_kept_ends_the_log_object_too(path: Path) -> None:
    with closing(open_log(path)) as log:
        log._writer = FailingConnection(log._writer, "COMMIT")  # type: ignore[assignment]  # as above
        for use in (lambda: log.put_blobs({codec.blob_id(b"a"): b"a"}), lambda: log.append([an_event(1)])):
            with pytest.raises(LogWriteFailed, match="disk I/O error"):
                use()
    with closing(open_log(path)) as log:
        assert (log.blob(codec.blob_id(b"a")), log.head().seq) == (None, 1)


def test_fault_5_a_file_that_may_not_grow(path: Path) -> None:
    open_log(path).close()
    ended = run(FILLS, path)
    *written, error = ended.stdout.splitlines()
    assert "was not written" in error
    assert written
    with closing(open_log(path)) as log:
        assert numbers_of_rows(log) == [int(number) for number in written]
        log.verify()


def numbers_of_rows(log: SqliteLog) -> list[int]:
    ids = {an_event(number).id: number for number in range(1000)}
    return [ids[entry.event.id] for entry in log.read(stream="deploy/a")]


def fill(log: SqliteLog) -> None:
    """Append until it is refused."""
    for number in range(1000):
        log.append(some_events(10, start=10 * number))


def test_fault_6_a_full_disk_ends_writing_and_is_told_at_the_next_start(path: Path) -> None:
    kept = path.with_name("log.db.ballast")
    with closing(open_log(path)) as log:
        assert kept.stat().st_size == ballast.SIZE
        (pages,) = log._writer.execute("PRAGMA page_count").fetchone()
        log._writer.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(LogWriteFailed, match="database or disk is full"):
            fill(log)
        assert kept.stat().st_size < 4096
    with closing(SqliteReader(path)) as reader:
        written = reader.head().seq - 1
        assert written % 10 == 0
        assert written > 0
        reader.verify()
    with closing(open_log(path)) as log:
        assert any("gave up: database or disk is full" in warning for warning in log.warnings)
        assert kept.stat().st_size == ballast.SIZE
        assert log.append(some_events(written + 1))[-1].event.version == written + 1
    assert not kept.exists()
    with closing(open_log(path)) as log:
        assert not any("gave up" in warning for warning in log.warnings)


def test_fault_10_flipped_bits_in_bodies_are_found(path: Path, tmp_path: Path) -> None:
    with closing(open_log(path)) as log:
        log.append([an_event(number, data={"mark": f"mark-{number:04d}"}) for number in range(50)])
    content = path.read_bytes()
    chance = random.Random(10)
    for _ in range(40):
        number = chance.randrange(50)
        at = content.index(b"mark-%04d" % number) + chance.randrange(9)
        flipped = bytearray(content)
        flipped[at] ^= 1 << chance.randrange(7)
        copy = tmp_path / "flipped.db"
        copy.write_bytes(flipped)
        with (
            closing(SqliteReader(copy)) as reader,
            pytest.raises(ChainBroken, match=f"entry {number + 2} does not fit"),
        ):
            reader.verify()


def test_fault_10_a_damaged_page_is_a_named_error_everywhere(path: Path) -> None:
    with closing(open_log(path)) as log:
        log.append(some_events(200))
    content = bytearray(path.read_bytes())
    for page in range(24, len(content) // 4096):  # behind the pages that say which tables there are
        content[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    path.write_bytes(content)
    with closing(SqliteReader(path)) as reader:
        for use in (reader.verify, lambda: list(reader.read()), lambda: reader.find(an_event(7).id)):
            with pytest.raises(ChainBroken, match="damaged"):
                use()
    with pytest.raises(ChainBroken, match="damaged"):
        open_log(path)


def test_fault_12_a_hot_wal_without_its_database_is_not_taken_for_a_new_log(
    written: tuple[Path, list[tuple[int, int]]], tmp_path: Path
) -> None:
    path = crash_state(written[0], tmp_path, written[0].with_name("log.db-wal").read_bytes())
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ChainBroken, match=r"log\.db-wal is here, but .*log\.db that belongs to it is missing"):
        open_log(path)
    with pytest.raises(WorldUnavailable):
        SqliteReader(path)
    path.write_bytes(content)
    with closing(open_log(path)) as log:
        assert len(numbers(log)) == written[1][-1][1]


def test_fault_12_a_sealed_file_without_its_live_one_is_not_taken_for_a_new_log(path: Path) -> None:
    with closing(open_log(path)) as log:
        log.append(some_events(1))
        log.seal()
    live = path.resolve()
    live.rename(path.with_name("away"))
    with pytest.raises(ChainBroken, match="that belongs to it is missing"):
        open_log(path)
    assert not live.exists()


@pytest.mark.parametrize("read_only_first", [False, True])
def test_fault_12_a_missing_shm_is_made_again(
    written: tuple[Path, list[tuple[int, int]]], tmp_path: Path, *, read_only_first: bool
) -> None:
    path = crash_state(written[0], tmp_path, written[0].with_name("log.db-wal").read_bytes())
    expected = written[1][-1][1]
    if read_only_first:
        with closing(SqliteReader(path)) as reader:
            assert reader.head().seq == expected + 1
            reader.verify()
    with closing(open_log(path)) as log:
        assert len(numbers(log)) == expected
        log.verify()


def test_fault_12_a_database_without_its_wal_is_an_older_state_that_a_copy_convicts(
    written: tuple[Path, list[tuple[int, int]]], tmp_path: Path
) -> None:
    edge = MemoryLog("/edge/a", StillClock())
    path = crash_state(written[0], tmp_path, written[0].with_name("log.db-wal").read_bytes())
    with closing(SqliteReader(path)) as whole:
        edge.copy(list(whole.raw("edge/a")))
        source, held = whole.source, edge.held(whole.source)
    cut = crash_state(written[0], tmp_path, written[0].with_name("log.db-wal").read_bytes()[: written[1][3][0]])
    with closing(SqliteReader(cut)) as reader:
        assert reader.source == source
        assert reader.end("edge/a").seq < held.seq
