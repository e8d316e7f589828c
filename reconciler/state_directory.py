"""The state directory that nobody named. May import: errors; nothing heavy, for every command asks, also on an edge."""

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.errors import SettingInvalid


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Where state is kept unless a setting says otherwise (XDG Base Directory Specification 0.8).

    Raises SettingInvalid for a user without a home.
    """
    given = environ.get("XDG_STATE_HOME", "")
    if given.startswith("/"):
        return Path(given) / "reconciler"
    try:
        return Path(environ.get("HOME") or "~").expanduser() / ".local" / "state" / "reconciler"
    except RuntimeError as error:
        raise SettingInvalid(
            "this user has no home directory to keep state in: HOME is not set",
            hint="name a directory by --state, or by the variable RECONCILER_STATE or XDG_STATE_HOME",
        ) from error


def by_variable(state_dir: Path) -> str:
    """That a variable names this directory, said behind it: whoever set it may have forgotten; "" where none does."""
    said = os.environ.get("RECONCILER_STATE", "")
    return " (RECONCILER_STATE names it)" if said and Path(said).absolute() == state_dir else ""
