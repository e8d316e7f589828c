"""Points in a log as people name them: a sequence number, a time, a commit. May import: history, sources, errors.

In: a word from a person and a log.  Out: a sequence number.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time as time_now
from typing import Final, Protocol

from reconciler.errors import PointUnknown, UsageError
from reconciler.history.events import REF_ADVANCED, Entry, Head, rfc3339

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_YEARS = range(1970, 9999)
_AGO: Final = re.compile(r"-?([0-9]{1,7})\s?([smhdw])(?: ago)?")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}  # seconds
_LONGEST_S: Final = 700_000 * 86_400  # what the calendar of Python can be moved by; no year then is one of a log
_DAYS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}
SPELLINGS: Final = "90m, 1h or 2d (ago, or from now), today, yesterday, 2026-11-30 or 2026-11-30T14:02:00Z"


class Readable(Protocol):
    """As much of a log as a point needs."""

    def head(self) -> Head:
        """See `ports.EventLog`."""
        ...

    def read(self, after: int = 0, upto: int | None = None, *, stream: str = "") -> Iterator[Entry]:
        """See `ports.EventLog`."""
        ...

    def seq_at(self, time: str) -> int:
        """See `ports.EventLog`."""
        ...


def moment(text: str, *, ahead: bool = False) -> str:
    """A time as the log writes it, from 1970 to 9998. Without an offset it is UTC, as is the day of a date.

    text: RFC 3339, a date, `today`, `yesterday`, `tomorrow`, `now`, or `90m`, `1h`, `2d`: so long ago, or ahead of now
    where `ahead` says that times to come are meant. Raises UsageError.
    """
    return _written(_absolute(text.strip(), ahead=ahead), text)


def _absolute(text: str, *, ahead: bool) -> datetime:
    now = datetime.fromtimestamp(time_now(), UTC)
    if (days := _DAYS.get(text.lower())) is not None:
        return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
    if text.lower() == "now":
        return now
    if found := _AGO.fullmatch(text):
        length = timedelta(seconds=min(int(found[1]) * _UNITS[found[2]], _LONGEST_S))
        return now + length if ahead else now - length
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time", hint=f"write it as {SPELLINGS}") from error
    return when


def _written(when: datetime, text: str) -> str:
    if when.year not in _YEARS:  # an offset moves it by a day at most
        raise UsageError(f"{text!r} is in no year from {_YEARS[0]} to {_YEARS[-1]}", hint="no log has such a time")
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ahead(time: str, said: str) -> str:
    """`time` (as `moment` writes it), where it is still to come. said: how it was typed. Raises UsageError."""
    now = rfc3339(time_now())
    if time <= now:
        raise UsageError(f"{said} has passed: it is {now[:19]}Z now", hint="give a time that is still to come")
    return time


def point(text: str, log: Readable, tree: Path | None = None) -> int:
    """The last entry at a point. SEQ is that entry, TIME the last one until then, COMMIT the last one under it.

    Text of 7 and more hexadecimal digits is taken for a commit where the log has one of that name. tree: the work tree
    in which other names of commits (`HEAD~1`, a tag) are looked up. Raises PointUnknown, UsageError.
    """
    if _COMMIT.fullmatch(text):
        found = _under(text, log)
        if found:
            return found
    if text.isascii() and text.isdigit():
        seq, head = int(text), log.head().seq
        if seq > head:
            raise PointUnknown(f"there is no entry {seq}: the log ends at {head}")
        return seq
    if _COMMIT.fullmatch(text):
        raise PointUnknown(f"commit {text} was never read here")
    try:
        time = moment(text)
    except UsageError:
        return _named(text, log, tree)
    return _until(time, text, log)


def spelled(text: str, tree: Path | None) -> str:
    """A point as any hub understands it: a commit's other name (`HEAD~1`, a tag) becomes its id, by a work tree."""
    if tree is None or (text.isascii() and text.isdigit()) or _COMMIT.fullmatch(text):
        return text
    try:
        moment(text)
    except UsageError:
        from reconciler.sources.revision import revision

        return revision(text, tree) or text
    return text


def work_tree(directory: Path) -> Path | None:
    """`directory`, where it is a work tree or a repository of this machine."""
    return directory if (directory / ".git").exists() or (directory / "HEAD").is_file() else None


def _named(text: str, log: Readable, tree: Path | None) -> int:
    """The last entry under a commit that goes by another name in a work tree."""
    from reconciler.sources.revision import revision

    commit = revision(text, tree) if tree is not None else ""
    if not commit:
        hint = (
            "write SEQ (`reconciler history` shows them), TIME as 1h, yesterday or 2026-11-30T14:02:00Z, or COMMIT in "
            "7 digits or more"
        )
        where = f", nor a commit of {tree}" if tree is not None else ""
        raise UsageError(f"{text!r} is neither an entry's number, a time nor a commit's id{where}", hint=hint)
    found = _under(commit, log)
    if not found:
        raise PointUnknown(f"commit {commit[:12]}, which {text} names in {tree}, was never read here")
    return found


def _until(time: str, text: str, log: Readable) -> int:
    """The last entry until a time. Raises PointUnknown before the log begins, and for what is still to come."""
    seq, head = log.seq_at(time), log.head().seq
    if not seq:
        began = next(log.read(0, 1)).event.recordedtime if head else ""
        raise PointUnknown(
            f"the log begins after {time[:19]}Z", hint=f"it began {began[:19]}Z" if began else "it is empty"
        )
    if seq == head and time > rfc3339(time_now()):
        last = next(log.read(head - 1)).event.recordedtime
        if time > last:
            raise PointUnknown(f"{text} is still to come: the log ends at {head}, {last[:19]}Z")
    return seq


def _under(commit: str, log: Readable) -> int:
    """The last entry before the commit that was read after the newest reading of `commit`; 0 when it was never read."""
    last, found = 0, set()
    for entry in log.read(stream="git"):
        if entry.event.type != REF_ADVANCED:
            continue
        named = str(entry.event.data["commit"])
        if named.startswith(commit):
            found.add(named)
            last = log.head().seq
        elif last == log.head().seq:
            last = entry.seq - 1
    if len(found) > 1:
        raise UsageError(f"{commit} names {len(found)} commits", hint="write more digits")
    return last
