"""`reconciler status`: what every edge has and what waits, from the logs alone."""

import sys
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.options import chosen, one_by_one, where, wide_forms
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.history.status import Hold, ObjectRow, Row, Status


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
@click.option("--held", is_flag=True, help="Also what is held back, whether anybody wants it or not.")
@one_by_one
@where
@wide_forms
def command(
    *, where: Where, about: dict[str, str], watch: bool, as_of: str | None, held: bool, each: bool, form: str
) -> None:
    """Show what every edge is to have, what it answers itself, and what waits for what.

    EDGE and MODEL (a model, dataset or object) narrow it down; one name is whichever the log knows. What stands alike
    is one row; --each, -o wide and json have every one. SINCE is how long ago; `-o wide` and json have the times
    themselves, in UTC (Z).
    """
    is_drawn = form in {"table", "wide"}

    def ask() -> "Status":
        found: Status = where.ask("status", {**about, "asOf": as_of})
        return found

    def tell(seen: "Status") -> None:
        from reconciler.cli.output import write, write_one

        if is_drawn:
            show(seen, is_wide=form == "wide", about=about, each=each, held=held)
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
    from reconciler.cli.draw import line, screen
    from reconciler.edge.paths import StateDirectory
    from reconciler.eventlog.lock import is_held
    from reconciler.wiring.past import edge_alone

    place, edge = StateDirectory(where.state_dir), edge_alone(where.state_dir)
    if not is_held(place.edge(edge).log if edge else place.hub.log):
        who, at = "agent" if edge else "reconciler", f", last at {shown(last)}" if last else ""
        start = f"reconciler agent {edge}" if edge else "reconciler run"
        said = f"no {who} runs at {where.state_dir}: this is what its log says{at}; `{start}` starts it"
        line(said, at=screen(sys.stderr))


def show(
    seen: "Status",
    *,
    is_wide: bool = False,
    about: "Mapping[str, str]" = NOTHING,
    each: bool = False,
    held: bool = False,
) -> None:
    """The status as a person reads it. is_wide: with more columns.  about: what was chosen, see options.chosen.

    each: what stands alike is not one row.  held: see --held.
    """
    from reconciler.cli.draw import line, problems, table
    from reconciler.diagnostics import Diagnostic
    from reconciler.history.timeline import lost_words
    from reconciler.wording import grouped

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
        same = grouped(((_stands(row), row) for row in seen.rows), each=each or is_wide)
        table(
            ("EDGE", "MODEL", "WANTED", "SERVING", "PHASE", "SINCE", *more, "MESSAGE"),
            (_cells(rows, seen, is_wide=is_wide, is_all=not about.get("selector")) for _, rows in same),
        )
    if held:
        _show_held(seen, each=each)
    if seen.objects:
        _show_objects(seen, is_wide=is_wide, each=each or is_wide)
    if any(about.values()) and not (seen.rows or seen.objects):
        standing = about.get("standing", "")
        but = ", but a document is refused" if seen.refused and "failing" in standing else ""
        line(f"\n{NONE[standing]}{but}")
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
        line("")
        problems([Diagnostic.from_dict(dict(problem)) for problem in seen.problems], each=each)


def _summed(seen: "Status") -> str:
    """`as Git says`, or which of the other two words: how many are, and why the rest are not."""
    from reconciler.history.status import sentence

    standing, counts = seen.standing, seen.tally
    if standing.is_as_git:
        return standing.word
    every = sum(counts.values())
    as_who = "the last accepted commit" if seen.refused else "Git"
    told = [f"{counts['as Git says']} of {every} as {as_who} says"] if every else []
    for word, said in (("waits", "wait"), ("failing", "are failing")):
        if counts[word] and f"{counts[word]} of {every}" not in standing.why:
            told.append(f"{counts[word]} {said}")
    return f"{standing.word}: {sentence(*told, standing.why, standing.way_out)}"


STYLES: Final = {"as Git says": "green", "waits": "yellow", "failing": "red"}
SHOWN: Final = 50  # objects that wait for something


def _show_held(seen: "Status", *, each: bool) -> None:
    """What edges are not given again, and what lets it be tried."""
    from reconciler.cli.draw import line, table
    from reconciler.history.keys import Key
    from reconciler.history.status import age, coded
    from reconciler.wording import general, grouped, named_of, of_all

    line("")
    if not seen.holds:
        line("nothing is held back")
        return

    def what(hold: "Hold") -> tuple[str, ...]:
        own = {Key.parse(hold.key).edge: "EDGE"}
        return hold.model, hold.what, coded(hold.code, hold.reason), general(f"`{hold.ends}` lets it be tried", own)

    rows = []
    for (model, version, why, _), holds in grouped(((what(hold), hold) for hold in seen.holds), each=each):
        edges = [Key.parse(hold.key).edge for hold in holds]
        ends = of_all((f"`{hold.ends}` lets it be tried", {Key.parse(hold.key).edge: "EDGE"}) for hold in holds)
        since = _range([age(hold.time, seen.as_of) for hold in sorted(holds, key=lambda hold: hold.time)])
        rows.append((named_of(edges), model, version.removeprefix("version "), since, f"{why}; {ends}"))
    table(("EDGE", "MODEL", "HELD BACK", "SINCE", "WHY"), rows)


def _show_objects(seen: "Status", *, is_wide: bool, each: bool) -> None:
    """How the objects of the cluster stand, by kind, and those of which something is to be told."""
    from reconciler.cli.draw import line, table
    from reconciler.wording import grouped

    line("")
    counts = ((one.kind, *map(str, (one.objects, one.settled, one.waits, one.failing))) for one in seen.counted)
    table(("KIND", "OBJECTS", "AS GIT SAYS", "WAIT", "FAILING"), counts)
    waiting = grouped(((_object_stands(one), one) for one in seen.unsettled), each=each)
    if waiting:
        line("")
        more_columns = ("AT", "ORIGIN") if is_wide else ()
        rows = (_object_cells(alike, seen, is_wide=is_wide) for _, alike in waiting[:SHOWN])
        table(("OBJECT", "WANTED", "THERE", "PHASE", "SINCE", *more_columns, "MESSAGE"), rows)
    if len(waiting) > SHOWN:
        more = sum(len(alike) for _, alike in waiting[SHOWN:])
        line(f"and {more} more: `reconciler status --output json`")


def stand_alike(rows: "Iterable[Row | ObjectRow]", *, each: bool) -> list[tuple[str, str, str]]:
    """(which of them, phase, what is said of it) of rows that are not as Git says; those that stand alike as one."""
    from reconciler.history.keys import spoken
    from reconciler.history.timeline import labelled
    from reconciler.wording import grouped, names

    told = []
    for _, alike in grouped(((_key(row), row) for row in rows), each=each):
        one, many = alike[0], len(alike)
        said = (one.said if many == 1 else _said_of(alike)) or one.standing.why
        if hasattr(one, "model"):
            edges = names(row.edge for row in alike)
            model = labelled(one.kind, one.model)
            told.append(
                (f"{one.edge} {model}" if many == 1 else f"{model} on {many} edges ({edges})", one.stands, said)
            )
        else:
            keys = names(spoken(row.key) for row in alike)
            told.append((keys if many == 1 else f"{many} of {one.kind} ({keys})", one.stands, said))
    return told


def _key(row: "Row | ObjectRow") -> tuple[str, ...]:
    from reconciler.history.status import Row

    return (*(_stands(row) if isinstance(row, Row) else _object_stands(row)), row.standing.why)


def _object_stands(one: "ObjectRow") -> tuple[str, ...]:
    """How an object stands, whichever it is."""
    return one.kind, one.namespace, one.wanted, one.there, one.stands, _said_of([one])


def _object_cells(alike: "Sequence[ObjectRow]", seen: "Status", *, is_wide: bool) -> tuple[str, ...]:
    from reconciler.history.keys import spoken
    from reconciler.wording import named_of

    one, what = alike[0], named_of(spoken(each.key) for each in alike)
    message = one.said if len(alike) == 1 else _said_of(alike)
    more = (one.since or "-", one.origin or "-") if is_wide else ()
    return what, one.wanted or "-", one.there or "-", one.stands, _since(alike, seen), *more, message


def _stands(row: "Row") -> tuple[str, ...]:
    """How a row stands, on whichever edge, and since whenever."""
    from reconciler.history.status import NEVER

    known = row.unknown_since if row.unknown_since == NEVER else str(bool(row.unknown_since))
    return row.kind, row.model, row.wanted, str(row.pinned), row.serving, row.stands, known, _said_of([row])


def _said_of(alike: "Sequence[Row | ObjectRow]", *, is_all: bool = False) -> str:
    """What is said of rows that stand alike: of no edge or object in particular, tried again in a range of times.

    Of one the time does not count: what is said of two is equal where they are alike. is_all: of a model, whether no
    other edge holds any of it back.
    """
    from reconciler.history.times import shown as told
    from reconciler.wording import general, of_all, span, together

    one = alike[0]
    times = sorted(told(each.standing.until) for each in alike if each.standing.until)
    until = span(times[0], times[-1]) if len(alike) > 1 and times else "TIME"

    def own(one: "Row | ObjectRow") -> dict[str, str]:
        model = getattr(one, "model", "")
        named = {} if model else {one.name: "NAME"}  # what an object is called has its edge in it
        named |= together(one.edge, model) if is_all else {}
        return named | {one.edge: "EDGE", told(one.standing.until): until}

    if len(alike) == 1:
        return general(one.said, own(one))
    return of_all((each.said, own(each)) for each in alike)


def _since(alike: "Sequence[Row | ObjectRow]", seen: "Status") -> str:
    """How long it has been so, of several from the newest to the oldest."""
    from reconciler.history.status import age

    return _range(
        [age(time, seen.as_of) for time in sorted(getattr(one, "unknown_since", "") or one.since for one in alike)]
    )


def _range(ages: "Sequence[str]") -> str:
    """Of ages, the oldest first, the newest and the oldest."""
    from reconciler.wording import span

    return span(ages[-1], ages[0])


def _cells(alike: "Sequence[Row]", seen: "Status", *, is_wide: bool, is_all: bool) -> tuple[str, ...]:
    """is_all: whether no edge was left out of what was asked."""
    from reconciler.history.status import NEVER, sentence
    from reconciler.history.timeline import labelled
    from reconciler.wording import named_of

    row, edges = alike[0], named_of(one.edge for one in alike)
    model = labelled(row.kind, row.model)
    wanted = (row.wanted or "(none)") + (" (pin)" if row.pinned else "")
    held = {hold.key for hold in seen.holds if hold.model == row.model}
    is_all = is_all and held <= {one.key for one in alike}
    message = row.said if len(alike) == 1 else _said_of(alike, is_all=is_all)
    since = row.unknown_since if row.unknown_since != NEVER else ""
    more = _more(row, since or row.since) if is_wide else ()
    if not row.unknown_since:
        return edges, model, wanted, row.serving or "-", row.stands, _since(alike, seen), *more, message
    first = min(one.unknown_since for one in alike)
    never = row.unknown_since == NEVER
    heard = (
        f"the edge{'s were' if len(alike) > 1 else ' was'} never heard" if never else f"unknown since {shown(first)}"
    )
    last = f", last event {row.last_sequence}" if len(alike) == 1 else ""
    serving = f"{row.serving}?" if row.serving else "?"
    return edges, model, wanted, serving, "Unknown", _since(alike, seen), *more, sentence(f"{heard}{last}", message)


def shown(time: str) -> str:
    """A time for people: `2026-11-30 14:02:34Z`, which is UTC."""
    return f"{time[:10]} {time[11:19]}Z"


def _more(row: "Row", since: str) -> tuple[str, ...]:
    """What a wide table has beside: the time in full, where it answers and from which bytes, and the line in Git."""
    return since or "-", row.url or "-", row.digest[:12] or "-", row.origin or "-"
