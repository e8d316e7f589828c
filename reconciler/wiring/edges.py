"""The hub's stage without Kubernetes, put together. In: a repository, a log.  Out: `EdgeStage`."""

from collections.abc import Callable

from reconciler.controller import control
from reconciler.controller.following import Repository
from reconciler.controller.hub import Hub
from reconciler.controller.queue import Queue, Trigger
from reconciler.controller.recorder import Recorder
from reconciler.edge.paths import StateDirectory
from reconciler.edge.supervision import Agents
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.wiring.process import writer_of


class EdgeStage:
    """Orders edges of this machine, and looks after their agents."""

    def __init__(
        self,
        place: StateDirectory,
        repository: Repository,
        log: SqliteLog,
        recorder: Recorder,
        queue: Queue,
        *,
        supervise: bool,
    ) -> None:
        """supervise: start this machine's agents, and end them with the hub."""
        self._queue = queue
        self._agents = Agents(place, lambda edge: writer_of(place.edge(edge).log), self)
        hub = Hub(
            repository,
            recorder,
            link_to=lambda edge: FileLink(place.edge(edge).log, log),
            ring=lambda edge: control.ring(place.edge(edge).control),
            fleet_changed=self._agents.want if supervise else lambda _: None,
        )
        self.source = self.target = hub

    def ended(self, edge: str, words: str) -> None:
        """See `supervision.Listener`."""
        self._queue.add(Trigger("edge", edge, request={"error": words} if words else {}))

    def due(self, edge: str, delay_s: float) -> None:
        """See `supervision.Listener`."""
        self._queue.add(Trigger("edge", edge), delay_s)

    def start(self, wanted: Callable[[], bool]) -> None:
        """Nothing: agents are started when it is known which there should be."""

    def close(self, *, orderly: bool) -> None:
        """End the agents, unless the hub itself ended otherwise: then they serve on, and the next hub finds them."""
        if orderly:
            self._agents.stop()

    def hurry(self) -> None:
        """Wait no longer for agents to end in an orderly way."""
        self._agents.hurry()
