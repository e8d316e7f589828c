"""`reconciler why`: from a running model to the line in Git."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import forms, state

if TYPE_CHECKING:
    from reconciler.history.keys import Key
    from reconciler.history.state import State
    from reconciler.history.why import Asked, Link
    from reconciler.planning.wanted import Expansion


BEGINS = frozenset({"serving", "wanted", "today", "held", "suspended", "problem"})  # links that no link above caused


@click.command(epilog="Example: reconciler why edge-1 digits")
@click.argument("edge")
@click.argument("model")
@state
@forms
def command(state_dir: Path, edge: str, model: str, form: str) -> None:
    """Walk from what EDGE serves of MODEL (a model, dataset or object) back to the commit, its author and its line."""
    from reconciler.history.why import why
    from reconciler.wiring.past import opened

    with opened(state_dir) as past:
        now = past.replay.at()
        keys = keys_of(edge, model, now)
        asked = {key: _asked(expansion) for key, expansion in past.asked(now, keys).items()}
        walks = [(key, why(key, now, past.log.find, past.stream, asked.get(key))) for key in keys]
    if form != "table":
        from reconciler.cli.output import write

        write(form, "Why", {"walks": [{"key": str(key), "links": links} for key, links in walks]})
        return
    for key, links in walks:
        show(key, links)


def _asked(expansion: "Expansion") -> "Asked | None":
    """What the repository asks for, where that can be said."""
    from reconciler.history.why import Asked
    from reconciler.planning.wanted import Wanted

    if not isinstance(expansion, Wanted):
        return None
    return Asked(str(expansion.spec["version"]), expansion.because, expansion.origin)


def keys_of(edge: str, model: str, now: "State") -> list["Key"]:
    """What is called `model` on `edge`: as requests name it, as its document does, or as its key does.

    Raises NameUnknown.
    """
    from reconciler.errors import NameUnknown
    from reconciler.history.keys import Key
    from reconciler.history.timeline import named

    texts = {*now.keys, *(slot for slot in now.problems if "@" in slot)}
    there = sorted(Key.parse(text) for text in texts if text.endswith(f"@{edge}"))
    if not there:
        raise NameUnknown(f"nothing was ever ordered for an edge {edge}")
    found = [key for key in there if model in {key.name, named(key, now.served(key).order), str(key)}]
    found.sort(key=lambda key: key.kind != "InferenceModel")  # before a dataset of this name
    if not found:
        names = ", ".join(sorted({named(key, now.served(key).order) for key in there}))
        raise NameUnknown(f"{edge} has no {model}", hint=f"it has {names}")
    return found


def show(key: "Key", links: "list[Link]") -> None:
    """The walk, what is running first, each line the cause of the one above it."""
    from reconciler.cli.draw import line
    from reconciler.cli.status import shown
    from reconciler.diagnostics import printable

    line(str(key), "bold")
    for link in links:
        arrow = "   " if link.what in BEGINS else " ← "
        when = f"{shown(link.time)}  " if link.time else ""
        line(printable(f"{arrow}{link.what:<10}  {when}{link.text}"))
        if link.what in {"line", "today"}:
            line(printable(f"{'':15}{link.place} in commit {link.commit[:7]} by {link.author}"), "bold")
