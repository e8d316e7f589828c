"""Tensors as the Open Inference Protocol v2 writes them in JSON, and as numpy holds them. Imports nothing of ours.

In: a parsed request, or a model's outputs.  Out: arrays for the model, or tensors for the answer.
Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DATATYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),  # text: JSON has no other bytes
}
NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}
ZEROS: Final = {"O": "", "b": False}


class TensorRefused(ValueError):
    """A tensor is not what it says, or not what the model takes. The text names it."""


class Tensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tensor in JSON. data is flat in row-major order, or nested as shape says; None where it is elsewhere."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] | None = None


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one input or output of a model is: -1 in shape stands for any size. optional: a request may leave it out.

    unranked: the model says nothing of its shape.
    """

    name: str
    datatype: str
    shape: list[int]
    optional: bool = False
    unranked: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.datatype}{self.shape}"

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape fits."""
        return self.unranked or (
            len(shape) == len(self.shape)
            and all(mine in (-1, size) for mine, size in zip(self.shape, shape, strict=True))
        )

    def zeros(self) -> Array:
        """The smallest tensor of zeros (or empty texts) that fits."""
        dtype = DATATYPES[self.datatype]
        return np.full([max(size, 1) for size in self.shape], ZEROS.get(dtype.kind, 0), dtype=dtype)


def to_array(tensor: Tensor) -> Array:
    """The tensor's values in its shape. Raises TensorRefused: unknown datatype, wrong count, type or range."""
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        raise TensorRefused(f"{tensor.name}: unknown datatype {tensor.datatype!r}; known: {', '.join(DATATYPES)}")
    if any(size < 0 for size in tensor.shape):
        raise TensorRefused(f"{tensor.name}: shape {tensor.shape} has a negative size")
    if tensor.data is None:
        raise TensorRefused(f"{tensor.name}: it has no data")
    try:
        values = _typed(tensor.data, dtype)
    except (ValueError, OverflowError, TypeError) as error:
        raise TensorRefused(f"{tensor.name}: data is not {tensor.datatype}: {error}") from error
    if values.size and values.ndim != 1 and list(values.shape) != tensor.shape:
        raise TensorRefused(f"{tensor.name}: data is nested as {list(values.shape)}, shape says {tensor.shape}")
    if values.size != math.prod(tensor.shape):
        raise TensorRefused(f"{tensor.name}: {values.size} values, shape {tensor.shape} says {math.prod(tensor.shape)}")
    try:
        return values.reshape(tensor.shape)
    except (ValueError, OverflowError) as error:  # no values at all, and sizes that no array can have
        raise TensorRefused(f"{tensor.name}: {error}") from error


def to_tensor(name: str, array: Array) -> Tensor:
    """The array as the protocol writes it, flat. Raises TensorRefused when it holds what JSON cannot: NaN, infinity."""
    if not finite(array):
        raise TensorRefused(
            f"{name}: the result has NaN or infinite values, which JSON cannot say; ask for binary_data"
        )
    return Tensor(name, list(array.shape), NAMES[array.dtype], array.ravel().tolist())


def finite(array: Array) -> bool:
    """Whether no value is NaN or infinite."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _typed(data: Any, dtype: np.dtype[Any]) -> Array:
    """`data` as an array of `dtype`, each value exactly of that type: text is no number, 1.5 no integer, 1 no truth."""
    if dtype.kind == "O":
        return _all_of(str, data)
    values = np.asarray(data)
    if values.size == 0 or dtype.kind == values.dtype.kind == "b":
        return values.astype(dtype)
    if dtype.kind == "f" and values.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            floats = values.astype(dtype)
        if not finite(floats):
            raise ValueError("a value is beyond its range")
        return floats
    if dtype.kind in "iu":
        exact = values if values.dtype.kind in "iu" else _all_of(int, data)
        return np.asarray(exact.tolist(), dtype=dtype)  # raises OverflowError beyond the range
    raise ValueError(f"it holds {values.dtype.name} values")


def _all_of(kind: type, data: Any) -> Array:
    values = np.asarray(data, dtype=object)
    for value in values.ravel():
        if type(value) is not kind:
            raise ValueError(f"{str(value)[:40]!r} is not {kind.__name__}")
    return values
