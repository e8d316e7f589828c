"""What comes together is told together, in the order in which it came; what breaks off says so behind it."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.cli import telling
from reconciler.cli.telling import commits, gathered, show, together
from reconciler.history.events import APPLY_SUCCEEDED, REF_ADVANCED
from reconciler.web.records import Record

ONE = Record(
    seq=1,
    id="i",
    time="2026-11-30T14:00:00.000000Z",
    recorded_time="2026-11-30T14:00:01.000000Z",
    type=APPLY_SUCCEEDED,
    source="/edge/edge-1/abc",
    edge="edge-1",
    model="digits",
    subject="",
    actor="",
    commit="",
    cause="",
    operation="",
    text="done, version 2 is there",
)


def many(count: int, **fields: str) -> list[Record]:
    return [replace(ONE, seq=n, edge=f"edge-{n}", source=f"/edge/edge-{n}/abc", **fields) for n in range(1, count + 1)]


def said(capsys: pytest.CaptureFixture[str], records: list[Record], **how: bool) -> list[str]:
    show(records, "table", **how)
    return capsys.readouterr().out.splitlines()


def test_equal_sentences_of_a_commit_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    commit = replace(ONE, seq=9, type=REF_ADVANCED, edge="", model="", text="commit abc")
    told = said(capsys, [*many(5), commit, *many(4)])
    assert [line.split("  ", 4)[-1].strip() for line in told] == [
        "digits on 5 edges (edge-1 … edge-5): done, version 2 is there",
        "commit abc",
        "digits on 4 edges (edge-1 … edge-4): done, version 2 is there",
    ]
    assert told[0].startswith("   1-5  2026-11-30 14:00:00")


def test_three_are_told_one_by_one_and_so_are_all_with_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(said(capsys, many(3))) == 3
    assert len(said(capsys, many(9), each=True)) == 9


def test_what_differs_in_its_own_edge_alone_is_equal(capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        replace(one, text=f"ordered version 1: pinned on {one.edge} (edges/{one.edge}.yaml:7)") for one in many(4)
    ]
    (told,) = said(capsys, records)
    assert told.endswith("digits on 4 edges (edge-1 … edge-4): ordered version 1: pinned on EDGE (edges/EDGE.yaml:7)")


def test_tries_that_differ_in_when_they_are_made_again_are_one_line_with_the_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tries = [
        replace(ONE, seq=n, time=f"2026-11-30T14:{n:02}:00Z", text=f"not done: no answer; again in {n}.5 s")
        for n in range(1, 13)
    ]
    (told,) = said(capsys, tries)
    assert told.endswith("edge-1 digits: not done: no answer (12 times, the last at 2026-11-30 14:12:00Z)")


def test_objects_of_a_cluster_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    objects = [replace(ONE, seq=n, edge="", model=f"digits-edge-{n}", text="creates it") for n in range(1, 6)]
    (told,) = said(capsys, objects)
    assert told.endswith("5 objects (digits-edge-1 … digits-edge-5): creates it")


def test_as_data_every_event_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    show(many(9), "json")
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_a_window_ends_with_the_next_commit_and_is_never_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MOST", 4)
    commit = replace(ONE, type=REF_ADVANCED)
    assert [len(batch) for batch in commits([ONE, commit, ONE, commit, *[ONE] * 5])] == [1, 2, 4, 2]


def test_what_waits_already_is_taken_together_up_to_the_end() -> None:
    came: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for one in (2, 3, None, 4):
        came.put(one)
    assert gathered(came, 1) == [1, 2, 3, None]


def test_what_arrives_is_told_before_what_broke_it_off() -> None:
    def arriving() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("gone")

    batches = together(arriving())
    found: list[int] = []
    while not found or found[-1] != 2:
        found += next(batches)
    assert found == [1, 2]
    with pytest.raises(ValueError, match="gone"):
        next(batches)


def test_no_line_waits_for_what_does_not_come() -> None:
    goes_on = threading.Event()

    def arriving() -> Iterator[int]:
        yield 1
        goes_on.wait(60)
        yield 2

    batches = together(arriving())
    assert next(batches) == [1]  # the second has not come yet
    goes_on.set()
    assert next(batches) == [2]
