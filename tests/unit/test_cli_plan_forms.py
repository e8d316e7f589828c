"""A plan as Markdown and SARIF: what a manifest says stays text, and both are bounded."""

import json
import re
from typing import Any

import pytest

from reconciler.cli import plan_forms
from reconciler.cli.plan_forms import Shown, told_steps
from reconciler.diagnostics import Diagnostic
from reconciler.history.keys import Key
from reconciler.planning.diff import FieldChange
from reconciler.planning.plan import Plan, Step

HOSTILE = [
    "@everyone",
    "#1",
    "https://evil.example.com",
    "<img src=x onerror=alert(1)>",
    "```\n</details>@admin",
    "`` ` ```` ```diff",
    "| a | b |",
    "[click](javascript:alert(1))",
    "![x](https://evil.example.com/x.png)",
    "line\nbreak\r\nand\x1b[31m red",
    "~~~",
    "# heading",
    "a\u202eb",
]


def step(name: str, value: object = "2", reason: str = "the default version", origin: str = "a.yaml:6") -> Step:
    key = Key("InferenceModel", "default", name, "e1")
    return Step(key, "update", {}, {}, (FieldChange("version", "1", value),), reason, origin)


def shown(plan: Plan, **said: Any) -> Shown:
    empty: dict[str, Any] = dict.fromkeys(("uncommitted", "steps", "refused", "notes", "problems"), ())
    words = dict.fromkeys(("unknown", "of", "commit", "digest", "held"), "")
    return Shown(**{**empty, **words, "counts": plan.counts, "then": {}, "fetch_bytes": {}, **said})


def fenced(text: str) -> tuple[str, str]:
    """(what stands outside of the one fenced block, what stands within)."""
    lines = text.split("\n")
    fence = next(line for line in lines if line.startswith("```")).removesuffix("diff")
    begin, end = lines.index(f"{fence}diff"), lines.index(fence)
    inside = lines[begin + 1 : end]
    assert all(len(run) < len(fence) for run in re.findall("`+", "\n".join(inside)))
    return "\n".join([*lines[:begin], *lines[end + 1 :]]), "\n".join(inside)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_manifest_says_is_never_markdown(text: str) -> None:
    plan = Plan((step(text, text, text, f"{text}:6"),))
    problem = Diagnostic(code="RX201", message=text, path=text, line=1, column=1, snippet=text, help=text)
    refused = {"edge": text, "model": text, "version": text, "phase": "Rejected", "message": text}
    said = shown(plan, of=text, held=text, unknown=text, notes=(text,), uncommitted=(text,), refused=(refused,))
    outside, inside = fenced(plan_forms.markdown(said, plan, [problem]))
    assert outside == "<!-- reconciler plan -->\n### ✋ reconciler plan: 1 to update, 1 error\n"
    assert inside.isprintable() or set(re.sub(r"[^\n]", "", inside)) == {"\n"}
    assert "\x1b" not in inside
    assert "\u202e" not in inside


def test_a_comment_is_read_as_the_plan_is() -> None:
    plan = Plan((step("digits"),))
    outside, inside = fenced(plan_forms.markdown(shown(plan, of="branch main at c0ffee", digest="ab12"), plan, []))
    assert outside.startswith("<!-- reconciler plan -->\n### ✓ reconciler plan: 1 to update\n")
    assert inside == (
        "plan of branch main at c0ffee\ndigest ab12\n\n! update InferenceModel/default/digits@e1\n"
        "    version  1 → 2\n    because: the default version (a.yaml:6)"
    )


def test_a_comment_has_room_in_a_pull_request_and_says_what_is_missing() -> None:
    plan = Plan(tuple(step(f"{'`' * n}m{n}", "x" * 100_000) for n in range(2000)))
    text = plan_forms.markdown(shown(plan, held="too much"), plan, [])
    assert len(text) <= plan_forms.COMMENT
    _, inside = fenced(text)
    assert "! held: too much" in inside
    assert re.fullmatch(r"… \d+ more lines: `reconciler plan` shows them", inside.splitlines()[-1])


@pytest.mark.parametrize("text", HOSTILE)
def test_sarif_has_what_a_manifest_says_as_plain_text(text: str) -> None:
    plan = Plan((step(text, text),))
    problem = Diagnostic(code="RX201", message=text, path=f"a b/{text}", line=3, column=2)
    log = json.loads(plan_forms.sarif(shown(plan), plan, [problem]))
    run = log["runs"][0]
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "reconciler")
    for one in run["results"]:
        assert not re.search(r"(?<!\\)[\[\]]", one["message"]["text"].replace("\\\\", ""))
        assert one["message"]["text"].isprintable() or "\t" in one["message"]["text"]
    first, second = run["results"]
    assert (first["level"], second["level"]) == ("error", "note")
    place = first["locations"][0]["physicalLocation"]
    assert re.fullmatch(r"[A-Za-z0-9%/._~-]+", place["artifactLocation"]["uri"])
    assert place["region"] == {"startLine": 3, "startColumn": 2}
    assert second["locations"][0]["physicalLocation"]["region"] == {"startLine": 6}
    assert {one["id"] for one in run["tool"]["driver"]["rules"]} == {"RX201", "plan"}


def test_sarif_is_bounded_and_says_so() -> None:
    plan = Plan(tuple(step(f"m{n}", "x" * 10_000) for n in range(3000)))
    results = json.loads(plan_forms.sarif(shown(plan), plan, []))["runs"][0]["results"]
    assert len(results) == plan_forms.RESULTS
    assert results[-1]["message"]["text"] == "2001 more: `reconciler plan` shows them"
    assert max(len(one["message"]["text"]) for one in results) <= plan_forms.MESSAGE


def test_a_name_that_all_have_is_told_as_it_is() -> None:
    change = (FieldChange("version", None, "1"),)
    steps = [
        Step(
            Key("Dataset", "default", "digits", f"edge-{n}"),
            "create",
            {"address": f"10.0.0.{n}"},
            {},
            change,
            f"the default version of digits, for edge-{n}",
            "datasets/digits.yaml:14",
        )
        for n in range(5)
    ]
    (lines,) = told_steps(steps)
    assert lines[-1][1] == "    because: the default version of digits, for EDGE (datasets/digits.yaml:14)"
