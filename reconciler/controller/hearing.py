"""Listening to another log, whatever state it is in. May import: ports, controller.recorder.

In: a link.  Out: what is new there, and an event when the link refuses to copy (a gap, a fork, a broken chain), said
once, and when it copies again. A log that cannot be trusted blocks nobody but its own source.
"""

from reconciler.controller.recorder import Recorder
from reconciler.errors import ForkFound, HistoryError, WorldUnavailable
from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.ports import Link


def hear(link: Link, record: Recorder, peer: str) -> tuple[list[Entry], list[Event]]:
    """The entries copied from `peer` just now, and what is to be recorded about the link itself."""
    refused = record.state.links.get(peer, "")
    try:
        if record.state.hub and link.source != record.state.hub and record.log.held(link.source).seq:
            raise ForkFound(f"{peer} writes as {link.source}, which it left for {record.state.hub}: an older copy")
        entries = link.pull()
    except WorldUnavailable:  # not there yet, or away: what is known stays
        return [], []
    except HistoryError as failure:
        if refused == failure.message:
            return [], []
        data = {"peer": peer, "error": failure.message, "code": failure.code}
        if isinstance(failure, ForkFound):  # what that log does not know any more: it may begin a new epoch
            data["source"] = link.source
        return [], [record.event(ev.LINK_REFUSED, f"link/{peer}", data)]
    return entries, [record.event(ev.LINK_RESTORED, f"link/{peer}", {"peer": peer})] if refused else []
