"""What one line costs among ten thousand documents: counts, never seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.history.keys import Key
from reconciler.planning.deliver import expand
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.stages.git import Reading
from tests.fleets import sha
from tests.git_repository import Repository
from tests.stations import HubStation, types

pytestmark = pytest.mark.slow
SETS, A_FILE = 4, 10
HEAD = "apiVersion: ai.kubeedge.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"


def document(kind: str, name: str, *lines: str) -> str:
    return HEAD.format(kind=kind, name=name) + "".join(f"  {line}\n" for line in lines)


def version_entry(name: str, version: int) -> str:
    return f"- {{version: '{version}', downloadURL: 'https://m.example.com/{name}', sha256sum: {sha(name)}}}"


def edge_file(name: str, *pins: str) -> dict[str, str]:
    lines = ["pins:", *(f"  - {{{pin}}}" for pin in pins)] if pins else [f"nodeName: {name}"]
    return {f"edges/{name}.yaml": document("Edge", name, *lines)}


def files(edges: int, models: int) -> dict[str, str]:
    """A repository of that many edges, four sets on all of them, and plain models spread over them."""
    found: dict[str, str] = {}
    for n in range(edges):
        found |= edge_file(f"edge-{n:04}")
    for n in range(SETS):
        versions = [version_entry(f"{n}-{version}", version) for version in (1, 2)]
        found[f"models/m{n}.yaml"] = document("Model", f"m{n}", "frameworkType: onnx", "versions:", *versions)
        template = f"modelRef: m{n}, modelName: m{n}, deployToLayer: edge, frameworkType: onnx, servingPort: {9000 + n}"
        lines = ("edgeSelector: {}", "defaultVersion: '1'", f"template: {{spec: {{{template}}}}}")
        found[f"deployments/m{n}.yaml"] = document("InferenceModelSet", f"m{n}", *lines)
    plain = [plain_model(n, edges) for n in range(models)]
    for start in range(0, models, A_FILE):
        found[f"plain/{start // A_FILE:04}.yaml"] = "---\n".join(plain[start : start + A_FILE])
    return found


def plain_model(n: int, edges: int) -> str:
    place = (f"nodeName: edge-{n % edges:04}", f"servingPort: {10_000 + n // edges}")
    return document(
        "InferenceModel",
        f"p{n}",
        f"modelName: p{n}",
        "deployToLayer: edge",
        "frameworkType: onnx",
        *place,
        "manifest:",
        version_entry(f"p{n}", 1),
    )


class Big:
    """A hub that follows a real repository."""

    def __init__(self, place: Path, edges: int, models: int) -> None:
        self.repository = Repository(place / "git")
        self.repository.commit(files(edges, models))
        self.place, self.hub = place, HubStation()
        self.documents = self.reopened()
        self.hub.follow(self.documents)
        self.first = self.hub.turn("commit")

    def reopened(self) -> DocumentRepository:
        mirror = Mirror(self.place / "mirror", Remote.parse(str(self.repository.path)))
        return DocumentRepository(mirror, self.hub.state, self.hub.log.blob, DocumentCache(self.place / "cache.db"))


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Big:
    return Big(tmp_path_factory.mktemp("big"), 1000, 10_000 - 1000 - 2 * SETS)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Big:
    return Big(tmp_path_factory.mktemp("small"), 3, 3)


def pinned(fleet: Big, monkeypatch: pytest.MonkeyPatch, version: str) -> tuple[Reading, list[str], list[Entry]]:
    """What was read, which keys were expanded and what was appended for one pin in one edge's file."""
    readings: list[Reading] = []
    keys: list[str] = []
    reading_of = fleet.documents.reading

    def counted_reading() -> Callable[[], Reading | None]:
        read = reading_of()

        def counted() -> Reading | None:
            found = read()
            readings.extend([found] if found else [])
            return found

        return counted

    def counted_expand(key: Key, *rest: Any) -> Any:
        keys.append(str(key))
        return expand(key, *rest)

    monkeypatch.setattr(fleet.documents, "reading", counted_reading)
    git = fleet.hub.hub.git
    monkeypatch.setattr(git, "_expand", git._expand._replace(one=counted_expand))
    fleet.repository.commit(edge_file("edge-0002", f"model: m1, version: '{version}'"))
    entries = fleet.hub.turn("commit")
    (reading,) = readings
    return reading, keys, entries


def test_a_pin_among_ten_thousand_documents_costs_what_it_touches(
    big: Big, small: Big, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(big.documents.declared) == 10_000
    assert len(big.hub.orders(big.first)) == SETS * 1000 + 10_000 - 1000 - 2 * SETS
    for fleet in (big, small):  # the first commit adds the field, the second changes one line
        pinned(fleet, monkeypatch, "1")
        monkeypatch.undo()
    results = {}
    for name, fleet in (("big", big), ("small", small)):
        fleet.hub.rung.clear()
        reading, keys, entries = pinned(fleet, monkeypatch, "2")
        monkeypatch.undo()
        assert (reading.parsed, keys) == (1, ["InferenceModel/default/m1-edge-0002@edge-0002"])
        assert fleet.hub.orders(entries) == {"InferenceModel/default/m1-edge-0002@edge-0002": "update 2"}
        assert (list(reading.blobs), fleet.hub.rung) == ([fleet.hub.state.files["edges/edge-0002.yaml"]], ["edge-0002"])
        results[name] = types(entries)
    assert results["big"] == results["small"] == [ev.REF_ADVANCED, ev.CHANGE_PLANNED, ev.APPLY_INTENDED]


def test_a_look_at_one_commit_asks_git_nothing_twice(small: Big, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.sources import git

    pinned(small, monkeypatch, "1")
    asked: list[tuple[object, ...]] = []
    execute = git._execute

    def counted(directory: Path, words: tuple[str, ...], stdin: bytes, *rest: Any) -> Any:
        asked.append((*words, stdin))
        return execute(directory, words, stdin, *rest)

    monkeypatch.setattr(git, "_execute", counted)
    pinned(small, monkeypatch, "2")
    of_refs = [one for one in asked if one[0] in {"rev-parse", "fetch"}]
    of_objects = [one for one in asked if one not in of_refs]
    assert len(of_objects) == len(set(of_objects)) <= 13, of_objects


def test_a_restart_parses_nothing_that_was_parsed_before(big: Big, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.sources import last_good

    def refuse(*_: object) -> None:
        raise AssertionError("it is in the cache")

    monkeypatch.setattr(last_good, "read_documents", refuse)
    again = big.reopened()
    assert len(again.declared) == 10_000
    assert again.reading()() is None


def test_an_audit_of_an_unchanged_fleet_appends_nothing(big: Big) -> None:
    assert big.hub.turn("audit") == []
