"""A clock that goes on while this machine sleeps, as a Lease and a cache's age do. Imports nothing."""

import time


def awake_or_not() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)
