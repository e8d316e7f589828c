"""A child process with limits of its own, which says what it does: a JSON object a line. Standard library only.

`limit` is called in the child, `said` in the parent; an archive is unpacked so, and a model tried.
"""

import ctypes
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from typing import Any, Final

LOOK_S: Final = 0.25  # seconds between two looks, where nothing is said
PR_SET_PDEATHSIG: Final = 1


def limit(*, seconds: float, file_bytes: int, **more: int) -> None:
    """Limit what this process may use of CPU time and write into one file; it leaves no core, and ends with its parent.

    more: a further limit by its name in `resource`, as RLIMIT_AS.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    limits = {"RLIMIT_CPU": int(seconds) + 1, "RLIMIT_FSIZE": file_bytes, "RLIMIT_CORE": 0, **more}
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, name), (most, most))


def said(pipe: int, look: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """What comes from a child, until it ends. look: called before each wait of at most LOOK_S; what it raises rises."""
    import selectors  # the child has no use for it

    buffered = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            look()
            if not selector.select(LOOK_S):
                continue
            data = os.read(pipe, 1 << 16)
            if not data:
                return
            *lines, buffered = (buffered + data).split(b"\n")
            yield from map(json.loads, lines)
