"""Which files a commit changed, and what is refused among them. Imports diagnostics, errors and git_safety. Pure.

In: what `git diff-tree`, `ls-tree` and `cat-file` print.  Out: one `FileChange` a manifest path, with its
problem if any. A problem belongs to its path and holds until that path changes again.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from reconciler.diagnostics import Diagnostic, printable
from reconciler.sources.git_safety import path_problem

FILE_LIMIT: Final = 10 * 1024 * 1024
SUFFIXES: Final = (".yaml", ".yml", ".json")  # in any case
IGNORE_FILE: Final = ".reconcilerignore"  # at the root of the followed folder, in the syntax of .gitignore
_LFS: Final = b"version https://git-lfs.github.com/spec/"
# Every document of ours says one of these: the group, or a kind and a version. NUL is left out first: UTF-16 has it.
_OURS: Final = re.compile(rb"ai\.kubeedge\.io|\b(?:kind|api_?version)[\"']?\s*:", re.IGNORECASE)
_NOT_FILES: Final = {"120000": "a symbolic link", "160000": "a submodule"}


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path of the tree that changed: blob ids before and after (None: not there), and the mode after.

    problem: why its content must not be read. The path of a refused entry may be written with escapes.
    """

    path: str
    old_oid: str | None
    new_oid: str | None
    mode: str
    problem: Diagnostic | None = None

    @property
    def is_file(self) -> bool:
        """Whether a plain file stands there now."""
        return self.new_oid is not None and self.mode not in _NOT_FILES


class ManifestFile(NamedTuple):
    """A changed path with what stands there now: `content` is None where the file is gone or was refused.

    is_foreign: whether its text says nothing that a document of ours says.
    """

    path: str
    oid: str | None
    content: bytes | None
    problem: Diagnostic | None
    is_foreign: bool = False


class RawChange(NamedTuple):
    """One entry of a raw diff: modes before and after, blob ids (None: absent), path as bytes."""

    old_mode: str
    mode: str
    old_oid: str | None
    new_oid: str | None
    path: bytes


def raw_changes(output: bytes) -> Iterator[RawChange]:
    """The entries of `diff-tree -r -z --no-renames --no-abbrev` (format: git-diff(1), raw output)."""
    fields = iter(output.split(b"\0"))
    for head in fields:
        if head.startswith(b":"):
            old_mode, mode, old, new, _ = head[1:].decode("ascii").split(" ")
            yield RawChange(old_mode, mode, _present(old), _present(new), next(fields))


def raw_entries(output: bytes) -> Iterator[RawChange]:
    """The entries of `ls-tree -r -z`, as if each had just been added."""
    for line in output.split(b"\0"):
        head, _, path = line.partition(b"\t")
        if path:
            mode, _, oid = head.decode("ascii").split(" ")
            yield RawChange("000000", mode, None, oid, path)


def is_manifest(path: str, folder: str = "") -> bool:
    """Whether a file is read: by its suffix, and because nothing on its way below `folder` begins with a dot."""
    return named_alike(path) and not is_hidden(path, folder)


def named_alike(path: str) -> bool:
    """Whether a file is named as manifests are."""
    return path.lower().endswith(SUFFIXES)


def is_hidden(path: str, folder: str = "") -> bool:
    """Whether a name below `folder` begins with a dot: those are the files of other tools."""
    return "/." in f"/{path[len(folder) :].lstrip('/')}"


def names_us(content: bytes) -> bool:
    """Whether the text says anything that a document of ours says, or one with a slip in its group or kind."""
    return _OURS.search(content.translate(None, b"\0")) is not None


def manifests(changes: Iterable[RawChange], folder: str) -> list[FileChange]:
    """What concerns us, by path: files to be read, and links or submodules that could hide some."""
    return sorted((change for raw in changes if (change := _judged(raw, folder))), key=lambda change: change.path)


def with_clashes(changes: Sequence[FileChange], whole: Sequence[FileChange]) -> list[FileChange]:
    """The changes, where paths that differ only in case or Unicode form are refused.

    whole: every manifest of the tree after. A path that stands still but begins or ceases to clash is added, with the
    same id before and after, so that its problem is told or forgotten.
    """
    twins: dict[str, list[FileChange]] = defaultdict(list)
    for entry in whole:
        twins[_folded(entry.path)].append(replace(entry, old_oid=entry.new_oid))
    known = {change.path: change for change in changes}
    touched = {_folded(path) for path, change in known.items() if change.old_oid is None or change.new_oid is None}
    for fold in touched:
        for twin in twins[fold]:
            change = known.get(twin.path, twin)
            others = [other.path for other in twins[fold] if other is not twin]
            clash = _clash(twin.path, others) if others else None
            known[twin.path] = replace(change, problem=change.problem or clash)
    return sorted(known.values(), key=lambda change: change.path)


def read_problem(path: str, content: bytes | None) -> Diagnostic | None:
    """What is wrong with the bytes at `path` before they are parsed; None as content means larger than FILE_LIMIT."""
    if content is None:
        return Diagnostic(
            code="RX205",
            message=f"the file is larger than {FILE_LIMIT // 1024 // 1024} MiB and was not read",
            path=path,
            help="keep artifacts out of the repository; split the manifest",
        )
    if content.startswith(_LFS):
        return Diagnostic(
            code="RX218",
            message="an LFS pointer stands where a manifest should be",
            path=path,
            line=1,
            column=1,
            help="commit the manifest itself: `git lfs untrack '*.yaml'`",
        )
    return None


def _judged(raw: RawChange, folder: str) -> FileChange | None:
    path = _shown(raw.path)
    refused = _path_refused(raw.path)
    if is_hidden(path, folder) and refused is None:
        return None
    has_suffix, not_file = named_alike(path), _NOT_FILES.get(raw.mode)
    if not has_suffix and not_file is None:
        # A link that became an ordinary file or directory: its problem is gone, and there is nothing to read.
        return FileChange(path, raw.old_oid, None, raw.mode) if raw.old_mode in _NOT_FILES else None
    if raw.new_oid is None:
        return FileChange(path, raw.old_oid, None, raw.mode)
    problem = refused or _not_a_file(path, not_file, has_suffix or path == folder)
    return FileChange(path, raw.old_oid, raw.new_oid, raw.mode, problem)


def _path_refused(raw: bytes) -> Diagnostic | None:
    try:
        why = path_problem(raw.decode("utf-8"))
    except UnicodeDecodeError:
        why = "the path is not UTF-8"
    return Diagnostic(code="RX219", message=why, path=_shown(raw), help="rename the file") if why else None


def _not_a_file(path: str, what: str | None, hides_manifests: bool) -> Diagnostic | None:
    if what is None:
        return None
    return Diagnostic(
        code="RX218",
        message=f"{what} is never followed",
        path=path,
        help="commit the files themselves",
        severity="error" if hides_manifests else "warning",
    )


def _clash(path: str, others: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        code="RX219",
        message=f"the path differs only in case or Unicode form from {', '.join(others)}",
        path=path,
        help="rename or remove one of them",
    )


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _present(oid: str) -> str | None:
    return oid if oid.strip("0") else None


def one_line(text: str, limit: int) -> str:
    """`text` as it may stand in an event: printable, at most `limit` characters."""
    return printable(text)[:limit]
