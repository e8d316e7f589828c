"""Reading YAML: what is refused is refused at its place, everything else keeps its exact text."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.diagnostics import Diagnostic
from reconciler.model.declaration import declare, identity_of
from reconciler.model.document import Document, Loc
from reconciler.model.scalars import Plain, Scalar
from reconciler.planning.kinds import models
from reconciler.sources import documents as subject
from reconciler.sources.documents import read_documents
from reconciler.web.problems import render_all


def read(text: str | bytes) -> tuple[list[Document], list[Diagnostic]]:
    return read_documents("a.yaml", text if isinstance(text, bytes) else text.encode())


def one(text: str | bytes) -> Document:
    documents, problems = read(text)
    assert problems == []
    (document,) = documents
    return document


def places(problems: list[Diagnostic]) -> list[tuple[str, int, int, int]]:
    return [(p.code, p.line, p.column, p.width) for p in problems]


def test_every_scalar_stays_text() -> None:
    document = one("a: 1.10\nb: no\nc: 012\nd: 1e3\ne: 12:30:45\nf: 2026-11-01\ng: 0000\nh: on\non: x\n=: =\n")
    assert document.data == {
        "a": "1.10",
        "b": "no",
        "c": "012",
        "d": "1e3",
        "e": "12:30:45",
        "f": "2026-11-01",
        "g": "0000",
        "h": "on",
        "on": "x",
        "=": "=",
    }


def test_null_needs_the_style() -> None:
    data = one("a:\nb: ~\nc: null\nd: ''\ne: '~'\nf: \"null\"\ng: Null\n").data
    assert data == {"a": None, "b": None, "c": None, "d": "", "e": "~", "f": "null", "g": "Null"}
    assert isinstance(data["g"], Plain)
    assert type(data["e"]) is Scalar
    assert (data["g"].plain, data["e"].plain) == (True, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\n", ("RX203", 1, 4, 2)),
        ("a: &x {b: 1}\n", ("RX203", 1, 4, 2)),
        ("a: *x\n", ("RX203", 1, 4, 2)),
        ("a:\n  <<: {b: 1}\n", ("RX203", 2, 3, 2)),
        ("a: !!str 1\n", ("RX204", 1, 4, 1)),
        ("a: !!python/object:os.system [x]\n", ("RX204", 1, 4, 1)),
        ("! a: 1\n", ("RX204", 1, 1, 1)),
    ],
)
def test_fault_113_aliases_anchors_merge_keys_and_tags(text: str, expected: tuple[str, int, int, int]) -> None:
    documents, problems = read(text)
    assert places(problems) == [expected]
    assert documents[0].broken


def test_fault_113_an_alias_bomb_is_refused_without_being_expanded() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    _, problems = read("\n".join(rows))
    assert len(problems) == subject.MAX_PROBLEMS
    assert {problem.code for problem in problems} == {"RX203"}


def test_fault_114_duplicate_keys_name_both_lines() -> None:
    (document,), problems = read("a: 1\nb:\n  c: 1\n  d: 2\n  'c': 3\na: 4\n")
    assert places(problems) == [("RX202", 5, 3, 3), ("RX202", 6, 1, 1)]
    assert "first on line 3" in problems[0].message
    assert document.ambiguous == {("b", "c"), ("a",)}
    assert document.data == {"a": "1", "b": {"c": "1", "d": "2"}}


def test_fault_114_one_broken_document_hides_no_other() -> None:
    text = "a: 1\n---\nb: [1\n---\n# nothing\n---\nc: 'x\n---\nd: a: b\n...\n---\ne: 5\n--- f\n"
    documents, problems = read(text)
    found = [(document.index, document.line, document.broken, document.data) for document in documents]
    assert found == [
        (0, 1, False, {"a": "1"}),
        (1, 3, True, {"b": ["1"]}),
        (2, 7, True, {}),
        (3, 9, True, {"d": "a"}),
        (4, 12, False, {"e": "5"}),
        (5, 13, False, "f"),
    ]
    assert places(problems) == [("RX201", 3, 4, 1), ("RX201", 7, 4, 1), ("RX201", 9, 5, 1)]


def test_empty_documents_and_directives_do_not_count() -> None:
    documents, problems = read("%YAML 1.2\n---\na: 1\n---\n---\n# c\n---\n~\n...\n%YAML 1.1\n---\nb: 2\n...\n")
    assert problems == []
    assert [(document.index, document.data) for document in documents] == [(0, {"a": "1"}), (1, {"b": "2"})]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "\ufeff", "---\n...\n"])
def test_a_file_without_content_has_no_documents(text: str) -> None:
    assert read(text) == ([], [])


def test_fault_114_byte_order_mark_and_crlf() -> None:
    document = one("\ufeffa: 1\r\nb:\r\n  c: 'x'\r\n".encode())
    assert document.data == {"a": "1", "b": {"c": "x"}}
    at = document.position(("b", "c"))
    assert (at.line, at.column, at.width) == (3, 6, 3)
    assert document.snippet(3) == "  c: 'x'"


def test_fault_114_utf16_is_named() -> None:
    documents, (problem,) = read("a: 1".encode("utf-16"))
    assert (problem.code, problem.message) == ("RX206", "the file is UTF-16")
    assert [document.broken for document in documents] == [True]


@pytest.mark.parametrize(
    ("data", "column", "message"),
    [
        (b"k: 1\na: \xff\n", 4, "byte 0xff is not UTF-8"),
        (b"k: 1\na: b\x00\n", 5, "the character U+0000 is refused"),
        ("k: 1\na: \u2028\n".encode(), 4, "the character U+2028 is refused"),
        ("k: 1\nä: \x1b[31m\n".encode(), 4, "the character U+001B is refused"),
        (b"k: 1\na: b\rc: d\n", 5, "a carriage return without a line feed"),
    ],
)
def test_fault_114_not_text(data: bytes, column: int, message: str) -> None:
    documents, problems = read(data + b"---\nok: 1\n")
    assert [(p.code, p.line, p.column, p.message) for p in problems] == [("RX206", 2, column, message)]
    assert [document.broken for document in documents] == [True, False]
    json.dumps([problem.as_dict() for problem in problems]).encode()


def test_fault_114_tabs_are_said_to_be_tabs() -> None:
    _, (problem,) = read("a:\n\tb: 1\n")
    assert places([problem]) == [("RX201", 2, 1, 1)]
    assert "tab" in problem.message
    assert "spaces" in problem.help


def test_merge_conflict_markers_are_recognised() -> None:
    documents, problems = read("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> main\n---\nc: 1\n")
    assert places(problems) == [("RX201", 2, 1, 7)]
    assert "unfinished merge" in problems[0].help
    assert [document.broken for document in documents] == [True, False]


@pytest.mark.parametrize("text", ["[" * 20_000, "- " * 20_000, "{a: " * 20_000, "a:\n" + " " * 3 + "- " * 100])
def test_fault_114_twenty_thousand_levels(text: str) -> None:
    documents, problems = read(text + "\n---\nok: 1\n")
    assert [problem.code for problem in problems] == ["RX205"]
    assert [document.broken for document in documents] == [True, False]


def test_depth_64_is_read_and_65_is_not() -> None:
    assert not one("[" * 64 + "]" * 64).broken
    _, problems = read("[" * 65 + "]" * 65)
    assert places(problems) == [("RX205", 1, 65, 1)]


def test_fault_114_a_mebibyte_and_one_byte() -> None:
    head, tail = "a: '", "'\n"
    fits = head + "x" * (subject.MAX_DOCUMENT_BYTES - len(head) - len(tail)) + tail
    assert len(one(fits).data["a"]) == subject.MAX_DOCUMENT_BYTES - 6
    documents, problems = read("ok: 1\n---\n" + fits + "\n")
    assert [problem.code for problem in problems] == ["RX205"]
    assert [document.broken for document in documents] == [False, True]


def test_fault_59_a_file_above_ten_mebibytes_is_not_parsed() -> None:
    documents, problems = read(b"a: 1\n" * (2 * 2**20 + 1))
    assert places(problems) == [("RX205", 1, 1, 1)]
    assert [document.broken for document in documents] == [True]


def test_fault_59_values_of_a_file_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_EVENTS", 40)
    documents, problems = read("---\na: [1, 2, 3, 4, 5]\n" * 10)
    assert [problem.code for problem in problems] == ["RX205"]
    assert len(documents) == 4
    assert documents[-1].broken


def test_fault_59_documents_of_a_file_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_DOCUMENTS", 3)
    documents, problems = read("---\na: 1\n" * 5)
    assert places(problems) == [("RX205", 7, 1, 1)]
    assert [document.broken for document in documents] == [False, False, False, True]


@pytest.mark.parametrize(
    ("text", "loc", "line", "column", "width"),
    [
        ("spec:\n  - {a: 'xy', b: z}\n", ("spec", 0, "a"), 2, 9, 4),
        ("spec:\n  - {a: 'xy', b: z}\n", ("spec", 0, "b"), 2, 18, 1),
        ("spec:\n  - {a: 'xy', b: z}\n", ("spec", 0), 2, 5, 15),
        ("spec:\n  ä: 世界  # c\n", ("spec", "ä"), 2, 6, 2),
        ("a: |\n  x\n  y\nb: 1\n", ("a",), 1, 4, 1),
        ("a: 1\n", ("missing",), 1, 1, 1),
        ("a:\n  b: {c: 1}\n", ("a", "b", "missing", "deeper"), 2, 3, 1),
        ("a:\n", ("a",), 1, 3, 1),
    ],
)
def test_positions(text: str, loc: Loc, line: int, column: int, width: int) -> None:
    at = one(text).position(loc)
    assert (at.line, at.column, at.width) == (line, column, width)


def test_key_positions_cover_quoted_keys() -> None:
    at = one("spec:\n  'a b': 1\n").key_position(("spec", "a b"))
    assert (at.line, at.column, at.width) == (2, 3, 5)


def test_snippets_mask_secrets_and_keep_columns() -> None:
    document = one("u: https://me:p4ss@h/x?token=abc&v=1  # https://k:s3cret@h\n")
    assert document.snippet(1) == "u: https://*******@h/x?token=***&v=1  # https://********@h"


@pytest.mark.parametrize(
    ("text", "line", "advice"),
    [
        ("kind: Edge\nmetadata\n  name: x\nspec: {}\n", 2, "a key is followed by `: ` and its value"),
        ("kind: Edge\nspec\nother: 1\n", 2, "a key is followed by `: ` and its value"),
        ("spec:\n  address 127.0.0.1\n  labels: {}\n", 3, "the line above lacks the `: ` after its key"),
    ],
)
def test_a_missing_colon_leads_to_the_line_that_lacks_it(text: str, line: int, advice: str) -> None:
    _, (problem,) = read(text)
    assert (problem.code, problem.line) == ("RX201", line)
    assert problem.help.startswith(advice)


def test_syntax_errors_render_with_a_caret_and_help() -> None:
    _, problems = read("a: 1\nb: x: y\n")
    assert render_all(problems).splitlines() == [
        "error[RX201]: mapping values are not allowed in this context",
        "  --> a.yaml:2:5",
        " 2 | b: x: y",
        "   |     ^",
        " help: a text with `: ` in it needs quotes; or the line is indented wrongly",
        "1 error, 0 warnings",
    ]


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────────────

words = st.text(st.sampled_from("abcxyz09 :#-'\"äß世😀.,[]{}&*!|>%@`"), min_size=1, max_size=12)
trees: st.SearchStrategy[Any] = st.recursive(
    words,
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(words, inner, min_size=1, max_size=4),
    max_leaves=12,
)


def leaves(data: Any, loc: Loc = ()) -> list[tuple[Loc, str]]:
    if isinstance(data, dict):
        return [leaf for key, value in data.items() for leaf in leaves(value, (*loc, str(key)))]
    if isinstance(data, list):
        return [leaf for n, value in enumerate(data) for leaf in leaves(value, (*loc, n))]
    return [] if data is None else [(loc, str(data))]


@settings(max_examples=150, deadline=None)
@given(tree=st.dictionaries(words, trees, min_size=1, max_size=4), flow=st.sampled_from([True, False, None]))
def test_the_position_of_every_scalar_points_to_its_text(tree: dict[str, Any], flow: bool | None) -> None:
    text = "first: doc\n---\n" + yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True, width=10**6)
    (_, document), problems = read(text)
    assert problems == []
    assert document.data == tree
    lines = text.split("\n")
    found = leaves(document.data)
    assert found
    for loc, value in found:
        at = document.position(loc)
        shown = lines[at.line - 1][at.column - 1 :][: at.width]
        assert shown == value or (shown[0] in "'\"" and yaml.safe_load(shown) == value)


yamlish = st.text(st.sampled_from("ab: \n\t-[]{}&*!|>'\"#%@`<=.~\r\ufeff\x00ä😀,?"), max_size=60)


@settings(max_examples=400, deadline=None)
@given(data=st.binary(max_size=80) | yamlish.map(str.encode) | yamlish.map(lambda text: f"---\n{text}\n---\n".encode()))
def test_fault_114_arbitrary_bytes_never_raise(data: bytes) -> None:
    documents, problems = read_documents("a.yaml", data)
    assert [document.index for document in documents] == list(range(len(documents)))
    assert any(document.broken for document in documents) == bool(problems)
    for document in documents:
        declaration, found = declare(document, models())
        assert declaration is None
        assert document.broken or found
        identity_of(document, models())
        problems = problems + found
    lines = data.count(b"\n") + 1
    for problem in problems:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
    json.dumps([problem.as_dict() for problem in problems], ensure_ascii=False).encode()
    render_all(problems).encode()
