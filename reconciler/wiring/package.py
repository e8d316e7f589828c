"""A model made into an archive that edges take: tried, packed, and the archive itself tried again.

In: a model file, or a directory with it.  Out: the archive, and what is known of it. What it says of the model is what
an edge will say: it is loaded by the edge's code, in a process of its own, and what is tried last was unpacked by the
edge's code from the very bytes that are published.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.artifacts import pack
from reconciler.artifacts.kind import kind_of
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.pace import Watch
from reconciler.artifacts.room import REASONS
from reconciler.artifacts.unpack import unpack
from reconciler.artifacts.unpacker import FILES, UnpackJob
from reconciler.errors import PreflightRefused, StorageExhausted, UsageError
from reconciler.ports import FetchProgress
from reconciler.serving import onnx_file
from reconciler.serving.trial import try_model
from reconciler.serving.trier import Outcome
from reconciler.wiring.process import SystemClock

GOLDEN: Final = "golden.json"
SCRATCH: Final = ".packing"
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MAKERS: Final = {  # suffix -> what keeps its models so, and the guide from there
    **dict.fromkeys((".pt", ".pth", ".ckpt"), ("PyTorch", "pytorch.md")),
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".skops"), ("Python objects, as scikit-learn's", "scikit-learn.md")),
    **dict.fromkeys((".keras", ".h5"), ("Keras", "keras.md")),
}
SPARE: Final = 1 << 20  # for the golden.json and what tar adds


@dataclass(frozen=True)
class Package:
    """An archive that was tried. files: name -> bytes.  is_given: whether golden.json was there before.

    trial: what was asked.  left_out: what of the directory is not in it.
    """

    archive: Path
    sha256: str
    size: int
    files: dict[str, int]
    is_given: bool
    trial: Outcome
    left_out: list[str]


def selected(source: Path) -> pack.Selected:
    """The files that belong to the model: all of a directory, or a file with those that its weights are in.

    Raises UsageError, PreflightRefused.
    """
    if source.is_dir():
        found = pack.select(source)
        if not found.members:
            raise UsageError(f"{source} has no file", hint="name the directory with the exported model, or the file")
        several = sorted(name for name in found.members if Path(name).suffix.lower() in onnx_file.SUFFIXES)
        if len(several) > 1:
            raise UsageError(
                f"{source} has {len(several)} models: {', '.join(several)}",
                hint=f"name one: reconciler package {source / several[0]} …; the files with its weights come with it",
            )
        return found
    if maker := MAKERS.get(source.suffix.lower()):
        raise PreflightRefused(
            f"{source.name} is a file of {maker[0]}, and edges run ONNX",
            hint=f"export it first: docs/guides/{maker[1]}",
        )
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}", hint="name a model, or its directory") from error
    members = {source.name: source}
    with contextlib.suppress(ValueError):  # no ONNX: loading it says so
        for location in onnx_file.read(content).external if content[4:8] != onnx_file.ORT else ():
            if Path(location).is_absolute() or ".." in Path(location).parts:
                continue  # loading it says that this leads out
            if not _is_file(source.parent / location):
                hint = "name the directory with both, or export it again"
                raise PreflightRefused(
                    f"{source.name} has its weights in {location[:200]!r}, which is not there", hint=hint
                )
            pack.require_within(source.parent / location, source.parent.resolve())
            members[os.path.normpath(location)] = source.parent / location
    return pack.Selected(members, [])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


@contextlib.contextmanager
def packaged(
    source: Path,
    version: str,
    target: Path,
    examples: Sequence[Path],
    *,
    tolerance: float | None,
    doing: Callable[[str], None],
    progress: FetchProgress,
) -> Iterator[tuple[Package, Path]]:
    """A package, and its archive under a name of its own beside `target`: `publish` gives it that one.

    tolerance: of the golden.json that is written; None where nobody said.  doing, progress: are told what is done.
    What was not published is gone when this ends. Raises UsageError, PreflightRefused, ProbeFailed, ArchiveRefused,
    StorageExhausted, RuntimeUnavailable, MachineUnfit.
    """
    members, left_out = selected(source)
    _require_place(source, target)
    is_given = any(Path(name).name == GOLDEN for name in members)
    if is_given and (examples or tolerance is not None):
        what = "--example" if examples else "--tolerance"
        raise UsageError(
            f"{source} has a {GOLDEN}, which says what the model must answer", hint=f"leave out {what}, or that file"
        )
    total = sum(path.stat().st_size for path in members.values())
    with _room(target.parent, 2 * total + SPARE), _scratch(target) as place:
        model, archive = place / "model", place / "archive"
        watch = Watch(SystemClock(), progress, lambda: False, lambda _: None)
        pack.copy(members, model, watch.tell)
        trial = try_model(model, version, model / GOLDEN, examples, tolerance=tolerance, tell=doing)
        files = {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*")) if path.is_file()}
        sizes = {name: path.stat().st_size for name, path in files.items()}
        made = pack.pack(files, archive, watch.tell)
        shutil.rmtree(model)
        _prove(archive, version, made, doing, watch)
        yield Package(target, made.sha256, made.size, sizes, is_given, trial, left_out), archive


def publish(archive: Path, package: Package, *, force: bool) -> bool:
    """Give the archive its name; False where the same bytes have it. Raises UsageError where others do, OSError."""
    target = package.archive
    if target.exists():
        if target.is_file() and pack.sha256_of(target) == package.sha256:
            return False
        if not force:
            raise UsageError(
                f"{target} exists, and has other bytes",
                hint="a version is one file for ever: give a new --version or --archive; --force replaces the file",
            )
    with _room(target.parent, package.size):
        pack.put(archive, target)
    return True


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A directory beside `target`, which is gone afterwards; and those that a run which was killed has left."""
    prefix = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}."  # short, however long that name is
    for left in target.parent.glob(f"{prefix}*{SCRATCH}"):
        with _locked(left) as is_ours:
            if is_ours:
                shutil.rmtree(left, ignore_errors=True)
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix, suffix=SCRATCH, dir=target.parent)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(
            f"nothing can be written in {target.parent}: {error.strerror}", hint="name another place by --archive FILE"
        ) from error
    with made as scratch, _locked(Path(scratch)):
        yield Path(scratch)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Whether no other process has the directory; from then on this one has it, until it ends."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)


def _require_place(source: Path, target: Path) -> None:
    """Refuse a target that cannot be written, or would be packed with the next version. Raises UsageError."""
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no directory", hint="make it, or name another place by --archive FILE")
    if len(os.fsencode(target.name)) > (most := os.pathconf(target.parent, "PC_NAME_MAX")):
        raise UsageError(
            f"{target.name} has more than the {most} bytes that a file's name may have there",
            hint="name a shorter one: --archive FILE",
        )
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is no file, and an archive is one", hint="name a file: --archive FILE")
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        where = source.resolve().parent / target.name
        raise UsageError(f"{target} would lie in what is packed", hint=f"name another place: --archive {where}")


def _prove(archive: Path, version: str, made: pack.Packed, doing: Callable[[str], None], watch: Watch) -> None:
    """Unpack the archive as an edge does, and hold what comes out to its golden.json."""
    unpacked = archive.with_name("unpacked")
    unpacked.mkdir()
    fd, directory = os.open(archive, os.O_RDONLY), os.open(unpacked, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpack(fd, UnpackJob(made.sha256, made.size, kind_of(fd), directory, UnpackLimits(reserve_bytes=0)), watch)
    finally:
        os.close(fd)
        os.close(directory)
    try_model(unpacked / FILES, version, unpacked / GOLDEN, tell=lambda words: doing(f"the archive: {words}"))


@contextlib.contextmanager
def _room(directory: Path, needed: int) -> Iterator[None]:
    """Say in bytes what a full disk lacked. Raises StorageExhausted."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageExhausted(
            f"{REASONS[error.errno]} at {directory}: up to {needed:,} bytes are needed while it is packed, "
            f"{pack.free_bytes(directory):,} are free",
            hint="free some, or name a place on another disk by --archive FILE; nothing was left there",
        ) from error
