"""Train the two demo models on scikit-learn's handwritten digits and pack what this repository declares.

    python models/digits/train.py

writes artifacts/digits-1.tar.gz and digits-2.tar.gz (each model.onnx + golden.json) and artifacts/digits-2026-11.csv.gz
(the test split), and prints the lines that models/digits.yaml and datasets/digits.yaml need. Run it again and the same
bytes come out, as long as the libraries are the same. It needs scikit-learn and skl2onnx.
"""  # noqa: INP001  # a script beside what it makes, not a package

import csv
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
DATASET = "digits-2026-11.csv.gz"
FEW = 80  # samples that version 1 learned from: good enough to ship, bad enough to be worth replacing
GOLDEN = 5  # test digits whose answers go into golden.json
OPSET = 17


class Digits(NamedTuple):
    """8 x 8 images as rows of 64 numbers 0 … 16, and the digit that each shows."""

    images: Any
    labels: Any


def splits() -> tuple[Digits, Digits]:
    """The digits to train on, and those to test on (a fifth)."""
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.2, random_state=11, stratify=labels)
    return Digits(train_x.astype(np.float32), train_y), Digits(test_x.astype(np.float32), test_y)


def train(version: str) -> Any:
    """The classifier of a version: '1' is a logistic regression on a few samples, '2' a small network on all."""
    digits, _ = splits()
    if version == "1":
        return make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=500)).fit(
            digits.images[:FEW], digits.labels[:FEW]
        )
    network = MLPClassifier(hidden_layer_sizes=(64,), max_iter=1000, random_state=11)
    return make_pipeline(MaxAbsScaler(), network).fit(digits.images, digits.labels)


def export(classifier: Any) -> bytes:
    """The classifier as ONNX: input `image` FP32 [-1, 64]; outputs `label` INT64, `probabilities` FP32 [-1, 10]."""
    inputs = [("image", FloatTensorType([None, 64]))]
    model = to_onnx(classifier, initial_types=inputs, options={"zipmap": False}, target_opset=OPSET)
    return bytes(model.SerializeToString())


def answers(model: bytes, images: Any) -> tuple[Any, Any]:
    """Labels and probabilities that the ONNX model gives."""
    labels, probabilities = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        ["label", "probabilities"], {"image": images}
    )
    return labels, probabilities


def golden(model: bytes, test: Digits) -> bytes:
    """golden.json: the first test digits that the model reads rightly, with its answers."""
    labels, probabilities = answers(model, test.images)
    chosen = np.flatnonzero(labels == test.labels)[:GOLDEN]
    count = len(chosen)
    cases = {
        "inputs": [_tensor("image", "FP32", [count, 64], test.images[chosen])],
        "outputs": [
            _tensor("label", "INT64", [count], labels[chosen]),
            _tensor("probabilities", "FP32", [count, 10], probabilities[chosen].astype(float).round(6)),
        ],
        "tolerance": "0.001",
    }
    return json.dumps(cases, separators=(",", ":")).encode() + b"\n"


def archive(files: dict[str, bytes]) -> bytes:
    """A tar.gz of regular files without owner or time, so that the same files are the same bytes."""
    packed = io.BytesIO()
    gz = gzip.GzipFile("", "wb", 9, packed, mtime=0)
    with gz, tarfile.open(fileobj=gz, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def table(test: Digits) -> bytes:
    """The test split as csv.gz: 64 pixels and the label a row, with a header."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*(f"pixel_{n}" for n in range(64)), "label"])
    rows.writerows([*map(int, image), int(label)] for image, label in zip(test.images, test.labels, strict=True))
    return gzip.compress(text.getvalue().encode(), 9, mtime=0)


def _tensor(name: str, datatype: str, shape: list[int], values: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": values.ravel().tolist()}


def _write(name: str, content: bytes) -> None:
    (ARTIFACTS / name).write_bytes(content)
    print(f"{name}: sha256sum: {hashlib.sha256(content).hexdigest()}  size: {len(content)}")


def main() -> None:
    """Write the artifacts and print what the manifests must say of them."""
    ARTIFACTS.mkdir(exist_ok=True)
    _, test = splits()
    for version in ("1", "2"):
        model = export(train(version))
        _write(f"digits-{version}.tar.gz", archive({"model.onnx": model, "golden.json": golden(model, test)}))
        labels, _ = answers(model, test.images)
        print(f"  accuracy on {len(test.labels)} test digits: {(labels == test.labels).mean():.4f}")
    _write(DATASET, table(test))


if __name__ == "__main__":
    main()
