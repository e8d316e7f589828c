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
from reconciler.diagnostics import Diagnostic, printable
from reconciler.history.keys import spoken
from reconciler.history.status import coded
from reconciler.history.timeline import counted, labelled, named, size
from reconciler.model.identity import EDGE_LABEL
from reconciler.web.problems import render_all
from reconciler.wording import general, grouped, named_of, names, of_all, together

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


def told_steps(steps: Iterable["Step"], *, each: bool = False) -> Iterator[list[tuple[str, str]]]:
    """What tells a step, or of steps that do the same all of them: see step_lines. each: one by one."""
    for _, alike in grouped(((_does(step), step) for step in steps), each=each):
        yield list(step_lines(*alike))


def step_lines(*alike: "Step") -> Iterator[tuple[str, str]]:
    """(what it is about: the action, "waits" or "", the text) of each line that tells steps that do the same, safe to
    print. Where they differ, as in their edge's address, each line has what all of them have.
    """
    step = alike[0]
    changes = list(enumerate(step.changes)) if step.action != "delete" else []
    version = ""
    if len(alike) > 1 and step.key.edge:  # the first line has the version, and the model
        version = next((f": version {_change(step, n)}" for n, change in changes if change.field == "version"), "")
        changes = [(n, change) for n, change in changes if change.field not in {"version", "model", "dataset"}]
    yield step.action, printable(f"{step.action} {_about(alike)}{version}")
    width = max((len(change.field) for _, change in changes), default=0)
    for n, change in changes:
        text = names({_change(one, n) for one in alike})
        yield "", printable(f"    {change.field:<{width}}  {text}")
    yield "", printable(f"    because: {of_all((_because(one), _own(one)) for one in alike)}")
    if step.waits:
        yield "waits", printable(f"    waits: {of_all((one.waits, _own(one)) for one in alike)}")


def _about(alike: Sequence["Step"]) -> str:
    """`InferenceModel/default/digits-edge-1@edge-1`; `digits on 20 edges (edge-1 … edge-20)`."""
    key, many = alike[0].key, len(alike)
    if many == 1:
        return spoken(key)
    if key.edge:
        on = f"on {many} edges ({names(step.key.edge for step in alike)})"
        return f"{labelled(key.kind, named(key, _spec(alike[0])))} {on}"
    return f"{many} of {key.kind} ({names(spoken(step.key) for step in alike)})"


def _spec(step: "Step") -> dict[str, Any]:
    """What is ordered, or, of what is to go, as far as it is told, what was."""
    return step.spec or {change.field: change.old for change in step.changes}


def _does(step: "Step") -> tuple[Any, ...]:
    """What a step does, whichever edge or object it is about."""
    key, own = step.key, _own(step)
    changes = tuple((change.field, general(_change(step, n), own)) for n, change in enumerate(step.changes))
    what = named(key, _spec(step)) if key.edge else key.kind
    told = changes if step.action != "delete" else ()
    return step.action, key.kind, key.namespace, what, told, general(_because(step), own), general(step.waits, own)


def _own(step: "Step") -> dict[str, str]:
    """What is a step's own, and its general name: the object, its edge and the edge's address."""
    labels, spec = step.spec.get("labels") or {}, step.spec.get("spec") or step.spec
    edge = step.key.edge or str(labels.get(EDGE_LABEL, ""))
    own = {str(spec.get("address") or ""): "ADDRESS", step.key.name: "NAME", edge: "EDGE"}
    return {name: kind for name, kind in own.items() if name}


def _change(step: "Step", n: int) -> str:
    change = step.changes[n]
    return f"{'' if step.action == 'create' else f'{value(change.old)} → '}{value(change.new)}"


def _because(step: "Step") -> str:
    return step.reason + (f" ({step.origin})" if step.origin else "")


def told_fetches(shown: Shown, *, each: bool = False) -> Iterator[tuple[str, str]]:
    """(edges, what each of them fetches), as much once."""
    for many, edges in grouped(((many, edge) for edge, many in shown.fetch_bytes.items()), each=each):
        amount = "an undeclared size" if many is None else size(many)
        yield named_of(edges), amount + (" each" if len(edges) > 1 else "")


def fetch_words(edges: str, amount: str) -> str:
    """`edge-1 … edge-20 (20) fetch 4.9 MiB each`."""
    return f"{edges} fetch{'' if amount.endswith(' each') else 'es'} {amount}"


def told_notes(shown: Shown, *, each: bool = False) -> Iterator[str]:
    """The notes; what is noted of many objects or edges once: each begins with whose note it is."""
    pairs = ((note.partition(" ")[2], note) for note in shown.notes)
    for rest, alike in grouped(pairs, each=each):
        if len(alike) == 1:
            yield alike[0]
            continue
        whose = [note.partition(" ")[0] for note in alike]
        colon = ":" if whose[0].endswith(":") else ""
        yield f"{named_of(one.removesuffix(':') for one in whose)}{colon} {rest}"


def told_refused(shown: Shown, *, each: bool = False) -> Iterator[str]:
    """What was ordered, is wanted still, and was refused by its edge, the same on many once."""

    def said(one: dict[str, Any]) -> str:
        waits = f"; {one['waits']}" if one.get("waits") else ""
        return f"version {one['version']} is {one['phase']}: {coded(one.get('code', ''), one['message'])}{waits}"

    pairs = (((one["model"], general(said(one), {one["edge"]: "EDGE"})), one) for one in shown.refused)
    for (model, _), alike in grouped(pairs, each=each):
        if len(alike) == 1:
            yield f"{alike[0]['edge']} {model}: {said(alike[0])}"
        else:
            is_all = len(alike) == sum(one["model"] == model for one in shown.refused)
            whole = [together(one["edge"], model) if is_all else {} for one in alike]
            text = of_all((said(one), own | {one["edge"]: "EDGE"}) for one, own in zip(alike, whole, strict=True))
            yield f"{model} on {len(alike)} edges ({names(one['edge'] for one in alike)}): {text}"


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


def markdown(shown: Shown, plan: "Plan", problems: Sequence[Diagnostic], *, each: bool = False) -> str:
    """A comment of at most COMMENT characters. each: what is alike is told one by one."""
    errors = sum(one.severity == "error" for one in problems)
    wrong = f", {errors} error{'s' * (errors != 1)}" if errors else ""
    title = f"### {'✋' if shown.held else '✗' if errors else '✓'} reconciler plan: {summary(shown)}{wrong}"
    lines = list(_cut(_told(shown, plan, problems, each=each), COMMENT - len(title) - 400))
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([MARK, title, "", f"{fence}diff", *lines, fence])


def _told(shown: Shown, plan: "Plan", problems: Sequence[Diagnostic], *, each: bool) -> Iterator[str]:
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
        yield from render_all(problems, each=each).splitlines()
    yield from (f"! check: {check}" for check in shown.checks)
    if shown.checked:
        yield f"check: {shown.checked}"
    yield from (f"! note: {note}" for note in told_notes(shown, each=each))
    yield from (f"! {text}" for text in told_refused(shown, each=each))
    for edges, amount in told_fetches(shown, each=each):
        yield fetch_words(edges, amount)
    signs = {"create": "+ ", "delete": "- ", "update": "! ", "waits": "! "}
    for lines in told_steps(plan.steps, each=each):
        yield ""
        yield from (f"{signs.get(about, '')}{text}" for about, text in lines)


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


def sarif(shown: Shown, plan: "Plan", problems: Sequence[Diagnostic], *, each: bool = True) -> str:  # noqa: ARG001
    """A SARIF 2.1.0 log: problems where they are, steps where they are asked for, each by itself."""
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
