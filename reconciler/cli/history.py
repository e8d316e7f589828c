"""`reconciler history`: the log in words."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import Said, completing, names, one_by_one, selector, where, wide_forms
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.web.records import Record


@click.command(epilog="Example: reconciler history edge-1 digits --since 2d --follow")
@names
@click.option("--edge", default="", hidden=True, help="As EDGE.")
@click.option("--model", default="", hidden=True, help="As MODEL.")
@selector
@click.option(
    "--commit",
    metavar="COMMIT",
    default="",
    shell_complete=completing("commits"),
    help="Only what this commit brought.",
)
@click.option("--author", metavar="TEXT", default="", help="Only what commits by people of this name brought about.")
@click.option("--actor", metavar="TEXT", default="", help="Only what this person, hub or edge did.")
@click.option("--type", "type_", metavar="TYPE", default="", help="Only events whose type begins so: apply.failed.")
@click.option(
    "--since",
    metavar="TIME|SEQ",
    type=Said(),
    help="Only what was recorded at or after this time, or behind this entry.",
)
@click.option("--until", metavar="TIME", type=Said(), help="Only what was recorded before this time.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--follow", "--watch", "-f", "-w", is_flag=True, help="Go on as events come, until interrupted.")
@one_by_one
@where
@wide_forms
def command(
    *,
    where: Where,
    about: dict[str, str],
    edge: str,
    model: str,
    type_: str,
    limit: int | None,
    follow: bool,
    each: bool,
    form: str,
    **said: str | None,
) -> None:
    """Show what happened, oldest first: commits, plans, orders, downloads, flips and rollbacks.

    EDGE and MODEL (a model, dataset or object) narrow it down; one name is whichever the log knows. TIME is 90m, 1h or
    2d ago, today, yesterday, a date or RFC 3339. Times are exact, in UTC (Z), as nothing else tells what was first.
    Equal sentences of one commit are told as one, with their entries; --each, -o wide and json tell every one.
    """
    from reconciler.cli.telling import commits, show, together
    from reconciler.sources.revision import revision
    from reconciler.web.moments import work_tree

    if about and (edge or model):
        raise click.UsageError("--edge and --model say what EDGE and MODEL say: keep one of the two")
    if follow and said["until"]:
        raise click.UsageError("--until ends what --follow goes on with: keep one of the two")
    tree = work_tree(Path.cwd())
    if said["commit"] and tree is not None:  # HEAD~1, a tag
        said["commit"] = revision(said["commit"], tree) or said["commit"]
    asked = {**said, **(about or {"edge": edge, "model": model}), "type": type_, "limit": str(limit or "")}
    records = where.records(asked, follow=follow)
    if form != "table" or (each and not follow):
        batches: Iterable[list[Record]] = ([record] for record in records)
    else:
        batches = together(records) if follow else commits(records)
    for batch in batches:
        show(batch, form, each=each)
        if follow:
            sys.stdout.flush()
