"""What is to be seen of a kind that is one file and one row (tests.calibration): run by test_a_kind_of_its_own."""

from pathlib import Path
from typing import Any

from reconciler.history import events as ev
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.object_status import Around, published
from reconciler.history.state import State
from reconciler.history.status import status
from reconciler.kube.client.resources import OURS, document
from reconciler.kube.client.rights import RULES
from reconciler.kube.write.dependents import Dependents
from reconciler.model.crds import definition
from reconciler.model.declaration import declare
from reconciler.planning.declared import Object
from reconciler.planning.kinds import KINDS, models
from reconciler.sources.documents import read_documents
from reconciler.web.page import rendered
from tests.calibration import CalibrationSpec, CalibrationStatus
from tests.fleets import NOW, edge, entries, fleet
from tests.stations import EdgeStation, HubStation, settle
from tests.unit.test_declare import Station
from tests.unit.test_published import Object as Live
from tests.unit.test_work import Bench

PLAIN = Key("Calibration", "default", "lens", "")
ON_EDGE = PLAIN._replace(edge="e1")
TEXT = """apiVersion: ai.kubeedge.io/v1alpha1
kind: Calibration
metadata: {name: lens}
spec: {gain: 1.5, versions: [{version: '1', downloadURL: 'https://data.example.com/lens.gz'}]}
"""


def calibration(default: str = "1", **more: Any) -> Object:
    spec = {"versions": entries("lens", "1 2"), "defaultVersion": default, "gain": 1.5, "edges": {"bytes": {}}, **more}
    return Object(kind="Calibration", namespace="default", name="lens", spec=spec, path="data/lens.yaml", line=1)


def test_it_is_declared_checked_and_has_a_definition() -> None:
    (read,), _ = read_documents("a.yaml", TEXT.encode())
    found, problems = declare(read, models())
    assert found is not None
    assert (type(found.spec), problems) == (CalibrationSpec, [])
    (wrong,), _ = read_documents("a.yaml", TEXT.replace("gain", "grain").encode())
    assert [(problem.code, problem.help) for problem in declare(wrong, models())[1]] == [
        ("RX210", "did you mean gain?")
    ]
    assert definition(models()["Calibration"])["spec"]["names"]["shortNames"] == ["cal"]
    assert OURS["Calibration"].path("default") == "/apis/ai.kubeedge.io/v1alpha1/namespaces/default/calibrations"
    assert any(rule.resource == "calibrations" for rule in RULES)


def test_it_is_planned_pinned_audited_and_removed_at_its_edges() -> None:
    hub = HubStation()
    assert hub.orders(hub.push(fleet(max_share="100%"), edge("e1"), edge("e2"), calibration())) == {
        "Calibration/default/lens@e1": "create 1",
        "Calibration/default/lens@e2": "create 1",
    }
    order = hub.state.stage(DELIVER).known(ON_EDGE).order
    assert (order["camera"], order["size"], order["bytes"]) == ("e1", 100, True)
    pinned = edge("e1", pins=[{"dataset": "lens", "version": "2"}])
    assert hub.orders(hub.push(pinned)) == {"Calibration/default/lens@e1": "update 2"}
    assert hub.turn("audit") == []
    agents = [EdgeStation(name, hub) for name in ("e1", "e2")]
    settle(hub, *agents)
    rows = status(hub.state, NOW).rows
    assert [(row.kind, row.edge, row.phase) for row in rows] == [
        ("Calibration", "e1", "Committed"),
        ("Calibration", "e2", "Committed"),
    ]
    assert "lens" in rendered(status(hub.state, NOW))
    gone = hub.orders(hub.push(without=[calibration()]))
    assert set(gone.values()) == {"delete"}
    settle(hub, *agents)
    assert hub.state.stage(DELIVER).keys == {}


def test_it_is_mirrored_repaired_by_an_audit_and_pruned() -> None:
    station = Station()
    station.push(fleet(max_share="100%"), edge("e1"), calibration(defaultVersion=""))
    ordered, there = station.mine.known(PLAIN).order["spec"], station.cluster.there[PLAIN].spec
    assert (ordered["gain"], there["gain"]) == ("1.5", 1.5)  # as text until it is sent
    assert "defaultVersion" not in there
    assert document(OURS["Calibration"], PLAIN)["kind"] == "Calibration"
    del station.cluster.there[PLAIN]
    station.turn("audit")
    assert station.names() == {"Fleet/fleet", "Edge/e1", "Calibration/lens"}
    assert "<td>Calibration</td><td>1</td><td>1</td>" in rendered(status(station.record.state, NOW))
    station.branch.commit(without=[calibration()])
    station.turn("commit")
    assert station.names() == {"Fleet/fleet", "Edge/e1"}
    assert str(PLAIN) not in station.record.state.stage(DECLARE).keys


def test_its_status_sums_up_its_edges() -> None:
    hub = HubStation()
    hub.push(edge("e1"), edge("e2"), calibration())
    settle(hub, EdgeStation("e1", hub))
    found = told(hub.state, Dependents(lambda: hub.branch.declared))
    assert CalibrationStatus.model_validate(found).edges is not None
    assert found["edges"] == {"bytes": 2, "metadata": 0, "ready": 1}
    assert [one["type"] for one in found["conditions"]] == ["Ready", "Reconciling"]


def told(state: State, gathered: Dependents) -> dict[str, Any]:
    gathered.read(state)
    around = Around(now=NOW, members=gathered.members(PLAIN))
    found = published(KINDS["Calibration"].facts, PLAIN, state, Live(), around)
    assert found is not None
    return found


def test_an_edge_holds_it_and_lets_it_go(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    wanted: dict[str, Any] = {
        "version": "1",
        "url": "https://x",
        "sha256": "5" * 64,
        "dataset": "lens",
        "format": "calibration",
    }
    wanted |= {"bytes": True, "camera": "e1"}
    outcome, said = bench.do(ON_EDGE, wanted)
    assert (outcome.type, said[-1]) == (ev.APPLY_SUCCEEDED, ev.DATASET_SYNCED)
    assert bench.work.observe(ON_EDGE) == wanted
    bench.store.there.clear()
    assert bench.work.observe(ON_EDGE) == wanted | {"version": ""}
    outcome, _ = bench.do(ON_EDGE, None)
    assert (outcome.type, bench.work.observe(ON_EDGE)) == (ev.APPLY_SUCCEEDED, None)
    bench.work.close()
