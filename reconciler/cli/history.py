"""`reconciler history`: the log in words."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import forms, one_by_one, where
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
@one_by_one
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
    each: bool,
    form: str,
) -> None:
    """Show what happened, oldest first: commits, plans, orders, downloads, flips and rollbacks."""
    said = {"edge": edge, "model": model, "commit": commit, "since": since, "limit": str(limit or "")}
    from reconciler.cli.telling import commits, show, together

    records = where.records(said, follow=follow)
    if form != "table" or (each and not follow):
        batches: Iterable[list[Record]] = ([record] for record in records)
    else:
        batches = together(records) if follow else commits(records)
    for batch in batches:
        show(batch, form, each=each)
        if follow:
            sys.stdout.flush()
