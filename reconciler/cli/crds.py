"""`reconciler crds`: the kinds, as Kubernetes takes them."""

from collections.abc import Mapping
from pathlib import Path

import click

from reconciler.cli.options import forms


@click.command(epilog="Example: reconciler crds | kubectl apply -f -")
@click.option(
    "--write", "directory", type=click.Path(path_type=Path, file_okay=False), help="Write one file a kind here."
)
@forms
def command(*, directory: Path | None, form: str) -> None:
    """Print the CustomResourceDefinitions of every kind, as YAML or one JSON list, or write them to a directory."""
    from reconciler.errors import UsageError
    from reconciler.model.crds import crds

    made = crds()
    if directory is None and form == "json":
        _print_list(made)
        return
    if directory is None:
        click.echo("---\n".join(made.values()), nl=False)
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (directory / name).write_text(text)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}") from error
    click.echo(f"{len(made)} files in {directory}", err=True)


def _print_list(made: Mapping[str, str]) -> None:
    """All of them as the one object that `kubectl apply` takes."""
    import json

    import yaml

    items = [yaml.safe_load(text) for text in made.values()]
    click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2, ensure_ascii=False))
