"""The manifests in deploy/ are what an API server takes."""

from pathlib import Path

import pytest
import yaml

from tests.control_plane.plane import ControlPlane

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
PLURALS = {"NetworkPolicy": "networkpolicies"}


@pytest.mark.parametrize("file", FILES)
def test_an_api_server_takes_every_manifest(file: str, control_plane: ControlPlane) -> None:
    control_plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": "reconciler-system"}})
    recipe = (DEPLOY / "README.md").read_text().partition("# metrics.yaml\n")[2].partition("```")[0]
    for document in (*yaml.safe_load_all((DEPLOY / file).read_text()), yaml.safe_load(recipe)):
        group, metadata = document["apiVersion"], document["metadata"]
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        plural = PLURALS.get(document["kind"], f"{document['kind'].lower()}s")
        path = f"{root}{scope}/{plural}?dryRun=All&fieldValidation=Strict"
        status, answer = control_plane.request("POST", path, document)
        taken = status == 201 or (status == 409 and answer["reason"] == "AlreadyExists")
        assert taken, answer
