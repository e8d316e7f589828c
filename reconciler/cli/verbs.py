"""What people tell a reconciler to do: by its control socket, or, where none runs, on its log; or in the hub's Pod.

May import: engine, kube. In: a verb with its words.  Out: the answer of the same code wherever it is done. Who
asked is written down with it.
"""

import getpass
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler import control_socket
from reconciler.diagnostics import printable
from reconciler.edge.paths import StateDirectory
from reconciler.errors import ApiUnavailable, HubUnreachable, UsageError
from reconciler.eventlog.lock import is_held
from reconciler.state_directory import by_variable

if TYPE_CHECKING:
    from reconciler.cli.where import Where

PATIENCE_S: Final = 90.0
RUNNING: Final = frozenset({"reconcile"})  # verbs that mean nothing where no reconciler runs


def actor() -> str:
    """`user@host` of whoever runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this id: a bare container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def ask(where: "Where", verb: str, spelled: Sequence[str], **words: Any) -> dict[str, Any]:
    """The answer to a verb. spelled: its options and arguments, as the command line in a Pod takes them.

    Raises HubUnreachable where there is neither a hub nor its log, UsageError with --hub, else what it raised there.
    A hub that was named is never replaced by this machine's log.
    """
    if where.hub:
        hint = "with --context NAME it is done in the hub's Pod; else call it on the hub's own machine"
        raise UsageError(f"--hub {where.hub} only answers: it cannot {verb}", hint=hint)
    if where.in_cluster:
        return _in_pod(where, [verb, "--actor", where.actor or actor(), "--output", "json", *spelled])
    return ask_here(where.state_dir, verb, **{"actor": where.actor} | words)


def _in_pod(where: "Where", spelled: Sequence[str]) -> dict[str, Any]:
    """Run the command beside the hub, and take what it answered, or its error."""
    from reconciler.kube.admin.hub_pod import Pod

    with Pod.of_hub(where.context, where.kubeconfig, where.namespace) as pod:
        ran = pod.run(["reconciler", *spelled])
        said = ran.err if ran.code else ran.out
        try:
            answer = json.loads(said.strip().splitlines()[-1] if ran.code else said)
            if ran.code == 0:
                return dict(answer)
            error = control_socket.revived(answer)
        except (ValueError, KeyError, TypeError, IndexError):
            what = f"`reconciler {spelled[0]}` in the Pod {pod.namespace}/{pod.name} failed"
            why = ran.said or printable(said.strip())[-300:] or f"exit code {ran.code}"
            raise ApiUnavailable(f"{what}: {why}", unknown=True) from None
    raise error


def ask_here(state_dir: Path, verb: str, **words: Any) -> dict[str, Any]:
    """The same on this machine."""
    from reconciler.wiring.preview import alone

    request = {"verb": verb, "actor": actor()} | {name: value for name, value in words.items() if value}
    home = StateDirectory(state_dir).hub
    if not home.log.exists():
        raise HubUnreachable(f"there is no log at {home.log}{by_variable(state_dir)}")
    try:
        return control_socket.call(home.control, request, PATIENCE_S)
    except HubUnreachable:
        if verb in RUNNING or is_held(home.log):  # it runs, and did not answer in time
            raise
        return alone(state_dir, request)


def scope_of(about: Mapping[str, str]) -> dict[str, str]:
    """What a verb is about, as the hub takes it: `*` is everything; what a name means is decided there."""
    return {"scope": about.get("name") or about.get("edge") or "*", "model": about.get("model", "")}


def spelled_out(about: Mapping[str, str]) -> list[str]:
    """The same as the command line takes it."""
    return ["--", *about.values()] if about else []


def answered(form: str, kind: str, answer: dict[str, Any], words: str) -> None:
    """Say what was done: words for people, else the answer itself. What cannot be said is done all the same."""
    try:
        if form == "table":
            from reconciler.cli.draw import line

            line(words)
        else:
            from reconciler.cli.output import write

            write(form, kind, answer)
        sys.stdout.flush()
    except OSError as error:
        error.add_note(f"this is done: {printable(words)}")  # told by the guard in cli.main
        raise
