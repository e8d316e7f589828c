"""`reconciler history`: the log in words."""

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import completing, names, selector, where, wide_forms
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.web.records import Record


@click.command(epilog="Example: reconciler history edge-1 digits --since 2d --follow")
@names
@click.option("--edge", default="", hidden=True, help="As EDGE.")
@click.option("--model", default="", hidden=True, help="As MODEL.")
@selector
@click.option(
    "--commit", metavar="SHA", default="", shell_complete=completing("commits"), help="Only what this commit brought."
)
@click.option("--author", metavar="TEXT", default="", help="Only what commits by people of this name brought about.")
@click.option("--actor", metavar="TEXT", default="", help="Only what this person, hub or edge did.")
@click.option("--type", "type_", metavar="TYPE", default="", help="Only events whose type begins so: apply.failed.")
@click.option("--since", metavar="TIME|SEQ", help="Only what was recorded at or after this time, or behind this entry.")
@click.option("--until", metavar="TIME", help="Only what was recorded before this time.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--follow", "--watch", "-f", "-w", is_flag=True, help="Go on as events come, until interrupted.")
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
    form: str,
    **said: str | None,
) -> None:
    """Show what happened, oldest first: commits, plans, orders, downloads, flips and rollbacks.

    EDGE and MODEL (a model, dataset or object) narrow it down; one name is whichever the log knows. TIME is 90m, 1h or
    2d ago, today, yesterday, a date or RFC 3339. Times are exact, in UTC (Z), as nothing else tells what was first.
    """
    if about and (edge or model):
        raise click.UsageError("--edge and --model say what EDGE and MODEL say: keep one of the two")
    if follow and said["until"]:
        raise click.UsageError("--until ends what --follow goes on with: keep one of the two")
    asked = {**said, **(about or {"edge": edge, "model": model}), "type": type_, "limit": str(limit or "")}
    for record in where.records(asked, follow=follow):
        show(record, form)


def show(record: "Record", form: str) -> None:
    """One event."""
    if form in {"table", "wide"}:
        from reconciler.cli.draw import line

        line(sentence(record) + (_wide(record) if form == "wide" else ""))
        return
    from reconciler.cli.output import write_one

    write_one(form, "Event", record)


def sentence(record: "Record") -> str:
    """`   12  2026-11-30 14:02:11  edge-1 digits: serves version 2 (before: 1)`."""
    from reconciler.cli.status import shown
    from reconciler.diagnostics import printable

    about = " ".join(part for part in (record.edge, record.model) if part)
    return printable(f"{record.seq:>6}  {shown(record.time)}  {f'{about}: ' if about else ''}{record.text}")


def _wide(record: "Record") -> str:
    """What else an event says: its type, who did it, for which commit, and when its log stored it."""
    from reconciler.diagnostics import printable

    by = f" by {record.actor}" if record.actor else ""
    commit = f" for commit {record.commit[:7]}" if record.commit else ""
    return printable(f"  [{record.type}{by}{commit}, recorded {record.recorded_time}]")
