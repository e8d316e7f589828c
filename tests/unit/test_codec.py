import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import ChainBroken
from reconciler.history import codec, events
from reconciler.history.events import EMPTY, Entry, Event, rfc3339
from reconciler.history.times import seconds_left
from tests.log_events import an_event

GOLDEN = Path(__file__).parents[1] / "golden" / "events"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | texts | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def arrival(body: bytes, position: int = 7) -> codec.Arrival:
    return codec.Arrival(
        source="/edge/a/1",
        position=position,
        prev="00" * 32,
        hash=codec.chain(bytes(32), body).hex(),
        localsequence=9,
        localversion=2,
        recordedtime="2027-01-15T08:00:01.000000Z",
    )


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_decoded_is_what_was_encoded(data: dict[str, Any]) -> None:
    event = an_event(1, data=data)
    assert codec.decode(codec.encode(event)) == (event, None)


@given(st.dictionaries(texts, values, max_size=4))
def test_equal_events_have_equal_bytes_with_sorted_keys(data: dict[str, Any]) -> None:
    turned = dict(reversed(data.items()))
    body = codec.encode(an_event(1, data=data))
    assert body == codec.encode(an_event(1, data=turned))
    json.loads(body, object_pairs_hook=assert_sorted)


def assert_sorted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key.encode() for key, _ in pairs]
    assert keys == sorted(keys)
    return dict(pairs)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (0.5, r"data\.x: 0\.5 is a float"),
        (float("nan"), r"data\.x: nan"),
        (2**53, r"data\.x: 9007199254740992 is not below"),
        (-(2**53), r"data\.x: -9007199254740992 is not below"),
        ([1, {"deep": 1.0}], r"data\.x\[\]\.deep: 1\.0"),
        ({1: "a"}, r"data\.x: the key 1 is not text"),
        (b"bytes", r"data\.x: b'bytes' is a bytes"),
        ({"a"}, r"data\.x: .* is a set"),
        ("\ud800", "surrogates"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        codec.encode(an_event(1, data={"x": value}))


def test_the_largest_integers_are_written() -> None:
    data = {"large": 2**53 - 1, "small": -(2**53) + 1}
    assert codec.decode(codec.encode(an_event(1, data=data)))[0].data == data


def test_a_wrapped_body_holds_the_original_bytes_verbatim() -> None:
    original = b'{"data":{"odd":  1e2},"id":"i","partitionkey":"p","time":"t","type":"new.thing.v7","whim":[true]}'
    wrapped = codec.wrap(original, arrival(original))
    assert original in wrapped
    event, origin = codec.decode(wrapped)
    assert (event.id, event.type) == ("i", "new.thing.v7")
    assert origin is not None
    assert (origin.source, origin.position, origin.hash) == ("/edge/a/1", 7, codec.chain(bytes(32), original).hex())
    assert bytes(msgspec.json.decode(wrapped, type=codec.Arrived).event) == original


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id":1}', b'{"event":{}}', b'{"event":[],"origin":{}}', b"\xff"])
def test_bytes_that_are_no_event_are_named(body: bytes) -> None:
    with pytest.raises(ChainBroken, match="not an event"):
        codec.decode(body)
    with pytest.raises(ChainBroken, match="not an event"):
        list(codec.entries([(1, bytes(32), body)]))


def test_rows_of_both_forms_become_entries() -> None:
    own, theirs = codec.encode(an_event(1)), codec.encode(an_event(2))
    entries = list(codec.entries([(4, b"h" * 32, own), (5, b"i" * 32, codec.wrap(theirs, arrival(theirs)))]))
    assert [(e.seq, e.hash, e.event) for e in entries] == [(4, b"h" * 32, an_event(1)), (5, b"i" * 32, an_event(2))]
    assert all(type(entry) is Entry for entry in entries)
    assert [entry.origin and entry.origin.position for entry in entries] == [None, 7]
    assert list(codec.entries([])) == []


def test_the_chain_is_sha256_over_the_hash_before_and_the_bytes() -> None:
    # printf '%.0s\0' $(seq 32) | cat - <(printf a) | sha256sum
    assert codec.chain(EMPTY.hash, b"a").hex() == "41a0370c3d9f42773a59e8e01651911cf43b1e3f66944cbb690029debc4eb647"


def test_a_blob_id_is_what_git_says() -> None:
    assert codec.blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert codec.blob_id(b"", digits=64) == "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"


def stored_types() -> list[str]:
    return [value for name, value in vars(events).items() if name.isupper() and str(value).endswith(".v1")]


def test_every_event_type_has_a_golden_body() -> None:
    bodies = (GOLDEN / "v0.1.0.jsonl").read_bytes().splitlines()
    found = [codec.decode(body)[0].type for body in bodies]
    missing = set(stored_types()) - set(found)
    assert not missing, f"append a stored body of each to {GOLDEN.name}/v0.1.0.jsonl; never change a line that is there"
    assert len(found) == len(set(found))
    assert len(found) > 20


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.jsonl")), ids=lambda file: file.stem)
def test_fault_78_bytes_of_every_release_decode_for_ever(file: Path) -> None:
    bodies = file.read_bytes().splitlines()
    assert bodies
    for body in bodies:
        event, origin = codec.decode(body)
        assert isinstance(event, Event)
        if origin is None:
            assert codec.encode(event) == body
        else:
            assert bytes(msgspec.json.decode(body, type=codec.Arrived).event) in body


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]
)
def test_fault_017_every_time_that_can_be_said_can_be_written(text: str) -> None:
    written = rfc3339(datetime.fromisoformat(text).timestamp())
    assert written in {"9999-12-31T23:59:59.000000Z", "0001-01-01T00:00:00.000000Z"}
    assert seconds_left(written, 0.0) >= 0.0
