"""`reconciler explain`: what a code, a field of a kind or a word of `status` means, and what to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import completing, forms

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError
    from reconciler.history.vocabulary import Word
    from reconciler.model.reference import Explained


MANY: Final = 4  # places of a field that are named


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


@click.command(epilog="Example: reconciler explain edge.spec.pins")
@click.argument("topic", required=False, shell_complete=completing("topics"))
@click.option(
    "--write",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the pages that are made of all this, phases.md and reference/fields.md, below this directory.",
)
@forms
def command(*, topic: str | None, directory: Path | None, form: str) -> None:
    """Explain TOPIC; without it, list all codes there are.

    TOPIC is a code as RX401, a kind or a field of one as Edge or edge.spec.pins (a kind by its name, plural or short
    name), or a phase, condition or reason that `status` or kubectl shows, as Staged.
    """
    from reconciler.errors import UsageError

    if directory is not None:
        if topic:
            raise UsageError("--write writes whole pages", hint="leave the topic out")
        _write(directory)
    elif topic is None:
        _list_codes(form)
    else:
        _explain(topic, form)


def _explain(topic: str, form: str) -> None:
    """What goes by this: a code, a word, a kind or its field. An edge has the first two alone, and no pydantic."""
    from reconciler.errors import NameUnknown
    from reconciler.history.vocabulary import words_like

    code = next((one for one in explanations() if one.code == topic.upper()), None)
    words = words_like(topic)
    if code is None and topic.upper().startswith("RX"):
        raise NameUnknown(f"there is no code {topic:.60}", hint="`reconciler explain` lists all there are")
    if form != "table":
        from reconciler.cli.output import write

        if code or words:
            write(form, *(("Explanations", {"codes": [code]}) if code else ("Words", {"words": words})))
        else:
            write(form, "Field", _field(topic))
    elif code:
        _show(code)
    elif words:
        _show_words(words)
    else:
        _show_field(_field(topic))


def _field(topic: str) -> "Explained":
    """The kind or field. Raises NameUnknown, with what was probably meant of all that can be explained."""
    from reconciler.errors import NameUnknown
    from reconciler.history.vocabulary import VOCABULARY
    from reconciler.model.fields import nearest
    from reconciler.model.reference import called, every, explained
    from reconciler.planning.kinds import models

    kinds = models()
    if "." in topic or topic.lower() in called(kinds):
        return explained(topic, kinds)
    places = [
        ".".join(((*row.short_names, row.name)[0].lower(), *one.path.split(".")[1:]))
        for row in kinds.values()
        for one in every(row)
        if one.path.rpartition(".")[2].lower() == topic.lower()
    ]
    if places:
        of_many = f", … ({len(places)} fields)" if len(places) > MANY else ""
        hint = f"did you mean {', '.join(places[:MANY])}{of_many}?"
        raise NameUnknown(f"{topic:.60} is the field of a kind", hint=hint)
    meant = nearest(topic, [*dict.fromkeys(one.word for one in VOCABULARY), *kinds])
    hint = f"did you mean {meant}?" if meant else "name a code as RX401, a field as edge.spec.pins, or a phase"
    raise NameUnknown(f"nothing is called {topic!a:.60}", hint=hint)


def _list_codes(form: str) -> None:
    every = explanations()
    if form != "table":
        from reconciler.cli.output import write

        write(form, "Explanations", {"codes": every})
    else:
        from reconciler.cli.draw import table

        table(("CODE", "NAME", "EXIT"), ((one.code, one.name, str(one.exit_code)) for one in every))


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


def _show_words(words: "list[Word]") -> None:
    from reconciler.cli.draw import line

    for number, one in enumerate(words):
        line("\n" * bool(number) + f"{one.word} ({one.of})", "bold")
        line(f"\n{one.meaning}\n")
        line(f"needs: {one.needs}")


def _show_field(found: "Explained") -> None:
    """The field as a person reads it, and its own fields one level down."""
    from reconciler.cli.draw import line, table
    from reconciler.cli.reference import as_yaml, traits

    line(found.path, "bold")
    line(traits(found))
    line(f"\n{found.description}")
    if found.refused:
        line("")
        for message in found.refused:
            line(f"refused: {message}")
    if found.example is not None:
        line("\nexample:")
        line("\n".join(f"  {row}" for row in as_yaml(found.example).splitlines()))
    if found.fields:
        line("")
        columns = ("FIELD", "TYPE", "REQUIRED", "DEFAULT", "DESCRIPTION")
        rows = (
            (one.name, one.type, "yes" if one.required else "-", _default(one.default), one.description)
            for one in found.fields
        )
        table(columns, rows)


def _default(value: Any) -> str:
    from reconciler.cli.reference import default

    return default(value) or "-"


def _write(directory: Path) -> None:
    from reconciler.cli.reference import pages
    from reconciler.errors import UsageError

    made = pages()
    try:
        for name, text in made.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}") from error
    click.echo(f"{len(made)} files in {directory}", err=True)
