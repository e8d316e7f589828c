"""A problem is a value, and a person sees where it is, also in Chinese, with tabs, and when somebody is hostile."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.diagnostics import Diagnostic, printable
from reconciler.web.fold import display_width
from reconciler.web.problems import render, render_all

FULL = Diagnostic(
    code="RX213",
    message="70000 is not between 0 and 65535",
    path="edges/a.yaml",
    line=12,
    column=16,
    width=5,
    label="too high",
    snippet="  servingPort: 70000",
    notes=("the old port stays",),
    help="choose another",
    commit="0123456789abcdef",
)


def test_a_person_sees_what_where_and_what_to_do() -> None:
    assert render(FULL).splitlines() == [
        "error[RX213]: 70000 is not between 0 and 65535",
        "  --> edges/a.yaml:12:16  (commit 0123456)",
        " 12 |   servingPort: 70000",
        "    |                ^^^^^ too high",
        " note: the old port stays",
        " help: choose another",
    ]


def test_what_is_not_known_is_not_shown() -> None:
    assert render(Diagnostic(code="RX216", message="m", severity="warning")) == "warning[RX216]: m"
    assert Diagnostic(code="RX216", message="m", path="a", line=3).place == "a:3"


@pytest.mark.parametrize(
    ("snippet", "column", "width", "blanks", "carets"),
    [
        ("a: 世界 x", 7, 1, 8, 1),
        ("a: 世界 x", 4, 2, 3, 4),
        ("a:\tx", 4, 1, 6, 1),
        ("e\u0301: x", 5, 1, 3, 1),
        ("a:", 3, 1, 2, 1),
        ("a: \x1b[31m", 4, 1, 3, 6),
    ],
)
def test_the_caret_stands_under_the_place(snippet: str, column: int, width: int, blanks: int, carets: int) -> None:
    problem = Diagnostic(code="RX201", message="m", path="a", line=1, column=column, width=width, snippet=snippet)
    *_, code, caret = render(problem).splitlines()
    assert caret == "   | " + " " * blanks + "^" * carets
    assert display_width(code) >= len(caret) - carets


def test_fault_152_control_and_override_characters_are_made_visible() -> None:
    hostile = Diagnostic(code="RX201", message="a\x1b[2J\nb\u202ec", path="x\ry", line=1, column=1, snippet="\x07")
    text = render(hostile)
    assert len(text.splitlines()) == 4
    assert all(char == "\n" or char.isprintable() for char in text)
    assert "\\u001b[2J\\u000ab\\u202ec" in text


def test_all_problems_worst_first_then_by_place() -> None:
    warning = Diagnostic(code="RX217", message="w", path="a", line=1, severity="warning")
    late, early = (Diagnostic(code="RX213", message="e", path="b", line=line) for line in (9, 2))
    text = render_all([warning, late, early])
    places = [line.strip() for line in text.splitlines() if "-->" in line]
    assert places == ["--> b:2", "--> b:9", "--> a:1"]
    assert text.splitlines()[-1] == "2 errors, 1 warning"
    assert render_all([]) == "0 errors, 0 warnings"


def test_json_and_back() -> None:
    assert Diagnostic.from_dict(json.loads(json.dumps(FULL.as_dict()))) == FULL
    small = Diagnostic(code="RX201", message="m")
    assert Diagnostic.from_dict(small.as_dict()) == small
    assert "path" not in small.as_dict()


def test_a_problem_knows_its_commit() -> None:
    assert FULL.at("f" * 40).commit == "f" * 40
    assert FULL.commit == "0123456789abcdef"


@given(st.text())
def test_printable_text_is_printable_and_keeps_letters(text: str) -> None:
    shown = printable(text)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert printable(shown) == shown
    assert [c for c in text if c.isalpha()] == [c for c in text if c.isalpha() and c in shown]


def test_what_a_newer_release_says_of_a_problem_is_left_out() -> None:
    problem = Diagnostic(code="RX220", message="m", edge="edge-1")
    assert Diagnostic.from_dict({**problem.as_dict(), "colour": "red"}) == problem
