"""Which frameworks there are, on which port each is served, and which of them this machine can serve itself.

In: `frameworkType`.  Out: a port, or PreflightRefused. Imports errors. To add a runtime is to add its row.
"""

from typing import Final, NamedTuple

from reconciler.errors import PreflightRefused


class Framework(NamedTuple):
    """One row. port: where its REST endpoint listens unless servingPort says otherwise; 0: it has no default.

    here: whether the reconciler's own runtime serves it, without Kubernetes and without an image.
    """

    port: int
    here: bool = False


FRAMEWORKS: Final = {
    "onnx": Framework(8080, here=True),
    "tensorflow": Framework(8501),
    "pytorch": Framework(8000),
    "sklearn": Framework(8080),
    "xgboost": Framework(8080),
    "lightgbm": Framework(8080),
    "tflite": Framework(8080),
    "openvino": Framework(8080),
    "custom": Framework(0),
}


def serving_port(framework: str, declared: int) -> int:
    """The declared port, or for 0 the framework's own. Raises PreflightRefused for a framework not served."""
    row = FRAMEWORKS.get(framework)
    if row is None:
        raise PreflightRefused(f"unknown frameworkType {framework!r}", hint=f"known: {', '.join(FRAMEWORKS)}")
    if not row.here:
        raise PreflightRefused(
            f"NotServableHere: this machine's runtime does not serve {framework}",
            hint=f"export the model to {' or '.join(name for name, each in FRAMEWORKS.items() if each.here)}",
        )
    return declared or row.port
