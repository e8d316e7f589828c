"""Bytes from a URL into a Partial: resume, redirects, retries, caps. May import wire, address, partial, pace,
engine.retry, errors.

In: an Artifact and what is there of it.  Out: a Partial that is complete by the server's word and not above the pinned
size; only its digest proves that it is right. Source: RFC 9110 sections 13 to 15 (conditions, ranges, status).
"""

import http.client
import os
import random
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from reconciler.artifacts.address import Hop, follow, parse, shown
from reconciler.artifacts.limits import FetchLimits
from reconciler.artifacts.pace import Interrupted, Pace, Watch
from reconciler.artifacts.partial import CHUNK, FetchOrigin, Partial
from reconciler.artifacts.refusal import NOT_MODIFIED, Refusal
from reconciler.artifacts.room import Room
from reconciler.artifacts.wire import get
from reconciler.engine.retry import retry_delay_s
from reconciler.errors import AddressRefused, ArtifactRefused, ArtifactUnavailable, DigestMismatch
from reconciler.ports import Artifact

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429})  # and 5xx
STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@contextmanager
def opened_file(url: str, *, is_allowed: bool) -> Iterator[tuple[int, int]]:
    """(descriptor, length in bytes) of the regular file of a file: URL. Raises AddressRefused, ArtifactRefused."""
    parts = urlsplit(url)
    if not is_allowed or parts.netloc:
        raise AddressRefused(f"the file URL {shown(url)} {'has a host' if parts.netloc else 'is not allowed'}")
    try:
        # O_NONBLOCK: opening a fifo would wait for its writer.
        fd = os.open(unquote(parts.path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ArtifactRefused(f"{shown(url)} cannot be read: {error}") from error
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise ArtifactRefused(f"{shown(url)} is not a regular file")
        yield fd, state.st_size
    finally:
        os.close(fd)


class Answer(NamedTuple):
    """Validators and length of a body that a server sends; "" and None where it says none."""

    etag: str = ""
    modified: str = ""
    length: int | None = None


@dataclass
class Download:
    """One artifact on its way into `partial`. received: bytes of bodies that came over the network.

    refused: what came from there last and was not what is pinned.  answer: what the server said of what it sends now.
    """

    artifact: Artifact
    partial: Partial
    room: Room
    limits: FetchLimits
    watch: Watch
    jitter: Callable[[], float] = random.random
    refused: Refusal | None = None
    received: int = 0
    answer: Answer = field(default_factory=Answer)
    encoded: bool = field(default=False)  # the server compressed the body although it was asked not to

    def run(self) -> None:
        """Bring all bytes, with a few tries. Raises ArtifactUnavailable, ArtifactRefused, AddressRefused, ..."""
        if urlsplit(self.artifact.url).scheme == "file":
            self._copy_file()
            return
        ends_at = self.watch.clock.monotonic() + self.limits.wall_s
        for attempt in range(self.limits.attempts):
            try:
                pace = Pace(self.limits, self.watch.clock, ends_at)
                while not self._exchange(pace):
                    pass
            except Interrupted as broken:
                self._wait(broken, attempt)
            else:
                return

    def _wait(self, broken: Interrupted, attempt: int) -> None:
        """Sleep before the next try: full jitter, or what the server asks for. Raises ArtifactUnavailable."""
        delay = max(retry_delay_s(attempt, self.jitter(), self.limits.backoff_s), broken.after_s or 0.0)
        if attempt + 1 == self.limits.attempts or delay > self.limits.patience_s:
            size = "" if self.artifact.size is None else f" of {self.artifact.size}"
            raise ArtifactUnavailable(f"{broken} ({self.partial.length}{size} bytes are here)") from broken
        self.watch.pause(delay)

    def _exchange(self, pace: Pace) -> bool:
        """One request and its redirects; whether the artifact is complete. False asks for another one at once."""
        have = self.partial.length
        if have and not self._resumable():
            self.partial.restart()
            have = 0
        if have and have == self._size():
            return True
        headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        if have and self.partial.origin:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.partial.origin.etag}
        elif self.refused is not None:
            headers |= self.refused.conditions()
        with ExitStack() as stack:
            response = self._ask(parse(self.artifact.url), headers, pace, stack)
            return self._take(response, have)

    def _ask(self, hop: Hop, headers: dict[str, str], pace: Pace, stack: ExitStack) -> http.client.HTTPResponse:
        for _ in range(self.limits.redirects + 1):
            allowed = self.artifact.allow_loopback
            response = stack.enter_context(get(hop, headers, self.limits, self.watch, pace, allow_loopback=allowed))
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or not location:
                return response
            stack.close()
            hop = follow(hop, location)
        raise ArtifactRefused(f"{shown(self.artifact.url)} redirects more than {self.limits.redirects} times")

    def _take(self, response: http.client.HTTPResponse, have: int) -> bool:
        """Judge the status; read the body where it is one. Whether the artifact is complete."""
        status, where = response.status, shown(self.artifact.url)
        if status in PASSING or status >= 500:
            after = retry_after_s(response.headers.get("Retry-After"), self.watch.clock.now())
            raise Interrupted(f"{where} answered {status} {response.reason}", after_s=after)
        if status == 416 and have:
            self.partial.restart()  # complete parts never ask: this one is of something else
            return False
        if status == 206 and have:
            return self._continue(response, have)
        total = content_length(response) if status == 200 else None
        again = self.refused if not have and status in {200, NOT_MODIFIED} else None
        if again is not None and again.is_still_so(status, dict(response.headers), total):
            raise DigestMismatch(again.message)
        if status != 200:
            raise ArtifactRefused(f"{where} answered {status} {response.reason}")
        if have:
            self.partial.restart()
        coding = response.headers.get("Content-Encoding", "identity").lower()
        if coding not in {"identity", "gzip", "x-gzip"}:
            raise ArtifactRefused(f"{where} sends Content-Encoding {coding} although identity was asked for")
        self.encoded = coding != "identity"
        etag = response.headers.get("ETag", "")
        self.answer = Answer(etag, response.headers.get("Last-Modified", ""), total)
        if not self.encoded:
            self._check_size(total)
        strong = etag if STRONG_ETAG.fullmatch(etag) and not self.encoded else ""
        self.partial.describe(FetchOrigin(where, strong, total))
        if self.artifact.size is None and total is not None:
            self.room.admit(total, have=0)
        return self._body(response, total)

    def _continue(self, response: http.client.HTTPResponse, have: int) -> bool:
        """Append a 206 that fits what is here; start over with one that does not."""
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        origin, etag = self.partial.origin, response.headers.get("ETag")
        fits = (
            match is not None
            and origin is not None
            and int(match[1]) == have
            and origin.total in {None, int(match[3])}
            and etag in {None, origin.etag}
            and response.headers.get("Content-Encoding", "identity").lower() == "identity"
        )
        if not fits or match is None:
            self.partial.restart()
            return False
        self._check_size(int(match[3]))
        return self._body(response, int(match[2]) + 1) and self.partial.length >= int(match[3])

    def _check_size(self, length: int | None) -> None:
        """Raises DigestMismatch where less is to come than is declared, before a byte is fetched for nothing."""
        if length is not None and self.artifact.size is not None and length < self.artifact.size:
            raise DigestMismatch(wrong_size(self.artifact, length))

    def _body(self, response: http.client.HTTPResponse, end: int | None) -> bool:
        """Read until the pinned size, the announced end, or the end of the stream. True, or Interrupted."""
        size = None if self.encoded else self.artifact.size
        cap = self.limits.max_bytes if size is None else size
        framed = end is not None or response.chunked
        stage = "resuming" if self.partial.length else "downloading"
        while self.partial.length < cap and (end is None or self.partial.length < end):
            chunk = response.read1(min(CHUNK, cap - self.partial.length))
            if not chunk:
                break
            self.partial.append(chunk)
            self.received += len(chunk)
            self.watch.tell(stage, self.partial.length, self.artifact.size or end)
        have = self.partial.length
        if have == size:
            return True
        if size is None and have >= cap:
            raise ArtifactRefused(f"{shown(self.artifact.url)} sends more than {cap} bytes")
        if (end is not None and have < end) or (size is not None and not framed):
            raise Interrupted(f"{shown(self.artifact.url)} broke off after {have} bytes")
        if not framed and not self.artifact.sha256:
            raise ArtifactRefused(f"{shown(self.artifact.url)} says no length, so nothing proves that it is complete")
        return True

    def _resumable(self) -> bool:
        """Whether what is here can be gone on with: a part of this URL, with a validator, not too long."""
        origin, size = self.partial.origin, self._size()
        if origin is None or origin.url != shown(self.artifact.url):
            return False
        if size is not None and self.partial.length >= size:
            return self.partial.length == size
        return bool(origin.etag)

    def _size(self) -> int | None:
        if self.artifact.size is not None:
            return self.artifact.size
        return self.partial.origin.total if self.partial.origin else None

    def _copy_file(self) -> None:
        """Copy a file: URL. Nothing comes over the network."""
        with opened_file(self.artifact.url, is_allowed=self.artifact.allow_file) as (fd, length):
            self.partial.restart()
            if self.artifact.size is None:
                self.room.admit(length, have=0)
            self._copy(lambda: os.read(fd, CHUNK))

    def _copy(self, read: Callable[[], bytes]) -> None:
        """Append all that is read, up to one chunk above the pinned size: enough to be refused."""
        size = self.artifact.size
        while size is None or self.partial.length <= size:
            self.watch.check()
            try:
                chunk = read()
            except OSError as error:
                raise ArtifactUnavailable(f"{shown(self.artifact.url)} cannot be read: {error}") from error
            if not chunk:
                return
            self.partial.append(chunk)
            self.watch.tell("downloading", self.partial.length, size)


def wrong_size(artifact: Artifact, length: int) -> str:
    """That a URL has another length than Git declares."""
    return f"{shown(artifact.url)} has {length} bytes, and {artifact.size} are declared: correct its `size`"


def content_length(response: http.client.HTTPResponse) -> int | None:
    """The announced length of the body; None where there is none, or it means nothing."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) and not response.chunked else None


def retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for: a number or an HTTP date (RFC 9110 section 10.2.3)."""
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
