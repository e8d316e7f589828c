"""`reconciler why`: from a running model to the line in Git."""

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from reconciler.cli.options import chosen, forms, one_by_one, where
from reconciler.cli.status import NONE, tell_age
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.web.answers import Walk


_HOST: Final = re.compile(r"answers version .* at \w+://([^/\s,]+)")
INDENT = 15  # where what is said of a link begins
BEGINS = frozenset(
    {"serving", "applied", "drift", "wanted", "today", "held back", "held", "suspended", "problem"}
)  # links that no link above caused
ENDS = (BEGINS - {"wanted"}) | {"line", "order"}  # what is told of a walk in short


@click.command(epilog="Example: reconciler why edge-1 digits")
@chosen
@one_by_one
@where
@forms
def command(*, where: Where, about: dict[str, str], each: bool, form: str) -> None:
    """Walk from what EDGE serves of MODEL (a model, dataset or object) back to the commit, its author and its line.

    One name is whichever the log knows, an edge or what is on it: of several things each walk is told in short,
    and what differs in its edge and its times alone is told once.
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
    show(found.walks, is_short=is_short, each=each)
    if is_short or not found.walks:
        from reconciler.cli.draw import line

        line("each in full: `reconciler why EDGE MODEL`" if is_short else NONE[about["standing"]])


class _Line(NamedTuple):
    """One line of a walk. begins: what it is.  time: when (RFC 3339), "" where it has none."""

    begins: str
    time: str
    text: str
    style: str = ""


def show(walks: "Sequence[Walk]", *, is_short: bool = False, each: bool = False) -> None:
    """The walks, what is running first, each line the cause of the one above it; those that differ in their edge and
    their times alone as one. is_short: only their two ends.  each: one by one.
    """
    from reconciler.cli.draw import line
    from reconciler.cli.status import shown
    from reconciler.diagnostics import printable
    from reconciler.wording import general, grouped, of_all, span

    def told(walk: "Walk") -> tuple[object, ...]:
        own = _own(walk)
        said = ((one.begins, bool(one.time), general(one.text, own)) for one in _lines(walk, is_short=is_short))
        return (_what(walk), *said)

    for _, alike in grouped(((told(walk), walk) for walk in walks), each=each):
        line(printable(_whose(alike)), "bold")
        owns = [_own(walk) for walk in alike]
        for same in zip(*(_lines(walk, is_short=is_short) for walk in alike), strict=True):
            one, times = same[0], sorted(each_one.time for each_one in same)
            when = f"{span(shown(times[0]), shown(times[-1]))}  " if one.time else ""
            text = of_all((each_one.text, own) for each_one, own in zip(same, owns, strict=True))
            begins = f"{one.begins}{when}"
            line(printable(begins + text), one.style, hang=len(begins))


def _lines(walk: "Walk", *, is_short: bool) -> "Iterator[_Line]":
    from reconciler.history.status import sentence

    if not walk.standing.is_as_git and not any(link.what in {"held back", "held"} for link in walk.links):
        said = sentence(walk.standing.why, walk.standing.way_out)
        yield _Line(f"   {walk.standing.word:<10}  ", "", said)
    for link in walk.links:
        if is_short and link.what not in ENDS:
            continue
        arrow = "   " if link.what in BEGINS else " ← "
        yield _Line(f"{arrow}{link.what:<10}  ", link.time, link.text)
        if link.what in {"line", "today"}:
            place = f"{link.place} in commit {link.commit[:7]} by {link.author}"
            yield _Line(" " * INDENT, "", place, "bold")


def _what(walk: "Walk") -> str:
    """What a walk is of, on whichever edge; of an object of the API server its kind."""
    from reconciler.history.keys import Key
    from reconciler.history.timeline import labelled, named

    key = Key.parse(walk.key)
    return labelled(key.kind, named(key, {})) if key.edge else key.kind


def _whose(alike: "Sequence[Walk]") -> str:
    from reconciler.history.keys import Key, spoken
    from reconciler.wording import names

    keys, many = [Key.parse(walk.key) for walk in alike], len(alike)
    if many == 1:
        return spoken(alike[0].key)
    if keys[0].edge:
        return f"{_what(alike[0])} on {many} edges ({names(key.edge for key in keys)})"
    return f"{many} of {_what(alike[0])} ({names(map(spoken, keys))})"


def _own(walk: "Walk") -> dict[str, str]:
    """What is a walk's own, and its general name: where it answers, its object, its edge, when it is tried again."""
    from reconciler.history.keys import Key
    from reconciler.history.times import shown

    key = Key.parse(walk.key)
    url = next((found[1] for link in walk.links if (found := _HOST.search(link.text))), "")
    until = shown(walk.standing.until) if walk.standing.until else ""
    return {url: "ADDRESS", key.name: "NAME", key.edge: "EDGE", until: "TIME"}
