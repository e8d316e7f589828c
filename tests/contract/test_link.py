"""What every link between two logs promises; and what the link by file promises beyond that."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.errors import ChainBroken, ForkFound, GapFound, WorldUnavailable
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.events import EMPTY, Entry
from reconciler.ports import EventLog, Link
from tests.log_events import StillClock, an_event, some_events
from tests.simulation.link import Line, SimLink, SimLog

OPENS_AND_WAITS = """
import sys
from pathlib import Path
from reconciler.eventlog.sqlite import SqliteLog
from tests.log_events import StillClock, some_events
log = SqliteLog(Path(sys.argv[1]), "/edge/a", StillClock())
log.append(some_events(5))
print("appended", flush=True)
sys.stdin.read()
"""


def pull(link: Link, here: EventLog) -> list[Entry]:
    """Everything that a link brings, copied batch by batch as its owner does."""
    found: list[Entry] = []
    while fetched := link.fetch():
        found += here.copy(fetched)
    return found


class LinkContract:
    """The suite. An adapter gives `link` from the log `there` into the log `here`."""

    @pytest.fixture(params=["memory", "sqlite"])
    def here(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
        with closing(
            MemoryLog("/hub", StillClock())
            if request.param == "memory"
            else SqliteLog(tmp_path / "hub" / "log.db", "/hub", StillClock())
        ) as log:
            yield log

    def test_everything_there_is_copied_once_and_in_order(self, there: SqliteLog, here: EventLog, link: Link) -> None:
        there.append(some_events(3))
        assert [entry.event for entry in pull(link, here)] == [entry.event for entry in there.read()]
        assert pull(link, here) == []
        there.append(some_events(2, start=3))
        assert [entry.event.data["number"] for entry in pull(link, here)] == [3, 4]
        assert here.held(there.source) == there.end("hub")

    def test_more_than_one_batch(self, there: SqliteLog, here: EventLog, link: Link) -> None:
        there.append(some_events(2500))
        assert len(pull(link, here)) == 2501

    def test_what_was_copied_to_there_does_not_come_back(self, there: SqliteLog, here: EventLog, link: Link) -> None:
        here.append([an_event(1)])
        there.append([an_event(2)])
        there.copy(list(here.raw("edge/a")))
        there.append([an_event(3)])
        assert [entry.event.data.get("number") for entry in pull(link, here)] == [None, 2, 3]
        assert pull(link, here) == []

    def test_it_knows_whether_there_is_a_writer(self, there: SqliteLog, link: Link) -> None:
        assert link.alive()
        there.close()
        assert not link.alive()


class TestSimLink(LinkContract):
    """Of the simulation: what it shows counts only where its parts promise the same."""

    @pytest.fixture
    def there(self) -> SimLog:
        return SimLog("/edge/a", StillClock(), new_id=lambda: "7" * 32)

    @pytest.fixture
    def link(self, there: SimLog, here: EventLog) -> SimLink:
        return SimLink(there, here, Line(), few=lambda: 1000, hang=lambda: None)


class TestFileLink(LinkContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "edge" / "log.db"

    @pytest.fixture
    def open_there(self, path: Path) -> Iterator[Callable[[], SqliteLog]]:
        opened: list[SqliteLog] = []

        def open_log() -> SqliteLog:
            opened.append(SqliteLog(path, "/edge/a", StillClock()))
            return opened[-1]

        yield open_log
        for log in opened:
            log.close()

    @pytest.fixture
    def there(self, open_there: Callable[[], SqliteLog]) -> SqliteLog:
        return open_there()

    @pytest.fixture
    def link(self, path: Path, here: EventLog) -> Iterator[FileLink]:
        with closing(FileLink(path, here)) as link:
            yield link

    def test_a_log_that_is_not_there_yet(
        self, path: Path, here: EventLog, link: FileLink, open_there: Callable[[], SqliteLog]
    ) -> None:
        with pytest.raises(WorldUnavailable, match="no log at"):
            pull(link, here)
        assert not link.alive()
        open_there()
        assert len(pull(link, here)) == 1

    def test_it_reads_on_through_sealed_segments(self, there: SqliteLog, here: EventLog, link: FileLink) -> None:
        there.append(some_events(3))
        assert len(pull(link, here)) == 4
        there.seal()
        there.append(some_events(3, start=3))
        there.seal()
        there.append([an_event(9)])
        assert [entry.event.data.get("number") for entry in pull(link, here)] == [None, 3, 4, 5, None, 9]

    def test_a_link_that_starts_late_reads_sealed_segments_first(
        self, there: SqliteLog, here: EventLog, link: FileLink
    ) -> None:
        there.append(some_events(3))
        there.seal()
        there.append([an_event(9)])
        assert [int(entry.event.sequence) for entry in pull(link, here)] == [1, 2, 3, 4, 5, 6]

    def test_it_reads_without_a_writer(self, there: SqliteLog, here: EventLog, link: FileLink) -> None:
        there.append(some_events(3))
        there.close()
        assert len(pull(link, here)) == 4

    def test_it_reads_what_a_killed_writer_left(self, path: Path, link: FileLink, here: EventLog) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", OPENS_AND_WAITS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"appended\n"
            assert link.alive()
            writer.kill()
        assert not link.alive()
        assert path.with_name("log.db-wal").stat().st_size > 0
        assert len(pull(link, here)) == 6
        here.verify()

    def test_fault_73_a_segment_moved_away_is_a_gap(self, there: SqliteLog, here: EventLog, link: FileLink) -> None:
        there.append(some_events(3))
        sealed = there.seal()
        there.append([an_event(9)])
        sealed.rename(sealed.with_suffix(".away"))
        with pytest.raises(GapFound, match="events 1 to 4 are not in"):
            pull(link, here)
        sealed.with_suffix(".away").rename(sealed)
        link.close()
        assert len(pull(link, here)) == 6

    def test_fault_76_a_new_log_under_the_old_name_is_a_new_source(
        self, path: Path, there: SqliteLog, here: EventLog, link: FileLink, open_there: Callable[[], SqliteLog]
    ) -> None:
        there.append(some_events(3))
        pull(link, here)
        there.close()
        shutil.rmtree(path.parent)
        again = open_there()
        again.append(some_events(1))
        assert [int(entry.event.sequence) for entry in pull(link, here)] == [1, 2]
        assert (here.held(there.source).seq, here.held(again.source).seq) == (4, 2)

    def test_fault_76_a_clone_that_went_on_by_itself_is_a_fork(
        self, path: Path, there: SqliteLog, here: EventLog, link: FileLink, open_there: Callable[[], SqliteLog]
    ) -> None:
        there.append(some_events(2))
        there.close()
        shutil.copy(path, path.with_name("clone"))
        first = open_there()
        first.append([an_event(7), an_event(8)])
        pull(link, here)
        first.close()
        path.with_name("clone").replace(path)
        clone = open_there()
        clone.append([an_event(17), an_event(18), an_event(19)])
        link.close()
        with pytest.raises(ForkFound, match="follows another event 5"):
            pull(link, here)
        assert here.held(there.source) == first_own(here, there.source)

    def test_fault_13_a_log_replaced_by_an_older_backup_is_seen(
        self, path: Path, there: SqliteLog, here: EventLog, link: FileLink
    ) -> None:
        there.append(some_events(2))
        there.close()
        shutil.copy(path, path.with_name("backup"))
        with closing(SqliteLog(path, "/edge/a", StillClock())) as log:
            log.append(some_events(2, start=2))
            pull(link, here)
        path.with_name("backup").replace(path)
        with pytest.raises(ForkFound, match="ends at event 3, but 5 of it are held"):
            pull(link, here)

    def test_altered_bytes_do_not_cross(self, path: Path, there: SqliteLog, here: EventLog, link: FileLink) -> None:
        there.append([an_event(1, data={"note": "original"})])
        there.close()
        content = path.read_bytes()
        assert content.count(b"original") == 1
        path.write_bytes(content.replace(b"original", b"tampered"))
        with pytest.raises(ChainBroken, match="event 2 does not have the hash"):
            pull(link, here)
        assert here.held(there.source) == EMPTY

    def test_nothing_new_costs_two_queries_there(self, there: SqliteLog, here: EventLog, link: FileLink) -> None:
        pull(link, here)
        assert link._reader is not None
        asked: list[str] = []
        link._reader._volumes()[-1]._connection.set_trace_callback(asked.append)
        assert pull(link, here) == []
        assert len(asked) == 1

    def test_the_files_that_are_read_are_let_go(self, there: SqliteLog, here: EventLog, link: FileLink) -> None:
        pull(link, here)
        there.close()
        assert any("/edge/log" in name for name in open_files())
        link.close()
        assert not any("/edge/log" in name for name in open_files())


def open_files() -> list[str]:
    """The files that this process has open."""
    return [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]


def first_own(here: EventLog, source: str) -> tuple[int, bytes]:
    """The last event of `source` as our log holds it."""
    origin = [entry.origin for entry in here.read() if entry.origin and entry.origin.source == source][-1]
    return origin.position, bytes.fromhex(origin.hash)
