"""`reconciler run`."""

from pathlib import Path

import click


@click.command()
@click.option("--repo", required=True, help="the Git repository: https://, ssh://, or a local path")
@click.option("--branch", default="main", show_default=True)
@click.option("--state", type=click.Path(path_type=Path), required=True, help="the machine's state directory")
@click.option("--agents/--no-agents", default=True, help="also start this machine's agents")
def command(repo: str, branch: str, state: Path, agents: bool) -> int:
    """Reconcile a repository until told to stop."""
    from types import SimpleNamespace

    from reconciler.wiring import HubProcess, stopped_by_signals

    settings = SimpleNamespace(
        repo=repo, branch=branch, state_dir=state, path="", poll_s=30.0, token_env="", token_file=None, ssh_key_file=None
    )
    hub = HubProcess(settings, supervise=agents)
    with stopped_by_signals(hub.stop):
        hub.run()
    return 0
