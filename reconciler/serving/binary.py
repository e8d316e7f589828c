"""Tensors as bytes behind the JSON of a request or an answer: the protocol's binary data extension.

May import: tensors. In: a tensor without data and its bytes, or an array.  Out: an array, or bytes.
Source: https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

import math
import struct
from typing import Any, Final

import numpy as np

from reconciler.serving.tensors import DATATYPES, Array, Tensor, TensorRefused, to_array

SIZE: Final = "binary_data_size"  # of an input in a request, of an output in an answer
WANTED, ALL_WANTED = "binary_data", "binary_data_output"  # of a requested output; of a request


def to_arrays(inputs: list[Tensor], behind: memoryview) -> dict[str, Array]:
    """The inputs by name; those without data in JSON take theirs from `behind`, one after the other.

    Raises TensorRefused, which says what to change.
    """
    arrays: dict[str, Array] = {}
    for tensor in inputs:
        if tensor.name in arrays:
            raise TensorRefused(f"two inputs have the same name, {tensor.name}")
        parameters = tensor.parameters or {}
        if "shared_memory_region" in parameters:
            raise TensorRefused(f"{tensor.name}: there is no shared memory here; send the data itself")
        size = parameters.get(SIZE)
        if size is None:
            arrays[tensor.name] = to_array(tensor)
            continue
        if type(size) is not int or size < 0:
            raise TensorRefused(f"{tensor.name}: {SIZE} is {size!r}, and should be a number of bytes")
        if tensor.data is not None:
            raise TensorRefused(f"{tensor.name}: it has data and {SIZE}; send one of them")
        if size > len(behind):
            raise TensorRefused(
                f"{tensor.name}: {SIZE} is {size}, and {len(behind)} bytes follow the JSON, which has to be as long as "
                "the header Inference-Header-Content-Length says"
            )
        arrays[tensor.name], behind = _from_bytes(tensor, behind[:size]), behind[size:]
    if behind:
        raise TensorRefused(f"{len(behind)} bytes follow the JSON that belong to no input: give each its {SIZE}")
    return arrays


def is_wanted(parameters: dict[str, Any] | None, name: str, otherwise: bool = False) -> bool:
    """Whether a parameter asks for bytes. Raises TensorRefused for what is neither true nor false."""
    said = (parameters or {}).get(name, otherwise)
    if not isinstance(said, bool):
        raise TensorRefused(f"parameter {name} is {said!r}, and should be true or false")
    return said


def to_bytes(array: Array) -> bytes:
    """The array's values, little-endian in row-major order; a text behind its length in four bytes."""
    if array.dtype.kind != "O":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [text.encode() if isinstance(text, str) else bytes(text) for text in array.ravel().tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _from_bytes(tensor: Tensor, data: memoryview) -> Array:
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None or any(size < 0 for size in tensor.shape):
        return to_array(tensor)  # refuses it, in its words
    count = math.prod(tensor.shape)
    if dtype.kind == "O":
        texts: Any = _texts(tensor.name, data)
        if len(texts) != count:
            raise TensorRefused(f"{tensor.name}: {len(texts)} texts, shape {tensor.shape} says {count}")
        values = np.array([*texts, None], dtype=object)[:-1]
    elif len(data) != count * dtype.itemsize:
        raise TensorRefused(
            f"{tensor.name}: {len(data)} bytes, {tensor.datatype} of shape {tensor.shape} has {count * dtype.itemsize}"
        )
    else:
        values = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype)
    try:
        return values.reshape(tensor.shape)
    except (ValueError, OverflowError) as error:  # no values at all, and sizes that no array can have
        raise TensorRefused(f"{tensor.name}: {error}") from error


def _texts(name: str, data: memoryview) -> list[str]:
    texts, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        end = at + 4 + size
        if end > len(data):
            raise TensorRefused(f"{name}: a text of {size} bytes ends beyond the data; each stands behind its length")
        try:
            texts.append(str(data[at + 4 : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise TensorRefused(f"{name}: text {len(texts)} is not UTF-8: {error}") from error
        at = end
    return texts
