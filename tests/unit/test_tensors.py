import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from reconciler.serving.tensors import DATATYPES, Signature, Tensor, TensorRefused, to_array, to_tensor


def some_array(datatype: str) -> st.SearchStrategy[Any]:
    dtype = DATATYPES[datatype]
    if dtype.kind == "O":
        texts = st.text(st.characters(codec="utf-8"))
        return st.lists(texts, max_size=6).map(lambda values: np.array([*values], dtype=object))
    elements = arrays.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    return arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=elements)


@pytest.mark.parametrize("datatype", DATATYPES)
@given(data=st.data())
def test_what_is_written_is_read_again(datatype: str, data: st.DataObject) -> None:
    array = data.draw(some_array(datatype))
    tensor = to_tensor("x", array)
    assert (tensor.datatype, tensor.shape) == (datatype, list(array.shape))
    again = to_array(tensor)
    assert again.dtype == array.dtype
    assert np.array_equal(again, array)
    nested = to_array(Tensor("x", tensor.shape, datatype, array.tolist()))
    assert np.array_equal(nested, array)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("UINT8", 256),
        ("UINT8", -1),
        ("INT8", 128),
        ("INT64", 2**63),
        ("UINT64", 2**64),
        ("INT32", 1.0),
        ("INT32", "1"),
        ("INT32", None),
        ("FP16", 65520),
        ("FP32", 1e39),
        ("FP64", "1.0"),
        ("FP64", True),
        ("BOOL", 1),
        ("BOOL", "true"),
        ("BYTES", 1),
        ("BYTES", None),
        ("BYTES", {"b64": "AA=="}),
    ],
)
def test_a_value_of_another_type_or_range_is_refused(datatype: str, value: Any) -> None:
    with pytest.raises(TensorRefused, match=rf"^x: data is not {datatype}"):
        to_array(Tensor("x", [1], datatype, [value]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_not_written(value: float) -> None:
    with pytest.raises(TensorRefused, match="NaN or infinite"):
        to_tensor("x", np.array([0, value], np.float32))


def test_large_unsigned_numbers_keep_every_digit() -> None:
    assert to_array(Tensor("x", [2], "UINT64", [1, 2**64 - 1])).tolist() == [1, 2**64 - 1]


@pytest.mark.parametrize(
    ("shape", "fits"), [([1, 64], True), ([0, 64], True), ([9, 64], True), ([64], False), ([1, 65], False)]
)
def test_minus_one_is_any_size(shape: list[int], fits: bool) -> None:
    assert Signature("image", "FP32", [-1, 64]).takes(shape) is fits


@pytest.mark.parametrize("datatype", DATATYPES)
def test_zeros_fit_every_signature(datatype: str) -> None:
    signature = Signature("x", datatype, [-1, 3])
    zeros = signature.zeros()
    assert signature.takes(zeros.shape)
    assert to_tensor("x", zeros).datatype == datatype
    assert not any(zeros.ravel().tolist())
