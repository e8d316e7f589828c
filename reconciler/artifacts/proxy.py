"""The way out through an HTTP proxy, as the usual variables say. May import address, errors.

In: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (lower case wins), and RECONCILER_PROXY_CREDENTIALS or
RECONCILER_PROXY_CREDENTIALS_FILE, which hold `user:password`.  Out: for a Hop its Proxy, or None. What leads to this
machine never takes one. Credentials are never shown. Source: RFC 9110 sections 9.3.6 (CONNECT) and 11.7.
"""

import os
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from reconciler.artifacts.address import Hop
from reconciler.errors import SettingInvalid

CREDENTIALS: Final = "RECONCILER_PROXY_CREDENTIALS"
CREDENTIALS_FILE: Final = f"{CREDENTIALS}_FILE"
PORT: Final = 8080  # where a proxy's URL names none


class Proxy(NamedTuple):
    """One proxy. authorization: the header's value, secret; "" where no credentials are known."""

    host: str
    port: int
    authorization: str = ""

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def proxy_of(hop: Hop, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """The proxy for a request; None where it goes straight. Raises SettingInvalid for one that cannot be used."""
    found = variables(environ)
    name = hop.scheme if found.get(hop.scheme) else "all"
    if not found.get(name) or _goes_straight(hop, found):
        return None
    return _parsed(name, found[name], os.environ if environ is None else environ)


def _goes_straight(hop: Hop, found: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names the host: by name, suffix, address, HOST:PORT or, for a literal address, a network."""
    from urllib.request import proxy_bypass  # most agents have no proxy, and keep a megabyte

    if proxy_bypass(f"{hop.host}:{hop.port}", found):
        return True
    networks = [entry.strip() for entry in found.get("no", "").split(",") if "/" in entry]
    try:
        return any(ip_address(hop.host) in ip_network(network, strict=False) for network in networks)
    except ValueError:  # a name, or no network
        return False


def variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The proxies that are in force, by scheme: http, https, all; and `no`, what goes straight."""
    environ = os.environ if environ is None else environ
    found = {}
    for scheme in ("http", "https", "all", "no"):
        name = f"{scheme}_proxy"
        is_request = scheme == "http" and "REQUEST_METHOD" in environ  # CGI: the client may set it (httpoxy)
        upper = "" if is_request else environ.get(name.upper(), "")
        if value := environ.get(name, upper):
            found[scheme] = value
    return found


def described(environ: Mapping[str, str] | None = None) -> list[str]:
    """What is in force, a line a variable, without credentials. Raises SettingInvalid."""
    environ = os.environ if environ is None else environ
    lines = []
    for scheme, value in variables(environ).items():
        if scheme == "no":
            lines.append(f"straight to {value}")
            continue
        proxy = _parsed(scheme, value, environ)
        lines.append(f"{scheme} by {proxy}{' with credentials' if proxy.authorization else ''}")
    return lines


def _parsed(scheme: str, value: str, environ: Mapping[str, str]) -> Proxy:
    name = f"{scheme}_proxy"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or PORT
    except ValueError as error:
        raise SettingInvalid(f"the variable {name} is not a URL of a proxy") from error
    if parts.scheme != "http" or not host:
        said = f"names a proxy by {parts.scheme}" if host else "names no host"
        raise SettingInvalid(f"the variable {name} {said}", hint=f"set it to http://HOST:PORT, or unset {name}")
    own = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    credentials = _credentials(environ) or own
    return Proxy(host, port, f"Basic {b64encode(credentials.encode()).decode()}" if credentials else "")


def _credentials(environ: Mapping[str, str]) -> str:
    """As `user:password`; "" where none are set. Read anew each time, so that a file may be changed."""
    if given := environ.get(CREDENTIALS, ""):
        return given
    if place := environ.get(CREDENTIALS_FILE, ""):
        try:
            return Path(place).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingInvalid(f"{CREDENTIALS_FILE} cannot be read: {error}") from error
    return ""
