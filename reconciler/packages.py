"""Which packages serve what, and how one that is not installed is had. May import: errors.

A plain install is the command line and the hub, `[onnx]` adds the runtime, and an edge's has what an edge needs and no
more (docs/install.md). So a package may be missing where nothing is broken: whatever needs it names it.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final, NamedTuple

from reconciler import __version__
from reconciler.errors import MachineUnfit

SAID: Final = 3  # missing packages that are named; what brings them is the same for all
# import name -> the name under which it is installed, where they differ
NAMES: Final = {"git": "gitpython", "prometheus_client": "prometheus-client", "ruamel": "ruamel.yaml", "yaml": "pyyaml"}


class Part(NamedTuple):
    """Packages that come together. modules: as they are imported.  had: how they are installed, as a sentence."""

    modules: tuple[str, ...]
    had: str

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed, by the names under which they would be. Nothing is imported."""
        return tuple(NAMES.get(name, name) for name in self.modules if find_spec(name) is None)

    def require(self, what: str, *modules: str) -> None:
        """Raises MachineUnfit where one is missing. what: whatever needs it, as the subject of a sentence.

        modules: which of them it needs; all where none is named.
        """
        if missing := self._replace(modules=modules or self.modules).missing:
            raise _unfit(what, missing, self.had)


# The release by its file: the name alone belongs to somebody else in the public registry.
WHEEL: Final = f"reconciler-{__version__}-py3-none-any.whl"
AGENT: Final = Part(("click", "msgspec"), f"`pip install {WHEEL}` brings what is missing")
RUNTIME: Final = Part(
    ("onnxruntime", "numpy", "starlette", "uvicorn"), f"`pip install '{WHEEL}[onnx]'` brings what is missing"
)
HUB: Final = Part(
    ("git", "prometheus_client", "pydantic", "rich", "ruamel", "watchdog", "yaml"),
    f"{AGENT.had}; an edge's install goes without",
)
CLUSTER: Final = Part(("httptools", "kubernetes"), HUB.had)
PARTS: Final = (AGENT, RUNTIME, HUB, CLUSTER)


def is_edges_install() -> bool:
    """Whether nothing is installed that a hub alone needs."""
    return len(HUB.missing) == len(HUB.modules)


def lacking(error: ModuleNotFoundError, command: str) -> MachineUnfit | None:
    """The failed import of a package as what `command` lacks; None where the module is ours or Python's: a bug."""
    name = (error.name or "").partition(".")[0]
    if not name or name == __package__ or name in sys.stdlib_module_names:
        return None
    had = next((part.had for part in PARTS if name in part.modules), AGENT.had)
    return _unfit(f"`{' '.join(('reconciler', *command.split()))}`", [NAMES.get(name, name)], had)


def _unfit(what: str, missing: Sequence[str], had: str) -> MachineUnfit:
    named = ", ".join(missing[:SAID])
    more = f" and {len(missing) - SAID} more" if len(missing) > SAID else ""
    are = "is" if len(missing) == 1 else "are"
    return MachineUnfit(f"{what} needs {named}{more}, which {are} not installed here", hint=had)
