"""What only the SQLite log promises: guards, one writer, group commit, segments, backups."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.errors import ChainBroken, ForkFound, HistoryError, LogTooNew, SecondWriter, WorldUnavailable
from reconciler.eventlog import schema
from reconciler.eventlog.backup import backup, export
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import codec
from reconciler.history.events import LOG_GENESIS, SEGMENT_SEALED
from tests.log_events import StillClock, an_event, some_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with closing(open_log(path)) as log:
        yield log


def open_log(path: Path) -> SqliteLog:
    return SqliteLog(path, "/hub", StillClock())


def intruder(path: Path) -> sqlite3.Connection:
    """A connection with none of our settings."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA recursive_triggers = OFF")
    return connection


# Guards


def like_entry_2(*keys: str) -> str:
    """SELECT a row that takes some of its keys (seq, stream, version, source, id) from the entry 2."""
    seq, stream, version, source, id_ = keys
    return (
        f"SELECT {seq}, hash, {stream}, {version}, {source}, {id_}, chain, position, prior, linkhash, x'00' "
        "FROM entry WHERE seq = 2"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET body = x'00' WHERE seq = 2",
        "UPDATE OR IGNORE entry SET position = 0 WHERE seq = 2",
        "DELETE FROM entry WHERE seq = 3",
        "DELETE FROM entry",
        "INSERT OR REPLACE INTO entry " + like_entry_2("seq", "stream", "version", "source", "id"),
        "INSERT OR REPLACE INTO entry " + like_entry_2("5", "9", "9", "source", "id"),
        "INSERT OR IGNORE INTO entry " + like_entry_2("5", "9", "9", "source", "id"),
        "INSERT OR REPLACE INTO entry " + like_entry_2("5", "stream", "version", "9", "'x'"),
        "INSERT OR IGNORE INTO entry SELECT * FROM entry WHERE seq = 2",
        "INSERT INTO entry " + like_entry_2("6", "9", "9", "9", "'x'"),
        "INSERT INTO entry " + like_entry_2("NULL", "9", "9", "9", "'x'"),
        "UPDATE stream SET name = 'x' WHERE number = 1",
        "DELETE FROM stream",
        "INSERT INTO stream SELECT 'x', number FROM stream WHERE number = 1",
        "INSERT OR REPLACE INTO stream SELECT name, 9 FROM stream WHERE number = 1",
        "UPDATE chain SET name = 'x'",
        "UPDATE chain SET position = 9",
        "DELETE FROM chain",
        "INSERT INTO chain SELECT 'x', 1, 0, hash FROM chain",
        "INSERT OR REPLACE INTO chain SELECT name, 9, 0, hash FROM chain",
        "UPDATE blob SET content = x'00'",
        "DELETE FROM blob",
        "INSERT OR REPLACE INTO blob SELECT oid, x'00' FROM blob",
        "INSERT OR IGNORE INTO blob SELECT oid, x'00' FROM blob",
        "UPDATE segment SET first = 2",
        "DELETE FROM segment",
        "INSERT OR REPLACE INTO segment SELECT 1, source, 7, prev, own FROM segment",
    ],
)
def test_fault_20_the_tables_refuse_what_is_not_an_append(path: Path, log: SqliteLog, statement: str) -> None:
    log.append(some_events(3))
    log.put_blobs({codec.blob_id(b"a"): b"a"})
    with closing(intruder(path)) as connection:
        connection.execute("INSERT INTO chain (name, number) VALUES ('/edge/a/1', 5)")
    before = log.verify()
    with closing(intruder(path)) as connection:
        dump = list(connection.iterdump())
        with pytest.raises(sqlite3.IntegrityError, match=r"append-only|no gaps"):
            connection.execute(statement)
        assert list(connection.iterdump()) == dump
    assert log.verify() == before


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DROP TRIGGER entry_update", "entry_update"),
        ("CREATE TRIGGER spy AFTER INSERT ON entry BEGIN SELECT 1; END", "spy"),
        ("CREATE INDEX shadow ON entry (chain)", "shadow"),
        ("ALTER TABLE entry ADD COLUMN note TEXT", "entry"),
        ("CREATE VIEW entries AS SELECT * FROM entry", "entries"),
    ],
)
def test_fault_20_a_changed_schema_is_found(path: Path, log: SqliteLog, statement: str, named: str) -> None:
    log.append(some_events(1))
    with closing(intruder(path)) as connection:
        connection.execute(statement)
    with pytest.raises(ChainBroken, match=f"changed the schema: {named}"):
        log.verify()


def without_guards(path: Path, statement: str, *parameters: object) -> None:
    """Run `statement` as somebody who takes the guards off and puts them back."""
    with closing(intruder(path)) as connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement, parameters)
        for _, sql in guards:
            connection.execute(sql)


TAMPERED = """replace(CAST(body AS TEXT), '"number":', '"number":1')"""


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        (f"UPDATE entry SET body = CAST({TAMPERED} AS BLOB) WHERE seq = 3", 3),
        ("UPDATE entry SET hash = zeroblob(32) WHERE seq = 4", 4),
        ("UPDATE entry SET stream = 77 WHERE seq = 3", 3),
        ("UPDATE entry SET version = 77 WHERE seq = 3", 3),
        ("UPDATE entry SET source = 77 WHERE seq = 3", 3),
        ("UPDATE entry SET id = 'x' WHERE seq = 3", 3),
        ("UPDATE entry SET chain = 77 WHERE seq = 3", 3),
        ("UPDATE entry SET chain = NULL WHERE seq = 3", 3),
        ("UPDATE entry SET position = 77 WHERE seq = 3", 3),
        ("UPDATE entry SET prior = 1 WHERE seq = 3", 3),
        ("UPDATE entry SET linkhash = zeroblob(32) WHERE seq = 3", 3),
        ("DELETE FROM entry WHERE seq = 2", 2),
    ],
)
@pytest.mark.parametrize("kind", ["own", "copied"])
def test_fault_10_verify_names_the_first_entry_that_was_altered(
    path: Path, tmp_path: Path, kind: str, statement: str, seq: int
) -> None:
    with closing(open_log(path)) as log:
        if kind == "own":
            log.append(some_events(4))
        else:
            with closing(SqliteLog(tmp_path / "edge.db", "/edge/a", StillClock())) as edge:
                edge.append(some_events(4))
                log.copy(list(edge.raw("hub")))
            seq += 1  # the genesis of the other log came first
            statement = statement.replace(f"seq = {seq - 1}", f"seq = {seq}")
    without_guards(path, statement)
    with (
        closing(SqliteReader(path)) as reader,
        pytest.raises(ChainBroken, match=rf"entry {seq} does"),
    ):
        reader.verify()


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE stream SET name = 'x' WHERE name = 'deploy/a'", 3),
        ("UPDATE chain SET name = 'x' WHERE name LIKE '/edge/%'", 2),
        ("UPDATE chain SET name = 'edge/b' WHERE name = 'edge/a'", 3),
        ("UPDATE entry SET seq = -seq WHERE seq = 5", -5),
    ],
)
def test_fault_10_verify_finds_altered_names_and_rows_put_aside(path: Path, statement: str, seq: int) -> None:
    other = MemoryLog("/edge/a", StillClock())
    with closing(open_log(path)) as log:
        log.copy(list(other.raw("hub")))
        log.append(some_events(3))
    without_guards(path, statement)
    with closing(SqliteReader(path)) as reader, pytest.raises(ChainBroken, match=f"entry {seq} does not fit"):
        reader.verify()


@pytest.mark.parametrize("statement", ["UPDATE head SET seq = 2", "UPDATE head SET seq = 9", "DELETE FROM head"])
def test_an_end_of_a_chain_that_the_entries_do_not_have_is_found(path: Path, log: SqliteLog, statement: str) -> None:
    log.append(some_events(3))
    with closing(intruder(path)) as connection:
        connection.execute(statement)
    with pytest.raises(ChainBroken, match=r"log\.db does not say where the chains of its readers end"):
        log.verify()


def test_verify_reads_on_while_somebody_writes_to_new_streams_and_readers(path: Path, log: SqliteLog) -> None:
    log.append(some_events(1500))
    added = iter("xyz")

    def write(_: int) -> None:
        log.append([an_event(1, f"deploy/{name}") for name in next(added, "")])

    with closing(SqliteReader(path)) as reader:
        found = reader.verify(write)
    assert (found.entries, found.readers) == (log.head().seq, 4)


def test_an_altered_source_file_is_found(path: Path, log: SqliteLog) -> None:
    oid = codec.blob_id(b"spec: 1")
    log.put_blobs({oid: b"spec: 1"})
    without_guards(path, "UPDATE blob SET content = ?", b"spec: 2")
    with pytest.raises(ChainBroken, match=oid):
        log.verify()


def test_a_tail_that_was_cut_off_is_found_by_who_holds_a_copy(path: Path) -> None:
    copy = MemoryLog("/hub", StillClock())
    with closing(SqliteLog(path, "/edge/a", StillClock())) as log:
        log.append(some_events(3))
        copy.copy(list(log.raw("hub")))
    without_guards(path, "DELETE FROM entry WHERE seq > 2")
    without_guards(path, "UPDATE head SET seq = 2")
    link = FileLink(path, copy)
    with closing(link), pytest.raises(ForkFound, match="ends at event 2, but 4 of it are held"):
        link.fetch()


def test_a_tail_that_was_cut_off_is_found_by_the_file_that_follows(path: Path) -> None:
    with closing(open_log(path)) as log:
        log.append(some_events(3))
        sealed = log.seal()
    sealed.chmod(0o644)
    without_guards(sealed, "DELETE FROM entry WHERE seq > 2")
    without_guards(sealed, "UPDATE head SET seq = 2")
    with (
        closing(SqliteReader(path)) as reader,
        pytest.raises(ChainBroken, match=r"does not follow entry 2|entries 3 to 4 are missing"),
    ):
        reader.verify()


# One writer


def test_fault_14_the_second_writer_is_refused_and_told_who_holds_it(path: Path, log: SqliteLog) -> None:
    with pytest.raises(SecondWriter, match=rf"written by process {os.getpid()} \("):
        open_log(path)
    program = "import pathlib, sys, tests.unit.test_sqlite_log as t; t.open_log(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert f"SecondWriter: {path} is being written by process {os.getpid()} (" in ended.stderr
    log.append(some_events(1))
    log.close()
    with closing(open_log(path)) as again:
        assert again.head().seq == 2


def test_fault_21_an_old_sqlite_is_named_at_the_start(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(log.warnings) == (sqlite3.sqlite_version_info < (3, 51, 3))
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert "let nothing else write" in schema.known_faults()[0]
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert schema.known_faults() == []


def test_fault_23_a_log_of_a_newer_release_is_not_opened(path: Path) -> None:
    open_log(path).close()
    with closing(intruder(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1 << 24}")
    content = path.read_bytes()
    for opening in (open_log, SqliteReader):
        with pytest.raises(LogTooNew, match="format 3; this release reads up to 2"):
            opening(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        (1 << 24, "has format 1; this release reads 2, in which every edge has a chain of its own"),
        (schema.LAYOUT ^ 1, "lays out its tables in another way"),
    ],
)
def test_fault_23_a_log_of_another_layout_is_called_that_and_not_broken(path: Path, layout: int, told: str) -> None:
    open_log(path).close()
    with closing(intruder(path)) as connection:
        connection.execute(f"PRAGMA user_version = {layout}")
    content = path.read_bytes()
    for opening in (open_log, SqliteReader):
        with pytest.raises(HistoryError, match=told) as caught:
            opening(path)
        assert type(caught.value) is HistoryError
        assert "move the log away: a new one is begun" in caught.value.advice
    assert path.read_bytes() == content


def test_another_database_is_not_taken_for_a_log(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    for opening in (open_log, SqliteReader):
        with pytest.raises(ChainBroken, match="not an event log"):
            opening(path)
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    for opening in (open_log, SqliteReader):
        with pytest.raises(ChainBroken, match="damaged"):
            opening(path)


def test_fault_76_a_log_is_not_opened_under_another_name(path: Path) -> None:
    open_log(path).close()
    with pytest.raises(ForkFound, match=r"is the log of /hub/\w+, not of /edge/a"):
        SqliteLog(path, "/edge/a", StillClock())
    open_log(path).close()


def test_without_a_log_there_is_nothing_to_read(path: Path) -> None:
    with pytest.raises(WorldUnavailable, match="no log at"):
        SqliteReader(path)
    assert list(path.parent.iterdir()) == []


def test_a_closed_log_refuses(path: Path, log: SqliteLog) -> None:
    log.close()
    log.close()
    for use in (lambda: log.append(some_events(1)), log.head, lambda: log.put_blobs({codec.blob_id(b""): b""})):
        with pytest.raises(HistoryError, match="was closed"):
            use()


def test_a_reader_cannot_write(log: SqliteLog, path: Path) -> None:
    with closing(SqliteReader(path)) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._volumes()[-1]._connection.execute("INSERT INTO blob VALUES ('a', x'00')")


# Commits


def test_what_queued_while_a_commit_was_under_way_shares_the_next_one(log: SqliteLog) -> None:
    commits: list[str] = []
    log._writer.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    release = threading.Event()
    log.subscribe(lambda _: hold(release))
    threads = [threading.Thread(target=log.append, args=([an_event(n)],)) for n in range(20)]
    threads[0].start()
    wait_until(lambda: len(commits) == 1)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(log._queue) == 19)
    release.set()
    for thread in threads:
        thread.join()
    assert len(commits) == 2
    assert log.head().seq == 21
    log.verify()


def test_a_commit_takes_512_events_of_many_callers(log: SqliteLog) -> None:
    sizes: list[int] = []
    release = threading.Event()
    log.subscribe(lambda entries: sizes.append(len(entries)))
    log.subscribe(lambda _: hold(release))
    threads = [threading.Thread(target=log.append, args=(some_events(200, f"deploy/{n}"),)) for n in range(6)]
    threads[0].start()
    wait_until(lambda: len(sizes) == 1)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(log._queue) == 5)
    release.set()
    for thread in threads:
        thread.join()
    assert sizes == [200, 400, 400, 200]


def test_who_comes_last_and_first_gets_the_lock_commits_for_the_others_too(log: SqliteLog) -> None:
    sizes: list[int] = []
    log.subscribe(lambda entries: sizes.append(len(entries)))
    log._writing = LastFirst(log._writing, "5")  # type: ignore[assignment]
    threads = [
        threading.Thread(target=log.append, args=(some_events(200, f"deploy/{n}"),), name=str(n)) for n in range(6)
    ]
    for queued, thread in enumerate(threads[:5], start=1):
        thread.start()
        wait_until(partial(is_waiting, log, queued))
    threads[5].start()
    for thread in threads:
        thread.join()
    assert sizes == [400, 400, 400]


class LastFirst:
    """A lock that one thread gets before all others."""

    def __init__(self, lock: threading.Lock, favourite: str) -> None:
        self._lock, self._favourite, self._done = lock, favourite, threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread().name != self._favourite:
            assert self._done.wait(10)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.current_thread().name == self._favourite:
            self._done.set()


def test_one_wrong_caller_fails_alone(log: SqliteLog) -> None:
    release, results = threading.Event(), dict[str, object]()
    log.subscribe(lambda _: hold(release))

    def append(name: str, number: int, expected: int) -> None:
        try:
            results[name] = log.append([an_event(number)], expected={"deploy/a": expected})[0].event.version
        except HistoryError as error:
            results[name] = error.code

    first = threading.Thread(target=append, args=("first", 0, 0))
    first.start()
    wait_until(lambda: log._writing.locked() and not log._queue)
    rest = [threading.Thread(target=append, args=a) for a in (("good", 1, 1), ("late", 2, 1), ("next", 3, 2))]
    for waiting, thread in enumerate(rest, start=1):
        thread.start()
        wait_until(partial(is_waiting, log, waiting))
    release.set()
    for thread in (first, *rest):
        thread.join()
    assert results == {"first": 1, "good": 2, "late": "RX501", "next": 3}


def is_waiting(log: SqliteLog, callers: int) -> bool:
    """Whether so many callers wait for their commit."""
    return len(log._queue) == callers


def hold(release: threading.Event) -> None:
    """Keep the writer's lock until a test lets go."""
    assert release.wait(10)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# Segments


def test_a_seal_leaves_a_read_only_file_and_carries_the_chains_on(path: Path, log: SqliteLog) -> None:
    log.append(some_events(3))
    end = log.head()
    sealed = log.seal()
    assert sealed.name == "log-1-4.sealed.db"
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o444
    assert not [file.name for file in path.parent.iterdir() if file.name.startswith("log-1-4") and file != sealed]
    (entry,) = log.read(4)
    assert (entry.seq, entry.event.type, entry.event.partitionkey) == (5, SEGMENT_SEALED, "log")
    assert entry.event.data == {"first": 1, "last": 4, "hash": end.hash.hex()}
    assert entry.hash == codec.chain(end.hash, codec.encode(entry.event))
    assert (entry.event.sequence, entry.event.version) == (f"{5:020d}", 2)


def test_a_sealed_log_goes_on_after_a_restart(path: Path) -> None:
    with closing(open_log(path)) as log:
        first = log.append(some_events(2))
        log.seal()
        log.append([an_event(7)])
        log.seal()
    with closing(open_log(path)) as log:
        assert log.append(some_events(2)) == first
        assert log.append([an_event(8)], expected={"deploy/a": 3})[0].event.version == 4
        assert log.verify().segments == 3
        assert [entry.event.type for entry in log.read(stream="log")] == [LOG_GENESIS, SEGMENT_SEALED, SEGMENT_SEALED]


def test_a_missing_segment_is_named(path: Path) -> None:
    with closing(open_log(path)) as log:
        log.append(some_events(2))
        log.seal()
        log.append(some_events(2, start=2))
        middle = log.seal()
        log.append([an_event(9)])
    assert middle.name == "log-4-6.sealed.db"
    middle.rename(path.with_name("away"))
    with closing(SqliteReader(path)) as reader:
        assert [entry.seq for entry in reader.read(6)] == [7, 8]
        for use in (reader.verify, lambda: list(reader.read()), lambda: reader.seq_at("2030")):
            with pytest.raises(ChainBroken, match="entries 4 to 6 are missing"):
                use()
    with pytest.raises(ChainBroken, match="entries 4 to 6 are missing"):
        open_log(path)
    path.with_name("away").rename(middle)
    with closing(open_log(path)) as log:
        assert log.verify().entries == 8


def test_a_segment_of_another_log_does_not_fit(path: Path, tmp_path: Path) -> None:
    for name in ("log.db", "other.db"):
        with closing(open_log(tmp_path / name)) as log:
            log.append(some_events(2))
            log.seal()
    (tmp_path / "other-1-3.sealed.db").replace(tmp_path / "log-1-3.sealed.db")
    with (
        closing(SqliteReader(path)) as reader,
        pytest.raises(ChainBroken, match=r"log-4\.db does not follow entry 3"),
    ):
        reader.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chain SET position = 9 WHERE name = 'edge/a'",
        "UPDATE chain SET hash = zeroblob(32) WHERE name = 'edge/a'",
        "UPDATE chain SET name = 'edge/b' WHERE name = 'edge/a'",
        "INSERT INTO chain VALUES ('edge/b', 9, 1, zeroblob(32))",
        "DELETE FROM chain WHERE name = 'edge/a'",
    ],
)
def test_a_segment_begins_with_every_readers_end(path: Path, log: SqliteLog, statement: str) -> None:
    log.append(some_events(3))
    log.seal()
    assert (log.end("edge/a").seq, log.verify().readers) == (3, 1)
    without_guards(path, statement)
    with pytest.raises(ChainBroken, match="does not follow entry 4"):
        log.verify()


def test_a_reader_goes_on_over_a_seal_made_meanwhile(path: Path, log: SqliteLog) -> None:
    log.append(some_events(3000))
    with closing(SqliteReader(path)) as reader:
        entries = reader.read()
        first = [next(entries) for _ in range(10)]
        log.seal()
        log.append([an_event(9999)])
        rest = list(entries)
        assert [entry.seq for entry in first + rest] == list(range(1, 3002))
        assert reader.head().seq == 3003


def test_a_new_epoch_is_another_file_of_the_same_log(path: Path, tmp_path: Path) -> None:
    with closing(open_log(path)) as log, closing(SqliteReader(path)) as reader:
        log.append(some_events(3))
        log.seal()
        log.append(some_events(2, start=3))
        first, before = log.source, list(reader.read())
        for _ in range(2):
            log.renew()
            log.append([an_event(9)])
        assert (reader.source, reader.end("edge/a")) == (log.source, log.end("edge/a"))
        assert list(reader.raw("edge/a")) == list(log.raw("edge/a"))
        assert list(reader.read())[: len(before)] == before
    (tmp_path / "copies").mkdir()
    with closing(open_log(path)) as log:
        assert log.source == reader_source(path) != first
        (again,) = log.append([an_event(9)])
        assert again.event.source == log.source  # appended before under the same source: its stored entry
        log.append([an_event(10)])
        assert [int(entry.event.sequence) for entry in log.read() if entry.event.source == log.source] == [1, 2, 3]
        assert log.verify() == backup(path, tmp_path / "copies" / "log.db")
        assert log.verify().segments == 4


def reader_source(path: Path) -> str:
    with closing(SqliteReader(path)) as reader:
        return reader.source


def test_a_new_epoch_waits_for_nobody_who_reads_on_and_on(path: Path, log: SqliteLog) -> None:
    log.append(some_events(3))
    source = log.source
    log._writer.execute("PRAGMA busy_timeout = 1")
    with closing(intruder(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entry").fetchone()
        log.append([an_event(5)])
        with pytest.raises(HistoryError, match="being read"):
            log.renew()
        assert (log.append([an_event(6)])[0].seq, log.source) == (6, source)
        reader.execute("COMMIT")
    log.renew()
    assert log.source != source
    assert log.verify().segments == 2


def test_a_seal_waits_for_nobody_who_reads_on_and_on(path: Path, log: SqliteLog) -> None:
    log.append(some_events(3))
    log._writer.execute("PRAGMA busy_timeout = 1")
    with closing(intruder(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entry").fetchone()
        log.append([an_event(5)])
        with pytest.raises(HistoryError, match="being read; nothing was sealed"):
            log.seal()
        assert log.append([an_event(6)])[0].seq == 6
        reader.execute("COMMIT")
    assert log.seal().name == "log-1-6.sealed.db"
    assert log.verify().entries == 7


# Copies


def test_a_backup_is_a_log_again(path: Path, log: SqliteLog, tmp_path: Path) -> None:
    log.append(some_events(3))
    log.seal()
    log.append([an_event(5)])
    log.put_blobs({codec.blob_id(b"a"): b"a"})
    (tmp_path / "copies").mkdir()
    target = tmp_path / "copies" / "monday.db"
    found = backup(path, target)
    assert found == log.verify()
    assert sorted(file.name for file in target.parent.glob("*.db")) == ["monday-1-4.sealed.db", "monday.db"]
    with closing(open_log(target)) as restored:
        assert list(restored.read()) == list(log.read())
        assert restored.blob(codec.blob_id(b"a")) == b"a"
    with pytest.raises(HistoryError, match="never overwrites"):
        backup(path, target)


def test_an_export_has_the_stored_bytes_of_every_entry(path: Path, log: SqliteLog) -> None:
    log.append(some_events(2))
    log.seal()
    lines = list(export(log))
    assert len(lines) == 4
    prev = bytes(32)
    for seq, line in enumerate(lines, start=1):
        fields = json.loads(line)
        body = line[line.index(b'"body":') + 7 : -2]
        prev = sha256(prev + body).digest()
        assert (fields["seq"], fields["hash"]) == (seq, prev.hex())
        assert line.endswith(b"}\n")
    assert list(export(log, 2)) == lines[2:]
