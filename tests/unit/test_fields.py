"""Field paths: how they are written, and what a field manager owns."""

from typing import Any

import pytest

from reconciler.planning.fields import MergeKeys, above, contested, leaves, managed, without

TREE: dict[str, Any] = {
    "labels": {"app.kubernetes.io/name": "digits", "site": "berlin"},
    "spec": {
        "targetVersion": "3",
        "manifest": [
            {"version": "3", "downloadURL": "https://models.example.com/3.tar.gz"},
            {"version": "3.10", "downloadURL": "https://models.example.com/3.10.tar.gz"},
        ],
        "metrics": [{"name": "accuracy"}],
        "nodeSelector": {},
    },
}
PATHS = [
    'labels["app.kubernetes.io/name"]',
    "labels.site",
    "spec.targetVersion",
    "spec.manifest[version=3].version",
    "spec.manifest[version=3].downloadURL",
    "spec.manifest[version=3.10].version",
    "spec.manifest[version=3.10].downloadURL",
    "spec.metrics",
    "spec.nodeSelector",
]


def test_leaves_are_named_as_people_write_them() -> None:
    assert [path for path, _ in leaves(TREE)] == PATHS
    assert dict(leaves(TREE))["spec.metrics"] == [{"name": "accuracy"}]
    assert dict(leaves(TREE))["spec.nodeSelector"] == {}
    assert list(leaves({})) == []


@pytest.mark.parametrize("path", ["spec..x", "spec[0]", "spec[version=]", "spec[a=1,]", 'labels["open', "spec/x"])
def test_what_is_no_path_is_told(path: str) -> None:
    with pytest.raises(ValueError, match="no field path"):
        above(path)


def test_two_entries_of_one_version_are_no_map() -> None:
    twice = {"pins": [{"version": "3", "model": "a"}, {"version": "3", "model": "b"}]}
    assert list(leaves(twice)) == [("pins", twice["pins"])]


POD: MergeKeys = {
    "containers": {"name": None},
    "containers.ports": {"containerPort": None, "protocol": "TCP"},
    "env": {"name": None},
}
DEPLOYMENT: dict[str, Any] = {
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "x",
                        "image": "x:1",
                        "args": ["a", "b"],
                        "env": [{"name": "A", "value": "1"}, {"name": "a/b", "value": "2"}],
                        "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
                    }
                ],
                "tolerations": [{"name": "no map here"}],
                "versions": [{"version": "3"}],
            }
        },
    }
}
X = "spec.template.spec.containers[name=x]"
DEPLOYMENT_PATHS = [
    "spec.replicas",
    f"{X}.name",
    f"{X}.image",
    f"{X}.args",
    f"{X}.env[name=A].name",
    f"{X}.env[name=A].value",
    f'{X}.env[name="a/b"].name',
    f'{X}.env[name="a/b"].value',
    f"{X}.ports[containerPort=80,protocol=TCP].containerPort",
    f"{X}.ports[containerPort=80,protocol=UDP].containerPort",
    f"{X}.ports[containerPort=80,protocol=UDP].protocol",
    "spec.template.spec.tolerations",
    "spec.template.spec.versions",
]


def test_lists_are_maps_where_the_kinds_schema_says_so() -> None:
    assert [path for path, _ in leaves(DEPLOYMENT, POD)] == DEPLOYMENT_PATHS


def test_the_longest_ending_of_a_lists_path_says_what_names_its_entries() -> None:
    tree = {"spec": {"ports": [{"port": 80, "id": "a"}]}, "ports": [{"port": 80, "id": "a"}]}
    keys: MergeKeys = {"ports": {"id": None}, "spec.ports": {"port": None, "protocol": "TCP"}}
    assert [path for path, _ in leaves(tree, keys)] == [
        "spec.ports[port=80,protocol=TCP].port",
        "spec.ports[port=80,protocol=TCP].id",
        "ports[id=a].port",
        "ports[id=a].id",
    ]


@pytest.mark.parametrize(
    "ports", [[{}], [{"containerPort": 80.5}], [{"containerPort": 80}, {"containerPort": 80}], [7]]
)
def test_a_list_whose_entries_are_not_named_is_one_leaf(ports: list[Any]) -> None:
    assert leaves({"containers": {"ports": ports}}, POD) == [("containers.ports", ports)]


def test_what_an_apply_owns_of_entries_with_two_names() -> None:
    port: dict[str, Any] = {".": {}, "f:containerPort": {}}
    container = {".": {}, "f:image": {}, "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': port}}
    fields = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"x"}': container}}}}}
    assert managed(fields, POD) == {f"{X}.image", f"{X}.ports[containerPort=80,protocol=TCP].containerPort"}
    assert managed(fields) == {"spec.template.spec.containers"}


def test_an_entry_keeps_what_names_it_with_two_names() -> None:
    (container,) = without(DEPLOYMENT, [p for p in DEPLOYMENT_PATHS if p.startswith(X) and "UDP" not in p], POD)[
        "spec"
    ]["template"]["spec"]["containers"]
    assert container == {"name": "x", "ports": [{"containerPort": 80, "protocol": "UDP"}]}
    left = without(DEPLOYMENT, [f"{X}.ports[containerPort=80,protocol=UDP]", f"{X}.env"], POD)
    assert left["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80}]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec.replicas", "spec.replicas"),
        ('spec.template.spec.containers[name="x"].image', f"{X}.image"),
        (f'{X}.env[name="a/b"].value', f'{X}.env[name="a/b"].value'),
        (f'{X}.ports[containerPort=80,protocol="UDP"].protocol', f"{X}.ports[containerPort=80,protocol=UDP].protocol"),
        ("metadata.labels.app.kubernetes.io/name", 'labels["app.kubernetes.io/name"]'),
        ("metadata.labels.site", "labels.site"),
        ("spec.selector", "spec.selector"),  # a mapping that is owned as a whole
    ],
)
def test_what_a_conflict_names_is_the_same_path(text: str, path: str) -> None:
    tree = {**DEPLOYMENT, "labels": TREE["labels"]}
    assert contested(text, [path for path, _ in leaves(tree, POD)]) == path


def test_paths_above_a_path_come_nearest_first() -> None:
    assert above("spec.manifest[version=3.10].downloadURL") == [
        "spec.manifest[version=3.10]",
        "spec.manifest",
        "spec",
    ]
    assert above('labels["a.b/c"]') == ["labels"]
    assert above("spec") == []


def test_leaves_are_taken_out_and_what_that_empties_goes_too() -> None:
    gone = without(TREE, ["labels.site", 'labels["app.kubernetes.io/name"]', "spec.metrics"])
    assert [path for path, _ in leaves(gone)] == [
        p for p in PATHS if not p.startswith("labels") and p != "spec.metrics"
    ]
    assert "labels" not in gone
    assert TREE["labels"]["site"] == "berlin"  # a copy
    assert without(TREE, [path for path, _ in leaves(TREE)]) == {}


def test_an_entry_keeps_its_merge_key_while_it_keeps_anything_else() -> None:
    assert without(TREE, ["spec.manifest[version=3].version"]) == TREE
    rest = without(TREE, ["spec.manifest[version=3].version", "spec.manifest[version=3].downloadURL"])
    assert [item["version"] for item in rest["spec"]["manifest"]] == ["3.10"]


def test_what_an_apply_owns() -> None:
    fields = {
        "f:metadata": {
            "f:annotations": {".": {}, "f:ai.kubeedge.io/commit": {}},
            "f:labels": {"f:app.kubernetes.io/name": {}, "f:site": {}},
            "f:finalizers": {".": {}, 'v:"ai.kubeedge.io/keep"': {}},
            "f:ownerReferences": {'k:{"uid":"b7"}': {}},
        },
        "f:spec": {
            "f:targetVersion": {},
            "f:nodeSelector": {},
            "f:manifest": {'k:{"version":"3"}': {".": {}, "f:downloadURL": {}, "f:version": {}}},
            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
        },
    }
    assert managed(fields) == {
        'annotations["ai.kubeedge.io/commit"]',
        'labels["app.kubernetes.io/name"]',
        "labels.site",
        "finalizers",
        "ownerReferences",
        "spec.targetVersion",
        "spec.nodeSelector",
        "spec.manifest[version=3].downloadURL",
        "spec.manifest[version=3].version",
        "spec.ports",
    }
    assert managed({}) == frozenset()
