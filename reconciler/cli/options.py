"""The options that commands share, and what they mean. Imports click and light modules only.

In: the command line and the environment.  Out: paths and forms, to the commands.
"""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

FORMS: Final = ("table", "json", "yaml")
FORM: Final = "reconciler.form"  # keys of click's meta, which all contexts of one run share
COLOR: Final = "reconciler.color"
DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)")
UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds

Command = Callable[..., Any]


def _noted(key: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:  # noqa: ARG001  # click's signature
        ctx.meta[key] = value
        return value

    return callback


def wide_forms(command: Command) -> Command:
    """The same, and `wide`: the table with more columns, and times in full."""
    return forms(command, ("wide",))


def forms(command: Command, more: tuple[str, ...] = ()) -> Command:
    """--output and --color. The form is an argument of the command; errors take it too. more: further forms."""
    color = click.option(
        "--color",
        type=click.Choice(("auto", "always", "never")),
        default="auto",
        expose_value=False,
        is_eager=True,
        callback=_noted(COLOR),
        help="Whether to use colour; auto: on a terminal, unless NO_COLOR is set.",
    )
    form = click.option(
        "--output",
        "-o",
        "form",
        type=click.Choice((*FORMS, *more)),
        default="table",
        show_default=True,
        is_eager=True,
        callback=_noted(FORM),
        help="How the answer is written.",
    )
    return form(color(command))


def one_by_one(command: Command) -> Command:
    """--each, as `each`: what is alike is told one by one, in the table; in JSON it always is."""
    return click.option("--each", is_flag=True, help="Tell what is alike one by one.")(command)


def state(command: Command) -> Command:
    """--state, the machine's state directory, as `state_dir`: absolute, whether it is there or not."""
    return click.option(
        "--state",
        "state_dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar=["RECONCILER_STATE", "RECONCILER_STATE_DIR"],
        callback=_directory,
        help="The state directory of this machine.  [default: reconciler below $XDG_STATE_HOME]",
    )(command)


def _directory(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:  # noqa: ARG001  # click's signature
    if value is not None:
        return value.absolute()
    if ctx.resilient_parsing:  # a shell completes: nothing is looked at
        return None
    from reconciler.state_directory import default_state_dir

    return default_state_dir(os.environ)


class Duration(click.ParamType[float]):
    """Seconds, or a number with its unit: 90, 90s, 5m, 1h, 2d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        found = DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no duration: write 90, 90s, 5m, 1h or 2d", param, ctx)
        return float(found[1]) * UNITS[found[2]]


class Said(click.ParamType[str]):
    """Text that says something: what a variable that is not set leaves of an option would mean everything."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        if not str(value).strip():
            self.fail("it is empty: say something, or leave the option out", param, ctx)
        return str(value)


def _every(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str:  # noqa: ARG001  # click's signature
    """Conditions that were given one by one, as one selector."""
    return ",".join(value)


def where(command: Command) -> Command:
    """--state, --hub, --context, --kubeconfig and --namespace, as `where`: whom the command asks.

    None of them but --state has a variable: a command within the hub's Pod must mean the log beside it.
    """

    @functools.wraps(command)
    def placed(**options: Any) -> Any:
        from reconciler.cli.where import Where

        place = Where(
            options.pop("state_dir"),
            options.pop("hub") or "",
            options.pop("context") or "",
            options.pop("kubeconfig"),
            options.pop("namespace"),
            options.pop("on_behalf_of", None) or "",
            options.pop("hub_token_env") or "",
            options.pop("hub_token_file"),
        )
        if place.hub and place.in_cluster:
            raise _unmeant("--hub and --context name two hubs: keep one of them")
        if (place.token_env or place.token_file) and (not place.hub or (place.token_env and place.token_file)):
            raise _unmeant("a token belongs to --hub, and stands in one variable or one file")
        require_with("namespace", other="--context or --kubeconfig", is_there=place.in_cluster)
        return command(**options, where=place)

    placed_: Command = state(placed)
    for option in (
        click.option("--namespace", default="reconciler-system", show_default=True, help="Where that Pod is."),
        click.option(
            "--kubeconfig", type=click.Path(path_type=Path, dir_okay=False), help="The file that --context is in."
        ),
        click.option(
            "--context",
            metavar="NAME",
            shell_complete=completing("contexts"),
            help="The hub's Pod, through the API server of this context.",
        ),
        click.option(
            "--hub-token-file", type=click.Path(path_type=Path, dir_okay=False), help="The file with it instead."
        ),
        click.option(
            "--hub-token-env", metavar="NAME", help="The variable with the token that a proxy before --hub wants."
        ),
        click.option("--hub", metavar="URL", help="A hub elsewhere, as http://127.0.0.1:9484; it only answers."),
    ):
        placed_ = option(placed_)
    return placed_


def acting(command: Command) -> Command:
    """The same, of a command that writes: it may be done on behalf of whoever called another one that called it."""
    option = click.option("--actor", "on_behalf_of", hidden=True, help="Who asked, where another command calls this.")
    return option(where(command))


def _unmeant(message: str) -> Exception:
    from reconciler.errors import UsageError

    return UsageError(message)


def is_given(name: str) -> bool:
    """Whether the parameter of this name was typed."""
    from click.core import ParameterSource

    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def require_with(parameter: str, *, other: str, is_there: bool) -> None:
    """Refuse an option that means something only with another one. Raises UsageError."""
    if is_given(parameter) and not is_there:
        option = parameter.removesuffix("_s").replace("_", "-")
        raise _unmeant(f"--{option} says nothing without {other}")


def completing(what: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """How the shell completes a name. what: a function of cli.completing, which is imported when the shell asks."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG001  # click's signature
        from reconciler.cli import completing as completions

        found: list[Any] = completions.completed(what, ctx, incomplete)
        return found

    return complete


def names(command: Command) -> Command:
    """[EDGE] [MODEL], as `about`: {name} of one, {edge, model} of two."""

    @functools.wraps(command)
    def named(*, first: str | None, second: str | None, **options: Any) -> Any:
        about = {"edge": first, "model": second} if second else {"name": first} if first else {}
        return command(about=about, **options)

    model = click.argument("second", required=False, metavar="[MODEL]", shell_complete=completing("models"))
    edge = click.argument("first", required=False, metavar="[EDGE]", shell_complete=completing("names"))
    return edge(model(named))


def selector(command: Command) -> Command:
    """-l, --selector: which edges, by their labels in Git."""
    return click.option(
        "--selector",
        "-l",
        metavar="LABELS",
        type=Said(),
        multiple=True,
        callback=_every,
        shell_complete=completing("labels"),
        help="Only of edges with these labels in Git, as site=demo,ring!=canary; all of them where it is repeated.",
    )(command)


def chosen(command: Command) -> Command:
    """[EDGE] [MODEL], --selector, --failing and --waiting, as `about`: what a question is about."""

    @functools.wraps(command)
    def choosing(*, about: dict[str, str], selector: str, failing: bool, waiting: bool, **options: Any) -> Any:
        words = [word for word, is_meant in (("failing", failing), ("waiting", waiting)) if is_meant]
        return command(about=about | {"selector": selector, "standing": ",".join(words)}, **options)

    waits = click.option("--waiting", is_flag=True, help="Only what waits: for a time, a person, or its edge.")
    fails = click.option("--failing", is_flag=True, help="Only what is not as Git says by its own fault.")
    return names(selector(fails(waits(choosing))))


def cluster(command: Command) -> Command:
    """--kubeconfig, --context and --in-cluster: the cluster that is meant; none of them is none.

    --context alone is looked for where kubectl looks: $KUBECONFIG, ~/.kube/config.
    """
    for option in (
        click.option(
            "--in-cluster",
            is_flag=True,
            default=None,
            envvar="RECONCILER_IN_CLUSTER",
            help="Be the service account of the Pod that this runs in.",
        ),
        click.option(
            "--context",
            metavar="NAME",
            envvar="RECONCILER_CONTEXT",
            shell_complete=completing("contexts"),
            help="The context of a kubeconfig.",
        ),
        click.option(
            "--kubeconfig",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="RECONCILER_KUBECONFIG",
            help="The file that names the cluster.  [default: none, edges are kept without Kubernetes]",
        ),
    ):
        command = option(command)
    return command


def repository(command: Command) -> Command:
    """--repo, --branch and --path, as given or from RECONCILER_*; None where nobody said."""
    for option in (
        click.option("--path", envvar="RECONCILER_PATH", help="The folder of it that is read.  [default: all]"),
        click.option("--branch", envvar="RECONCILER_BRANCH", help="The branch that is followed.  [default: main]"),
        click.option("--repo", envvar="RECONCILER_REPO", help="The repository: an https or ssh URL, or a local path."),
    ):
        command = option(command)
    return command
