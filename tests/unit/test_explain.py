"""`explain` tells of every field and word what the schemas and the code have; the pages made of it are current."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.reference import pages
from reconciler.history import conditions
from reconciler.history.standing import WORDS
from reconciler.history.vocabulary import CONDITION, IN_CLUSTER, ON_EDGE, REASON, STANDING, VOCABULARY
from reconciler.model.crds import definition
from reconciler.model.declaration import declare
from reconciler.model.examples import EXAMPLES, examples
from reconciler.model.reference import Explained, called, every, explained
from reconciler.planning.kinds import models
from reconciler.planning.refusals import SERVABLE
from reconciler.sources.documents import read_documents
from tests.unit.conftest import Call

ROOT = Path(__file__).parents[2]
KINDS = models()
FIELDS = [one for row in KINDS.values() for one in every(row)]


def test_the_pages_are_current() -> None:
    """When this fails: `reconciler explain --write docs`."""
    assert {name: (ROOT / "docs" / name).read_text() for name in pages()} == pages()


def test_they_are_written_where_asked(call: Call, tmp_path: Path) -> None:
    assert call("explain", "--write", tmp_path / "new").code == 0
    assert {name: (tmp_path / "new" / name).read_text() for name in pages()} == pages()
    (tmp_path / "file").touch()
    assert call("explain", "--write", tmp_path / "file").code == 2
    assert "leave the topic out" in call("explain", "Edge", "--write", tmp_path).err


# ── fields ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_field_says_what_it_is() -> None:
    assert len(FIELDS) > 150
    assert [one.path for one in FIELDS if not one.description] == []


def test_every_field_that_can_be_declared_has_an_example() -> None:
    assert [one.path for one in FIELDS if one.example is None and ".status" not in one.path] == []
    assert not [one.path for one in FIELDS if one.example is not None and ".status" in one.path]


def test_the_examples_are_good() -> None:
    found, unreadable = read_documents("examples.yaml", EXAMPLES.encode())
    assert [*unreadable, *(problem for document in found for problem in declare(document, KINDS)[1])] == []
    assert len(found) == len(examples())
    assert {one["kind"] for one in examples()} == set(KINDS)


@pytest.mark.parametrize("kind", [name for name, row in KINDS.items() if row.is_ours])
def test_they_are_the_fields_of_the_definitions(kind: str) -> None:
    (version,) = definition(KINDS[kind])["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]

    def paths(node: dict[str, Any], path: str) -> list[str]:
        inner = node.get("items", node)
        below = [found for name, one in inner.get("properties", {}).items() for found in paths(one, f"{path}.{name}")]
        return [path, *below]

    there = [found for part in ("spec", "status") for found in paths(schema["properties"][part], f"{kind}.{part}")]
    assert [one.path for one in every(KINDS[kind]) if one.path.startswith((f"{kind}.spec", f"{kind}.status"))] == there


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("fleet.spec.prune.maxShare", {"type": "string", "default": "10%", "required": False}),
        ("Fleet.spec.prune", {"type": "object", "default": {"maxDeletes": 20, "maxShare": "10%"}}),
        ("im.spec.servingPort", {"type": "integer", "default": 0, "limits": ("0 to 65535",)}),
        ("ims.spec.edgeSelector", {"required": True, "default": None}),
        ("fleet.spec.drift.policy", {"values": ("correct", "report", "ignore"), "required": True}),
        ("fleets.spec.freeze.days", {"type": "list of string", "limits": ("at most 7 entries",)}),
        ("fleet.spec.adopt", {"type": "boolean", "default": False}),
        ("edge.metadata.labels", {"type": "map of string"}),
        ("edge.status.since", {"type": "time"}),
        ("edge.spec.pins[0].version", {"path": "Edge.spec.pins.version", "required": True}),
        ("mdl", {"type": "kind", "limits": ("also models, mdl", "ai.kubeedge.io/v1alpha1", "in a namespace")}),
    ],
)
def test_a_field_says_what_it_takes(path: str, wanted: dict[str, Any]) -> None:
    found = explained(path, KINDS)
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_a_pattern_is_told_in_words() -> None:
    assert explained("edge.spec.address", KINDS).refused[0].startswith("the text is not an IP address")
    assert explained("edge.spec.pins", KINDS).example["spec"]["pins"][0]["model"] == "defect"
    lines = {line.name: line.required for line in explained("edge.spec.pins", KINDS).fields}
    assert lines == {"model": False, "dataset": False, "version": True, "reason": False, "expires": False}


def test_a_kind_goes_by_name_plural_and_short_name() -> None:
    names = called(KINDS)
    assert {names[word].name for word in ("edge", "edges")} == {"Edge"}
    assert {names[word].name for word in ("im", "inferencemodel", "inferencemodels")} == {"InferenceModel"}


def test_what_is_unknown_is_refused_with_what_was_meant(call: Call) -> None:
    for topic, message, hint in (
        ("edge.spec.pinz", "Edge.spec has no field 'pinz'", "did you mean pins? `reconciler explain edge.spec.pins`"),
        ("edge.spec.pins.zzz", "Edge.spec.pins has no field 'zzz'", "it has model, dataset, version, reason, expires"),
        ("edge.spec.address.x", "Edge.spec.address has no field 'x'", "it has no fields"),
        ("edg.spec", "there is no kind 'edg'", "did you mean Edge?"),
        ("edgy", "nothing is called 'edgy'", "did you mean Edge?"),
        ("stagd", "nothing is called 'stagd'", "did you mean Staged?"),
        ("RX999", "there is no code RX999", "lists all there are"),
        ("zebra", "nothing is called 'zebra'", "a code as RX401"),
    ):
        said = call("explain", topic)
        assert (said.code, said.out) == (2, "")
        assert message in said.err
        assert hint in said.err


def test_it_is_told_to_programs_too(call: Call) -> None:
    field = json.loads(call("explain", "fleet.spec.prune.maxShare", "--output", "json").out)
    assert field["kind"] == "Field"
    assert (field["path"], field["default"], field["example"]) == (
        "Fleet.spec.prune.maxShare",
        "10%",
        {"spec": {"prune": {"maxShare": "10%"}}},
    )
    words = json.loads(call("explain", "staged", "--output", "json").out)
    assert [(one["word"], one["of"]) for one in words["words"]] == [("Staged", "phase")]


def test_it_is_told_to_people(call: Call) -> None:
    said = call("explain", "edge.spec.pins").out
    assert "list of object, optional, at most 128 entries" in said
    assert "    - model: defect\n" in said
    assert "REQUIRED" in said
    assert "publish a version that answers rightly" in call("explain", "rolledback").out


@pytest.mark.parametrize("topic", ["RX404", "Staged"])
def test_an_edge_explains_what_it_says_itself(topic: str) -> None:
    code = (
        "import sys\nsys.modules |= dict.fromkeys(('pydantic', 'yaml', 'git', 'kubernetes'))\n"
        f"from reconciler.cli.main import main\nsys.exit(main(['explain', {topic!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(topic)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def words_of(*groups: str) -> set[str]:
    return {one.word for one in VOCABULARY if one.of in groups}


def phases_in_the_code() -> set[str]:
    """Every text that is given to a phase, by whatever way the code gives it one."""
    found: set[str] = set()

    def texts(node: ast.AST | None) -> set[str]:
        inner = ast.walk(node) if node is not None else ()
        return {one.value for one in inner if isinstance(one, ast.Constant) and isinstance(one.value, str)}

    for path in (ROOT / "reconciler").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in {"_phase", "_progressed"}:
                    found |= texts(node.args[-1])
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    found |= texts(value) if isinstance(key, ast.Constant) and key.value == "phase" else set()
            elif "phase" in {getattr(node, "arg", ""), getattr(getattr(node, "target", None), "id", "")}:
                found |= texts(getattr(node, "value", None))
            elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "phase":
                found |= {text for other in node.comparators for text in texts(other)}
    return {word for word in found if word[:1].isupper()}


def test_every_phase_of_the_code_is_explained() -> None:
    found = phases_in_the_code()
    assert len(found) >= 10
    assert found - words_of(ON_EDGE, IN_CLUSTER) == set()
    shown = {"Unknown", "Drifted", "Retrying"}  # which status shows in place of the phase of an order
    assert words_of(ON_EDGE, IN_CLUSTER) - found == shown


def test_every_condition_and_reason_is_explained() -> None:
    reasons = {
        value
        for name, value in vars(conditions).items()
        if name.isupper() and isinstance(value, str) and name not in {"TRUE", "FALSE", "UNKNOWN"}
    }
    assert words_of(REASON) == reasons
    assert words_of(CONDITION) == {"Ready", "Reconciling", "Stalled"}
    assert words_of(STANDING) == set(WORDS)


def test_a_word_says_one_thing_and_names_no_kind() -> None:
    rows = [(one.word, one.of) for one in VOCABULARY]
    assert len(rows) == len(set(rows))
    assert not {one.word.lower() for one in VOCABULARY} & called(KINDS).keys()


def test_what_a_field_says_fits_a_line() -> None:
    long: list[Explained] = [one for one in FIELDS if len(one.description) > 260]
    assert [one.path for one in long] == []


def test_what_is_refused_is_a_sentence_whatever_the_text_was() -> None:
    """`there is no version the text` was one where the text only makes sense as a subject."""
    garbled = [(one.path, said) for one in FIELDS for said in one.refused if "the text" in said[1:]]
    assert garbled == []
    both, neither = (next(one for one in FIELDS if one.path == "Edge.spec.pins").refused[n] for n in (2, 1))
    assert ("both" in both, "neither" in neither) == (True, True)


@pytest.mark.parametrize("kind", ["InferenceModel.spec", "InferenceModelSet.spec.template.spec"])
def test_what_runs_on_an_edge_and_where_is_told(kind: str) -> None:
    for framework, port in SERVABLE.items():
        assert f"{port} for {framework}" in explained(f"{kind}.servingPort", KINDS).description
    served = " and ".join(sorted(SERVABLE))
    assert f"serve {served} alone" in explained(f"{kind}.frameworkType", KINDS).description
    refused = " ".join(explained(kind, KINDS).refused)
    if kind == "InferenceModel.spec":
        assert f"edges without Kubernetes serve {served}" in refused
