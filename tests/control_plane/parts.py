"""The optional programs: kube-controller-manager, kube-scheduler and kwok, on loopback, as admins.

In: a part's name and where it runs.  Out: its command line.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.control_plane.home import Home

PROGRAMS: Final = {
    "controller-manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "kwok": "kwok",
}
_EXEC: Final = {  # a command in any Pod runs on this machine, as a child of kwok with its environment
    "apiVersion": "kwok.x-k8s.io/v1alpha1",
    "kind": "ClusterExec",
    "metadata": {"name": "here"},
    "spec": {"execs": [{"local": {}}]},
}
_STAGES: Final = Path(__file__).parent / "kwok.yaml"


def arguments(part: str, port: int, home: Home, serving: Mapping[int, int]) -> list[str]:
    """port: where the part listens, on 127.0.0.1. serving: for kwok, see LocalControlPlane.fake_nodes."""
    common = ["--kubeconfig", str(home.kubeconfig)]
    if part == "kwok":
        configuration = home.directory / "kwok.json"
        configuration.write_text("\n---\n".join(map(json.dumps, (_port_forward(serving), _EXEC))))
        common += ["--manage-all-nodes", "--server-address", f"127.0.0.1:{port}", "--node-ip", "127.0.0.1"]
        common += ["--node-port", str(port), "--config", str(_STAGES)]
        return [*common, "--config", str(configuration)] if serving else common
    common += ["--bind-address", "127.0.0.1", "--secure-port", str(port), "--leader-elect=false"]
    common += ["--authentication-kubeconfig", str(home.kubeconfig), "--authorization-kubeconfig", str(home.kubeconfig)]
    if part == "controller-manager":
        common += ["--service-account-private-key-file", str(home.key), "--root-ca-file", str(home.ca)]
        common += ["--use-service-account-credentials", "--cert-dir", str(home.directory / part)]
    return common


def _port_forward(serving: Mapping[int, int]) -> dict[str, object]:
    """kwok.x-k8s.io/v1alpha1: for each port of every Pod, where the bytes go instead."""
    forwards = [
        {"ports": [port], "target": {"address": "127.0.0.1", "port": target}} for port, target in serving.items()
    ]
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterPortForward",
        "metadata": {"name": "serving"},
        "spec": {"forwards": forwards},
    }
