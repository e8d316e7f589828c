"""The last good state of every document, and what changed files make of it. May import: planning, model.

In: changed files of sources.mirror; at start, what the log remembers.  Out: what each file declares, and its problems.

The last good content is kept per document: a document that cannot be used leaves the one before it standing, also where
it was moved in the same commit, and never blocks or removes anything else. Where it is not clear what a file says, all
that it declared and nothing else claims stands.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from reconciler.diagnostics import BLOCKS_PRUNING, HOLDS_DELETES, Diagnostic
from reconciler.errors import HistoryError
from reconciler.history.keys import spoken
from reconciler.history.state import State
from reconciler.model.declaration import Declaration, declare, identity_of, is_foreign, says_api_version
from reconciler.model.document import Document
from reconciler.model.identity import API_VERSION, POLICY, Identity
from reconciler.model.kind import to_json
from reconciler.planning.declared import Declared, Object
from reconciler.planning.kinds import models
from reconciler.planning.mutation import mutated_version
from reconciler.planning.refusals import pointed
from reconciler.sources.documents import read_documents
from reconciler.sources.mirror import Mirror
from reconciler.sources.tree import FileChange, ManifestFile


class Slot(NamedTuple):
    """One document's place in a file. good: `<blob>#<index>` of its last good content, "" when there is none."""

    good: str
    object: Object | None


NOTHING = Slot("", None)
Files = dict[str, list[Slot]]


class Cache(Protocol):
    """Parsed documents by blob id. Implemented by `sources.cache.DocumentCache`."""

    def load(self, oids: Iterable[str]) -> dict[str, list[Object]]: ...
    def keep(self, parsed: Mapping[str, list[Object]]) -> None: ...


@dataclass
class Candidate:
    """A document of a changed file: which object it is about, and what it declares where it can be used."""

    path: str
    identity: Identity | None
    slot: Slot | None  # None: it cannot be used
    line: int
    broken: bool = False  # what stood behind it may be in it
    named: int = 0  # the line of its name, or of where that should be
    text: str = ""  # what stands there


@dataclass
class Stranger:
    """A document of another tool, with what its reader has said of it."""

    document: Document
    candidate: Candidate
    unread: list[Diagnostic]


@dataclass
class Read:
    """What changed files say: documents, every problem by path, and the documents and files that are not ours.

    foreign: path -> the file, None where its documents were read and every one is of another tool.
    """

    candidates: list[Candidate] = field(default_factory=list)
    problems: dict[str, list[Diagnostic]] = field(default_factory=lambda: defaultdict(list))
    strangers: list[Stranger] = field(default_factory=list)
    foreign: dict[str, ManifestFile | None] = field(default_factory=dict)
    parsed: int = 0


class LastGood:
    """The documents of the followed branch as they stand. `read` may run beside the thread that adopts."""

    def __init__(
        self, mirror: Mirror, state: State, blob: Callable[[str], bytes | None], cache: Cache, folder: str
    ) -> None:
        """See DocumentRepository."""
        self._mirror, self._state, self._blob, self._cache, self._folder = mirror, state, blob, cache, folder
        self._kinds = models()
        self.files = self._remembered()
        self._known: Declared | None = None

    @property
    def declared(self) -> Declared:
        """What the last adopted reading declares."""
        if self._known is None:
            self._known = Declared(self.standing().values())
        return self._known

    def standing(self) -> dict[str, Object]:
        """The last good content of each document, by where it stands."""
        return {slot.good: slot.object for slots in self.files.values() for slot in slots if slot.object is not None}

    def adopt(self, files: Mapping[str, list[Slot]], declared: Declared) -> None:
        """Make what was read the one that stands."""
        for path, slots in files.items():
            if slots:
                self.files[path] = slots
            else:
                self.files.pop(path, None)
        self._known = declared

    def read(self, changes: list[FileChange], gone: set[str], *, is_switched: bool) -> tuple[Read, Files]:
        """What changed files say, and what stands in each of them now.

        gone: the paths at which nothing is any more.  is_switched: another source was read before: what that declares
        is not what moved.
        """
        read = self._parse(changes)
        if not is_switched:
            self._keep_disowned(read, changes, gone)
        files = self._judge(read.candidates, read.problems, gone)
        self._leave_out(read, files)
        return read, files

    def declare(self, files: Files) -> tuple[Declared, frozenset[Identity]]:
        """The declarations with these files as they are now, and which objects differ in more than their place."""
        before = [slot.object for path in files for slot in self.files.get(path, []) if slot.object is not None]
        after = {slot.object.identity: slot.object for slots in files.values() for slot in slots if slot.object}
        touched: dict[Identity, Object | None] = {obj.identity: None for obj in before}
        touched.update(after)
        changed = {
            identity for identity, obj in touched.items() if _content(obj) != _content(self.declared.get(identity))
        }
        return self.declared.changed(touched), frozenset(changed)

    def trace(
        self, old: str, head: str, files: Files, declared: Declared, problems: dict[str, list[Diagnostic]]
    ) -> None:
        """Say of each file that is not read any more where it is; what moved to where nothing is read holds deletes."""
        left = {
            path: [slot.object for slot in self.files.get(path, ()) if slot.object is not None]
            for path, slots in files.items()
            if not any(slot.object for slot in slots) and not problems.get(path)
        }
        left = {path: objs for path, objs in left.items() if any(declared.get(obj.identity) is None for obj in objs)}
        if not left or not old or not self._mirror.has(old):
            return
        for path, (now, why) in self._mirror.whereabouts(old, head, [*left], self._folder).items():
            problems[path].append(
                _not_read(path, now, why, [obj for obj in left[path] if not declared.get(obj.identity)])
            )

    def policies(self, path: str, oid: str | None, said: Mapping[str, bytes]) -> list[Any]:
        """What a file says of the policy. said: blob id -> the content of those that may."""
        if oid is None or oid not in said:
            return []
        documents, _ = read_documents(path, said[oid])
        declared = (declare(document, self._kinds)[0] for document in documents)
        return [to_json(one.spec, defaults=True) for one in declared if one is not None and one.identity.kind == POLICY]

    # ── at start ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _remembered(self) -> Files:
        """Every document's last good content, from the log's blobs; parsed once in its life."""
        standing, fresh = self._state.documents, {}
        oids = {good.partition("#")[0]: path for path, goods in standing.items() for good in goods if good}
        known = self._cache.load(oids)
        for oid in oids.keys() - known.keys():
            known[oid] = fresh[oid] = self._parsed_again(oids[oid], oid)
        self._cache.keep(fresh)
        found = {f"{oid}#{obj.index}": obj for oid, objs in known.items() for obj in objs}
        return {
            path: [Slot(good, _found(found, good, path)) if good else NOTHING for good in goods]
            for path, goods in standing.items()
        }

    def _parsed_again(self, path: str, oid: str) -> list[Object]:
        documents, _ = read_documents(path, self._blob(oid) or b"")
        declared = (declare(document, self._kinds)[0] for document in documents)
        return [_object(found, document) for found, document in zip(declared, documents, strict=True) if found]

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _parse(self, changes: list[FileChange]) -> Read:
        """The documents of changed files, and every problem in them by path."""
        read = Read()
        fresh: dict[str, list[Object]] = {}
        for file in self._mirror.read(changes):
            if file.is_foreign and not self._declares(file.path):
                if file.problem is not None and file.problem.code == "RX218":  # what is behind a pointer nobody knows
                    read.problems[file.path].append(replace(file.problem, severity="warning"))
                else:
                    read.foreign[file.path] = file
            elif file.problem is not None:
                read.problems[file.path].append(replace(file.problem, notes=(*file.problem.notes, BLOCKS_PRUNING)))
            elif file.content is not None and file.oid is not None:
                objects = self._documents(file, read)
                if not read.problems[file.path]:
                    fresh[file.oid] = objects
        self._cache.keep(fresh)
        return read

    def _declares(self, path: str) -> bool:
        """Whether an object is declared at this path."""
        return any(slot.object is not None for slot in self.files.get(path, ()))

    def _documents(self, file: ManifestFile, read: Read) -> list[Object]:
        """The objects of a file, with its documents and problems added to `read`."""
        documents, unread = read_documents(file.path, file.content or b"")
        read.parsed += len(documents)
        problems, candidates, objects = read.problems[file.path], [], []
        is_unclear = bool(unread) and not documents
        by_line = _by_first_line(unread, documents)
        for document in documents:
            line = document.position(("metadata", "name")).line
            text = document.snippet(line)
            candidate = Candidate(file.path, None, NOTHING, document.line, named=line, text=text)
            said = by_line.pop(document.first_line, []) if document.broken else []
            candidates.append(candidate)
            if document.data is None and not document.broken:  # a list, whose items are documents
                continue
            if is_foreign(document, self._kinds):
                read.strangers.append(Stranger(document, candidate, said))
                continue
            problems += said
            candidate.identity, candidate.slot = identity_of(document, self._kinds), None
            candidate.broken = document.broken
            declaration, found = declare(document, self._kinds)
            is_unclear |= candidate.identity is None or not says_api_version(document)
            if declaration is not None:
                obj = _object(declaration, document)
                objects.append(obj)
                mutation = mutated_version(self.declared.get(obj.identity), obj)
                found = [*found, pointed(mutation, document.snippet(mutation.line))] if mutation is not None else found
                candidate.slot = Slot(f"{file.oid}#{document.index}", obj) if mutation is None else None
            problems += found
        if is_unclear:
            problems += [] if documents else unread
            _mark_unreadable(problems)
        read.candidates += candidates
        return objects

    def _keep_disowned(self, read: Read, changes: list[FileChange], gone: set[str]) -> None:
        """What was declared, and whose document does not name our group any more, stands: that is no delete.

        Such a document has the kind and name of what vanished, or is new where it was declared. In a new file that
        cannot be read may stand what vanished elsewhere.
        """
        claimed = {candidate.identity for candidate in read.candidates}
        paths = {candidate.path for candidate in read.candidates} | gone | read.foreign.keys()
        lost = [
            slot.object
            for path in sorted(paths)
            for slot in self.files.get(path, ())
            if slot.object is not None and slot.object.identity not in claimed
        ]
        if not lost:
            return
        was = {change.path: change.old_oid for change in changes}
        for path, file in [*read.foreign.items()]:
            if file is not None and was.get(path) is None:
                del read.foreign[path]
                if file.problem is not None:
                    read.problems[path].append(replace(file.problem, notes=(*file.problem.notes, BLOCKS_PRUNING)))
                else:
                    self._documents(file, read)
        for one in read.strangers:
            path, seen = one.candidate.path, identity_of(one.document, self._kinds)
            if one.document.broken and lost and was.get(path) is None:
                read.problems[path] += one.unread
                _mark_unreadable(read.problems[path])
                one.candidate.slot = None
                continue
            alike = [obj for obj in lost if seen is not None and (obj.kind, obj.name) == (seen.kind, seen.name)]
            here = [obj for obj in lost if obj.path == path]
            if not alike and (not here or _bare(one.document) in self._foreign_before(path, was.get(path))):
                continue
            problems, one.candidate.slot = read.problems[path], None
            if one.document.broken:
                problems += one.unread
            else:
                there = next((obj for obj in here if obj.index == one.document.index), None)
                meant = (alike or ([there] if there else here))[0]
                one.candidate.identity = meant.identity
                problems.append(_disowned(one.document, meant))
                lost.remove(meant)
            _mark_unreadable(problems)

    def _foreign_before(self, path: str, oid: str | None) -> set[str]:
        """The texts of the documents of other tools that stood in a file before it changed."""
        content = self._mirror.blobs([oid]).get(oid, b"") if oid else b""
        slots = self.files.get(path, [])
        documents = read_documents(path, content)[0] if content else []
        return {_bare(one) for one in documents if one.index >= len(slots) or slots[one.index].object is None}

    def _leave_out(self, read: Read, files: Files) -> None:
        """Files in which every document is of another tool are as if they were not there."""
        ours = {one.path for one in read.candidates} - {one.candidate.path for one in read.strangers}
        ours |= {path for path, found in read.problems.items() if found}
        ours |= {path for path, slots in files.items() if any(slot is not NOTHING for slot in slots)}
        read.foreign |= dict.fromkeys({one.candidate.path for one in read.strangers} - ours)
        for path in read.foreign:
            if path in self.files or path in self._state.files or read.problems.get(path):
                files[path] = []
            else:
                files.pop(path, None)

    # ── last good, and objects declared twice ─────────────────────────────────────────────────────────────────────

    def _judge(self, candidates: list[Candidate], problems: dict[str, list[Diagnostic]], gone: set[str]) -> Files:
        """What stands in each changed file's slots; an object declared twice is frozen and both places are named."""
        changed = {candidate.path for candidate in candidates} | gone | set(problems)
        claims: dict[Identity, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            if candidate.identity is not None:
                claims[candidate.identity].append(candidate)
        files: Files = {path: [] for path in changed}
        vacant: dict[str, list[int]] = defaultdict(list)
        for candidate in candidates:
            slot, rivals = candidate.slot, self._rivals(candidate, claims, changed)
            if rivals:
                problems[candidate.path].append(_declared_twice(candidate, rivals))
            if slot is None or rivals:
                slot = self._last_good(candidate, claims, changed)
                if slot is NOTHING:
                    vacant[candidate.path].append(len(files[candidate.path]))
            files[candidate.path].append(slot)
        unclear = {path for path, group in problems.items() if _blocks_pruning(group)}
        for path in unclear | {candidate.path for candidate in candidates if candidate.broken}:
            rest = [slot for slot in self.files.get(path, ()) if slot.object and slot.object.identity not in claims]
            if rest:
                _mark_unreadable(problems[path])
            for slot in rest:
                if vacant[path]:
                    files[path][vacant[path].pop(0)] = slot
                else:
                    files[path].append(slot)
        return files

    def _last_good(self, candidate: Candidate, claims: Mapping[Identity, list[Candidate]], changed: set[str]) -> Slot:
        """What stood before, wherever that was, for a document that cannot be used and whose identity is clear."""
        if candidate.identity is None:
            return NOTHING
        standing, mine = self.declared.get(candidate.identity), claims[candidate.identity]
        if standing is None:
            return NOTHING
        keepers = [one for one in mine if one.path == standing.path] or (mine if standing.path in changed else [])
        if not keepers or candidate is not keepers[0]:  # one place keeps it: where it stood, else the first of the new
            return NOTHING
        good = next(slot.good for slot in self.files[standing.path] if slot.object == standing)
        return Slot(good, replace_path(standing, candidate.path))

    def _rivals(
        self, candidate: Candidate, claims: Mapping[Identity, list[Candidate]], changed: set[str]
    ) -> list[tuple[str, int]]:
        """The other places, in changed and unchanged files, that declare the candidate's object."""
        if candidate.identity is None:
            return []
        others = [(other.path, other.line) for other in claims[candidate.identity] if other is not candidate]
        standing = self.declared.get(candidate.identity)
        if standing is not None and standing.path not in changed:
            others.append((standing.path, standing.line))
        return others


def _found(known: Mapping[str, Object], good: str, path: str) -> Object:
    """What stood at a place last, as it is declared at this path. Raises HistoryError: taken for gone, it goes."""
    if good not in known:
        raise HistoryError(f"{path}: what was declared there last ({good[:12]}) cannot be read again")
    return replace_path(known[good], path)


def replace_path(obj: Object, path: str) -> Object:
    """The same object, declared at another path (equal files share one cache entry)."""
    if obj.path == path:
        return obj
    return Object(**{name: getattr(obj, name) for name in Object.__struct_fields__} | {"path": path})


def _content(obj: Object | None) -> object:
    return None if obj is None else (obj.labels, obj.annotations, obj.spec)


def _object(declaration: Declaration, document: Document) -> Object:
    spec = to_json(declaration.spec, defaults=True)
    lines = {name: document.key_position(("spec", name)).line for name in spec if document.has(("spec", name))}
    for n, _ in enumerate(spec.get("pins") or ()):
        lines[f"pins/{n}"] = document.position(("spec", "pins", n)).line
    for name in ("versions", "manifest"):  # where an entry says its digest, else where it begins
        for n, _ in enumerate(spec.get(name) or ()):
            entry = ("spec", name, n)
            has = document.has((*entry, "sha256sum"))
            lines[f"{name}/{n}"] = (
                document.key_position((*entry, "sha256sum")) if has else document.position(entry)
            ).line
    for name in ("modelRef", "servingPort", "replicas"):
        inner = ("spec", "template", "spec", name)
        if document.has(inner):
            lines[f"template/{name}"] = document.key_position(inner).line
    return Object(
        **declaration.identity._asdict(),
        labels=dict(declaration.labels),
        annotations=dict(declaration.annotations),
        spec=spec,
        path=declaration.path,
        index=declaration.index,
        line=declaration.line,
        lines=lines,
    )


def _blocks_pruning(problems: Iterable[Diagnostic]) -> bool:
    return any(BLOCKS_PRUNING in problem.notes for problem in problems)


def _mark_unreadable(problems: list[Diagnostic]) -> None:
    """Name the file's first error as what blocks pruning, where none does yet."""
    if _blocks_pruning(problems):
        return
    for n, problem in enumerate(problems):
        if problem.severity == "error":
            problems[n] = replace(problem, notes=(*problem.notes, BLOCKS_PRUNING))
            return


def _declared_twice(candidate: Candidate, rivals: list[tuple[str, int]]) -> Diagnostic:
    places = ", ".join(f"{path}:{line}" for path, line in sorted(rivals))
    found = Diagnostic(
        code="RX214",
        message=f"{spoken(str(candidate.identity))} is declared again at {places}",
        path=candidate.path,
        line=candidate.named or candidate.line,
        column=1,
        notes=(BLOCKS_PRUNING,),  # one of them may have been meant as what is missing
        help="keep one of them; until then it stays as it was",
    )
    return pointed(found, candidate.text)


def _bare(document: Document) -> str:
    """The document's text, wherever in a file it stands."""
    return document.text.strip().removeprefix("---").strip()


def _by_first_line(unread: list[Diagnostic], documents: list[Document]) -> dict[int, list[Diagnostic]]:
    """What the reader has named, by the first line of the document that it is of."""
    starts = sorted({document.first_line for document in documents})
    found: dict[int, list[Diagnostic]] = {}
    for problem in unread:
        found.setdefault(starts[max(0, bisect_right(starts, problem.line) - 1)] if starts else 0, []).append(problem)
    return found


def _disowned(document: Document, meant: Object) -> Diagnostic:
    return document.diagnostic(
        "RX209",
        f"{meant.identity} was declared here, and this document does not name its group any more"
        if meant.path == document.path
        else f"{meant.identity} was declared in {meant.path}, and this document does not name its group",
        document.position(("apiVersion",)),
        advice=f"write apiVersion: {API_VERSION}; what is of another tool belongs into another file",
    )


def _not_read(path: str, now: str, why: str, lost: list[Object]) -> Diagnostic:
    names = ", ".join(str(obj.identity) for obj in lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
    if now == path:
        message, is_held = f"{why} hides what declared {names}", why.startswith("its name")
    else:
        message, is_held = f"it is {now} now, which is not read ({why}), and declared {names}", True
    return Diagnostic(
        code="RX226",
        message=message,
        path=path,
        help="put it back where it is read, or approve the plan that deletes it",
        severity="warning",
        notes=(HOLDS_DELETES,) if is_held else (),
    )
