"""What people tell a reconciler to do: by its control socket, or, where none runs, on its log. May import: controller.

In: a verb with its words.  Out: the answer of the same code either way. Who asked is written down with it.
"""

import getpass
import os
import socket
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 90.0


def actor() -> str:
    """`user@host` of whoever runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this id: a bare container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def ask(state_dir: Path, verb: str, **words: Any) -> dict[str, Any]:
    """The answer to a verb. Raises HubUnreachable where there is neither a hub nor its log, else what it raised."""
    from reconciler.controller import control
    from reconciler.edge.paths import StateDirectory
    from reconciler.errors import HubUnreachable
    from reconciler.wiring.preview import alone

    request = {"verb": verb, "actor": actor()} | {name: value for name, value in words.items() if value}
    home = StateDirectory(state_dir).hub
    if not home.log.exists():
        raise HubUnreachable(f"there is no log at {home.log}")
    try:
        return control.call(home.control, request, PATIENCE_S)
    except HubUnreachable:
        return alone(state_dir, request)


def answered(form: str, kind: str, answer: dict[str, Any], words: str) -> None:
    """Say what was done: words for people, else the answer itself."""
    if form == "table":
        from reconciler.cli.draw import line

        line(words)
        return
    from reconciler.cli.output import write

    write(form, kind, answer)
