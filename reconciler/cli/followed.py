"""Which repository a command is about. May import: settings, control_socket, edge.paths.

In: options and variables; else what the running reconciler of the state directory follows; else the work tree that the
command was called in.  Out: Settings.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.settings import Settings


def names_a_repository(said: Mapping[str, str | None]) -> bool:
    """Whether a repository is meant: by option or variable, or because this is a work tree."""
    here = Path.cwd()
    named = said.get("repo") or os.environ.get("RECONCILER_REPO")
    return bool(named) or any((place / ".git").exists() for place in (here, *here.parents))


def followed(state_dir: Path, *, repo: str | None, branch: str | None, path: str | None, **world: Any) -> "Settings":
    """The settings for looking at the followed repository, or changing it. Raises SettingInvalid, UsageError."""
    from reconciler.errors import UsageError
    from reconciler.sources.place import root_of

    options: dict[str, Any] = {"repo": repo, "branch": branch, "path": path, "state_dir": state_dir, **world}
    if not repo and not os.environ.get("RECONCILER_REPO"):
        there = running(state_dir)
        options |= {name: options.get(name) or value for name, value in there.items()}
        if not there and (root := root_of(Path.cwd())) is not None:
            _require_read(state_dir, root)
            options["repo"] = str(root)
        if not options["repo"]:
            raise UsageError("which repository?", hint="add --repo REPO, or call this in your work tree")
    return settings_of(options)


def _require_read(state_dir: Path, tree: Path) -> None:
    """Refuse a work tree that nobody named, where a log has read another repository. Raises UsageError."""
    from reconciler.edge.paths import StateDirectory
    from reconciler.errors import UsageError
    from reconciler.sources.revision import revision
    from reconciler.wiring.past import opened

    if not StateDirectory(state_dir).hub.log.exists():
        return
    with opened(state_dir) as past:
        commit = past.replay.at().ref.commit
    if commit and not revision(commit, tree):
        raise UsageError(
            f"{tree} has no commit {commit[:12]}, the last one that the log in {state_dir} has read",
            hint="call this in the work tree of its repository (pull there first), or name a repository with --repo",
        )


def settings_of(options: dict[str, Any]) -> "Settings":
    """The settings in force; a local path is made absolute, so that every process means the same.

    Raises SettingInvalid for one that is within a repository, GitRefused for one that Git will not read.
    """
    from reconciler.settings import Settings

    settings = Settings.load(options, os.environ)
    place = Path(settings.repo.removeprefix("file://"))
    if place.is_dir():
        settings = settings.model_copy(update={"repo": str(place.resolve())})
        _require_root(place.resolve(), settings)
    return settings


def _require_root(place: Path, settings: "Settings") -> None:
    """Refuse a local directory that is not the root of a repository, before anything is read there.

    One that is none may be a disk that is not there yet: where a log has read it, it is waited for.
    """
    from reconciler.edge.paths import StateDirectory
    from reconciler.errors import SettingInvalid
    from reconciler.sources.place import root_of

    root = root_of(place)
    if root == place or (root is None and StateDirectory(Path(settings.state_dir)).hub.log.exists()):
        return
    if root is None:
        raise SettingInvalid(f"{place} is no Git repository", hint="name one, or make it one with `git init`")
    if place.is_relative_to(root / ".git") or not place.is_relative_to(root):
        raise SettingInvalid(f"{place} is within the repository of {root}", hint=f"use --repo {root}")
    inner = "/".join(part for part in (place.relative_to(root).as_posix(), settings.path.strip("/")) if part)
    raise SettingInvalid(f"{place} is a folder of the repository {root}", hint=f"use --repo {root} --path {inner}")


def running(state_dir: Path) -> dict[str, str]:
    """What the reconciler that runs there follows; {} when none does."""
    from reconciler import control_socket
    from reconciler.edge.paths import StateDirectory
    from reconciler.errors import HubUnreachable, WorldUnavailable

    try:
        said = control_socket.call(StateDirectory(state_dir).hub.control, {"verb": "status"})
    except (HubUnreachable, WorldUnavailable):
        return {}
    names = ("repo", "branch", "path", "context", "kubeconfig", "in_cluster")
    return {name: str(said[name]) for name in names if said.get(name)}
