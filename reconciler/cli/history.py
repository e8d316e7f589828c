"""`reconciler history`: the log in words."""

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.web.records import Record


@click.command(epilog="Example: reconciler history --edge edge-1 --since 2026-11-30 --follow")
@click.option("--edge", default="", help="Only what is about this edge.")
@click.option("--model", default="", help="Only what is about this model, dataset or object.")
@click.option("--commit", default="", help="Only what this commit brought about.")
@click.option("--since", metavar="TIME|SEQ", help="Only what was recorded at or after this time, or behind this entry.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on as events come, until interrupted.")
@where
@forms
def command(
    *,
    where: Where,
    edge: str,
    model: str,
    commit: str,
    since: str | None,
    limit: int | None,
    follow: bool,
    form: str,
) -> None:
    """Show what happened, oldest first: commits, plans, orders, downloads, flips and rollbacks."""
    said = {"edge": edge, "model": model, "commit": commit, "since": since, "limit": str(limit or "")}
    for record in where.records(said, follow=follow):
        show(record, form)


def show(record: "Record", form: str) -> None:
    """One event."""
    if form == "table":
        from reconciler.cli.draw import line

        line(sentence(record))
        return
    from reconciler.cli.output import write_one

    write_one(form, "Event", record)


def sentence(record: "Record") -> str:
    """`   12  2026-11-30 14:02:11  edge-1 digits: serves version 2 (before: 1)`."""
    from reconciler.cli.status import shown
    from reconciler.diagnostics import printable

    about = " ".join(part for part in (record.edge, record.model) if part)
    return printable(f"{record.seq:>6}  {shown(record.time)}  {f'{about}: ' if about else ''}{record.text}")
