"""API errors: an HTTP status and its document → an error of ours. May import: errors, kube.client.

In: what was asked and the Reply.  Out: an error that says what, where and the fix.  Texts of the server are capped and
made printable. The document is metav1.Status (Kubernetes API Conventions, "Response Status Kind"); a field manager
conflict is told in its causes ("Server-Side Apply", "Conflicts").
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import msgspec

from reconciler.diagnostics import printable
from reconciler.errors import (
    ApiRefused,
    ApiUnavailable,
    CredentialsRefused,
    FieldConflict,
    KindMissing,
    ReconcilerError,
    RightMissing,
)
from reconciler.kube.client.connection import Reply
from reconciler.kube.client.resources import LEASES, Resource
from reconciler.kube.client.rights import PolicyRule

TEXT_MAX: Final = 1000
CAUSES_MAX: Final = 8
RETRY_AFTER_MAX_S: Final = 3600.0

_DENIED: Final = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_ACCOUNT: Final = re.compile(r"system:serviceaccount:([-a-z0-9]+):reconciler")
_MANAGER: Final = re.compile(r'conflicts? with "(?P<manager>[^"]*)"')
_TYPED_PATCH: Final = ("failed to create typed patch object", "failed to create manager for existing fields")


class Request(NamedTuple):
    """What was asked: the API's own verb (get, list, watch, create, update, patch, delete), and of which object."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    sub: str = ""

    def __str__(self) -> str:
        where = "/".join(filter(None, (self.namespace, self.name)))
        return f"{self.resource.kind} {where}".strip() if where else self.resource.plural


class StatusCause(msgspec.Struct, frozen=True):
    """One of the reasons: the field, and what is wrong with it."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True):
    """Which object the Status is about. kind is the plural, as in the path."""

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: list[StatusCause] | None = None
    retry_after_s: int | None = msgspec.field(default=None, name="retryAfterSeconds")


class ApiStatus(msgspec.Struct, frozen=True):
    """metav1.Status. All empty where the answer was not one."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


_STATUS: Final = msgspec.json.Decoder(ApiStatus)


@contextmanager
def readable(what: object) -> Iterator[None]:
    """Within, the answer to a write is read. Raises ApiUnavailable where it cannot be: the write may have been done."""
    try:
        yield
    except msgspec.MsgspecError as error:
        raise ApiUnavailable(f"{what}: what was answered cannot be read: {error}", unknown=True) from None


def status_of(body: bytes) -> ApiStatus:
    """The Status in an answer; an empty one where it holds none: a proxy's page, plain text."""
    try:
        found = _STATUS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ApiStatus()
    return found if found.kind == "Status" else ApiStatus()


def absent(asked: Request, reply: Reply) -> bool:
    """Whether a 404 says that just this object is not there, and not that its kind or the server's path is missing."""
    if reply.status != 404:
        return False
    details = status_of(reply.body).details
    return details is not None and (details.name, details.kind, details.group) == (
        asked.name,
        asked.resource.plural,
        asked.resource.group,
    )


def failure(asked: Request, reply: Reply) -> ReconcilerError:
    """The error that an answer other than success stands for."""
    said = status_of(reply.body)
    text = _text(said.message) or f"it answered {reply.status}"
    write = asked.verb not in {"get", "list", "watch"}
    match reply.status:
        case 429:
            return ApiUnavailable(f"{asked}: asked to wait: {text}", retry_after_s=_retry_after(reply, said))
        case 401:
            return CredentialsRefused(f"{asked}: the API server does not know who asks: {text}")
        case 403:
            return _forbidden(asked, said, text)
        case 404:
            return _missing(asked, said, text)
        case 409:
            return _conflict(asked, said, text)
        case 500 if any(words in said.message for words in _TYPED_PATCH):  # the schema lacks a field: it stays so
            newer = "bring the schema up to date with `reconciler crds apply`" if "not declared" in text else ""
            return ApiRefused(f"{asked}: {text}", hint=newer)
        case status if status >= 500 or status == 408:
            return ApiUnavailable(f"{asked}: {text}", retry_after_s=_retry_after(reply, said), unknown=write)
        case status if status < 400:
            return ApiUnavailable(f"{asked}: answered {status}, which is not an API server's answer", unknown=write)
    return ApiRefused(f"{asked}: {_causes(said) or text}")


def _retry_after(reply: Reply, said: ApiStatus) -> float | None:
    """Seconds to wait: a number or a date in the header (RFC 9110 §10.2.3), else what the Status says."""
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(float(value), RETRY_AFTER_MAX_S)
    if value:
        try:
            then = parsedate_to_datetime(value).timestamp()
        except (ValueError, TypeError, OverflowError):
            pass
        else:
            return min(max(then - time.time(), 0.0), RETRY_AFTER_MAX_S)
    if said.details is not None and said.details.retry_after_s is not None:
        return min(max(float(said.details.retry_after_s), 0.0), RETRY_AFTER_MAX_S)
    return None


def _forbidden(asked: Request, said: ApiStatus, text: str) -> ReconcilerError:
    denied = None if said.message.startswith("admission webhook") else _DENIED.search(said.message)
    if denied is None:
        return ApiRefused(f"{asked}: {text}", hint=_admission_hint(said))
    verb, resource, group = (printable(denied[name])[:100] for name in ("verb", "resource", "group"))
    rule = PolicyRule(group, resource, (verb,), namespaced=bool(denied["namespace"]))
    user, place = printable(denied["user"])[:200], printable(denied["namespace"] or "")[:100]
    where = f" in namespace {place}" if place else ""
    account = _ACCOUNT.fullmatch(user)  # only to the hub's own account do our roles give anything
    home = account[1] if account else place if (group, resource) == (LEASES.group, LEASES.plural) else ""
    missing = RightMissing(
        f"{asked}: user {user} may not {verb} {resource}{where}; the rule {rule.yaml()} grants it", hint=rule.fix(home)
    )
    missing.right = rule, place
    return missing


def _admission_hint(said: ApiStatus) -> str:
    causes = said.details.causes if said.details and said.details.causes else []
    if any(cause.reason == "NamespaceTerminating" for cause in causes) or "being terminated" in said.message:
        return "the namespace is being deleted: wait until it is gone, then `kubectl create namespace` it again"
    if "exceeded quota" in said.message:
        return "free some of the quota, or raise it: `kubectl describe resourcequota`"
    return ""


def _missing(asked: Request, said: ApiStatus, text: str) -> ReconcilerError:
    details = said.details or Details()
    if details.kind == "namespaces" and asked.resource.plural != "namespaces" and details.name:
        name = printable(details.name)[:100]
        return ApiRefused(f"{asked}: there is no namespace {name}", hint=f"`kubectl create namespace {name}`")
    if details.name and said.reason == "NotFound":
        return ApiRefused(f"{asked}: {text}")
    return KindMissing(f"the cluster does not serve {asked.resource.plural} of {asked.resource.api_version}: {text}")


def _conflict(asked: Request, said: ApiStatus, text: str) -> ReconcilerError:
    causes = said.details.causes if said.details and said.details.causes else []
    fields = []
    for cause in causes:
        found = _MANAGER.search(cause.message)
        if cause.reason == "FieldManagerConflict":
            manager = found["manager"] if found else cause.message
            fields.append((_text(cause.field).removeprefix("."), _text(manager)))
    if not fields:
        return FieldConflict(f"{asked}: {text}", hint="it is looked at again and planned anew")
    first = "; ".join(f"{path} belongs to {manager}" for path, manager in fields[:CAUSES_MAX])
    more = f"; and {len(fields) - CAUSES_MAX} more" if len(fields) > CAUSES_MAX else ""
    return FieldConflict(f"{asked}: {first}{more}"[:TEXT_MAX], fields=fields)


def _causes(said: ApiStatus) -> str:
    """`field: what is wrong`, for the first of them."""
    causes = said.details.causes if said.details and said.details.causes else []
    told = [": ".join(filter(None, (_text(cause.field), _text(cause.message)))) for cause in causes]
    more = f"; and {len(told) - CAUSES_MAX} more" if len(told) > CAUSES_MAX else ""
    return ("; ".join(dict.fromkeys(told[:CAUSES_MAX])) + more)[:TEXT_MAX]


def _text(words: str) -> str:
    shown = printable(" ".join(words[: 2 * TEXT_MAX].split()))
    return shown if len(shown) <= TEXT_MAX else shown[:TEXT_MAX] + "…"
