"""The ignore file of a followed folder, by Git's own rules. Imports errors, git and tree.

In: the file's bytes and names below the folder.  Out: which of them it hides, and the line that says so.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from reconciler.errors import GitUnavailable
from reconciler.sources.git import Git


def ignored(git: Git, rules: bytes, names: Sequence[str]) -> dict[str, int]:
    """Name -> the line of `rules` (in the syntax of .gitignore) that hides it. Raises GitUnavailable.

    Git is asked over an empty work tree, so that nothing but these rules counts.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ignore-", dir=git.git_dir) as place:
            file, tree = Path(place, "rules"), Path(place, "tree")
            file.write_bytes(rules)
            tree.mkdir()
            words = ("-c", f"core.excludesFile={file}", "check-ignore", "--no-index", "--verbose", "-z", "--stdin")
            over = {"GIT_WORK_TREE": str(tree), "GIT_LITERAL_PATHSPECS": "0"}  # which check-ignore does not know
            answer = git.ask(*words, stdin="".join(f"./{name}\0" for name in names).encode(), variables=over)
    except OSError as problem:
        raise GitUnavailable(f"{git.git_dir} cannot be written: {problem.strerror}") from problem
    if answer.status > 1:
        raise GitUnavailable(f"the ignore file cannot be read: {answer.words}")
    fields = answer.output.decode("utf-8", "surrogateescape").split("\0")
    found = zip(fields[1::4], fields[2::4], fields[3::4], strict=False)  # source, line, pattern, name
    return {name.removeprefix("./"): int(line) for line, pattern, name in found if not pattern.startswith("!")}
