"""Failpoints: the durable steps by name, so that a test can end the process right after each. Imports nothing of ours.

In: rooms that make something durable call `reached` with its name.  Out: nothing; or, when RECONCILER_FAILPOINT says
`<name>:kill`, or `<name>:kill:<n>` for the nth time, the end of this process by SIGKILL, as a power cut would do it.
"""

import itertools
import os
import signal
from typing import Final

# name -> what is durable once it was reached. Sorted by room, in the order in which they happen.
STEPS: Final[dict[str, str]] = {
    "cluster.sent": "an object as ordered, at the API server; nothing of it is recorded",
    "cluster.answered": "nothing new: outcomes came back, none is recorded",
    "edge.stopped": "nothing new: the runtime of a key that goes away has ended",
    "edge.staged": "the artifact, in the store",
    "edge.loaded": "nothing new: the new version stands beside the old one in the runtime",
    "edge.noted": "the new version's spec, beside the slot",
    "edge.previous": "`previous` points at what still serves",
    "edge.flipped": "`current` points at the new version; the runtime still serves the old one",
    "edge.activated": "nothing new: the runtime serves the new version, no event says so",
    "edge.returned": "`current` points at the version before",
    "log.create": "the file with its tables and the genesis event",
    "log.begin": "nothing new: the rows of a commit are made, none is written",
    "log.insert": "nothing new: the rows are written, not committed",
    "log.commit": "the rows, fsynced; nobody was told",
    "log.blob": "source files by blob id; the event that names them is not",
    "log.seal.checkpoint": "every row in the database file itself; its write-ahead log is empty",
    "log.seal.prepare": "the next live file with segment.sealed in it; nothing leads to it",
    "log.seal.link": "the old file's sealed name; the old file is still the live one",
    "log.seal.switch": "the new live file is the log; the old one is not yet read-only",
    "loop.seen": "what was seen (a commit, an edge's report); nothing is planned",
    "loop.intended": "the intents of a batch; none is performed",
    "loop.applied": "every intent of the pass; outcomes may be open",
    "store.downloaded": "nothing new: every byte is in the partial file, its digest is not compared",
    "store.verified": "nothing new: the digest is the pinned one",
    "store.unpacked": "the files and their receipt, synced, under a name that nobody reads",
    "store.placed": "nothing new: the entry has its name, its parent is not synced",
    "store.kept": "the entry; the partial file is still there",
    "store.cleared": "nothing new: the partial file is gone",
    "store.hidden": "an evicted entry's name is gone, its files are not",
}

_name, _, _action = os.environ.get("RECONCILER_FAILPOINT", "").partition(":")
_kill, _, _nth = _action.partition(":")
_KILL_AT: Final = _name if _kill == "kill" else ""
_TIME: Final = int(_nth or 1)
_times = itertools.count(1)


def reached(name: str) -> None:
    """Say that the step `name` is done. Raises KeyError when it is not in STEPS, so that none stays unlisted."""
    STEPS[name]
    if name == _KILL_AT and next(_times) == _TIME:
        os.kill(os.getpid(), signal.SIGKILL)
