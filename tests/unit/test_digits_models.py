"""The demo's models are what their catalogue says, and can be made again."""

import gzip
import hashlib
import importlib.util
import json
import re
import sys
import tarfile
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml

from tests.digits import ARTIFACTS

TEMPLATE = ARTIFACTS.parent
VERSIONS = ["1", "2"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The training script, imported without leaving bytecode in the template."""
    found = importlib.util.spec_from_file_location("train", TEMPLATE / "models" / "digits" / "train.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        found.loader.exec_module(module)
    return module


def packed(version: str, name: str) -> bytes:
    with tarfile.open(ARTIFACTS / f"digits-{version}.tar.gz") as tar:
        member = tar.extractfile(name)
        assert member is not None
        return member.read()


def session(version: str) -> Any:
    return onnxruntime.InferenceSession(packed(version, "model.onnx"), providers=["CPUExecutionProvider"])


def declared(file: str, version: str) -> dict[str, Any]:
    spec = yaml.safe_load((TEMPLATE / file).read_text())["spec"]
    found: dict[str, Any] = next(each for each in spec["versions"] if each["version"] == version)
    return found


def accuracy(labels: Any, truth: Any) -> float:
    return float((labels == truth).mean())


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_training_again_gives_the_model_that_is_checked_in(script: ModuleType, version: str) -> None:
    _, test = script.splits()
    again = script.train(version)
    labels, probabilities = script.answers(packed(version, "model.onnx"), test.images)
    assert accuracy(again.predict(test.images), labels) >= 0.98  # other maths libraries may round another way
    assert np.abs(again.predict_proba(test.images) - probabilities).mean() < 0.01
    assert abs(again.score(test.images, test.labels) - accuracy(labels, test.labels)) < 0.01


@pytest.mark.parametrize("version", VERSIONS)
def test_the_catalogue_is_true(script: ModuleType, version: str) -> None:
    entry = declared("models/digits.yaml", version)
    content = (ARTIFACTS / entry["downloadURL"].rpartition("/")[2]).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256sum"], entry["size"])
    _, test = script.splits()
    labels, _ = script.answers(packed(version, "model.onnx"), test.images)
    (metric,) = entry["metrics"]
    assert f"{accuracy(labels, test.labels):.4f}" == f"{metric['value']:.4f}"


def test_the_second_version_is_worth_deploying() -> None:
    first, second = (declared("models/digits.yaml", version)["metrics"][0]["value"] for version in VERSIONS)
    assert second > first + 0.05


def test_both_versions_are_asked_alike() -> None:
    signatures = [
        [(node.name, node.type, len(node.shape), node.shape[1:]) for node in (*each.get_inputs(), *each.get_outputs())]
        for each in map(session, VERSIONS)
    ]
    assert signatures[0] == signatures[1]
    assert signatures[0] == [
        ("image", "tensor(float)", 2, [64]),
        ("label", "tensor(int64)", 1, []),
        ("probabilities", "tensor(float)", 2, [10]),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_digits_are_real_and_read_rightly(script: ModuleType, version: str) -> None:
    golden = json.loads(packed(version, "golden.json"))
    images = np.asarray(golden["inputs"][0]["data"], np.float32).reshape(golden["inputs"][0]["shape"])
    expected = {each["name"]: each["data"] for each in golden["outputs"]}
    labels, probabilities = script.answers(packed(version, "model.onnx"), images)
    assert labels.tolist() == expected["label"]
    assert np.abs(probabilities.ravel() - expected["probabilities"]).max() < float(golden["tolerance"])
    _, test = script.splits()
    rows = [int(np.flatnonzero((test.images == image).all(axis=1))[0]) for image in images]
    assert len(rows) == script.GOLDEN
    assert test.labels[rows].tolist() == expected["label"]


def test_the_dataset_is_the_test_split(script: ModuleType) -> None:
    entry = declared("datasets/digits.yaml", "2026-11")
    content = (ARTIFACTS / entry["downloadURL"].rpartition("/")[2]).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256sum"], entry["size"])
    header, *rows = gzip.decompress(content).decode().splitlines()
    _, test = script.splits()
    assert header.endswith(",pixel_63,label")
    assert [int(row.rpartition(",")[2]) for row in rows] == test.labels.tolist()
    assert np.loadtxt(rows, delimiter=",", usecols=range(64)).tolist() == test.images.tolist()


def test_the_archives_are_small_and_nobodys() -> None:
    assert sum((ARTIFACTS / f"digits-{version}.tar.gz").stat().st_size for version in VERSIONS) < 1 << 20
    for version in VERSIONS:
        with tarfile.open(ARTIFACTS / f"digits-{version}.tar.gz") as tar:
            members = tar.getmembers()
        assert [(m.name, m.isreg(), m.mtime, m.uid, m.uname) for m in members] == [
            ("golden.json", True, 0, 0, ""),
            ("model.onnx", True, 0, 0, ""),
        ]


def test_packing_is_deterministic(script: ModuleType) -> None:
    files = {"b": b"1", "a": b"2"}
    assert script.archive(files) == script.archive(dict(reversed(files.items())))
    assert script.table(script.splits()[1]) == (ARTIFACTS / script.DATASET).read_bytes()


def test_every_url_of_the_template_has_one_base() -> None:
    urls = [
        url for file in sorted(TEMPLATE.rglob("*.yaml")) for url in re.findall(r"downloadURL: (\S+)", file.read_text())
    ]
    assert len(urls) == 3
    assert {url.rpartition("/")[0] for url in urls} == {"http://127.0.0.1:8900"}
