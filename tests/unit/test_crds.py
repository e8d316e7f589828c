"""The CRDs: current, deterministic, and nothing in them that a structural schema refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.model.crds import crds, definition, structural
from reconciler.model.kinds import KINDS

FOLDER = Path(__file__).parents[2] / "crds"
TYPES = {"object", "array", "string", "integer", "number", "boolean"}
KNOWN = {
    *("type", "description", "properties", "required", "items", "additionalProperties", "enum", "pattern", "format"),
    *("minimum", "maximum", "maxLength", "nullable", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for inner in schema.get("properties", {}).values():
        yield from nodes(inner)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from nodes(schema[name])


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = definition(KINDS[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def test_the_files_are_current() -> None:
    """When this fails: `reconciler crds --write crds`."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.yaml")} == crds()


def test_there_is_one_for_every_kind() -> None:
    found = [yaml.safe_load(text) for text in crds().values()]
    assert [crd["spec"]["names"]["kind"] for crd in found] == list(KINDS)
    assert [crd["metadata"]["name"] for crd in found] == [f"{row.plural}.ai.kubeedge.io" for row in KINDS.values()]
    for crd, row in zip(found, KINDS.values(), strict=True):
        (version,) = crd["spec"]["versions"]
        assert crd["spec"]["scope"] == row.scope
        assert version["subresources"] == {"status": {}}
        assert [column["name"] for column in version["additionalPrinterColumns"]] == [c.name for c in row.columns]


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_structural(kind: str) -> None:
    found = list(nodes(schema_of(kind)))
    assert len(found) > 10
    for node in found:
        assert set(node) <= KNOWN, node
        assert node["type"] in TYPES
        assert not ("properties" in node and "additionalProperties" in node)
        assert node.get("additionalProperties") is not False
        assert set(node.get("required", ())) <= set(node.get("properties", {}))
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_yaml_anchor_hides_in_the_text(kind: str) -> None:
    text = crds()[f"ai.kubeedge.io_{KINDS[kind].plural}.yaml"]
    assert yaml.safe_load(text) == json.loads(json.dumps(definition(KINDS[kind])))
    assert "&id" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_printer_columns_show_fields_that_exist(kind: str) -> None:
    assert KINDS[kind].columns
    for column in KINDS[kind].columns:
        schema = schema_of(kind)
        for step in column.path.removeprefix(".").split("."):
            schema = schema["properties"][step]
        assert schema["type"] == column.type


def test_the_seeds_fields_are_there_verbatim() -> None:
    spec = schema_of("InferenceModel")["properties"]["spec"]
    assert spec["required"] == ["modelName", "deployToLayer", "frameworkType"]
    seed = {"modelName", "deployToLayer", "frameworkType", "nodeSelector", "nodeName", "image", "manifest"}
    assert set(spec["properties"]) == seed | {"targetVersion", "servingPort", "replicas", "modelRef"}
    manifest = spec["properties"]["manifest"]
    assert set(manifest["items"]["properties"]) == {"version", "downloadURL", "sha256sum"}
    assert manifest["x-kubernetes-list-map-keys"] == ["version"]
    assert spec["properties"]["replicas"]["nullable"] is True
    assert spec["properties"]["servingPort"] | {"description": ""} == {
        "type": "integer",
        "format": "int32",
        "minimum": 0,
        "maximum": 65535,
        "description": "",
    }
    status = schema_of("InferenceModel")["properties"]["status"]["properties"]
    assert set(status) == {"url", "servingVersion", "conditions", "observedGeneration"}


def test_every_field_is_documented() -> None:
    for kind, row in KINDS.items():
        fields = structural(row.spec.model_json_schema())["properties"]
        undocumented = [name for name, field in fields.items() if not field.get("description")]
        assert undocumented == [], kind
