"""`reconciler release`: try a quarantined version again."""

import click

from reconciler.cli.options import acting, forms, names
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler release edge-1 digits")
@names
@acting
@forms
def command(*, about: dict[str, str], where: Where, form: str) -> None:
    """Lift what is held back of MODEL (a model, dataset or object) on EDGE, and order it again.

    An edge alone is all of it that is held back; a model alone is wherever it is.
    """
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    if not about:
        raise click.UsageError("of what? Name an edge, what is on it, or both")
    answer = ask(where, "release", ["--", *about.values()], **about)
    what = f"{about['model']} on {about['edge']}" if len(about) > 1 else about["name"]
    answered(form, "Release", answer, f"released {what}: {counted(answer['counts'])}")
