"""What can be declared, and everything that is said about what cannot."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.diagnostics import Diagnostic
from reconciler.model.declaration import Declaration, declare, identity_of
from reconciler.model.document import Document
from reconciler.model.expiry import expires_at
from reconciler.model.fields import INTEGER
from reconciler.model.identity import Identity
from reconciler.model.inference_model import FRAMEWORKS
from reconciler.model.kind import to_json
from reconciler.model.policy import DRIFTING
from reconciler.model.scalars import kubectl_reads
from reconciler.planning.drift_rules import policy_of, rules_of
from reconciler.planning.freeze import Freeze, frozen
from reconciler.planning.kinds import models
from reconciler.sources.documents import read_documents
from reconciler.web.problems import render_all

KINDS = models()

SHA = "dec87e2f3c06e60e554acac0b2b80e394c616b0ecdf878fab7f04fd414a66eff"
HEAD = "apiVersion: ai.kubeedge.io/v1alpha1\n"
SEED = f"""{HEAD}kind: InferenceModel
metadata:
  name: facialexpression
spec:
  modelName: facialexpression
  deployToLayer: edge
  frameworkType: tensorflow
  nodeSelector:
    kubernetes.io/hostname: precision-5820
  nodeName: precision-5820
  manifest:
    - version: '3'
      downloadURL: http://192.168.1.13/model_emotion_3.tar.gz
      sha256sum: {SHA}
    - version: '4'
      downloadURL: http://192.168.1.13/model_emotion_4.tar.gz
      sha256sum: 108a433a941411217e5d4bf9f43a262d0247a14c35ccbf677f63ba3b46ae6285
  targetVersion: '4'
  servingPort: 8080
  replicas: 1
"""
MODEL = f"""{HEAD}kind: Model
metadata: {{name: facialexpression}}
spec:
  frameworkType: onnx
  task: image-classification
  labels: [angry, happy, neutral, sad]
  versions:
    - version: '4'
      downloadURL: https://models.example.com/model_emotion_4.tar.gz
      sha256sum: {SHA.upper()}
      size: 5150000
      metrics: [{{name: accuracy, value: 0.976, dataset: faces@2026-11, split: test, source: measured}}]
"""
MODEL_SET = f"""{HEAD}kind: InferenceModelSet
metadata: {{name: facialexpression, labels: {{team: vision}}, annotations: {{example.com/why: "because: so"}}}}
spec:
  edgeSelector: {{matchLabels: {{camera: "true"}}}}
  defaultVersion: '4'
  template:
    spec: {{modelRef: facialexpression, modelName: facialexpression, deployToLayer: edge, frameworkType: onnx}}
"""
DATASET = f"""{HEAD}kind: Dataset
metadata: {{name: faces, namespace: data}}
spec:
  format: csv
  versions: [{{version: '2026-11', downloadURL: https://data.example.com/faces.csv.gz, sha256sum: {SHA}}}]
  defaultVersion: '2026-11'
  edges: {{bytes: {{matchLabels: {{ring: canary}}}}, metadata: {{matchLabels: {{}}}}}}
"""
EDGE = f"""{HEAD}kind: Edge
metadata: {{name: berlin-07, labels: {{site: berlin, ring: canary}}}}
spec:
  nodeName: precision-5820
  address: 127.0.0.2
  pins:
    - {{model: facialexpression, version: '3', reason: "4 misreads dark faces", expires: 2026-12-31}}
"""
FLEET = f"""{HEAD}kind: Fleet
metadata: {{name: fleet}}
spec:
  prune: {{maxDeletes: 5, maxShare: "10%"}}
  artifacts: {{requireDigest: true, allowLoopback: false}}
  drift:
    - {{kinds: [InferenceModel], fields: [spec.replicas], managers: [kubectl-edit], policy: ignore}}
  adopt: true
  freeze:
    - {{from: 2026-12-20, until: 2027-01-03, reason: the shops are full, scope: all}}
    - {{days: [fri], from: '12:00', until: '18:00', timeZone: Europe/Berlin, reason: it is Friday}}
"""
NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata: {name: berlin, labels: {team: vision}, annotations: {ai.kubeedge.io/prune: enabled}}
"""
SAMPLES = {
    "InferenceModel": SEED,
    "Model": MODEL,
    "InferenceModelSet": MODEL_SET,
    "Dataset": DATASET,
    "Edge": EDGE,
    "Fleet": FLEET,
    "Namespace": NAMESPACE,
}


def document(text: str) -> Document:
    documents, problems = read_documents("a.yaml", text.encode())
    assert problems == []
    assert len(documents) == 1
    return documents[0]


def declared(text: str) -> Declaration:
    declaration, problems = declare(document(text), KINDS)
    assert problems == []
    assert declaration is not None
    return declaration


def problems_of(text: str) -> list[Diagnostic]:
    declaration, problems = declare(document(text), KINDS)
    assert problems, "nothing was said"
    assert (declaration is None) == any(problem.severity == "error" for problem in problems)
    return problems


def problem_of(text: str) -> Diagnostic:
    (problem,) = problems_of(text)
    return problem


def model(**fields: str) -> str:
    """An InferenceModel in flow style; a field given as "" is left out."""
    spec = {
        "modelName": "m",
        "deployToLayer": "edge",
        "frameworkType": "onnx",
        "nodeName": "node-1",
        "manifest": "[{version: '1', downloadURL: 'http://h/x'}]",
    } | fields
    lines = "".join(f"  {name}: {value}\n" for name, value in spec.items() if value)
    return f"{HEAD}kind: InferenceModel\nmetadata: {{name: m}}\nspec:\n{lines}"


def shown(problem: Diagnostic) -> str:
    """The text under the caret."""
    return problem.snippet[problem.column - 1 :][: problem.width]


# ── what is accepted ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_has_a_sample() -> None:
    assert SAMPLES.keys() == KINDS.keys()


def test_the_seeds_sample_is_accepted_verbatim() -> None:
    found = declared(SEED)
    assert found.identity == Identity("InferenceModel", "default", "facialexpression")
    assert to_json(found.spec) == {
        "modelName": "facialexpression",
        "deployToLayer": "edge",
        "frameworkType": "tensorflow",
        "nodeSelector": {"kubernetes.io/hostname": "precision-5820"},
        "nodeName": "precision-5820",
        "manifest": [
            {"version": "3", "downloadURL": "http://192.168.1.13/model_emotion_3.tar.gz", "sha256sum": SHA},
            {
                "version": "4",
                "downloadURL": "http://192.168.1.13/model_emotion_4.tar.gz",
                "sha256sum": "108a433a941411217e5d4bf9f43a262d0247a14c35ccbf677f63ba3b46ae6285",
            },
        ],
        "targetVersion": "4",
        "servingPort": 8080,
        "replicas": 1,
    }


@pytest.mark.parametrize("kind", SAMPLES)
def test_json_and_back(kind: str) -> None:
    found = declared("# a comment\n\n" + SAMPLES[kind])
    assert (found.identity.kind, found.path, found.index, found.line) == (kind, "a.yaml", 0, 3)
    spoken = json.loads(json.dumps(to_json(found.spec)))
    again = KINDS[kind].spec.model_validate(spoken)
    assert again == found.spec
    assert to_json(again) == spoken
    filled = to_json(found.spec, defaults=True)
    assert to_json(KINDS[kind].spec.model_validate(filled), defaults=True) == filled


def test_metadata() -> None:
    found = declared(MODEL_SET)
    assert found.labels == {"team": "vision"}
    assert found.annotations == {"example.com/why": "because: so"}
    assert declared(DATASET).identity == Identity("Dataset", "data", "faces")
    assert declared(EDGE).identity == Identity("Edge", "", "berlin-07")


def test_defaults_are_filled_in_on_request() -> None:
    spec = declared(f"{HEAD}kind: Fleet\nmetadata: {{name: fleet}}\n").spec
    assert to_json(spec) == {}
    assert to_json(spec, defaults=True) == {
        "prune": {"maxDeletes": 20, "maxShare": "10%"},
        "artifacts": {"requireDigest": True, "allowLoopback": False, "allowFile": False},
        "drift": [],
        "adopt": False,
        "overrideManagers": [],
        "freeze": [],
    }
    edge = declared(f"{HEAD}kind: Edge\nmetadata: {{name: e}}\nspec: {{}}\n").spec
    assert to_json(edge, defaults=True) == {"address": "127.0.0.1", "pins": []}


def test_the_policy_of_a_fleet_is_plain_json_with_defaults() -> None:
    spec = to_json(declared(FLEET).spec, defaults=True)
    (rule,), (once, weekly) = spec["drift"], spec["freeze"]
    assert policy_of("InferenceModel", "spec.replicas", "kubectl-edit", rules_of(spec)) == rule["policy"] == "ignore"
    assert policy_of("InferenceModel", "spec.replicas", "kubectl", rules_of(spec)) == "correct"
    assert once == {
        "days": [],
        "from": "2026-12-20",
        "until": "2027-01-03",
        "reason": "the shops are full",
        "scope": "all",
    }
    assert weekly["scope"] == "changes"
    assert frozen(spec, "2026-12-24T08:00:00Z") == Freeze("the shops are full", "2027-01-04T00:00:00Z", all=True)
    assert frozen(spec, "2026-07-03T10:00:00Z") == Freeze("it is Friday", "2026-07-03T16:00:00Z")


def test_what_the_template_shows_in_comments_is_a_policy() -> None:
    text = (Path(__file__).parents[2] / "repo-template" / "fleet.yaml").read_text()
    shown = re.sub(r"^  # (?!What)", "  ", text, flags=re.MULTILINE)
    spec = to_json(declared(shown).spec)
    assert [len(spec["freeze"]), len(spec["drift"]), spec["adopt"]] == [2, 1, True]
    assert {"freeze", "drift", "adopt"}.isdisjoint(to_json(declared(text).spec))


def test_the_kinds_of_drift_rules_are_the_kinds_that_there_are() -> None:
    assert set(DRIFTING) == set(KINDS)


@pytest.mark.parametrize(
    ("begin", "until", "zone"),
    [
        ("2026-12-20", "2026-12-20", ""),
        ("2026-12-20T12:00:00Z", "2026-12-20", ""),
        ("2026-12-20", "2026-12-20T00:00:00.000001Z", ""),
        ("2026-12-20T12:00:00+14:00", "2026-12-19T23:00:00Z", "Asia/Tokyo"),
        ("2026-12-20", "2026-12-19T16:00:00Z", "Asia/Tokyo"),  # the day begins there at 15:00 UTC
        ("0001-01-01", "9999-12-31", "America/New_York"),
    ],
)
def test_windows_that_are_short_or_long(begin: str, until: str, zone: str) -> None:
    window = f"- {{from: '{begin}', until: '{until}', timeZone: '{zone}', reason: r}}\n"
    declared(FLEET.partition("  freeze:")[0] + "  freeze:\n    " + window)


@pytest.mark.parametrize(
    ("begin", "until"),
    [("2026-12-20T12:00:00Z", "2026-12-20T12:00:00Z"), ("2026-12-21", "2026-12-20T23:59:59Z")],
)
def test_windows_that_never_hold(begin: str, until: str) -> None:
    text = FLEET.replace("2026-12-20", begin).replace("2027-01-03", until)
    assert "ends before it begins" in problem_of(text).message


def test_nothing_null_and_empty_text_are_not_set() -> None:
    plain = declared(model()).spec
    assert declared(model(image="''", targetVersion="", nodeSelector="{}", replicas="~")).spec == plain
    assert "image" not in to_json(declared(model(image="''")).spec)
    assert "replicas" not in to_json(plain, defaults=True)
    assert to_json(declared(model(replicas="0")).spec)["replicas"] == 0


def test_selectors_everything_and_nothing() -> None:
    spec = to_json(declared(DATASET.replace("{matchLabels: {ring: canary}}", "{}")).spec)
    assert spec["edges"]["bytes"] == {}
    absent = to_json(declared(DATASET.replace("bytes: {matchLabels: {ring: canary}}", "bytes: ")).spec, defaults=True)
    assert "bytes" not in absent["edges"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_known_frameworks(framework: str) -> None:
    assert to_json(declared(model(frameworkType=framework)).spec)["frameworkType"] == framework


@pytest.mark.parametrize("layer", ["cloud", "edge"])
def test_an_image_needs_no_manifest_and_makes_the_framework_informational(layer: str) -> None:
    declared(model(deployToLayer=layer, frameworkType="homegrown", image="registry/x:1", manifest=""))
    declared(model(image="registry/x:1", targetVersion="'9'"))


def test_a_model_of_the_catalogue_needs_no_manifest() -> None:
    declared(model(manifest="", modelRef="facialexpression", targetVersion="'4'"))


def test_the_only_version_is_the_target() -> None:
    assert to_json(declared(model()).spec, defaults=True)["targetVersion"] == "1"
    assert "targetVersion" not in to_json(declared(model()).spec)


def test_fault_115_texts_stay_as_written() -> None:
    manifest = "[{version: '1.10', downloadURL: 'http://h/x'}, {version: '1.1', downloadURL: 'http://h/y'}]"
    assert to_json(declared(model(manifest=manifest, targetVersion="'1.10'")).spec)["targetVersion"] == "1.10"
    found, problems = declare(document(model(manifest=manifest.replace("'", ""), targetVersion="1.10")), KINDS)
    assert found is not None
    assert to_json(found.spec)["targetVersion"] == "1.10"
    assert [(p.code, shown(p)) for p in problems] == [("RX217", "1.10"), ("RX217", "1.1"), ("RX217", "1.10")]
    assert all(p.severity == "warning" and p.help.startswith("quote it: '1.1") for p in problems)


def test_fault_115_an_all_digit_digest_is_a_warning() -> None:
    text = model(manifest=f"[{{version: a, downloadURL: 'http://h/x', sha256sum: {'0' * 64}}}]")
    assert problem_of(text).code == "RX217"
    found, _ = declare(document(text), KINDS)
    assert found is not None
    assert to_json(found.spec)["manifest"][0]["sha256sum"] == "0" * 64


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        *(("no", "a boolean"), ("On", "a boolean"), ("y", "a boolean"), ("TRUE", "a boolean"), ("NULL", "null")),
        *(("1.10", "a number"), ("012", "a number"), ("1e3", "a number"), ("0x1F", "a number"), ("1_000", "a number")),
        *(("-.5", "a number"), (".inf", "a number"), ("+5", "a number"), (".NaN", "a number"), ("0b1", "a number")),
        *(("12:30:45", ""), ("2026-11-01", ""), ("1.2.3", ""), ("v1", ""), ("nope", ""), ("1234e56x", ""), ("", "")),
        *(("yEs", ""), ("nan", ""), ("-", ""), (".", ""), ("e3", "")),
    ],
)
def test_fault_115_what_kubectl_reads(text: str, read_as: str) -> None:
    assert kubectl_reads(text) == read_as


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value", ["1_000", "' 8 '", "8080.0", "+5", "010", "nan", "y", "'80'", "0x10", "1e3", "[]", "9" * 20]
)
def test_fault_116_integers_have_one_grammar(value: str) -> None:
    problem = problem_of(model(servingPort=value))
    assert problem.code == "RX212"
    assert shown(problem) == value
    assert problem.help


@pytest.mark.parametrize("value", ["yes", "'true'", "True", "1", "on", "{}"])
def test_fault_116_booleans_have_one_grammar(value: str) -> None:
    problem = problem_of(FLEET.replace("requireDigest: true", f"requireDigest: {value}"))
    assert (problem.code, shown(problem)) == ("RX212", value)
    assert problem.help == "write true or false, unquoted"


@pytest.mark.parametrize("value", ["1_0.5", ".5", "nan", ".inf", "'0.9'", "1.", "+0.9", "1e999"])
def test_fault_116_numbers_have_one_grammar(value: str) -> None:
    problem = problem_of(MODEL.replace("0.976", value))
    assert (problem.code, shown(problem)) == ("RX212", value)


def test_fault_116_a_quoted_number_is_told_to_lose_its_quotes() -> None:
    assert "remove the quotes" in problem_of(model(replicas='"2"')).help


@given(st.text(st.sampled_from("0123456789+-_.eExob "), min_size=1, max_size=8))
def test_fault_116_what_passes_as_an_integer_is_the_same_everywhere(text: str) -> None:
    if INTEGER.fullmatch(text):
        assert str(int(text)) == text or text == "-0"
        assert json.loads(text) == int(text)


def test_typed_json_is_taken_as_it_is() -> None:
    spec: dict[str, Any] = to_json(declared(model(servingPort="8080")).spec)
    assert spec["servingPort"] == 8080
    for wrong in (8080.0, True, "8080"):
        with pytest.raises(ValueError, match="expected an integer"):
            KINDS["InferenceModel"].spec.model_validate(spec | {"servingPort": wrong})
    with pytest.raises(ValueError, match="expected text"):
        KINDS["InferenceModel"].spec.model_validate(spec | {"targetVersion": 1})


def test_fault_117_a_misspelt_field_is_one_problem_with_the_nearest_name() -> None:
    problem = problem_of(model(modelName="").replace("spec:\n", "spec:\n  modelNmae: m\n"))
    assert (problem.code, problem.place, shown(problem)) == ("RX210", "a.yaml:5:3", "modelNmae")
    assert problem.help == "did you mean modelName?"
    assert problem_of(model(nodeName="").replace("spec:\n", "spec:\n  nodName: m\n")).help == "did you mean nodeName?"


@pytest.mark.parametrize(
    ("text", "place", "word", "advice"),
    [
        (SEED.replace("sha256sum", "sha256Sum", 1), "a.yaml:15:7", "sha256Sum", "did you mean sha256sum?"),
        (
            SEED + "status: {}\n",
            "a.yaml:22:1",
            "status",
            "remove it: status is what is observed, never what is declared",
        ),
        (EDGE.replace("reason", "cause"), "a.yaml:8:47", "cause", "there is model, dataset, version, reason, expires"),
        (
            SEED.replace("  name:", "  uid: x\n  name:"),
            "a.yaml:4:3",
            "uid",
            "there is name, namespace, labels, annotations",
        ),
        (MODEL_SET.replace("modelRef:", "targetVersion: '3', modelRef:"), "a.yaml:8:12", "targetVersion", ""),
        (FLEET.replace("artifacts", "garbage"), "a.yaml:6:3", "garbage", "there is prune, artifacts"),
        (FLEET.replace("from: 2", "form: 2"), "a.yaml:11:8", "form", "did you mean from?"),
    ],
)
def test_fault_117_unknown_fields(text: str, place: str, word: str, advice: str) -> None:
    problem = problem_of(text)
    assert (problem.code, problem.place, shown(problem)) == ("RX210", place, word)
    assert problem.help.startswith(advice)


def test_fault_119_all_problems_of_a_document_at_once() -> None:
    text = model(
        modelName="",
        deployToLayer="egde",
        frameworkType="onx",
        servingPort="70000",
        replicas="-1",
        manifest=f"[{{version: '1', downloadURL: 'http://h/x', sha256sum: {SHA[:-1]}}}]",
    )
    assert [(p.code, p.line, shown(p)) for p in problems_of(text)] == [
        ("RX211", 4, "spec"),
        ("RX213", 5, "egde"),
        ("RX213", 6, "onx"),
        ("RX213", 8, SHA[:-1]),
        ("RX213", 9, "70000"),
        ("RX213", 10, "-1"),
    ]


@pytest.mark.parametrize(
    ("text", "code", "under_caret", "said"),
    [
        (model(deployToLayer="device"), "RX213", "device", "not one of cloud, edge"),
        (model(frameworkType="onx"), "RX213", "onx", "is none of tensorflow, onnx"),
        (model(servingPort="65536"), "RX213", "65536", "between 0 and 65535"),
        (model(manifest=""), "RX211", "spec", "nothing says where the model is"),
        (model(manifest="[]"), "RX211", "spec", "nothing says where the model is"),
        (model(modelRef="x"), "RX213", "x", "both say which versions"),
        (model(nodeName=""), "RX211", "edge", "needs a nodeName or a nodeSelector"),
        (model(targetVersion="'2'"), "RX215", "'2'", "there is no version '2'"),
        (SEED.replace("  targetVersion: '4'\n", ""), "RX211", "spec", "several versions"),
        (SEED.replace("- version: '4'", "- version: '3'").replace("targetVersion: '4'", "targetVersion: '3'"),
         "RX213", "'3'", "stands twice, first as entry 1"),
        (model(manifest="[{version: '1'}]"), "RX211", "{", "spec.manifest[0].downloadURL is missing"),
        (model(manifest="{}"), "RX212", "{}", "expected a list, found a mapping"),
        (model(manifest="[x]"), "RX212", "x", "expected a mapping, found x"),
        (model(modelName="[a]"), "RX212", "[a]", "expected text, found a list"),
        (model(modelName="A_b"), "RX213", "A_b", "'A_b' is not a name"),
        (model(nodeSelector="{a b: c}"), "RX213", "c", "'a b' is not a key"),
        (model(nodeSelector="{a: [b]}"), "RX212", "[b]", "expected text"),
        (model(targetVersion='"1\\u200b"'), "RX213", '"1\\u200b"', "is not a version"),
        (EDGE.replace("127.0.0.2", "localhost"), "RX213", "localhost", "not an IP address"),
        (EDGE.replace("model: facialexpression, ", ""), "RX211", "{", "names neither a model nor a dataset"),
        (EDGE.replace("{model:", "{dataset: d, model:"), "RX213", "{", "names both a model and a dataset"),
        (EDGE.replace("2026-12-31", "2026-13-31"), "RX213", "2026-13-31", "neither a date nor"),
        (EDGE.replace("2026-12-31", "2026-12-31T18:00:00"), "RX213", "2026-12-31T18:00:00", "neither a date nor"),
        (EDGE + "    - {model: facialexpression, version: '2'}\n", "RX213", "{", "pinned twice, first by entry 1"),
        (FLEET.replace('"10%"', "10"), "RX213", "10", "not a share"),
        (FLEET.replace('"10%"', "101%"), "RX213", "101%", "not a share"),
        (FLEET.replace("policy: ignore", "policy: ignored"), "RX213", "ignored", "not one of correct, report, ignore"),
        (FLEET.replace(", policy: ignore", ""), "RX211", "{", "spec.drift[0].policy is missing"),
        (FLEET.replace("kinds: [InferenceModel]", "kinds: [InferenceModle]"), "RX213", "InferenceModle", "not one of"),
        (FLEET.replace("[spec.replicas]", "[replicas]"), "RX213", "replicas", "'replicas' is not a field's path"),
        (FLEET.replace("[spec.replicas]", "[specification]"), "RX213", "specification", "is not a field's path"),
        (FLEET.replace("[kubectl-edit]", '["kubectl\\n"]'), "RX213", '"kubectl', "is not a field manager"),
        (FLEET.replace("adopt: true", "adopt: always"), "RX212", "always", "expected true or false"),
        (FLEET.replace("2026-12-20", "2026-12-32"), "RX213", "2026-12-32", "neither a date nor"),
        (FLEET.replace("2026-12-20", "20261220"), "RX213", "20261220", "neither a date nor"),
        (FLEET.replace("until: 2027-01-03", "until: 2026-12-19"), "RX213", "2026-12-19", "ends before it begins"),
        (FLEET.replace("from: 2026-12-20, ", ""), "RX211", "{", "spec.freeze[0].from is missing"),
        (FLEET.replace("from: 2026-12-20", "form: 2026-12-20"), "RX210", "form", "has no field 'form'"),
        (FLEET.replace(", reason: it is Friday", ""), "RX211", "{", "spec.freeze[1].reason is missing"),
        (FLEET.replace("scope: all", "scope: everything"), "RX213", "everything", "not one of changes, all"),
        (FLEET.replace("days: [fri], ", ""), "RX213", "'12:00'", "neither a date nor"),
        (FLEET.replace("[fri]", "[friday]"), "RX213", "friday", "not one of mon, tue"),
        (FLEET.replace("'12:00'", "'24:00'"), "RX213", "'24:00'", "not a time of day"),
        (FLEET.replace("'18:00'", "6 pm"), "RX213", "6 pm", "not a time of day"),
        (FLEET.replace("Europe/Berlin", "Europe/Berlni"), "RX213", "Europe/Berlni", "not a time zone"),
        (FLEET.replace("Europe/Berlin", "../../etc/passwd"), "RX213", "../../etc", "not a time zone"),
        (model(manifest=f"[{{version: '1', downloadURL: 'http://h/{'x' * 2048}'}}]"), "RX213", "'http", "2,057"),
        (EDGE.replace("127.0.0.2", "fe80::1%eth0"), "RX213", "fe80::1%eth0", "not an IP address"),
        (EDGE.replace("127.0.0.2", '"::ffff:127.0.0.2"'), "RX213", '"::ffff', "not an IP address"),
        (model(nodeSelector=f"{{{', '.join(f'l{n}: v' for n in range(65))}}}"), "RX213", "{l0", "it has 65 entries"),
        (MODEL.replace("onnx", "onx"), "RX213", "onx", "not one of"),
        (DATASET.replace("csv\n", "parquet\n"), "RX213", "parquet", "csv, txt, voc, coco, yolo, jsonl"),
        (DATASET.replace("defaultVersion: '2026-11'", "defaultVersion: '2026-12'"), "RX215", "'2026-12'", "no version"),
        (MODEL_SET.replace("Layer: edge", "Layer: cloud"), "RX213", "cloud", "not one of edge"),
        (MODEL_SET.replace("edgeSelector: {matchLabels", "# {"), "RX211", "spec", "edgeSelector is missing"),
        (SEED.partition("spec:")[0] + "spec:\n", "RX211", "spec", "spec.modelName is missing"),
    ],
)  # fmt: skip
def test_rules(text: str, code: str, under_caret: str, said: str) -> None:
    problem = next(p for p in problems_of(text) if p.severity == "error")
    assert (problem.code, said in problem.message) == (code, True), problem
    assert shown(problem).startswith(under_caret)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://h/x", "its scheme is none of"),
        ("'http:///x'", "it names no host"),
        ("https://user:hunter2@h/x", "it carries credentials"),
        ("https://tok-hunter2@h/x", "it carries credentials"),
        ("'http://h/x y'", "blanks or control"),
        ('"http://h/\\n"', "blanks or control"),
        ("http://h:99999/x", "Port out of range"),
        ("'http://[::1/x'", "Invalid IPv6"),
        ("models/x.tar", "its scheme is none of"),
    ],
)
def test_fault_149_urls_are_checked_and_never_repeat_a_secret(url: str, reason: str) -> None:
    problem = problem_of(model(manifest=f"[{{version: '1', downloadURL: {url}}}]"))
    assert problem.code == "RX213"
    assert reason in problem.message
    assert "hunter2" not in json.dumps(problem.as_dict()) + render_all([problem])


@pytest.mark.parametrize("url", ["https://h/x", "http://127.0.0.1:8/x?a=b", "file:///srv/x", "https://[::1]/x"])
def test_urls_whose_address_is_judged_elsewhere(url: str) -> None:
    declared(model(manifest=f"[{{version: '1', downloadURL: '{url}'}}]"))


@pytest.mark.parametrize(
    "name", ["fаce", "\u202eecaf", "fa\u200bce", "Face", "-a", "a..b", "a" * 254, "a/b", "ｆace"]
)  # the fault
def test_fault_120_names_are_dns_1123(name: str) -> None:
    problem = problem_of(SEED.replace("name: facialexpression", f'name: "{name}"', 1))
    assert problem.code == "RX213"
    assert problem.message.isascii()
    assert "DNS-1123" in problem.help


def test_fault_45_limits_of_names_labels_and_annotations() -> None:
    declared(EDGE.replace("site: berlin", f"example.com/{'a' * 63}: {'b' * 63}"))
    for labels in (f"{'a' * 64}: b", f"a: {'b' * 64}", f"{'a.' * 127}aa/b: c", "a: b c", "a/b/c: d", "'': d"):
        assert problem_of(EDGE.replace("site: berlin", labels)).code == "RX213"
    annotations = f"annotations: {{a: {'x' * 2**18}}}, name:"
    assert "256 KiB" in problem_of(EDGE.replace("name:", annotations, 1)).message
    assert problem_of(SEED.replace("  name:", f"  namespace: {'a' * 64}\n  name:")).code == "RX213"


def test_fault_45_an_object_is_measured_as_the_cluster_keeps_it() -> None:
    """A short document with many short texts is larger as JSON: four bytes for each `a,`."""
    large = MODEL.replace("[angry, happy, neutral, sad]", f"[{'a,' * 2**18}]")
    assert len(large) < 2**20
    problem = problem_of(large)
    assert problem.code == "RX205"
    assert "as JSON; a cluster keeps 1 MiB" in problem.message
    declared(MODEL.replace("[angry, happy, neutral, sad]", f"[{'a,' * 2**17}]"))


# ── which object it is ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "code", "identity"),
    [
        (SEED.replace("kind: InferenceModel\n", ""), "RX208", None),
        (SEED.replace(HEAD, ""), "RX208", None),
        (SEED.replace("  name: facialexpression\n", "  labels: {}\n"), "RX208", None),
        (SEED.replace("metadata:\n  name: facialexpression\n", ""), "RX208", None),
        (SEED.replace("kind: InferenceModel", "kind: InferenceModle"), "RX209", None),
        (SEED.replace("ai.kubeedge.io", "apps"), "RX209", Identity("InferenceModel", "", "facialexpression")),
        (SEED.replace("v1alpha1", "vlalphal"), "RX213", Identity("InferenceModel", "default", "facialexpression")),
        (SEED.replace("modelName", "model"), "RX210", Identity("InferenceModel", "default", "facialexpression")),
        (EDGE.replace("name: berlin-07", "name: berlin-07, namespace: x"), "RX213", Identity("Edge", "", "berlin-07")),
        ("[a, b]\n", "RX207", None),
        ("text\n", "RX207", None),
    ],
)  # fmt: skip
def test_identity_survives_a_wrong_spec(text: str, code: str, identity: Identity | None) -> None:
    assert code in [problem.code for problem in problems_of(text)]
    assert identity_of(document(text), KINDS) == identity


def test_what_is_no_mapping_is_told_how_a_document_begins() -> None:
    assert "`apiVersion: `" in problem_of("text\n").help


def test_a_misspelt_kind_is_told_the_nearest() -> None:
    problem = problem_of(SEED.replace("kind: InferenceModel", "kind: inferencemodel"))
    assert (problem.code, shown(problem), problem.help) == ("RX209", "inferencemodel", "did you mean InferenceModel?")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (SEED + "  x: [1\n", True),  # broken behind the identity
        (SEED.replace("spec:", "spec: &a"), True),
        (SEED.replace("  modelName:", "  replicas: 2\n  modelName:"), True),  # a duplicate in the spec
        (SEED.replace("  name: fac", "  name: [\n  name: fac"), False),
        (SEED.replace("spec:", "  name: other\nspec:"), False),
        (SEED.replace("spec:", "kind: Model\nspec:"), False),
        (SEED.replace("  name:", "  labels: a: b\n  name:"), False),
        (SEED.replace("spec:", "  labels: a: b\n  namespace: other\nspec:"), False),
        ("\t" + SEED, False),
    ],
)
def test_identity_of_what_the_reader_refused(text: str, known: bool) -> None:
    (broken,), problems = read_documents("a.yaml", text.encode())
    assert broken.broken
    assert problems
    assert declare(broken, KINDS) == (None, [])
    expected = Identity("InferenceModel", "default", "facialexpression")
    assert identity_of(broken, KINDS) == (expected if known else None)


def test_identity_text() -> None:
    for identity in (Identity("Edge", "", "a.b"), Identity("Model", "default", "m")):
        assert Identity.parse(str(identity)) == identity
    assert str(Identity("Edge", "", "berlin-07")) == "Edge//berlin-07"


def test_expiry() -> None:
    assert expires_at("1970-01-01") == 86_400
    assert expires_at("1970-01-01T01:00:00+01:00") == expires_at("1970-01-01T00:00:00z") == 0
    assert expires_at("1970-01-01T00:00:00.5Z") == 0.5
    assert expires_at("9999-12-31") == expires_at("9999-12-31T23:59:59Z")  # "for ever", as people write it
    for wrong in ("", "tomorrow", "19700101", "1970-01-01T00:00:00", "1970-02-30", "１９７０-01-01"):
        with pytest.raises(ValueError, match="neither a date"):
            expires_at(wrong)


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────────────

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["edge", "onnx", "http://h/x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_any_spec_is_declared_or_explained(data: st.DataObject, kind: str) -> None:
    known = list(KINDS[kind].spec.model_fields)
    spec = data.draw(st.dictionaries(st.sampled_from([*known, "x"]) | st.text(max_size=5), values, max_size=5))
    metadata = {"name": "x", "annotations": {"ai.kubeedge.io/prune": "enabled"}}
    head = {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata}
    text = json.dumps(head | {"spec": spec})
    for read in read_documents("a.yaml", text.encode())[0]:
        declaration, problems = declare(read, KINDS)
        assert (declaration is None) == (read.broken or any(problem.severity == "error" for problem in problems))
        render_all(problems).encode()
        if declaration is not None:
            assert KINDS[kind].spec.model_validate(to_json(declaration.spec)) == declaration.spec


@pytest.mark.parametrize("name", ["operation-id", "commit", "seq", "stage", "install"])
def test_the_reconcilers_own_annotations_are_refused(name: str) -> None:
    own = f"annotations: {{ai.kubeedge.io/{name}: x}}, name:"
    assert "the reconciler's own" in problem_of(EDGE.replace("name:", own, 1)).message


def test_the_mark_of_an_install_is_no_label_that_anybody_declares() -> None:
    marked = EDGE.replace("labels: {", "labels: {ai.kubeedge.io/install: x, ")
    assert "the reconciler's own" in problem_of(marked).message


@pytest.mark.parametrize(
    ("head", "ours"),
    [
        ("apiVersion: v1\nmetadata: {name: a, annotations: {ai.kubeedge.io/prune: enabled}}", True),
        ("apiVersion: v1\nmetadata: {name: a, annotations: {ai.kubeedge.io/kept: ''}}", True),
        ("apiVersion: v1\nmetadata: {name: a, annotations: {ai.kubeedge.io.example.com/kept: x}}", False),
        ("apiVersion: v1\nmetadata: {name: a, labels: {ai.kubeedge.io/kept: x}}", False),
        ("apiVersion: v1\nmetadata: {name: a, annotations: [ai.kubeedge.io/kept]}", False),
        ("apiVersion: v1\nmetadata: {name: a}", False),
        (
            "apiVersion: ai.kubeedge.io/v1alpha1\nmetadata: {name: a, annotations: {ai.kubeedge.io/prune: enabled}}",
            False,
        ),
    ],
)
def test_a_namespace_is_ours_where_an_annotation_of_our_group_says_so(head: str, ours: bool) -> None:
    one = document(f"{head}\nkind: Namespace\n")
    declaration, problems = declare(one, KINDS)
    assert (declaration is not None) == ours
    assert ours or {problem.code for problem in problems} == {"RX209"}
    if declaration is not None:
        assert declaration.identity == identity_of(one, KINDS) == Identity("Namespace", "", "a")


def test_a_namespace_says_nothing_but_its_metadata() -> None:
    spec = NAMESPACE + "spec: {finalizers: [kubernetes]}\n"
    assert "spec has no field 'finalizers'" in problem_of(spec).message
    assert (
        "belong to the whole cluster" in problem_of(NAMESPACE.replace("name: berlin", "name: b, namespace: x")).message
    )
