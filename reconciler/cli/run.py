"""`reconciler run`: the hub in the foreground, saying what happens as it happens."""

import contextlib
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.followed import settings_of
from reconciler.cli.options import Duration, cluster, forms, one_by_one, repository, require_with, state
from reconciler.errors import WorldUnavailable

if TYPE_CHECKING:
    from reconciler.history.status import Status
    from reconciler.web.server import Door

SHOWN: Final = 20
HANDOVER_S: Final = 10.0  # for which a process that was told to end may go on writing the log
REFUSED, UNANSWERED, HELD, INTERRUPTED = 3, 4, 5, 130


@click.command(epilog="Example: reconciler run --repo https://git.example.com/fleet.git --branch main")
@repository
@cluster
@click.option("--lease-namespace", metavar="NAME", help="Where the Lease is.  [default: reconciler-system]")
@click.option("--install", metavar="NAME", help="What its objects carry.  [default: NAMESPACE/NAME of the Lease]")
@click.option("--poll", "poll_s", type=float, metavar="SECONDS", help="Between two looks at the remote.  [default: 30]")
@click.option("--token-env", metavar="NAME", help="The environment variable that holds a token for https.")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="The file that holds one.")
@click.option("--ssh-key-file", metavar="FILE", type=click.Path(path_type=Path), help="The private key for ssh.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Where the page, /api/v1, /metrics and health are, unless --once; `off`: nowhere.  [default: 127.0.0.1:9484]",
)
@click.option("--agents/--no-agents", default=True, help="Whether to start this machine's agents, and to end them.")
@click.option(
    "--once",
    is_flag=True,
    help="Stop when all is as Git says (0), or documents are refused (3), nobody answers (4), a plan is held (5).",
)
@click.option("--timeout", "timeout_s", type=Duration(), default=300.0, show_default=True, help="With --once: seconds.")
@one_by_one
@state
@forms
def command(once: bool, timeout_s: float, agents: bool, each: bool, form: str, **options: Any) -> int:
    """Follow a repository, keep every edge of this machine as it says, and tell what happens until stopped.

    With --kubeconfig, --context or --in-cluster it is the objects of that cluster that are kept as Git says.

    --poll, --token-env, --token-file, --ssh-key-file and --listen are also read from RECONCILER_POLL_S, …
    """
    from reconciler.cli.narrator import Narrator
    from reconciler.edge.paths import StateDirectory
    from reconciler.wiring.hub import HubProcess
    from reconciler.wiring.process import failed_by_threads, stopped_by_signals

    require_with("timeout_s", other="--once", is_there=once)
    is_cluster = any(options[name] for name in ("kubeconfig", "context", "in_cluster"))
    for option in ("lease_namespace", "install"):
        require_with(option, other="--context, --kubeconfig or --in-cluster", is_there=is_cluster)
    settings = settings_of(options)
    with contextlib.ExitStack() as stack:
        _handed_over(StateDirectory(settings.state_dir).hub.log)
        door = None if once or settings.listen == "off" else _door(settings.listen, stack)
        hub = HubProcess(settings, supervise=agents)
        click.echo(f"following {settings.branch} of {settings.repo}; state in {settings.state_dir}", err=True)
        narrator = Narrator(hub.record, options["state_dir"], form, each=each)
        hub.log.subscribe(narrator.hear)
        told = threading.Event()
        if door is not None:
            click.echo(f"listening at {door.open(hub)}", err=True)

        def stop() -> None:
            told.set()
            if door is not None:
                door.end()
            hub.stop()

        with narrator, stopped_by_signals(stop), failed_by_threads(hub.queue.fail):
            if not once:
                hub.run()
                tell_stopped(hub.stopped)
                return 0
            try:
                seen = hub.once(timeout_s)
            except WorldUnavailable:
                if told.is_set():
                    return INTERRUPTED
                raise
    return INTERRUPTED if told.is_set() else verdict(seen, each=each)


def _door(listen: str, stack: contextlib.ExitStack) -> "Door":
    """The address, taken before anything begins. Raises PortTaken, SettingInvalid."""
    from reconciler.web.server import Door

    return stack.enter_context(contextlib.closing(Door(listen)))


def tell_stopped(edges: Sequence[str]) -> None:
    """What ended with the hub: who stopped it should know what does not serve any more."""
    from reconciler.wording import names

    if edges:
        agents = "the agent of 1 edge" if len(edges) == 1 else f"the agents of {len(edges)} edges"
        said = f"stopped, and with it {agents} ({names(edges)}) and the runtimes of their models"
        click.echo(f"{said}: they serve again at the next `reconciler run`", err=True)


def _handed_over(log: Path) -> None:
    """Wait until nobody else writes the log, as at a restart. Raises SecondWriter where somebody stays."""
    from reconciler.eventlog.lock import WriterLock, is_held

    end = time.monotonic() + HANDOVER_S
    if is_held(log):
        click.echo(f"a reconciler runs there: waiting {HANDOVER_S:.0f} s for its end", err=True)
    while is_held(log):
        if time.monotonic() > end:
            WriterLock(log).release()
        time.sleep(0.1)


def verdict(seen: "Status", *, each: bool = False) -> int:
    """The exit code of `run --once`, with the reason on stderr where it is not 0. each: of every row by itself."""
    from reconciler.cli.draw import line, problems, screen
    from reconciler.cli.status import stand_alike
    from reconciler.diagnostics import Diagnostic, printable

    at = screen(sys.stderr)
    waiting = [row for row in seen.rows if not row.settled]
    objects = [one for one in seen.objects if not one.settled]
    is_silent = any(row.under_way for row in waiting) or any(one.open for one in objects)
    told = stand_alike([*waiting, *objects], each=each)
    most = len(told) if each else SHOWN
    for what, phase, said in told[:most]:
        line(printable(f"{what}: {phase}: {said or 'no answer yet'}"), at=at)
    if len(told) > most:
        line(f"and {len(told) - most} more: `reconciler status`", at=at)
    if seen.refused:
        problems([Diagnostic.from_dict(dict(problem)) for problem in seen.problems], at, each=each)
        return REFUSED
    if seen.converged and not seen.suspended:
        return 0
    if seen.held is not None:
        held = seen.held
        line(f"plan {held.digest} is held: {held.reason}; `reconciler approve {held.digest}` releases it", at=at)
        return HELD
    if seen.suspended:
        first = seen.suspended[0]
        line(first.words + (f"; `{first.ends}` ends it" if first.ends else ""), at=at)
        return HELD
    if is_silent or not (waiting or objects):  # nothing of what is known stands against it
        line(f"{seen.standing.word}: {seen.standing.why}", at=at)
        return UNANSWERED
    return HELD
