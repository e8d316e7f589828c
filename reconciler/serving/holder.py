"""Whether a port can be had, and else who has it. Imports errors.

In: an address and a port.  Out: silence, or PortTaken naming the process where /proc tells.
"""

import errno
import ipaddress
import socket
import sys
from pathlib import Path

from reconciler.errors import PortTaken


def check_free(address: str, port: int) -> None:
    """Raises PortTaken: another process listens there, the port needs rights, or the address is not of this machine."""
    error = _probed(address, port)
    if error is not None:
        raise PortTaken(f"{address} port {port}: {_reason(error, address, port)}") from error


def is_free(address: str, port: int) -> bool:
    """Whether the port can be had. Two system calls: it is asked again and again."""
    return _probed(address, port) is None


def is_taken(address: str, port: int) -> bool:
    """Whether somebody listens there; False of an address that this machine does not have."""
    return getattr(_probed(address, port), "errno", None) == errno.EADDRINUSE


def _probed(address: str, port: int) -> Exception | None:
    """Why nobody can listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except (OSError, OverflowError) as error:
            return error
    return None


def pid_of(address: str, port: int) -> int | None:
    """The process that listens there, on this address or on all; None where /proc shows none.

    /proc shows other users' descriptors only to root. Source: proc_pid_net(5), /proc/net/tcp.
    """
    inodes = {
        f"socket:[{fields[9]}]"
        for table in ("tcp", "tcp6")
        for fields in map(str.split, _lines(Path("/proc/net") / table)[1:])
        if fields[3] == "0A" and _takes(fields[1], address, port)
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if inodes & {str(each.readlink()) for each in (process / "fd").iterdir()}:
                return int(process.name)
        except OSError:  # ended meanwhile, or not ours to see
            continue
    return None


def _reason(error: Exception, address: str, port: int) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"{_named(pid_of(address, port)) or 'another process'} listens there"
        case errno.EACCES:
            return "a port below 1024 needs CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have the address"
    return str(error)


def _named(pid: int | None) -> str:
    name = _lines(Path(f"/proc/{pid}/comm"))
    return f"{name[0]} (pid {pid})" if name else ""


def _takes(local: str, address: str, port: int) -> bool:
    """Whether a socket bound to `local` (32-bit words in hexadecimal, each in this machine's order) is in the way."""
    words, _, held_port = local.rpartition(":")
    if int(held_port, 16) != port:
        return False
    bound = ipaddress.ip_address(
        b"".join(int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8))
    )
    bound = getattr(bound, "ipv4_mapped", None) or bound
    wanted = ipaddress.ip_address(address)
    return bound == wanted or bound.is_unspecified or (wanted.is_unspecified and bound.version == wanted.version)


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text().splitlines()
    except OSError:
        return []
