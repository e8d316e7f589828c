"""What a file of a work tree would be in a commit, by gitattributes(5) and core.autocrlf. Pure; imports nothing.

In: its bytes, its attributes.  Out: the bytes that Git would store. Line ends, encodings and `$Id$` are worked out
here, because Git itself would also run the filters that a repository's configuration names; those are never run.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

ASKED: Final = ("text", "eol", "crlf", "filter", "ident", "working-tree-encoding")
_UNSAID: Final = frozenset({"", "unspecified"})
_IDENT: Final = re.compile(rb"\$Id:[^$\r\n]*\$")
_LONE_CR: Final = re.compile(rb"\r(?!\n)")

Attributes = Mapping[str, str]


def attributes(output: bytes) -> dict[str, dict[str, str]]:
    """By path, from the output of `git check-attr -z`: "set", "unset", "unspecified" or a value each."""
    found: dict[str, dict[str, str]] = {}
    fields = iter(output.decode("utf-8", "surrogateescape").split("\0"))
    for path in fields:
        if path:
            name, said = next(fields), next(fields)
            found.setdefault(path, {})[name] = said
    return found


def as_committed(content: bytes, said: Attributes, autocrlf: str) -> bytes:
    """The bytes that would be stored, filters apart. autocrlf: `true`, `input` or anything else."""
    encoding = said.get("working-tree-encoding", "")
    if encoding not in _UNSAID | {"set", "unset"}:
        try:
            content = content.decode(encoding).encode("utf-8")
        except (LookupError, UnicodeError):
            return content  # Git refuses to add it
    kind = _line_ends(said, autocrlf)
    if kind == "text" or (kind == "auto" and b"\0" not in content and not _LONE_CR.search(content)):
        content = content.replace(b"\r\n", b"\n")
    return _IDENT.sub(b"$Id$", content) if said.get("ident") == "set" else content


def _line_ends(said: Attributes, autocrlf: str) -> str:
    """Whether CRLF is stored as LF: `text`: yes, `auto`: where it looks like text, "": no."""
    for name in ("text", "crlf"):  # the second is what the first was called once
        match said.get(name, ""):
            case "set" | "input":
                return "text"
            case "unset":
                return ""
            case "auto":
                return "auto"
    if said.get("eol", "") in {"lf", "crlf"}:
        return "text"
    return "auto" if autocrlf in {"true", "input"} else ""


def drivers(settings: Mapping[str, str]) -> Iterator[str]:
    """The filters that would change what is stored, by a configuration's `filter.<name>.clean` and `.process`."""
    for name, command in settings.items():
        section, _, key = name.rpartition(".")
        if key in {"clean", "process"} and command:
            yield section.removeprefix("filter.")
