"""The CRDs on a real API server: accepted, and refusing what we refuse, in our words."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.planning.kinds import models
from tests.cluster.crd_documents import SHA, asked, changed, refused, sample
from tests.control_plane.our_objects import CRDS, DIRECTORY
from tests.control_plane.plane import ControlPlane

KINDS = {name: row for name, row in models().items() if row.is_ours}

ROOT = Path(__file__).parents[2]
ENTRY = {"version": "1", "downloadURL": "http://h/x"}


# ── what is accepted ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_crd_is_accepted_and_established(cluster: ControlPlane) -> None:
    for path in sorted(DIRECTORY.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        there = cluster.get(f"{CRDS}/{crd['metadata']['name']}")
        said = {one["type"]: (one["status"], one.get("message")) for one in there["status"]["conditions"]}
        assert said["Established"][0] == "True", path.name
        assert said["NamesAccepted"][0] == "True", said
        assert "NonStructuralSchema" not in said, said
        assert there["spec"]["names"] == crd["spec"]["names"]
        (version,) = there["spec"]["versions"]
        assert version["schema"] == crd["spec"]["versions"][0]["schema"]  # nothing of it was dropped


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_are_accepted(cluster: ControlPlane, kind: str) -> None:
    """Among them the seed's own, verbatim."""
    assert asked(cluster, sample(kind)) == (201, "")
    assert refused(sample(kind)) == ""


def test_the_template_is_accepted(cluster: ControlPlane) -> None:
    paths = sorted((ROOT / "repo-template").rglob("*.yaml"))
    documents = [one for path in paths for one in yaml.safe_load_all(path.read_text())]
    assert {one["kind"] for one in documents} == {"Fleet", "Model", "InferenceModelSet", "Dataset", "Edge"}
    for document in documents:
        assert asked(cluster, document) == (201, "")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("InferenceModel", {"targetVersion": "", "manifest": [ENTRY]}),
        ("InferenceModel", {"nodeName": "", "image": "", "modelRef": ""}),
        ("InferenceModel", {"manifest": None, "targetVersion": "", "image": "registry/x:1", "frameworkType": "own"}),
        ("InferenceModel", {"manifest": [], "modelRef": "facialexpression", "targetVersion": "4"}),
        ("InferenceModel", {"deployToLayer": "cloud", "nodeName": None, "nodeSelector": None}),
        ("InferenceModel", {"replicas": 0, "servingPort": 0}),
        ("InferenceModel", {"manifest.0.sha256sum": "", "manifest.1.sha256sum": SHA.upper()}),
        ("InferenceModel", {"manifest.0.version": "v1.10 rc-ü", "targetVersion": "4"}),
        ("InferenceModelSet", {"defaultVersion": ""}),
        ("InferenceModelSet", {"edgeSelector": {}}),
        ("Model", {"versions.0.metrics": [{"name": "accuracy", "value": 1}]}),
        ("Dataset", {"defaultVersion": None, "edges": {}}),
        ("Dataset", {"versions": [], "defaultVersion": ""}),
        ("Edge", {"pins": [], "address": "::1", "nodeName": ""}),
        (
            "Edge",
            {"pins.0": {"dataset": "faces", "version": "1", "expires": "2028-02-29T23:59:59Z"}},
        ),
        ("Edge", {"pins": [{"dataset": "a", "version": "1"}, {"model": "a", "version": "1", "dataset": ""}]}),
        ("Fleet", {"drift": [{"policy": "report"}], "freeze": [], "adopt": False}),
        ("Fleet", {"drift.0.fields": ['labels["a/*"]', "spec", "*.image"]}),
        ("Fleet", {"freeze.0.scope": "", "freeze.0.timeZone": ""}),
        ("Fleet", {"freeze.0.from": "2026-12-20t12:00:00.5+01:00", "freeze.1.until": "24:00"}),
    ],
)
def test_what_we_take_it_takes(cluster: ControlPlane, kind: str, fields: dict[str, Any]) -> None:
    assert refused(changed(kind, **fields)) == ""
    assert asked(cluster, changed(kind, **fields)) == (201, "")


def test_fields_without_a_value_are_not_set(cluster: ControlPlane) -> None:
    document = changed("InferenceModel", nodeName=None)
    document["spec"] |= {"image": None, "modelRef": None, "nodeName": None, "replicas": None}
    assert refused(document) == ""
    assert asked(cluster, document) == (201, "")


@pytest.mark.parametrize("url", ["https://h/x?a=b@c", "HTTP://127.0.0.1:8/x", "file:///srv/x", "https://[::1]:443"])
def test_urls_that_are_taken(cluster: ControlPlane, url: str) -> None:
    document = changed("InferenceModel", **{"manifest.0.downloadURL": url})
    assert refused(document) == ""
    assert asked(cluster, document) == (201, "")


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = [  # kind, what is changed, the field that is named, the words that both say
    ("InferenceModel", {"targetVersion": "9"}, "spec.targetVersion", "there is no version '9'"),
    (
        "InferenceModel",
        {"targetVersion": ""},
        "spec.targetVersion",
        "several versions, and nothing says which is meant",
    ),
    (
        "InferenceModel",
        {"manifest": None},
        "spec.manifest",
        "nothing says where the model is: there is no manifest, no image and no modelRef; add a manifest",
    ),
    ("InferenceModel", {"manifest": []}, "spec.manifest", "nothing says where the model is"),
    (
        "InferenceModel",
        {"modelRef": "m"},
        "spec.modelRef",
        "manifest and modelRef both say which versions there are; keep",
    ),
    (
        "InferenceModel",
        {"nodeName": None, "nodeSelector": {}},
        "spec.nodeName",
        "a model at the edge needs a nodeName or a nodeSelector; add nodeName: NAME-OF-THE-EDGE; an",
    ),
    (
        "InferenceModel",
        {"frameworkType": "abacus"},
        "spec.frameworkType",
        "is none of tensorflow, onnx, pytorch, sklearn, xgboost, lightgbm, tflite,",
    ),
    (
        "InferenceModel",
        {"modelName": "A_b"},
        "spec.modelName",
        "'A_b' is not a name; at most 253 of a-z, 0-9, - and ., beginning and ending with a letter or digit",
    ),
    (
        "InferenceModel",
        {"manifest.0.sha256sum": SHA[1:]},
        "spec.manifest[0].sha256sum",
        "a sha256sum is 64 hexadecimal digits",
    ),
    (
        "InferenceModel",
        {"manifest.0.downloadURL": "ftp://h/x"},
        "spec.manifest[0].downloadURL",
        "its scheme is none of https, http, file; begin it with https://",
    ),
    (
        "InferenceModel",
        {"manifest.0.downloadURL": "http://u:p@h/x"},
        "spec.manifest[0].downloadURL",
        "it carries credentials; remove user:password@; secrets do not belong into Git",
    ),
    ("InferenceModel", {"manifest.0.downloadURL": "http:///x"}, "spec.manifest[0].downloadURL", "it names no host"),
    (
        "InferenceModel",
        {"manifest.0.downloadURL": "http://h/x y"},
        "spec.manifest[0].downloadURL",
        "it has blanks or control characters",
    ),
    (
        "InferenceModel",
        {"manifest.0.version": " 1"},
        "spec.manifest[0].version",
        "' 1' is not a version; at most 128 printable characters, no outer blanks",
    ),
    (
        "InferenceModel",
        {"nodeSelector": {"a": "b c"}},
        "spec.nodeSelector[a]",
        "'b c' is not a label's value; at most 63 letters, digits, -, _ and ., beginning and ending with a",
    ),
    (
        "InferenceModelSet",
        {"template.spec.modelRef": ""},
        "spec.template.spec.manifest",
        "nothing says where the model is",
    ),
    (
        "InferenceModelSet",
        {"template.spec.modelRef": "", "template.spec.manifest": [ENTRY]},
        "spec.defaultVersion",
        "there is no version '4'",
    ),
    (
        "InferenceModelSet",
        {
            "template.spec.modelRef": "",
            "template.spec.manifest": [ENTRY, ENTRY | {"version": "2"}],
            "defaultVersion": None,
        },
        "spec.defaultVersion",
        "several versions, and nothing says which is meant",
    ),
    ("Model", {"versions": []}, "spec.versions", "a Model has at least one version; add version, downloadURL and"),
    ("Dataset", {"defaultVersion": "2026-12"}, "spec.defaultVersion", "there is no version '2026-12'"),
    (
        "Edge",
        {"address": "localhost"},
        "spec.address",
        "'localhost' is not an IP address; write an IPv4 or IPv6 address",
    ),
    (
        "Edge",
        {"pins.0.dataset": "d"},
        "spec.pins[0].dataset",
        "a pin names both a model and a dataset; write one pin for each",
    ),
    ("Edge", {"pins.0.model": ""}, "spec.pins[0].model", "a pin names neither a model nor a dataset; name one of them"),
    (
        "Edge",
        {"pins.0.expires": "2026-02-29"},
        "spec.pins[0].expires",
        "'2026-02-29' is neither a date nor an RFC 3339 time; write 2026-12-31 or 2026-12-31T18:00:00Z",
    ),
    (
        "Edge",
        {"pins": [{"model": "m", "version": "1"}, {"model": "m", "version": "2"}]},
        "spec.pins",
        "is pinned twice",
    ),
    (
        "Fleet",
        {"prune.maxShare": "101%"},
        "spec.prune.maxShare",
        "'101%' is not a share; write whole per cent, as in 10%",
    ),
    (
        "Fleet",
        {"drift.0.fields": ["replicas"]},
        "spec.drift[0].fields[0]",
        "'replicas' is not a field's path; write it as in spec.replicas, labels or *.image; * stands for any",
    ),
    (
        "Fleet",
        {"freeze.0.from": "Christmas"},
        "spec.freeze[0].from",
        "'Christmas' is neither a date nor an RFC 3339 time",
    ),
    ("Fleet", {"freeze.0.until": "2026-12-19"}, "spec.freeze[0].until", "the window ends before it begins"),
    ("Fleet", {"freeze.1.from": "24:00"}, "spec.freeze[1].from", "'24:00' is not a time of day"),
    (
        "Fleet",
        {"freeze.1.timeZone": "Berlin summer"},
        "spec.freeze[1].timeZone",
        "'Berlin summer' is not a time zone; write a name of the IANA database, as in Europe/Berlin",
    ),
]


@pytest.mark.parametrize(("kind", "fields", "field", "words"), WORDS)
def test_both_say_the_same_words(
    cluster: ControlPlane, kind: str, fields: dict[str, Any], field: str, words: str
) -> None:
    document = changed(kind, **fields)
    status, message = asked(cluster, document)
    assert (status, f"{field}: " in message) == (422, True), message
    assert words in message
    assert words in refused(document)
    assert len(message) < 700, "one mistake is one sentence"


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("InferenceModel", {"modelName": None}, "spec.modelName: Required value"),
        ("InferenceModel", {"modelName": ""}, "spec.modelName: Invalid value"),
        ("InferenceModel", {"frameworkType": ""}, "spec.frameworkType: Invalid value"),
        (
            "InferenceModel",
            {"deployToLayer": "device"},
            'spec.deployToLayer: Unsupported value: "device": supported val',
        ),
        ("InferenceModel", {"servingPort": 65536}, "spec.servingPort: Invalid value: 65536"),
        ("InferenceModel", {"servingPort": "80"}, "must be of type integer"),
        ("InferenceModel", {"targetVersion": 4}, "must be of type string"),
        ("InferenceModel", {"replicas": -1}, "spec.replicas: Invalid value: -1"),
        ("InferenceModel", {"modelNmae": "m"}, 'unknown field "spec.modelNmae"'),
        ("InferenceModel", {"manifest.1.version": "3"}, 'spec.manifest[1]: Duplicate value: {"version":"3"}'),
        ("InferenceModel", {"manifest": [ENTRY | {"version": f"{n}"} for n in range(501)]}, "spec.manifest: Too many"),
        ("InferenceModel", {"nodeSelector": {f"l{n}": "v" for n in range(65)}}, "spec.nodeSelector: Too many"),
        ("InferenceModel", {"manifest.0.downloadURL": "http://h/" + "x" * 2040}, "downloadURL: Too long"),
        ("InferenceModelSet", {"template.spec.deployToLayer": "cloud"}, "Unsupported value"),
        ("InferenceModelSet", {"edgeSelector": None}, "spec.edgeSelector: Required value"),
        ("Model", {"frameworkType": "onx"}, "spec.frameworkType: Unsupported value"),
        ("Dataset", {"format": "parquet"}, "spec.format: Unsupported value"),
        ("Edge", {"pins.0.version": ""}, "spec.pins[0].version: Invalid value"),
        ("Edge", {"pins": [{"model": f"m{n}", "version": "1"} for n in range(129)]}, "spec.pins: Too many"),
        ("Fleet", {"drift.0.policy": "fix"}, "spec.drift[0].policy: Unsupported value"),
        ("Fleet", {"drift.0.policy": None}, "spec.drift[0].policy: Required value"),
        ("Fleet", {"drift.0.kinds": ["Pod"]}, "spec.drift[0].kinds[0]: Unsupported value"),
        ("Fleet", {"freeze.0.reason": None}, "spec.freeze[0].reason: Required value"),
        ("Fleet", {"freeze.0.scope": "everything"}, "spec.freeze[0].scope: Unsupported value"),
        ("Fleet", {"freeze.1.days": ["friday"]}, "spec.freeze[1].days[0]: Unsupported value"),
        ("Fleet", {"adopt": "yes"}, "must be of type boolean"),
    ],
)
def test_what_the_schema_itself_refuses(cluster: ControlPlane, kind: str, fields: dict[str, Any], said: str) -> None:
    document = changed(kind, **fields)
    status, message = asked(cluster, document)
    assert status in {400, 422}
    assert said in message
    assert refused(document) != ""


def test_all_problems_at_once(cluster: ControlPlane) -> None:
    fields = {"modelName": "A", "frameworkType": "x", "targetVersion": "9", "nodeName": "", "nodeSelector": {}}
    status, message = asked(cluster, changed("InferenceModel", **fields))
    assert status == 422
    for field in ("modelName", "frameworkType", "targetVersion", "nodeName"):
        assert f"spec.{field}: " in message


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("InferenceModel", {"nodeSelector": {"a b": "c"}}),  # the API server's rules cannot see the keys of a mapping
        ("InferenceModel", {"manifest.0.downloadURL": "http://h:65536/x"}),
        ("Fleet", {"freeze.1.timeZone": "Europe/Atlantis"}),  # nor the database of time zones
        ("Fleet", {"freeze.0.from": "2027-01-04T00:00:00Z"}),  # nor a date beside a time
    ],
)
def test_what_only_we_refuse(cluster: ControlPlane, kind: str, fields: dict[str, Any]) -> None:
    """Written down so that it is known."""
    assert asked(cluster, changed(kind, **fields))[0] == 201
    assert refused(changed(kind, **fields)) != ""


# ── names and sizes (fault 45) ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("labels", "status"), [({"a": "b" * 63}, 201), ({"a": "b" * 64}, 422), ({"a b": "c"}, 422), ({"a" * 64: "b"}, 422)]
)
def test_fault_45_labels(cluster: ControlPlane, labels: dict[str, str], status: int) -> None:
    document = sample("Edge")
    document["metadata"]["labels"] = labels
    assert asked(cluster, document)[0] == status


@pytest.mark.parametrize(("length", "status"), [(253, 201), (254, 422)])
def test_fault_45_names(cluster: ControlPlane, length: int, status: int) -> None:
    document = sample("Edge")
    document["metadata"]["name"] = "a" * length
    assert asked(cluster, document)[0] == status
