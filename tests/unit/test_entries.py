"""A packaged version in a repository: added where its Model is, deployed by its set, and nothing is guessed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.errors import NameUnknown, PortTaken, RepositoryRefused, UsageError
from reconciler.model.declaration import declare
from reconciler.planning.kinds import models
from reconciler.planning.refusals import SERVABLE
from reconciler.settings import Settings
from reconciler.sources.documents import read_documents
from reconciler.wiring import entries
from reconciler.wiring.entries import Change, Deployment, Tree, Version
from tests.git_repository import Repository

HEAD = "apiVersion: ai.kubeedge.io/v1alpha1\nkind: "
EDGE = HEAD + "Edge\nmetadata: {{name: {0}, labels: {{{1}}}}}\nspec: {{address: {2}}}\n"
FILES = {
    "all.yaml": "---\n".join(
        [
            EDGE.format("e1", "site: demo, ring: canary", "127.0.0.2"),
            EDGE.format("e2", "site: demo", "127.0.0.3"),
            EDGE.format("e3", "site: berlin", "127.0.0.4"),
        ]
    ),
    "catalogue/faces.yaml": HEAD
    + """Model
metadata: { name:   faces }   # who looks
spec:
  frameworkType: onnx
  versions:
  -   version: "1"       # the first
      downloadURL: https://x.test/faces-1.tar.gz
      sha256sum: """
    + "a" * 64
    + """
      metrics:
        - {name: accuracy, value: 0.9}    # measured
  # more will come
  task: faces
""",
    "sets.yaml": HEAD
    + """InferenceModelSet
metadata: {name: faces-demo}
spec:
  edgeSelector: {matchLabels: {site: demo}}
  defaultVersion: '1'   # change me
  template: {spec: {modelRef: faces, modelName: faces, deployToLayer: edge, frameworkType: onnx, servingPort: 8090}}
""",
}
NEW = Version("faces", "2", "onnx", "https://x.test/faces-2.tar.gz", "b" * 64, 7)
VOICE = Version("voice", "1.10", "onnx", "file:///tmp/voice-1.10.tar.gz", "c" * 64, 12)
DEMO = Deployment({"site": "demo"})


def tree(tmp_path: Path, more: dict[str, str] | None = None, path: str = "", **without: str) -> Tree:
    """Models are committed; nothing else is, and it counts all the same."""
    repository = Repository(tmp_path / "fleet")
    repository.commit({"catalogue/faces.yaml": FILES["catalogue/faces.yaml"]})
    for name, text in (FILES | (more or {})).items():
        if name not in without.values():
            (repository.path / name).parent.mkdir(parents=True, exist_ok=True)
            (repository.path / name).write_text(text)  # as it is on disk: not committed
    return Tree.read(Settings(repo=str(repository.path), path=path, state_dir=tmp_path / "state"))


def spec(change: Change | None) -> dict[str, Any]:
    """What a new text declares, as a YAML parser and ours read it; it has no problem."""
    assert change is not None
    documents, problems = read_documents(change.path, change.text.encode())
    problems = [*problems, *(problem for one in documents for problem in declare(one, models())[1])]
    assert not [problem.message for problem in problems]
    found: dict[str, Any] = yaml.safe_load(change.text)["spec"]
    return found


def test_a_version_goes_behind_the_last_one_and_nothing_else_moves(tmp_path: Path) -> None:
    change = tree(tmp_path).with_version(NEW)
    assert spec(change)["versions"][1] == NEW.entry()
    assert change is not None
    assert change.path == "catalogue/faces.yaml"
    added = f"""  -   version: '2'
    downloadURL: {NEW.url}
    sha256sum: {NEW.sha256}
    size: 7
""".replace("-   version", "- version")
    assert change.text == FILES[change.path].replace("# measured\n", "# measured\n" + added)


def test_a_model_that_there_is_not_gets_a_file(tmp_path: Path) -> None:
    change = tree(tmp_path).with_version(VOICE)
    assert spec(change) == {"frameworkType": "onnx", "versions": [VOICE.entry()]}
    assert change is not None
    assert (change.path, change.what) == ("models/voice.yaml", "Model voice with version 1.10")
    assert "version: '1.10'" in change.text


def test_in_the_folder_that_is_read(tmp_path: Path) -> None:
    there = tree(tmp_path, {"fleets/berlin/edge.yaml": EDGE.format("b1", "site: demo", "127.0.0.9")}, "fleets/berlin")
    change = there.with_version(NEW)
    assert change is not None
    assert change.path == "fleets/berlin/models/faces.yaml"  # the other one is not read
    assert there.placed("faces", "onnx", DEMO).edges == ("b1",)


def test_the_same_version_is_no_change_and_another_content_of_it_is_refused(tmp_path: Path) -> None:
    there = tree(tmp_path)
    same = Version("faces", "1", "onnx", "https://x.test/faces-1.tar.gz", "a" * 64, 7)
    assert there.with_version(same) is None
    with pytest.raises(RepositoryRefused) as refusal:
        there.with_version(Version("faces", "1", "onnx", same.url, "b" * 64, 7))
    (problem,) = refusal.value.problems
    assert (problem.code, problem.path) == ("RX221", "catalogue/faces.yaml")
    assert "version 1 of faces is published already" in problem.message
    assert "use a new one" in problem.help
    with pytest.raises(UsageError, match=r"published already, at https://x.test/faces-1.tar.gz"):
        there.with_version(Version("faces", "1", "onnx", "https://y.test/f", "a" * 64, 7))


def test_what_is_not_committed_yet_is_replaced_where_that_is_said(tmp_path: Path) -> None:
    there = tree(tmp_path)
    change = there.with_version(NEW)
    assert change is not None
    place = tmp_path / "fleet" / change.path
    place.write_text(change.text)
    there = Tree.read(Settings(repo=str(there.root), path="", state_dir=tmp_path / "state"))
    again = replace(NEW, sha256="d" * 64, size=8, url="https://x.test/elsewhere.tar.gz")
    with pytest.raises(UsageError, match=r"catalogue/faces.yaml:\d+ has another version 2, which is not committed yet"):
        there.with_version(again)
    other = there.with_version(again, force=True)
    assert other is not None
    assert other.text == change.text.replace(NEW.sha256, again.sha256).replace(NEW.url, again.url).replace(
        "size: 7", "size: 8"
    )
    first = Version("faces", "1", "onnx", "https://x.test/faces-1.tar.gz", "b" * 64, 7)
    with pytest.raises(RepositoryRefused):  # that one is committed
        there.with_version(first, force=True)


def test_a_file_of_the_name_that_declares_something_else_is_left_alone(tmp_path: Path) -> None:
    there = tree(tmp_path, {"models/voice.yaml": "# not yet\n"})
    with pytest.raises(UsageError, match=r"models/voice.yaml is there, and does not declare Model voice"):
        there.with_version(VOICE)


def test_a_file_that_is_wrong_is_not_edited(tmp_path: Path) -> None:
    wrong = FILES["catalogue/faces.yaml"].replace("task: faces", "tusk: faces")
    with pytest.raises((RepositoryRefused, UsageError)):
        tree(tmp_path, {"catalogue/faces.yaml": wrong, "models/faces.yaml": ""}).with_version(NEW)


def test_a_name_in_two_namespaces_is_nobody_s(tmp_path: Path) -> None:
    other = FILES["catalogue/faces.yaml"].replace("{ name:   faces }", "{name: faces, namespace: berlin}")
    with pytest.raises(UsageError, match=r"several namespaces: .*b.yaml:1"):
        tree(tmp_path, {"b.yaml": other}).with_version(NEW)


# Deployed.


def test_the_default_version_of_the_set_that_is_there_is_changed(tmp_path: Path) -> None:
    there = tree(tmp_path)
    placed = there.placed("faces", "onnx", DEMO)
    assert (placed.edges, placed.address, placed.port) == (("e1", "e2"), "127.0.0.2", 8090)
    change = there.deployed(NEW, DEMO, placed.port)
    assert change is not None
    assert change.text == FILES["sets.yaml"].replace("'1'   # change me", "'2'   # change me")
    one = Version("faces", "1", "onnx", NEW.url, NEW.sha256, 7)
    assert there.deployed(one, DEMO, placed.port) is None
    assert there.serving("faces") == "site=demo"


def test_a_new_set_gets_the_first_port_that_is_free_on_each_of_its_edges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "is_taken", lambda *_: False)  # whatever listens on this machine just now
    taken = FILES["sets.yaml"].replace("faces", "hands").replace("8090", "8080").replace("site: demo", "ring: canary")
    hands = FILES["catalogue/faces.yaml"].replace("faces", "hands")
    there = tree(tmp_path, {"hands.yaml": taken, "hands-model.yaml": hands})
    assert there.placed("voice", "onnx", Deployment({"site": "berlin"})).port == 8080
    placed = there.placed("voice", "onnx", DEMO)
    assert placed.port == 8081
    change = there.deployed(VOICE, DEMO, placed.port)
    assert spec(change) == {
        "edgeSelector": {"matchLabels": {"site": "demo"}},
        "defaultVersion": "1.10",
        "template": {
            "spec": {
                "modelRef": "voice",
                "modelName": "voice",
                "deployToLayer": "edge",
                "frameworkType": "onnx",
                "servingPort": 8081,
            }
        },
    }
    every = there.deployed(VOICE, Deployment({}), 9000)
    assert spec(every)["edgeSelector"] == {}
    with pytest.raises(PortTaken, match=r"port 8080: hands-demo serves there, on e1 \(hands.yaml:1\)") as refusal:
        there.placed("voice", "onnx", Deployment({"site": "demo"}, 8080))
    assert "--port auto would take 8081" in refusal.value.advice


@pytest.mark.enable_socket
def test_a_port_on_which_something_else_listens_is_not_chosen(tmp_path: Path) -> None:
    import socket

    there = tree(tmp_path)
    with socket.socket() as held:
        held.bind(("127.0.0.4", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(SERVABLE, "onnx", port)
            assert there.placed("voice", "onnx", Deployment({"site": "berlin"})).port > port


@pytest.mark.parametrize(
    ("selector", "said", "meant"),
    [
        ({"site": "dmo"}, "no edge has the labels site=dmo", "did you mean site=demo? there are ring=canary, site="),
        (
            {"site": "demo", "ring": "x"},
            "no edge has the labels site=demo,ring=x",
            "did you mean site=demo,ring=canary? there are",
        ),
        ({"a": "b"}, "no edge has the labels a=b", "there are ring=canary, site=berlin, site=demo"),
    ],
)
def test_a_selector_that_matches_nothing_is_told_with_what_there_is(
    tmp_path: Path, selector: dict[str, str], said: str, meant: str
) -> None:
    with pytest.raises(NameUnknown, match=said) as refusal:
        tree(tmp_path).placed("voice", "onnx", Deployment(selector))
    assert meant in refusal.value.advice


def test_without_an_edge_that_is_what_is_said(tmp_path: Path) -> None:
    with pytest.raises(NameUnknown, match="the repository declares no edge"):
        tree(tmp_path, edges="all.yaml").placed("voice", "onnx", Deployment({}))


def test_other_edges_than_those_that_have_it_are_never_deployed_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"deployed already, but not to site=berlin: sets.yaml:1 \(site=demo\)"):
        tree(tmp_path).placed("faces", "onnx", Deployment({"site": "berlin"}))


def test_a_port_that_differs_from_that_of_the_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="faces-demo serves on port 8090"):
        tree(tmp_path).placed("faces", "onnx", Deployment({"site": "demo"}, 8091))


def test_a_set_with_versions_of_its_own_is_not_touched(tmp_path: Path) -> None:
    own = FILES["sets.yaml"].replace("modelRef: faces", "manifest: [{version: '1', downloadURL: 'https://x.test/f'}]")
    with pytest.raises(UsageError, match="faces-demo has a manifest of its own"):
        tree(tmp_path, {"sets.yaml": own}).placed("faces", "onnx", DEMO)


def test_a_set_of_the_name_that_serves_another_model_is_not_touched(tmp_path: Path) -> None:
    other = FILES["sets.yaml"].replace("faces-demo", "voice")
    with pytest.raises(UsageError, match=r"InferenceModelSet voice serves another model: sets.yaml:1"):
        tree(tmp_path, {"sets.yaml": other}).placed("voice", "onnx", DEMO)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "Faces"), ("name", "../x"), ("version", " 1"), ("version", "a\nb"), ("url", "ftp://x")],
)
def test_what_no_document_can_have_is_refused_before_anything_is_made(field: str, value: str) -> None:
    given: dict[str, Any] = {field: value}
    with pytest.raises(UsageError):
        entries.checked(replace(VOICE, **given).document())


@pytest.mark.parametrize("text", ["1", "no", "1e3", "0x1f", "2026-11-30", "a: b", "#", "it's", 'a"b', "~", "- x", "ä"])
def test_text_is_text_to_every_parser(text: str) -> None:
    document = VOICE.document()
    document["metadata"]["labels"] = {"a": text}
    document["spec"]["versions"][0]["version"] = text
    found = yaml.safe_load(entries.written(document))
    assert found["spec"]["versions"][0]["version"] == text
    assert str(found["metadata"]["labels"]["a"]) == text  # a date is text to kubectl and to us, not to this parser
