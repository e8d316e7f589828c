"""`reconciler agent EDGE`."""

from pathlib import Path

import click


@click.command()
@click.argument("edge")
@click.option("--state", type=click.Path(path_type=Path), required=True, help="the machine's state directory")
def command(edge: str, state: Path) -> int:
    """Keep one edge of this machine until it is told to stop. `reconciler run` starts it by itself."""
    from reconciler.edge.paths import StateDirectory
    from reconciler.wiring import EdgeAgent, stopped_by_signals

    agent = EdgeAgent(edge, StateDirectory(state))
    with stopped_by_signals(agent.stop):
        agent.run()
    return 0
