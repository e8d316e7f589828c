"""`reconciler why`: from a running model to the line in Git."""

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import chosen, forms, where
from reconciler.cli.status import NONE, tell_age
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.web.answers import Walk


INDENT = 15  # where what is said of a link begins
BEGINS = frozenset(
    {"serving", "applied", "drift", "wanted", "today", "held back", "held", "suspended", "problem"}
)  # links that no link above caused
ENDS = (BEGINS - {"wanted"}) | {"line", "order"}  # what is told of a walk in short


@click.command(epilog="Example: reconciler why edge-1 digits")
@chosen
@where
@forms
def command(*, where: Where, about: dict[str, str], form: str) -> None:
    """Walk from what EDGE serves of MODEL (a model, dataset or object) back to the commit, its author and its line.

    One name is whichever the log knows, an edge or what is on it: of several things each walk is told in short.
    """
    if not any(about.values()):
        raise click.UsageError("of what? Name an edge, what is on it, or both; or --selector, --failing or --waiting")
    found = where.ask("why", about)
    if not where.is_remote:
        tell_age(where)
    if form != "table":
        from reconciler.cli.output import write

        write(form, "Why", found)
        return
    is_short = len(found.walks) > 1 and not about.get("model")
    for walk in found.walks:
        show(walk, is_short=is_short)
    if is_short or not found.walks:
        from reconciler.cli.draw import line

        line("each in full: `reconciler why EDGE MODEL`" if is_short else NONE[about["standing"]])


def show(walk: "Walk", *, is_short: bool = False) -> None:
    """The walk, what is running first, each line the cause of the one above it. is_short: only its two ends."""
    from reconciler.cli.draw import line
    from reconciler.cli.status import shown
    from reconciler.diagnostics import printable
    from reconciler.history.keys import spoken
    from reconciler.history.status import sentence

    line(spoken(walk.key), "bold")
    if not walk.standing.is_as_git and not any(link.what in {"held back", "held"} for link in walk.links):
        said = sentence(walk.standing.why, walk.standing.way_out)
        line(printable(f"   {walk.standing.word:<10}  {said}"), hang=INDENT)
    for link in walk.links:
        if is_short and link.what not in ENDS:
            continue
        arrow = "   " if link.what in BEGINS else " ← "
        when = f"{shown(link.time)}  " if link.time else ""
        begins = f"{arrow}{link.what:<10}  {when}"
        line(printable(f"{begins}{link.text}"), hang=len(begins))
        if link.what in {"line", "today"}:
            line(printable(f"{'':15}{link.place} in commit {link.commit[:7]} by {link.author}"), "bold", hang=INDENT)
