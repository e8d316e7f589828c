"""A log for whoever looks and does not run, put together. In: a state directory.  Out: `Past`.

Reading alone needs few modules, so that `status` answers at once; what reads documents is imported where asked for.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.edge.paths import Home, StateDirectory
from reconciler.errors import HubUnreachable
from reconciler.eventlog.lock import is_held
from reconciler.eventlog.reader import SqliteReader
from reconciler.eventlog.replay import Replay
from reconciler.history.events import Entry, rfc3339
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.state_directory import by_variable

if TYPE_CHECKING:
    from reconciler.planning.desired import Expansion
    from reconciler.sources.repository import DocumentRepository


class Past(NamedTuple):
    """A log, open for reading, whoever writes it."""

    log: SqliteReader
    replay: Replay
    home: Home
    place: StateDirectory

    @property
    def is_written(self) -> bool:
        """Whether a process writes this log right now."""
        return is_held(self.home.log)

    def stream(self, name: str) -> Iterator[Entry]:
        """The entries of one stream."""
        return self.log.read(stream=name)

    def asked(self, state: State, stage: str, keys: Iterable[Key]) -> "dict[Key, Expansion]":
        """What the last commit that was read asks for, by what the log keeps of it. state: the end of this log.

        Nothing of an edge's log, which holds no commit.
        """
        if not state.ref.commit:
            return {}
        from reconciler.planning import declare
        from reconciler.planning.deliver import expand
        from reconciler.planning.versions import Circumstances

        around = Circumstances(state.fleet, state.digests, rfc3339(time.time()), state.stage(stage).keys)
        declared = remembered(state, self.log, self.place).declared
        what = expand if stage == DELIVER else declare.expand
        return {key: what(key, declared, around) for key in keys}

    def news(self, after: int, every_s: float) -> Iterator[Entry]:
        """Entries behind `after` as they come, for ever; looks every so many seconds."""
        while True:
            for entry in self.log.read(after):
                after = entry.seq
                yield entry
            time.sleep(every_s)


@contextlib.contextmanager
def opened(state_dir: Path, edge: str = "") -> Iterator[Past]:
    """The hub's log of a state directory, or an edge's. Raises HubUnreachable where there is none."""
    place = StateDirectory(state_dir)
    home = place.edge(edge) if edge else place.hub
    if not home.log.exists():
        raise HubUnreachable(f"there is no log at {home.log}{by_variable(state_dir)}")
    with contextlib.closing(SqliteReader(home.log)) as log:
        yield Past(log, Replay(log, home.log), home, place)


def edge_alone(state_dir: Path) -> str:
    """The edge whose log is the only one here, as on a device, where `why` and `history` ask it; else ""."""
    place = StateDirectory(state_dir)
    edges = [] if place.hub.log.exists() else [log.parent.name for log in state_dir.glob("edges/*/log.db")]
    return edges[0] if len(edges) == 1 else ""


def remembered(state: State, log: SqliteReader, place: StateDirectory) -> "DocumentRepository":
    """What the last commit that was read declares, from the log alone. state: its fold, up to its end."""
    from reconciler.sources.cache import DocumentCache
    from reconciler.sources.repository import DocumentRepository
    from reconciler.sources.unread import Unread

    return DocumentRepository(Unread(), state, log.blob, DocumentCache(place.cache))
