"""`reconciler init`: a repository to begin with. The only command that needs nothing but a directory."""

import shutil
from pathlib import Path
from typing import Final

import click

from reconciler.cli.options import forms

PLACEHOLDER: Final = "http://127.0.0.1:8900"  # where the template's manifests say that artifacts lie
NOBODY: Final = ("reconciler init", "init@localhost")


@click.command(epilog="Example: reconciler init my-fleet && cd my-fleet && reconciler run --repo .")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--artifacts-url", metavar="URL", help="Where artifacts lie.  [default: DIR/artifacts, as a file URL]")
@forms
def command(directory: Path, artifacts_url: str | None, form: str) -> None:  # noqa: ARG001  # for errors
    """Begin a repository at DIR: a real model in two versions, for three edges of this machine, committed."""
    from reconciler import packages
    from reconciler.errors import UsageError

    packages.HUB.require("`reconciler init`", "git")  # before anything is written
    directory = directory.absolute()
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty", hint="name a directory that is empty or not there yet")
    try:
        shutil.copytree(_template(), directory, dirs_exist_ok=True)
        _point_artifacts_at(directory, artifacts_url or (directory / "artifacts").as_uri())
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}") from error
    is_known = _first_commit(directory)
    click.echo(f"{directory} is a Git repository with its first commit.\n\nNext:", err=True)
    for line in (f"cd {directory}", "reconciler run --repo .", "reconciler status        # in a second terminal"):
        click.echo(f"  {line}")
    if not is_known:
        click.echo("\nGit does not know your name yet; commits, `pin` and `rollback` need it:", err=True)
        for line in ("git config --global user.name NAME", "git config --global user.email MAIL"):
            click.echo(f"  {line}")


def _template() -> Path:
    """The template beside a checkout, or packaged with the product."""
    package = Path(__file__).parents[1]
    beside = package.parent / "repo-template"
    return beside if beside.is_dir() else package / "_template"


def _point_artifacts_at(directory: Path, url: str) -> None:
    """Rewrite the template's placeholder, byte by byte, in its manifests alone."""
    for path in sorted(directory.rglob("*.yaml")):
        text = path.read_bytes()
        if PLACEHOLDER.encode() in text:
            path.write_bytes(text.replace(PLACEHOLDER.encode(), url.rstrip("/").encode()))


def _first_commit(directory: Path) -> bool:
    """`git init` and one commit, under the user's name or, where none is configured, a neutral one.

    Whether the user's name is known.
    """
    from reconciler.errors import GitRefused, GitUnavailable
    from reconciler.sources.commit import author
    from reconciler.sources.git import Git
    from reconciler.sources.git_safety import Remote

    remote = Remote.parse(str(directory))
    git = Git(directory=directory, remote=remote, global_config="")
    try:
        git.run("init", "--quiet", "--initial-branch=main", "--template=", ".")
        is_known = True
        try:
            name, _, mail = author(remote, directory).rpartition(" ")
        except GitRefused:
            is_known, (name, mail) = False, NOBODY
        git.run("-c", "core.autocrlf=false", "add", "--force", "--all", ".")
        who = ("-c", f"user.name={name}", "-c", f"user.email={mail.strip('<>')}")
        git.run(*who, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", "Begin the fleet")
    except GitUnavailable:
        shutil.rmtree(directory / ".git", ignore_errors=True)
        raise
    return is_known
