"""Whether a port can be had, and else who has it. Imports errors.

In: an address and a port.  Out: silence, or PortTaken naming the process where /proc tells.
"""

import errno
import socket
from pathlib import Path

from reconciler.errors import PortTaken


def check_free(address: str, port: int) -> None:
    """Raises PortTaken: another process listens there, the port needs rights, or the address is not of this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except (OSError, OverflowError) as error:
            raise PortTaken(f"{address} port {port}: {_reason(error, port)}") from error


def _reason(error: Exception, port: int) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"{_holder(port) or 'another process'} listens there"
        case errno.EACCES:
            return "a port below 1024 needs CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have the address"
    return str(error)


def _holder(port: int) -> str:
    """`program (pid N)`, or nothing: /proc shows other users' descriptors only to root. Source: proc_net_tcp."""
    inodes = {
        f"socket:[{fields[9]}]"
        for table in ("tcp", "tcp6")
        for fields in map(str.split, _lines(Path("/proc/net") / table)[1:])
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = {str(each.readlink()) for each in (process / "fd").iterdir()}
            if held & inodes:
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # ended meanwhile, or not ours to see
            continue
    return ""


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text().splitlines()
    except OSError:
        return []
