"""`reconciler approve`: let a held plan through."""

import click

from reconciler.cli.options import acting, completing, forms
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler approve 8fa92929ab7c1c0e")
@click.argument("digest", shell_complete=completing("plans"))
@acting
@forms
def command(*, digest: str, where: Where, form: str) -> int:
    """Release the held plan DIGEST (`reconciler plan` shows it). A plan with other steps has another digest.

    Exit code 5: what would be done has changed meanwhile, and that plan is held.
    """
    from reconciler.cli.verbs import answered, ask
    from reconciler.errors import PlanHeld
    from reconciler.history.timeline import counted

    answer = ask(where, "approve", ["--", digest], digest=digest)
    if answer["held"]:
        raise PlanHeld(f"the plan is now {answer['digest']}: {answer['held']}")
    answered(form, "Approval", answer, f"released plan {digest}: {counted(answer['counts'])}")
    return 0
