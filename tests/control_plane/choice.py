"""Which control plane a machine gets: a pure function over its environment.

An existing cluster is taken only when RECONCILER_TEST_KUBECONFIG names it: tests delete what they find, so that
KUBECONFIG and the default file, which mean a person's own clusters, are never read.

In: environment variables, and two questions about the machine.  Out: a `Choice` with its reason.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

KUBECONFIG: Final = "RECONCILER_TEST_KUBECONFIG"
KIND: Final = "RECONCILER_TEST_KIND"
ASSETS: Final = "KUBEBUILDER_ASSETS"
NEEDED: Final = ("etcd", "kube-apiserver")


class Origin(StrEnum):
    """Where a control plane comes from, in the order of choice."""

    EXISTING = "existing"
    KIND = "kind"
    ASSETS = "assets"
    BUILT = "built"


class Choice(NamedTuple):
    """path: the kubeconfig of an existing cluster, or the directory of assets. not_kind: why `kind` was passed over."""

    origin: Origin
    path: Path = Path()
    not_kind: str = ""


def choose(environment: Mapping[str, str], why_not_kind: Callable[[], str]) -> Choice:
    """The control plane for this environment.

    why_not_kind() says what `kind` lacks here, "" when it can start without fetching anything. Raises
    FileNotFoundError where a variable names something that is not there: a wrong name never falls through to another.
    """
    if named := environment.get(KUBECONFIG):
        if not (path := Path(named)).is_file():
            raise FileNotFoundError(f"{KUBECONFIG} names {named}, which is no file")
        return Choice(Origin.EXISTING, path)
    asked = environment.get(KIND, "")
    not_kind = f"{KIND}={asked}" if asked == "0" else "" if asked == "1" else why_not_kind()
    if not not_kind:
        return Choice(Origin.KIND)
    if named := environment.get(ASSETS):
        directory = Path(named)
        if lacking := [name for name in NEEDED if not (directory / name).is_file()]:
            raise FileNotFoundError(f"{ASSETS} names {named}, where {' and '.join(lacking)} cannot be found")
        return Choice(Origin.ASSETS, directory, not_kind)
    return Choice(Origin.BUILT, not_kind=not_kind)
