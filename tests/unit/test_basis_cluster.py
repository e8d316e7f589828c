"""What a hub of a cluster tells is enough to plan a clone as it would: orders, live objects, drift, suspensions."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.edge.paths import StateDirectory
from reconciler.engine.loop import Loop
from reconciler.engine.queue import Cause, Queue, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Stage
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import events as ev
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import State
from reconciler.kube.write.annotations import RECONCILE
from reconciler.planning.look import DISABLED
from reconciler.planning.plan import Plan
from reconciler.settings import Settings
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.stages.declare import Declare
from reconciler.wiring.basis import Followed, Hub, Seen, told, values
from reconciler.wiring.past import opened
from reconciler.wiring.preview import preview
from reconciler.wiring.process import Inline
from tests.git_repository import Repository
from tests.stations import drain
from tests.unit.cli_world import FILES, SET, TickingClock
from tests.unit.test_declare import Objects

MODEL = Key("InferenceModel", "default", "defect-berlin-07", "")
FLEET = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Fleet
metadata: {name: fleet}
spec: {prune: {maxShare: '90%'}}
"""


class ClusterHub:
    """A hub of a cluster in a dictionary, with a real repository and a log on disk."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, TickingClock()
        self.repository = Repository(root / "fleet")
        self.place = StateDirectory(root / "state")
        self.followed = Followed("main", "", lambda: Seen(dict(self.cluster.there), {}))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.place.hub.directory.mkdir(parents=True, exist_ok=True)
        with closing(SqliteLog(self.place.hub.log, "/hub", self.clock)) as log:
            self.record, self.queue = Recorder(log, self.clock, State(), "hub"), Queue(self.clock)
            mirror = Mirror(self.place.mirror, Remote.parse(str(self.repository.path)))
            self.documents = documents = DocumentRepository(
                mirror, self.record.state, log.blob, DocumentCache(self.place.cache)
            )
            self.cluster = Objects(self.record.stage(DECLARE), self.queue.stage(DECLARE), self._fleet)
            self.declare = Declare(documents, self.record, self.queue, Inline(), self.cluster)
            self.loop = Loop([Stage(DECLARE, self.declare, self.cluster)], self.record, self.queue)
            yield

    def _fleet(self) -> Mapping[str, Any]:
        return self.declare.git.fleet()

    def turn(self, cause: str, subject: str = "") -> None:
        self.queue.stage(DECLARE).add(Trigger(Cause(cause), subject))
        drain(self.loop)

    def plan(self, clone: Path, asked: list[Mapping[str, str]]) -> Plan:
        """The plan of a clone, by what this hub tells."""

        def fetch(said: Mapping[str, str]) -> bytes:
            asked.append(said)
            return values(past, self.followed, said["keys"]) if said else told(past, self.followed)

        with opened(self.place.root) as past:
            hub = Hub(fetch)
            settings = Settings(repo=str(clone), state_dir=self.root / "none")
            with preview(settings, uncommitted=True, hub=hub) as ahead:
                return ahead.plan()


def edited(hub: ClusterHub) -> None:
    hub.cluster.edit(MODEL, "kubectl-edit", replicas=4)


def suspended(hub: ClusterHub) -> None:
    hub.cluster.annotate(MODEL, "kubectl-annotate", {RECONCILE: DISABLED})


def going(hub: ClusterHub) -> None:
    hub.cluster.there[MODEL] = replace(hub.cluster.there[MODEL], deleting=True)


def gone(hub: ClusterHub) -> None:
    del hub.cluster.there[MODEL]


CHANGES: dict[str, Mapping[str, str | bytes | None]] = {
    "a default version": {"deployments/defect.yaml": SET % "2"},
    "an edge that goes": {"edges/berlin-08.yaml": None},
    "a pin": {"edges/berlin-07.yaml": FILES["edges/berlin-07.yaml"] + "  pins: [{model: defect, version: '2'}]\n"},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("deed", [None, edited, suspended, going, gone])
def test_the_plan_is_the_one_that_the_hub_makes(tmp_path: Path, change: str, deed: object) -> None:
    hub, asked = ClusterHub(tmp_path), list[Mapping[str, str]]()
    with hub.running():
        hub.repository.commit({**FILES, "fleet.yaml": FLEET})
        hub.turn("commit")
        hub.turn("commit")
        if callable(deed):
            deed(hub)
        hub.repository.git("clone", "--quiet", str(hub.repository.path), str(tmp_path / "clone"))
        clone = Repository(tmp_path / "clone")
        clone._minutes = 100
        clone.commit(CHANGES[change])
        plan = hub.plan(clone.path, asked)
        before = hub.record.log.head().seq
        hub.repository.git("pull", "--quiet", str(clone.path), "main")
        hub.turn("commit")
        new = [entry.event for entry in hub.record.log.read(before)]
    planned = next(event for event in new if event.type == ev.CHANGE_PLANNED and event.gitcommit)
    assert plan.steps
    assert (plan.digest, plan.counts) == (planned.newdigest, planned.data["counts"])
    steps = {str(step.key) for step in plan.steps if not step.waits}
    assert steps == {event.subject for event in new if event.type == ev.APPLY_INTENDED}
    assert [said for said in asked if said]


def test_each_commit_is_told_with_what_it_declares(tmp_path: Path) -> None:
    hub = ClusterHub(tmp_path)
    with hub.running():
        hub.repository.commit({**FILES, "fleet.yaml": FLEET})
        for change in ({}, *CHANGES.values()):
            hub.repository.commit(change) if change else None
            hub.turn("commit")
            with opened(hub.place.root) as past:
                basis = Hub(lambda _: told(past, hub.followed)).basis
            assert basis.declared == hub.documents.standing()
