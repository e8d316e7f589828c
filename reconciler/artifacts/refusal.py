"""What of a URL was refused last, on disk, so that unchanged bytes are not fetched again. May import room, errors.

In: a download whose bytes are not those that Git pins.  Out: `<key>.refused.json`; the headers that ask whether the
bytes are still those, and whether an answer says so. Where a server gives no validator, the length decides. Source:
RFC 9110 section 13.1 (conditions).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from reconciler.artifacts.room import disk_errors

NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class Refusal:
    """Bytes that were refused. pinned: what they should have been.  etag, modified: validators, "" where none came.

    length: of the body, None where it is not known.  message: what was said of it.
    """

    url: str
    pinned: str
    etag: str
    modified: str
    length: int | None
    message: str

    def conditions(self) -> dict[str, str]:
        """The headers by which a server that knows them sends only what has changed."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.modified} if self.modified else {}

    def is_still_so(self, status: int, headers: Mapping[str, str], length: int | None) -> bool:
        """Whether an answer is of the same bytes: by its own word, its validators, or its length where it has none."""
        if status == NOT_MODIFIED:
            return True
        named = {name.lower(): value for name, value in headers.items()}
        etag, modified = named.get("etag", ""), named.get("last-modified", "")
        if (self.etag and etag) or (self.modified and modified):
            return (etag, modified, length) == (self.etag, self.modified, self.length)
        return self.length is not None and length == self.length


def recall(path: Path, url: str, pinned: str) -> Refusal | None:
    """What was refused of this URL while the same was pinned; None where nothing was, or it cannot be read."""
    try:
        found = Refusal(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return found if (found.url, found.pinned) == (url, pinned) else None


def keep(path: Path, refusal: Refusal) -> None:
    """Write it down, whole or not at all."""
    with disk_errors(path.parent):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(refusal)))
        temporary.replace(path)
