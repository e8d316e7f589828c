"""Credentials and addresses, from a kubeconfig or a Pod's service account. May import: diagnostics, errors, kube.

In: a kubeconfig file and context, or a Pod's own files; HTTPS_PROXY and NO_PROXY.  Out: an Identity to dial with.
Whom a kubeconfig acts for (`as`) is read in impersonation.py: the official client passes over it.
The official client reads the files, runs exec plugins and refreshes tokens. No secret enters a message: what that
client says of a broken file may hold the file's own text, so it is said again in our words.
"""

import base64
import json
import logging
import os
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from reconciler.diagnostics import printable
from reconciler.errors import SettingInvalid
from reconciler.kube.client import impersonation

DEFAULT_FILE: Final = "~/.kube/config"
READING: Final = threading.Lock()  # the official client keeps the temporary files of certificates in a table of its own

_Files = list[tuple[Path, dict[str, Any]]]


class IdentityWanted(NamedTuple):
    """Which identity is meant. kubeconfig None: $KUBECONFIG, else ~/.kube/config, as kubectl does."""

    kubeconfig: Path | None
    context: str
    in_cluster: bool


class ClientIdentity(NamedTuple):
    """One way to reach one API server. Secrets are in `authorization`, `tls` and `proxy_headers` alone.

    server: scheme://host:port as configured.  base: path before every request path.  token_file: read again when it
    changes; None where there is none.  refresh: gives a newer authorization where the old one is over.
    acting: headers that say for whom the request is made, see impersonation.py; none where the asker acts itself.
    """

    server: str
    context: str
    namespace: str
    scheme: str
    host: str
    port: int
    base: str
    authorization: str
    tls: ssl.SSLContext | None
    tls_name: str | None
    proxy: str
    proxy_headers: Mapping[str, str]
    token_file: Path | None
    refresh: Callable[[], str] | None
    acting: tuple[tuple[str, str], ...] = ()


def read(wanted: IdentityWanted) -> ClientIdentity:
    """The identity that is wanted, read anew. Raises SettingInvalid: what is missing, and what there is instead."""
    return _of_the_pod() if wanted.in_cluster else _of_a_file(wanted)


def acts_for(wanted: IdentityWanted) -> str:
    """The user that is impersonated, "" where none is; credentials are not looked at. Raises SettingInvalid."""
    if wanted.in_cluster:
        return ""
    _, context, _, user = _found(wanted)
    return impersonation.user(impersonation.headers(user, context))


def _of_the_pod() -> ClientIdentity:
    from kubernetes import client, config
    from kubernetes.config import incluster_config as pod

    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        said = "this process does not run in a Pod with a service account"
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingInvalid(
            f"{said}: {printable(str(reason))}", hint="outside of a cluster name --kubeconfig or --context"
        ) from None
    token = Path(pod.SERVICE_TOKEN_FILENAME)
    try:
        namespace = token.with_name("namespace").read_text().strip()
    except OSError:
        namespace = ""
    settings.refresh_api_key_hook = None  # it reads once a minute; ours reads when the file changes
    return _made(settings, "in-cluster", namespace or "default", token_file=token)


def _of_a_file(wanted: IdentityWanted) -> ClientIdentity:
    from kubernetes import client, config

    documents, context, said, user = _found(wanted)
    where = _where(wanted)
    cluster = next(
        (one.get("cluster") or {} for one in _rows(documents, "clusters") if one.get("name") == said.get("cluster")), {}
    )
    settings = client.Configuration()
    with READING, _quiet(), tempfile.TemporaryDirectory(prefix="reconciler-") as short_lived:
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=where, context=context, client_configuration=settings, temp_file_path=short_lived
            )
        except config.ConfigException as error:
            text = str(error)  # other texts of it quote the file
            known = text if text.startswith("File does not exist") else "its cluster or user is incomplete"
            raise SettingInvalid(
                f"context {context} of {where} cannot be used: {printable(known)}",
                hint="`kubectl config view` shows what the file says",
            ) from None
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a value in it has the wrong form"
            raise SettingInvalid(f"context {context} of {where} cannot be used: {reason}") from None
        if "exec" in user and not settings.api_key.get("BearerToken") and not settings.cert_file:
            command = printable(str((user["exec"] or {}).get("command", "")))
            raise SettingInvalid(
                f"the exec plugin {command} of context {context} gave no credentials",
                hint="run it by hand, or `kubectl auth whoami`, to see why",
            )
        token_file = _beside(documents, user) if user.get("tokenFile") and not user.get("token") else None
        made = _made(
            settings,
            context,
            str(said.get("namespace") or "default"),
            token_file=token_file,
            own_proxy=bool(cluster.get("proxy-url")),
        )
        return made._replace(acting=impersonation.headers(user, context))


def expires(wanted: IdentityWanted) -> float | None:
    """When the token that stands in a kubeconfig says that it ends (RFC 7519, `exp`; seconds since 1970).

    None where none stands there (plugins, files and Pods bring newer ones), or it does not say. Raises SettingInvalid.
    """
    if wanted.in_cluster:
        return None
    *_, user = _found(wanted)
    token = user.get("token") if isinstance(user, dict) else None
    parts = str(token or "").split(".")
    if len(parts) != len(("header", "claims", "signature")):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def cluster_of(wanted: IdentityWanted) -> dict[str, Any]:
    """The cluster of a kubeconfig as one of its rows says it, its certificates in the text and not beside it.

    Raises SettingInvalid.
    """
    documents, _, said, _ = _found(wanted)
    for path, document in documents:
        for row in _rows([(path, document)], "clusters"):
            if row.get("name") != said.get("cluster"):
                continue
            cluster = dict(row.get("cluster") or {})
            if beside := cluster.pop("certificate-authority", ""):
                authority = path.absolute().parent / str(beside)
                try:
                    cluster["certificate-authority-data"] = base64.b64encode(authority.read_bytes()).decode()
                except OSError as error:
                    raise SettingInvalid(f"{authority} cannot be read: {error.strerror}") from None
            return cluster
    raise SettingInvalid(f"{_where(wanted)} has no such cluster")


def _where(wanted: IdentityWanted) -> str:
    return str(wanted.kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_FILE)


def _found(wanted: IdentityWanted) -> tuple[_Files, str, dict[str, Any], Any]:
    """The files, the context's name, what it says, and its user; a user of the wrong form is said of later."""
    where = _where(wanted)
    documents = _documents(where, named=wanted.kubeconfig is not None)
    context, said = _context(documents, wanted.context, where)
    users = (one.get("user") or {} for one in _rows(documents, "users") if one.get("name") == said.get("user"))
    return documents, context, said, next(users, {})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the official client from logging what an exec plugin wrote: it goes to the root logger, set up anew."""

    def of_another(record: logging.LogRecord) -> bool:
        return record.module != "kube_config"

    root, nowhere = logging.getLogger(), logging.NullHandler()
    root.addFilter(of_another)
    root.addHandler(nowhere)
    try:
        yield
    finally:
        root.removeHandler(nowhere)
        root.removeFilter(of_another)


def _documents(where: str, *, named: bool) -> _Files:
    """The kubeconfig files that there are; of a list in $KUBECONFIG those missing are passed over, as kubectl does."""
    import yaml

    found: _Files = []
    for one in filter(None, where.split(os.pathsep)):
        try:
            path = Path(one).expanduser()
        except RuntimeError:  # this user has no home
            continue
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingInvalid(f"{path} cannot be read: {reason}", hint=f"look at `ls -l {path}`") from None
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:  # without its excerpt of the file, which may be a secret
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise SettingInvalid(
                f"{path}{line} is not YAML: {printable(str(getattr(error, 'problem', '') or 'it cannot be read'))}"
            ) from None
        if not isinstance(document, dict):
            raise SettingInvalid(f"{path} is not a kubeconfig: it has no clusters, users and contexts")
        found.append((path, document))
    if not found:
        hint = "name another --kubeconfig" if named else "name one by --kubeconfig, or --in-cluster in a Pod"
        raise SettingInvalid(f"there is no kubeconfig at {where}", hint=hint)
    return found


def _rows(documents: _Files, what: str) -> list[dict[str, Any]]:
    lists = (document.get(what) for _, document in documents)
    return [row for rows in lists if isinstance(rows, list) for row in rows if isinstance(row, dict)]


def _context(documents: _Files, name: str, where: str) -> tuple[str, dict[str, Any]]:
    there = {str(row.get("name")): row.get("context") for row in _rows(documents, "contexts")}
    listed = ", ".join(sorted(map(printable, there))) or "none"
    if not name:
        current = (document.get("current-context") for _, document in documents)
        name = next((str(one) for one in reversed(list(current)) if one), "")
        if not name:
            raise SettingInvalid(f"{where} has no current context", hint=f"choose one by --context: {listed}")
    said = there.get(name)
    if name not in there:
        raise SettingInvalid(f"{where} has no context {printable(name)}", hint=f"there are: {listed}")
    if not isinstance(said, dict):
        raise SettingInvalid(f"context {printable(name)} of {where} is empty")
    clusters = {str(row.get("name")) for row in _rows(documents, "clusters")}
    if str(said.get("cluster")) not in clusters:
        raise SettingInvalid(
            f"context {printable(name)} of {where} names cluster {printable(str(said.get('cluster')))}",
            hint=f"the file has {', '.join(sorted(map(printable, clusters))) or 'none'}",
        )
    return name, said


def _beside(documents: _Files, user: dict[str, Any]) -> Path:
    """A user's tokenFile, which is relative to the file that names it."""
    for path, document in documents:
        if any(row.get("user") is user for row in _rows([(path, document)], "users")):
            return path.absolute().parent / str(user["tokenFile"])
    return Path(str(user["tokenFile"]))


def _made(
    settings: Any, context: str, namespace: str, *, token_file: Path | None, own_proxy: bool = False
) -> ClientIdentity:
    """The official client's Configuration as ours. Certificates are loaded now: their files may be short-lived."""
    parts, host, port = _address(str(settings.host))
    if not port:
        raise SettingInvalid(
            f"the server of context {context} is not an address like https://HOST:PORT",
            hint="`kubectl config view` shows it as clusters[].cluster.server",
        )
    hook = settings.refresh_api_key_hook

    def refresh() -> str:
        with READING, _quiet():
            hook(settings)
        return authorization(settings.api_key.get("BearerToken"))

    proxy, proxy_headers = _proxy(settings, host, own=own_proxy)
    return ClientIdentity(
        server=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/"),
        context=context,
        namespace=namespace,
        scheme=parts.scheme,
        host=host,
        port=port,
        base=parts.path.rstrip("/"),
        authorization=authorization(settings.api_key.get("BearerToken")),
        tls=_tls(settings, context) if parts.scheme == "https" else None,
        tls_name=settings.tls_server_name or None,
        proxy=proxy,
        proxy_headers=proxy_headers,
        token_file=token_file,
        refresh=refresh if hook else None,
    )


def _address(text: str) -> tuple[SplitResult, str, int]:
    """(its parts, host, port) of http://HOST:PORT or https://HOST:PORT; port 0 where it is none."""
    parts = urlsplit(text)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    host = parts.hostname or ""
    return parts, host, port if parts.scheme in {"http", "https"} and host else 0


def authorization(value: str | None) -> str:
    """The value of the Authorization header; "" for none. Raises SettingInvalid where it could not be one."""
    kind, _, secret = (value or "").strip().partition(" ")
    if not secret.strip():
        return ""
    if not secret.strip().isascii() or not secret.strip().isprintable():
        raise SettingInvalid("the token has characters that a token cannot have", hint="write it again, as one line")
    return f"{kind.capitalize()} {secret.strip()}"


def _tls(settings: Any, context: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    if not settings.verify_ssl:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    try:
        if settings.ssl_ca_cert:
            made.load_verify_locations(cafile=settings.ssl_ca_cert)
        elif settings.verify_ssl:
            made.load_default_certs()
    except (OSError, ValueError) as error:
        raise SettingInvalid(
            f"the certificate authority of context {context} cannot be read: {_words(error)}"
        ) from None
    try:
        if settings.cert_file:
            made.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        raise SettingInvalid(
            f"the client certificate and key of context {context} cannot be used: {_words(error)}"
        ) from None
    return made


def _words(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or "it is no PEM file"
    return printable(str(getattr(error, "reason", None) or reason))


def _proxy(settings: Any, host: str, *, own: bool) -> tuple[str, dict[str, str]]:
    """The proxy to ask, without its password, and the headers for it. From the environment never for loopback."""
    from kubernetes.client.rest import should_bypass_proxies
    from urllib3.util import make_headers

    loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    skipped = should_bypass_proxies(settings.host, settings.no_proxy or "")
    if not settings.proxy or skipped or (loopback and not own):
        return "", {}
    parts, name, port = _address(str(settings.proxy))
    if not port:
        raise SettingInvalid(
            "the proxy for the API server is not an address like http://HOST:PORT",
            hint="SOCKS is not supported; NO_PROXY names hosts that are asked directly",
        )
    headers = dict(settings.proxy_headers or {})
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers |= make_headers(proxy_basic_auth=secret)
    bare = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{bare}:{port}", headers
