"""Nothing is lost where equal things are told as one, and no word breaks that fits its line."""

import re
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.web.fold import NARROW, cells, folded
from reconciler.wording import FEW, general, grouped, named_of, names, of_all

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), max_size=40)
NAMES = st.lists(
    st.from_regex(r"\A(edge-|berlin-0|m)([0-9]{1,3}|[a-c])(@edge-[0-9])?\Z"), min_size=1, max_size=30, unique=True
)
WORDS = st.lists(st.text("ab日é👩/-", min_size=1, max_size=12), min_size=1, max_size=30)


@given(PAIRS, st.booleans())
def test_what_is_grouped_is_all_there_in_the_order_of_the_first(pairs: list[tuple[str, int]], each: bool) -> None:
    found = grouped(pairs, each=each)
    assert sorted((what, one) for what, where in found for one in where) == sorted(pairs)
    for what, where in found:
        alike = [one for said, one in pairs if said == what]
        assert where in ([(one,) for one in alike] if each or len(alike) <= FEW else [tuple(alike)])
    firsts = [next(n for n, (said, _) in enumerate(pairs) if said == what) for what, where in found if len(where) > 1]
    assert firsts == sorted(firsts)


def expanded(text: str) -> list[str]:
    """The names of a list: a range counts on from its first to its last."""
    every = []
    for part in text.split(", "):
        first, _, last = part.partition(" … ")
        every.append(first)
        while last and every[-1] != last:
            old, new = (re.split("([0-9]+)", one) for one in (every[-1], last))
            every.append("".join(a if a == b else str(int(a) + 1).zfill(len(a)) for a, b in zip(old, new, strict=True)))
            assert len(every) < 2000
    return every


@given(NAMES)
def test_names_and_ranges_are_all_of_the_names(every: list[str]) -> None:
    assert sorted(expanded(names(every, most=len(every)))) == sorted(every)


@given(NAMES)
def test_of_many_names_it_is_told_how_many_are_left(every: list[str]) -> None:
    shown, _, more = names(every).partition(" and ")
    assert len(expanded(shown)) + int(more.removesuffix(" more") or 0) == len(every)


@pytest.mark.parametrize(
    ("every", "text"),
    [
        ([f"edge-{n}" for n in range(20, 0, -1)], "edge-1 … edge-20"),
        ([f"edge-{n}" for n in (1, 2, 3, 5, 6, 7)], "edge-1 … edge-3, edge-5 … edge-7"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
        (["edge-1", "edge-2"], "edge-1, edge-2"),
        (["d-edge-8@edge-8", "d-edge-9@edge-9", "d-edge-10@edge-10", "d-edge-11@edge-11"], None),
        ([f"b-{n:02}" for n in range(8, 12)], "b-08 … b-11"),
        ([f"b-{n}" for n in ("1", "02", "3", "04")], "b-1, b-02, b-3 and 1 more"),
    ],
)
def test_names_count_on_as_people_do(every: list[str], text: str | None) -> None:
    assert names(every) == (text or "d-edge-8@edge-8 … d-edge-11@edge-11")


def test_a_cell_says_how_many_names_are_in_it() -> None:
    assert named_of(["edge-7"]) == "edge-7"
    assert named_of(f"edge-{n}" for n in range(1, 21)) == "edge-1 … edge-20 (20)"


def test_what_is_ones_own_is_told_by_its_general_name() -> None:
    text = "`reconciler release edge-1 digits` (edges/edge-1.yaml:3), digits-edge-1 not edge-10 or edge-1-b"
    assert general(text, {"edge-1": "EDGE", "": "NOTHING"}) == (
        "`reconciler release EDGE digits` (edges/EDGE.yaml:3), digits-EDGE not edge-10 or edge-1-b"
    )


@given(WORDS, st.integers(1, 60), st.integers(0, 30), st.integers(0, 20))
def test_a_folded_line_has_every_word_and_breaks_none_that_fits(
    words: list[str], columns: int, begins: int, hang: int
) -> None:
    lines = folded(" ".join(words), columns, begins=begins, hang=hang)
    assert " ".join(lines).split() == words
    margin = hang if columns - hang >= NARROW else 4
    for line in lines[1:]:
        assert cells(line) <= columns or " " not in line.strip()
    if len(lines) > 1:
        assert all(line.startswith(" " * margin) for line in lines[1:])
    for above, below in pairwise(lines):
        first = below.split()[0]
        room = columns - (begins if above is lines[0] else 0)
        assert not above.strip() or cells(above) + 1 + cells(first) > room  # it would not have fitted


def test_where_nothing_knows_graphemes_characters_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.cells", None)  # an edge's install
    assert [cells(text) for text in ("plain", "日本", "e\u0301", "a → b")] == [5, 4, 1, 5]


@pytest.mark.parametrize(
    ("text", "wide"), [("日本", 4), ("e\u0301", 1), ("👩\u200d👩\u200d👦", 2), ("🇩🇪", 2), ("→", 1), ("한", 2)]
)
def test_a_grapheme_takes_the_cells_that_a_terminal_gives_it(text: str, wide: int) -> None:
    assert cells(text) == wide


PARTS = st.lists(st.sampled_from(["of ", " at ", "", "x", "/", "-", "EDGE", "NAME"]), min_size=1, max_size=6)
OWN = st.tuples(st.sampled_from(["a", "m-a", "faces"]), st.sampled_from(["edge-1", "edge-2", "a"]))


@given(PARTS, st.lists(st.sampled_from([0, 1]), min_size=1, max_size=6), st.lists(OWN, min_size=1, max_size=4))
def test_only_what_differs_between_all_is_told_by_its_general_name(
    parts: list[str], which: list[int], members: list[tuple[str, str]]
) -> None:
    pattern = "".join(f"{part} <{n}> " for part, n in zip(parts, which, strict=False))
    written = pattern.replace("NAME", "").replace("EDGE", "").replace("<0>", "NAME").replace("<1>", "EDGE")
    said = []
    for name, edge in members:
        text = pattern.replace("NAME", "").replace("EDGE", "").replace("<0>", name).replace("<1>", edge)
        said.append((text, {name: "NAME", edge: "EDGE"}))
    if {general(*one) for one in said} != {written}:  # a word of the text is somebody's name: these are not alike
        return
    found = of_all(said)
    for (text, _), (name, edge) in zip(said, members, strict=True):
        assert found.replace("NAME", name).replace("EDGE", edge) == text
    assert ("NAME" in found) == ("NAME" in written and len({name for name, _ in members}) > 1)
    assert ("EDGE" in found) == ("EDGE" in written and len({edge for _, edge in members}) > 1)
