"""Examples as users have them become what the model takes, or are refused with both sides named."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from reconciler.errors import PreflightRefused, UsageError
from reconciler.serving import examples, golden
from reconciler.serving.loaded import Loaded
from tests.foreign_models import VALUE, F, doubling, model, written

ROW = [[1.0, 2.0, 3.0, 4.0]]
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


@pytest.fixture
def double(tmp_path: Path) -> Loaded:
    """Takes x FP32[-1, 4]."""
    return Loaded(written(tmp_path / "model" / "model.onnx", doubling()).parent, "1")


@pytest.fixture
def mixed(tmp_path: Path) -> Loaded:
    """Takes text, truths and integers."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("t", "b", "i")]
    kinds = {"t": TensorProto.STRING, "b": TensorProto.BOOL, "i": TensorProto.INT32}
    inputs = [VALUE(name, kind, ["n"]) for name, kind in kinds.items()]
    outputs = [VALUE(f"{name}_out", kind, ["n"]) for name, kind in kinds.items()]
    return Loaded(written(tmp_path / "mixed" / "model.onnx", model(nodes, inputs, outputs)).parent, "1")


def given(directory: Path, name: str, value: Any) -> Path:
    path = directory / name
    if name.endswith(".npz"):
        np.savez(path, **value)
    elif name.lower().endswith(".npy"):
        with path.open("wb") as file:
            np.save(file, value)
    else:
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return path


TAKEN: dict[str, tuple[str, Any, list[str]]] = {
    "npz": ("x.npz", {"x": np.array(ROW, np.float32)}, []),
    "numpy's own type": ("x.npz", {"x": np.array(ROW)}, ["x: FP64 became FP32"]),
    "a nameless array": ("x.npz", {"arr_0": np.array(ROW, np.float32)}, []),
    "npy": ("x.npy", np.array(ROW, np.float32), []),
    "npy of integers": ("X.NPY", np.array(ROW, np.int64), ["x: INT64 became FP32"]),
    "by name": ("x.json", {"x": ROW}, ["x: FP64 became FP32"]),
    "a request": ("x.json", {"inputs": [TENSOR]}, []),
    "golden": ("golden.json", {"cases": [{"inputs": [TENSOR]}]}, []),
}


@pytest.mark.parametrize(("name", "value", "casts"), TAKEN.values(), ids=TAKEN.keys())
def test_what_people_have_is_taken(tmp_path: Path, double: Loaded, name: str, value: Any, casts: list[str]) -> None:
    path = given(tmp_path, name, value)
    (case,), said = examples.read(path, double)
    assert said == casts
    assert case.inputs["x"].dtype == np.float32
    assert case.inputs["x"].tolist() == ROW
    assert not case.outputs
    assert examples.asked(double, case).outputs["y"].tolist() == [[2.0, 4.0, 6.0, 8.0]]


def test_text_truths_and_integers_keep_their_values(tmp_path: Path, mixed: Loaded) -> None:
    path = given(tmp_path, "m.json", {"t": ["größe", ""], "b": [True, False], "i": [1, -2]})
    (case,), casts = examples.read(path, mixed)
    assert {name: array.tolist() for name, array in case.inputs.items()} == {
        "t": ["größe", ""], "b": [True, False], "i": [1, -2],
    }  # fmt: skip
    assert casts == ["i: INT64 became INT32"]
    again = given(tmp_path, "m.npz", {name: np.asarray(array.tolist()) for name, array in case.inputs.items()})
    assert examples.read(again, mixed)[0][0].inputs["t"].tolist() == ["größe", ""]


REFUSED: dict[str, tuple[str, Any, str, str]] = {
    "another name": ("x.npz", {"z": np.zeros((1, 4))}, r"has z; the model takes x FP32\[-1, 4\]", "name every array"),
    "too many": ("x.npz", {"x": np.zeros((1, 4)), "z": np.zeros(1)}, r"has x, z; the model takes x", "name every"),
    "nothing": ("x.json", {}, "has nothing; the model takes x", "name every"),
    "no batch": (
        "x.npy",
        np.zeros(4, np.float32),
        r"x is FP32\[4\]; the model takes x FP32",
        r"array\[None\]",
    ),
    "another width": ("x.npy", np.zeros((1, 5), np.float32), r"x is FP32\[1, 5\]; the model takes", "any size"),
    "text": ("x.json", {"x": [["a", "b", "c", "d"]]}, r"x is BYTES\[1, 4\]; the model takes", "astype"),
    "what would be rounded": ("x.npy", np.full((1, 4), 2**24 + 1), r"x is INT64\[1, 4\]", r"astype\('float32'\)"),
    "NaN": ("x.npy", np.full((1, 4), np.nan, np.float32), "x has NaN or infinity", "numbers alone"),
    "too large a number": ("x.npy", np.full((1, 4), 1e300), r"x is FP64\[1, 4\]", "1e+300, and FP32 ends before"),
    "a pickle": ("x.npz", {"x": np.array([{}], dtype=object)}, "cannot be read: .*pickle", "np.savez"),
    "no npz": ("x.npz ", b"x", "an example is a file .npz, .npy, .json", "np.savez"),
    "broken": ("x.json", b"{", "cannot be read", "as JSON"),
    "a list": ("x.json", [1], "it is no object", "as JSON"),
    "ragged": ("x.json", {"x": [[1], [1, 2]]}, "cannot be read: .*inhomogeneous", "as JSON"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_with_both_sides(
    tmp_path: Path, double: Loaded, case: tuple[str, Any, str, str]
) -> None:
    name, value, said, way_out = case
    path = given(tmp_path, name, value)
    with pytest.raises(UsageError, match=said) as refusal:
        examples.read(path, double)
    assert way_out.replace("\\", "") in refusal.value.advice


def header(shape: str) -> bytes:
    """Of an array of float32 whose values do not follow."""
    said = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


GOOD = zipped({"x.npy": header("(1, 4)") + bytes(16)})
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "larger than any memory": ("x.npy", header("(1000000000000, 4)"), "has 4,000,000,000,000 values"),
    "larger than 2**63": ("x.npy", header(f"({1 << 62}, 4)"), "has 18,446,744,073,709,551,616 values"),
    "that in a zip": ("x.npz", zipped({"x.npy": header("(1000000000000, 4)")}), "has 4,000,000,000,000 values"),
    "many of them": (
        "x.npz",
        zipped({f"{n}.npy": header("(7000000,)") + b"\0" for n in range(3)}),
        "has 7,000,000 values",
    ),
    "less than nothing": ("x.npy", header("(-1, 4)") + bytes(64), r"an array of \[-1, 4\] is none"),
    "half of one": ("x.npy", header("(1, 4)") + bytes(8), "cannot be read"),
    "changed": ("x.npz", GOOD.replace(bytes(16), b"\1" + bytes(15), 1), "CRC"),
    "cut off": ("x.npz", GOOD[:-20], "is not a zip"),
    "no array": ("x.npz", zipped({"x": b"hello"}), "cannot be read"),
    "empty": ("x.npz", b"", "is not a zip"),
    "of the future": ("x.npy", b"\x93NUMPY\x09\x00" + b"x" * 100, "an array in format \\(9, 0\\)"),
    "text of another encoding": ("x.npy", header("(1,)").replace(b"<f4", b"|S1") + b"\xff", "cannot be read: 'utf-8'"),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE.keys())
def test_bytes_that_are_no_array_of_a_good_size_are_refused_before_they_are_read(
    tmp_path: Path, double: Loaded, case: tuple[str, bytes, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content, said = case
    path = tmp_path / name
    path.write_bytes(content)
    if "values" in said:
        monkeypatch.setattr(np.lib.format, "read_array", None)  # nothing of it is read
    with pytest.raises(UsageError, match=said) as refusal:
        examples.read(path, double)
    assert ("a smaller one" if "values" in said else "np.savez") in refusal.value.advice


@pytest.mark.parametrize(
    ("shape", "way_out"),
    [
        ([3, 4], "give 2 at once, or export the model with a free first dimension"),
        ([2, 5], "the model has no free dimension"),
        ([], "the model has no free dimension"),
    ],
)
def test_a_batch_that_the_export_fixed_is_said_to_be(tmp_path: Path, shape: list[int], way_out: str) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    fixed = model([node], [VALUE("x", F, [2, 4])], [VALUE("y", F, [2, 4])])
    loaded = Loaded(written(tmp_path / "fixed" / "model.onnx", fixed).parent, "1")
    with pytest.raises(UsageError, match=r"the model takes x FP32\[2, 4\]") as refusal:
        examples.read(given(tmp_path, "x.npy", np.zeros(shape, np.float32)), loaded)
    assert refusal.value.advice.startswith(way_out)


def test_a_float_becomes_no_integer_with_another_value(tmp_path: Path, mixed: Loaded) -> None:
    whole = {"t": ["a"], "b": [True], "i": [2.0]}
    assert examples.read(given(tmp_path, "a.json", whole), mixed)[0][0].inputs["i"].tolist() == [2]
    with pytest.raises(UsageError, match=r"i is FP64\[1\]"):
        examples.read(given(tmp_path, "b.json", {**whole, "i": [2.5]}), mixed)


def test_a_golden_json_too_large_or_wrong_is_refused_as_an_edge_does(tmp_path: Path, double: Loaded) -> None:
    with pytest.raises(UsageError, match="it has 16,777,217 bytes, and at most 16,777,216 are read"):
        examples.read(given(tmp_path, "x.json", b" " * (golden.MOST_BYTES + 1)), double)
    with pytest.raises(PreflightRefused, match="cannot be used: x: 1 values"):
        examples.read(given(tmp_path, "y.json", {"inputs": [{**TENSOR, "data": [1]}]}), double)


def test_a_question_that_the_model_refuses_is_said_to_be(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    square = model(nodes, [VALUE("x", F, ["a", "b"])], [VALUE("y", F, ["a", "b"])])
    one = Loaded(written(tmp_path / "s" / "model.onnx", square).parent, "1")
    (case,), _ = examples.read(given(tmp_path, "x.npy", np.zeros((2, 3), np.float32)), one)
    with pytest.raises(UsageError, match=r"x.npy: the model fails on this input"):
        examples.asked(one, case)
