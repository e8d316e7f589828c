"""`reconciler plan`: look before you leap."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import forms, one_by_one, repository, where
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.cli.plan_forms import Shown
    from reconciler.diagnostics import Diagnostic
    from reconciler.history.state import State
    from reconciler.planning.plan import Plan, Step
    from reconciler.settings import Settings
    from reconciler.wiring.basis import Hub
    from reconciler.wiring.preview import Preview

DIFFERENCES, REFUSED = 1, 3
STAYS: Final = 10  # objects that are named of which a field stays
NO_POLICY: Final = "no Fleet is declared any more: its limits and permissions go back to the defaults"
UNSEEN: Final = "it cannot be told"
UNKNOWN: Final = "nothing is known of what is live"


def _forms(command: Any) -> Any:
    return forms(command, ("markdown", "sarif"))


@click.command(epilog="Example: reconciler plan --repo . && echo nothing to do")
@click.option("--check", is_flag=True, help="Look whether new URLs are there and have their size, and ports are free.")
@repository
@where
@click.option("--verbose", "-v", is_flag=True, help="Name the files that are left out, and why.")
@one_by_one
@_forms
def command(*, where: Where, form: str, check: bool, verbose: bool, each: bool, **about: str | None) -> int:
    """Show what would change for which edge, why, and what it costs. Changes nothing.

    A local work tree is taken as it is checked out, on whatever branch, committed or not; with --branch that branch.
    With --hub and --repo: against what that hub knows, from anywhere; --hub alone shows the plan that is held there.
    With --context: against the objects of that cluster and what the hub in it knows; where no repository is named the
    plan that is held there. Exit codes: 0 nothing to do, 1 there are changes, or some wait or were refused by an edge,
    3 a document is refused, or what --check looked at is not as declared, more: an error.
    """
    from reconciler.cli.followed import names_a_repository

    if where.hub and not (about["repo"] or about["branch"] or about["path"]):
        return _held(where, form, each=each)
    if where.in_cluster and not names_a_repository(about):
        return _held(where, form, each=each)
    shown, plan, problems = _planned(where, about, check=check)
    match form:
        case "table":
            _show_left_out(shown.left_out, verbose=verbose)
            _show(shown, plan, problems, each=each)
        case "markdown" | "sarif":
            from reconciler.cli import plan_forms

            print(plan_forms.FORMS[form](shown, plan, problems, each=each))
        case _:
            from reconciler.cli.output import write

            write(form, "Plan", shown)
    if any(problem.severity == "error" for problem in problems) or any(map(_is_wrong, shown.checks)):
        return REFUSED
    return DIFFERENCES if plan.steps or shown.refused else 0


def _is_wrong(check: str) -> bool:
    return not check.startswith(UNSEEN)


def _planned(where: Where, about: Mapping[str, str | None], *, check: bool) -> "tuple[Shown, Plan, list[Diagnostic]]":
    """The plan; with a hub elsewhere again as long as that goes on meanwhile. Raises WorldUnavailable."""
    from reconciler.errors import WorldUnavailable
    from reconciler.wiring.basis import MOVED, Moved
    from reconciler.wiring.preview import preview

    for _ in range(MOVED):
        settings, hub, unknown = _settled(where, about)
        with preview(settings, uncommitted=True, is_named=bool(about["branch"]), hub=hub) as ahead:
            try:
                plan = ahead.plan()
            except Moved:
                continue
            shown, every, problems = _told(ahead, plan, unknown)
            if check:
                from reconciler.cli.plan_check import checked

                found, looked = checked(every.steps, ahead.state, here=hub is None and not settings.has_cluster)
                said = tuple(one.text if one.is_wrong else f"{UNSEEN}: {one.text}" for one in found)
                shown = replace(shown, checks=said, checked=looked)
            return shown, every, problems
    raise WorldUnavailable("the hub went on each time while it was asked", hint="ask again when less is under way")


def _settled(where: Where, about: Mapping[str, str | None]) -> "tuple[Settings, Hub | None, str]":
    """(which repository, what a hub elsewhere knows, why nothing is known of what is live)."""
    from reconciler.cli.followed import followed, settings_of
    from reconciler.edge.paths import StateDirectory
    from reconciler.errors import AnswerRefused, HubUnreachable, RightMissing, UsageError
    from reconciler.wiring.basis import Hub

    log = StateDirectory(where.state_dir).hub.log
    name_it = "Name the hub: --repo . --hub URL, or its --state directory."
    if where.hub:
        if not about["repo"]:
            raise UsageError("which repository is planned?", hint="add --repo ., in a clone of what the hub follows")
        hub = Hub(where.basis)
        named = {name: about[name] or getattr(hub.basis, name) for name in ("branch", "path")}
        return settings_of({"repo": about["repo"], "state_dir": where.state_dir, **named}), hub, ""
    settings = followed(
        where.state_dir,
        repo=about["repo"],
        branch=about["branch"],
        path=about["path"],
        context=where.context or None,
        kubeconfig=where.kubeconfig,
    )
    if log.exists():
        return settings, None, ""
    if not where.in_cluster:
        return settings, None, f"{UNKNOWN} (no log in {where.state_dir}): everything is shown as new. {name_it}"
    if where.context:
        try:
            return settings, Hub(where.basis), ""
        except (HubUnreachable, RightMissing, AnswerRefused) as absent:
            why = f"{absent.message}; no log in {where.state_dir}"
            return settings, None, f"nothing is known of what a hub holds back or was told ({why}). {name_it}"
    return (
        settings,
        None,
        f"nothing is known of what a hub holds back or was told (no log in {where.state_dir}). {name_it}",
    )


def _told(ahead: "Preview", plan: "Plan", unknown: str) -> "tuple[Shown, Plan, list[Diagnostic]]":
    from reconciler.cli.plan_forms import Shown
    from reconciler.diagnostics import Diagnostic
    from reconciler.planning.plan import place

    problems = [*(Diagnostic.from_dict(one) for one in ahead.state.all_problems), *ahead.warnings()]
    every = replace(plan, steps=(*sorted(plan.steps, key=place), *sorted(ahead.then.steps, key=place)))
    shown = Shown(
        unknown=unknown,
        of=_of(ahead),
        commit=ahead.head,
        uncommitted=ahead.uncommitted,
        digest=plan.digest if plan.steps else "",
        held=plan.held,
        counts=plan.counts,
        then=ahead.then.counts,
        steps=tuple(_step(step) for step in every.steps),
        fetch_bytes=fetched(every),
        refused=tuple(_refused(every, ahead.state)),
        notes=tuple(_notes(ahead)),
        problems=tuple(problem.as_dict() for problem in problems),
        left_out=ahead.left_out(),
    )
    return shown, every, problems


def _of(ahead: "Preview") -> str:
    """What is planned, in words: which branch or commit, and how far it is from the one that is followed."""
    mirror, head = ahead.mirror, ahead.head[:12]
    if ahead.checked_out is None:
        return f"branch {mirror.branch} of {mirror.remote} at {head}"
    dirty = len(ahead.uncommitted)
    files = f" with {dirty} file{'s' * (dirty != 1)} not committed yet" if dirty else ""
    said = (f"branch {ahead.checked_out} at {head}" if ahead.checked_out else f"commit {head}, on no branch") + files
    far, base = ahead.distance
    known = f"{mirror.branch} ({base[:12]}, " + ("as it was read last)" if ahead.followed else "as this clone has it)")
    if not base:
        return f"{said}; this clone has no branch {mirror.branch} to compare with"
    if far is None:
        return f"{said}; how far that is from {known} cannot be seen in this clone"
    parts = [f"{n} commit{'s' * (n != 1)} {where} of" for n, where in zip(far, ("ahead", "behind"), strict=True) if n]
    if parts:
        return f"{said}, {' and '.join(parts)} {known}".replace("behind of", "behind")
    return f"{said}; that commit was read last" if ahead.followed else f"{said}; that commit is {mirror.branch}"


def _held(where: Where, form: str, *, each: bool) -> int:
    """Show what waits for approval elsewhere."""
    from reconciler.cli.options import require_with
    from reconciler.errors import UsageError
    from reconciler.history.keys import Key
    from reconciler.history.timeline import counted
    from reconciler.wording import grouped, named_of

    if form in {"markdown", "sarif"}:
        raise UsageError(f"--output {form} is of a plan made here", hint="add --repo .")
    for option in ("check", "verbose"):
        require_with(option, other="--repo: the plan that is held was made elsewhere", is_there=False)
    held = where.ask("plan", {}).held
    if form != "table":
        from reconciler.cli.output import write

        write(form, "HeldPlan", {"held": held})
    else:
        from reconciler.cli.draw import line
        from reconciler.diagnostics import printable

        alike = grouped(((Key.parse(key).kind, key) for key in (held.keys if held else ())), each=each)
        for _, keys in alike:
            line(printable(named_of(keys)))
        options = {"--hub": where.hub, "--context": where.context, "--kubeconfig": str(where.kubeconfig or "")}
        place = " ".join(f"{option} {value}" for option, value in options.items() if value)
        click.echo(
            "only the plan that is held there was asked for, and no work tree was looked at: "
            f"`reconciler plan --repo . {place}` plans one",
            err=True,
        )
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
    from reconciler.history.status import object_rows

    ref = ahead.state.ref
    if said := switch(ref.switched, ref.source):
        yield said
    if ahead.loses_policy:
        yield NO_POLICY
    yield from _stays(ahead.state)
    yield from ahead.remarks()
    for edge, known in sorted(ahead.state.edges.items()):
        if known.refusal:
            yield f"{edge} takes no orders from this log: {known.refusal}"
    for one in object_rows(ahead.state, rfc3339(time())):
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
    from reconciler.natural import natural

    sizes: dict[str, dict[str, int | None]] = {}
    for step in plan.steps:
        if not step.waits and step.fetch_bytes != 0:
            sizes.setdefault(step.key.edge, {})[str(step.spec.get("sha256") or step.key)] = step.fetch_bytes
    return {
        edge: None if None in each.values() else sum(n or 0 for n in each.values())
        for edge, each in sorted(sizes.items(), key=lambda one: natural(one[0]))
    }


def _show(shown: "Shown", plan: "Plan", found: "Sequence[Diagnostic]", *, each: bool) -> None:
    from reconciler.cli.draw import STYLES, line, problems, table
    from reconciler.cli.plan_forms import fetch_words, summary, told_fetches, told_notes, told_refused, told_steps
    from reconciler.diagnostics import printable

    for path in shown.uncommitted:
        click.echo(f"not committed yet: {printable(path)}", err=True)
    if shown.unknown:
        line(printable(shown.unknown), "yellow")
    line(printable(f"plan of {shown.of}") + "\n")
    for lines in told_steps(plan.steps, each=each):
        for about, text in lines:
            line(text, "yellow" if about == "waits" else STYLES.get(about, ""))
        line("")
    fetches = list(told_fetches(shown, each=each))
    if len(fetches) > 1:
        table(("EDGE", "FETCHES"), fetches)
        line("")
    for edges, amount in fetches if len(fetches) == 1 else ():
        line(fetch_words(edges, amount))
    for note in told_notes(shown, each=each):
        line(f"note: {note}\n", "yellow")
    for check in shown.checks:
        line(printable(f"check: {check}") + "\n", "yellow")
    if shown.checked:
        line(f"check: {shown.checked}\n")
    for refused in told_refused(shown, each=each):
        line(printable(f"note: {refused}") + "\n", "yellow")
    if found:
        problems(found, each=each)
        line("")
    named = f"plan {shown.digest}" if shown.digest and any(not step.waits for step in plan.steps) else "plan"
    wrong = sum(one.severity == "error" for one in set(found))
    mend = f"; mend the {f'{wrong} errors' if wrong > 1 else 'error'} above, and plan again" if wrong else ""
    said = summary(shown) if shown.counts or shown.then or shown.refused or not wrong else "nothing else to do"
    line((f"{named}: {said}" if plan.steps else said) + mend)
    if plan.held:
        line(f"held: {plan.held}", "yellow")
        line(f" help: `reconciler approve {shown.digest}` releases it once a reconciler has read the commit")


def _show_left_out(left: Mapping[str, str], *, verbose: bool) -> None:
    from reconciler.diagnostics import printable

    for path, why in left.items() if verbose else ():
        click.echo(printable(f"left out: {path}: {why}"), err=True)
    if left and not verbose:
        click.echo(f"{len(left)} file{'s' * (len(left) != 1)} left out, of other tools (-v names them)", err=True)
