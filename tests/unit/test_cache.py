"""Parsed documents by blob id, in a file that may be lost at any time."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import reconciler
from reconciler.sources.cache import DocumentCache
from tests.fleets import edge, plain


def test_what_was_kept_is_there_again_and_nothing_else(tmp_path: Path) -> None:
    kept = {"1": [edge("e1", {"site": "x"}), plain("m")], "2": []}
    DocumentCache(tmp_path / "c.db").keep(kept)
    assert DocumentCache(tmp_path / "c.db").load(["1", "3"]) == {"1": kept["1"]}
    assert DocumentCache(tmp_path / "c.db").load(["2"]) == {"2": []}


def test_another_release_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DocumentCache(tmp_path / "c.db").keep({"1": [edge("e1")]})
    monkeypatch.setattr("reconciler.__version__", f"9{reconciler.__version__}")
    assert DocumentCache(tmp_path / "c.db").load(["1"]) == {}
    DocumentCache(tmp_path / "c.db").keep({"1": [edge("e2")]})
    assert DocumentCache(tmp_path / "c.db").load(["1"]) == {"1": [edge("e2")]}


def test_a_schema_that_changed_within_a_release_begins_anew_too(tmp_path: Path) -> None:
    DocumentCache(tmp_path / "c.db").keep({"1": [edge("e1")]})
    with closing(sqlite3.connect(tmp_path / "c.db")) as database, database:
        database.execute("UPDATE parsed SET objects = ?", (b'[{"kind": 7}]',))
    assert DocumentCache(tmp_path / "c.db").load(["1"]) == {}


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0 cut off", b""])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.db").write_bytes(content)
    DocumentCache(tmp_path / "c.db").keep({"1": [edge("e1")]})
    assert DocumentCache(tmp_path / "c.db").load(["1"]) == {"1": [edge("e1")]}


def test_a_place_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    cache = DocumentCache(tmp_path / "missing" / "c.db")
    cache.keep({"1": [edge("e1")]})
    assert cache.load(["1"]) == {}


def test_keeping_nothing_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    DocumentCache(tmp_path / "c.db").keep({})
