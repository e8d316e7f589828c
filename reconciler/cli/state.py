"""`reconciler state`: time travel."""

from pathlib import Path

import click

from reconciler.cli.options import chosen, completing, one_by_one, where, wide_forms
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler state edge-1 --at yesterday")
@click.option(
    "--at",
    "at",
    metavar="SEQ|TIME|COMMIT",
    shell_complete=completing("commits"),
    help="The point: an entry, a time (a date is 00:00 UTC of that day), or the end of a commit's reign.",
)
@chosen
@one_by_one
@where
@wide_forms
def command(*, at: str | None, about: dict[str, str], each: bool, where: Where, form: str) -> None:
    """Show what every edge was to have and what it served at a point of the log; at its end without --at.

    EDGE and MODEL (a model, dataset or object) narrow it down; one name is whichever the log knew then. TIME is 90m, 1h
    or 2d ago, today, yesterday, a date or RFC 3339; SINCE is counted from that point.
    """
    from reconciler.cli.status import show, shown
    from reconciler.web.moments import spelled, work_tree

    seen = where.ask("state", {**about, "at": spelled(at, work_tree(Path.cwd())) if at else None})
    if form in {"table", "wide"}:
        from reconciler.cli.draw import line

        line(f"entry {seen.seq}, recorded at {shown(seen.time)}", "bold")
        show(seen, is_wide=form == "wide", about=about, each=each)
        return
    from reconciler.cli.output import write

    write(form, "State", seen)
