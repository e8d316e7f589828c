"""`reconciler suspend`: order nothing for a while."""

import click

from reconciler.cli.options import Said, acting, forms, names
from reconciler.cli.where import Where


@click.command(epilog='Example: reconciler suspend edge-1 digits --reason "is being measured" --until 2h')
@names
@click.option(
    "--reason", type=Said(), required=True, help="Why: whoever wonders later reads it in `status` and `history`."
)
@click.option("--until", metavar="TIME", help="When it ends by itself.  [default: at `resume`]")
@acting
@forms
def command(*, about: dict[str, str], reason: str, until: str | None, where: Where, form: str) -> None:
    """Order nothing more for EDGE, or of MODEL on it (a model, dataset or object); without a name, for everything.

    What serves keeps serving; what was ordered already is carried out; edges still look after themselves. TIME is 90m,
    1h or 2d from now, tomorrow, a date or RFC 3339, in UTC where it names no zone.
    """
    from reconciler.cli.verbs import answered, ask, scope_of, spelled_out
    from reconciler.history.times import shown
    from reconciler.web.moments import ahead, moment

    ends = ahead(moment(until, ahead=True), f"--until {until}") if until else ""
    spelled = ["--reason", reason, *(["--until", ends] if ends else []), *spelled_out(about)]
    ask(where, "suspend", spelled, **scope_of(about), reason=reason, until=ends)
    what = " ".join(about.values())
    answer = {"scope": what or "*", "reason": reason, "until": ends}
    until = f" until {shown(ends)}" if ends else ""
    end = "reconciler resume" + (f" {what}" if what else "")
    answered(form, "Suspension", answer, f"suspended {what or 'everything'}{until}; `{end}` ends it")
