"""`reconciler reconcile`: look now, and try again what was refused or waits."""

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import Duration, acting, forms, names, one_by_one, require_with
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.history.awaited import Awaited
    from reconciler.history.status import Status


@click.command(epilog="Example: reconciler reconcile edge-1 digits --wait")
@names
@click.option("--wait", is_flag=True, help="Until it was looked at, and what that ordered is done or cannot be.")
@click.option("--timeout", "timeout_s", type=Duration(), default=60.0, show_default=True, help="For that.")
@one_by_one
@acting
@forms
def command(*, about: dict[str, str], wait: bool, timeout_s: float, each: bool, where: Where, form: str) -> int:
    """Have the running reconciler look now at EDGE, or at MODEL on it, and try what was refused or waits for the world.

    One name is whichever it knows: an edge, a model or dataset wherever it is, an object; without one it looks at the
    repository and everything. What is held back for its content is not tried: that is for `release`. The exit codes
    with --wait are those of `reconciler wait`.
    """
    from reconciler.cli.verbs import answered, ask, scope_of, spelled_out
    from reconciler.history.timeline import counted

    require_with("timeout_s", other="--wait", is_there=wait)
    spelled, named = [*(["--wait"] if wait else []), *spelled_out(about)], scope_of(about)
    answer = ask(where, "reconcile", spelled, **named, wait=wait)
    what = " ".join(about.values()) or "everything"
    told = {name: said for name, said in named.items() if said}
    if where.actor:  # the command that called this one waits, and tells
        answered(form, "Reconciliation", {**told, **answer}, what)
        return 0
    if not wait:
        seen = _seen(where, about)[0]
        left = _left(seen, each=True)
        words = "".join(f"\n  {one}" for one in _left(seen, each=each))
        answered(form, "Reconciliation", {**told, "asked": True, "left": left}, f"it looks at {what} now{words}")
        return 0
    held = f"; the plan is held: {answer['held']}" if answer.get("held") else ""
    words = f"looked at {what}: {counted(answer['counts'])}{held}"
    awaited = _served(where, _seen(where, about)[1], timeout_s, shows=form == "table")
    return _tell(awaited, form, {**told, **answer}, words, each=each)


def _seen(where: Where, about: dict[str, str]) -> "tuple[Status, dict[str, str]]":
    """How what was named stands, and how that is asked for: all there is, where the log has ordered nothing of it."""
    from reconciler.errors import NameUnknown

    try:
        return where.ask("status", about), about
    except NameUnknown:  # it is declared, or the hub would have refused it
        return where.ask("status", {}), {}


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


def _left(seen: "Status", *, each: bool) -> list[str]:
    """What a look does not change, in words: what is held back for its content, and refused documents."""
    from reconciler.cli.status import stand_alike
    from reconciler.errors import Retry, retry_of

    quarantined = (
        row for row in seen.rows if row.phase in {"Rejected", "RolledBack"} and retry_of(row.code) is Retry.CONTENT
    )
    told = [f"{what} is not tried: {said}" for what, _, said in stand_alike(quarantined, each=each)]
    refused = sum(problem.get("severity", "error") == "error" for problem in seen.problems)
    many = f"{refused} documents are refused" if refused > 1 else "a document is refused"
    return told + ([f"{many}: `reconciler status` shows where"] if refused else [])
