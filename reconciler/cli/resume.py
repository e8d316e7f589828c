"""`reconciler resume`: the end of a suspension."""

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler resume edge-1")
@click.argument("edge", required=False)
@where
@forms
def command(*, edge: str | None, where: Where, form: str) -> None:
    """Order again for EDGE, or for every edge, what was left out since `suspend`."""
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    answer = ask(where, "resume", ["--", edge] if edge else [], scope=edge or "*")
    answered(form, "Resumption", answer, f"resumed {edge or 'everything'}: {counted(answer['counts'])}")
