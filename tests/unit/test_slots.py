"""Two symlinks and a note a version, on a real disk."""

from pathlib import Path
from typing import Any

import pytest

from reconciler.edge.slots import Slots
from reconciler.errors import StorageExhausted
from reconciler.history.keys import Key
from tests.fleets import sha

KEY = Key("InferenceModel", "default", "digits-e1", "e1")


def spec(version: str, **more: Any) -> dict[str, Any]:
    return {"version": version, "sha256": sha(version), "url": f"https://models.example.com/{version}", **more}


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(tmp_path / "services", tmp_path / "store", KEY)


def test_nothing_stands_at_first(slots: Slots) -> None:
    assert (slots.current(), slots.previous(), slots.digests(), slots.back()) == (None, None, set(), None)


def test_a_flip_keeps_what_stood_before_as_previous(slots: Slots) -> None:
    for version in ("1", "2", "3"):
        slots.flip(spec(version))
    assert (slots.current(), slots.previous()) == (spec("3"), spec("2"))
    assert slots.digests() == {sha("3"), sha("2")}
    assert sorted(path.stem for path in slots.directory.glob("*.json")) == sorted([sha("3"), sha("2")])


def test_the_links_are_relative_and_lead_into_the_store(slots: Slots, tmp_path: Path) -> None:
    slots.flip(spec("1"))
    (tmp_path / "store" / sha("1")).mkdir(parents=True)
    assert str((slots.directory / "current").readlink()) == f"../../store/{sha('1')}"
    assert (slots.directory / "current").is_dir()


def test_a_flip_to_the_same_bytes_leaves_the_previous_version_alone(slots: Slots) -> None:
    slots.flip(spec("1"))
    slots.flip(spec("2"))
    slots.flip(spec("2", port=9000))
    assert (slots.current(), slots.previous()) == (spec("2", port=9000), spec("1"))


def test_going_back_leaves_no_way_to_what_failed(slots: Slots) -> None:
    slots.flip(spec("1"))
    slots.flip(spec("2"))
    assert slots.back() == spec("1")
    assert (slots.current(), slots.previous(), slots.digests()) == (spec("1"), None, {sha("1")})
    assert slots.back() is None
    assert slots.current() is None


def test_what_has_no_digest_is_named_by_where_it_is(slots: Slots) -> None:
    metadata = spec("1", bytes=False) | {"sha256": ""}
    slots.flip(metadata)
    assert slots.current() == metadata
    slots.flip(spec("2", bytes=False) | {"sha256": ""})
    assert slots.previous() == metadata


@pytest.mark.parametrize("damage", ["", "{", "[]x"])
def test_a_damaged_note_counts_as_nothing(slots: Slots, damage: str) -> None:
    slots.flip(spec("1"))
    (slots.directory / f"{sha('1')}.json").write_text(damage)
    assert slots.current() is None


def test_a_key_is_forgotten_whole_and_twice(slots: Slots) -> None:
    slots.flip(spec("1"))
    slots.remove()
    slots.remove()
    assert (slots.current(), slots.directory.exists()) == (None, False)


def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "services").write_text("not a directory")
    with pytest.raises(StorageExhausted, match="services"):
        Slots(tmp_path / "services", tmp_path / "store", KEY).flip(spec("1"))
