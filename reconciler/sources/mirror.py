"""What the followed branch says: commits, their facts, which files they changed, and those files' bytes.

Imports errors, model.identity and its neighbours.  In: a remote.  Out: values, to sources.repository and verbs.
Everything is read from a bare copy by plumbing; Git's objects are never parsed here.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from reconciler.errors import GitUnavailable
from reconciler.model.identity import GROUP
from reconciler.sources.git import Git, GitAnswer, deadline_passed
from reconciler.sources.git_safety import Remote, checked_folder, checked_oid, is_object_id
from reconciler.sources.ignore import ignored
from reconciler.sources.local_copy import LocalCopy
from reconciler.sources.tree import (
    FILE_LIMIT,
    IGNORE_FILE,
    FileChange,
    ManifestFile,
    RawChange,
    is_hidden,
    is_manifest,
    manifests,
    named_alike,
    names_us,
    one_line,
    raw_changes,
    raw_entries,
    read_problem,
    with_clashes,
)

FETCH_DEADLINE_S: Final = 600.0
REVERT_DEPTH: Final = 200
_RULES_KEPT: Final = 1000
_ANSWERS_KEPT: Final = 64  # of the last questions about objects by id, of which one look asks some more than once
_ANSWER_BYTES: Final = 64 * 1024  # a larger one is not kept
DOTTED: Final = "its name begins with a dot"
_BATCH_BYTES: Final = 64 * 1024 * 1024
_PATHSPECS: Final = 1000
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one that RFC 3339 can write
_FACTS: Final = "--format=%H%x00%P%x00%T%x00%an <%ae>%x00%ct%x00%s%x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """What a commit says of itself; it is not verified. committed: RFC 3339, UTC. Texts are safe to print."""

    commit: str
    parents: tuple[str, ...]
    tree: str
    author: str
    committed: str
    subject: str


class Mirror:
    """The local copy of one branch of one remote. Used from one thread at a time; nothing stays open between calls.

    Whatever cannot be read raises GitUnavailable; the next `fetch` then begins a fresh copy.
    """

    def __init__(
        self, directory: Path, remote: Remote, branch: str = "main", *, fetch_deadline_s: float = FETCH_DEADLINE_S
    ) -> None:
        """Fetches nothing yet. Raises GitRefused when `branch` cannot be one, GitUnavailable without room to write."""
        self.remote = remote
        self.branch = branch
        self.directory = directory.resolve()
        self._copy = LocalCopy(directory, remote, branch, fetch_deadline_s)
        self._head: str | None = None
        self._damaged = False
        self._ignores: dict[tuple[str, str], str] = {}  # (commit, folder) -> its ignore file's blob, or ""
        self._answers: dict[tuple[bytes | str, ...], GitAnswer] = {}  # by command and stdin, until the next fetch

    @property
    def malformed(self) -> list[str]:
        """Faults of old commits that the last fetch let through, in words, each kind once."""
        return self._copy.malformed

    @property
    def git(self) -> Git:
        """Commands on the mirror."""
        return self._copy.git

    @property
    def of_branch(self) -> str:
        """` of main`: which branch the commit is of that was read last; "" where it is of none."""
        return f" of {self.branch}"

    def fetch(self) -> str:
        """The id of the branch's head, present here with all its history.

        Costs one look at the remote's ref when it has not moved. Raises GitUnavailable (no answer, no such branch,
        no commits yet) and GitRefused (the remote sends objects that could harm); what was here before stays.
        """
        head = self._copy.remote_head()
        if head != self._head or self._damaged:
            self._head = self._copy.update(head, afresh=self._damaged)
            self._damaged = False
        self._answers.clear()
        return self._head

    def has(self, commit: str) -> bool:
        """Whether this commit is here. One that left with rewritten history is missing after a fresh copy."""
        return self._ask("cat-file", "-e", f"{checked_oid(commit)}^{{commit}}").status == 0

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or before it. False when `old` is not here (it left with rewritten history)."""
        if old == new:
            return True
        if not self.has(old):
            return False
        answer = self._ask("merge-base", "--is-ancestor", checked_oid(old), checked_oid(new))
        if answer.status > 1:
            raise self._broken(answer.words)
        return answer.status == 0

    def rewritten(self, old: str, new: str) -> bool:
        """Whether going from `old` to `new` leaves commits behind (a force push)."""
        return not self.is_ancestor(old, new)

    def related(self, old: str, new: str) -> bool:
        """Whether two commits have history in common. False when `old` is not here."""
        return self.has(old) and self._ask("merge-base", checked_oid(old), checked_oid(new)).status == 0

    def beyond(self, commits: Iterable[str], head: str) -> frozenset[str]:
        """Those of `commits` that `head` does not have in its history, or that are not here at all.

        What is no object id, as somebody may have written it by hand, is no commit.
        """
        wanted = [commit for commit in commits if is_object_id(commit)]
        if not wanted:
            return frozenset()
        lines = "".join(f"{oid}^{{commit}}\n" for oid in wanted).encode()
        output = self._read("cat-file", "--batch-check=%(objectname)", stdin=lines)
        here = {oid for oid in output.decode("ascii", "replace").split() if oid in set(wanted)}
        lines = "".join(f"{oid}\n" for oid in [*sorted(here), f"^{checked_oid(head)}"]).encode()
        left = self._read("rev-list", "--stdin", stdin=lines).decode("ascii").split() if here else []
        return (frozenset(wanted) - here) | (here & frozenset(left))

    def folder(self, commit: str, folder: str) -> str:
        """What stands at `folder` in a commit: its mode, "" where nothing does."""
        words = ("ls-tree", "-z", "--full-tree", checked_oid(commit), *_within(checked_folder(folder)))
        return self._read(*words).split(b" ")[0].decode("ascii") if folder else "040000"

    def folders(self, commit: str, *, deep: bool = False) -> list[str]:
        """The folders at the top of a commit; deep: all of them."""
        words = ("-r",) if deep else ()
        output = self._read("ls-tree", "-d", "-z", "--name-only", "--full-tree", *words, checked_oid(commit))
        return [name for name in output.decode("utf-8", "replace").split("\0") if name]

    def commits(self, old: str | None, new: str) -> list[CommitFacts]:
        """Every commit that `new` has and `old` has not, parents before children; only `new` where old is None.

        After rewritten history that is what the new history has beyond the common ancestor.
        """
        if old is None or not self.has(old):
            return [self.facts(new)]
        return self._log("--topo-order", "--reverse", checked_oid(new), f"^{checked_oid(old)}")

    def facts(self, commit: str) -> CommitFacts:
        """What one commit says of itself."""
        return self._log("--max-count=1", checked_oid(commit))[0]

    def changes(self, old: str | None, new: str, folder: str = "") -> list[FileChange]:
        """The manifests under `folder` that differ between two commits or trees, by path; all of them without `old`.

        What a commit's ignore file hides is not there: another one hides, or shows, what has not changed itself.
        Costs what changed; only when paths appear or vanish is the folder's list of names read too.
        """
        folder = checked_folder(folder)
        if old is None:
            whole = self._manifests(new, folder)
            return with_clashes(whole, whole)
        output = self._read(
            "diff-tree",
            "-r",
            "-z",
            "--no-renames",
            "--no-abbrev",
            "--no-ext-diff",
            checked_oid(old),
            checked_oid(new),
            *_within(folder),
        )
        raw = list(raw_changes(output))
        if any(one.path.decode("utf-8", "replace") == _beside(folder, IGNORE_FILE) for one in raw):
            return self._otherwise_ignored(old, new, folder)
        rules = self._rules(old, folder)
        self._keep_rules(new, folder, rules)
        changes = self._shown(manifests(raw, folder), rules, folder)
        if all(change.old_oid and change.new_oid for change in changes):
            return changes
        return with_clashes(changes, self._manifests(new, folder))

    def trunk(self, old: str, new: str) -> list[list[str]]:
        """The commits from `old` to `new` along first parents, each with its parent, where it has one."""
        span = (checked_oid(new), f"^{checked_oid(old)}")
        lines = self._read("rev-list", "--first-parent", "--reverse", "--parents", *span).decode("ascii").splitlines()
        return [line.split()[:2] for line in lines]

    def changes_of(self, pairs: Sequence[list[str]], folder: str = "") -> list[tuple[str, list[FileChange]]]:
        """Commits of a trunk, each with the manifests that it changed; one process."""
        stdin = "".join(f"{' '.join(pair)}\n" for pair in pairs if len(pair) == 2).encode()
        words = ("diff-tree", "--stdin", "-r", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff", *_within(folder))
        parents = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        found: dict[str, bytes] = dict.fromkeys((pair[0] for pair in pairs), b"")
        commit, fields = "", iter(self._read(*words, stdin=stdin).split(b"\0"))
        for field in fields:
            if field.startswith(b":"):
                found[commit] += field + b"\0" + next(fields) + b"\0"
            elif field:
                commit = field.decode("ascii").strip()
        return [(commit, self._changed(commit, parents.get(commit), raw, folder)) for commit, raw in found.items()]

    def _changed(self, commit: str, parent: str | None, raw: bytes, folder: str) -> list[FileChange]:
        """The manifests among the raw changes of a commit; all that another ignore file shows or hides with them."""
        changes = list(raw_changes(raw))
        if parent and any(one.path.decode("utf-8", "replace") == _beside(folder, IGNORE_FILE) for one in changes):
            return self.changes(parent, commit, folder)
        return manifests(changes, folder)

    def _otherwise_ignored(self, old: str, new: str, folder: str) -> list[FileChange]:
        """The changes between two commits with different ignore files, by what can be seen of each."""
        before = {change.path: change for change in self._manifests(old, folder)}
        after = {change.path: change for change in self._manifests(new, folder)}
        gone = [FileChange(path, it.new_oid, None, "000000") for path, it in before.items() if path not in after]
        there = [replace(it, old_oid=before[path].new_oid if path in before else None) for path, it in after.items()]
        changed = [it for it in there if it.old_oid != it.new_oid or before[it.path].mode != it.mode]
        return with_clashes(gone + changed, [*after.values()])

    def _shown(self, changes: list[FileChange], rules: str, folder: str) -> list[FileChange]:
        """Those that the ignore file does not hide."""
        hidden = self._hidden([change.path for change in changes], rules, folder)
        return [change for change in changes if change.path not in hidden] if hidden else changes

    def _hidden(self, paths: Sequence[str], rules: str, folder: str) -> dict[str, int]:
        """Path -> the line of the ignore file `rules` (a blob) that hides it."""
        content = self.blobs([rules]).get(rules) if rules and paths else None
        if content is None:
            return {}
        lines = ignored(self.git, content, [path[len(folder) :].lstrip("/") for path in paths])
        return {_beside(folder, name): line for name, line in lines.items()}

    def _rules(self, commit: str, folder: str) -> str:
        """The blob of the ignore file that counts in `folder` at `commit`; "" where none does."""
        if (commit, folder) not in self._ignores:
            words = ("ls-tree", "-z", "--full-tree", checked_oid(commit), "--", _beside(folder, IGNORE_FILE))
            self._keep_rules(commit, folder, _blob_of(raw_entries(self._read(*words))))
        return self._ignores[commit, folder]

    def _keep_rules(self, commit: str, folder: str, rules: str) -> None:
        if len(self._ignores) == _RULES_KEPT:
            self._ignores.clear()
        self._ignores[commit, folder] = rules

    def left_out(self, commit: str, folder: str, read: Container[str]) -> dict[str, str]:
        """The files named as manifests are that are not among those `read`, and why each is left out."""
        folder = checked_folder(folder)
        words = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", checked_oid(commit), *_within(folder))
        left = [name for name in _names(self._read(*words)) if named_alike(name) and name not in read]
        why = {name: DOTTED for name in left if is_hidden(name, folder)}
        shown = [name for name in left if name not in why]
        lines = self._hidden(shown, self._rules(commit, folder), folder)
        why |= {name: f"{_beside(folder, IGNORE_FILE)}:{line}" for name, line in lines.items()}
        return {name: why.get(name, f"it declares nothing of {GROUP}") for name in left}

    def whereabouts(self, old: str, new: str, paths: Sequence[str], folder: str = "") -> dict[str, tuple[str, str]]:
        """Where that which stood at `paths` in `old`, and is not read in `new`, is now, and what hides it there.

        Path -> (path now, reason): the same path, or the one to which Git takes the file as renamed.
        """
        folder = checked_folder(folder)
        words = ("diff-tree", "-r", "-z", "-M", "--diff-filter=R", "--name-status", checked_oid(old), checked_oid(new))
        fields = _names(self._read(*words))
        now = {fields[n + 1]: fields[n + 2] for n in range(0, len(fields) - 2, 3) if fields[n + 1] in paths}
        names = self._read("ls-tree", "-z", "--name-only", "--full-tree", checked_oid(new), "--", *paths)
        now |= {name: name for name in _names(names)}
        lines = self._hidden([*now.values()], self._rules(new, folder), folder)
        found = {}
        for path, there in now.items():
            if there in lines:
                found[path] = (there, f"{_beside(folder, IGNORE_FILE)}:{lines[there]}")
            elif folder and not there.startswith(f"{folder}/"):
                found[path] = (there, f"it is outside {folder}")
            elif not is_manifest(there, folder):
                found[path] = (there, DOTTED if is_hidden(there, folder) else "not by its suffix")
        return found

    def blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """The bytes of blobs by id. One larger than FILE_LIMIT is left out, unread."""
        wanted = list(dict.fromkeys(checked_oid(oid) for oid in oids))
        sizes = self._sizes(wanted)
        found: dict[str, bytes] = {}
        for batch in _batches([(oid, size) for oid, size in sizes.items() if size <= FILE_LIMIT]):
            output = self._read("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid, _ in batch).encode())
            start = 0
            for oid, size in batch:
                start = output.index(b"\n", start) + 1
                found[oid] = output[start : start + size]
                start += size + 1
        return found

    def read(self, changes: Sequence[FileChange]) -> list[ManifestFile]:
        """The changes with what stands at each path now, or why it was refused. Refused content is not handed out."""
        found = self.blobs(change.new_oid for change in changes if change.new_oid is not None and change.is_file)
        files = []
        for change in changes:
            if change.new_oid is None or not change.is_file:
                files.append(ManifestFile(change.path, change.new_oid, None, change.problem))
                continue
            content = found.get(change.new_oid)
            problem = change.problem or read_problem(change.path, content)
            is_ours = self._names_group(change.new_oid) if content is None else names_us(content)
            kept = None if problem else content
            files.append(ManifestFile(change.path, change.new_oid, kept, problem, is_foreign=not is_ours))
        return files

    def _names_group(self, oid: str) -> bool:
        """Whether a blob that is too large to be read names our group; Git looks for it."""
        return self._ask("grep", "--quiet", "--fixed-strings", "--ignore-case", "-e", GROUP, oid).status != 1

    def reverts(
        self, changes: Sequence[FileChange], commit: str, folder: str = "", ours: Container[str] | None = None
    ) -> str | None:
        """The newest ancestor of `commit` at which every changed path stood as it stands now; None if there is none.

        changes: of `commit` against its first parent. Looks back along first parents, at most REVERT_DEPTH commits.
        Judged by blobs alone: a message claims nothing. What those paths went through since is undone as a whole: to
        delete one of the files that a commit added, or to bring back one of those that it changed, undoes no commit.
        ours: the paths that count; None: all.
        """
        wanted = {change.path.encode(): change.new_oid for change in changes if change.old_oid != change.new_oid}
        if not wanted:
            return None
        lines = self._read(
            "rev-list", "--first-parent", "--parents", f"--max-count={REVERT_DEPTH + 1}", checked_oid(commit)
        )
        chain = [line.split()[:2] for line in lines.decode("ascii").splitlines()]
        pairs = [pair for pair in chain[1:] if len(pair) == 2]
        if not pairs:
            return None
        paths = [path.decode() for path in wanted] if len(wanted) <= _PATHSPECS else []
        output = self._read(
            *("diff-tree", "--stdin", "-r", "-z", "--no-renames", "--no-abbrev", "--", *paths),
            stdin="".join(f"{' '.join(pair)}\n" for pair in pairs).encode(),
        )
        now = {change.path.encode(): change.old_oid for change in changes}
        found, undone = _standing(wanted, now, pairs, output)
        if found is None:
            return None
        left = self._left(undone, found, commit, folder)
        return found if not any(ours is None or path in ours for path in left) else None

    def _left(self, undone: Sequence[Sequence[str]], before: str, commit: str, folder: str) -> set[str]:
        """The manifests that the commits `undone` (with their parents) changed, and that are not as at `before`."""
        lines = "".join(f"{' '.join(pair)}\n" for pair in undone)
        words = ("diff-tree", "--stdin", "--no-commit-id", "-r", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff")
        touched = manifests(raw_changes(self._read(*words, *_within(folder), stdin=lines.encode())), folder)
        differs = {change.path for change in self.changes(before, commit, folder) if change.old_oid != change.new_oid}
        return differs & {change.path for change in touched}

    def _log(self, *words: str) -> list[CommitFacts]:
        output = self._read("log", "-z", "--no-color", "--no-notes", "--no-mailmap", _FACTS, *words, "--")
        fields = output.decode("utf-8", "replace").split("\0")
        # Each commit ends with two NULs: the format's own and the one of -z.
        return [_facts(fields[at : at + 6]) for at in range(0, len(fields) - 6, 7)]

    def _manifests(self, commit: str, folder: str) -> list[FileChange]:
        words = ("ls-tree", "-r", "-z", "--full-tree", checked_oid(commit), *_within(folder))
        raw = list(raw_entries(self._read(*words)))
        place = _beside(folder, IGNORE_FILE).encode()
        rules = _blob_of(one for one in raw if one.path == place)
        self._keep_rules(commit, folder, rules)
        return self._shown(manifests(raw, folder), rules, folder)

    def _sizes(self, oids: Sequence[str]) -> dict[str, int]:
        output = self._read("cat-file", "--batch-check", stdin="".join(f"{oid}\n" for oid in oids).encode())
        sizes = {}
        for line in output.decode("ascii", "replace").splitlines():
            oid, kind, *size = line.split(" ")
            if kind != "blob":
                raise self._broken(f"{oid} is {kind}, not a blob")
            sizes[oid] = int(size[0])
        return sizes

    def _ask(self, *words: str) -> GitAnswer:
        return self._known(words, b"", lambda: self.git.ask(*words))

    def _read(self, *words: str, stdin: bytes = b"") -> bytes:
        try:
            return self._known(words, stdin, lambda: GitAnswer(0, self.git.run(*words, stdin=stdin), "")).output
        except GitUnavailable as problem:
            self._damaged = self._damaged or not deadline_passed(problem)
            raise

    def _known(self, words: tuple[str, ...], stdin: bytes, ask: Callable[[], GitAnswer]) -> GitAnswer:
        """The answer to a question about objects by id, which stays as it is: asked once in a look."""
        if (known := self._answers.get((*words, stdin))) is not None:
            return known
        answer = ask()
        if len(answer.output) + len(stdin) <= _ANSWER_BYTES:
            while len(self._answers) >= _ANSWERS_KEPT:
                del self._answers[next(iter(self._answers))]
            self._answers[*words, stdin] = answer
        return answer

    def _broken(self, words: str) -> GitUnavailable:
        self._damaged = True
        return GitUnavailable(f"the mirror of {self.remote} is damaged and will be fetched again: {words}")


def _standing(
    wanted: dict[bytes, str | None], now: dict[bytes, str | None], pairs: Sequence[list[str]], output: bytes
) -> tuple[str | None, list[list[str]]]:
    """Walk back: undo each commit's changes on what stood, until everything stands as wanted.

    The ancestor, None where there is none, and what was undone: the commits that changed any of it, with their parents.
    """
    undone: dict[str, list[tuple[bytes, str | None]]] = {}
    commit = ""
    fields = iter(output.split(b"\0"))
    for field in fields:
        if field.startswith(b":"):
            before = field.decode("ascii").split(" ")[2]
            undone.setdefault(commit, []).append((next(fields), before if before.strip("0") else None))
        elif field:
            commit = field.decode("ascii").strip()
    standing, passed = {path: now[path] for path in wanted}, []
    for child, parent in pairs:
        stood = {path: old for path, old in undone.get(child, []) if path in standing}
        standing |= stood
        passed += [[child, parent]] if stood else []
        if standing == wanted:
            return parent, passed
    return None, []


def _facts(fields: Sequence[str]) -> CommitFacts:
    commit, parents, tree, author, seconds, subject = fields
    when = datetime.fromtimestamp(min(max(int(seconds or "0"), 0), _LAST_SECOND), UTC)
    return CommitFacts(
        commit=commit,
        parents=tuple(parents.split()),
        tree=tree,
        author=one_line(author, 256).replace(" <>", "", 1) or "(unreadable)",
        committed=when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        subject=one_line(subject, 256),
    )


def _batches(sized: Sequence[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """The blobs in groups of at most _BATCH_BYTES, so that memory beyond the result stays bounded."""
    groups: list[list[tuple[str, int]]] = []
    room = 0
    for oid, size in sized:
        if not groups or size > room:
            groups.append([])
            room = _BATCH_BYTES
        groups[-1].append((oid, size))
        room -= size
    return groups


def _names(output: bytes) -> list[str]:
    return [name for name in output.decode("utf-8", "backslashreplace").split("\0") if name]


def _beside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _blob_of(entries: Iterable[RawChange]) -> str:
    """The blob of the plain file among the entries of one path; "" without one."""
    return next((one.new_oid or "" for one in entries if one.mode in {"100644", "100755"}), "")


def _within(folder: str) -> tuple[str, ...]:
    return ("--", folder) if folder else ()
