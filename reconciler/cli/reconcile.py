"""`reconciler reconcile`: look now."""

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where


@click.command(epilog="Example: reconciler reconcile im/digits-edge-1 --wait")
@click.argument("scope", required=False)
@click.option("--wait", is_flag=True, help="Until it was looked at and what differs was ordered; tell what that was.")
@where
@forms
def command(*, scope: str | None, wait: bool, where: Where, form: str) -> None:
    """Have the running reconciler look now at SCOPE instead of at its next change or audit.

    SCOPE is an edge, or an object as im/faces or InferenceModel/default/faces; without one, the repository and
    everything.
    """
    from reconciler.cli.scopes import scope_of
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.timeline import counted

    spelled = [*(["--wait"] if wait else []), *(["--", scope] if scope else [])]
    answer = ask(where, "reconcile", spelled, scope=scope_of(scope), wait=wait)
    if not wait:
        answered(
            form, "Reconciliation", {"scope": scope or "*", "asked": True}, f"it looks at {scope or 'everything'} now"
        )
        return
    held = f"; the plan is held: {answer['held']}" if answer.get("held") else ""
    words = f"looked at {scope or 'everything'}: {counted(answer['counts'])}{held}"
    answered(form, "Reconciliation", {"scope": scope or "*", **answer}, words)
