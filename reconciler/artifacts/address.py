"""Where a URL may lead: schemes, hosts and the addresses behind them. May import errors.

In: a URL from Git or from a redirect.  Out: a `Hop`, and the addresses to connect to, judged after resolution, so
that decimal, octal and IPv6-mapped forms and a name that changes its mind (DNS rebinding) need no rules of their own.
"""

import ipaddress
import re
import socket
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from reconciler.errors import AddressRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = {"http": 80, "https": 443}
# Cloud metadata services outside 169.254.0.0/16 (AWS over IPv6, Alibaba Cloud).
METADATA = frozenset(ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200"))
THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Hop(NamedTuple):
    """One request to make: parsed and allowed as far as its text goes."""

    scheme: str
    host: str
    port: int
    target: str
    url: str


def shown(url: str) -> str:
    """The URL without user, password, query and fragment, which may be secret: fit for messages and the disk."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def file_name(url: str) -> str:
    """The last part of the URL's path, decoded; `artifact` where that is no plain file name."""
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2], errors="replace")
    plain = name not in {"", ".", ".."} and re.fullmatch(r"[^\x00-\x1f\x7f/\\\ufffd]+", name)
    return name if plain and len(name.encode()) <= 255 else "artifact"


def parse(url: str) -> Hop:
    """The request that an http or https URL means. Raises AddressRefused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefused(f"not a URL: {error}") from error
    if parts.scheme not in PORTS:
        raise AddressRefused(f"scheme {parts.scheme!r} of {shown(url)} is not http or https")
    if not host or re.search(r"[\x00-\x20\x7f]", url):
        raise AddressRefused(f"not a URL with a host and without blanks: {shown(url)}")
    if "@" in parts.netloc:
        raise AddressRefused(f"{shown(url)} carries a user or password; credentials never stand in a URL")
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
    return Hop(parts.scheme, host, port if port is not None else PORTS[parts.scheme], target, url)


def follow(hop: Hop, location: str) -> Hop:
    """Where a redirect leads. Raises AddressRefused, also for https to http."""
    to = parse(urljoin(hop.url, location))
    if hop.scheme == "https" and to.scheme == "http":
        raise AddressRefused(f"{shown(hop.url)} redirects from https to http")
    return to


def resolve(hop: Hop, *, allow_loopback: bool) -> list[str]:
    """The addresses of the hop's host, each judged. Raises AddressRefused if one is not allowed, OSError."""
    try:
        addresses = addresses_of(hop.host, hop.port)
    except UnicodeError as error:
        raise AddressRefused(f"{hop.host!r} is not a host name") from error
    for text in addresses:
        reason = refusal(ipaddress.ip_address(text.partition("%")[0]), allow_loopback=allow_loopback)
        if reason:
            raise AddressRefused(f"{shown(hop.url)} leads to {text}, {reason}")
    return addresses


def addresses_of(host: str, port: int) -> list[str]:
    """The addresses of a host, each once, unjudged: of a proxy, say, which the operator has set. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_loopback(text: str) -> bool:
    """Whether an address, also one inside another, is of this machine."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return (embedded(address) or address).is_loopback


def refusal(address: Address, *, allow_loopback: bool) -> str:
    """Why policy forbids this address; empty where it is allowed. Private ranges are: the digest protects."""
    inner = embedded(address)
    if inner is not None:
        return refusal(inner, allow_loopback=allow_loopback)
    if address.is_loopback:
        return "" if allow_loopback else "a loopback address"
    if address.is_link_local or address in METADATA:
        return "a link-local or metadata address"
    if address.is_unspecified or (address.version == 4 and address in THIS_NETWORK):
        return "the unspecified address"
    if address.is_multicast or address == ipaddress.ip_address("255.255.255.255"):
        return "a multicast or broadcast address"
    return ""


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for: mapped, 6to4, or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
