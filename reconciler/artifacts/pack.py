"""Files of a directory as one tar.gz, the same bytes whoever packs them and when. May import names, place, errors.

In: a file, or a directory.  Out: its members, copies of them, an archive. Names are sorted; owner, time and mode are
those of nobody, never and everybody may read; the same Python makes the same bytes. Links are followed, as an edge
takes none, but none that leads out of the directory; what file managers leave behind, what begins with a dot and what
Python caches stay out.
"""

import gzip
import hashlib
import os
import shlex
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.names import components, is_left_behind
from reconciler.artifacts.place import sync_directory
from reconciler.errors import ArchiveRefused, UsageError

LEVEL: Final = 6  # weights hardly shrink; more costs time alone
MODE: Final = 0o644
CACHES: Final = frozenset({"__pycache__"})
CHUNK: Final = 1 << 20

Members = Mapping[str, Path]  # name in the archive -> the file that it is made of
Tell = Callable[[str, int, int | None], None]  # ports.FetchProgress: stage, bytes done, bytes in all


class Packed(NamedTuple):
    """An archive, of these bytes."""

    sha256: str
    size: int


class Selected(NamedTuple):
    """What of a directory is packed; left_out: the names, below it, of what is not."""

    members: dict[str, Path]
    left_out: list[str]


def select(directory: Path) -> Selected:
    """Every file below `directory` that belongs to its model.

    Raises UsageError for a link that leads nowhere, or out of it; ArchiveRefused for a name that no edge takes.
    """
    members, left_out, root = {}, [], directory.resolve()
    for place, folders, names in os.walk(directory, followlinks=True, onerror=_raise):
        here = Path(place)
        require_within(here, root)
        inner = [(here / name).relative_to(directory).as_posix() for name in [*folders, *names] if _stays_out(name)]
        left_out += inner
        folders[:] = sorted(name for name in folders if not _stays_out(name))
        if any(here.samefile(above) for above in here.parents if above.is_relative_to(directory)):
            raise UsageError(f"{here} is a link to a directory that it is in", hint="remove the link")
        for name in names:
            if not _stays_out(name):
                path = here / name
                if not path.is_file():
                    raise UsageError(f"{path} is no file, or a link that leads to none", hint="remove it, or mend it")
                require_within(path, root)
                member = path.relative_to(directory).as_posix()
                _require_name(member)
                members[member] = path
    return Selected(members, sorted(left_out))


def require_within(path: Path, root: Path) -> None:
    """Refuse a link that leads out of `root`, which has no link: what is beyond was not named. Raises UsageError."""
    if not path.resolve().is_relative_to(root):
        link = next(one for one in (path, *path.parents) if one.is_symlink())
        name, source = shlex.quote(str(link)), shlex.quote(str(link.resolve()))
        raise UsageError(
            f"{link} is a link that leads out, to {link.resolve()}",
            hint=f"copy what it leads to: rm {name} && cp -r {source} {name}",
        )


def _require_name(name: str) -> None:
    """Refuse what an edge would refuse to unpack. Raises ArchiveRefused."""
    try:
        components(os.fsencode(name), UnpackLimits(), directory=False)
    except ArchiveRefused as error:
        raise ArchiveRefused(error.message, hint="rename the file: its name stands in the archive as it is") from error


def _raise(error: OSError) -> None:
    raise error


def _stays_out(name: str) -> bool:
    return name.startswith(".") or name in CACHES or is_left_behind(os.fsencode(name))


def copy(members: Members, into: Path, tell: Tell) -> int:
    """Copy the files below `into`; how many bytes they have. Raises OSError."""
    done, total = 0, sum(path.stat().st_size for path in members.values())
    for name, path in members.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, target.open("xb") as copied:
            while chunk := source.read(CHUNK):
                copied.write(chunk)
                done += len(chunk)
                tell("copying", done, total)
    return done


def pack(members: Members, archive: Path, tell: Tell) -> Packed:
    """Write a new archive of these files and sync it. Raises OSError."""
    total, done = sum(path.stat().st_size for path in members.values()), 0
    with archive.open("xb") as raw:
        hashed = _Hashed(raw)
        with (
            gzip.GzipFile("", "wb", LEVEL, hashed, mtime=0) as coded,
            tarfile.open(fileobj=coded, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for name, path in sorted(members.items()):
                member = tarfile.TarInfo(name)
                member.size, member.mode = path.stat().st_size, MODE
                with path.open("rb") as source:
                    tar.addfile(member, _Counted(source, done, total, tell))
                done += member.size
        raw.flush()
        os.fsync(raw.fileno())
    return Packed(hashed.digest.hexdigest(), hashed.size)


def put(archive: Path, target: Path) -> None:
    """Give a finished archive its name, in place of what had it, durably. Raises OSError."""
    archive.replace(target)
    sync_directory(target.parent)


def sha256_of(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(directory: Path) -> int:
    """What may be written there."""
    return shutil.disk_usage(directory).free


class _Hashed:
    """A file that is written and hashed at once."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self.digest, self.size = raw, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._raw.write(data)
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._raw.flush()


class _Counted:
    """A file that tells how far it was read, as a part of a whole."""

    def __init__(self, source: BinaryIO, done: int, total: int, tell: Tell) -> None:
        self._source, self._done, self._total, self._tell = source, done, total, tell

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._done += len(data)
        self._tell("packing", self._done, self._total)
        return data
