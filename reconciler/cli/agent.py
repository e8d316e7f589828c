"""`reconciler agent`: one edge, kept."""

from pathlib import Path

import click

from reconciler.cli.options import forms, state


@click.command(epilog="Example: reconciler agent edge-1 --state /var/lib/reconciler")
@click.argument("edge")
@state
@forms
def command(*, edge: str, state_dir: Path, form: str) -> int:  # noqa: ARG001  # for errors
    """Keep EDGE, one edge of this machine, until it is told to stop. `reconciler run` starts it by itself."""
    from reconciler.edge.paths import StateDirectory
    from reconciler.wiring.agent import EdgeAgent
    from reconciler.wiring.process import failed_by_threads, stopped_by_signals

    agent = EdgeAgent(edge, StateDirectory(state_dir))
    with stopped_by_signals(agent.stop), failed_by_threads(agent.queue.fail):
        agent.run()
    return 0
