"""`reconciler release`: try a quarantined version again."""

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler release edge-1 digits")
@click.argument("edge")
@click.argument("model")
@where
@forms
def command(*, edge: str, model: str, where: Where, form: str) -> None:
    """Lift what is held back of MODEL (a model, dataset or object) on EDGE, and order it again."""
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    answer = ask(where, "release", ["--", edge, model], edge=edge, model=model)
    answered(form, "Release", answer, f"released {model} on {edge}: {counted(answer['counts'])}")
