"""A plan as Markdown for a pull request, and as SARIF for its annotations. May import: diagnostics, history.

In: what `plan` answers.  Out: text. What stands in a manifest is never Markdown, HTML, a mention or a link: in Markdown
all of it is in one fenced block, whose fence is longer than any in it; in SARIF the brackets of links are escaped.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import reconciler
from reconciler.diagnostics import Diagnostic, printable, render_all
from reconciler.history.keys import spoken
from reconciler.history.timeline import counted, size

if TYPE_CHECKING:
    from reconciler.planning.plan import Plan, Step

MARK: Final = "<!-- reconciler plan -->"  # by which a later run finds the comment that it takes the place of
COMMENT: Final = 60_000  # characters: GitHub's limit is 65,536, and a caller may add some
LINE: Final = 400
RESULTS: Final = 1_000  # GitHub shows at most 5,000 of a run
MESSAGE: Final = 1_000
SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class Shown:
    """What `plan` answers.

    unknown: why it is not known what is live, "" where it is.  of: what is planned, in words.  then: how many steps
    follow as the Fleet of the commit comes into force.  fetch_bytes: edge -> bytes that it will fetch, None where a
    size is not declared.  refused: what was ordered, is wanted still, and was refused by its edge.  notes: what else it
    brings about.  left_out: file -> why it is not read.  checks: what `--check` found.
    checked: what it looked at, in a line; "" where nobody asked.
    """

    unknown: str
    of: str
    commit: str
    uncommitted: tuple[str, ...]
    digest: str
    held: str
    counts: dict[str, int]
    then: dict[str, int]
    steps: tuple[dict[str, Any], ...]
    fetch_bytes: dict[str, int | None]
    refused: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    problems: tuple[dict[str, Any], ...]
    left_out: dict[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    checked: str = ""


def step_lines(step: "Step") -> Iterator[tuple[str, str]]:
    """(what it is about: the action, "waits" or "", the text) of each line that tells a step, safe to print."""
    yield step.action, printable(f"{step.action} {spoken(step.key)}")
    width = max((len(change.field) for change in step.changes), default=0)
    for change in step.changes if step.action != "delete" else ():
        old = "" if step.action == "create" else f"{value(change.old)} → "
        yield "", printable(f"    {change.field:<{width}}  {old}{value(change.new)}")
    where = f" ({step.origin})" if step.origin else ""
    yield "", printable(f"    because: {step.reason}{where}")
    if step.waits:
        yield "waits", printable(f"    waits: {step.waits}")


def value(said: object) -> str:
    """One value of a field, in short."""
    if said is None:
        return "(none)"
    if isinstance(said, bool):
        return "true" if said else "false"
    text = str(said)
    if len(text) > LINE:
        return f"{text[:LINE]}… ({len(text)} characters)"
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text or '""'


def summary(shown: Shown) -> str:
    """What a plan comes to, in numbers."""
    if not (shown.counts or shown.then):
        many = len(shown.refused)
        refused = f"{many} refused by {'its edge' if many == 1 else 'their edges'}"
        return f"nothing to order; {refused}" if many else "nothing to do"
    then = f"; {counted(shown.then)} as its Fleet comes into force" if shown.then else ""
    return f"{counted(shown.counts) if shown.counts else 'nothing at once'}{then}"


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def markdown(shown: Shown, plan: "Plan", problems: Sequence[Diagnostic]) -> str:
    """A comment of at most COMMENT characters."""
    errors = sum(one.severity == "error" for one in problems)
    wrong = f", {errors} error{'s' * (errors != 1)}" if errors else ""
    title = f"### {'✋' if shown.held else '✗' if errors else '✓'} reconciler plan: {summary(shown)}{wrong}"
    lines = list(_cut(_told(shown, plan, problems), COMMENT - len(title) - 400))
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([MARK, title, "", f"{fence}diff", *lines, fence])


def _told(shown: Shown, plan: "Plan", problems: Sequence[Diagnostic]) -> Iterator[str]:
    """Everything, what matters most first. In a diff a line that begins with + - or ! has a colour."""
    if shown.unknown:
        yield f"! {shown.unknown}"
    yield f"plan of {shown.of}"
    yield from (f"not committed yet: {path}" for path in shown.uncommitted)
    if shown.digest:
        yield f"digest {shown.digest}"
    if shown.held:
        yield f"! held: {shown.held}"
    if problems:
        yield ""
        yield from render_all(problems).splitlines()
    yield from (f"! check: {check}" for check in shown.checks)
    if shown.checked:
        yield f"check: {shown.checked}"
    yield from (f"! note: {note}" for note in shown.notes)
    for one in shown.refused:
        yield f"! {one['edge']} {one['model']}: version {one['version']} is {one['phase']}: {one['message']}"
    yield from (
        f"{edge} fetches {'an undeclared size' if n is None else size(n)}" for edge, n in shown.fetch_bytes.items()
    )
    signs = {"create": "+ ", "delete": "- ", "update": "! ", "waits": "! "}
    for step in plan.steps:
        yield ""
        yield from (f"{signs.get(about, '')}{text}" for about, text in step_lines(step))


def _cut(lines: Iterable[str], room: int) -> Iterator[str]:
    """The lines, made printable, each and all bounded; the last says how many are missing."""
    missing = 0
    for line in lines:
        text = printable(line[:LINE]) + ("…" if len(line) > LINE else "")
        room -= len(text) + 1
        if room < 0:
            missing += 1
        else:
            yield text
    if missing:
        yield f"… {missing} more lines: `reconciler plan` shows them"


# ── SARIF ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sarif(shown: Shown, plan: "Plan", problems: Sequence[Diagnostic]) -> str:
    """A SARIF 2.1.0 log: problems where they are, steps where they are asked for."""
    found = [
        _result(one.code, one.severity, f"{one.message}. {one.help}", (one.path, one.line, one.column))
        for one in sorted(set(problems), key=lambda one: (one.severity != "error", one.path, one.line, one.column))
    ]
    for step in plan.steps:
        path, _, line = step.origin.partition("@")[0].rpartition(":")
        text = "; ".join(text.strip() for _, text in step_lines(step))
        found.append(_result("plan", "note", text, (path, int(line) if line.isdigit() else 0, 0)))
    found += [_result("check", "warning", check) for check in shown.checks]
    if shown.unknown or shown.held:
        found.insert(0, _result("plan", "warning", shown.unknown or f"held: {shown.held}"))
    if len(found) > RESULTS:
        left = len(found) - RESULTS + 1
        found[RESULTS - 1 :] = [_result("plan", "warning", f"{left} more: `reconciler plan` shows them")]
    rules = [{"id": name} for name in sorted({one["ruleId"] for one in found})]
    driver = {"name": "reconciler", "version": reconciler.__version__, "rules": rules}
    run = {"tool": {"driver": driver}, "results": found, "columnKind": "unicodeCodePoints"}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False)


def _result(rule: str, level: str, text: str, place: tuple[str, int, int] = ("", 0, 0)) -> dict[str, Any]:
    """place: path, line and column; 0 where that is not known."""
    path, line, column = place
    escaped = re.sub(r"([\\\[\]])", r"\\\1", printable(text))[:MESSAGE]
    found: dict[str, Any] = {"ruleId": rule, "level": level, "message": {"text": escaped}}
    if path:
        where: dict[str, Any] = {"artifactLocation": {"uri": quote(path), "uriBaseId": "%SRCROOT%"}}
        if line:
            where["region"] = {"startLine": line} | ({"startColumn": column} if column else {})
        found["locations"] = [{"physicalLocation": where}]
    return found


FORMS: Final = {"markdown": markdown, "sarif": sarif}
