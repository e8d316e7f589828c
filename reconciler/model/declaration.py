"""A document as a declaration, or everything that is wrong with it. May import: model.findings, diagnostics.

In: documents from sources.documents.  Out: typed declarations to planning; diagnostics to the log and the command line.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import Field, ValidationError

from reconciler.diagnostics import Diagnostic
from reconciler.model.document import Document, Loc
from reconciler.model.fields import is_slip, nearest
from reconciler.model.findings import validated
from reconciler.model.identity import API_VERSION, DEFAULT_NAMESPACE, GROUP, Identity
from reconciler.model.kind import Kind
from reconciler.model.shape import Annotations, Labels, Name, Namespace, Shape

Kinds = Mapping[str, Kind]  # the rows of the table of kinds, by name
MAX_OBJECT_BYTES: Final = 2**20  # etcd takes 1.5 MiB a request, and the API server adds who owns which field
# How a text says its apiVersion that cannot be read as YAML: a template, or what is broken.
_VERSIONS: Final = re.compile(r"""\bapi_?version["']?\s*:\s*["']?\s*([^\s"',}#]+)""", re.IGNORECASE)
_LISTS: Final = "a List has items, which are a list of objects, and stands in no other List"
_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec")
_IDENTITY: Final[tuple[Loc, ...]] = (
    *(("apiVersion",), ("kind",), ("metadata",)),
    *(("metadata", "name"), ("metadata", "namespace")),
)


class Metadata(Shape):
    """What Kubernetes keeps of every object, as far as a file may say it."""

    name: Name
    """Names the object among those of its kind and namespace."""
    namespace: Namespace = ""
    """The namespace that it lives in; absent, default. Kinds of the whole cluster have none."""
    labels: Labels = Field(default_factory=dict)
    """Labels; by those of an Edge selectors choose it."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations; those of ai.kubeedge.io/ tell the reconciler something, as prune and reconcile do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One object that a commit declares, and where: file, index of the document in it, line of its first value."""

    identity: Identity
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Shape
    path: str
    index: int
    line: int


def identity_of(document: Document, kinds: Kinds) -> Identity | None:
    """Which object the document is about, also where its spec is wrong; None where that cannot be read for certain.

    A kind of a foreign group has an identity too, which is none of ours. An unknown kind in our group has none: it may
    be one of ours, misspelt. A group that is nearly ours is meant to be it.
    """
    data = document.data
    if not isinstance(data, dict) or any(loc in document.ambiguous for loc in _IDENTITY):
        return None
    kind, version, given = _text(data, "kind"), _text(data, "apiVersion"), data.get("metadata")
    if not kind or not version or not isinstance(given, dict):
        return None
    try:
        metadata = Metadata.model_validate({"name": given.get("name"), "namespace": given.get("namespace")})
    except ValidationError:
        return None
    row, is_meant = row_of(data, kinds), _is_meant(version, kind, kinds)
    if row is None and not is_meant:
        return Identity(kind, metadata.namespace, metadata.name)
    row = row or (kinds.get(kind) if is_meant else None)  # its group is a slip away from ours
    return _identity(row, metadata) if row is not None else None


def row_of(data: Any, kinds: Kinds) -> Kind | None:
    """The kind that a document is of; None of one that is none of ours, or that there is not.

    What is not of our group is ours where an annotation of our group says so.
    """
    row, version = kinds.get(_text(data, "kind")), _text(data, "apiVersion")
    if row is None or row.is_ours:
        return row if version.rpartition("/")[0] == GROUP else None
    metadata = data.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    asked = isinstance(annotations, dict) and any(str(name).startswith(f"{GROUP}/") for name in annotations)
    return row if asked and version == row.api_version else None


def is_foreign(document: Document, kinds: Kinds) -> bool:
    """Whether the document is of another tool: nothing in it says our group, or is a slip away from that.

    Of what could not be read the text decides. A kind of ours without a group is ours, and misses it.
    """
    data = document.data
    if document.broken:
        return GROUP not in document.text.lower() and not any(
            _is_group(found[1]) for found in _VERSIONS.finditer(document.text)
        )
    if not isinstance(data, dict) or _is_list(data):
        return data is None or not any(_is_group(found[1]) for found in _VERSIONS.finditer(document.text))
    version, kind = _text(data, "apiVersion"), _text(data, "kind")
    if version:
        return row_of(data, kinds) is None and not _is_meant(version, kind, kinds)
    if any(_is_group(value) for value in data.values() if isinstance(value, str)):
        return False
    row = kinds.get(kind)
    return row is None or not row.is_ours or not data.keys() & {"metadata", "spec"}


def says_api_version(document: Document) -> bool:
    """Whether the document says exactly the group and version of our kinds."""
    return isinstance(document.data, dict) and _text(document.data, "apiVersion") == API_VERSION


def declare(document: Document, kinds: Kinds) -> tuple[Declaration | None, list[Diagnostic]]:
    """What the document declares, and every problem in it; the declaration is None when one of them is an error.

    Never raises. To what the reader has said of a broken document nothing is added.
    """
    if document.broken:
        return None, []
    if not isinstance(document.data, dict):
        advice = "begin it with `apiVersion: `, `kind: `, `metadata: ` and `spec: `, each on a line of its own"
        return None, [document.diagnostic("RX207", "a document is a mapping", document.position(()), advice=advice)]
    found = list(_head_problems(document, kinds))
    row = row_of(document.data, kinds)
    if row is None or any(problem.code == "RX209" for problem in found):
        return None, found
    found += _too_large(document)
    metadata, problems = _metadata(document, row)
    found += problems
    spec, problems = validated(document, "spec", row.spec)
    found += problems
    found.sort(key=lambda problem: (problem.severity != "error", problem.line, problem.column))
    if metadata is None or spec is None or any(problem.severity == "error" for problem in found):
        return None, found
    declaration = Declaration(
        identity=_identity(row, metadata),
        labels=metadata.labels,
        annotations=metadata.annotations,
        spec=spec,
        path=document.path,
        index=document.index,
        line=document.line,
    )
    return declaration, found


def _head_problems(document: Document, kinds: Kinds) -> Iterator[Diagnostic]:
    """What is wrong with apiVersion, kind and the names of the fields at the top."""
    version, kind = _text(document.data, "apiVersion"), _text(document.data, "kind")
    row, ours = row_of(document.data, kinds), [name for name, one in kinds.items() if one.is_ours]
    for name, given in (("apiVersion", version), ("kind", kind)):
        if not given:
            at = document.key_position((name,) if document.has((name,)) else ())
            hint = f"a document begins with apiVersion: {API_VERSION}, then kind, metadata and spec"
            yield document.diagnostic("RX208", f"{name} cannot be read", at, advice=hint)
    group = version.rpartition("/")[0]
    if row is not None and not row.is_ours:
        pass
    elif version and group != GROUP:
        is_meant = _is_meant(version, kind, kinds)
        hint = f"did you mean {API_VERSION}?" if is_meant else "keep other kinds in another folder"
        if _is_list(document.data):
            hint = _LISTS
        elif kind in kinds and kind not in ours:
            hint = f"an annotation of {GROUP}/ has it kept with our kinds"
        message = f"{kind:.60} of {version:.80} is not one of our kinds"
        yield document.diagnostic("RX209", message, document.position(("apiVersion",)), advice=hint)
    elif kind and kind not in ours:
        meant = nearest(kind, ours)
        hint = f"did you mean {meant}?" if meant else f"there is {', '.join(ours)}"
        if kind.endswith("List"):
            hint = _LISTS
        yield document.diagnostic("RX209", f"there is no kind {kind:.60}", document.position(("kind",)), advice=hint)
    elif version and version != API_VERSION:
        message = f"there is no version {version.rpartition('/')[2]:.60} of our kinds"
        at = document.position(("apiVersion",))
        yield document.diagnostic("RX213", message, at, advice=f"did you mean {API_VERSION}?")
    for name in document.data:
        if name not in _FIELDS:
            meant = nearest(name, list(_FIELDS))
            hint = f"did you mean {meant}?" if meant else f"a document has {', '.join(_FIELDS)}"
            hint = "remove it: status is what is observed, never what is declared" if name == "status" else hint
            at = document.key_position((name,))
            yield document.diagnostic("RX210", f"a document has no field {name!a:.80}", at, advice=hint)


def _is_list(data: Any) -> bool:
    """Whether a document is a List that was not read as one: within another, or without a list of items."""
    return _text(data, "apiVersion") == "v1" and _text(data, "kind").lower() == "list"


def _is_meant(version: str, kind: str, kinds: Kinds) -> bool:
    """Whether an apiVersion is meant to be ours: no group, or another one of KubeEdge, has none of our kinds."""
    row = kinds.get(kind)
    is_ours = row is not None and row.is_ours
    return _is_group(version) or (is_ours and ("/" not in version or "kubeedge" in version.lower()))


def _is_group(version: str) -> bool:
    """Whether an apiVersion says our group, or is a slip away from that."""
    said = version.strip().lower()
    return said.startswith(GROUP) or is_slip(said.partition("/")[0], GROUP) or is_slip(said, API_VERSION)


def _too_large(document: Document) -> list[Diagnostic]:
    """Whether it would be too large for the API server: as JSON it can be longer than its text."""
    if (
        len(document.text) < MAX_OBJECT_BYTES // 8
    ):  # `[,,]` is the densest; each comma becomes `"",`, and that is refused
        return []
    size = len(json.dumps(document.data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    if size <= MAX_OBJECT_BYTES:
        return []
    message = f"the object would have {size:,} bytes as JSON; a cluster keeps 1 MiB of an object"
    return [document.diagnostic("RX205", message, document.position(()), advice="split it")]


def _metadata(document: Document, row: Kind) -> tuple[Metadata | None, list[Diagnostic]]:
    metadata, problems = validated(document, "metadata", Metadata)
    if metadata is None and any(problem.code == "RX211" for problem in problems):
        problems = [
            replace(problem, code="RX208", help="add metadata: {name: NAME}") if problem.code == "RX211" else problem
            for problem in problems
        ]
    if metadata and metadata.namespace and row.scope == "Cluster":
        message = f"{row.name} objects belong to the whole cluster and have no namespace"
        at = document.key_position(("metadata", "namespace"))
        problems.append(document.diagnostic("RX213", message, at, advice="remove the namespace"))
    return metadata, problems


def _identity(row: Kind, metadata: Metadata) -> Identity:
    namespace = "" if row.scope == "Cluster" else metadata.namespace or DEFAULT_NAMESPACE
    return Identity(row.name, namespace, metadata.name)


def _text(data: Any, field: str) -> str:
    value = data.get(field)
    return str(value) if isinstance(value, str) else ""
