"""The one guard around every command: finds it by name, runs it, and turns what it raised into a message and exit code.

Imports click and light modules only, so that `--help` stays fast; a command's file is imported when it is called.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Final

import click

import reconciler
from reconciler.errors import ReconcilerError

COMMANDS: Final[dict[str, str]] = {
    "agent": "keep one edge of this machine",
    "run": "reconcile a repository, and keep this machine's edges",
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


@click.group(cls=Commands)
@click.version_option(reconciler.__version__, message="%(version)s")
def cli() -> None:
    """Reconcile models and datasets on edges with a Git repository."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code (see `reconciler explain`)."""
    try:
        result = cli.main(args=arguments, prog_name="reconciler", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return 130
    except click.ClickException as wrong:
        wrong.show()
        return 2
    except ReconcilerError as failure:
        print(f"error[{failure.code}]: {failure.message}\n help: {failure.advice}", file=sys.stderr)
        return failure.exit_code
    return result if isinstance(result, int) else 0
