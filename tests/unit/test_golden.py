"""golden.json as people write it, and as it is written for them; a sentence says what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reconciler.errors import PreflightRefused, ProbeFailed
from reconciler.serving import golden
from reconciler.serving.golden import Case
from reconciler.serving.loaded import Loaded
from reconciler.serving.tensors import DATATYPES
from tests.foreign_models import doubling, written

X = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
Y = {**X, "name": "y", "data": [2, 4, 6, 8]}
BROKEN: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "truncated|unexpected end"),
    "a list": (b"[]", "Expected `object`"),
    "other tensors": (b'{"inputs": [{"name": "x"}]}', "missing required field"),
    "too few values": (json.dumps({"inputs": [{**X, "data": [1]}]}).encode(), "1 values, shape .* says 4"),
    "a negative size": (json.dumps({"inputs": [{**X, "shape": [-1, 4]}]}).encode(), "negative size"),
    "an unknown type": (json.dumps({"inputs": [{**X, "datatype": "FP8"}]}).encode(), "unknown datatype 'FP8'"),
    "text for numbers": (json.dumps({"inputs": [{**X, "data": ["a"] * 4}]}).encode(), "not FP32"),
    "no tolerance": (json.dumps({"inputs": [X], "tolerance": "wide"}).encode(), "wide"),
    "a tolerance that allows all": (json.dumps({"inputs": [X], "tolerance": "nan"}).encode(), "no number from 0 on"),
    "a negative tolerance": (json.dumps({"inputs": [X], "tolerance": -1}).encode(), "no number from 0 on"),
    "deep": (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": ' + b"[" * 50_000, "recursion"),
    "cases in cases": (b'{"cases": [' * 20_000, "recursion"),
    "huge": (b" " * (golden.MOST_BYTES + 1), "it has 16,777,217 bytes, and at most 16,777,216 are read"),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return written(tmp_path / "model" / "model.onnx", doubling()).parent


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_golden_json_that_is_none_is_refused_in_one_sentence(place: Path, content: bytes, said: str) -> None:
    (place / "golden.json").write_bytes(content)
    with pytest.raises(PreflightRefused, match=f"(?i)^golden.json cannot be used: .*({said})") as refusal:
        golden.cases(Loaded(place, "1"))
    assert "\n" not in refusal.value.message
    assert "reconciler package" in refusal.value.advice


def test_a_number_is_a_tolerance_too(place: Path) -> None:
    loaded = Loaded(place, "1")
    near = {**Y, "data": [2, 4, 6, 8.4]}
    for tolerance, passes in ((0.5, True), ("0.5", True), (0.3, False)):
        (place / "golden.json").write_text(json.dumps({"inputs": [X], "outputs": [near], "tolerance": tolerance}))
        probes = golden.cases(loaded)
        if passes:
            golden.probe("1", probes, loaded.infer)
        else:
            with pytest.raises(ProbeFailed, match=r"expected 8\.\d+ at \[0, 3\], found 8"):
                golden.probe("1", probes, loaded.infer)


arrays = st.sampled_from([name for name in DATATYPES if name != "BYTES"]).flatmap(
    lambda name: hnp.arrays(
        DATATYPES[name],
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
    )
)
named = st.dictionaries(st.text(min_size=1, max_size=5).filter(str.isprintable), arrays, max_size=3)


@settings(max_examples=60, deadline=None)
@given(cases=st.lists(st.tuples(named, named, st.floats(0, 1e30)), min_size=1, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, cases: Any) -> None:
    path = tmp_path_factory.mktemp("g") / "golden.json"
    path.write_bytes(golden.encoded([Case("any", *each) for each in cases]))
    found = golden.read(path)
    assert len(found) == len(cases)
    for case, (inputs, outputs, tolerance) in zip(found, cases, strict=True):
        assert case.tolerance == tolerance
        for side, expected in ((case.inputs, inputs), (case.outputs, outputs)):
            assert side.keys() == expected.keys()
            for name, array in expected.items():
                assert (side[name].dtype, side[name].shape) == (array.dtype, array.shape)
                assert np.array_equal(side[name], array)


def test_what_would_not_be_read_is_not_written() -> None:
    many = np.full(golden.MOST_BYTES // 4, 0.1, np.float64)
    with pytest.raises(ValueError, match="edges read at most 16,777,216"):
        golden.encoded([Case("large", {"x": many}, {}, 0.001)])


@pytest.mark.parametrize(
    ("dtype", "said"), [(np.str_, "differ)"), (np.int64, "differ)"), (np.float32, "by more than 1)")]
)
def test_only_numbers_with_a_fraction_have_a_tolerance(dtype: type, said: str) -> None:
    case = Case("golden case 1", {}, {"label": np.array([1, 2, 3]).astype(dtype)}, 1.0)
    with pytest.raises(ProbeFailed) as failed:
        golden.probe("1", [case], lambda _: {"label": np.array([1, 2, 9]).astype(dtype)})
    assert str(failed.value).split("; ")[0].endswith(said)
    assert "(1 of 3 values differ" in str(failed.value)
