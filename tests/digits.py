"""The demo's models as tests use them: unpacked, with their digests, and served by real processes on loopback."""

import hashlib
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

from reconciler.serving.process import RuntimeSpec

ARTIFACTS = Path(__file__).parents[1] / "repo-template" / "artifacts"


def unpacked(archive: Path, into: Path) -> Path:
    """The directory with the archive's files, as a store would hand it to a runtime."""
    directory = into / archive.name.removesuffix(".tar.gz")
    directory.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            source = tar.extractfile(member)
            assert source is not None
            (directory / member.name).write_bytes(source.read())
    return directory


def digits(version: str, into: Path) -> Path:
    """Version '1' or '2' of the demo's model, unpacked."""
    return unpacked(ARTIFACTS / f"digits-{version}.tar.gz", into)


def digest(directory: Path) -> str:
    """sha256 of the model file in it."""
    return hashlib.sha256((directory / "model.onnx").read_bytes()).hexdigest()


def question(directory: Path) -> dict[str, Any]:
    """A request of five real digits, from the golden file."""
    return {"inputs": json.loads((directory / "golden.json").read_bytes())["inputs"]}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def spec(directory: Path, model: str = "digits") -> RuntimeSpec:
    """A runtime on loopback with a port of its own."""
    return RuntimeSpec(model, "127.0.0.1", free_port(), directory / "runtime")
