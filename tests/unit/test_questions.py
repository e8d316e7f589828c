"""A question is found for models that say little of what they take; and none is made up where there is none."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from reconciler.errors import ProbeFailed
from reconciler.serving import questions
from reconciler.serving.golden import Case
from reconciler.serving.loaded import Loaded
from reconciler.serving.questions import Dimension, assignments
from reconciler.serving.tensors import Signature
from tests.foreign_models import VALUE, F, convolution, doubling, model, never, reflecting, written

I64, TEXT = TensorProto.INT64, TensorProto.STRING


def loaded(tmp_path: Path, made: Any) -> Loaded:
    return Loaded(written(tmp_path / "model.onnx", made).parent, "1")


def embedding() -> Any:
    """Tokens and a mask of one length, as a language model has them; the table has two rows."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Cast", ["mask"], ["weights"], to=F),
        helper.make_node("Unsqueeze", ["weights", "last"], ["wide"]),
        helper.make_node("Mul", ["rows", "wide"], ["y"]),
    ]
    inputs = [VALUE(name, I64, ["batch", "length"]) for name in ("ids", "mask")]
    table = {"table": np.eye(2, dtype=np.float32), "last": np.array([2], np.int64)}
    return model(nodes, inputs, [VALUE("y", F, ["batch", "length", 2])], table)


def unranked() -> Any:
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1])]
    return model(nodes, [VALUE("x", F, None)], [VALUE("y", F, None)])


def wide(width: int) -> Any:
    weights = {"w": np.ones((width, 2), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return model(nodes, [VALUE("x", F, [None, None])], [VALUE("y", F, [None, 2])], weights)


def text() -> Any:
    return model([helper.make_node("Identity", ["t"], ["y"])], [VALUE("t", TEXT, ["n"])], [VALUE("y", TEXT, ["n"])])


def constant() -> Any:
    return model([helper.make_node("Constant", [], ["y"], value_float=1.0)], [], [VALUE("y", F, [])])


def logarithm() -> Any:
    return model([helper.make_node("Log", ["x"], ["y"])], [VALUE("x", F, ["n"])], [VALUE("y", F, ["n"])])


FOUND: dict[str, tuple[Any, dict[str, list[int]]]] = {
    "a batch": (doubling(), {"x": [1, 4]}),
    "colours": (convolution(3, 5), {"x": [1, 3, 8, 8]}),
    "grey": (convolution(1, 5), {"x": [1, 1, 8, 8]}),
    "many channels, which its weights name": (convolution(80, 3), {"x": [1, 80, 80, 80]}),
    "a width, which its weights name": (wide(48), {"x": [1, 48]}),
    "reflected audio": (reflecting(), {"audio": [1, 128]}),
    "one length for two": (embedding(), {"ids": [1, 1], "mask": [1, 1]}),
    "no rank": (unranked(), {"x": [1, 1, 1]}),
    "text": (text(), {"t": [1]}),
    "nothing": (constant(), {}),
    "no zeros": (logarithm(), {"x": [1]}),
}


@pytest.mark.parametrize(("made", "shapes"), FOUND.values(), ids=FOUND.keys())
def test_a_question_is_found_and_is_the_same_again(tmp_path: Path, made: Any, shapes: dict[str, list[int]]) -> None:
    one = loaded(tmp_path, made)
    found = questions.find(one, lambda _: None)
    assert {name: list(array.shape) for name, array in found.inputs.items()} == shapes
    assert found.tries <= questions.MOST_TRIES
    again = questions.find(one, lambda _: None)
    for name, array in found.inputs.items():
        assert np.array_equal(array, again.inputs[name])
    assert all(np.isfinite(array).all() for array in one.infer(found.inputs).values() if array.dtype.kind == "f")


def test_where_nothing_is_answered_the_model_is_quoted_and_the_way_out_named(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(ProbeFailed, match=r"no question was found .*\(\d+ tried.*MatMul") as refusal:
        questions.find(loaded(tmp_path, never()), told.append)
    assert len(told) <= questions.MOST_TRIES
    assert "--example" in refusal.value.advice


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "INT64", "UINT8", "BOOL"])
def test_values_are_not_zeros_alone_and_small(datatype: str) -> None:
    made = questions.values(Signature("x", datatype, [-1, 3]), [2, 3])
    assert made.shape == (2, 3)
    assert made.any()
    assert float(abs(made.astype(np.float64)).max()) <= 1


dimensions = st.lists(st.booleans(), max_size=6).map(
    lambda firsts: [Dimension(f"d{n}", is_first) for n, is_first in enumerate(firsts)]
)


@settings(max_examples=50, deadline=None)
@given(free=dimensions, weights=st.lists(st.integers(0, 30_000), max_size=40))
def test_no_choice_of_sizes_comes_twice_and_every_one_is_whole(free: list[Dimension], weights: list[int]) -> None:
    sizes = questions.sizes_of(weights)
    assert len(set(sizes)) == len(sizes) <= 24
    seen = []
    for choice in itertools.islice(assignments(free, sizes), 200):
        assert choice.keys() == {each.name for each in free}
        assert set(choice.values()) <= set(sizes)
        seen.append(tuple(choice.values()))
    assert len(seen) == len(set(seen)) == min(200, len(sizes) ** len(free))
    assert set(seen[0]) <= {1}


def test_large_answers_want_a_wider_tolerance() -> None:
    case = Case("c", {}, {"y": np.array([1.0, -5000.0], np.float32), "n": np.array([9], np.int64)}, 0.001)
    (said,) = questions.far_reaching([case])
    assert re.search(r"output y has numbers up to 5e\+03, .* more than 0.001: --tolerance 0.05 allows for it", said)
    assert not [*questions.far_reaching([case.replaced(tolerance=0.1)])]


def test_an_input_of_more_values_than_an_integer_counts_is_not_asked(tmp_path: Path) -> None:
    huge = model([helper.make_node("Relu", ["x"], ["y"])], [VALUE("x", F, [1 << 40, 1 << 30])], [VALUE("y", F, None)])
    loaded = Loaded(written(tmp_path / "m" / "model.onnx", huge).parent, "1")
    with pytest.raises(ProbeFailed, match=r"no question was found that the model answers \(0 tried"):
        questions.find(loaded, lambda _: None)
