"""Whether a port can be had, and else who has it. Imports errors.

In: an address and a port.  Out: silence, or PortTaken naming the process where /proc tells.
"""

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.errors import PortTaken

SERVER: Final = "reconciler.serving.server"  # the module that a runtime runs


def check_free(address: str, port: int) -> None:
    """Raises PortTaken: another process listens there, the port needs rights, or the address is not of this machine."""
    error = _probed(address, port)
    if error is not None:
        hint = "choose another servingPort, or stop what listens there (`ss -ltnp`)"
        raise PortTaken(f"{address} port {port}: {_reason(error, address, port)}", hint=hint) from error


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
        if not inodes.isdisjoint(_descriptors(process)):
            return int(process.name)
    return None


def _descriptors(process: Path) -> Iterator[str]:
    """What its descriptors are; those that are closed meanwhile, and processes that are not ours to see, left out."""
    with contextlib.suppress(OSError):
        for each in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(each.readlink())


def listener(address: str, port: int) -> str:
    """Who listens there, in words: `python (pid 419) listens there, a runtime of state directory /srv`."""
    pid = pid_of(address, port)
    directory = runtime_directory(pid) if pid is not None else None
    said = f"{_named(pid) or 'another process'} listens there"
    return said if directory is None else f"{said}, a runtime of state directory {_state_directory(directory)}"


def runtime_directory(pid: int) -> Path | None:
    """The directory that a runtime of ours was started for; None when the process is no runtime."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        return None
    option = "--directory="
    given = [word.removeprefix(option) for word in words if word.startswith(option)]
    return Path(given[0]).resolve() if SERVER in words and given else None


def _state_directory(directory: Path) -> Path:
    """Where STATE/edges/EDGE/services/… lies; the directory itself where it lies otherwise."""
    services = next((one for one in directory.parents if one.name == "services"), None)
    return services.parents[2] if services is not None and services.parents[1].name == "edges" else directory


def _reason(error: Exception, address: str, port: int) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return listener(address, port)
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
