"""What pages list is what the code has, both ways: exit codes, routes, metrics, alerts; every page can be found."""

import re
from pathlib import Path

import pytest
import yaml

from reconciler.cli import main
from reconciler.cli.wait import CODES
from reconciler.errors import error_classes
from reconciler.web.answers import QUESTIONS
from reconciler.web.api import BASIS, HISTORY
from reconciler.web.records import Record
from tests.documentation import PAGES, ROOT

DOCS = ROOT / "docs"
EXITS = (DOCS / "exit-codes.md").read_text()
HTTP = (DOCS / "http-api.md").read_text()


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose head begins so."""
    (table,) = re.findall(rf"^\| {re.escape(head)} \|.*?(?=\n\n)", page + "\n\n", re.MULTILINE | re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


# ── exit codes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_exit_codes_are_those_of_the_guard() -> None:
    listed = {int(row[0]) for row in rows(EXITS, "exit code")}
    told = re.findall(r"(?:^|    )(\d+) ", (main.__doc__ or "").partition("\n\n    ")[2], re.MULTILINE)
    assert listed == {int(code) for code in told}
    assert {main.BUG, main.INTERRUPTED, main.UNREAD} <= listed
    assert set(CODES.values()) <= listed


def test_each_error_ends_as_the_table_says() -> None:
    table = {int(row[0]): [code.strip() for code in row[2].split(",") if code] for row in rows(EXITS, "exit code")}
    for cls in error_classes():
        if cls.__module__ == "reconciler.errors":
            begins = {code: exit_ for exit_, codes in table.items() for code in codes if cls.code.startswith(code)}
            assert begins[max(begins, key=len)] == cls.exit_code, cls


# ── the listener ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_routes_are_those_that_there_are() -> None:
    listed = [row[0].strip("`") for row in rows(HTTP, "route")]
    source = (ROOT / "reconciler/web/api.py").read_text()
    fixed = re.findall(r'Route\("([^"]+)"', source)
    assert len(listed) == len(set(listed))
    assert set(listed) == {*fixed, *(f"/api/v1/{name}" for name in QUESTIONS)}


def test_the_parameters_are_those_that_each_route_takes() -> None:
    takes = {name: asked.arguments for name, asked in QUESTIONS.items()} | {"history": HISTORY, "basis": BASIS}
    listed: dict[str, set[str]] = {name: set() for name in takes}
    for names, of, _ in rows(HTTP, "parameter"):
        for route in of.split(", "):
            listed[route] |= set(re.findall(r"`(\w+)`", names))
    assert listed == takes


def test_an_event_has_the_fields_that_it_has() -> None:
    (shown,) = re.findall(r'```json\n(\{"schemaVersion": 1, "kind": "Event".*?)```', HTTP, re.DOTALL)
    fields = set(re.findall(r'"(\w+)":', shown)) - {"schemaVersion", "kind"}
    assert fields <= set(Record.__dataclass_fields__)


def metrics_in_the_code() -> set[str]:
    """Names as they are exposed."""
    source = (ROOT / "reconciler/web/metrics.py").read_text()
    suffixes = {"Counter": "_total", "Info": "_info", "Gauge": "", "Histogram": ""}
    families = re.findall(r'(Counter|Info|Gauge|Histogram)MetricFamily\(\s*PREFIX \+ "(\w+)"', source)
    found = {f"reconciler_{name}{suffixes[kind]}" for kind, name in families}
    found |= {f"reconciler_{name}" for name in re.findall(r'_gauge\(\s*"(\w+)"', source)}
    return found | {f"reconciler_{name}_total" for name in re.findall(r'_counter\(\s*"(\w+)"', source)}


def test_the_metrics_are_those_that_there_are() -> None:
    listed = {row[0].strip("`") for row in rows(HTTP, "metric")}
    assert len(metrics_in_the_code()) > 20
    assert listed == metrics_in_the_code() | {"reconciler_process_…"}


def test_alerts_are_about_metrics_that_there_are() -> None:
    (text,) = re.findall(r"```yaml\n(groups:.*?)```", HTTP, re.DOTALL)
    (group,) = yaml.safe_load(text)["groups"]
    assert len(group["rules"]) == 5
    for rule in group["rules"]:
        assert rule.keys() >= {"alert", "expr", "annotations"}
        named = set(re.findall(r"reconciler_\w+", rule["expr"]))
        assert named
        assert named <= metrics_in_the_code()


# ── the index ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if "decisions" not in page.parts}
    assert pages - {"README.md"} <= set(re.findall(r"\]\(([^)#]+)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
