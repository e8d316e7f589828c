"""The live object as the watch cache keeps it, and its decoder. May import: planning, model, resources.

In: an object's JSON, and its kind's row.  Out: `Live`, without what is never needed: managedFields (once read),
annotations of others.
Ten thousand objects of one fleet say much the same, so equal parts are one object in memory: nothing in a `Live` may
be changed in place.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from reconciler.history.keys import Key
from reconciler.kube.client.resources import Resource
from reconciler.model.identity import GROUP, OPERATION, STAMPS
from reconciler.planning.fields import above, leaves, managed

KEPT: Final = (f"{GROUP}/", "config.kubernetes.io/")
_SEPARATORS: Final = frozenset("/@")  # of the parts of a key
SHARED_MAX: Final = 1 << 12  # parts remembered to be shared
SHARED_BYTES: Final = 1 << 12  # a longer part is not looked for


class Live(msgspec.Struct, frozen=True, gc=False):
    """An object of the API server.

    version: resourceVersion.  annotations: those of ai.kubeedge.io/ and config.kubernetes.io/, and
    those that are ours.
    parts: what it says beside `spec`, as `data` of a ConfigMap.
    foreign: leaf path -> field manager, of what others own in spec, parts, labels and those annotations and we do not;
    "" where nobody does, in a kind of which the API server fills in fields.
    ours: whether our field manager owns anything of it.  writer: field manager of the newest write that was neither
    ours nor to the status, "" where none is known: a write that only took fields away leaves no name behind.
    created: RFC 3339.  deleting: it waits for finalizers, or for its end.
    managers: the field managers beside ours that own anything of it but its status, whether we own it too or not.
    """

    uid: str
    version: str
    generation: int
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]
    status: dict[str, Any]
    foreign: dict[str, str]
    ours: bool
    writer: str
    created: str
    deleting: bool
    parts: dict[str, Any] = {}
    managers: tuple[str, ...] = ()

    @property
    def found(self) -> dict[str, str]:
        """Which object it is and in which version, as an intent has it."""
        return {"uid": self.uid, "resourceVersion": self.version}

    @property
    def told(self) -> dict[str, Any]:
        """The same as an outcome has it."""
        return {**self.found, "generation": self.generation}


class Identified(msgspec.Struct, frozen=True, gc=False):
    """What names an object and its version, read before anything else of it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815  # the API's name


class ObjectHead(msgspec.Struct, frozen=True, gc=False):
    """The head of an object, a bookmark, or a Status (code, message)."""

    kind: str = ""
    metadata: Identified = Identified()
    code: int = 0
    message: str = ""


class _Managed(msgspec.Struct, frozen=True, gc=False):
    manager: str = ""
    subresource: str = ""
    time: str = ""
    fieldsV1: msgspec.Raw = msgspec.Raw(b"{}")  # noqa: N815


class _Metadata(msgspec.Struct, frozen=True, gc=False):
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815
    generation: int = 0
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creationTimestamp: str | None = None  # noqa: N815
    deletionTimestamp: str | None = None  # noqa: N815
    managedFields: list[_Managed] | None = None  # noqa: N815


class _Document(msgspec.Struct, frozen=True, gc=False):
    metadata: _Metadata
    spec: dict[str, msgspec.Raw] | None = None
    status: dict[str, Any] | None = None


class _Names(msgspec.Struct, frozen=True, gc=False):
    name: str
    namespace: str = ""


class _Named(msgspec.Struct, frozen=True, gc=False):
    metadata: _Names


class _Event(msgspec.Struct, frozen=True, gc=False):
    object: _Document


class _Enveloped(msgspec.Struct, frozen=True, gc=False):
    object: msgspec.Raw


_named = msgspec.json.Decoder(_Named)
_document = msgspec.json.Decoder(_Document)
_event = msgspec.json.Decoder(_Event)
_enveloped = msgspec.json.Decoder(_Enveloped)
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, Any])
_EMPTY: Final[dict[str, Any]] = {}


def key_of(kind: str, body: bytes | msgspec.Raw) -> Key:
    """The key of an object, from its head alone. Raises msgspec.MsgspecError."""
    names = _named.decode(body).metadata
    return key_named(kind, names.namespace, names.name)


def annotations_of(body: bytes | msgspec.Raw) -> dict[str, str]:
    """The annotations of an object, all of them. Raises msgspec.MsgspecError."""
    return _document.decode(body).metadata.annotations or {}


def key_named(kind: str, namespace: str, name: str) -> Key:
    """The key of these names. Raises msgspec.ValidationError where no API server has such names."""
    if not name or not _SEPARATORS.isdisjoint(f"{namespace}{name}"):
        raise msgspec.ValidationError(f"an object named {namespace[:40]!a} {name[:40]!a}")
    return Key(kind, namespace, name, "")


class Decoder:
    """Reads objects of one kind for one cache, sharing what is equal. Thread-safe."""

    def __init__(self, manager: str, resource: Resource) -> None:
        """manager: our own field manager."""
        self._manager, self._keys, self._defaulted = manager, resource.merge_keys, resource.defaulted
        self._beside = frozenset(resource.content) - {"spec"}
        self._parts: dict[bytes, Any] = {}
        self._texts: dict[str, str] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._owned: dict[bytes, frozenset[str]] = {}

    def object(self, body: bytes | msgspec.Raw, before: Live | None = None) -> Live:
        """The object in `body`. Raises msgspec.MsgspecError. before: the same object as it was, to share with."""
        parts = _EMPTY
        if self._beside:
            parts = {name: self._part(raw) for name, raw in _top.decode(body).items() if name in self._beside}
        return self._live(_document.decode(body), parts, before)

    def event(self, line: bytes, before: Live | None = None) -> Live:
        """The object in a watch event. Raises msgspec.MsgspecError."""
        if self._beside:
            return self.object(_enveloped.decode(line).object, before)
        return self._live(_event.decode(line).object, _EMPTY, before)

    def _live(self, document: _Document, parts: dict[str, Any], before: Live | None) -> Live:
        meta = document.metadata
        spec = {key: self._part(raw) for key, raw in (document.spec or {}).items()}
        labels = {self._text(key): self._text(value) for key, value in (meta.labels or {}).items()}
        annotations = {
            self._text(key): value if key == OPERATION else self._text(value)
            for key, value in (meta.annotations or {}).items()
            if key.startswith(KEPT) or _has_annotation(meta.managedFields, self._manager, key)
        }
        status: dict[str, Any] = document.status or _EMPTY
        if before is not None:
            spec, labels, status = _same(spec, before.spec), _same(labels, before.labels), _same(status, before.status)
            annotations, parts = _same(annotations, before.annotations), _same(parts, before.parts)
        mine: list[_Managed] = []
        others: list[_Managed] = []
        for entry in meta.managedFields or ():
            if entry.subresource != "status":  # what goes by `scale` is a field of the spec
                (mine if entry.manager == self._manager else others).append(entry)
        foreign: dict[str, str] = _EMPTY
        if others or self._defaulted:
            tree = {"spec": spec, "labels": labels, "annotations": annotations, **parts}
            others.sort(key=lambda entry: entry.time)
            foreign = self._foreign({name: part for name, part in tree.items() if part}, mine, others) or _EMPTY
        return Live(
            uid=meta.uid,
            version=meta.resourceVersion,
            generation=meta.generation,
            labels=labels or _EMPTY,
            annotations=annotations or _EMPTY,
            spec=spec or _EMPTY,
            status=status,
            foreign=foreign if before is None else _same(foreign, before.foreign),
            ours=bool(mine),
            writer=self._text(others[-1].manager) if others else "",
            created=self._text(meta.creationTimestamp or ""),
            deleting=bool(meta.deletionTimestamp),
            parts=parts,
            managers=self._managers(others) if others else (),
        )

    def _managers(self, others: Iterable[_Managed]) -> tuple[str, ...]:
        """Theirs, the same object for the same ones."""
        names = tuple(sorted({self._text(entry.manager) for entry in others if not entry.subresource}))
        found = self._names.setdefault(names, names)
        if len(self._names) > SHARED_MAX:
            self._names.clear()
        return found

    def _foreign(self, tree: dict[str, Any], mine: list[_Managed], others: list[_Managed]) -> dict[str, str]:
        """Who has each leaf that we do not have, "" where nobody does; of several, who wrote last.

        A leaf belongs to whoever owns it by name; only where nobody does, to whoever owns what it lies in as a whole
        (an atomic list or mapping).
        """
        owners: dict[str, str] = {}
        for entry in others:
            manager = self._text(entry.manager)
            owners.update((path, manager) for path in self._paths(entry))
        owners.update((path, self._manager) for entry in mine for path in self._paths(entry))
        found = {}
        for path, _ in leaves(tree, self._keys):
            if (owner := owners.get(path)) is None:
                owner = next((owners[higher] for higher in above(path) if higher in owners), "")
            if owner != self._manager and (owner or self._defaulted):
                found[self._text(path)] = owner
        return found

    def _paths(self, entry: _Managed) -> frozenset[str]:
        """What an entry owns. Objects of one shape have the same bytes here."""
        raw = bytes(entry.fieldsV1)
        if (paths := self._owned.get(raw)) is None:
            paths = managed(_fields.decode(raw), self._keys) if raw[:1] == b"{" else frozenset()
            _remember(self._owned, raw, paths, 256)
        return paths

    def _part(self, raw: msgspec.Raw) -> Any:
        """A field's value, the same object for the same bytes; so for each item of a list."""
        if len(raw) > SHARED_BYTES:
            return msgspec.json.decode(raw)
        text = bytes(raw)
        try:
            return self._parts[text]
        except KeyError:
            pass
        part = [self._part(item) for item in _raws.decode(raw)] if text[:1] == b"[" else msgspec.json.decode(raw)
        _remember(self._parts, text, part, SHARED_MAX)
        return part

    def _text(self, text: str) -> str:
        try:
            return self._texts[text]
        except KeyError:
            _remember(self._texts, text, text, SHARED_MAX)
            return text


def _has_annotation(entries: "list[_Managed] | None", manager: str, key: str) -> bool:
    """Whether our field manager has an annotation that is not of our groups: it was declared in Git."""
    name = b'"f:%s"' % key.encode()
    return any(not one.subresource and one.manager == manager and name in bytes(one.fieldsV1) for one in entries or ())


def differs(before: Live, after: Live, *, status: bool = False) -> bool:
    """Whether anything changed that somebody may have to act on: not the version, not our bookkeeping.

    uid, spec, parts, labels, our annotations but for operation, commit and sequence, whose the fields are, deletion.
    status: whether a change of that is one too.
    """
    return (
        before.uid != after.uid
        or before.deleting != after.deleting
        or before.ours != after.ours
        or before.spec != after.spec
        or before.labels != after.labels
        or before.foreign != after.foreign
        or before.parts != after.parts
        or (status and before.status != after.status)
        or (
            before.annotations != after.annotations
            and _meaning(before.annotations.items()) != _meaning(after.annotations.items())
        )
    )


def _meaning(annotations: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {key: value for key, value in annotations if key not in STAMPS}


def _same(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """The old one where they are equal, so that one stays in memory."""
    return old if new == old else new


def _remember(memo: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Keep it for others to share; where there are too many, begin anew."""
    if len(memo) >= most:
        memo.clear()
    memo[key] = value
