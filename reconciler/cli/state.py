"""`reconciler state`: time travel."""

from pathlib import Path

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler state --at 2026-11-30T14:00:00Z")
@click.option(
    "--at", "at", metavar="SEQ|TIME|COMMIT", help="The point: an entry, a time, or the end of a commit's reign."
)
@where
@forms
def command(*, at: str | None, where: Where, form: str) -> None:
    """Show what every edge was to have and what it served at a point of the log; at its end without --at."""
    from reconciler.cli.status import show, shown
    from reconciler.web.moments import spelled, work_tree

    seen = where.ask("state", {"at": spelled(at, work_tree(Path.cwd())) if at else None})
    if form == "table":
        from reconciler.cli.draw import line

        line(f"entry {seen.seq}, recorded at {shown(seen.time)}", "bold")
        show(seen)
        return
    from reconciler.cli.output import write

    write(form, "State", seen)
