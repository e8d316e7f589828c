"""`reconciler resume`: the end of a suspension."""

from pathlib import Path

import click

from reconciler.cli.options import forms, state


@click.command(epilog="Example: reconciler resume edge-1")
@click.argument("edge", required=False)
@state
@forms
def command(*, edge: str | None, state_dir: Path, form: str) -> None:
    """Order again for EDGE, or for every edge, what was left out since `suspend`."""
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    answer = ask(state_dir, "resume", scope=edge or "*")
    answered(form, "Resumption", answer, f"resumed {edge or 'everything'}: {counted(answer['counts'])}")
