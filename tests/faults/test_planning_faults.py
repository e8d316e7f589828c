"""Faults of the catalogue that planning, the hub and an edge's keeper answer together (Git's own: test_git_faults)."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.fold import fold
from reconciler.history.keys import Key
from reconciler.history.state import State
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from tests.fleets import sha
from tests.git_repository import Repository
from tests.stations import EdgeStation, HubStation, settle, types

HEAD = "apiVersion: ai.kubeedge.io/v1alpha1\n"
E1, E2 = (Key("InferenceModel", "default", f"digits-{name}", name) for name in ("e1", "e2"))
FLEET = f"{HEAD}kind: Fleet\nmetadata: {{name: fleet}}\nspec: {{prune: {{maxDeletes: 1, maxShare: 100%}}}}\n"
CATALOGUE = f"{HEAD}kind: Model\nmetadata: {{name: digits}}\nspec:\n  frameworkType: onnx\n  versions:\n" + "".join(
    f"    - {{version: '{version}', downloadURL: 'https://m.example.com/{version}', sha256sum: {sha(version)}}}\n"
    for version in "1234"
)


def edge(name: str, *pins: str, labels: str = "site: x") -> str:
    listed = "".join(f"    - {{{pin}}}\n" for pin in pins)
    spec = f"spec:\n  pins:\n{listed}" if pins else "spec: {}\n"
    return f"{HEAD}kind: Edge\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n{spec}"


def deployment(version: str) -> str:
    return (
        f"{HEAD}kind: InferenceModelSet\nmetadata: {{name: digits}}\n"
        "spec:\n  edgeSelector: {matchLabels: {site: x}}\n"
        f"  defaultVersion: '{version}'\n  template:\n    spec:\n      modelRef: digits\n      modelName: digits\n"
        "      deployToLayer: edge\n      frameworkType: onnx\n"
    )


class Fleet:
    """A real repository, a hub that follows it, and two edges."""

    def __init__(self, place: Path) -> None:
        self.place, self.git, self.hub = place, Repository(place / "git"), HubStation()
        mirror = Mirror(place / "mirror", Remote.parse(str(self.git.path)))
        cache = DocumentCache(place / "cache.db")
        self.hub.follow(DocumentRepository(mirror, self.hub.state, self.hub.log.blob, cache))
        first = {"fleet.yaml": FLEET, "models/digits.yaml": CATALOGUE, "deployments/digits.yaml": deployment("1")}
        self.push(first | {f"edges/{name}.yaml": edge(name) for name in ("e1", "e2")})
        self.edges = {name: EdgeStation(name, self.hub) for name in ("e1", "e2")}
        self.settle()

    def push(self, files: Mapping[str, str | None]) -> dict[str, str]:
        """The orders of a commit with these files."""
        self.git.commit(files)
        return self.hub.orders(self.hub.turn("commit"))

    def settle(self) -> None:
        settle(self.hub, *self.edges.values())

    def serving(self) -> dict[str, str]:
        return {
            str(key): spec["version"] for station in self.edges.values() for key, spec in station.work.stands.items()
        }

    def refuse(self, name: str, version: str) -> None:
        """The edge takes its orders, and the probe of this version fails."""
        station, key = self.edges[name], E1 if name == "e1" else E2
        station.turn("orders")
        assert station.work.jobs[key][0] is not None
        station.work.refuse(key, quarantine=sha(version), phase="RolledBack")
        self.hub.turn("edge", name)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_fault_49_a_force_push_is_one_event_and_is_held(fleet: Fleet) -> None:
    fleet.push({"deployments/digits.yaml": deployment("2")})
    fleet.settle()
    fleet.git.reset("HEAD~1")
    fleet.git.commit({"deployments/digits.yaml": deployment("3")})
    assert types(fleet.hub.turn("commit")) == [ev.REF_REWRITTEN, ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    assert fleet.hub.turn("audit") == []
    fleet.settle()
    assert set(fleet.serving().values()) == {"2"}


def test_fault_50_a_deleted_or_empty_repository_holds_the_last_good_state(fleet: Fleet) -> None:
    shutil.move(fleet.git.path, fleet.place / "away")
    assert ev.APPLY_INTENDED not in types(fleet.hub.turn("commit"))
    Repository(fleet.git.path)  # somebody made an empty one in its place
    fleet.hub.clock.seconds += 1000
    assert ev.APPLY_INTENDED not in types(fleet.hub.turn("commit"))
    assert fleet.hub.orders(fleet.hub.turn("audit")) == {}
    assert len(fleet.hub.mine.keys) == 2
    shutil.rmtree(fleet.git.path)
    shutil.move(fleet.place / "away", fleet.git.path)
    fleet.hub.clock.seconds += 1000
    assert fleet.push({"deployments/digits.yaml": deployment("2")}) == {str(E1): "update 2", str(E2): "update 2"}


def test_fault_51_an_emptied_repository_shows_its_deletes_and_deletes_nothing(fleet: Fleet) -> None:
    everything = ("fleet.yaml", "models/digits.yaml", "deployments/digits.yaml", "edges/e1.yaml", "edges/e2.yaml")
    assert fleet.push(dict.fromkeys(everything)) == {}
    held = fleet.hub.mine.held_plan
    assert held is not None
    assert (held.counts, held.reason.partition(" (")[0]) == ({"delete": 2}, "it deletes 2 of 2; Fleet allows 1 an hour")
    fleet.settle()
    assert len(fleet.serving()) == 2


def test_fault_55_what_two_quick_commits_leave_is_ordered_once(fleet: Fleet) -> None:
    fleet.git.commit({"deployments/digits.yaml": deployment("2")})
    fleet.git.commit({"deployments/digits.yaml": deployment("3")})
    entries = fleet.hub.turn("commit")
    assert types(entries).count(ev.REF_ADVANCED) == 2
    assert fleet.hub.orders(entries) == {str(E1): "update 3", str(E2): "update 3"}


def test_fault_56_a_revert_of_a_revert_replays_no_order(fleet: Fleet) -> None:
    fleet.push({"deployments/digits.yaml": deployment("2")})
    fleet.settle()
    for version in ("1", "2"):
        fleet.git.revert()
        assert fleet.hub.orders(fleet.hub.turn("commit")) == {
            str(E1): f"update {version}",
            str(E2): f"update {version}",
        }
        fleet.settle()
        assert set(fleet.serving().values()) == {version}
    orders = [
        entry.event.operationid
        for entry in fleet.hub.log.read()
        if entry.event.type == ev.APPLY_INTENDED and entry.origin is None
    ]
    assert len(orders) == len(set(orders)) == 8


def test_fault_57_a_revert_overtakes_what_edges_still_apply(fleet: Fleet) -> None:
    fleet.push({"deployments/digits.yaml": deployment("2")})
    station = fleet.edges["e1"]
    station.turn("orders")
    assert station.work.under_way(E1) is not None
    fleet.git.revert()
    fleet.hub.turn("commit")
    station.turn("orders")
    assert station.work.cancelled == [E1]
    station.work.give_up(E1)
    begun = list(station.work.begun)
    fleet.settle()
    assert fleet.serving() == {str(E1): "1", str(E2): "1"}
    assert station.work.begun == begun  # the version before had never gone: nothing flaps


def test_fault_66_an_unrelated_commit_does_not_bring_back_what_is_held(fleet: Fleet) -> None:
    fleet.push({"deployments/digits.yaml": deployment("2")})
    fleet.refuse("e1", "2")
    fleet.settle()
    fleet.git.revert()
    fleet.hub.turn("commit")
    fleet.settle()
    assert fleet.push({"edges/e2.yaml": edge("e2", "model: digits, version: '3'")}) == {str(E2): "update 3"}
    assert fleet.push({"deployments/digits.yaml": deployment("2")}) == {}  # e1 is held, e2 has a pin
    fleet.settle()
    assert fleet.serving() == {str(E1): "1", str(E2): "3"}


def test_fault_68_one_broken_file_leaves_the_others_to_go_on(fleet: Fleet) -> None:
    files = {
        "deployments/digits.yaml": deployment("2"),
        "edges/e1.yaml": edge("e1").replace("spec: {}", "spec: {pins: 3}"),
    }
    assert fleet.push(files) == {str(E1): "update 2", str(E2): "update 2"}
    assert [one["path"] for one in fleet.hub.state.all_problems] == ["edges/e1.yaml"]


def test_fault_87_orders_that_are_replayed_are_not_done_again(fleet: Fleet) -> None:
    station = fleet.edges["e1"]
    old = list(fleet.hub.log.raw("edge/e1"))
    fleet.push({"deployments/digits.yaml": deployment("2")})
    fleet.settle()
    begun, head = list(station.work.begun), station.log.head()
    assert station.log.copy(old) == []
    station.turn("orders")
    station.turn("audit")
    assert (station.work.begun, station.log.head(), station.mine.known(E1).order["version"]) == (begun, head, "2")


def test_fault_88_what_changed_and_changed_back_while_an_edge_was_away_is_no_work(fleet: Fleet) -> None:
    for version in ("3", "4", "1"):
        fleet.push({"deployments/digits.yaml": deployment(version)})
    begun = len(fleet.edges["e1"].work.begun)
    assert types(fleet.edges["e1"].turn("orders")) == [ev.APPLY_SUCCEEDED]
    assert len(fleet.edges["e1"].work.begun) == begun


def test_fault_88_a_pin_that_was_set_and_has_expired_meanwhile_is_no_work_either(fleet: Fleet) -> None:
    pin = "model: digits, version: '2', expires: '2027-01-15T09:00:00Z'"
    assert fleet.push({"edges/e1.yaml": edge("e1", pin)}) == {str(E1): "update 2"}
    fleet.hub.clock.seconds += 3601
    assert fleet.hub.orders(fleet.hub.turn("edge", "e2")) == {str(E1): "update 1"}  # by the hub's own time
    begun = len(fleet.edges["e1"].work.begun)
    fleet.settle()
    assert len(fleet.edges["e1"].work.begun) == begun


def test_fault_88_an_edge_that_left_the_selector_gives_up_its_model_when_it_is_back(fleet: Fleet) -> None:
    assert fleet.push({"edges/e1.yaml": edge("e1", labels="site: y")}) == {str(E1): "delete"}
    fleet.settle()
    assert fleet.serving() == {str(E2): "1"}


def test_fault_89_a_version_that_fails_its_probe_is_held_for_that_edge_and_said(fleet: Fleet) -> None:
    fleet.push({"deployments/digits.yaml": deployment("2")})
    fleet.refuse("e1", "2")
    fleet.settle()
    assert fleet.serving() == {str(E1): "1", str(E2): "2"}
    served = fleet.hub.mine.known(E1)
    assert (served.phase, served.open, served.code) == ("RolledBack", False, "RX404")
    assert list(fleet.hub.mine.holds) == [str(E1)]
    assert fleet.push({"models/digits.yaml": CATALOGUE + "  task: digits\n"}) == {}
    assert fleet.hub.orders(fleet.hub.turn("audit")) == {}


def test_fault_91_a_way_back_that_fails_too_stops_and_serves_what_works(fleet: Fleet) -> None:
    for version in ("2", "3"):
        fleet.push({"deployments/digits.yaml": deployment(version)})
        fleet.refuse("e1", version)
    assert fleet.push({"deployments/digits.yaml": deployment("2")}).keys() == {str(E2)}
    begun = len(fleet.edges["e1"].work.begun)
    for _ in range(3):
        fleet.settle()
        fleet.edges["e1"].turn("audit")
        fleet.hub.turn("audit")
    assert (fleet.serving()[str(E1)], len(fleet.edges["e1"].work.begun)) == ("1", begun)


# ── documents (117 to 121) ────────────────────────────────────────────────────────────────────────────────────────────


def problems(fleet: Fleet) -> list[str]:
    return sorted(f"{one['code']} {one['path']}:{one.get('line', 0)}" for one in fleet.hub.state.all_problems)


def test_fault_117_a_misspelt_field_is_named_with_the_one_that_was_meant(fleet: Fleet) -> None:
    misspelt = deployment("2").replace("defaultVersion", "defautVersion")
    assert fleet.push({"deployments/digits.yaml": misspelt}) == {}
    assert problems(fleet) == ["RX210 deployments/digits.yaml:6"]
    (problem,) = fleet.hub.state.all_problems
    assert "defaultVersion" in problem["help"]


def test_fault_118_an_edge_declared_twice_keeps_what_it_has(fleet: Fleet) -> None:
    assert fleet.push({"edges/again.yaml": edge("e1", "model: digits, version: '2'")}) == {}
    assert problems(fleet) == ["RX214 edges/again.yaml:3"]
    assert fleet.push({"edges/e1.yaml": edge("e1", "model: digits, version: '3'")}) == {}
    assert problems(fleet) == ["RX214 edges/again.yaml:3", "RX214 edges/e1.yaml:3"]
    assert fleet.push({"edges/again.yaml": None}) == {str(E1): "update 3"}
    assert problems(fleet) == []


def test_fault_119_all_errors_of_a_commit_are_reported_together(fleet: Fleet) -> None:
    wrong = deployment("2").replace(
        "frameworkType: onnx", "frameworkType: onxx\n      servingPort: 70000\n      replicas: -1"
    )
    digest = CATALOGUE.replace(sha("4"), sha("4")[:63])
    assert (
        fleet.push(
            {"deployments/digits.yaml": wrong, "models/digits.yaml": digest, "edges/e3.yaml": HEAD + "kind: Edge\n"}
        )
        == {}
    )
    assert problems(fleet) == [
        "RX208 edges/e3.yaml:1",
        "RX213 deployments/digits.yaml:12",
        "RX213 deployments/digits.yaml:13",
        "RX213 deployments/digits.yaml:14",
        "RX213 models/digits.yaml:10",
    ]
    assert set(fleet.serving().values()) == {"1"}


@pytest.mark.parametrize("name", ["еdge", "e\u202e1", "e\u200b1", "E1", "e_1"])
def test_fault_120_a_name_that_only_looks_like_one_is_refused(fleet: Fleet, name: str) -> None:
    assert fleet.push({"edges/e3.yaml": edge("e3").replace("name: e3", f'name: "{name}"')}) == {}
    assert fleet.hub.state.problems.keys() == {"edges/e3.yaml"}


def test_fault_121_references_to_what_is_not_there_name_the_line_and_keep_the_last_order(fleet: Fleet) -> None:
    assert fleet.push({"models/digits.yaml": None}) == {}
    assert problems(fleet) == ["RX215 deployments/digits.yaml:9"] * 2  # for each edge
    pins = edge("e1", "model: digits, version: '9'", "dataset: faces, version: '1'")
    assert fleet.push({"models/digits.yaml": CATALOGUE, "edges/e1.yaml": pins}) == {}
    assert problems(fleet) == ["RX215 edges/e1.yaml:6", "RX216 edges/e1.yaml:7"]
    fleet.settle()
    assert set(fleet.serving().values()) == {"1"}


def test_an_unknown_event_of_a_newer_release_is_carried_on(fleet: Fleet) -> None:
    station = fleet.edges["e1"]
    station.log.append([Event(id="x", type="model.dreamt.v7", partitionkey="dreams", time="2027-01-15T08:00:00Z")])
    fleet.hub.turn("edge", "e1")
    assert "model.dreamt.v7" in types(fleet.hub.log.read())
    assert fold(State(), list(fleet.hub.log.read())) == fleet.hub.state
