"""Names of archive members: which are left out, which are refused, and which clash. Standard library, limits and
errors only.

In: names as an archive has them.  Out: path components that can be created below a directory, each path once.
"""

import re
import unicodedata

from reconciler.artifacts.limits import UnpackLimits
from reconciler.errors import ArchiveRefused

Parts = tuple[str, ...]

# What file managers leave in folders, and so in archives: macOS, Windows. In lower case, as some spell them otherwise.
LEFT_BEHIND = frozenset(
    b"__macosx .ds_store .appledouble .apdisk .localized .spotlight-v100 .trashes .fseventsd .temporaryitems "
    b"thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini $recycle.bin".split()
) | {b"icon\r", b"system volume information"}
SIDECAR = b"._"  # AppleDouble: what of a file another file system cannot hold. Source: RFC 1740


class Names:
    """Every name of one archive so far, as it would look on a file system without case or accents' spelling."""

    def __init__(self, limits: UnpackLimits) -> None:
        self._limits = limits
        self._spelled: dict[str, tuple[Parts, str]] = {}  # folded path -> (as written, file | directory | implied)
        self.members = 0

    def count(self) -> None:
        """One more header. Raises ArchiveRefused above the cap."""
        self.members += 1
        if self.members > self._limits.max_members:
            raise ArchiveRefused(f"the archive has more than {self._limits.max_members} members")

    def claim(self, raw: bytes, *, directory: bool) -> Parts:
        """The components of a member's name; empty for the root itself. Raises ArchiveRefused."""
        parts = components(raw, self._limits, directory=directory)
        for depth in range(1, len(parts)):
            self._enter(parts[:depth], "implied")
        if parts:
            self._enter(parts, "directory" if directory else "file")
        elif not directory:
            raise ArchiveRefused("a member has no name")
        return parts

    def _enter(self, parts: Parts, kind: str) -> None:
        folded = fold("/".join(parts))
        if folded not in self._spelled:
            self._spelled[folded] = (parts, kind)
            return
        spelled, before = self._spelled[folded]
        if spelled != parts:
            raise ArchiveRefused(f"{'/'.join(spelled)!r} and {'/'.join(parts)!r} are one name on some file systems")
        if "file" in {before, kind}:
            raise ArchiveRefused(f"{'/'.join(parts)!r} is in the archive twice", hint="pack it anew, each file once")
        if before == "implied":
            self._spelled[folded] = (parts, kind)


def fold(path: str) -> str:
    """Equal for names that only differ in case or in composed and decomposed accents (Unicode D145)."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def is_left_behind(raw: bytes) -> bool:
    """Whether a member is a file manager's own and no part of what somebody packed. Such a one is never created."""
    *above, last = raw.rstrip(b"/").split(b"/")
    is_sidecar = last.startswith(SIDECAR) and not raw.endswith(b"/")
    return is_sidecar or any(part.lower() in LEFT_BEHIND for part in (*above, last))


def components(raw: bytes, limits: UnpackLimits, *, directory: bool) -> Parts:
    """The components of a name, `.` left out. Raises ArchiveRefused for whatever could lead elsewhere."""
    shown = repr(raw[:80].decode("utf-8", "backslashreplace"))
    if not raw or len(raw) > limits.max_path_bytes:
        raise ArchiveRefused(f"name {shown} is empty or longer than {limits.max_path_bytes} bytes")
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveRefused(f"name {shown} is not UTF-8", hint="rename it, or pack with --format=pax") from error
    if "\\" in name or any(unicodedata.category(char) == "Cc" for char in name):
        raise ArchiveRefused(f"name {shown} has a backslash or a control character")
    if name.startswith("/"):
        raise ArchiveRefused(f"name {shown} is absolute")
    if re.match(r"[A-Za-z]:", name):
        raise ArchiveRefused(f"name {shown} begins as a drive of Windows, and is absolute there")
    if name.endswith("/") and not directory:
        raise ArchiveRefused(f"name {shown} is a file's and ends as a directory's")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ArchiveRefused(f"name {shown} has '..', which leads out of its directory")
    if any(len(part.encode()) > 255 for part in parts):
        raise ArchiveRefused(f"name {shown} has a part of more than 255 bytes")
    if len(parts) > limits.max_depth:
        raise ArchiveRefused(f"name {shown} is deeper than {limits.max_depth} levels")
    return tuple(parts)
