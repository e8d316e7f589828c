"""`reconciler plan`: look before you leap."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import forms, repository, where
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.diagnostics import Diagnostic
    from reconciler.history.state import State
    from reconciler.planning.plan import Plan, Step
    from reconciler.wiring.preview import Preview

DIFFERENCES, REFUSED = 1, 3
STAYS: Final = 10  # objects that are named of which a field stays
NO_POLICY: Final = "no Fleet is declared any more: its limits and permissions go back to the defaults"


@dataclass(frozen=True)
class Shown:
    """What `plan` answers.

    fetch_bytes: edge -> bytes that it will fetch, None where a size is not declared.  refused: what was ordered, is
    wanted still, and was refused by its edge.  notes: what else it brings about.  left_out: file -> why it is not read.
    """

    commit: str
    uncommitted: tuple[str, ...]
    digest: str
    held: str
    counts: dict[str, int]
    steps: tuple[dict[str, Any], ...]
    fetch_bytes: dict[str, int | None]
    refused: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    problems: tuple[dict[str, Any], ...]
    left_out: dict[str, str]


@click.command(epilog="Example: reconciler plan --repo . && echo nothing to do")
@repository
@where
@click.option("--verbose", "-v", is_flag=True, help="Name the files that are left out, and why.")
@forms
def command(*, where: Where, form: str, verbose: bool, **about: str | None) -> int:
    """Show what would change for which edge, why, and what it costs. Changes nothing.

    With --context: against the objects of that cluster, of which only those concerned are read; where no repository
    is named, as with --hub, the plan that is held there. A local work tree is taken as it is on disk, committed or
    not. Exit codes: 0 nothing to do, 1 there are changes, or some wait or were refused by an edge, 3 a document is
    refused, more: an error.
    """
    from reconciler.cli.followed import followed, names_a_repository
    from reconciler.diagnostics import Diagnostic
    from reconciler.wiring.preview import preview

    if where.hub or (where.in_cluster and not names_a_repository(about)):
        return _held(where, about, form)
    settings = followed(where.state_dir, **about, context=where.context or None, kubeconfig=where.kubeconfig)
    with preview(settings, uncommitted=True) as ahead:
        plan = ahead.plan()
        problems = [Diagnostic.from_dict(one) for one in ahead.state.all_problems]
        shown = Shown(
            commit=ahead.head,
            uncommitted=ahead.uncommitted,
            digest=plan.digest if plan.steps else "",
            held=plan.held,
            counts=plan.counts,
            steps=tuple(_step(step) for step in plan.steps),
            fetch_bytes=fetched(plan),
            refused=tuple(_refused(plan, ahead.state)),
            notes=tuple(_notes(ahead)),
            problems=tuple(problem.as_dict() for problem in problems),
            left_out=ahead.left_out(),
        )
    if form == "table":
        _show_left_out(shown.left_out, verbose=verbose)
        _show(shown, plan, problems)
    else:
        from reconciler.cli.output import write

        write(form, "Plan", shown)
    if any(problem.severity == "error" for problem in problems):
        return REFUSED
    return DIFFERENCES if plan.steps or shown.refused else 0


def _held(where: Where, about: Mapping[str, str | None], form: str) -> int:
    """Show what waits for approval elsewhere. Raises UsageError where a repository is named too."""
    from reconciler.errors import UsageError
    from reconciler.history.timeline import counted

    if any(about.values()):
        raise UsageError("--hub shows the plan that is held there, made in the hub's own repository")
    held = where.ask("plan", {}).held
    if form != "table":
        from reconciler.cli.output import write

        write(form, "HeldPlan", {"held": held})
    else:
        from reconciler.cli.draw import line
        from reconciler.diagnostics import printable

        for key in held.keys if held else ():
            line(printable(key))
        said = f"plan {held.digest} is held: {held.reason} ({counted(held.counts)})" if held else "no plan is held"
        line(printable(said), "yellow" if held else "")
        if held:
            line(f" help: `reconciler approve {held.digest}` releases it")
    return DIFFERENCES if held else 0


def _step(step: "Step") -> dict[str, Any]:
    return {
        "key": str(step.key),
        "edge": step.key.edge,
        "action": step.action,
        "changes": [{"field": one.field, "old": one.old, "new": one.new} for one in step.changes],
        "reason": step.reason,
        "origin": step.origin,
        "fetchBytes": step.fetch_bytes,
        "waits": step.waits,
    }


def _notes(ahead: "Preview") -> Iterator[str]:
    from reconciler.history.events import rfc3339
    from reconciler.history.keys import spoken
    from reconciler.history.state import switch
    from reconciler.history.status import status

    ref = ahead.state.ref
    if said := switch(ref.switched, ref.source):
        yield said
    if ahead.loses_policy:
        yield NO_POLICY
    yield from _stays(ahead.state)
    for edge, known in sorted(ahead.state.edges.items()):
        if known.refusal:
            yield f"{edge} takes no orders from this log: {known.refusal}"
    for one in status(ahead.state, rfc3339(time())).objects:
        if one.drift:
            yield f"{spoken(one.key)} is left as it is: {one.drift}"


def _stays(state: "State") -> Iterator[str]:
    """What of objects was answered otherwise than it was asked for, and whose it is: it is not tried again."""
    from reconciler.history.keys import DECLARE, spoken
    from reconciler.history.timeline import stays_words

    said = {text: stays_words(served.live) for text, served in sorted(state.stage(DECLARE).keys.items())}
    found = [f"{spoken(text)}: {words}" for text, words in said.items() if words]
    yield from found[:STAYS]
    if len(found) > STAYS:
        yield f"and {len(found) - STAYS} objects more of which something stays: `reconciler status`"


def _refused(plan: "Plan", state: "State") -> Iterator[dict[str, Any]]:
    from reconciler.history.status import refused_rows

    planned = {str(step.key) for step in plan.steps}
    for row in refused_rows(state, state.time):
        if row.key not in planned:
            said = {name: getattr(row, name) for name in ("key", "edge", "model", "phase", "code", "message", "waits")}
            yield said | {"version": row.wanted}


def fetched(plan: "Plan") -> dict[str, int | None]:
    """What each edge will fetch: bytes of one digest once, None as soon as one size is not declared."""
    sizes: dict[str, dict[str, int | None]] = {}
    for step in plan.steps:
        if not step.waits and step.fetch_bytes != 0:
            sizes.setdefault(step.key.edge, {})[str(step.spec.get("sha256") or step.key)] = step.fetch_bytes
    return {
        edge: None if None in each.values() else sum(n or 0 for n in each.values())
        for edge, each in sorted(sizes.items())
    }


def _show(shown: Shown, plan: "Plan", problems: "Sequence[Diagnostic]") -> None:
    from reconciler.cli.draw import line, table
    from reconciler.diagnostics import printable, render_all
    from reconciler.history.timeline import counted, size

    for path in shown.uncommitted:
        click.echo(f"not committed yet: {path}", err=True)
    for step in plan.steps:
        _show_step(step)
    if shown.fetch_bytes:
        table(
            ("EDGE", "FETCHES"),
            ((edge, "an undeclared size" if n is None else size(n)) for edge, n in shown.fetch_bytes.items()),
        )
        line("")
    for note in shown.notes:
        line(f"note: {note}\n", "yellow")
    for one in shown.refused:
        said = f"note: {one['edge']} {one['model']}: version {one['version']} is {one['phase']}: {one['code']}: "
        line(printable(f"{said}{one['message']}{'; ' if one['waits'] else ''}{one['waits']}") + "\n", "yellow")
    if problems:
        line(render_all(problems) + "\n")
    named = f"plan {plan.digest}" if any(not step.waits for step in plan.steps) else "plan"
    line(f"{named}: {counted(plan.counts)}" if plan.steps else _nothing(shown))
    if plan.held:
        line(f"held: {plan.held}", "yellow")
        line(f" help: `reconciler approve {plan.digest}` releases it once a reconciler has read the commit")


def _show_left_out(left: Mapping[str, str], *, verbose: bool) -> None:
    from reconciler.diagnostics import printable

    for path, why in left.items() if verbose else ():
        click.echo(printable(f"left out: {path}: {why}"), err=True)
    if left and not verbose:
        click.echo(f"{len(left)} file{'s' * (len(left) != 1)} left out, of other tools (-v names them)", err=True)


def _nothing(shown: Shown) -> str:
    many = len(shown.refused)
    return (
        f"nothing to order; {many} refused by {'its edge' if many == 1 else 'their edges'}" if many else "nothing to do"
    )


def _show_step(step: "Step") -> None:
    from reconciler.cli.draw import STYLES, line
    from reconciler.diagnostics import printable
    from reconciler.history.keys import spoken

    line(printable(f"{step.action} {spoken(step.key)}"), STYLES.get(step.action, ""))
    width = max((len(change.field) for change in step.changes), default=0)
    for change in step.changes if step.action != "delete" else ():
        old = "" if step.action == "create" else f"{_value(change.old)} → "
        line(printable(f"    {change.field:<{width}}  {old}{_value(change.new)}"))
    where = f" ({step.origin})" if step.origin else ""
    line(printable(f"    because: {step.reason}{where}"))
    if step.waits:
        line(printable(f"    waits: {step.waits}"), "yellow")
    line("")


def _value(value: object) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text or '""'
