"""What every event log promises, on every adapter: in memory, in SQLite, in SQLite sealed after every commit."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from reconciler.errors import ChainBroken, ForkFound, GapFound, WrongExpectedVersion
from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import codec
from reconciler.history.events import EMPTY, LOG_GENESIS, SEGMENT_SEALED, Entry, Event, Origin, rfc3339
from reconciler.ports import EventLog
from tests.log_events import T0, StillClock, an_event, some_events


class SealingLog(SqliteLog):
    """A SQLite log that seals its file after each of the first commits, so that every read goes through many files."""

    seals = 6

    def append(self, events: Sequence[Event], *, expected: Mapping[str, int] | None = None) -> list[Entry]:
        return self._then_seal(super().append(events, expected=expected))

    def copy(self, entries: Sequence[tuple[Origin, bytes]]) -> list[Entry]:
        return self._then_seal(super().copy(entries))

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        super().put_blobs(blobs)
        self._then_seal([])

    def _then_seal(self, entries: list[Entry]) -> list[Entry]:
        if self.seals > 0:
            self.seals -= 1
            self.seal()
        return entries


def unsealed(entries: Sequence[Entry]) -> list[Entry]:
    """Without the events by which a log speaks of itself."""
    return [entry for entry in entries if entry.event.type not in {SEGMENT_SEALED, LOG_GENESIS}]


class EventLogContract:
    """The suite. An adapter gives `log`; `other` is a second log to copy from."""

    @pytest.fixture
    def clock(self) -> StillClock:
        return StillClock()

    @pytest.fixture
    def other(self, clock: StillClock) -> MemoryLog:
        return MemoryLog("/edge/a", clock)

    def test_a_new_log_begins_with_its_genesis(self, log: EventLog) -> None:
        first = next(log.read())
        assert (first.seq, first.event.type, first.event.partitionkey) == (1, LOG_GENESIS, "log")
        assert log.source == f"/hub/{first.event.data['log']}"
        assert len(first.event.data["log"]) == 32

    def test_an_append_returns_the_entries_as_they_are_read_back(self, log: EventLog, clock: StillClock) -> None:
        entries = log.append(some_events(3))
        assert [(e.event.data["number"], e.event.version, e.origin) for e in entries] == [
            (0, 1, None),
            (1, 2, None),
            (2, 3, None),
        ]
        assert [e.seq for e in entries] == [2, 3, 4]
        assert {(e.event.source, e.event.recordedtime) for e in entries} == {(log.source, rfc3339(T0))}
        assert [int(e.event.sequence) for e in entries] == [2, 3, 4]
        assert unsealed(list(log.read())) == entries

    def test_the_sequence_has_no_gap_and_the_hashes_chain_the_bytes(self, log: EventLog) -> None:
        log.append(some_events(2))
        log.append(some_events(2, "deploy/b"))
        entries = list(log.read())
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        prev = EMPTY.hash
        for entry in entries:
            prev = codec.chain(prev, codec.encode(entry.event))
            assert entry.hash == prev
        assert log.head() == (entries[-1].seq, prev)

    def test_an_id_that_is_known_is_not_appended_again(self, log: EventLog) -> None:
        first = log.append(some_events(3))
        before = log.head()
        again = log.append([an_event(1, data={"number": 99}), an_event(0)])
        assert again == [first[1], first[0]]
        assert unsealed(list(log.read(before.seq))) == []

    def test_a_retry_whose_events_are_known_succeeds_whatever_it_expected(self, log: EventLog) -> None:
        first = log.append(some_events(2), expected={"deploy/a": 0})
        assert log.append(some_events(2), expected={"deploy/a": 0}) == first

    def test_the_same_id_twice_in_one_append_is_one_entry(self, log: EventLog) -> None:
        one, two, three = log.append([an_event(1), an_event(1), an_event(2)])
        assert one == two
        assert three.seq == one.seq + 1

    def test_a_wrong_expected_version_appends_nothing(self, log: EventLog) -> None:
        log.append(some_events(2))
        before = log.head()
        with pytest.raises(WrongExpectedVersion, match=r"deploy/a has version 2, not 1"):
            log.append([an_event(5, "deploy/b"), an_event(6)], expected={"deploy/a": 1})
        assert log.head() == before
        assert log.append([an_event(7)], expected={"deploy/a": 2, "deploy/new": 0})[0].event.version == 3

    def test_an_event_that_cannot_be_written_leaves_its_commit_untouched(self, log: EventLog) -> None:
        before = log.head()
        with pytest.raises(ValueError, match=r"data\.share"):
            log.append([an_event(1), an_event(2, data={"share": 0.5})])
        assert log.head() == before
        assert log.append([an_event(3)])[0].event.version == 1

    def test_recorded_time_never_goes_back(self, log: EventLog, clock: StillClock) -> None:
        clock.seconds = T0 + 10
        log.append([an_event(1)])
        clock.seconds = T0 - 3600
        assert log.append([an_event(2)])[0].event.recordedtime == rfc3339(T0 + 10)

    def test_read_takes_a_range_and_a_stream(self, log: EventLog) -> None:
        for number in range(3):
            log.append([an_event(number, "deploy/a"), an_event(number, "deploy/b")])
        of_a = list(log.read(stream="deploy/a"))
        assert [(e.event.version, e.event.data["number"]) for e in of_a] == [(1, 0), (2, 1), (3, 2)]
        every = list(log.read())
        assert list(log.read(3, 5)) == every[3:5]
        assert list(log.read(of_a[0].seq, of_a[2].seq - 1, stream="deploy/a")) == of_a[1:2]
        assert list(log.read(every[-1].seq)) == []
        assert list(log.read(stream="deploy/none")) == []
        assert list(log.read(0, 10**9)) == every

    def test_find_and_seq_at(self, log: EventLog, clock: StillClock) -> None:
        (early,) = log.append([an_event(1)])
        clock.seconds = T0 + 60
        (late,) = log.append([an_event(2)])
        assert log.find(an_event(1).id) == early
        assert log.find("no such id") is None
        assert log.seq_at(rfc3339(T0 - 1)) == 0
        assert early.seq <= log.seq_at(rfc3339(T0 + 59)) < late.seq
        assert log.seq_at(rfc3339(T0 + 60)) == log.head().seq

    def test_listeners_hear_every_commit_in_order(self, log: EventLog) -> None:
        heard: list[Entry] = []
        log.subscribe(heard.extend)
        log.append(some_events(2))
        log.append(some_events(1))  # known: nothing to hear
        log.append([an_event(9)])
        assert [e.event.data["number"] for e in unsealed(heard)] == [0, 1, 9]
        assert heard == list(log.read(1))

    def test_many_threads_append_and_nothing_is_lost_or_doubled(self, log: EventLog) -> None:
        start = threading.Barrier(8)

        def write(writer: int) -> None:
            start.wait()
            for number in range(10):
                log.append([an_event(number, f"deploy/{writer}")], expected={f"deploy/{writer}": number})

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(unsealed(list(log.read()))) == 80
        assert log.verify().head == log.head()

    def test_blobs_are_kept_by_their_git_id(self, log: EventLog) -> None:
        oid = "ce013625030ba8dba906f756967f9e9ca394464a"  # `printf 'hello\n' | git hash-object --stdin`
        log.put_blobs({oid: b"hello\n"})
        log.put_blobs({oid: b"hello\n", codec.blob_id(b""): b""})
        assert (log.blob(oid), log.blob(codec.blob_id(b"")), log.blob("0" * 40)) == (b"hello\n", b"", None)
        with pytest.raises(ValueError, match="not the Git blob id"):
            log.put_blobs({oid: b"other\n"})

    def test_verify_counts_what_it_read(self, log: EventLog) -> None:
        log.append(some_events(5))
        told: list[int] = []
        found = log.verify(told.append)
        assert (found.entries, found.head) == (log.head().seq, log.head())
        assert told[-1] == log.head().seq

    def test_a_copy_keeps_the_bytes_and_names_its_origin(self, log: EventLog, other: MemoryLog) -> None:
        other.append(some_events(2))
        sent = list(other.raw("hub"))
        copied = log.copy(sent)
        assert [entry.event for entry in copied] == [entry.event for entry in other.read()]
        assert [entry.origin for entry in copied] == [origin for origin, _ in sent]
        assert unsealed(list(log.read(1))) == copied[1:]
        assert log.held(other.source) == (3, other.head().hash)
        assert log.find(an_event(1).id) == copied[2]
        log.verify()

    def test_fault_72_what_is_delivered_twice_is_held_once(self, log: EventLog, other: MemoryLog) -> None:
        other.append(some_events(3))
        sent = list(other.raw("hub"))
        log.copy(sent[:3])
        assert [entry.event.data for entry in log.copy(sent[1:])] == [{"number": 2}]
        assert log.copy(sent) == []
        assert log.held(other.source).seq == 4

    def test_fault_73_a_gap_blocks_only_its_source(self, log: EventLog, other: MemoryLog, clock: StillClock) -> None:
        third = MemoryLog("/edge/oslo-01", clock)
        other.append(some_events(3))
        sent = list(other.raw("hub"))
        with pytest.raises(GapFound, match="event 2 is missing before 3"):
            log.copy([sent[0], *sent[2:]])
        assert log.held(other.source) == EMPTY
        assert len(log.copy(list(third.raw("hub")))) == 1
        assert len(log.copy(sent)) == 4

    def test_fault_76_a_second_history_of_one_source_is_a_fork(self, log: EventLog, clock: StillClock) -> None:
        real, clone = (MemoryLog("/edge/a", clock, log_id="f" * 32) for _ in range(2))
        real.append([an_event(1), an_event(2)])
        clone.append([an_event(7), an_event(8), an_event(9)])
        log.copy(list(real.raw("hub")))
        before = log.head()
        sent = list(clone.raw("hub"))
        for part in (sent, sent[1:], sent[1:2], sent[3:]):
            with pytest.raises(ForkFound):
                log.copy(part)
        assert log.head() == before

    def test_altered_bytes_do_not_arrive(self, log: EventLog, other: MemoryLog) -> None:
        other.append([an_event(1)])
        genesis, (origin, body) = other.raw("hub")
        before = log.head()
        with pytest.raises(ChainBroken, match="event 2 does not have the hash"):
            log.copy([genesis, (origin, body.replace(b'"number":1', b'"number":2'))])
        assert log.head() == before

    def test_fault_78_unknown_types_and_fields_are_kept_and_passed_on(self, log: EventLog, other: MemoryLog) -> None:
        genesis = list(other.raw("hub"))
        fields = {**msgspec.to_builtins(an_event(1, type="model.dreamt.v9")), "mood": {"of": "a later release"}}
        body = msgspec.json.encode(
            {**fields, "source": other.source, "sequence": f"{2:020d}", "version": 1}, order="sorted"
        )
        prev = bytes.fromhex(genesis[0][0].hash)
        origin = Origin(source=other.source, position=2, prev=prev.hex(), hash=codec.chain(prev, body).hex())
        (entry,) = log.copy([*genesis, (origin, body)])[1:]
        assert entry.event.type == "model.dreamt.v9"
        assert log.find(entry.event.id) == entry
        log.verify()

    def test_raw_gives_a_readers_own_events_only_chained_without_gaps(self, log: EventLog, other: MemoryLog) -> None:
        log.append([an_event(1), an_event(1, "deploy/b"), an_event(1, "plan")])
        log.copy(list(other.raw("hub")))
        log.append([an_event(2, "git"), an_event(2)])
        sent = list(log.raw("edge/a"))
        assert [codec.decode(body)[0].data["number"] for _, body in sent] == [1, 2]
        assert [origin.position for origin, _ in sent] == [1, 2]
        assert [origin.prev for origin, _ in sent] == [EMPTY.hash.hex(), *(origin.hash for origin, _ in sent[:-1])]
        assert {origin.source for origin, _ in sent} == {log.source}
        assert list(log.raw("edge/a", 1)) == sent[1:]
        assert list(log.raw("edge/a", 2)) == list(log.raw("edge/c")) == []
        assert len(other.copy(sent)) == len(sent)

    def test_own_and_copied_events_of_one_stream_count_together(self, log: EventLog, other: MemoryLog) -> None:
        log.append([an_event(1, id="mine")])
        other.append([an_event(1, id="theirs")])
        log.copy(list(other.raw("hub")))
        assert log.append([an_event(2, id="last")], expected={"deploy/a": 2})[0].event.version == 3
        log.verify()

    def test_a_new_epoch_goes_on_in_the_same_log_under_a_source_of_its_own(
        self, log: EventLog, other: MemoryLog, clock: StillClock
    ) -> None:
        reader = MemoryLog("/edge/a", clock)
        log.append([an_event(1)])
        log.copy(list(other.raw("hub")))
        log.append([an_event(2)])
        reader.copy(list(log.raw("edge/a")))
        first, before, held = log.source, list(log.read()), reader.held(log.source)
        log.renew()
        assert (log.source != first, log.source.rpartition("/")[0]) == (True, "/hub")
        assert list(log.read())[: len(before)] == before
        log.append([an_event(3)], expected={"deploy/a": 2})
        other.append([an_event(4)])
        assert len(log.copy(list(other.raw("hub")))) == 1
        sent = list(log.raw("edge/a"))
        assert [origin.position for origin, _ in sent] == list(range(1, len(sent) + 1))
        assert (sent[0][0].prev, {origin.source for origin, _ in sent}) == (EMPTY.hash.hex(), {log.source})
        copied = reader.copy(sent)
        assert [entry.event.data["follows"] for entry in log.read() if "follows" in entry.event.data] == [first]
        assert unsealed(copied)[0].event.data == {"number": 3}
        assert reader.copy(list(log.raw("edge/a", len(sent)))) == []
        assert (reader.held(first), reader.held(log.source).seq) == (held, len(sent))
        assert log.find(an_event(1).id) is not None
        log.verify()
        reader.verify()


class TestMemoryLog(EventLogContract):
    @pytest.fixture
    def log(self, clock: StillClock) -> Iterator[EventLog]:
        with closing(MemoryLog("/hub", clock)) as log:
            yield log


class TestSqliteLog(EventLogContract):
    @pytest.fixture
    def log(self, clock: StillClock, tmp_path: Path) -> Iterator[EventLog]:
        with closing(SqliteLog(tmp_path / "log.db", "/hub", clock)) as log:
            yield log


class TestSealedSqliteLog(EventLogContract):
    @pytest.fixture
    def log(self, clock: StillClock, tmp_path: Path) -> Iterator[EventLog]:
        with closing(SealingLog(tmp_path / "log.db", "/hub", clock)) as log:
            yield log


@pytest.mark.parametrize("kind", [MemoryLog, SqliteLog, SealingLog])
def test_a_new_epoch_of_an_edge_s_log_is_a_chain_from_nothing_for_the_hub(
    kind: type[MemoryLog] | type[SqliteLog], tmp_path: Path
) -> None:
    clock = StillClock()
    log = kind("/edge/a", clock) if issubclass(kind, MemoryLog) else kind(tmp_path / "log.db", "/edge/a", clock)
    with closing(log):
        hub = MemoryLog("/hub", clock)
        log.append([an_event(1)])
        log.copy(list(hub.raw("edge/a")))
        hub.copy(list(log.raw("hub")))
        log.renew()
        log.append([an_event(2)])
        sent = list(log.raw("hub"))
        assert [origin.position for origin, _ in sent] == list(range(1, len(sent) + 1))
        assert {origin.source for origin, _ in sent} == {log.source}
        assert len(hub.copy(sent)) == len(sent)
        log.verify()
        hub.verify()


class TestSqliteReader:
    """The reading half, in the hands of somebody who is not the writer, over a log that goes on and is sealed."""

    @pytest.fixture(params=[SqliteLog, SealingLog])
    def log(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteLog]:
        with closing(request.param(tmp_path / "log.db", "/hub", StillClock())) as log:
            yield log

    def test_it_reads_what_the_writer_reads(self, log: SqliteLog, tmp_path: Path) -> None:
        with closing(SqliteReader(tmp_path / "log.db")) as reader:
            other = MemoryLog("/edge/a", StillClock())
            for number in range(4):
                other.append(some_events(2, start=2 * number))
                log.append([an_event(number)])
                log.copy(list(other.raw("hub", log.held(other.source).seq)))
                log.put_blobs({codec.blob_id(b"%d" % number): b"%d" % number})
                assert reader.head() == log.head()
            assert list(reader.read()) == list(log.read())
            assert list(reader.read(stream="deploy/a")) == list(log.read(stream="deploy/a"))
            assert (reader.source, reader.held(other.source)) == (
                log.source,
                (9, other.held("hub").hash),
            )
            assert list(reader.raw("edge/a")) == list(log.raw("edge/a"))
            assert reader.find(an_event(3).id) == log.find(an_event(3).id)
            assert reader.seq_at(rfc3339(T0)) == log.seq_at(rfc3339(T0)) > 0
            assert [reader.blob(codec.blob_id(b"%d" % number)) for number in range(4)] == [b"0", b"1", b"2", b"3"]
            assert reader.verify() == log.verify()

    def test_the_end_of_a_chain_is_the_end_of_what_a_link_copies(self, log: SqliteLog, tmp_path: Path) -> None:
        with closing(SqliteReader(tmp_path / "log.db")) as reader:
            for number in range(3):
                log.append([an_event(number)])
                log.copy(list(MemoryLog("/edge/a", StillClock()).raw("hub")))
                origin, _ = list(log.raw("edge/a"))[-1]
                assert reader.end("edge/a") == (origin.position, bytes.fromhex(origin.hash))
