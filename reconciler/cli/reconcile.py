"""`reconciler reconcile`: look now, and try again what was refused or waits."""

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import Duration, forms, one_by_one, where
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.history.awaited import Awaited
    from reconciler.history.status import Status


@click.command(epilog="Example: reconciler reconcile edge-1 digits --wait")
@click.argument("scope", required=False)
@click.argument("model", required=False)
@click.option("--wait", is_flag=True, help="Until it was looked at, and what that ordered is done or cannot be.")
@click.option("--timeout", "timeout_s", type=Duration(), default=60.0, show_default=True, help="For that.")
@one_by_one
@where
@forms
def command(
    *, scope: str | None, model: str | None, wait: bool, timeout_s: float, each: bool, where: Where, form: str
) -> int:
    """Have the running reconciler look now at SCOPE, and try now what of it was refused or waits for the world.

    SCOPE is an edge, with a MODEL of it or without, or an object as im/faces or InferenceModel/default/faces; without
    one, the repository and everything. What is held back for its content is not tried: that is for `release`. The exit
    codes with --wait are those of `reconciler wait`.
    """
    from reconciler.cli.scopes import scope_of
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    spelled = [*(["--wait"] if wait else []), *(["--", scope] if scope else []), *([model] if model else [])]
    named = scope_of(scope)
    answer = ask(where, "reconcile", spelled, scope=named, model=model, wait=wait)
    what = " ".join(filter(None, (scope, model))) or "everything"
    told = {"scope": scope or "*"} | ({"model": model} if model else {})
    if where.actor:  # the command that called this one waits, and tells
        answered(form, "Reconciliation", {**told, **answer}, what)
        return 0
    if not wait:
        seen = where.ask("status", {})
        left = _left(seen, named, model, each=True)
        words = "".join(f"\n  {one}" for one in _left(seen, named, model, each=each))
        answered(form, "Reconciliation", {**told, "asked": True, "left": left}, f"it looks at {what} now{words}")
        return 0
    held = f"; the plan is held: {answer['held']}" if answer.get("held") else ""
    words = f"looked at {what}: {counted(answer['counts'])}{held}"
    seen = _served(where, {"edge": _edge(named), "model": model or ""}, timeout_s, shows=form == "table")
    return _tell(seen, form, {**told, **answer}, words, each=each)


def _edge(scope: str) -> str:
    """The edge or object that an answer is to be about; "" for all there is, also of a set, which is many."""
    return "" if scope == "*" or scope.startswith("InferenceModelSet/") else scope


def _served(where: Where, said: dict[str, str], timeout_s: float, *, shows: bool) -> "Awaited":
    """How it stands once all of it is as Git says, or nothing more comes of waiting."""
    from reconciler.cli.wait import of_running, until_live, within
    from reconciler.web.answers import EVERYTHING

    def look(patience_s: float, before: "Awaited | None") -> "Awaited":  # noqa: ARG001  # all of it each time
        found: Awaited = within(patience_s, lambda: where.ask("wait", {**said, "commit": EVERYTHING}))
        return found

    return until_live(of_running(where, look), timeout_s, shows=shows)


def _tell(seen: "Awaited", form: str, told: dict[str, Any], words: str, *, each: bool) -> int:
    """Say what came of it; the exit code."""
    from reconciler.cli.verbs import answered
    from reconciler.cli.wait import CODES, show_holds
    from reconciler.web.document import plain

    answered(form, "Reconciliation", {**told, "word": seen.word, "holds": plain(seen.holds)}, words)
    if form == "table":
        show_holds(seen.holds, each=each)
    return CODES[seen.word]


def _left(seen: "Status", scope: str, model: str | None, *, each: bool) -> list[str]:
    """What a look does not change, in words: what is held back for its content, and refused documents."""
    from reconciler.cli.status import stand_alike
    from reconciler.errors import Retry, retry_of

    quarantined = (
        row
        for row in seen.rows
        if row.phase in {"Rejected", "RolledBack"} and retry_of(row.code) is Retry.CONTENT
        if scope in {"*", row.edge, row.key.partition("@")[0]} and model in {None, row.model, row.name}
    )
    told = [f"{what} is not tried: {said}" for what, _, said in stand_alike(quarantined, each=each)]
    refused = sum(problem.get("severity", "error") == "error" for problem in seen.problems)
    many = f"{refused} documents are refused" if refused > 1 else "a document is refused"
    return told + ([f"{many}: `reconciler status` shows where"] if refused else [])
