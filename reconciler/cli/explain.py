"""`reconciler explain`: what a code means and what to do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import completing, forms

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError


@dataclass(frozen=True)
class Explanation:
    """One code. exit_code: of a command that ends with it.  retried: by itself.  retry: when, in words."""

    code: str
    name: str
    meaning: str
    help: str
    exit_code: int
    retried: bool
    retry: str


@click.command(epilog="Example: reconciler explain RX401")
@click.argument("code", required=False, shell_complete=completing("codes"))
@forms
def command(*, code: str | None, form: str) -> None:
    """Explain CODE, the RX… of an error or problem; without it, list all there are."""
    from reconciler.errors import NameUnknown

    known = {one.code: one for one in explanations()}
    found = known.get(code.upper()) if code else None
    if code and found is None:
        raise NameUnknown(f"there is no code {code}", hint="`reconciler explain` lists all there are")
    if form != "table":
        from reconciler.cli.output import write

        write(form, "Explanations", {"codes": [found] if found else list(known.values())})
    elif found:
        _show(found)
    else:
        from reconciler.cli.draw import table

        table(("CODE", "NAME", "EXIT"), ((one.code, one.name, str(one.exit_code)) for one in known.values()))


def explanations() -> list[Explanation]:
    """Every code, in order."""
    from reconciler.errors import DIAGNOSTICS, RepositoryRefused, error_classes

    refused = RepositoryRefused.exit_code
    words = RepositoryRefused.retry.value
    problems = [
        Explanation(code, name, meaning, RepositoryRefused.hint, refused, retried=False, retry=words)
        for code, (name, meaning) in DIAGNOSTICS.items()
    ]
    return sorted([*(_of(cls) for cls in error_classes()), *problems], key=lambda one: one.code)


def _of(cls: "type[ReconcilerError]") -> Explanation:
    from reconciler.engine.retry import PACES

    meaning = " ".join((cls.__doc__ or "").split())
    retried = cls.retry in PACES
    return Explanation(cls.code, cls.__name__, meaning, cls.hint, cls.exit_code, retried, cls.retry.value)


def _show(found: Explanation) -> None:
    from reconciler.cli.draw import line

    line(f"{found.code} {found.name}", "bold")
    line(f"\n{found.meaning}\n")
    line(f"help: {found.help}")
    line(f"exit code: {found.exit_code}; tried again: {found.retry}")
