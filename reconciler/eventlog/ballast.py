"""Room kept for the day the disk is full: a file beside the log that is given up so that the failure can be told.

In: the log's path.  Out: what made the last writer give up, if it did. Imports nothing of ours. All of it is best
effort: the disk that it is about is the one that fails.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

SIZE: Final = 16 * 1024 * 1024


def _path(log: Path) -> Path:
    return log.with_name(log.name + ".ballast")


def take(log: Path) -> str:
    """Reserve the room again; what the last writer left there as it failed, or nothing."""
    told = ""
    with suppress(OSError), _path(log).open("a+b") as file:
        file.seek(0)
        told = file.read(4096).rstrip(b"\0").decode(errors="replace")
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, SIZE)
    return told


def give_up(log: Path, reason: str) -> None:
    """Free the room and leave `reason` in it for the next writer."""
    with suppress(OSError), _path(log).open("wb") as file:
        file.write(reason.encode()[:4096])


def drop(log: Path) -> None:
    """Free the room of a log that is closed in good order."""
    with suppress(OSError):
        _path(log).unlink()
