"""The control plane of this machine, started.

In: the environment.  Out: a `ControlPlane`; who asks for it stops it.
"""

import os
from collections.abc import Callable, Mapping

from tests.control_plane import kind, programs
from tests.control_plane.choice import Choice, Origin, choose
from tests.control_plane.local import LocalControlPlane
from tests.control_plane.plane import ControlPlane


def chosen(environment: Mapping[str, str] = os.environ) -> Choice:
    return choose(environment, kind.why_not)


def prepare(say: Callable[[str], None] = print) -> Choice:
    """Builds what starting needs, which takes minutes once. Raises programs.CannotBuild."""
    choice = chosen()
    if choice.origin is Origin.BUILT:
        programs.programs(say)
    return choice


def start(*, audit: bool = False, fsync: bool = False) -> ControlPlane:
    """audit: keep who sent what, where the control plane is ours. fsync: etcd as durable as in production."""
    choice = prepare()
    if choice.origin is Origin.EXISTING:
        return ControlPlane(choice.path)
    if choice.origin is Origin.KIND:
        return kind.start()
    directory = choice.path if choice.origin is Origin.ASSETS else programs.programs()
    return LocalControlPlane.start(directory, origin=choice.origin.value, audit=audit, fsync=fsync)
