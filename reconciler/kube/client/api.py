"""The verbs of the Kubernetes API on raw JSON documents. May import: errors, kube.client.

In: resources, names, bodies as bytes.  Out: bodies as bytes; refusals as the errors of api_errors.
A failed read is never an absent object. A write asks for its permit right before it is sent, and ends within it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from reconciler.errors import ApiRefused, ApiUnavailable, LeaseLost, RightMissing
from reconciler.kube.client.api_errors import Request, absent, failure, status_of
from reconciler.kube.client.connection import Answered, Connection, Reply
from reconciler.kube.client.resources import Resource

TIMEOUT_S: Final = 10.0
LIST_TIMEOUT_S: Final = 60.0
LISTS: Final = 3  # times that a list is begun which expires on the way
JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
JSON_PATCH: Final = "application/json-patch+json"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._:]{0,252}")
_ERROR_LINE: Final = b'{"type":"ERROR"'


class Page(NamedTuple):
    """Some of a LIST's items, and the resourceVersion of the whole LIST, the same on each page."""

    items: list[msgspec.Raw]
    version: str


class Expired(Exception):
    """The version or page asked for is compacted away (410, as a status or in a watch): list again from the start."""


class _ListMeta(msgspec.Struct, frozen=True):
    version: str = msgspec.field(default="", name="resourceVersion")
    more: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    kind: str
    metadata: _ListMeta
    items: list[msgspec.Raw] | None

    def of(self, resource: Resource) -> bool:
        """Whether it is one of this kind, at a version: another document that holds nothing is no empty list."""
        return self.kind == f"{resource.kind}List" and bool(self.metadata.version)


class _WatchEvent(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Request(NamedTuple):
    """One request, as often as it is sent."""

    asked: Request
    method: str
    path: str
    query: Mapping[str, str] = {}
    body: bytes = b""
    content_type: str = JSON
    timeout_s: float = TIMEOUT_S


_LIST: Final = msgspec.json.Decoder(_List)
_EVENT: Final = msgspec.json.Decoder(_WatchEvent)


class Api:
    """One API server's objects. Thread-safe.

    permit: seconds that a write may last from now, asked right before each; raises LeaseLost.
    counted(verb, kind, status): told of every answer, for metrics; status 0 where there was none.
    denied(denial): told of every request that was refused for want of a right.
    """

    def __init__(
        self,
        connection: Connection,
        permit: Callable[[], float] | None = None,
        counted: Callable[[str, str, int], None] | None = None,
        denied: Callable[[RightMissing], None] | None = None,
    ) -> None:
        self.connection = connection
        self._permit, self._counted, self._denied = permit, counted, denied
        self._within: Callable[[], float] | None = None

    def within(self, seconds: Callable[[], float]) -> "Api":
        """The same without the permit; each request, reads too, ends within what `seconds` says right before it."""
        other = Api(self.connection, None, self._counted, self._denied)
        other._within = seconds
        return other

    def get(self, resource: Resource, name: str, namespace: str = "") -> bytes | None:
        """The object as it is now; None only where the server says that just this object is not there."""
        asked = Request("get", resource, namespace, name)
        reply = self._ask(asked, "GET")
        return None if absent(asked, reply) else _good(asked, reply)

    def pages(self, resource: Resource, *, limit: int = 500, labels: str = "") -> Iterator[Page]:
        """The objects of a kind in all namespaces as they were at one version, page by page. Raises Expired.

        labels: a selector of those that are meant.
        """
        asked = Request("list", resource)
        query = {"limit": str(limit), **_selected(resource)} | ({"labelSelector": labels} if labels else {})
        more = ""
        while True:
            reply = self._ask(asked, "GET", query | ({"continue": more} if more else {}), timeout_s=LIST_TIMEOUT_S)
            if reply.status == 410:
                raise Expired
            try:
                found = _LIST.decode(_good(asked, reply))
            except msgspec.DecodeError:
                found = None
            if found is None or not found.of(resource):
                raise ApiUnavailable(f"{asked}: what was answered is not a list of them")
            yield Page(found.items or [], found.metadata.version)
            more = found.metadata.more
            if not more:
                return

    def everything(self, resource: Resource, labels: str = "") -> list[msgspec.Raw]:
        """All objects of a kind as they were at one version; one that expires on the way is begun again.

        Raises ApiUnavailable where that does not help: never a part as if it were all.
        """
        for _ in range(LISTS):
            try:
                return [item for page in self.pages(resource, labels=labels) for item in page.items]
            except Expired:
                continue
        raise ApiUnavailable(f"{resource.plural}: the list expired before it was read")

    @contextmanager
    def watch(self, resource: Resource, version: str, *, silence_s: float = 90.0) -> Iterator[Iterator[bytes]]:
        """Events after `version`, one JSON line each, bookmarks among them, until the server ends the watch in order.

        Raises Expired; ApiUnavailable on a cut or where no line comes for `silence_s` (a bookmark comes each minute).
        """
        asked = Request("watch", resource)
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version, **_selected(resource)}
        seen = self.connection.number
        try:
            with self.connection.lines(resource.path(), query=query, silence_s=silence_s) as lines:
                self._count(asked, 200)
                yield self._events(asked, lines)
                return
        except Answered as refused:
            reply = refused.reply
        self._count(asked, reply.status)
        if reply.status == 410:
            raise Expired
        if reply.status == 401:
            self.connection.reload(seen)  # the caller comes again, with the new ones
        raise failure(asked, reply)

    def end_watches(self) -> None:
        """Cut every watch of this connection that is open, so that a thread that waits for one can end."""
        self.connection.end_watches()

    def _events(self, asked: Request, lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            if line.startswith(_ERROR_LINE):
                try:
                    told = bytes(_EVENT.decode(line).object)
                except msgspec.DecodeError:
                    raise ApiUnavailable(f"{asked}: a watch ended with an error that cannot be read") from None
                code = status_of(told).code or 500
                if code == 410:
                    raise Expired
                raise failure(asked, Reply(code, {}, told))
            yield line

    def apply(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        body: bytes,
        *,
        manager: str,
        force: bool = False,
        sub: str = "",
        dry_run: bool = False,
    ) -> bytes:
        """Server-side apply of `body` (JSON) by field manager `manager`; the object as it is then.

        force takes fields that other managers own; without it they are FieldConflict.fields. dry_run: all but writing.
        """
        query = {"fieldManager": manager, "fieldValidation": "Strict"} | ({"force": "true"} if force else {})
        if dry_run:
            query["dryRun"] = "All"
        asked = Request("patch", resource, namespace, name, sub)
        return _good(asked, self._ask(asked, "PATCH", query, body, content_type=APPLY))

    def patch(self, resource: Resource, name: str, namespace: str, body: bytes, *, manager: str) -> bytes:
        """The object as a JSON patch (RFC 6902) makes it; where that sets the resourceVersion to that of an older one,
        a FieldConflict without fields.
        """
        asked = Request("patch", resource, namespace, name)
        return _good(asked, self._ask(asked, "PATCH", {"fieldManager": manager}, body, content_type=JSON_PATCH))

    def create(
        self, resource: Resource, namespace: str, body: bytes, *, name: str = "", sub: str = "", dry_run: bool = False
    ) -> bytes:
        """A new object; one of that name already there is a FieldConflict without fields. dry_run: all but writing.

        name, sub: of an object of which a subresource is asked for.
        """
        asked = Request("create", resource, namespace, name, sub)
        return _good(asked, self._ask(asked, "POST", {"dryRun": "All"} if dry_run else {}, body))

    def replace(self, resource: Resource, name: str, namespace: str, body: bytes) -> bytes:
        """The object as `body` has it; where that has a resourceVersion of an older one, a FieldConflict."""
        asked = Request("update", resource, namespace, name)
        return _good(asked, self._ask(asked, "PUT", {}, body))

    def delete(self, resource: Resource, name: str, namespace: str, *, uid: str, version: str = "") -> bytes | None:
        """Delete exactly the object with this uid (and resourceVersion); None when it was gone already.

        What comes back is a Status, or the object where finalizers keep it for now.

        Raises FieldConflict where another object has that name now, or this one has changed.
        """
        conditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
        body = msgspec.json.encode({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": conditions})
        asked = Request("delete", resource, namespace, name)
        reply = self._ask(asked, "DELETE", {}, body)
        if absent(asked, reply):
            return None
        return _good(asked, reply)

    def raw(self, path: str) -> bytes:
        """GET of a path that is no object: /version, /readyz."""
        asked = Request("get", Resource("", "v1", path, path, namespaced=False))
        return _good(asked, self._sent(_Request(asked, "GET", path)), form="")

    def _ask(
        self,
        asked: Request,
        method: str,
        query: Mapping[str, str] = {},
        body: bytes = b"",
        *,
        content_type: str = JSON,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        for segment in (asked.namespace, asked.name):
            if segment and not _SEGMENT.fullmatch(segment):
                raise ApiRefused(f"{asked.resource.kind}: a name cannot be {segment[:80]!r}")
        path = asked.resource.path(asked.namespace, asked.name, asked.sub)
        return self._sent(_Request(asked, method, path, query, body, content_type, timeout_s))

    def _sent(self, request: _Request) -> Reply:
        seen = self.connection.number
        reply = self._once(request)
        if reply.status == 401:  # nothing was done: once more, as who we are now
            self.connection.reload(seen)
            reply = self._once(request)
        if reply.status == 403 and self._denied is not None:
            denial = failure(request.asked, reply)
            if isinstance(denial, RightMissing) and denial.right:
                self._denied(denial)
        return reply

    def _once(self, request: _Request) -> Reply:
        timeout_s = request.timeout_s
        if self._permit is not None and request.method != "GET":
            allowed = self._permit()
            if allowed <= 0:
                raise LeaseLost(f"{request.asked}: not sent: the Lease is over")
            timeout_s = min(timeout_s, allowed)
        if self._within is not None:
            timeout_s = min(timeout_s, self._within())
        try:
            reply = self.connection.exchange(
                request.method,
                request.path,
                query=request.query,
                body=request.body,
                content_type=request.content_type,
                timeout_s=timeout_s,
            )
        except ApiUnavailable:
            self._count(request.asked, 0)
            raise
        self._count(request.asked, reply.status)
        return reply

    def _count(self, asked: Request, status: int) -> None:
        if self._counted is not None:
            self._counted(asked.verb, asked.resource.kind, status)


def _selected(resource: Resource) -> dict[str, str]:
    return {"labelSelector": resource.label_selector} if resource.selector else {}


def _good(asked: Request, reply: Reply, form: str = JSON) -> bytes:
    """The body of a success, which is JSON; whatever else raises."""
    if not 200 <= reply.status < 300:
        raise failure(asked, reply)
    if not reply.headers.get("content-type", "").startswith(form):
        raise ApiUnavailable(
            f"{asked}: the answer is no JSON, so it is not an API server's", unknown=asked.verb not in {"get", "list"}
        )
    return reply.body
