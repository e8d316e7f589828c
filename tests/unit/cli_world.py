"""A state directory as a hub and two edges leave it, made by the real engine under a clock that a test owns.

The hub, its repository, its log and the edges' logs are real; only the edges' work is told instead of done.
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.edge.paths import StateDirectory
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder, StageRecorder
from reconciler.engine.stage import Stage
from reconciler.eventlog import sqlite
from reconciler.eventlog.file_link import FileLink
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.stages.deliver import Deliver
from reconciler.wiring.process import Inline
from tests.git_repository import Repository
from tests.stations import drain

T0 = 1_796_047_200.0  # 2026-11-30T14:00:00Z
NOW = "2026-11-30T15:00:00Z"
GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
SHA = {version: f"{version}abc" * 16 for version in "123"}

EDGE = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Edge
metadata: {name: %s, labels: {site: berlin}}
spec:
  address: %s
"""
MODEL = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Model
metadata: {name: defect}
spec:
  frameworkType: onnx
  versions:
    - {version: '1', downloadURL: https://models.example.com/defect-1.tar.gz, sha256sum: SHA1, size: 1000}
    - {version: '2', downloadURL: https://models.example.com/defect-2.tar.gz, sha256sum: SHA2, size: 5150000}
""".replace("SHA1", SHA["1"]).replace("SHA2", SHA["2"])
SET = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: InferenceModelSet
metadata: {name: defect}
spec:
  edgeSelector: {matchLabels: {site: berlin}}
  defaultVersion: '%s'
  template:
    spec: {modelRef: defect, modelName: defect, deployToLayer: edge, frameworkType: onnx, servingPort: 8080}
"""
DATASET = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Dataset
metadata: {name: parts}
spec:
  format: csv
  versions:
    - {version: '7', downloadURL: https://data.example.com/parts.csv.gz, sha256sum: SHA3, size: 99}
  defaultVersion: '7'
  edges: {bytes: {matchLabels: {site: berlin}}}
""".replace("SHA3", SHA["3"])
FILES: Mapping[str, str] = {
    "models/defect.yaml": MODEL,
    "deployments/defect.yaml": SET % "1",
    "datasets/parts.yaml": DATASET,
    "edges/berlin-07.yaml": EDGE % ("berlin-07", "127.0.0.2"),
    "edges/berlin-08.yaml": EDGE % ("berlin-08", "127.0.0.3"),
}


class TickingClock:
    """A second passes whenever somebody looks."""

    def __init__(self) -> None:
        self.seconds = T0

    def now(self) -> float:
        self.seconds += 1
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def gate(self) -> threading.Condition:
        return threading.Condition()


def key(edge: str, kind: str = "InferenceModel") -> Key:
    """The model on an edge, or the dataset."""
    return Key(kind, "default", f"defect-{edge}" if kind == "InferenceModel" else "parts", edge)


class Peers:
    """`ports.Peers` whose agents only say what a test has them say."""

    def __init__(self, place: StateDirectory, log: SqliteLog, closing: contextlib.ExitStack) -> None:
        self._place, self._log, self._closing = place, log, closing

    def link(self, edge: str) -> FileLink:
        link = FileLink(self._place.edge(edge).log, self._log)
        self._closing.callback(link.close)
        return link

    def ring(self, edge: str) -> None:
        pass

    def wanted(self, edges: Sequence[str]) -> None:
        pass


class World:
    """One repository and one state directory. Within `hub`, a hub and both agents hold their logs."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, TickingClock()
        self.repository = Repository(root / "fleet")
        self.place = StateDirectory(root / "state")

    def copied(self, root: Path) -> "World":
        """The same somewhere else, while nobody holds a log."""
        shutil.copytree(self.root, root, dirs_exist_ok=True, symlinks=True)
        copy = World(root)
        copy.clock.seconds = self.clock.seconds
        return copy

    @contextlib.contextmanager
    def hub(self, *edges: str) -> Iterator[None]:
        """A hub that hears these edges."""
        self.place.hub.directory.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(contextlib.closing(SqliteLog(self.place.hub.log, "/hub", self.clock)))
            self.record = Recorder(log, self.clock, State(), "hub")
            mirror = Mirror(self.place.mirror, Remote.parse(str(self.repository.path)))
            cache = DocumentCache(self.place.cache)
            named = "https://git.example.com/fleet.git"  # whose clone is read: what the log says is the same anywhere
            documents = DocumentRepository(mirror, self.record.state, log.blob, cache, repo=named)

            self._queue = Queue(self.clock)
            hub = Deliver(documents, self.record, self._queue, Inline(), Peers(self.place, log, stack))
            self._loop = Loop([Stage(DELIVER, hub, hub)], self.record, self._queue)
            self._edges = {edge: stack.enter_context(self._edge(edge)) for edge in edges}
            for edge in edges:
                self.turn("edge", edge)
            yield

    @contextlib.contextmanager
    def _edge(self, edge: str) -> Iterator[StageRecorder]:
        home = self.place.edge(edge)
        home.directory.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(SqliteLog(home.log, f"/edge/{edge}", self.clock)) as log:
            yield Recorder(log, self.clock, State(), f"edge/{edge}").stage(DELIVER)

    def turn(self, cause: str, subject: str = "") -> None:
        """One trigger for the hub, and what follows from it now."""
        self._queue.stage(DELIVER).add(Trigger(Cause(cause), subject))
        drain(self._loop)

    def commit(self, files: Mapping[str, str | bytes | None], message: str) -> str:
        """A commit, read by the hub."""
        made = self.repository.commit(files, message)
        self.turn("commit")
        return made

    def says(self, edge: str, type_: str, data: Mapping[str, Any], kind: str = "InferenceModel") -> None:
        """What an agent says of its model (or dataset), heard by the hub."""
        about = key(edge, kind)
        record, operation = self._edges[edge], self.record.state.stage(DELIVER).known(about).operation
        record.append([record.event(type_, about, data, operationid=operation)])
        self.turn("edge", edge)

    def serves(self, edge: str, version: str, previous: str = "") -> None:
        """The agent has flipped to a version, and the order is done."""
        live = live_of(edge, version)
        self.says(edge, ev.ARTIFACT_STAGED, {"sha256": SHA[version], "size": 1000, "fetched": 1000, "tree": ""})
        self.says(edge, ev.MODEL_ACTIVATED, {"live": live, "previous": previous})
        self.says(edge, ev.APPLY_SUCCEEDED, {"live": live})

    def has_data(self, edge: str) -> None:
        """The agent holds the dataset."""
        live = {"version": "7", "sha256": SHA["3"], "bytes": True}
        facts = live | {"dataset": "parts", "format": "csv"}
        self.says(edge, ev.DATASET_SYNCED, facts, "Dataset")
        self.says(edge, ev.APPLY_SUCCEEDED, {"live": live}, "Dataset")


def live_of(edge: str, version: str) -> dict[str, str]:
    """What a runtime answers."""
    address = "127.0.0.2" if edge == "berlin-07" else "127.0.0.3"
    url = f"http://{address}:8080/v2/models/defect"
    return {"version": version, "sha256": SHA[version], "digest": SHA[version], "url": url}


def fix_log_ids(patch: pytest.MonkeyPatch) -> None:
    """Logs get the ids 1, 2, 3 … so that what is printed is the same on every run."""
    made = iter(range(1, 1000))
    patch.setattr(sqlite, "new_log_id", lambda: f"{next(made):032x}")


def settle(world: World) -> None:
    """Both edges serve version 1 and hold the dataset."""
    with world.hub("berlin-07", "berlin-08"):
        world.commit(FILES, "Begin")
        for edge in ("berlin-07", "berlin-08"):
            world.has_data(edge)
            world.serves(edge, "1")


def tell_story(world: World) -> None:
    """Two edges serve 1; 2 comes, one edge takes it and one rolls back; a pin; a broken file; a lost edge."""
    settle(world)
    with world.hub("berlin-07", "berlin-08"):
        world.commit({"deployments/defect.yaml": SET % "2"}, "Find smaller defects")
        world.serves("berlin-07", "2", previous="1")
        world.says(
            "berlin-08",
            ev.APPLY_FAILED,
            {
                "error": "answered 7 instead of 3; back to version 1",
                "code": "RX404",
                "phase": "RolledBack",
                "quarantine": SHA["2"],
                "live": live_of("berlin-08", "1"),
            },
        )
        pins = "  pins:\n    - {model: defect, version: '1', reason: night shift}\n"
        world.commit({"edges/berlin-07.yaml": FILES["edges/berlin-07.yaml"] + pins}, "Pin berlin-07")
        world.says("berlin-07", ev.DOWNLOAD_STARTED, {"sha256": SHA["1"], "url": "https://x.example.com", "done": 10})
        world.commit({"models/other.yaml": "kind: [  # of ai.kubeedge.io\n"}, "Break something")
    with world.hub("berlin-07"):
        world.turn("edge", "berlin-08")


def golden(name: str, text: str) -> None:
    """Compare with tests/golden/cli/<name>; with UPDATE_GOLDEN=1 write it instead."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{name} differs: look at it, then run again with UPDATE_GOLDEN=1"
