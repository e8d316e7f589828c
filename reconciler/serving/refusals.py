"""What onnxruntime says of a model that it cannot load, in plain words. Imports nothing of ours.

In: the text of its error.  Out: a reason and the way out. The whole text stands in the runtime's log.
"""

import re
from typing import Final

NEWER: Final = "install a newer onnxruntime on the edge"
STANDARD: Final = "export it with the operators of ONNX alone, without custom ones"

# What the error says, the reason, the way out; {1} and so on: what the pattern found, {0}: the version of onnxruntime.
KNOWN: Final = [
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "it is of IR version {1}, and onnxruntime {0} here reads up to {2}",
        "set `model.ir_version = {2}` and save it again, or " + NEWER,
    ),
    (
        r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)",
        "it is of opset {1} of {2}, and onnxruntime {0} here reads up to opset {3}",
        "export it with opset {3} (PyTorch: opset_version={3}), or " + NEWER,
    ),
    (
        r"Fatal error: (\S*?):?(\w+)\(-?\d+\) is not a registered function/op",
        "it uses the operator {2} of {1}, which onnxruntime {0} here does not have",
        STANDARD,
    ),
    (
        r"No Op registered for (\w+) with domain_version of (\d+)",
        "it uses the operator {1}, which opset {2} does not have",
        STANDARD + ", or with a newer opset",
    ),
    (
        r"Could not find an implementation for (\w+)\((\d+)\)",
        "onnxruntime {0} has nothing that computes {1} of opset {2} on a CPU for the types it is used with",
        "export it in float32 or quantized to 8 bit",
    ),
    (
        r"[Pp]rotobuf parsing failed|No graph was found",
        "it is no ONNX model, or not the whole of one",
        "export it again, and pack what was written",
    ),
    (
        r"Type 'tensor\((\w+)\)' of input parameter \(\S*\) of operator \((\w+)\)",
        "it computes {2} in {1}, which ONNX does not have in its opset",
        "export it in float32 (PyTorch: model.float()), or with a newer opset",
    ),
    (
        r"(?:Type Error: |\[ShapeInferenceError\] |invalid model\. |\[TypeInferenceError\] )([^\n]{1,160})",
        "its graph contradicts itself: {1}",
        "look at it with `onnx.checker.check_model`, and export it again",
    ),
]


def in_words(error: str, version: str) -> tuple[str, str]:
    """(reason, way out) for an error of this version of onnxruntime; of an unknown one its first line."""
    for pattern, reason, hint in KNOWN:
        found = re.search(pattern, error, re.DOTALL)
        if found:
            parts = (version, *(part or "ONNX" for part in found.groups()))
            return reason.format(*parts), hint.format(*parts)
    return (
        f"onnxruntime {version} says: {first_line(error) or 'nothing'}",
        "try it with onnxruntime on your machine, or " + NEWER,
    )


def first_line(error: str) -> str:
    """What an error of onnxruntime begins with, without its numbers; at most 300 characters."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", error.strip()).partition("\n")[0][:300]
