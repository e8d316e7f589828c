"""The one guard around every command: finds it by name, runs it, and turns what it raised into a message and exit code.

Imports click and light modules only, so that `--help` stays fast; a command's file is imported when it is called.

    0 done, or no difference    1 differences (`plan`), failing (`wait`)    2 usage    3 documents refused
    4 no answer, or not in time    5 refused or held    6 the log    70 a bug, with its traceback
    130 interrupted    141 nobody reads the output
"""

import importlib
import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

import reconciler
from reconciler.cli.options import FORM
from reconciler.diagnostics import render_all
from reconciler.errors import ReconcilerError, RepositoryRefused, UsageError
from reconciler.web import document

BUG, INTERRUPTED, UNREAD = 70, 130, 141

# name -> what it is for, in the order in which --help lists them. A command `x` is `command` of cli/x.py.
COMMANDS: Final[dict[str, str]] = {
    "demo": "the main job, shown and verified on this machine",
    "init": "begin a repository of your own, with a model to try",
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
    "explain": "what a code means and what to do",
    "doctor": "what this machine lacks, and how it is mended",
    "crds": "the kinds, as Kubernetes takes them",
    "agent": "keep one edge of this machine",
    "completion": "the shell finishes commands and options",
}


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
        except BrokenPipeError:  # `reconciler history | head`; click would make it 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes nowhere
            ctx.exit(UNREAD)
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
    if problems:
        print(render_all(problems), file=sys.stderr)
    print(f"error[{failure.code}]: {failure.message}\n help: {failure.advice}", file=sys.stderr)


def _asks_for_json(words: Sequence[str]) -> bool:
    """Whether errors are to be JSON, by the words alone: what is wrong with them may hide the option from click."""
    pairs = itertools.pairwise(words)
    return any(word in {"-ojson", "--output=json"} for word in words) or any(
        option in {"-o", "--output"} and form == "json" for option, form in pairs
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. What is no failure of ours is a bug and rises."""
    try:
        result = cli.main(args=arguments, prog_name="reconciler", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as wrong:
        if _asks_for_json(sys.argv[1:] if arguments is None else arguments):
            tell(UsageError(wrong.format_message()), "json")
        else:
            wrong.show()
        return 2
    return result if isinstance(result, int) else 0
