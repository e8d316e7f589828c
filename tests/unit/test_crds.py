"""The CRDs: current, deterministic, and nothing in them that a structural schema refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.model.crds import crds, definition, structural
from reconciler.planning.kinds import models

KINDS = {name: row for name, row in models().items() if row.is_ours}

FOLDER = Path(__file__).parents[2] / "crds"
TYPES = {"object", "array", "string", "integer", "number", "boolean"}
KNOWN = {
    *("type", "description", "properties", "required", "items", "additionalProperties", "enum", "pattern", "format"),
    *("minimum", "maximum", "minLength", "maxLength", "maxItems", "maxProperties", "nullable"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations"),
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
    assert {path.name: path.read_text() for path in FOLDER.glob("*.yaml")} == crds(models().values())


def test_there_is_one_for_every_kind() -> None:
    found = [yaml.safe_load(text) for text in crds(KINDS.values()).values()]
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
    text = crds(KINDS.values())[f"ai.kubeedge.io_{KINDS[kind].plural}.yaml"]
    assert yaml.safe_load(text) == json.loads(json.dumps(definition(KINDS[kind])))
    assert "&id" not in text


READY = '.status.conditions[?(@.type=="Ready")].'


@pytest.mark.parametrize("kind", KINDS)
def test_printer_columns_show_fields_that_exist(kind: str) -> None:
    row = KINDS[kind]
    names = [column.name for column in row.columns]
    assert len(names) == len(set(names))
    assert [column.wide for column in row.columns] == sorted(column.wide for column in row.columns)  # wide ones last
    for column in row.columns:
        if column.path == ".metadata.creationTimestamp":
            assert (column.name, column.type) == ("Age", "date")
        elif column.path.startswith((".metadata.labels.", ".metadata.annotations.")):
            assert (column.path.rpartition(r".ai\.kubeedge\.io/")[2], column.type) == (column.name.lower(), "string")
        else:
            schema, path = schema_of(kind), column.path.removeprefix(READY)
            if path != column.path:
                schema = schema["properties"]["status"]["properties"]["conditions"]["items"]
            for step in path.removeprefix(".").split("."):
                schema = schema["properties"][step]
            assert column.type in {schema["type"], "date"}, column.name
            if column.type == "date":  # kubectl shows how long ago it is, so it has to be a time that is past
                assert (column.name, schema["format"]) == ("Last-Heard", "date-time")


def test_short_names_are_nobody_elses() -> None:
    builtin = (
        "cs cm ep ev limits ns no pvc pv po rc quota sa svc crd crds ds deploy rs sts hpa cj csr ing netpol pdb pc sc"
    )
    short = [name for row in KINDS.values() for name in row.short_names]
    assert len(short) == len(set(short))
    assert not set(short) & set(builtin.split())
    for row in KINDS.values():
        assert definition(row)["spec"]["names"]["categories"] == ["kubeedge-ai"]


def test_the_seeds_fields_are_there_verbatim() -> None:
    spec = schema_of("InferenceModel")["properties"]["spec"]
    assert spec["required"] == ["modelName", "deployToLayer", "frameworkType"]
    seed = {"modelName", "deployToLayer", "frameworkType", "nodeSelector", "nodeName", "image", "manifest"}
    assert set(spec["properties"]) == seed | {"targetVersion", "servingPort", "replicas", "modelRef"}
    manifest = spec["properties"]["manifest"]
    assert set(manifest["items"]["properties"]) == {"version", "downloadURL", "sha256sum"} | {"size"}
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
    assert status.keys() >= {"url", "servingVersion", "conditions", "observedGeneration"}
    assert status["url"]["type"] == status["servingVersion"]["type"] == "string"


@pytest.mark.parametrize("kind", KINDS)
def test_status_follows_kstatus(kind: str) -> None:
    status = schema_of(kind)["properties"]["status"]
    assert "required" not in status
    conditions = status["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["items"]["required"] == ["type", "status"]
    assert conditions["items"]["properties"]["status"]["enum"] == ["True", "False", "Unknown"]
    assert status["properties"]["observedGeneration"] | {"description": ""} == {
        "description": "",
        "type": "integer",
        "format": "int64",
        "nullable": True,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_rules_have_words_that_the_api_server_takes(kind: str) -> None:
    for node in nodes(schema_of(kind)):
        for one in node.get("x-kubernetes-validations", ()):
            assert one.keys() <= {"rule", "message", "messageExpression", "fieldPath", "reason"}
            assert 0 < len(one["message"]) <= 2048
            assert "{" not in one["message"]
            assert "\n" not in one["message"]
            if "fieldPath" in one:
                assert one["fieldPath"].removeprefix(".").split(".")[0] in node["properties"]


def test_what_rules_are_about_has_an_end() -> None:
    """The API server multiplies the cost of a rule by how often it may be asked."""

    def inside(node: dict[str, Any], *, counted: bool = True) -> Iterator[str]:
        counted = counted and ("items" not in node or "maxItems" in node)
        counted = counted and ("additionalProperties" not in node or "maxProperties" in node)
        if "x-kubernetes-validations" in node and (
            not counted or (node["type"] == "string" and "maxLength" not in node)
        ):
            yield node.get("description", "")
        for inner in (*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")):
            if isinstance(inner, dict):
                yield from inside(inner, counted=counted)

    assert [text for kind in KINDS for text in inside(schema_of(kind)["properties"]["spec"])] == []


def test_empty_text_is_not_set_as_in_the_seeds_types() -> None:
    spec = schema_of("InferenceModel")["properties"]["spec"]["properties"]
    for optional in ("nodeName", "targetVersion", "modelRef"):
        assert [one["rule"][:14] for one in spec[optional]["x-kubernetes-validations"]] == ["self == '' || "], optional
    assert not spec["modelName"]["x-kubernetes-validations"][0]["rule"].startswith("self == ''")
    assert spec["frameworkType"]["minLength"] == 1
    assert "minLength" not in spec["image"]
    fleet = schema_of("Fleet")["properties"]["spec"]["properties"]
    assert fleet["freeze"]["items"]["properties"]["scope"]["enum"] == ["changes", "all", ""]


def test_the_schemas_are_the_same_however_often_they_are_made() -> None:
    assert crds(models().values()) == crds(KINDS.values())


def test_every_field_is_documented() -> None:
    for kind, row in KINDS.items():
        shapes = (row.spec, row.status)
        fields = {
            name: field
            for shape in shapes
            for name, field in structural(shape.model_json_schema())["properties"].items()
        }
        undocumented = [name for name, field in fields.items() if not field.get("description")]
        assert undocumented == [], kind
