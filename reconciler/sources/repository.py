"""The followed branch as declared objects. May import: planning, model.

In: commits from sources.mirror; at start, what the log remembers.  Out: `Reading`s, to stages.deliver.

What is followed is part of what was read: another repository, branch or folder is a switch, and one that is gone is
waited for.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any

from reconciler.diagnostics import BLOCKS_PRUNING, Diagnostic
from reconciler.errors import GitUnavailable, SourceMissing
from reconciler.history.state import State
from reconciler.model.identity import POLICY, Identity
from reconciler.planning.declared import Declared, Object
from reconciler.sources.last_good import Cache, Files, LastGood
from reconciler.sources.mirror import CommitFacts, Mirror
from reconciler.sources.tree import FileChange, is_hidden, names_us
from reconciler.sources.unknown import there_is
from reconciler.stages.git import CommitRead, Reading

Problems = Mapping[str, list[dict[str, Any]]]  # by path, as the log has them


class DocumentRepository:
    """`stages.git.Repository` over a mirror. A look is made beside the loop; the rest is of its thread."""

    def __init__(
        self,
        mirror: Mirror,
        state: State,
        blob: Callable[[str], bytes | None],
        cache: Cache,
        folder: str = "",
        *,
        repo: str = "",
    ) -> None:
        """state: the live fold of the log, which says what was read last.  blob: source files in the log.

        repo: what the log calls the repository, where a copy of it is read; "" where that is itself.
        """
        self._mirror, self._state, self._folder = mirror, state, folder
        self._repo = repo
        self._good = LastGood(mirror, state, blob, cache, folder)
        self._dotted = {path for path in self._good.files if is_hidden(path, folder)}  # an older release has read them

    @property
    def declared(self) -> Declared:
        """What the last adopted reading declares."""
        return self._good.declared

    def standing(self) -> dict[str, Object]:
        """The last good content of each document, by where it stands."""
        return self._good.standing()

    @property
    def _source(self) -> dict[str, str]:
        """What is followed, as the log names it."""
        return {"repo": self._repo or str(self._mirror.remote), "branch": self._mirror.branch, "path": self._folder}

    @property
    def _is_new(self) -> bool:
        """Whether nothing was read of what is followed yet; a log of before sources were kept is of this one."""
        ref = self._state.ref
        return ref.source != self._source if ref.source else not ref.commit

    def reading(self) -> Callable[[], Reading | None]:
        """See stages.git.Repository. What else it needs changes only by `adopt`."""
        ref = self._state.ref
        return partial(
            self._read, dict(self._state.problems), frozenset(ref.ahead), is_settled=ref.commit == ref.accepted
        )

    def _read(self, in_force: Problems, ahead: frozenset[str], *, is_settled: bool) -> Reading | None:
        """in_force: the problems that the log knows.  ahead: the commits that it does not, and another one applied.

        is_settled: whether the commit that was read last is accepted.
        """
        ref, source = self._state.ref, self._source
        newest, old = self._head(), ref.commit
        if newest == old and source == ref.source and not ahead:
            return None
        head, later = self._judged_alike(old, newest) if source == ref.source and not ahead else (newest, frozenset())
        missing, is_whole = self._missing(head), self._folder != ref.source.get("path")
        is_left = bool(old) and self._mirror.rewritten(old, head)
        is_other = is_left and not self._mirror.related(old, head)
        is_rewritten = is_other or (is_left and source["branch"] == ref.source.get("branch", source["branch"]))
        is_switched = bool(ref.source) and source != ref.source
        changes = self._changes(old, head, is_whole=is_whole)
        gone = {change.path for change in changes if change.new_oid is None}
        looked_at = [*changes, *self._conflicting(changes, in_force)]
        read, files = self._good.read(looked_at, gone, is_switched=is_switched)
        problems, (declared, changed) = read.problems, self._good.declare(files)
        if not is_switched:
            self._good.trace(old, head, files, declared, problems)
        before = "" if is_other else old
        commits, blobs = self._commits(before, head, changes, read.foreign.keys(), is_whole=is_whole)
        return Reading(
            commits=commits,
            declared=declared,
            changed=changed,
            documents={path: [slot.good for slot in slots] or None for path, slots in files.items()},
            problems=self._changed_problems(files, problems, in_force, is_settled=is_settled),
            unreadable=self._unreadable(files, problems, in_force),
            blobs=blobs,
            rewritten_from=old if is_rewritten else min(self._mirror.beyond(ahead, head), default=""),
            source=source if source != ref.source else None,
            missing=missing or self._empty(declared),
            ahead=ahead,
            later=self._declared_at(later, files) if head != newest else None,
            parsed=read.parsed,
            files=files,
        )

    def _head(self) -> str:
        """The branch's newest commit. Of a branch that was read before it is waited for."""
        try:
            return self._mirror.fetch()
        except SourceMissing as missing:
            if self._is_new:
                raise
            raise GitUnavailable(missing.message, hint=missing.advice) from missing

    def _empty(self, declared: Declared) -> str:
        """That another source than before declares nothing at all, in words."""
        is_other = bool(self._state.ref.source) and self._is_new
        place = self._folder or "the repository"
        return f"nothing is declared in {place}" if is_other and not len(declared) else ""

    def _missing(self, head: str) -> str:
        """That the followed folder is gone, in words. Raises SourceMissing where it never was there."""
        mode = self._mirror.folder(head, self._folder)
        if mode in {"040000", "120000", "160000"}:  # of what leads elsewhere it is said that it is not followed
            return ""
        there = f"{self._folder} is a file, and no folder," if mode else f"there is no folder {self._folder}"
        if not self._is_new:
            return f"{there} in commit {head[:12]} any more"
        top, every = self._mirror.folders(head), self._mirror.folders(head, deep=True)
        hint = there_is(self._folder, top, "folders at its top", every)
        raise SourceMissing(f"{there} in commit {head[:12]}{self._mirror.of_branch}", hint=hint)

    def adopt(self, reading: Reading) -> None:
        """Make a reading the one that stands."""
        self._good.adopt(reading.files, reading.declared)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _changes(self, old: str, head: str, *, is_whole: bool = False) -> list[FileChange]:
        """What differs between what was read last and `head`, also when the old commit has left the repository.

        is_whole: what was read last is of another folder.
        """
        if old and not is_whole and self._mirror.has(old):
            changes = self._mirror.changes(old, head, self._folder)
            hidden = (self._dotted & self._good.files.keys()) - {change.path for change in changes}
            return changes + [FileChange(path, self._state.files.get(path), None, "000000") for path in hidden]
        there = self._mirror.changes(None, head, self._folder)
        paths = {change.path for change in there}
        gone = [FileChange(path, oid, None, "000000") for path, oid in self._state.files.items() if path not in paths]
        return [change for change in there if self._state.files.get(change.path) != change.new_oid] + gone

    def _judged_alike(self, old: str, newest: str) -> tuple[str, frozenset[str]]:
        """(the last commit that the policy in force judges, the files that change behind it).

        That is the first by which the policy changes, else the newest.
        """
        if not old or not self._mirror.is_ancestor(old, newest):
            return newest, frozenset()
        pairs = self._mirror.trunk(old, newest)
        if len(pairs) < 2:
            return newest, frozenset()
        trunk = self._mirror.changes_of(pairs, self._folder)
        oids = {oid for _, changes in trunk for one in changes for oid in (one.old_oid, one.new_oid) if oid}
        said = {oid: blob for oid, blob in self._mirror.blobs(oids).items() if POLICY.encode() in blob}
        for n, (commit, changes) in enumerate(trunk[:-1], 1):
            if any(
                self._good.policies(one.path, one.old_oid, said) != self._good.policies(one.path, one.new_oid, said)
                for one in changes
            ):
                return commit, frozenset(one.path for _, later in trunk[n:] for one in later)
        return newest, frozenset()

    def _declared_at(self, paths: Iterable[str], files: Files) -> frozenset[Identity]:
        """What is declared in these files, before this reading or by it."""
        slots = (slot for path in paths for place in (self._good.files, files) for slot in place.get(path, ()))
        return frozenset(slot.object.identity for slot in slots if slot.object is not None)

    def _conflicting(self, changes: Iterable[FileChange], in_force: Problems) -> list[FileChange]:
        """Unchanged files that declare an object twice: what changes elsewhere may free them."""
        changed = {change.path for change in changes}
        return [
            FileChange(path, self._state.files[path], self._state.files[path], "100644")
            for path, problems in in_force.items()
            if path not in changed and path in self._state.files and any(p["code"] == "RX214" for p in problems)
        ]

    def _commits(
        self, old: str, head: str, changes: list[FileChange], foreign: AbstractSet[str], *, is_whole: bool
    ) -> tuple[tuple[CommitRead, ...], dict[str, bytes]]:
        """Every commit from old to head with the files it changed since the one before it, and the files' bytes.

        foreign: the paths that have nothing of ours at head. What of them was ours before is gone.
        """
        facts = self._mirror.commits(old or None, head) or [self._mirror.facts(head)]  # none: the head went back
        reads: list[CommitRead] = []
        blobs: dict[str, bytes] = {}
        before, ours = old, {*self._state.files, *(change.path for change in changes)} - foreign
        for n, fact in enumerate(facts):
            its = changes if len(facts) == 1 else self._changes(before, fact.commit, is_whole=is_whole and n == 0)
            found = self._mirror.blobs(
                [it.new_oid for it in its if it.new_oid and it.problem is None and it.path not in foreign]
            )
            files = {
                it.path: None if it.path in foreign else it.new_oid
                for it in its
                if it.path in ours or it.path in self._state.files or names_us(found.get(it.new_oid or "", b""))
            }
            blobs |= {oid: found[oid] for oid in files.values() if oid in found}
            reads.append(CommitRead(fact.commit, self._described(fact, ours | files.keys()), files))
            before = fact.commit
        if malformed := self._mirror.malformed:
            reads[-1] = replace(reads[-1], facts={**reads[-1].facts, "malformed": malformed})
        return tuple(reads), blobs

    def _described(self, fact: CommitFacts, ours: Collection[str]) -> dict[str, Any]:
        parent = fact.parents[0] if fact.parents else None
        reverts = None
        if parent is not None and self._mirror.has(parent):
            changes = [it for it in self._mirror.changes(parent, fact.commit, self._folder) if it.path in ours]
            reverts = self._mirror.reverts(changes, fact.commit, self._folder, ours)
        described: dict[str, Any] = {
            "parents": list(fact.parents),
            "tree": fact.tree,
            "author": fact.author,
            "committed": fact.committed,
            "subject": fact.subject,
        }
        return described | ({"reverts": reverts} if reverts else {})

    # ── last good, and objects declared twice ─────────────────────────────────────────────────────────────────────

    # ── problems ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _changed_problems(
        self, files: Files, problems: Mapping[str, list[Diagnostic]], in_force: Problems, *, is_settled: bool
    ) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {
            path: [] for path, group in in_force.items() if is_settled and any(p["code"] == "RX226" for p in group)
        }
        found |= {path: [problem.as_dict() for problem in problems.get(path, ())] for path in files}
        return {path: new for path, new in found.items() if new != in_force.get(path, [])}

    def _unreadable(
        self, files: Files, problems: Mapping[str, list[Diagnostic]], in_force: Problems
    ) -> tuple[str, ...]:
        """The places in force whose identity cannot be read, here and in files that did not change."""
        here = [p.place for group in problems.values() for p in group if BLOCKS_PRUNING in p.notes]
        elsewhere = [
            Diagnostic.from_dict(p).place
            for path, group in in_force.items()
            if path not in files
            for p in group
            if BLOCKS_PRUNING in p.get("notes", ())
        ]
        return tuple(here + elsewhere)
