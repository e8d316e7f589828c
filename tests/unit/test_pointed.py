"""A problem that planning finds shows its line, with a caret under what of it is meant."""

import pytest

from reconciler.diagnostics import Diagnostic
from reconciler.planning.refusals import pointed
from reconciler.web.problems import render


def at(code: str, text: str) -> str:
    """What is pointed at."""
    found = pointed(Diagnostic(code=code, message="m", path="a.yaml", line=3, column=1), text)
    return found.snippet[found.column - 1 :][: found.width]


@pytest.mark.parametrize(
    ("code", "text", "meant"),
    [
        ("RX220", "      servingPort: 8080", "8080"),
        ("RX220", "  spec: {modelRef: a, servingPort: 8080, x: 1}", "8080"),
        ("RX220", "      servingPort: 8080  # as ever", "8080"),
        ("RX215", "      modelRef: 'digits, large'", "'digits, large'"),
        ("RX215", '  defaultVersion: "9"', '"9"'),
        ("RX215", "    - {model: digits, version: '9'}", "'9'"),
        ("RX214", "metadata: {name: edge-1}", "edge-1"),
        ("RX221", "      sha256sum: abc", "abc"),
        ("RX227", "  edgeSelector: {matchLabels: {site: x}}", "{matchLabels: {site: x"),
        ("RX227", "  edgeSelector:", "edgeSelector:"),
        ("RX216", "    - dataset: parts\r\n", "parts"),
        ("RX299", "  - whatever stands there  ", "whatever stands there"),
    ],
)
def test_what_is_meant_is_pointed_at(code: str, text: str, meant: str) -> None:
    assert at(code, text) == meant


def test_the_caret_stands_below_it_also_behind_wide_characters() -> None:
    found = pointed(Diagnostic(code="RX220", message="m", path="a.yaml", line=3, column=1), "# 日本\tservingPort: 8080")
    _, _, line, caret = render(found).splitlines()[:4]
    assert line == " 3 | # 日本    servingPort: 8080"
    assert caret == "   | " + " " * (2 + 4 + 4 + len("servingPort: ")) + "^^^^"


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_of_a_line_that_is_empty_or_not_there_nothing_is_shown(text: str) -> None:
    problem = Diagnostic(code="RX220", message="m", path="a.yaml", line=3, column=1)
    assert pointed(problem, text) == problem


def test_a_secret_in_the_line_is_masked() -> None:
    found = pointed(Diagnostic(code="RX220", message="m", path="a.yaml", line=3), "u: https://a:hunter2@b/c")
    assert "hunter2" not in found.snippet
