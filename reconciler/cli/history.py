"""`reconciler history`: the log in words."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import forms, state

if TYPE_CHECKING:
    from reconciler.history.events import Entry
    from reconciler.wiring.past import Past

LOOK_S = 0.2  # between two looks at a log that somebody else writes


@dataclass(frozen=True)
class Wanted:
    """Which events are asked for; "" is no condition."""

    edge: str = ""
    model: str = ""
    commit: str = ""

    def has(self, entry: "Entry") -> bool:
        """Whether this one is."""
        from reconciler.history.keys import Key
        from reconciler.history.timeline import named, subject

        event = entry.event
        if self.commit and not event.gitcommit.startswith(self.commit):
            return False
        if self.edge and subject(event)[0] != self.edge:
            return False
        if not self.model:
            return True
        key = Key.parse(event.subject) if "@" in event.subject else None
        return key is not None and self.model in {key.name, named(key, event.data.get("spec") or {})}


@click.command(epilog="Example: reconciler history --edge edge-1 --since 2026-11-30 --follow")
@click.option("--edge", default="", help="Only what is about this edge.")
@click.option("--model", default="", help="Only what is about this model, dataset or object.")
@click.option("--commit", default="", help="Only what this commit brought about.")
@click.option("--since", metavar="TIME|SEQ", help="Only what was recorded at or after this time, or behind this entry.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on as events come, until interrupted.")
@state
@forms
def command(
    *,
    state_dir: Path,
    edge: str,
    model: str,
    commit: str,
    since: str | None,
    limit: int | None,
    follow: bool,
    form: str,
) -> None:
    """Show what happened, oldest first: commits, plans, orders, downloads, flips and rollbacks."""
    from collections import deque

    from reconciler.wiring.past import opened

    wanted = Wanted(edge, model, commit)
    with opened(state_dir) as past:
        _require_known(wanted, past)
        head = past.log.head().seq
        entries = (entry for entry in past.log.read(_after(since, past), head) if wanted.has(entry))
        shown = deque(entries, maxlen=limit) if limit else entries
        for entry in shown:
            show(entry, form)
        for entry in past.news(head, LOOK_S) if follow else ():
            if wanted.has(entry):
                show(entry, form)


def _require_known(wanted: Wanted, past: "Past") -> None:
    """Refuse names that this log never had: nothing would ever be shown for them. Raises NameUnknown."""
    from reconciler.errors import NameUnknown
    from reconciler.history.events import REF_ADVANCED
    from reconciler.history.keys import Key
    from reconciler.history.timeline import named

    now = past.replay.at()
    keys = {Key.parse(text): served.order for text, served in now.keys.items()}
    edges = {*now.edges, *now.links, *(key.edge for key in keys)}
    if wanted.edge and wanted.edge not in edges and not _ever(Wanted(edge=wanted.edge), past):
        raise NameUnknown(f"the log has no edge {wanted.edge}", hint=f"it has {', '.join(sorted(edges)) or 'none yet'}")
    models = {named(key, order) for key, order in keys.items()}
    if wanted.model and wanted.model not in models and not _ever(Wanted(model=wanted.model), past):
        has = ", ".join(sorted(models)) or "none yet"
        raise NameUnknown(f"the log has no model, dataset or object {wanted.model}", hint=f"it has {has}")
    if wanted.commit and not any(
        entry.event.type == REF_ADVANCED and entry.event.gitcommit.startswith(wanted.commit)
        for entry in past.log.read(stream="git")
    ):
        newest = f"the newest is {now.ref.commit[:12]}" if now.ref.commit else "none was read yet"
        raise NameUnknown(f"commit {wanted.commit} was never read here", hint=newest)


def _ever(wanted: Wanted, past: "Past") -> bool:
    """Whether the log, which may have forgotten in its fold what is gone, has an event of it."""
    return any(wanted.has(entry) for entry in past.log.read())


def _after(since: str | None, past: "Past") -> int:
    from reconciler.cli.points import moment

    if not since:
        return 0
    if since.isdigit() and len(since) < 8:
        return int(since)
    return max(0, past.log.seq_at(_before(moment(since))))


def _before(time: str) -> str:
    """The microsecond before `time`, so that what was recorded at that very time is shown too."""
    from datetime import datetime, timedelta

    return (datetime.fromisoformat(time) - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def show(entry: "Entry", form: str) -> None:
    """One event."""
    from reconciler.history.timeline import subject, words

    edge, model = subject(entry.event)
    if form == "table":
        from reconciler.cli.draw import line

        line(sentence(entry))
        return
    from reconciler.cli.output import write_one

    event = entry.event
    write_one(
        form,
        "Event",
        {
            "seq": entry.seq,
            "id": event.id,
            "time": event.time,
            "recordedTime": event.recordedtime,
            "type": event.type,
            "source": event.source,
            "edge": edge,
            "model": model,
            "subject": event.subject,
            "actor": event.actor,
            "commit": event.gitcommit,
            "cause": event.causationid,
            "operation": event.operationid,
            "text": words(event),
        },
    )


def sentence(entry: "Entry") -> str:
    """`   12  2026-11-30 14:02:11  edge-1 digits: serves version 2 (before: 1)`."""
    from reconciler.cli.status import shown
    from reconciler.diagnostics import printable
    from reconciler.history.timeline import subject, words

    event = entry.event
    about = " ".join(part for part in subject(event) if part)
    return printable(f"{entry.seq:>6}  {shown(event.time)}  {f'{about}: ' if about else ''}{words(event)}")
