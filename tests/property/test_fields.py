"""Field paths over random trees: leaves, at, without and managed say the same."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.fields import above, at, leaves, managed, without

KEYS = st.one_of(st.sampled_from(["spec", "version", "labels", "a.b/c", 'q"', "b]", "\\", ""]), st.text(max_size=4))
SCALARS = st.one_of(st.booleans(), st.integers(), st.text(max_size=5))
VERSIONS = st.one_of(st.sampled_from(["3", "3.10", "a]b", '"', ""]), st.text(max_size=3))


def nodes(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    entry = st.builds(
        lambda more, version: {**more, "version": version}, st.dictionaries(KEYS, children, max_size=2), VERSIONS
    )
    return st.one_of(
        st.dictionaries(KEYS, children, max_size=3), st.lists(children, max_size=3), st.lists(entry, max_size=3)
    )


TREES = st.dictionaries(KEYS, st.recursive(SCALARS, nodes, max_leaves=12), max_size=4)


def fields_v1(tree: Any) -> dict[str, Any]:
    """The fieldsV1 of somebody who applied the tree, by the rules of Server-Side Apply."""
    if isinstance(tree, dict):
        return {f"f:{key}": fields_v1(value) for key, value in tree.items()}
    versions = [item.get("version") for item in tree if isinstance(item, dict)] if isinstance(tree, list) else []
    if (
        versions
        and len(versions) == len(tree)
        and all(isinstance(version, str) for version in versions)
        and len(set(versions)) == len(versions)
    ):
        return {f"k:{json.dumps({'version': item['version']})}": {".": {}, **fields_v1(item)} for item in tree}
    return {}


@given(TREES)
def test_at_finds_every_leaf(tree: dict[str, Any]) -> None:
    found = list(leaves(tree))
    assert len({path for path, _ in found}) == len(found)
    for path, value in found:
        assert at(tree, path) == value
        assert all(at(tree, higher) is not None for higher in above(path))


@given(TREES, st.data())
def test_without_takes_the_given_leaves_and_no_other(tree: dict[str, Any], data: st.DataObject) -> None:
    paths = [path for path, _ in leaves(tree)]
    gone = set(data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else [])
    # A merge key goes with the last of its entry only.
    gone -= {path for path in gone if path.endswith(".version") and above(path)[0].endswith("]")}
    before = json.dumps(tree)
    assert dict(leaves(without(tree, gone))) == {path: value for path, value in leaves(tree) if path not in gone}
    assert json.dumps(tree) == before


@given(TREES)
def test_without_every_leaf_nothing_is_left(tree: dict[str, Any]) -> None:
    assert without(tree, [path for path, _ in leaves(tree)]) == {}
    assert without(tree, []) == tree


@given(TREES)
def test_what_was_applied_is_what_is_managed(tree: dict[str, Any]) -> None:
    tree.pop("metadata", None)  # its contents are named without it
    assert managed(fields_v1(tree)) == {path for path, _ in leaves(tree)}
