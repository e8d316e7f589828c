"""What a status holds, and what kubectl shows of our objects."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.model.identity import GROUP
from reconciler.planning.kinds import models
from tests.cluster.crd_documents import changed, collection, sample
from tests.control_plane.client import Document
from tests.control_plane.plane import ControlPlane

KINDS = {name: row for name, row in models().items() if row.is_ours}

NOW = "2024-12-24T12:00:00Z"
READY = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "serves 4", "lastTransitionTime": NOW}
COMMON = {
    "conditions": [READY | {"observedGeneration": 1}],
    "observedGeneration": 1,
    "lastAppliedRevision": f"main@sha1:{'a' * 40}",
    "lastHandledReconcileAt": NOW,
}
SUSPENDED = {"actor": "ada", "reason": "she looks", "until": NOW}
STATUS: dict[str, Document] = {
    "InferenceModel": COMMON
    | {"url": "http://127.0.0.2:80", "servingVersion": "3", "wantedVersion": "4", "edge": "berlin-07"}
    | {"phase": "Committed", "since": NOW, "suspended": SUSPENDED},
    "InferenceModelSet": COMMON | {"edges": {"desired": 30, "updated": 20, "ready": 10, "pinned": 5, "failed": 1}},
    "Model": COMMON
    | {"versions": 7, "users": 8, "edges": 12, "inUse": [{"version": "4", "edges": 11}, {"version": "3", "edges": 1}]},
    "Dataset": COMMON
    | {"versions": 3, "servedVersion": "2026-11", "edges": {"bytes": 11, "metadata": 22, "ready": 33}},
    "Edge": COMMON | {"present": True, "since": NOW, "lastHeard": NOW, "models": {"wanted": 44, "serving": 55}},
    "Fleet": COMMON
    | {"lastAttemptedRevision": f"main@sha1:{'b' * 40}", "commit": "a" * 12, "objects": 66, "problems": 77}
    | {"heldPlan": {"digest": "d1ge57", "reason": "it deletes 2 of 2", "counts": {"delete": 2}}}
    | {"suspended": SUSPENDED, "frozenUntil": NOW},
}
SHOWN = {  # what stands in a row, wide columns included
    "InferenceModel": "True 4 3 berlin-07 Succeeded edge precision-5820 tensorflow http://127.0.0.2:80 c0ffee serves 4",
    "InferenceModelSet": "True facialexpression 4 30 20 10 5 1 Succeeded c0ffee serves 4",
    "Model": "True onnx image-classification 7 8 c0ffee",
    "Dataset": "True csv 2026-11 11 22 Succeeded c0ffee serves 4",
    "Edge": "True precision-5820 127.0.0.2 true 55 44 Succeeded c0ffee serves 4",
    "Fleet": f"True {'a' * 12} d1ge57 66 77 {NOW} Succeeded serves 4",
}
TIME_COLUMNS = {"AGE", "LAST-HEARD"}


def made(cluster: ControlPlane, kind: str) -> Document:
    """The sample with its status, in the cluster."""
    document = sample(kind)
    document["metadata"].pop("namespace", None)
    document["metadata"]["labels"] = {f"{GROUP}/edge": "berlin-07"}
    document["metadata"]["annotations"] = {f"{GROUP}/commit": "c0ffee"}
    cluster.post(collection(kind), document)
    path = f"{collection(kind)}/{document['metadata']['name']}/status"
    status, answer = cluster.request("PATCH", path, {"status": STATUS[kind]}, query={"fieldValidation": "Strict"})
    assert status == 200, answer
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_status_is_kept_whole(cluster: ControlPlane, kind: str) -> None:
    KINDS[kind].status.model_validate(STATUS[kind])
    assert made(cluster, kind)["status"] == STATUS[kind]
    assert set(STATUS[kind]) == set(KINDS[kind].status.model_fields)  # every field was tried
    assert len(json.dumps(STATUS[kind])) < 4096


@pytest.fixture
def kubectl(cluster: ControlPlane, tmp_path: Path) -> Any:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    words = [program, "--kubeconfig", str(cluster.kubeconfig), "--cache-dir", str(tmp_path / "cache")]

    def run(*more: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *more], capture_output=True, text=True, timeout=60, check=False, **options)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_kubectl_get_wide(cluster: ControlPlane, kubectl: Any, kind: str) -> None:
    name = made(cluster, kind)["metadata"]["name"]
    row = KINDS[kind]
    shown = kubectl("get", (*row.short_names, row.plural)[0], "-o", "wide")
    assert shown.returncode == 0, shown.stderr
    header, line = shown.stdout.splitlines()
    assert header.split() == ["NAME", *(column.name.upper() for column in row.columns)]
    starts = [header.index(f" {title}") + 1 for title in header.split()[1:]]
    cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    titled = dict(zip(header.split()[1:], cells, strict=True))
    assert all(titled[title] for title in titled), titled
    assert line.split()[0] == name
    assert " ".join(cell for title, cell in titled.items() if title not in TIME_COLUMNS) == SHOWN[kind]


def test_kubectl_get_is_narrow_and_knows_the_category(cluster: ControlPlane, kubectl: Any) -> None:
    for kind in KINDS:
        made(cluster, kind)
    shown = kubectl("get", "im")
    assert shown.stdout.split()[:7] == ["NAME", "READY", "VERSION", "SERVING", "EDGE", "REASON", "AGE"]
    listed = kubectl("get", "kubeedge-ai", "-o", "name").stdout.split()
    assert {one.partition(".")[0] for one in listed} == {kind.lower() for kind in KINDS}


def test_kubectl_apply_says_what_is_wrong_and_how_to_mend_it(kubectl: Any) -> None:
    said = kubectl("apply", "-f", "-", input=yaml.safe_dump(changed("InferenceModel", targetVersion="9")))
    assert said.returncode == 1
    assert "spec.targetVersion: Invalid value: there is no version '9'; name one of those in manifest" in said.stderr
    explained = kubectl("explain", "inferencemodel.spec.targetVersion")
    assert "The entry of the manifest that is served." in explained.stdout
