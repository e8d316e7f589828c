"""`reconciler run`: the hub in the foreground, saying what happens as it happens."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import forms, repository, state

if TYPE_CHECKING:
    from reconciler.history.status import Status
    from reconciler.settings import Settings

REFUSED, UNANSWERED, HELD, INTERRUPTED = 3, 4, 5, 130


@click.command(epilog="Example: reconciler run --repo https://git.example.com/fleet.git --branch main")
@repository
@click.option("--poll", "poll_s", type=float, metavar="SECONDS", help="Between two looks at the remote.  [default: 30]")
@click.option("--token-env", metavar="NAME", help="The environment variable that holds a token for https.")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="The file that holds one.")
@click.option("--ssh-key-file", metavar="FILE", type=click.Path(path_type=Path), help="The private key for ssh.")
@click.option("--agents/--no-agents", default=True, help="Whether to start this machine's agents, and to end them.")
@click.option(
    "--once",
    is_flag=True,
    help="Stop when all is as Git says (0), or documents are refused (3), nobody answers (4), a plan is held (5).",
)
@click.option("--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="With --once: seconds.")
@state
@forms
def command(once: bool, timeout_s: float, agents: bool, form: str, **options: Any) -> int:
    """Follow a repository, keep every edge of this machine as it says, and tell what happens until stopped.

    --poll, --token-env, --token-file and --ssh-key-file are also read from RECONCILER_POLL_S, RECONCILER_TOKEN_ENV, …
    """
    from reconciler.cli.narrator import Narrator
    from reconciler.wiring.hub import HubProcess
    from reconciler.wiring.process import stopped_by_signals

    settings = settings_of(options)
    hub = HubProcess(settings, supervise=agents)
    click.echo(f"following {settings.branch} of {settings.repo}; state in {settings.state_dir}", err=True)
    narrator = Narrator(hub.record, options["state_dir"], form)
    hub.log.subscribe(narrator.hear)
    told = threading.Event()

    def stop() -> None:
        told.set()
        hub.stop()

    with narrator, stopped_by_signals(stop):
        if not once:
            hub.run()
            return 0
        seen = hub.once(timeout_s)
    return INTERRUPTED if told.is_set() else verdict(seen)


def settings_of(options: dict[str, Any]) -> "Settings":
    """The settings in force; a local path is made absolute, so that every process means the same."""
    from reconciler.settings import Settings

    settings = Settings.load(options, os.environ)
    if Path(settings.repo).is_dir():
        settings = settings.model_copy(update={"repo": str(Path(settings.repo).resolve())})
    return settings


def verdict(seen: "Status") -> int:
    """The exit code of `run --once`, with the reason on stderr where it is not 0."""
    waiting = [row for row in seen.rows if not row.settled]
    unanswered = [row for row in waiting if row.open or row.unknown_since]
    for row in waiting:
        click.echo(f"{row.edge} {row.model}: {row.phase}: {row.message or 'no answer yet'}", err=True)
    if seen.refused:
        from reconciler.diagnostics import Diagnostic, render_all

        click.echo(render_all([Diagnostic.from_dict(dict(problem)) for problem in seen.problems]), err=True)
        return REFUSED
    if seen.held is not None:
        click.echo(f"plan {seen.held.digest} is held: {seen.held.reason}", err=True)
        return HELD
    if seen.suspended:
        click.echo(f"suspended by {seen.suspended[0].actor}: {seen.suspended[0].reason}", err=True)
        return HELD
    if unanswered or not seen.commit:
        return UNANSWERED
    return HELD if waiting else 0
