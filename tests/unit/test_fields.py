"""Field paths: how they are written, and what a field manager owns."""

from typing import Any

import pytest

from reconciler.planning.fields import above, at, leaves, managed, without

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


def test_what_stands_at_a_path() -> None:
    assert at(TREE, "spec.manifest[version=3.10].downloadURL").endswith("3.10.tar.gz")
    assert at(TREE, "spec.manifest[version=3]") == TREE["spec"]["manifest"][0]
    assert at(TREE, "spec") is TREE["spec"]
    assert at(TREE, "spec.manifest[version=4].downloadURL") is None
    assert at(TREE, "spec.targetVersion.deeper") is None
    assert at(TREE, "labels[version=3]") is None


@pytest.mark.parametrize("path", ["spec..x", "spec[0]", "spec[version=]", 'labels["open', "spec/x"])
def test_what_is_no_path_is_told(path: str) -> None:
    with pytest.raises(ValueError, match="no field path"):
        at(TREE, path)


def test_two_entries_of_one_version_are_no_map() -> None:
    twice = {"pins": [{"version": "3", "model": "a"}, {"version": "3", "model": "b"}]}
    assert list(leaves(twice)) == [("pins", twice["pins"])]
    assert at(twice, "pins[version=3].model") is None


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
