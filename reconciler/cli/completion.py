"""`reconciler completion`: the shell finishes commands and options."""

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_RECONCILER_COMPLETE"


@click.command(epilog='Example: eval "$(reconciler completion bash)"')
@click.argument("shell", type=click.Choice(SHELLS))
def command(*, shell: str) -> None:
    """Print the script that makes SHELL complete this command."""
    from click.shell_completion import ShellComplete, get_completion_class

    from reconciler.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click knows the three
    if shell == "bash":  # to which MODEL@VERSION is two words else
        click.echo("COMP_WORDBREAKS=${COMP_WORDBREAKS//@/}")
    click.echo(ShellComplete.source(kind(cli, {}, "reconciler", VARIABLE)))  # not bash's own, which starts a shell
