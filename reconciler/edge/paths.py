"""Paths of the state directory of one machine. Imports nothing of ours."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The directory of one process that has a log: the hub's, or one edge's."""

    directory: Path

    @property
    def log(self) -> Path:
        """The event log."""
        return self.directory / "log.db"

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.directory / "control.sock"

    @property
    def store(self) -> Path:
        """Artifacts, by digest."""
        return self.directory / "store"

    @property
    def services(self) -> Path:
        """Slots and runtimes, by key."""
        return self.directory / "services"

    @property
    def output(self) -> Path:
        """What the process prints when it runs by itself."""
        return self.directory / "output.log"


@dataclass(frozen=True)
class StateDirectory:
    """Everything that one machine keeps: hub/ and edges/<name>/; mirror.git and the caches can be deleted."""

    root: Path

    @property
    def hub(self) -> Home:
        """The hub's own directory."""
        return Home(self.root / "hub")

    @property
    def mirror(self) -> Path:
        """The bare copy of the followed repository; made again when missing."""
        return self.root / "mirror.git"

    @property
    def cache(self) -> Path:
        """Parsed documents by blob id; made again when missing."""
        return self.root / "cache.db"

    def edge(self, name: str) -> Home:
        """One edge's own directory."""
        return Home(self.root / "edges" / name)
