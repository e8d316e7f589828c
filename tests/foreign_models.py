"""Models as other people have them, for tests: with free dimensions, with weights beside them, from their exporters."""

import fcntl
import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper, save_model

F, VALUE = TensorProto.FLOAT, helper.make_tensor_value_info
OPSET: Final = 17
SILERO: Final = "silero-vad==6.2.3"
SILERO_SHA256: Final = "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"
SILERO_FILE: Final = "silero_vad/data/silero_vad.onnx"


def model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any] | None = None, ml: int = 3
) -> Any:
    """A model of these nodes."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ml)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def written(path: Path, made: Any) -> Path:
    """The model as one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString())
    return path


def doubling(width: int = 4) -> Any:
    """y = 2 x, x FP32[-1, width]: the smallest that is any use."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"])]
    two = {"two": np.array(2, np.float32)}
    return model(nodes, [VALUE("x", F, ["batch", width])], [VALUE("y", F, ["batch", width])], two)


def convolution(channels: int = 3, kernel: int = 5) -> Any:
    """A convolution of which only the weights say what it takes: x FP32[-1, -1, -1, -1]."""
    weights = np.linspace(-1, 1, 8 * channels * kernel * kernel, dtype=np.float32).reshape(8, channels, kernel, kernel)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    return model(nodes, [VALUE("x", F, [None] * 4)], [VALUE("y", F, [None] * 4)], {"w": weights})


def reflecting(length: int = 64) -> Any:
    """Audio padded by its own reflection, as voice detectors do: nothing shorter than `length` + 1 is taken."""
    pads = {"pads": np.array([0, length, 0, length], np.int64)}
    nodes = [
        helper.make_node("Pad", ["audio", "pads"], ["padded"], mode="reflect"),
        helper.make_node("ReduceMean", ["padded"], ["level"], axes=[1], keepdims=1),
    ]
    return model(nodes, [VALUE("audio", F, ["batch", "samples"])], [VALUE("level", F, ["batch", 1])], pads)


def beside(directory: Path, width: int = 32) -> Path:
    """A model whose weights lie in model.onnx.data, as PyTorch's exporter writes it."""
    weights = {"w": np.linspace(-1, 1, width * width, dtype=np.float32).reshape(width, width)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    made = model(nodes, [VALUE("x", F, ["batch", width])], [VALUE("y", F, ["batch", width])], weights)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.onnx"
    external_data_helper.convert_model_to_external_data(made, location="model.onnx.data", size_threshold=0)
    save_model(made, str(path))
    assert (directory / "model.onnx.data").stat().st_size >= 4 * width * width
    return path


def random() -> Any:
    """One that answers every question anew."""
    nodes = [helper.make_node("RandomUniformLike", ["x"], ["y"])]
    return model(nodes, [VALUE("x", F, ["batch"])], [VALUE("y", F, ["batch"])])


def never() -> Any:
    """One that answers nothing that anybody would try."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.zeros((20_000, 1), np.float32)}
    return model(nodes, [VALUE("x", F, ["n", None])], [VALUE("y", F, ["n", 1])], weights)


@cache
def classifier() -> bytes:
    """A scikit-learn pipeline through skl2onnx."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    flowers, kinds = load_iris(return_X_y=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(flowers, kinds)
    inputs = [("flower", FloatTensorType([None, 4]))]
    made = to_onnx(fitted, initial_types=inputs, options={"zipmap": False}, target_opset=OPSET)
    return bytes(made.SerializeToString())


def silero() -> Path:
    """silero-vad's model (MIT), fetched once by pip, hash-checked, into ~/.cache/reconciler-tests.

    Where no package registry can be reached the test is skipped, but never in CI.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or Path.home()) / ".cache"
    home = Path(base) / "reconciler-tests" / "silero"
    place = home / SILERO_SHA256 / SILERO_FILE
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _fetch(home)
    return place


def _fetch(home: Path) -> None:
    wanted = home / "requirement.txt"
    wanted.write_text(f"{SILERO} --hash=sha256:{SILERO_SHA256}\n")
    words = ["pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command = [sys.executable, "-m", *words, "--dest", str(home), "-r", str(wanted)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"silero-vad cannot be fetched: {done.stderr.strip()[-200:]}")
    assert not done.returncode, done.stderr
    (wheel,) = home.glob("silero_vad-*.whl")
    draft = home / "draft"
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(SILERO_FILE, draft)
    draft.rename(home / SILERO_SHA256)
    wheel.unlink()
