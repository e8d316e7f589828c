"""A cluster made by `kind` from deploy/kind.yaml, where its binary and its node image are present.

In: deploy/kind.yaml.  Out: why it cannot be used here, or a `ControlPlane` with its nodes.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import yaml

from tests.control_plane.plane import ControlPlane

CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "kind.yaml"
_NAME: Final = "reconciler-tests-"  # and the process id of the test run


def image() -> str:
    """The node image that kind.yaml names."""
    document = yaml.safe_load(CONFIGURATION.read_text())
    return str(document["nodes"][0]["image"])


def why_not() -> str:
    """What is missing to start without fetching anything; "" for nothing."""
    for program in ("kind", "docker"):
        if not shutil.which(program):
            return f"there is no {program} on this machine"
    done = subprocess.run(["docker", "image", "inspect", image()], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"docker has no image {image()} here: {done.stderr.strip()[:200]}"
    return ""


def start() -> ControlPlane:
    """Raises CalledProcessError with what kind said."""
    sweep()
    name = f"{_NAME}{os.getpid()}"
    directory = Path(tempfile.mkdtemp(prefix=_NAME))
    kubeconfig = directory / "admin.kubeconfig"
    _kind("create", "cluster", "--name", name, "--config", str(CONFIGURATION), "--kubeconfig", str(kubeconfig))
    return Kind(name, kubeconfig, directory)


def sweep() -> None:
    """Deletes clusters whose test run is gone: containers outlive whoever started them."""
    for name in _kind("get", "clusters").split():
        pid = name.removeprefix(_NAME)
        if name.startswith(_NAME) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _kind("delete", "cluster", "--name", name)


class Kind(ControlPlane):
    """A whole cluster, with a kubelet; its processes are in containers."""

    origin = "kind"

    def __init__(self, name: str, kubeconfig: Path, directory: Path) -> None:
        super().__init__(kubeconfig, directory)
        self._name = name

    def lacks(self, what: str) -> str:
        return "" if what in {"controller-manager", "scheduler"} else "a kind cluster is used as it is"

    def stop(self) -> None:
        self.admin.close()
        _kind("delete", "cluster", "--name", self._name, "--kubeconfig", str(self.kubeconfig))
        shutil.rmtree(self.directory, ignore_errors=True)


def _kind(*words: str) -> str:
    return subprocess.run(["kind", *words], stdout=subprocess.PIPE, text=True, check=True).stdout
