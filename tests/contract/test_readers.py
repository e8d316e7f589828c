"""What a log promises to each of its readers: a chain of its own, verified alone, with nothing of others in it."""

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.errors import ChainBroken, ForkFound, GapFound, HistoryError
from reconciler.eventlog import batch
from reconciler.eventlog.backup import backup
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import codec
from reconciler.history.events import APPLY_INTENDED, EMPTY, Entry, Event, Origin, event_id
from reconciler.history.keys import DELIVER, Key, stream_of
from reconciler.history.readers import reader_of
from reconciler.ports import EventLog
from tests.log_events import StillClock, an_event

Sent = Sequence[tuple[Origin, bytes]]


def pull(link: FileLink, here: EventLog) -> list[Entry]:
    """Everything that a link brings, copied batch by batch as its owner does."""
    found: list[Entry] = []
    while fetched := link.fetch():
        found += here.copy(fetched)
    return found


def name(number: int) -> str:
    return f"edge-{number:04d}"


def an_order(edge: int, number: int) -> Event:
    """The order `number` for an edge."""
    key = Key("InferenceModel", "default", f"digits-{name(edge)}", name(edge))
    data = {"action": "update", "spec": {"version": str(number)}, "reason": f"for {name(edge)}"}
    return an_event(number, stream_of(DELIVER, key), type=APPLY_INTENDED, subject=str(key), data=data)


def order_a_fleet(hub: SqliteLog, edges: int, orders: int = 10) -> None:
    """Every edge its orders, in any order, with entries for nobody, outcomes of edges and a seal in between."""
    chance = random.Random(edges)
    todo = [edge for edge in range(1, edges + 1) for _ in range(orders)]
    chance.shuffle(todo)
    next_of = dict.fromkeys(todo, 0)
    others = [MemoryLog(f"/edge/{name(edge)}", StillClock()) for edge in range(1, min(edges, 5) + 1)]
    size = -(-len(todo) // 20)
    for number, start in enumerate(range(0, len(todo), size)):
        events = [an_event(number, "plan")]
        for edge in todo[start : start + size]:
            events.append(an_order(edge, next_of[edge]))
            next_of[edge] += 1
        hub.append(events)
        for other in others:
            other.append([an_event(number, f"deploy/{other.source.split('/')[2]}/Dataset/default/d")])
            hub.copy(list(other.raw("hub", hub.held(other.source).seq)))
        if number == 10:
            hub.seal()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(tmp_path / "hub" / "log.db", "/hub", StillClock())) as log:
        yield log


def test_a_thousand_readers_each_have_a_chain_without_gaps(hub: SqliteLog, tmp_path: Path) -> None:
    order_a_fleet(hub, 1000)
    assert hub.verify()[2:] == (2, 1000)
    ordered: dict[str, list[Event]] = {}
    for entry in hub.read():
        if entry.event.type == APPLY_INTENDED:
            ordered.setdefault(entry.event.subject.split("@")[1], []).append(entry.event)
    for edge in range(1, 1001):
        here = MemoryLog(f"/edge/{name(edge)}", StillClock())
        assert [entry.event for entry in here.copy(list(hub.raw(f"edge/{name(edge)}")))] == ordered[name(edge)]
        assert here.held(hub.source) == hub.end(f"edge/{name(edge)}")
        assert here.held(hub.source).seq == 10
    copied = backup(tmp_path / "hub" / "log.db", tmp_path / "copy.db")
    assert copied == hub.verify()
    with closing(SqliteLog(tmp_path / "copy.db", "/hub", StillClock())) as again:
        again.append([an_order(7, 10)])
        assert again.end(f"edge/{name(7)}").seq == 11
        assert list(again.raw(f"edge/{name(7)}"))[:10] == list(hub.raw(f"edge/{name(7)}"))


def pulled(tmp_path: Path, edges: int) -> tuple[int, int, bytes]:
    """Entries and bytes that edge 7 has when it has pulled its orders from a hub of so many edges, and its file."""
    path, there = tmp_path / f"{edges}" / "7" / "log.db", tmp_path / f"{edges}" / "hub.db"
    with (
        closing(SqliteLog(there, "/hub", StillClock())) as hub,
        closing(SqliteLog(path, f"/edge/{name(7)}", StillClock())) as here,
        closing(FileLink(there, here)) as link,
    ):
        order_a_fleet(hub, edges)
        pull(link, here)
        here.verify()
        entries = here.head().seq
    content = b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))
    return entries, path.stat().st_size, content


def test_an_edges_log_holds_its_own_orders_alone_however_large_the_fleet_is(tmp_path: Path) -> None:
    entries, size, content = pulled(tmp_path, 1000)
    assert (entries, size) == pulled(tmp_path, 7)[:2]
    assert entries == 11
    assert content.count(name(7).encode()) > 10
    assert [other for other in range(1001) if other != 7 and name(other).encode() in content] == []
    assert b'"plan"' not in content


# What was tampered with, on the way


def rechained(sent: Sent, prev: bytes = EMPTY.hash, start: int = 1) -> Sent:
    """The same bytes with origins that fit them: as somebody makes them who may say what he likes."""
    found = []
    for position, (origin, body) in enumerate(sent, start=start):
        hash_ = codec.chain(prev, body)
        found.append((Origin(source=origin.source, position=position, hash=hash_.hex(), prev=prev.hex()), body))
        prev = hash_
    return found


TAMPERED: dict[str, tuple[Callable[[Sent, Sent], Sent], type[HistoryError], str]] = {
    "changed": (
        lambda mine, _: [mine[0], (mine[1][0], mine[1][1].replace(b'"version":"1"', b'"version":"9"')), mine[2]],
        ChainBroken,
        "event 2 does not have the hash",
    ),
    "dropped": (lambda mine, _: [mine[0], mine[2]], GapFound, "event 2 is missing before 3"),
    "dropped and closed up": (
        lambda mine, _: [*mine[:1], *rechained(mine[2:], bytes.fromhex(mine[1][0].hash), 2)],
        ForkFound,
        "event 2 follows another event 1",
    ),
    "swapped": (lambda mine, _: [mine[0], mine[2], mine[1]], GapFound, "event 2 is missing before 3"),
    "of another edge": (lambda _, other: other, ChainBroken, "event 1 is for edge/edge-0008, not for edge/edge-0007"),
    "of another edge, chained anew": (
        lambda mine, other: [*mine[:1], *rechained(other[:1], bytes.fromhex(mine[0][0].hash), 2)],
        ChainBroken,
        "event 2 is for edge/edge-0008, not for edge/edge-0007",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_edge_finds_what_was_tampered_with_on_the_way(hub: SqliteLog, tmp_path: Path, kind: str, what: str) -> None:
    hub.append([an_order(edge, number) for number in range(3) for edge in (7, 8)])
    make: dict[str, Callable[[], EventLog]] = {
        "memory": lambda: MemoryLog("/edge/edge-0007", StillClock()),
        "sqlite": lambda: SqliteLog(tmp_path / "7.db", "/edge/edge-0007", StillClock()),
    }
    change, error, words = TAMPERED[what]
    with closing(make[kind]()) as here:
        before = here.head()
        with pytest.raises(error, match=words):
            here.copy(change(list(hub.raw("edge/edge-0007")), list(hub.raw("edge/edge-0008"))))
        assert here.head() == before
        assert len(here.copy(list(hub.raw("edge/edge-0007")))) == 3
        here.verify()


@pytest.mark.parametrize("stream", ["plan", "plan/deliver", "waits/deliver", "git", "object/Dataset/default/d"])
def test_what_nobody_reads_is_taken_by_nobody(hub: SqliteLog, stream: str) -> None:
    (entry,) = hub.append([an_event(1, stream)])
    sent = rechained([(Origin(source=hub.source, position=1, hash="", prev=""), codec.encode(entry.event))])
    with pytest.raises(ChainBroken, match="event 1 is for nobody, not for edge/a"):
        MemoryLog("/edge/a", StillClock()).copy(sent)


# What was tampered with, in the hub's file

OF_7 = "(SELECT number FROM chain WHERE name = 'edge/edge-0007')"
LINK = """UPDATE entry SET linkhash =
(SELECT chained(coalesce(linkhash, hash), {body}) FROM entry WHERE seq = {prior}) WHERE seq = {seq}"""

# How many orders edge 7 holds, and what is done by who takes the guards off. Rows 2, 4, 6 are its own, the others not.
IN_THE_FILE: dict[str, tuple[int, list[str], type[HistoryError], str]] = {
    "changed": (
        1,
        [
            """UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), 'version":"1', 'version":"9') AS BLOB)
            WHERE seq = 4"""
        ],
        ChainBroken,
        "event 2 does not have the hash",
    ),
    "dropped": (
        1,
        ["DELETE FROM entry WHERE seq = 4", "UPDATE entry SET prior = 2 WHERE seq = 6"],
        GapFound,
        "event 2 is missing before 3",
    ),
    "dropped and closed up": (
        1,
        ["DELETE FROM entry WHERE seq = 4", "UPDATE entry SET prior = 2, position = 2 WHERE seq = 6"],
        ChainBroken,
        "event 2 does not have the hash",
    ),
    "dropped, closed up and chained anew": (
        3,
        [
            "DELETE FROM entry WHERE seq = 4",
            "UPDATE entry SET prior = 2, position = 2 WHERE seq = 6",
            LINK.format(seq=6, prior=2, body="(SELECT body FROM entry WHERE seq = 6)"),
        ],
        ForkFound,
        "ends at event 2, but 3 of it are held",
    ),
    "swapped": (
        1,
        [
            """UPDATE entry SET body = two.body FROM (SELECT seq, body FROM entry) AS two
            WHERE entry.seq IN (4, 6) AND two.seq = 10 - entry.seq"""
        ],
        ChainBroken,
        "event 2 does not have the hash",
    ),
    "given to another": (
        3,
        [
            f"UPDATE entry SET chain = {OF_7}, position = 4, prior = 6 WHERE seq = 7",
            LINK.format(seq=7, prior=6, body="(SELECT body FROM entry WHERE seq = 7)"),
            f"UPDATE head SET seq = 7 WHERE chain = {OF_7}",
        ],
        ChainBroken,
        "event 4 is for edge/edge-0008, not for edge/edge-0007",
    ),
    "cut off": (
        3,
        [f"UPDATE head SET seq = 4 WHERE chain = {OF_7}"],
        ForkFound,
        "ends at event 2, but 3 of it are held",
    ),
}


@pytest.mark.parametrize("what", IN_THE_FILE)
def test_hub_and_edge_find_what_was_tampered_with_in_the_hubs_file(hub: SqliteLog, tmp_path: Path, what: str) -> None:
    held, statements, error, words = IN_THE_FILE[what]
    path, here = tmp_path / "hub" / "log.db", MemoryLog("/edge/edge-0007", StillClock())
    hub.append([an_order(edge, number) for number in range(3) for edge in (7, 8)])
    here.copy(list(hub.raw("edge/edge-0007"))[:held])
    hub.verify()
    hub.close()
    without_guards(path, statements)
    with closing(FileLink(path, here)) as link, pytest.raises(error, match=words):
        pull(link, here)
    assert here.held(hub.source).seq == held
    with (
        closing(SqliteLog(path, "/hub", StillClock())) as again,
        pytest.raises(ChainBroken, match=r"entry \d|readers end"),
    ):
        again.verify()


def without_guards(path: Path, statements: Sequence[str]) -> None:
    """Run `statements` as somebody who takes the guards off and puts them back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("chained", 2, codec.chain)
        guards = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for guard, _ in guards:
            connection.execute(f"DROP TRIGGER {guard}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0
        for _, sql in guards:
            connection.execute(sql)


# Readers that nobody knows


def test_an_order_for_nobody_is_not_written(hub: SqliteLog) -> None:
    before = hub.head()
    with pytest.raises(ValueError, match="'deploy//Dataset', an order for nobody"):
        hub.append([an_event(1), an_event(2, "deploy//Dataset")])
    assert hub.head() == before


def test_an_unknown_reader_in_a_log_is_named(hub: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:  # a release that knows more readers
        later.setattr(batch, "reader_of", lambda *_: "")
        hub.append([an_event(1, "deploy//Dataset")])
    words = (
        "entry 2 does not fit the chain: its bytes are not an event: it is in 'deploy//Dataset', an order for nobody"
    )
    with pytest.raises(ChainBroken, match=words):
        hub.verify()
    assert [entry.event.data["number"] for entry in hub.read(1)] == [1]


@pytest.mark.parametrize("source", ["/robot/7/1", "/hub", "hub/1", "/edge/1", "/edge//1", "", "/hub/1/2"])
def test_a_source_of_an_unknown_kind_is_named_on_arrival(hub: SqliteLog, source: str) -> None:
    body = codec.encode(an_event(1, source=source, sequence=f"{1:020d}", version=1))
    before = hub.head()
    with pytest.raises(ChainBroken, match="nobody knows who reads event 1: it is from"):
        hub.copy(rechained([(Origin(source=source, position=1, hash="", prev=""), body)]))
    assert hub.head() == before


@pytest.mark.parametrize(
    ("source", "stream", "reader"),
    [
        ("/hub/1", "deploy/a/Dataset/default/d", "edge/a"),
        ("/hub/1", "deploy/a", "edge/a"),
        ("/hub/1", "deploy/hub/Dataset/default/d", "edge/hub"),
        ("/hub/1", "deploys/a", ""),
        ("/hub/1", "edge/a", ""),
        ("/hub/1", "link/a", ""),
        ("/hub/1", "plan/deploy/a", ""),
        ("/edge/hub/1", "deploy/b/Dataset/default/d", "hub"),
        ("/edge/a/1", "log", "hub"),
    ],
)
def test_who_reads_an_entry_follows_from_its_source_and_stream(source: str, stream: str, reader: str) -> None:
    assert reader_of(source, stream) == reader


# What it costs


def test_a_pull_with_nothing_new_is_one_indexed_query_however_many_read_there(hub: SqliteLog, tmp_path: Path) -> None:
    path = tmp_path / "hub" / "log.db"
    hub.append([an_order(edge, 0) for edge in range(300)])
    here = MemoryLog("/edge/edge-0007", StillClock())
    with closing(FileLink(path, here)) as link:
        assert len(pull(link, here)) == 1
        hub.append([an_order(8, number) for number in range(1, 100)])
        assert link._reader is not None
        connection, asked = link._reader._volumes()[-1]._connection, list[str]()
        connection.set_trace_callback(asked.append)
        assert pull(link, here) == []
        connection.set_trace_callback(None)
        (query,) = asked
        steps = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
        assert [step for step in steps if not step.startswith("SEARCH")] == []


def written(hub: SqliteLog, path: Path, batches: Sequence[Sequence[Event]]) -> int:
    """How many pages the commits of these batches wrote."""
    wal = path.with_name(path.name + "-wal")
    begun = wal.stat().st_size
    for events in batches:
        hub.append(events)
    return (wal.stat().st_size - begun) // 4096


def test_a_thousand_readers_cost_a_commit_three_pages(tmp_path: Path) -> None:
    pages = {}
    for stream in ("deploy", "object"):
        path = tmp_path / stream / "log.db"
        with closing(SqliteLog(path, "/hub", StillClock())) as hub:
            hub._writer.execute("PRAGMA wal_autocheckpoint = 0")
            events = [
                an_event(n, f"{stream}/{name(n * 7 % 1000)}/{'x' * 20}", id=event_id(n), data={"text": "x" * 400})
                for n in range(4000)
            ]
            hub.append(events[:2000])
            pages[stream] = written(hub, path, [events[start : start + 100] for start in range(2000, 4000, 100)])
    assert pages["deploy"] <= pages["object"] + 20 * 6
