"""A commit made by plumbing: objects only, no index, no work tree, no hooks. Imports errors, git and git_safety.

In: a parent, files by path, a message and who says so.  Out: the id of a commit that no branch holds yet.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reconciler.diagnostics import printable
from reconciler.errors import GitRefused
from reconciler.sources.git import Git
from reconciler.sources.git_safety import Remote, path_problem

Files = Mapping[str, bytes | None]

_SCRATCH: Final = "refs/reconciler/writing"
_FILE_MODES: Final = {"100644", "100755"}
# What of the user's environment decides who commits; everything else of Git's is taken away.
_WHO: Final = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")


@dataclass(frozen=True, slots=True)
class Message:
    """What a commit says: a subject with an optional body, and trailers (git-interpret-trailers) by key."""

    text: str
    trailers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        trailers = "".join(f"{key}: {printable(value)}\n" for key, value in self.trailers.items())
        return f"{self.text.strip()}\n" + (f"\n{trailers}" if trailers else "")


def author(remote: Remote, directory: Path) -> str:
    """`Name <mail>` from the user's own git configuration, as seen from `directory`. Raises GitRefused without one."""
    git = Git(directory=directory, remote=remote, global_config="")
    who = {name: os.environ[name] for name in _WHO if name in os.environ}
    answer = git.ask("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT", variables=who)
    if answer.status:
        raise GitRefused(
            "git does not know who commits",
            hint="run `git config --global user.name NAME` and `git config --global user.email MAIL`",
        )
    return answer.output.decode("utf-8", "replace").rsplit(" ", 2)[0]


def entries(git: Git, commit: str, paths: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """Mode and object id of each path that the commit has."""
    output = git.run("ls-tree", "-z", "--full-tree", commit, "--", *paths)
    found = {}
    for line in output.decode("utf-8", "surrogateescape").split("\0"):
        head, _, path = line.partition("\t")
        if path in paths:
            mode, _, oid = head.split(" ")
            found[path] = (mode, oid)
    return found


def write_commit(git: Git, parent: str, files: Files, message: Message, who: str) -> str:
    """The id of a commit on `parent` with these files (None: removed); `parent` itself when nothing would change.

    One `git fast-import`, whatever the number of files. Raises GitRefused for a path that is none, or where something
    else than a file stands, GitUnavailable when Git fails.
    """
    for path in files:
        if why := path_problem(path):
            raise GitRefused(f"{printable(path)}: {why}")
    before = entries(git, parent, files)
    for path, (mode, _) in before.items():
        if mode not in _FILE_MODES:
            raise GitRefused(f"{path} is not a file in {parent[:12]}")
    stream = [
        b"feature done\n",
        f"commit {_SCRATCH}\nmark :1\ncommitter {who} now\n".encode(),
        _data(str(message).encode()),
        f"from {parent}\n".encode(),
    ]
    for path, content in files.items():
        if content is None:
            stream.append(b"D " + _quoted(path) + b"\n")
        else:
            mode = before[path][0] if path in before else "100644"
            stream += [b"M ", mode.encode(), b" inline ", _quoted(path), b"\n", _data(content)]
    stream.append(b"\nget-mark :1\ndone\n")
    output = git.run("fast-import", "--quiet", "--force", "--date-format=now", stdin=b"".join(stream))
    git.run("update-ref", "-d", _SCRATCH)
    commit = output.decode("ascii").strip()
    trees = git.run("rev-parse", f"{commit}^{{tree}}", f"{parent}^{{tree}}").split()
    return parent if trees[0] == trees[1] else commit


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _quoted(path: str) -> bytes:
    return b'"' + path.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
