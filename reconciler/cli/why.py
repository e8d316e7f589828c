"""`reconciler why`: from a running model to the line in Git."""

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import forms, where
from reconciler.cli.status import tell_age
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.web.answers import Walk


INDENT = 15  # where what is said of a link begins
BEGINS = frozenset(
    {"serving", "applied", "drift", "wanted", "today", "held back", "held", "suspended", "problem"}
)  # links that no link above caused


@click.command(epilog="Example: reconciler why edge-1 digits")
@click.argument("names", nargs=-1, required=True, metavar="[EDGE] MODEL")
@where
@forms
def command(*, where: Where, names: tuple[str, ...], form: str) -> None:
    """Walk from what EDGE serves of MODEL (a model, dataset or object) back to the commit, its author and its line.

    Of a cluster, an object alone is enough: digits-edge-1, or InferenceModel/default/digits-edge-1.
    """
    if len(names) > 2:
        raise click.UsageError(f"EDGE and MODEL, or an object alone; {len(names)} names were given")
    found = where.ask("why", {"edge": names[0] if len(names) == 2 else None, "model": names[-1]})
    if not where.is_remote:
        tell_age(where)
    if form != "table":
        from reconciler.cli.output import write

        write(form, "Why", found)
        return
    for walk in found.walks:
        show(walk)


def show(walk: "Walk") -> None:
    """The walk, what is running first, each line the cause of the one above it."""
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
        arrow = "   " if link.what in BEGINS else " ← "
        when = f"{shown(link.time)}  " if link.time else ""
        begins = f"{arrow}{link.what:<10}  {when}"
        line(printable(f"{begins}{link.text}"), hang=len(begins))
        if link.what in {"line", "today"}:
            line(printable(f"{'':15}{link.place} in commit {link.commit[:7]} by {link.author}"), "bold", hang=INDENT)
