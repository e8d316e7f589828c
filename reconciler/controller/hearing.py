"""Listening to another log, whatever state it is in. May import: ports, controller.recorder.

In: a link.  Out: what is new there, and an event when the link refuses to copy (a gap, a fork, a broken chain), said
once, and when it copies again. A log that cannot be trusted blocks nobody but its own source.
"""

from reconciler.controller.recorder import StageRecorder
from reconciler.errors import HistoryError, WorldUnavailable
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.ports import Link


def hear(link: Link, record: StageRecorder, peer: str) -> tuple[list[Entry], list[Event]]:
    """The entries copied from `peer` just now, and what is to be recorded about the link itself."""
    refused = record.state.links.get(peer, "")
    try:
        entries = link.pull()
    except WorldUnavailable:  # not there yet, or away: what is known stays
        return [], []
    except HistoryError as failure:
        if refused == failure.message:
            return [], []
        data = {"peer": peer, "error": failure.message, "code": failure.code}
        return [], [record.event(ev.LINK_REFUSED, f"link/{peer}", data)]
    return entries, [record.event(ev.LINK_RESTORED, f"link/{peer}", {"peer": peer})] if refused else []
