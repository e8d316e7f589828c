"""The one guard around every command: finds it by name, runs it, and turns what it raised into a message and exit code.

Imports click and light modules only, so that `--help` stays fast; a command's file is imported when it is called.

    0 done, or no difference    1 differences (`plan`), failing (`wait`)    2 usage    3 documents refused
    4 no answer, or not in time    5 refused or held    6 the log    70 a bug, with its traceback
    130 interrupted    141 nobody reads the output
"""

import errno
import importlib
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

import reconciler
from reconciler.cli.options import FORM
from reconciler.diagnostics import printable
from reconciler.errors import MachineUnfit, ReconcilerError, RepositoryRefused, UsageError
from reconciler.web import document

BUG, INTERRUPTED, UNREAD = 70, 130, 141
UNWRITTEN: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO})
LACKING: Final = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE),
    }
)

# name -> what it is for, in the order in which --help lists them. A command `x` is `command` of cli/x.py.
COMMANDS: Final[dict[str, str]] = {
    "demo": "the main job, shown and verified on this machine",
    "init": "begin a repository of your own, with a model to try",
    "package": "your own model: tried, packed with a golden question, and declared",
    "run": "reconcile a repository, and keep this machine's edges",
    "plan": "what would change, for which edge, and why",
    "approve": "let a held plan through",
    "status": "what every edge has, and what waits for what",
    "history": "what happened, in order",
    "why": "from a running model to the line in Git",
    "pin": "keep one edge at a version, by a commit",
    "rollback": "the files as they were at a point, in one commit",
    "release": "try a quarantined version again",
    "suspend": "order nothing for a while",
    "resume": "the end of a suspension",
    "reconcile": "look at everything now, or at one edge or object, and try again what waits",
    "wait": "until a commit is live, or what holds it",
    "state": "what every edge had at any point of the log",
    "log": "verify, export, seal or back up the event log",
    "explain": "what a code, a field or a phase means and what to do",
    "doctor": "what this machine lacks, and how it is mended",
    "crds": "the kinds, as Kubernetes takes them",
    "agent": "keep one edge of this machine",
    "completion": "the shell finishes commands and options",
}


# What is called otherwise elsewhere -> ours. In: the words of git, kubectl, flux, argocd and mender.
ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "logs": ("history", "log"), "events": ("history",), "audit": ("history", "log"), "get": ("status", "state"),
    "list": ("status",), "ls": ("status",), "show": ("status", "why"), "describe": ("why", "status"),
    "blame": ("why",), "trace": ("why",), "tree": ("why",), "top": ("status",), "watch": ("status",),
    "apply": ("run", "plan"), "deploy": ("run", "plan"), "create": ("init",), "new": ("init",), "clone": ("init",),
    "bootstrap": ("init", "run"), "install": ("crds", "init"), "start": ("run",), "serve": ("run",), "up": ("run",),
    "sync": ("reconcile",), "refresh": ("reconcile",), "retry": ("reconcile", "release"), "diff": ("plan",),
    "preview": ("plan",), "check": ("doctor", "plan"), "validate": ("plan",), "rollout": ("wait", "rollback", "status"),
    "undo": ("rollback",), "revert": ("rollback",), "reset": ("rollback",), "promote": ("approve",),
    "unpin": ("pin EDGE MODEL --remove",), "hold": ("suspend", "pin"), "pause": ("suspend",), "stop": ("suspend",),
    "unpause": ("resume",), "continue": ("resume",), "abort": ("suspend", "rollback"), "backup": ("log",),
    "verify": ("log",), "delete": ("suspend", "rollback"), "edges": ("status",), "models": ("status",),
    "version": ("--version",),
}  # fmt: skip


class _Unread(Exception):
    """Nobody reads the output any more."""


class _NoCommand(click.ClickException):
    """There is no command of this name. behind: the words after it.  advice: which may have been meant."""

    def __init__(self, name: str, behind: Sequence[str]) -> None:
        from difflib import get_close_matches

        near = ELSEWHERE.get(name.lower()) or get_close_matches(name.lower(), COMMANDS, 2)
        if len(names := [word for word in behind if not word.startswith("-")]) == 2:  # the very command, to be copied
            near = [one.replace("EDGE MODEL", printable(" ".join(names))[:80]) for one in near]
        said = " or ".join(f"`reconciler {one}`" for one in near)
        self.advice = f"did you mean {said}?" if said else "`reconciler --help` lists those there are"
        super().__init__(f"there is no command {printable(name)[:40]}")


class Commands(click.Group):
    """The commands by name; a command's module is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """The command of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"reconciler.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; a command that there is not is told with what may have been meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise _NoCommand(args[0], args[1:])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """The table, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a failure is told in the form that was asked for."""
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except ReconcilerError as failure:
            tell(failure, ctx.meta.get(FORM, "table"))
            ctx.exit(failure.exit_code)
        except BrokenPipeError as error:  # `reconciler history | head`; click would make it 1
            _is_written()
            raise _Unread from error
        return result


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(reconciler.__version__, message="%(version)s")
def cli() -> None:
    """Reconcile models and datasets on edges with a Git repository."""


def tell(failure: ReconcilerError, form: str) -> None:
    """The failure, on stderr, for people or as one JSON object."""
    problems = failure.problems if isinstance(failure, RepositoryRefused) else ()
    if form == "json":
        print(json.dumps(document.failure(failure), ensure_ascii=False), file=sys.stderr)
        return
    from reconciler.cli import draw

    at = draw.screen(sys.stderr)
    if problems:
        draw.problems(problems, at)
    draw.line(f"error[{failure.code}]: {failure.message}\n help: {failure.advice}", at=at)


def asks_for_json(words: Sequence[str]) -> bool:
    """Whether errors are to be JSON, by the words alone: what is wrong with them may hide the option from click."""
    pairs = itertools.pairwise(words)
    return any(word in {"-ojson", "--output=json"} for word in words) or any(
        option in {"-o", "--output"} and form == "json" for option, form in pairs
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. What is no failure of ours, nor of the machine, is a bug and rises."""
    form = "json" if asks_for_json(sys.argv[1:] if arguments is None else arguments) else "table"
    try:
        code = _run(arguments, form)
        sys.stdout.flush()
    except OSError as error:
        unread = not _is_written() or (error.filename is None and error.errno in UNWRITTEN)
        failure = _unfit(error, unread=unread)
        if failure is None:
            raise
        tell(failure, form)
        return failure.exit_code
    except ModuleNotFoundError as error:
        lacking = _lacking(error, sys.argv[1:] if arguments is None else arguments)
        if lacking is None:
            raise
        tell(lacking, form)
        return lacking.exit_code
    return code


def _run(arguments: Sequence[str] | None, form: str) -> int:
    try:
        result = cli.main(args=arguments, prog_name="reconciler", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return INTERRUPTED
    except _Unread:
        return UNREAD
    except click.exceptions.NoArgsIsHelpError as bare:  # a group alone asks what there is: no error to be told
        bare.show()
        return bare.exit_code
    except click.ClickException as wrong:
        tell(_mistyped(wrong), form)
        return 2
    return result if isinstance(result, int) else 0


def _mistyped(wrong: click.ClickException) -> UsageError:
    """What click has against the words, as any error is told: with its code, and what to do."""
    context = getattr(wrong, "ctx", None)
    there = f"`{context.command_path if context is not None else 'reconciler'} --help` says what there is"
    said = wrong.format_message().rstrip(".")
    return UsageError(said[:1].lower() + said[1:], hint=getattr(wrong, "advice", there))


def _lacking(error: ModuleNotFoundError, words: Sequence[str]) -> MachineUnfit | None:
    """The package that the command needs and this install has not; None where that is a bug."""
    from reconciler.packages import lacking

    return lacking(error, next((word for word in words if word in COMMANDS), ""))


def _is_written() -> bool:
    """Whether stdout takes what was written; if not, what is left in its buffer goes nowhere from now on."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _unfit(error: OSError, *, unread: bool) -> MachineUnfit | None:
    """What the machine lacks; None where the error is of something else. unread: stdout takes nothing."""
    if unread:
        hint = "give it an output that is open and has room, or send it to /dev/null"
        done = " ".join(getattr(error, "__notes__", ())) or "what the command did before stands"
        return MachineUnfit(f"the output cannot be written: {error.strerror}; {done}", hint=hint)
    if not isinstance(error.filename, str) or error.errno not in LACKING:
        return None
    place = Path(error.filename)
    exists = os.path.exists  # that of Path raises where a name is too long
    there = next((one for one in (place, *place.parents) if exists(one)), place)
    why = f"{error.strerror}"
    if there != place and not there.is_dir():
        why = f"{there} is a file"
    elif error.errno in {errno.EACCES, errno.EPERM}:
        why = f"user {os.getuid()} may not write in {there}" if there != place else f"user {os.getuid()} may not"
    return MachineUnfit(f"{place} cannot be used: {why}", hint="name another place, such as a directory by --state")
