"""The demo's models as tests use them: unpacked, with their digests, and served by real processes on loopback."""

import hashlib
import http.client
import json
import socket
import tarfile
import threading
from contextlib import closing
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


class Client(threading.Thread):
    """Asks the same question over one kept-alive connection until told to stop, and checks each answer.

    expected: version -> (digest, labels) that an answer of this version must carry.
    """

    def __init__(self, spec: RuntimeSpec, body: bytes, expected: dict[str, tuple[str, list[int]]]) -> None:
        super().__init__()
        self.spec, self.body, self.expected = spec, body, expected
        self.enough = threading.Event()
        self.answered = threading.Semaphore(0)
        self.versions: list[str] = []
        self.failed: list[str] = []

    def run(self) -> None:
        with closing(http.client.HTTPConnection(self.spec.address, self.spec.port, timeout=10)) as line:
            while not self.enough.is_set():
                try:
                    self._ask(line)
                except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                    self.failed.append(repr(error))
                    line.close()
                self.answered.release()

    def _ask(self, line: http.client.HTTPConnection) -> None:
        line.request("POST", "/v2/models/digits/infer", self.body)
        response = line.getresponse()
        said = json.loads(response.read())
        version = said["model_version"]
        found = said["parameters"]["digest"], said["outputs"][0]["data"]
        if response.status != http.client.OK or found != self.expected[version]:
            raise ValueError(f"{response.status} {said}")
        self.versions.append(version)

    def await_answers(self, count: int = 3) -> None:
        """Until it has been answered so often from now on."""
        while self.answered.acquire(blocking=False):
            pass
        for _ in range(count):
            assert self.answered.acquire(timeout=10)
