"""`reconciler resume`: the end of a suspension."""

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler resume edge-1")
@click.argument("scope", required=False)
@where
@forms
def command(*, scope: str | None, where: Where, form: str) -> None:
    """Order again for SCOPE (an edge, an object, or everything) what was left out since `suspend`."""
    from reconciler.cli.scopes import scope_of
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    answer = ask(where, "resume", ["--", scope] if scope else [], scope=scope_of(scope))
    held = f"; plan {answer['digest']} is held: {answer['held']}" if answer["held"] else ""
    answered(form, "Resumption", answer, f"resumed {scope or 'everything'}: {counted(answer['counts'])}{held}")
