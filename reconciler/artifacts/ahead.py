"""Whether a URL leads to an artifact of the size that is declared, asked ahead. May import wire, address, pace, errors.

In: a URL from Git.  Out: silence, or what is wrong. Every hop keeps the downloader's rules about addresses; no
credentials go along, and of the body one byte is asked for.
"""

import time
from contextlib import ExitStack
from typing import Final

from reconciler.artifacts.address import follow, parse, shown
from reconciler.artifacts.fetch import REDIRECTS, content_length, opened_file
from reconciler.artifacts.limits import FetchLimits
from reconciler.artifacts.pace import Interrupted, Pace, Watch
from reconciler.artifacts.wire import get
from reconciler.errors import ArtifactRefused, ArtifactUnavailable
from reconciler.ports import Clock

HEADERS: Final = {"Accept-Encoding": "identity", "Accept": "*/*", "Range": "bytes=0-0"}
PARTIAL: Final = 206


def look_at_file(url: str, size: int | None, *, allow_file: bool) -> None:
    """The same of a file: URL, on this machine. Raises ArtifactRefused, AddressRefused."""
    with opened_file(url, is_allowed=allow_file) as (_, length):
        _require_size(url, length, size)


def _require_size(url: str, whole: int | None, size: int | None) -> None:
    if size is not None and whole is not None and whole != size:
        raise ArtifactRefused(f"{shown(url)} has {whole} bytes; {size} are declared")


def look(url: str, size: int | None, *, allow_loopback: bool, clock: Clock, within_s: float) -> None:
    """Raises ArtifactRefused (not there, another size), AddressRefused, ArtifactUnavailable (it cannot be said)."""
    limits = FetchLimits(connect_s=within_s, window_s=within_s, wall_s=within_s)
    pace = Pace(limits, clock, clock.monotonic() + within_s)
    watch = Watch(clock, lambda *_: None, lambda: False, time.sleep)
    hop = parse(url)
    try:
        for _ in range(limits.redirects + 1):
            with ExitStack() as stack:
                answer = stack.enter_context(get(hop, HEADERS, limits, watch, pace, allow_loopback=allow_loopback))
                location = answer.headers.get("Location")
                if answer.status in REDIRECTS and location:
                    hop = follow(hop, location)
                    continue
                if answer.status >= 500 or answer.status in {408, 425, 429}:
                    raise ArtifactUnavailable(f"{shown(url)} answered {answer.status} {answer.reason}")
                if answer.status not in {200, PARTIAL}:
                    raise ArtifactRefused(f"{shown(url)} answered {answer.status} {answer.reason}")
                said = answer.headers.get("Content-Range", "").rpartition("/")[2]
                whole = content_length(answer) if answer.status != PARTIAL else int(said) if said.isdigit() else None
                _require_size(url, whole, size)
                return
    except Interrupted as broken:
        raise ArtifactUnavailable(str(broken)) from broken
    raise ArtifactRefused(f"{shown(url)} redirects more than {limits.redirects} times")
