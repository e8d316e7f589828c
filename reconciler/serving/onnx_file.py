"""What an ONNX file says of itself, read from its bytes without copying its weights. Imports nothing of ours.

In: the bytes of a file.  Out: its versions, the files beside it that hold its weights, and which inputs have no rank.
Only protobuf's framing is read, as the edge has onnxruntime and not the package onnx. Source: onnx.proto of ONNX 1.19.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

# message -> number of a field -> the message that it holds; what is not named here is passed over by its length
BELOW: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 8: "opset", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
MODEL_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
IR_VERSION, GRAPH = 1, 7
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
EXTERNAL: Final = 1
SUFFIXES: Final = frozenset({".onnx", ".ort"})
ORT: Final = b"ORTM"  # identifies onnxruntime's own format, at byte 4
LFS: Final = b"version https://git-lfs.github.com/spec/"


@dataclass
class OnnxFile:
    """opsets: domain (empty: ONNX's own) -> version.  external: location -> the bytes that are needed of it.

    unranked: inputs and outputs that say nothing of their shape.  sizes: of the dimensions of its weights.
    """

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    external: dict[str, int] = field(default_factory=dict)
    unranked: set[str] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)


def is_model(content: bytes) -> bool:
    """Whether these bytes are a model of ONNX or onnxruntime, whatever they are called."""
    if content[4:8] == ORT:
        return True
    try:
        numbers = [number for number, _ in _fields(memoryview(content))]
    except ValueError:
        return False
    return GRAPH in numbers and MODEL_FIELDS.issuperset(numbers)


def read(content: bytes) -> OnnxFile:
    """What the file says. Raises ValueError for bytes that are not framed as a model's. Linear in their number."""
    found = OnnxFile()
    left: list[tuple[str, memoryview]] = [("model", memoryview(content))]
    while left:
        message, data = left.pop()
        match message:
            case "tensor":
                _tensor(data, found)
            case "opset":
                said = dict(_fields(data))
                found.opsets[_text(said.get(1))] = _number(said.get(2))
            case "value":
                said = dict(_fields(data))
                if _is_unranked(said.get(2)):
                    found.unranked.add(_text(said.get(1)))
            case _:
                below = BELOW[message]
                for number, value in _fields(data):
                    if number in below and isinstance(value, memoryview):
                        left.append((below[number], value))
                    elif message == "model" and number == IR_VERSION:
                        found.ir_version = _number(value)
    return found


def _tensor(data: memoryview, found: OnnxFile) -> None:
    entries: dict[str, str] = {}
    is_external = False
    for number, value in _fields(data):
        if number == 1:
            found.sizes.add(_number(value))
        elif number == 13:
            said = dict(_fields(value))
            entries[_text(said.get(1))] = _text(said.get(2))
        elif number == 14:
            is_external = value == EXTERNAL
    if is_external:
        location = entries.get("location", "")
        end = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
        found.external[location] = max(end, found.external.get(location, 0))


def _is_unranked(type_: Any) -> bool:
    """Whether a TypeProto is a tensor's without a shape."""
    tensor = dict(_fields(type_)).get(1) if isinstance(type_, memoryview) else None
    return isinstance(tensor, memoryview) and 2 not in dict(_fields(tensor))


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: an int, or the bytes of what has a length. Raises ValueError."""
    if not isinstance(data, memoryview):
        raise ValueError("a number stands where a message should")  # noqa: TRY004  # it is the bytes that are wrong
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        size = 8 if kind == FIXED64 else 4
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind not in {FIXED64, FIXED32}:
            raise ValueError(f"a field of unknown kind {kind}")
        if at + size > end or not tag >> 3:
            raise ValueError("a field ends beyond its message")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number has no end")


def _text(value: Any) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
