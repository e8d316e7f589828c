"""CustomResourceDefinitions made from the table of kinds. May import: model.kind.

In: what can be declared.  Out: the files under crds/, to `reconciler crds` and to a test that fails when stale.
Kubernetes takes only structural schemas: references are written in place, `anyOf` with null becomes `nullable`, and
what they have no word for is left out (Kubernetes documentation, "Specifying a structural schema").
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from reconciler.model.identity import GROUP, VERSION
from reconciler.model.kind import CATEGORY, Column, Kind

_HEADER: Final = "# Made by `reconciler crds`: change reconciler/model/ instead.\n"
_RULES: Final = "x-kubernetes-validations"
_INNER: Final = frozenset({"properties", "items"})
_NOISE: Final = frozenset({"title", "default", "additionalProperties", "$defs"})


def crds(kinds: Iterable[Kind]) -> dict[str, str]:
    """Every CustomResourceDefinition as YAML text, by file name. The same on every run."""
    import yaml

    return {
        f"{GROUP}_{row.plural}.yaml": _HEADER + yaml.safe_dump(definition(row), sort_keys=False, width=120)
        for row in kinds
        if row.is_ours
    }


def definition(row: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    names = {"kind": row.name, "listKind": f"{row.name}List", "plural": row.plural, "singular": row.name.lower()}
    short = {"shortNames": list(row.short_names)} if row.short_names else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{row.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": row.scope,
            "names": names | short | {"categories": [CATEGORY]},
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in row.columns],
                    "schema": {"openAPIV3Schema": _object_schema(row)},
                }
            ],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    made = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return made | ({"priority": 1} if column.wide else {})


def _object_schema(row: Kind) -> dict[str, Any]:
    spec, status = structural(row.spec.model_json_schema()), structural(row.status.model_json_schema())
    return {
        "type": "object",
        **({"required": ["spec"]} if spec.get("required") else {}),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }


def structural(schema: dict[str, Any], noise: frozenset[str] = _NOISE) -> dict[str, Any]:
    """A JSON schema made by pydantic, as a structural schema. noise: words of it that are left out."""
    definitions = schema.get("$defs", {})

    def rewrite(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            return rewrite(definitions[name] | {key: value for key, value in node.items() if key != "$ref"})
        if "anyOf" in node:
            (only,) = (one for one in node["anyOf"] if one != {"type": "null"})
            return rewrite({key: value for key, value in node.items() if key != "anyOf"} | only | {"nullable": True})
        out = {key: deepcopy(value) for key, value in node.items() if key not in noise and key not in _INNER}
        if isinstance(node.get("additionalProperties"), dict):
            out["additionalProperties"] = rewrite(node["additionalProperties"])
        if "properties" in node:
            out["properties"] = {name: rewrite(inner) for name, inner in node["properties"].items()}
            for name, inner in out["properties"].items():
                if inner.get("type") == "string":
                    _empty_is_unset(inner, required=name in node.get("required", ()))
        if "items" in node:
            out["items"] = rewrite(node["items"])
            if "version" in out["items"].get("required", ()) and "downloadURL" in out["items"]["properties"]:
                out |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]}
        return out

    return rewrite(schema)


def _empty_is_unset(text: dict[str, Any], *, required: bool) -> None:
    """Empty text is not set, as in the seed's Go types: refused where the field is required, else always good."""
    if required:
        if not text.keys() & {"enum", _RULES}:
            text["minLength"] = 1
        return
    if "enum" in text:
        text["enum"] = [*text["enum"], ""]
    for one in text.get(_RULES, ()):
        one["rule"] = f"self == '' || ({one['rule']})"
