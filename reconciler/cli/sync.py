"""`reconciler sync`: look at the repository now."""

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler sync && reconciler history --follow")
@where
@forms
def command(*, where: Where, form: str) -> None:
    """Have the running reconciler look at its repository now instead of at its next poll."""
    from reconciler.cli.verbs import answered, ask

    ask(where, "sync", [])
    answered(form, "Synchronisation", {"asked": True}, "it looks at the repository now")
