"""An agent at rest that keeps one served model: its memory, and how often it wakes. Row 4 of the edge.

The runtime is a process of its own and does not count: it is as large as its model.
"""

import contextlib
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler import control_socket
from tests.artifact_server import ArtifactServer
from tests.bench import Figure
from tests.e2e.fleet import Fleet

EDGE = "edge-2"  # one model, and of the dataset only what is known about it
CALM_S = 2.0  # after the last outcome: the hub copies it, and everybody goes to sleep


def figures(small: bool) -> Iterator[Figure]:
    """Resident memory, and wakeups a minute: times that any of its threads gave up the CPU by itself."""
    seconds = 5 if small else 60
    with tempfile.TemporaryDirectory() as place, ArtifactServer() as server:
        fleet = Fleet(Path(place), server)
        with contextlib.closing(fleet):
            fleet.hub()
            fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
            fleet.wait_settled()
            pid = int(control_socket.call(fleet.state.edge(EDGE).control, {"verb": "status"})["pid"])
            time.sleep(CALM_S)
            before, cpu = _wakeups(pid), _cpu_ticks(pid)
            time.sleep(seconds)
            wakeups, ticks = _wakeups(pid) - before, _cpu_ticks(pid) - cpu
            memory = int(_status(Path(f"/proc/{pid}/status"), "VmRSS")) * 1024 / 1e6
            assert fleet.ask(EDGE)[0] == "1"  # it still serves
        yield Figure("agent at rest: resident memory", memory, "MB", "lower", "limit", 60)
        yield Figure("agent at rest: wakeups of all its threads", wakeups * 60 / seconds, "1/min", "lower", "limit", 10)
        yield Figure("agent at rest: CPU", ticks * 10 * 60 / seconds, "ms/min", "lower", "limit", 100)


def _wakeups(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").glob("*/status")
    return sum(int(_status(task, "voluntary_ctxt_switches")) for task in tasks)


def _cpu_ticks(pid: int) -> int:
    """User and system time, in hundredths of a second (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def _status(path: Path, field: str) -> str:
    found = re.search(rf"^{field}:\s+(\d+)", path.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]
