"""`reconciler status`: what every edge has and what waits, from the logs alone."""

from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.options import chosen, where, wide_forms
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.history.status import Row, Status


NOTHING: Final[dict[str, str]] = {}
NONE: Final = {
    "": "nothing of that is there",
    "failing": "nothing of that is failing",
    "waiting": "nothing of that waits",
    "failing,waiting": "nothing of that is failing, and nothing waits",
}


@click.command(epilog="Example: reconciler status -l site=demo --failing")
@chosen
@click.option("--watch", "-w", is_flag=True, help="Show it again whenever it has changed, until interrupted.")
@click.option("--as-of", metavar="TIME", help="Take this time for now; ages are counted from it.")
@where
@wide_forms
def command(*, where: Where, about: dict[str, str], watch: bool, as_of: str | None, form: str) -> None:
    """Show what every edge is to have, what it answers itself, and what waits for what.

    EDGE and MODEL (a model, dataset or object) narrow it down; one name is whichever the log knows. SINCE is how long
    ago; `-o wide` and json have the times themselves, in UTC (Z).
    """
    is_drawn = form in {"table", "wide"}

    def ask() -> "Status":
        found: Status = where.ask("status", {**about, "asOf": as_of})
        return found

    def tell(seen: "Status") -> None:
        from reconciler.cli.output import write, write_one

        if is_drawn:
            show(seen, is_wide=form == "wide", about=about)
        else:
            (write_one if watch else write)(form, "Status", seen)

    if watch:
        from reconciler.cli.watching import watched

        if not where.is_remote:
            tell_age(where)
        watched(where, ask, tell, is_drawn=is_drawn)
    seen = ask()
    if not where.is_remote:
        tell_age(where, seen.time)
    tell(seen)


def tell_age(where: Where, last: str = "") -> None:
    """Say it where nobody writes the log that was asked: what it says is no answer of now. last: its newest time."""
    from reconciler.edge.paths import StateDirectory
    from reconciler.eventlog.lock import is_held
    from reconciler.wiring.past import edge_alone

    place, edge = StateDirectory(where.state_dir), edge_alone(where.state_dir)
    if not is_held(place.edge(edge).log if edge else place.hub.log):
        who, at = "agent" if edge else "reconciler", f", last at {shown(last)}" if last else ""
        click.echo(f"no {who} runs at {where.state_dir}: this is what its log says{at}", err=True)


def show(seen: "Status", *, is_wide: bool = False, about: "Mapping[str, str]" = NOTHING) -> None:
    """The status as a person reads it. is_wide: with more columns.  about: what was chosen, see options.chosen."""
    from reconciler.cli.draw import line, table
    from reconciler.diagnostics import Diagnostic, render_all
    from reconciler.history.timeline import lost_words

    if seen.commit:
        line(f"commit {seen.commit[:7]} by {seen.author}: {seen.subject}")
        if not about.get("standing"):  # of what stands so alone it would be no sum
            line(_summed(seen), STYLES[seen.standing.word])
    else:
        line("no commit was read yet")
    if seen.lost:
        line(f"the branch cannot be read since {shown(seen.lost_since)}: {seen.lost}", "red")
    if seen.rows:
        line("")
        more = ("AT", "URL", "DIGEST", "ORIGIN") if is_wide else ()
        table(
            ("EDGE", "MODEL", "WANTED", "SERVING", "PHASE", "SINCE", *more, "MESSAGE"),
            (_cells(row, seen, is_wide=is_wide) for row in seen.rows),
        )
    if seen.objects:
        _show_objects(seen, is_wide=is_wide)
    if any(about.values()) and not (seen.rows or seen.objects):
        line(f"\n{NONE[about.get('standing', '')]}")
    for lost in seen.cluster_lost:
        line(f"\n{lost_words(lost.what)} since {shown(lost.since)}: {lost.error}", "red")
    for one in seen.suspended:
        ends = f"; `{one.ends}` ends it" if one.ends and not one.until else ""
        what = "everything is" if one.scope == "*" else f"{one.scope} is"
        line(f"\n{what} {one.words}{ends}", "yellow")
    for link in seen.links:
        line(f"\nthe log of {link.peer} is not copied: {link.error}", "red")
    if seen.to_begin:
        line(f"\n{seen.to_begin} more to begin", "yellow")
    if seen.held is not None and seen.held.digest not in seen.standing.why:  # else it stands above
        line(f"\nplan {seen.held.digest} is held: {seen.held.reason}", "yellow")
        line(f" help: `reconciler plan` shows it; `reconciler approve {seen.held.digest}` releases it")
    if seen.problems:
        line("\n" + render_all([Diagnostic.from_dict(dict(problem)) for problem in seen.problems]))


def _summed(seen: "Status") -> str:
    """`as Git says`, or which of the other two words: how many are, and why the rest are not."""
    from reconciler.history.status import sentence

    standing, counts = seen.standing, seen.tally
    if standing.is_as_git:
        return standing.word
    every = sum(counts.values())
    of = f"{counts['as Git says']} of {every} as Git says" if every else ""
    return f"{standing.word}: {sentence(of, standing.why, standing.way_out)}"


STYLES: Final = {"as Git says": "green", "waits": "yellow", "failing": "red"}
SHOWN: Final = 50  # objects that wait for something


def _show_objects(seen: "Status", *, is_wide: bool) -> None:
    """How the objects of the cluster stand, by kind, and those of which something is to be told."""
    from reconciler.cli.draw import line, table
    from reconciler.diagnostics import printable
    from reconciler.history.keys import spoken
    from reconciler.history.status import age

    line("")
    counts = ((each.kind, *map(str, (each.objects, each.settled, each.waits, each.failing))) for each in seen.counted)
    table(("KIND", "OBJECTS", "AS GIT SAYS", "WAIT", "FAILING"), counts)
    waiting = seen.unsettled
    if waiting:
        line("")
        rows = (
            (
                spoken(one.key),
                one.wanted or "-",
                one.there or "-",
                one.stands,
                age(one.since, seen.as_of),
                *((one.since or "-", one.origin or "-") if is_wide else ()),
                printable(one.said),
            )
            for one in waiting[:SHOWN]
        )
        table(("OBJECT", "WANTED", "THERE", "PHASE", "SINCE", *(("AT", "ORIGIN") if is_wide else ()), "MESSAGE"), rows)
    if len(waiting) > SHOWN:
        line(f"and {len(waiting) - SHOWN} more: `reconciler status --output json`")


def _cells(row: "Row", seen: "Status", *, is_wide: bool) -> tuple[str, ...]:
    from reconciler.history.status import NEVER, age, sentence
    from reconciler.history.timeline import labelled

    model = labelled(row.kind, row.model)
    wanted = (row.wanted or "(none)") + (" (pin)" if row.pinned else "")
    if row.unknown_since:
        heard = (
            "the edge was never heard" if row.unknown_since == NEVER else f"unknown since {shown(row.unknown_since)}"
        )
        message = sentence(f"{heard}, last event {row.last_sequence}", row.said)
        serving = f"{row.serving}?" if row.serving else "?"
        since = row.unknown_since if row.unknown_since != NEVER else ""
        more = _more(row, since) if is_wide else ()
        return row.edge, model, wanted, serving, "Unknown", age(row.unknown_since, seen.as_of), *more, message
    more = _more(row, row.since) if is_wide else ()
    return row.edge, model, wanted, row.serving or "-", row.phase, age(row.since, seen.as_of), *more, row.said


def shown(time: str) -> str:
    """A time for people: `2026-11-30 14:02:34Z`, which is UTC."""
    return f"{time[:10]} {time[11:19]}Z"


def _more(row: "Row", since: str) -> tuple[str, ...]:
    """What a wide table has beside: the time in full, where it answers and from which bytes, and the line in Git."""
    return since or "-", row.url or "-", row.digest[:12] or "-", row.origin or "-"
