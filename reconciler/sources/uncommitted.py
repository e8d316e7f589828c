"""A work tree as it is checked out, as a commit: what one sees is what is planned. Imports mirror, commit, attributes.

In: a local work tree, on whatever branch or commit.  Out: a commit in a repository of our own that no branch holds, for
a plan that looks before it leaps. The user's repository is only read: its objects as they stand on disk, its index and
files by commands that run nothing which its configuration names.
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.diagnostics import printable
from reconciler.errors import GitRefused, GitUnavailable
from reconciler.history.codec import blob_id
from reconciler.sources.attributes import ASKED, as_committed, attributes, drivers
from reconciler.sources.commit import Message, write_commit
from reconciler.sources.git import Git
from reconciler.sources.git_safety import is_object_id, path_problem
from reconciler.sources.mirror import Mirror
from reconciler.sources.place import GONE
from reconciler.sources.tree import FILE_LIMIT, IGNORE_FILE, is_manifest

NOBODY: Final = "not committed yet <nobody@localhost>"
_FILES: Final = frozenset({"100644", "100755"})


class Entry(NamedTuple):
    """An entry of the index. stands: whether Git does not look at its file (skip-worktree, assume-unchanged)."""

    mode: str
    oid: str
    stands: bool


@dataclass(frozen=True, slots=True)
class _Tree:
    """The user's work tree. common, objects, shallow: of its repository."""

    git: Git
    object_format: str
    common: Path
    objects: Path
    shallow: Path


class Uncommitted(Mirror):
    """A mirror whose head is what is checked out, with what is not committed. Of no work tree, it is a mirror.

    After `fetch`: head: the commit that is checked out.  checked_out: its branch, "" where it is on none; None where no
    work tree was taken.  paths: the manifests that differ from it.  unsure: those of which a filter alone could say it,
    which are taken as they are committed.  is_shallow: whether the clone lacks older commits.
    """

    head = ""
    checked_out: str | None = None
    paths: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    is_shallow = False
    is_named = False  # whether the branch was named, so that it is planned wherever the work tree is
    _scratch: Git | None = None

    @property
    def git(self) -> Git:
        """Commands on a repository of our own, which sees the user's objects."""
        return self._scratch or super().git

    @property
    def of_branch(self) -> str:
        """Of what is checked out, where that is planned."""
        if self.checked_out is None:
            return super().of_branch
        return f" of {self.checked_out}" if self.checked_out else ""

    def fetch(self) -> str:
        """The id of a commit like the work tree; the one checked out where they are the same."""
        tree = self._tree()
        if tree is None:
            self.head = super().fetch()
            return self.head
        branch = _ask(tree.git, "symbolic-ref", "--quiet", "HEAD").removeprefix("refs/heads/")
        if self.is_named and branch != self.branch:
            self.head = super().fetch()
            return self.head
        self.checked_out = branch
        self.head = _ask(tree.git, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if not is_object_id(self.head):
            raise GitUnavailable(f"{self.remote} has no commit yet", hint="commit once, then plan")
        self._scratch = self._seeing(tree)
        self._answers.clear()
        files = self._differing(tree.git)
        self.paths = tuple(sorted(files))
        return write_commit(self.git, self.head, files, Message("not committed yet"), NOBODY) if files else self.head

    # ── where it stands ───────────────────────────────────────────────────────────────────────────────────────────

    def rewritten(self, old: str, new: str) -> bool:
        """Whether the followed branch itself leaves commits behind: another one is only not merged yet."""
        is_followed = self.checked_out in {None, self.branch}
        return is_followed and not self.is_shallow and super().rewritten(old, new)

    def distance(self, other: str) -> tuple[int, int] | None:
        """(commits ahead of `other`, commits behind it) of what is checked out; None where this clone cannot say."""
        if self.head == other:
            return 0, 0
        if not self.has(other):
            parents = self.git.run("cat-file", "commit", self.head).partition(b"\n\n")[0]  # also where they are cut off
            return (1, 0) if f"\nparent {other}".encode() in parents else None
        answer = self.git.ask("rev-list", "--count", "--left-right", f"{other}...{self.head}")
        behind, _, ahead = answer.output.decode("ascii", "replace").strip().partition("\t")
        if answer.status or (self.is_shallow and behind != "0"):
            return None
        return int(ahead), int(behind)

    def tip(self) -> str:
        """The commit of the followed branch as this clone knows it; "" where it does not."""
        tree = self._tree()
        names = (f"refs/heads/{self.branch}", f"refs/remotes/origin/{self.branch}")
        found = (_ask(tree.git, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") for name in names if tree)
        return next((oid for oid in found if is_object_id(oid)), "")

    def _tree(self) -> _Tree | None:
        """The user's work tree; None where the repository is bare or elsewhere. Raises GitUnavailable, GitRefused."""
        path = self.remote.path
        if path is None:
            return None
        if not path.is_dir():
            raise GitUnavailable(f"there is no directory {path}", hint=GONE)
        git = Git(directory=path, remote=self.remote)
        words = ("--is-bare-repository", "--is-inside-work-tree", "--show-object-format")
        places = ("--path-format=absolute", "--git-common-dir", "--git-path", "objects", "--git-path", "shallow")
        answer = git.ask("rev-parse", *words, *places)
        if answer.status:
            raise GitUnavailable(f"{path} cannot be read as a Git repository: {answer.words}", hint=GONE)
        said = os.fsdecode(answer.output).splitlines()
        if said[:2] != ["false", "true"]:
            return None
        if len(said) != 6:
            raise GitRefused(f"the name of {printable(str(path))} has a line break in it")
        top = Path(os.fsdecode(git.run("rev-parse", "--show-toplevel").rstrip(b"\n")))
        if top.resolve() != path:
            raise GitRefused(f"the work tree of {self.remote} is somewhere else: {printable(str(top))}")
        return _Tree(git, said[2], *map(Path, said[3:]))

    def _seeing(self, tree: _Tree) -> Git:
        """A bare repository of our own that has the user's objects, and nothing of its configuration or refs."""
        place = self.directory / "seen"
        git = Git(directory=self.directory, remote=self.remote, git_dir=place)
        try:
            known = place / "object-format"
            if not known.is_file() or known.read_text() != tree.object_format:
                if place.exists():  # Git gives no repository another format
                    shutil.rmtree(place)
                words = ("--quiet", "--bare", "--template=", f"--object-format={tree.object_format}", "--", str(place))
                git.run("init", *words)
                known.write_text(tree.object_format)
            (place / "objects" / "info").mkdir(parents=True, exist_ok=True)
            (place / "objects" / "info" / "alternates").write_bytes(os.fsencode(tree.objects) + b"\n")
            self.is_shallow = tree.shallow.is_file()
            if self.is_shallow:
                (place / "shallow").write_bytes(tree.shallow.read_bytes())
            else:
                (place / "shallow").unlink(missing_ok=True)
        except OSError as problem:
            raise GitUnavailable(f"{place} cannot be written: {problem.strerror}") from problem
        return git

    # ── what differs ──────────────────────────────────────────────────────────────────────────────────────────────

    def _differing(self, git: Git) -> dict[str, bytes | None]:
        """Manifests that are not as the head has them; None where they are gone. What Git ignores does not count."""
        users = _as_its_user(git)
        committed = self._committed()
        index, others = _index(users), set(_names(users.run("ls-files", "-z", "--others", "--exclude-standard")))
        files: dict[str, bytes | None] = dict.fromkeys(committed.keys() - index.keys() - others)
        standing, read = {}, {}
        for path in filter(_is_manifest, (*index, *others)):
            entry = index.get(path)
            if entry is not None and (entry.stands or entry.mode not in _FILES):
                standing[path] = entry.oid
                continue
            content = _content(git.directory / path)
            if content is None:
                if path in committed and not (git.directory / path).exists():
                    files[path] = None
            elif entry is None or self._oid(content) != entry.oid:
                read[path] = content
            elif entry.oid != committed.get(path):
                files[path] = content
        self._convert(users, index, read, standing)
        staged = {path: oid for path, oid in standing.items() if oid != committed.get(path)}
        blobs = self.blobs(oid for path, oid in staged.items() if index[path].mode in _FILES)
        files |= {path: blobs[oid] for path, oid in staged.items() if oid in blobs}
        found = {path: content for path, content in read.items() if self._oid(content) != committed.get(path)}
        return files | found

    def _committed(self) -> dict[str, str]:
        """Path -> blob id of the manifests of the head, also of those that are ignored there."""
        heads = (line.partition("\t") for line in _names(self.git.run("ls-tree", "-r", "-z", "--full-tree", self.head)))
        return {path: head.split()[2] for head, _, path in heads if head[:6] in _FILES and _is_manifest(path)}

    def _oid(self, content: bytes) -> str:
        return blob_id(content, digits=len(self.head))

    def _convert(self, git: Git, index: dict[str, Entry], read: dict[str, bytes], standing: dict[str, str]) -> None:
        """Make of what was read what would be committed; what a filter would make of it stands as it is."""
        if not read:
            return
        settings = _settings(git)
        lines = "".join(f"{path}\0" for path in read).encode("utf-8", "surrogateescape")
        said = attributes(git.run("check-attr", "-z", "--stdin", *ASKED, stdin=lines))
        filtered = set(drivers(settings))
        for path in list(read):
            mine = said.get(path, {})
            if mine.get("filter") in filtered:
                del read[path]
                if path in index:
                    standing[path] = index[path].oid
                self.unsure = (*self.unsure, path)
            else:
                read[path] = as_committed(read[path], mine, settings.get("core.autocrlf", ""))


def _as_its_user(git: Git) -> Git:
    """The same with the user's own configuration in force, as far as it says what Git ignores and converts."""
    mine = Git(directory=git.directory, remote=git.remote, global_config="")
    said = mine.ask("config", "-z", "--type=path", "--get-all", "core.attributesFile").output
    *own, _ = _names(said)  # the last is ours, which wins
    base = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '')}/.config"
    place = own[-1] if own else f"{base}/git/attributes"
    extra = (("core.attributesFile", place),)
    return Git(directory=git.directory, remote=git.remote, global_config="", extra=extra)


def _settings(git: Git) -> dict[str, str]:
    """What the configuration says of line ends and filters; of several values the last. `core.autocrlf` as written."""
    output = git.ask("config", "-z", "--get-regexp", r"^(core\.autocrlf|filter\..*)$").output
    pairs = (line.partition("\n") for line in os.fsdecode(output).split("\0") if line)
    return {name: value if mark else "true" for name, mark, value in pairs}


def _index(git: Git) -> dict[str, Entry]:
    """The index by path; of an unmerged path an entry whose id fits nothing."""
    found = {}
    for line in _names(git.run("ls-files", "-z", "-v", "--stage")):
        head, _, path = line.partition("\t")
        tag, mode, oid, stage = head.split(" ")
        found[path] = (
            Entry(mode, oid, tag.islower() or tag == "S") if stage == "0" else Entry("100644", "", stands=False)
        )
    return found


def _names(output: bytes) -> list[str]:
    return [name for name in output.decode("utf-8", "surrogateescape").split("\0") if name]


def _is_manifest(path: str) -> bool:
    return (is_manifest(path) or path.endswith(IGNORE_FILE)) and not path_problem(path)


def _ask(git: Git, *words: str) -> str:
    return git.ask(*words).output.decode("utf-8", "replace").strip()


def _content(path: Path) -> bytes | None:
    """The bytes of a plain file of bearable size; None for everything else. Raises GitUnavailable."""
    try:
        found = os.lstat(path)
        return path.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size <= FILE_LIMIT else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise GitUnavailable(f"{path} cannot be read: {problem.strerror}") from problem
