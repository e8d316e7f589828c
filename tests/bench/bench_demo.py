"""The demo's own timeline, read: `reconciler demo --once`, as anybody runs it. It fails where a step of it fails."""

import re
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tests.bench import Figure

RECONCILER = str(Path(sysconfig.get_path("scripts")) / "reconciler")


def figures(small: bool) -> Iterator[Figure]:
    """How soon commits are noticed and answered, what the way back fetched, and what failed meanwhile. One size."""
    command = [RECONCILER, "demo", "--once", "--port", str(_free_port())]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    noticed = [float(text) for text in re.findall(r"commit \w+ noticed after ([\d.]+) s", told)]
    forward, back = re.findall(r"three edges answer as version \d after ([\d.]+) s; (nothing|[\d,]+ bytes)", told)
    asked = re.search(r"([\d,]+) questions asked meanwhile, (\d+) failed", told)
    assert asked is not None, told
    assert len(noticed) == 2, told
    yield Figure("demo: a commit is noticed after", max(noticed), "s", "lower", "limit", 1.0)
    yield Figure("demo: a new version is served by three edges after", float(forward[0]), "s", "lower", "limit", 5.0)
    yield Figure("demo: a revert is served by three edges after", float(back[0]), "s", "lower", "limit", 2.0)
    yield Figure("demo: bytes fetched for the revert", _count(back[1]), "B", "lower", "limit: none", 0)
    name = f"demo: failed of {asked[1]} questions asked meanwhile"
    yield Figure(name, float(asked[2]), "requests", "lower", "limit: none", 0)


def _count(said: str) -> int:
    return 0 if said == "nothing" else int(said.removesuffix(" bytes").replace(",", ""))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        return int(probe.getsockname()[1])
