"""What a schema drops or refuses of a stored object, value by value."""

from typing import Any

import pytest

from reconciler.kube.admin.schema import misfits
from reconciler.model.crds import definition
from reconciler.planning.kinds import models

KINDS = {name: row for name, row in models().items() if row.is_ours}

TEXT = {"type": "string"}


def of(spec: dict[str, Any], value: Any) -> set[str]:
    schema = {"type": "object", "properties": {"metadata": {"type": "object"}, "spec": spec}}
    return {str(one) for one in misfits(schema, {"apiVersion": "a/v1", "kind": "K", "metadata": {}, "spec": value})}


@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        ({"type": "object", "properties": {"a": TEXT}}, {"a": "x"}, set()),
        ({"type": "object", "properties": {"a": TEXT}}, {"a": "x", "b": 1}, {"spec.b would be dropped"}),
        ({"type": "object"}, {"a": "x"}, {"spec.a would be dropped"}),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"a": "x"}, set()),
        ({"type": "object", "additionalProperties": True}, {"a": 1}, set()),
        ({"type": "object", "additionalProperties": TEXT}, {"a": 1}, {"spec.a would have to be of type string"}),
        ({"type": "object", "required": ["a"], "properties": {"a": TEXT}}, {}, {"spec.a would be required"}),
        ({"type": "array", "items": {"type": "integer"}}, [1, "2"], {"spec[1] would have to be of type integer"}),
        ({"type": "array", "maxItems": 1}, [1, 2], {"spec would be above its maxItems, 1"}),
        ({"type": "integer"}, True, {"spec would have to be of type integer"}),
        ({"type": "number"}, 1, set()),
        ({"type": "boolean"}, 1, {"spec would have to be of type boolean"}),
        ({"x-kubernetes-int-or-string": True}, "10%", set()),
        ({"x-kubernetes-int-or-string": True}, 10, set()),
        ({"x-kubernetes-int-or-string": True}, [], {"spec would have to be a number or text"}),
        ({"type": "string", "enum": ["a"]}, "b", {"spec has a value that would be allowed no more"}),
        ({"type": "string", "pattern": "^a+$"}, "ab", {"spec would not match its pattern"}),
        ({"type": "string", "maxLength": 2}, "abc", {"spec would be above its maxLength, 2"}),
        ({"type": "string", "minLength": 1}, "", {"spec would be below its minLength, 1"}),
        ({"type": "integer", "minimum": 1}, 0, {"spec would be below its minimum, 1"}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, {"spec would be below its minimum, 1"}),
        ({"type": "integer", "maximum": 3}, 3, set()),
        ({"type": "string"}, None, {"spec could not be null"}),
        ({"type": "string", "nullable": True}, None, set()),
    ],
)
def test_a_value_against_a_schema(schema: dict[str, Any], value: Any, found: set[str]) -> None:
    assert of(schema, value) == found


def test_what_kubernetes_itself_keeps_is_not_judged() -> None:
    document = {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x", "labels": {"a": "b"}}}
    assert misfits({"type": "object", "properties": {}}, document) == set()


def test_our_own_schema_takes_what_it_declares() -> None:
    schema = definition(KINDS["Edge"])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    edge = {"spec": {"nodeName": "n", "pins": [{"model": "m", "version": "3", "reason": "x"}]}}
    assert misfits(schema, edge) == set()
    edge["spec"]["pins"][0]["colour"] = "red"  # type: ignore[index]
    assert {one.path for one in misfits(schema, edge)} == {"spec.pins[0].colour"}
