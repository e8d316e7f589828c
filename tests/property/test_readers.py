"""Whatever is appended, copied and sealed, and when: every reader has its own chain, the same in every store."""

import tempfile
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.eventlog.memory import MemoryLog
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import codec
from reconciler.history.events import EMPTY, Head
from reconciler.history.readers import reader_of
from tests.log_events import StillClock, an_event

EDGES = ("a", "b", "c")
STREAMS = st.sampled_from([*(f"deploy/{edge}/{key}" for edge in EDGES for key in "xy"), "plan/deploy", "git", "edge/a"])
DEEDS = st.one_of(
    st.lists(STREAMS, min_size=1, max_size=5),
    st.sampled_from(EDGES),
    st.just("seal"),
    st.just("restart"),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(DEEDS, max_size=12))
def test_every_reader_has_its_own_chain_the_same_in_every_store(deeds: list[list[str] | str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path, clock = Path(directory) / "log.db", StillClock()
        hub = SqliteLog(path, "/hub", clock)
        twin = MemoryLog("/hub", clock, log_id=hub.source.split("/")[2])
        edges = {edge: MemoryLog(f"/edge/{edge}", clock) for edge in EDGES}
        for number, deed in enumerate(deeds):
            if deed == "seal":
                hub.seal()
            elif deed == "restart":
                hub.close()
                hub = SqliteLog(path, "/hub", clock)
            elif isinstance(deed, str):
                edges[deed].append([an_event(number, f"deploy/{deed}/x", id=f"{deed} {number}")])
                for log in (hub, twin):
                    log.copy(list(edges[deed].raw("hub", log.held(edges[deed].source).seq)))
            else:
                events = [an_event(number * 10 + n, stream) for n, stream in enumerate(deed)]
                hub.append(events)
                twin.append(events)
        with closing(hub), closing(SqliteReader(path)) as reader:
            hub.verify()
            ends: dict[str, Head] = defaultdict(lambda: EMPTY)
            for entry in hub.read():
                name = reader_of(entry.event.source, entry.event.partitionkey)
                if entry.origin is None and name:
                    seq, prev = ends[name]
                    ends[name] = Head(seq + 1, codec.chain(prev, codec.encode(entry.event)))
            for edge, log in edges.items():
                name = f"edge/{edge}"
                assert reader.end(name) == ends[name]
                assert len(list(twin.raw(name))) == ends[name].seq
                for after in range(ends[name].seq + 1):
                    assert list(reader.raw(name, after)) == list(hub.raw(name))[after:]
                log.copy(list(reader.raw(name)))
                assert log.held(hub.source) == ends[name]
                assert reader.held(log.source) == twin.held(log.source)
