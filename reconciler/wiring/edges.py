"""The hub's stage without Kubernetes, put together. In: a repository, a log.  Out: `EdgeStage`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from reconciler import control_socket
from reconciler.edge.paths import StateDirectory
from reconciler.edge.supervision import Agents
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Stage
from reconciler.eventlog.file_link import FileLink
from reconciler.history.keys import DELIVER
from reconciler.ports import EventLog
from reconciler.stages.deliver import Deliver
from reconciler.stages.git import Repository
from reconciler.wiring.process import Pool, writer_of

LOOKS: Final = 5  # at the branch and at edges' logs, side by side


class LocalPeers:
    """`ports.Peers` on this machine. want: told which edges there should be."""

    def __init__(self, place: StateDirectory, log: EventLog, want: Callable[[Sequence[str]], None]) -> None:
        self._place, self._log, self.wanted = place, log, want

    def link(self, edge: str) -> FileLink:
        """See `ports.Peers`."""
        return FileLink(self._place.edge(edge).log, self._log)

    def ring(self, edge: str) -> None:
        """See `ports.Peers`."""
        control_socket.ring(self._place.edge(edge).control)


class EdgeStage:
    """Orders edges of this machine, and looks after their agents: the hub's stage `deliver`."""

    see = None  # there is no cluster

    def __init__(
        self, place: StateDirectory, repository: Repository, recorder: Recorder, queue: Queue, *, supervise: bool
    ) -> None:
        """supervise: start this machine's agents, and end them with the hub."""
        self._queue = queue.stage(DELIVER)
        self._agents = Agents(place, lambda edge: writer_of(place.edge(edge).log), self)
        peers = LocalPeers(place, recorder.log, self._agents.want if supervise else lambda _: None)
        self.source = hub = Deliver(repository, recorder, queue, Pool("look", LOOKS), peers)
        self.stages = (Stage(DELIVER, hub, hub),)
        self.followers: dict[str, Callable[[], None]] = {}

    def ended(self, edge: str, words: str) -> None:
        """See `supervision.Listener`."""
        self._queue.add(Trigger(Cause.EDGE, edge, request={"error": words} if words else {}))

    def due(self, edge: str, delay_s: float) -> None:
        """See `supervision.Listener`."""
        self._queue.add(Trigger(Cause.EDGE, edge), delay_s)

    def start(self, wanted: Callable[[], bool]) -> None:
        """Nothing: agents are started when it is known which there should be."""

    @property
    def stopped(self) -> tuple[str, ...]:
        """The edges whose agents, with their runtimes, ended by `close`."""
        return self._agents.stopped

    def is_heard(self, edges: Iterable[str]) -> bool:
        """Whether the agents of these edges were heard since this began."""
        return self.source.alive >= set(edges)

    def close(self, *, orderly: bool) -> None:
        """End the agents, unless the hub itself ended otherwise: then they serve on, and the next hub finds them."""
        if orderly:
            self._agents.stop()

    def hurry(self) -> None:
        """Wait no longer for agents to end in an orderly way."""
        self._agents.hurry()
