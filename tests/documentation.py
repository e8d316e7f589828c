"""What documentation says to type: the commands of its console blocks, and every `reconciler …` anywhere in text.

<!-- not run: it needs systemd -->      before a block: its commands are only parsed
<!-- run                                what readers do not need: it makes the symptom, or mends it
sed -i s/a/b/ file -->
$ reconciler plan     # exit code 1     the exit code that a command is to have, where it is not 0
RX404 …                                 a line below a command: what it prints; codes and phases are to be in it
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from reconciler.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "deploy/README.md", ROOT / "repo-template/README.md"]
)
HISTORIC = {ROOT / "CHANGELOG.md"}  # it tells what a release was
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^ *```console\n(.*?)^ *```$|^<!-- run\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*$")
_EXIT = re.compile(r"# .*?exit code (\d+)")
_INLINE = re.compile(r"`reconciler(?: ([^`]*))?`")
_SUBSTITUTED = re.compile(r"\$\([^()]*\)|\$\{?\w+\}?")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "2>", "<", "…"}


@dataclass(frozen=True)
class Command:
    """One line of a console block. why_not: why it is not run, "" where it is.  shown: what the page says it prints."""

    text: str
    code: int = 0
    shown: str = ""
    why_not: str = ""


def commands(page: str) -> list[Command]:
    """The commands of a page's console blocks, in order."""
    found = []
    for block in _BLOCK.finditer(page):
        if block[2]:
            found += [Command(line) for line in block[2].splitlines()]
            continue
        reason = _NOT_RUN.search(page[: block.start()])
        for part in re.split(r"^ *\$ ", block[1].replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            expected = _EXIT.search(line)
            found.append(
                Command(line.strip(), int(expected[1]) if expected else 0, shown.strip(), reason[1] if reason else "")
            )
    return found


def inline(text: str) -> list[str]:
    """What stands between backquotes and begins with `reconciler`, without that word; "" where it is all."""
    return [" ".join((found or "").split()) for found in _INLINE.findall(_COMMENT.sub("", _FENCE.sub("", text)))]


def spoken(line: str) -> Iterator[list[str]]:
    """The words of each `reconciler …` of a shell's line, without that word."""
    lexer = shlex.shlex(_SUBSTITUTED.sub("X", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word in _ENDS:
            parts.append([])
        else:
            parts[-1].append(word)
    yield from (words[1:] for words in parts if words[:1] == ["reconciler"])


def wrong(words: list[str], *, whole: bool) -> str:
    """What click would refuse of a command; "" where it is a good one. It is parsed, and nothing of it is called.

    whole: every argument that is needed has to be there.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="reconciler", help_option_names=["-h", "--help"])
    while True:
        parser = command.make_parser(context)
        try:
            said, left, _ = parser.parse_args(list(words))
        except click.BadOptionUsage as error:
            return error.format_message() if whole else ""
        except click.UsageError as error:
            return error.format_message()
        if isinstance(command, click.Group) and left:
            name, *words = left
            inner = command.get_command(context, name)
            if name.isupper():
                return ""
            if inner is None:
                return f"there is no command {name}"
            command, context = inner, click.Context(inner, context, info_name=name)
            continue
        return _refused(command, said, left, whole=whole and not isinstance(command, click.Group))


def _refused(command: click.Command, said: dict[str, Any], left: list[str], *, whole: bool) -> str:
    if left:
        return f"{command.name} takes no {left[0]}"
    for param in command.params:
        value = said.get(param.name or "")
        most = len((getattr(param, "metavar", None) or "").split()) if param.nargs == -1 else 0
        if most and isinstance(value, tuple | list) and len(value) > most:
            return f"{command.name} takes no {value[most]}"
        is_given = isinstance(value, str | int | tuple | list) and value not in ((), [], "")
        if param.required and whole and not is_given:
            return f"{command.name} needs {param.name}"
        choices = param.type.choices if isinstance(param.type, click.Choice) else ()
        if choices and isinstance(value, str) and not value.isupper() and value not in choices:
            return f"{command.name}: {value} is none of {', '.join(choices)}"
    return ""
