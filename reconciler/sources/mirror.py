"""A bare mirror of the followed branch: a cache that may be thrown away. Imports errors, diagnostics, git, tree.

In: a remote, by fetch.  Out: commits, their facts, which files they changed, and those files' bytes.
Nothing is checked out, so hooks, filters, links and submodules of the repository never act.

    <directory>/current          symbolic link to the mirror in use, replaced by one rename
    <directory>/mirror-*         bare repositories; all but the current one are removed
    <directory>/gitconfig        stands for the user's configuration; trusts exactly the followed local path
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from reconciler.errors import GitRefused, GitUnavailable
from reconciler.sources.git import DeadlinePassed, Git
from reconciler.sources.git_safety import Remote, checked_branch, checked_folder
from reconciler.sources.tree import (
    FILE_LIMIT,
    FileChange,
    ManifestFile,
    manifests,
    one_line,
    raw_changes,
    raw_entries,
    read_problem,
    with_clashes,
)

FETCH_DEADLINE_S: Final = 600.0
HEAD_DEADLINE_S: Final = 30.0
REVERT_DEPTH: Final = 200
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
        """Nothing runs yet. Raises GitRefused when `branch` cannot be one, GitUnavailable without room to write."""
        self.remote = remote
        self.branch = checked_branch(branch)
        self._ref = f"refs/heads/{self.branch}"
        self._directory = directory.resolve()
        self._fetch_deadline_s = fetch_deadline_s
        self._head: str | None = None
        self._damaged = False
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._config = self._trusting_config()
        except OSError as problem:
            raise GitUnavailable(f"the mirror's directory cannot be written: {problem}") from problem

    @property
    def git(self) -> Git:
        """Commands on the mirror."""
        return self._on(self._directory / "current")

    def fetch(self) -> str:
        """The id of the branch's head, present here with all its history.

        Costs one look at the remote's ref when it has not moved. Raises GitUnavailable (no answer, no such branch,
        no commits yet) and GitRefused (the remote sends objects that could harm); what was here before stays.
        """
        head = self._remote_head()
        if head != self._head or self._damaged:
            if self._damaged or not (self._holds(head) or self._update(head)):
                self._replace(head)
            self._damaged = False
            self._head = head
        return head

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or before it. False when `old` is not here (it left with rewritten history)."""
        if old == new:
            return True
        if self.git.ask("cat-file", "-e", f"{_oid(old)}^{{commit}}").status:
            return False
        answer = self.git.ask("merge-base", "--is-ancestor", _oid(old), _oid(new))
        if answer.status > 1:
            raise self._broken(answer.words)
        return answer.status == 0

    def has(self, commit: str) -> bool:
        """Whether this commit is here."""
        return self.git.ask("cat-file", "-e", f"{_oid(commit)}^{{commit}}").status == 0

    def rewritten(self, old: str, new: str) -> bool:
        """Whether going from `old` to `new` leaves commits behind (a force push)."""
        return not self.is_ancestor(old, new)

    def commits(self, old: str | None, new: str) -> list[CommitFacts]:
        """Every commit that `new` has and `old` has not, parents before children; only `new` where old is None.

        After rewritten history that is what the new history has beyond the common ancestor.
        """
        if old is None or self.git.ask("cat-file", "-e", f"{_oid(old)}^{{commit}}").status:
            return [self.facts(new)]
        return self._log("--topo-order", "--reverse", _oid(new), f"^{_oid(old)}")

    def facts(self, commit: str) -> CommitFacts:
        """What one commit says of itself."""
        return self._log("--max-count=1", _oid(commit))[0]

    def changes(self, old: str | None, new: str, folder: str = "") -> list[FileChange]:
        """The manifests under `folder` that differ between two commits or trees, by path; all of them without `old`.

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
            _oid(old),
            _oid(new),
            *_within(folder),
        )
        changes = manifests(raw_changes(output), folder)
        if all(change.old_oid and change.new_oid for change in changes):
            return changes
        return with_clashes(changes, self._manifests(new, folder))

    def blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """The bytes of blobs by id. One larger than FILE_LIMIT is left out, unread."""
        wanted = list(dict.fromkeys(_oid(oid) for oid in oids))
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
        """The changes with what stands at each path now, or why it was refused. Refused content is never read."""
        readable = [change for change in changes if change.new_oid is not None and change.problem is None]
        found = self.blobs(change.new_oid for change in readable if change.new_oid is not None)
        files = []
        for change in changes:
            if change.new_oid is None or change.problem is not None:
                files.append(ManifestFile(change.path, change.new_oid, None, change.problem))
                continue
            content = found.get(change.new_oid)
            problem = read_problem(change.path, content)
            files.append(ManifestFile(change.path, change.new_oid, None if problem else content, problem))
        return files

    def reverts(self, changes: Sequence[FileChange], commit: str) -> str | None:
        """The newest ancestor of `commit` at which every changed path stood as it stands now; None if there is none.

        changes: of `commit` against its first parent. Looks back along first parents, at most REVERT_DEPTH commits.
        Judged by blobs alone: a message claims nothing.
        """
        wanted = {change.path.encode(): change.new_oid for change in changes if change.old_oid != change.new_oid}
        if not wanted:
            return None
        lines = self._read("rev-list", "--first-parent", "--parents", f"--max-count={REVERT_DEPTH + 1}", _oid(commit))
        chain = [line.split()[:2] for line in lines.decode("ascii").splitlines()]
        pairs = [pair for pair in chain[1:] if len(pair) == 2]
        if not pairs:
            return None
        paths = [path.decode() for path in wanted] if len(wanted) <= _PATHSPECS else []
        output = self._read(
            *("diff-tree", "--stdin", "-r", "-z", "--no-renames", "--no-abbrev", "--", *paths),
            stdin="".join(f"{' '.join(pair)}\n" for pair in pairs).encode(),
        )
        return _standing(wanted, {change.path.encode(): change.old_oid for change in changes}, pairs, output)

    def _on(self, git_dir: Path | None) -> Git:
        return Git(directory=self._directory, remote=self.remote, git_dir=git_dir, global_config=self._config)

    def _trusting_config(self) -> str:
        """A configuration file that reaches the other end of a local fetch too: it trusts exactly the followed path."""
        if (path := self.remote.path) is None:
            return os.devnull
        file = self._directory / "gitconfig"
        file.unlink(missing_ok=True)
        for trusted in (path, path / ".git"):
            self._plain_git().run("config", "--file", str(file), "--add", "safe.directory", str(trusted))
        return str(file)

    def _plain_git(self) -> Git:
        return Git(directory=self._directory, remote=self.remote)

    def _remote_head(self) -> str:
        """The commit id of the branch at the remote; for a local path read there, without a connection."""
        if (path := self.remote.path) is not None:
            return self._local_head(path)
        answer = self._on(None).ask(
            "ls-remote", "--", self.remote.url, self._ref, deadline_s=HEAD_DEADLINE_S, authenticated=True
        )
        if answer.status:
            raise GitUnavailable(f"{self.remote} did not answer: {answer.words}")
        for line in answer.output.decode("utf-8", "replace").splitlines():
            oid, _, name = line.partition("\t")
            if name == self._ref and _is_oid(oid):
                return oid
        raise GitUnavailable(f"{self.remote} has no branch {self.branch} with a commit")

    def _local_head(self, path: Path) -> str:
        if not path.is_dir():
            raise GitUnavailable(f"there is no directory {path}")
        git = Git(directory=path, remote=self.remote)
        answer = git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._ref}^{{commit}}")
        oid = answer.output.decode("ascii", "replace").strip()
        if answer.status == 0 and _is_oid(oid):
            return oid
        if answer.words:
            raise GitUnavailable(f"{path} cannot be read as a Git repository: {answer.words}")
        raise GitUnavailable(f"{path} has no branch {self.branch} with a commit")

    def _holds(self, head: str) -> bool:
        """Whether the mirror's own branch is already at this head, complete at least at its top (after a restart)."""
        if not (self._directory / "current").exists():
            return False
        here = self.git.ask("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}")
        return here.output.decode("ascii", "replace").strip() == head and not self._lacks(self.git, head)

    def _update(self, head: str) -> bool:
        """Whether a fetch into the current mirror brought the head. False: it is missing or damaged; begin afresh."""
        if not (self._directory / "current").exists():
            return False
        try:
            self._fetch_into(self.git, head)
        except DeadlinePassed:
            raise
        except GitUnavailable:
            return False
        return True

    def _replace(self, head: str) -> None:
        """Fetch everything into a fresh repository and put it in the place of the current one by one rename."""
        try:
            fresh = Path(tempfile.mkdtemp(prefix="mirror-", dir=self._directory))
            object_format = "sha256" if len(head) == 64 else "sha1"
            self._plain_git().run(
                "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", "--", str(fresh)
            )
            self._fetch_into(self._on(fresh), head)
            link = fresh.with_suffix(".link")
            link.symlink_to(fresh.name)
            link.replace(self._directory / "current")
        except OSError as problem:
            raise GitUnavailable(f"the mirror cannot be written: {problem}") from problem
        finally:
            self._sweep()

    def _sweep(self) -> None:
        """Remove every copy but the current one, also those that a crash left."""
        with suppress(OSError):
            link = self._directory / "current"
            current = link.readlink().name if link.is_symlink() else ""
            for left in self._directory.glob("mirror-*"):
                if left.name != current:
                    left.unlink() if left.is_symlink() else shutil.rmtree(left, ignore_errors=True)

    def _fetch_into(self, git: Git, head: str) -> None:
        answer = git.ask(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-shallow", "--force"),
            *("--", self.remote.url, f"+{self._ref}:{self._ref}"),
            deadline_s=self._fetch_deadline_s,
            authenticated=True,
        )
        if answer.status and "fsck error" in answer.words:
            raise GitRefused(f"{self.remote} sends an object that could harm: {answer.words}")
        if answer.status or self._lacks(git, head):
            raise GitUnavailable(f"{self.remote} could not be fetched: {answer.words or 'the head is missing'}")

    def _lacks(self, git: Git, head: str) -> bool:
        return git.ask("cat-file", "-e", f"{head}^{{tree}}").status != 0

    def _log(self, *words: str) -> list[CommitFacts]:
        output = self._read("log", "-z", "--no-color", "--no-notes", "--no-mailmap", _FACTS, *words, "--")
        fields = output.decode("utf-8", "replace").split("\0")
        # Each commit ends with two NULs: the format's own and the one of -z.
        return [_facts(fields[at : at + 6]) for at in range(0, len(fields) - 6, 7)]

    def _manifests(self, commit: str, folder: str) -> list[FileChange]:
        return manifests(
            raw_entries(self._read("ls-tree", "-r", "-z", "--full-tree", _oid(commit), *_within(folder))), folder
        )

    def _sizes(self, oids: Sequence[str]) -> dict[str, int]:
        output = self._read("cat-file", "--batch-check", stdin="".join(f"{oid}\n" for oid in oids).encode())
        sizes = {}
        for line in output.decode("ascii", "replace").splitlines():
            oid, kind, *size = line.split(" ")
            if kind != "blob":
                raise self._broken(f"{oid} is {kind}, not a blob")
            sizes[oid] = int(size[0])
        return sizes

    def _read(self, *words: str, stdin: bytes = b"") -> bytes:
        try:
            return self.git.run(*words, stdin=stdin)
        except DeadlinePassed:
            raise
        except GitUnavailable:
            self._damaged = True
            raise

    def _broken(self, words: str) -> GitUnavailable:
        self._damaged = True
        return GitUnavailable(f"the mirror of {self.remote} is damaged and will be fetched again: {words}")


def _standing(
    wanted: dict[bytes, str | None], now: dict[bytes, str | None], pairs: Sequence[list[str]], output: bytes
) -> str | None:
    """Walk back: undo each commit's changes on what stood, until everything stands as wanted."""
    undone: dict[str, list[tuple[bytes, str | None]]] = {}
    commit = ""
    fields = iter(output.split(b"\0"))
    for field in fields:
        if field.startswith(b":"):
            before = field.decode("ascii").split(" ")[2]
            undone.setdefault(commit, []).append((next(fields), before if before.strip("0") else None))
        elif field:
            commit = field.decode("ascii").strip()
    standing = {path: now[path] for path in wanted}
    for child, parent in pairs:
        for path, old in undone.get(child, []):
            if path in standing:
                standing[path] = old
        if standing == wanted:
            return parent
    return None


def _facts(fields: Sequence[str]) -> CommitFacts:
    commit, parents, tree, author, seconds, subject = fields
    when = datetime.fromtimestamp(min(max(int(seconds or "0"), 0), _LAST_SECOND), UTC)
    return CommitFacts(
        commit=commit,
        parents=tuple(parents.split()),
        tree=tree,
        author=one_line(author, 256),
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


def _within(folder: str) -> tuple[str, ...]:
    return ("--", folder) if folder else ()


def _is_oid(text: str) -> bool:
    return len(text) in {40, 64} and all(char in "0123456789abcdef" for char in text)


def _oid(text: str) -> str:
    """`text`, when it is a full object id: only those reach a command line. Raises GitRefused."""
    if not _is_oid(text):
        raise GitRefused(f"not a full object id: {one_line(text, 80)!r}")
    return text
