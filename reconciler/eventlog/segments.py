"""The files of one log: the live one and the sealed ones beside it. Imports errors.

In: the log's path.  Out: which files there are, in order. `log.db` is the live file, or, once something was sealed, a
link to it: `log-<first>.db`. A file's side files (-wal, -shm) go by its own name, and no name is ever used twice.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

from reconciler.errors import ChainBroken


class Sealed(NamedTuple):
    """A sealed file and the entries that it holds, first and last included."""

    first: int
    last: int
    path: Path


def sealed_path(log: Path, first: int, last: int) -> Path:
    """The name under which the entries first..last are sealed."""
    return log.with_name(f"{log.stem}-{first}-{last}.sealed.db")


def live_path(log: Path, first: int) -> Path:
    """The name of the live file that begins with the entry `first`, after something was sealed."""
    return log.with_name(f"{log.stem}-{first}{log.suffix}")


def sealed_files(log: Path, before: int = sys.maxsize) -> list[Sealed]:
    """The sealed files of `log` with entries before `before`, oldest first."""
    name = re.compile(rf"{re.escape(log.stem)}-(\d+)-(\d+)\.sealed\.db")
    found = [(name.fullmatch(path.name), path) for path in log.parent.glob(f"{log.stem}-*.sealed.db")]
    files = sorted(Sealed(int(match[1]), int(match[2]), path) for match, path in found if match)
    return [file for file in files if file.first < before]


def live_files(log: Path) -> list[Path]:
    """Files beside `log` that bear a live file's name, whether the log leads to them or not."""
    name = re.compile(rf"{re.escape(log.stem)}-\d+{re.escape(log.suffix)}")
    return [path for path in log.parent.resolve().glob(f"{log.stem}-*{log.suffix}") if name.fullmatch(path.name)]


def missing(log: Path, first: int, last: int) -> ChainBroken:
    """What is wrong when no file beside `log` holds the entries first..last."""
    return ChainBroken(
        f"entries {first} to {last} are missing: the sealed file that holds them is not beside {log}",
        hint=f"put {log.stem}-{first}-….sealed.db back beside the log",
    )
