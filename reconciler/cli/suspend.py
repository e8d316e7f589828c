"""`reconciler suspend`: order nothing for a while."""

import click

from reconciler.cli.options import forms, where
from reconciler.cli.where import Where


@click.command(epilog='Example: reconciler suspend edge-1 --reason "is being moved" --until 2026-12-01T08:00:00Z')
@click.argument("scope", required=False)
@click.option("--reason", required=True, help="Why: whoever wonders later reads it in `status` and `history`.")
@click.option("--until", metavar="TIME", help="When it ends by itself (RFC 3339, UTC).  [default: at `resume`]")
@where
@forms
def command(*, scope: str | None, reason: str, until: str | None, where: Where, form: str) -> None:
    """Order nothing more for SCOPE: an edge, an object as im/faces or InferenceModel/default/faces, or everything.

    What serves keeps serving; what was ordered already is carried out; edges still look after themselves.
    """
    from reconciler.cli.scopes import scope_of
    from reconciler.cli.verbs import answered, ask
    from reconciler.history.times import shown
    from reconciler.web.moments import ahead, moment

    ends = ahead(moment(until), f"--until {until}") if until else ""
    spelled = ["--reason", reason, *(["--until", ends] if ends else []), *(["--", scope] if scope else [])]
    ask(where, "suspend", spelled, scope=scope_of(scope), reason=reason, until=ends)
    answer = {"scope": scope or "*", "reason": reason, "until": ends}
    until = f" until {shown(ends)}" if ends else ""
    end = "reconciler resume" + (f" {scope}" if scope else "")
    answered(form, "Suspension", answer, f"suspended {scope or 'everything'}{until}; `{end}` ends it")
