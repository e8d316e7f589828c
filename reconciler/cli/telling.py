"""The log in words, what is equal once: for `history` and `run`. May import: history, web.records.

In: records, oldest first.  Out: lines. Equal sentences are told as one, with their count, entries and edges, within the
time of one commit; of what comes while it is followed, within what comes together.
"""

import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from reconciler.history.events import REF_ADVANCED
from reconciler.natural import in_order
from reconciler.wording import general, grouped, names, of_all

if TYPE_CHECKING:
    from reconciler.web.records import Record

MOST: Final = 5_000  # records that are held at once
GATHER_S: Final = 0.2  # in which what comes comes together
_VARIES: Final = re.compile(r"; again in [0-9.]+ (?:s|min|h)$| at [0-9.]+ (?:B|KiB|MiB|GiB|TiB)$")  # from try to try
_T = TypeVar("_T")


def show(records: "Sequence[Record]", form: str, *, each: bool = False) -> None:
    """These records: as lines, or one by one as data. each: also the lines are one a record."""
    if form not in {"table", "wide"}:
        from reconciler.cli.output import write_one

        for record in records:
            write_one(form, "Event", record)
        return
    from reconciler.cli.draw import line, screen

    at = screen()
    for those in commits(records):
        told = list(_told(those, each=each or form == "wide", is_wide=form == "wide"))
        width = max((6, *(len(entries) for entries, _, _ in told)))
        for entries, when, text in told:
            begins = f"{entries:>{width}}  {when}  "
            line(begins + text, at=at, hang=len(begins))


def commits(records: "Iterable[Record]") -> "Iterator[list[Record]]":
    """The records from one commit to the next, as many as may be held."""
    held: list[Record] = []
    for record in records:
        if held and (record.type == REF_ADVANCED or len(held) >= MOST):
            yield held
            held = []
        held.append(record)
    if held:
        yield held


def together(arriving: Iterable[_T]) -> Iterator[list[_T]]:
    """What arrives within GATHER_S of the first of it. Raises what `arriving` raises, behind what came before."""
    came: queue.SimpleQueue[_T | BaseException | None] = queue.SimpleQueue()

    def take() -> None:
        try:
            for one in arriving:
                came.put(one)
            came.put(None)
        except BaseException as failure:  # noqa: BLE001  # risen again where it is waited for
            came.put(failure)

    threading.Thread(target=take, name="records", daemon=True).start()
    while True:
        batch = gathered(came, came.get())
        end = batch[-1]
        if end is None or isinstance(end, BaseException):
            if batch[:-1]:
                yield batch[:-1]  # type: ignore[misc]  # only the last one is an end
            if end is not None:
                raise end
            return
        yield batch  # type: ignore[misc]


def gathered(came: "queue.SimpleQueue[_T] | queue.Queue[_T]", first: _T) -> list[_T]:
    """The first one and what comes within GATHER_S of it, up to an end: None, or a failure."""
    batch, until = [first], time.monotonic() + GATHER_S
    while batch[-1] is not None and not isinstance(batch[-1], BaseException) and len(batch) < MOST:
        try:
            batch.append(came.get(timeout=max(0.0, until - time.monotonic())))
        except queue.Empty:
            break
    return batch


def _told(records: "Sequence[Record]", *, each: bool, is_wide: bool) -> Iterator[tuple[str, str, str]]:
    """(entries, when, what) of every line. is_wide: of one by one, with what else an event says."""
    from reconciler.cli.status import shown
    from reconciler.diagnostics import printable

    for _, alike in grouped(((_what(record), record) for record in records), each=each):
        first, last = alike[0], alike[-1]
        if len(alike) == 1:
            about = " ".join(part for part in (first.edge, first.model) if part)
            text = f"{about}: {first.text}" if about else first.text
            yield str(first.seq), shown(first.time), printable(text + (_wide(first) if is_wide else ""))
            continue
        about, many = _about(alike)
        said = of_all((_steady(record), _own(record)) for record in alike)
        times = f" ({len(alike)} times, the last at {shown(last.time)})" if many < len(alike) else ""
        text = f"{about}: {said}" if about else said
        yield f"{first.seq}-{last.seq}", shown(first.time), printable(f"{text}{times}")


def _wide(record: "Record") -> str:
    """What else an event says: its type, who did it, for which commit, and when its log stored it."""
    by = f" by {record.actor}" if record.actor else ""
    commit = f" for commit {record.commit[:7]}" if record.commit else ""
    return f"  [{record.type}{by}{commit}, recorded {record.recorded_time}]"


def _what(record: "Record") -> tuple[str, str]:
    """What a record says, of whichever edge or object, at whichever try: (model, words)."""
    return record.model if record.edge else "", general(_steady(record), _own(record))


def _steady(record: "Record") -> str:
    """What it says, without what is another thing from try to try."""
    return _VARIES.sub("", record.text)


def _own(record: "Record") -> dict[str, str]:
    log, _, _ = record.source.rpartition("/")
    own = {record.edge: "EDGE", record.source: f"{log.rpartition('/')[0] or log}/…"}
    if not record.edge and record.model:
        own[record.model] = "NAME"
    return own


def _about(alike: "Sequence[Record]") -> tuple[str, int]:
    """Of whom several say the same, and how many these are."""
    first, edges = alike[0], in_order(record.edge for record in alike)
    if not first.edge:
        objects = in_order(record.model for record in alike if record.model)
        about = f"{len(objects)} objects ({names(objects)})" if len(objects) > 1 else "".join(objects)
        return about, len(objects) or 1
    if len(edges) == 1:
        return " ".join(part for part in (first.edge, first.model) if part), 1
    on = f"{len(edges)} edges ({names(edges)})"
    return f"{first.model} on {on}" if first.model else on, len(edges)
