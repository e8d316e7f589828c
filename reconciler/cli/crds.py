"""`reconciler crds`: the kinds, as Kubernetes takes them, and their way into a cluster and out of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import cluster, forms

if TYPE_CHECKING:
    from reconciler.kube.admin.crd_install import Done
    from reconciler.kube.client.api import Api


def _account(command: Callable[..., Any]) -> Callable[..., Any]:
    """--namespace and --account: who the reconciler is in a cluster."""
    command = click.option("--account", help="Its service account there.  [default: reconciler]")(command)
    said = "The namespace that the reconciler runs in.  [default: reconciler-system]"
    return click.option("--namespace", help=said)(command)


@click.group(invoke_without_command=True, epilog="Example: reconciler crds | kubectl apply -f -")
@click.option(
    "--write", "directory", type=click.Path(path_type=Path, file_okay=False), help="Write one file a kind here."
)
@forms
@click.pass_context
def command(ctx: click.Context, *, directory: Path | None, form: str) -> None:
    """Print the CustomResourceDefinitions of every kind, as YAML or one JSON list, or write them to a directory."""
    if ctx.invoked_subcommand is not None:
        return
    from reconciler.errors import UsageError
    from reconciler.model.crds import crds
    from reconciler.planning.kinds import models

    made = crds(models().values())
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


@command.command(
    short_help="Install the kinds in a cluster, or upgrade them.",
    epilog="Example: reconciler crds apply --context kind-fleet",
)
@click.option(
    "--take-over", is_flag=True, help="Also where another field manager, such as kubectl, has installed them."
)
@cluster
@forms
def apply(*, take_over: bool, form: str, **cluster: Any) -> None:
    """Install the kinds in a cluster, or upgrade them, and wait until each is served.

    Refused, with nothing changed, where stored objects would lose a field or a value that this release does not know.
    """
    from reconciler.kube.admin.crd_install import install

    with _opened(**cluster) as api:
        done = install(api, _progress(form), take_over=take_over)
    _told(form, done)


@command.command(epilog="Example: reconciler crds remove --context kind-fleet --confirm 12")
@click.option("--confirm", type=int, metavar="N", help="How many objects are deleted with them, as the refusal says.")
@click.option(
    "--take-over", is_flag=True, help="Also where another field manager, such as kubectl, has installed them."
)
@cluster
@forms
def remove(*, confirm: int | None, take_over: bool, form: str, **cluster: Any) -> None:
    """Take the kinds out of a cluster. Every object of them goes too: refused until their number is confirmed."""
    from reconciler.kube.admin.crd_install import remove as taken_out

    with _opened(**cluster) as api:
        done = taken_out(api, _progress(form), confirmed=confirm, take_over=take_over)
    _told(form, done)


@command.command(
    short_help="Print what to grant to the reconciler.",
    epilog="Example: reconciler crds roles --namespace edge | kubectl apply -f -",
)
@_account
def roles(*, namespace: str | None, account: str | None) -> None:
    """Print the service account, roles and bindings that the reconciler needs in a cluster, and no more."""
    from reconciler.kube.admin.rbac import ACCOUNT, NAMESPACE
    from reconciler.kube.admin.rbac import roles as made

    click.echo(made(namespace or NAMESPACE, account or ACCOUNT), nl=False)


@command.command(
    short_help="Make a kubeconfig for an account of its own.",
    epilog="Example: reconciler crds kubeconfig fleet.kubeconfig --context kind-fleet",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_account
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="How long it is to be good.")
@click.option("--replace", is_flag=True, help="Write over FILE, as to renew it.")
@cluster
def kubeconfig(
    *, file: Path, namespace: str | None, account: str | None, days: int, replace: bool, **cluster: Any
) -> None:
    """Make a kubeconfig for an account of its own that has the rights of `crds roles` and no more, as FILE.

    For a reconciler beside the cluster: `reconciler run --kubeconfig FILE`. Name the cluster as somebody who may make
    roles there: account, roles and bindings are made, or brought up to date. FILE is for its owner's eyes, and holds a
    token that ends.
    """
    from reconciler.kube.admin.account import kubeconfig as made
    from reconciler.kube.admin.account import write
    from reconciler.kube.admin.rbac import ACCOUNT, NAMESPACE

    home, name = namespace or NAMESPACE, account or ACCOUNT
    with _opened(**cluster) as api, write(file, replace=replace) as into:
        document, expires = made(api, home, name, seconds=days * 86_400)
        into(document)
    click.echo(f"{file}: account {home}/{name} at {api.connection.server}, good until {expires}", err=True)
    again = f"reconciler crds kubeconfig {file} --replace"
    click.echo(f"give it to `reconciler run --kubeconfig {file}`; before it ends, `{again}` renews it", err=True)


@contextmanager
def _opened(*, kubeconfig: Path | None, context: str | None, in_cluster: bool | None) -> "Iterator[Api]":
    """The cluster that is named; where none is, kubectl's current one is not meant either."""
    from reconciler.errors import UsageError
    from reconciler.kube.client.api import Api
    from reconciler.kube.client.connection import Connection

    if not (kubeconfig or context or in_cluster):
        raise UsageError("no cluster is named", hint="name one by --context, --kubeconfig or --in-cluster")
    connection = Connection.open(kubeconfig=kubeconfig, context=context or "", in_cluster=bool(in_cluster))
    try:
        yield Api(connection)
    finally:
        connection.close()


def _told(form: str, done: Iterable["Done"]) -> None:
    """The whole answer; as a table it was told kind by kind."""
    if form != "table":
        from reconciler.cli.output import write

        write(form, "Kinds", {"kinds": [one._asdict() for one in done]})


def _progress(form: str) -> "Callable[[Done], None]":
    """A line a kind, as it is done: the answer itself, or beside an answer in JSON on stderr."""

    def told(one: "Done") -> None:
        lost = f", with {one.objects} objects" if one.objects else ""
        click.echo(f"{one.kind}: {one.did}{lost}", err=form != "table")

    return told


def _print_list(made: Mapping[str, str]) -> None:
    """All of them as the one object that `kubectl apply` takes."""
    import json

    import yaml

    items = [yaml.safe_load(text) for text in made.values()]
    click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2, ensure_ascii=False))
