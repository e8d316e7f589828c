"""`reconciler resume`: the end of a suspension."""

from functools import partial

import click

from reconciler.cli.options import acting, forms, names
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler resume edge-1")
@partial(names, completes="suspended")
@acting
@forms
def command(*, about: dict[str, str], where: Where, form: str) -> None:
    """Order again for EDGE, or of MODEL on it, what was left out since `suspend`; without a name, for everything."""
    from reconciler.cli.verbs import answered, ask, scope_of, spelled_out
    from reconciler.history.timeline import counted

    answer = ask(where, "resume", spelled_out(about), **scope_of(about))
    held = f"; plan {answer['digest']} is held: {answer['held']}" if answer["held"] else ""
    answered(
        form,
        "Resumption",
        answer,
        f"resumed {' '.join(about.values()) or 'everything'}: {counted(answer['counts'])}{held}",
    )
