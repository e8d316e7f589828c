"""What a download and an archive may cost. Standard library only; every number has its unit in its name."""

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Caps of one `stage` call on the network. Beyond them the loop's queue waits longer and calls again.

    min_rate_bytes_s: asked of every window of `window_s`, waiting for headers included; it ends stalls and trickles.
    max_bytes: for artifacts without a pinned size.  patience_s: the longest Retry-After that is waited for in the call.
    """

    attempts: int = 4
    connect_s: float = 10.0
    min_rate_bytes_s: float = 1024.0
    window_s: float = 30.0
    wall_s: float = 24 * 3600.0
    max_bytes: int = 256 * GIB
    redirects: int = 5
    backoff_s: float = 0.5
    patience_s: float = 30.0


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """Caps of one archive. One member beyond any of them refuses the whole archive.

    max_ratio: unpacked over packed bytes, judged from `ratio_free_bytes` on (a file of zeros packs 1000 to 1).
    memory_bytes: address space of the unpacking process.  reserve_bytes: what stays free on the file system.
    seconds: wall and CPU time, plus one second for each MiB of the archive.
    """

    max_members: int = 100_000
    max_bytes: int = 256 * GIB
    max_ratio: int = 200
    ratio_free_bytes: int = 64 * MIB
    max_depth: int = 32
    max_path_bytes: int = 1024
    memory_bytes: int = 512 * MIB
    reserve_bytes: int = 64 * MIB
    seconds: float = 60.0
