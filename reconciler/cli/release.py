"""`reconciler release`: try a quarantined version again."""

from pathlib import Path

import click

from reconciler.cli.options import forms, state


@click.command(epilog="Example: reconciler release edge-1 digits")
@click.argument("edge")
@click.argument("model")
@state
@forms
def command(*, edge: str, model: str, state_dir: Path, form: str) -> None:
    """Lift what is held back of MODEL (a model, dataset or object) on EDGE, and order it again."""
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    answer = ask(state_dir, "release", edge=edge, model=model)
    answered(form, "Release", answer, f"released {model} on {edge}: {counted(answer['counts'])}")
