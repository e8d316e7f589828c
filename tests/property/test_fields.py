"""Field paths over random trees: leaves, without and managed say the same, whichever lists are maps."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.fields import BY_VERSION, MergeKeys, above, divided, leaves, managed, united, without

KEYS = st.one_of(
    st.sampled_from(["spec", "version", "ports", "containers", "a.b/c", 'q"', "b]", "\\", ""]), st.text(max_size=4)
)
SCALARS = st.one_of(st.booleans(), st.integers(), st.text(max_size=5))
NAMES = st.one_of(st.sampled_from(["3", "3.10", "a]b", "/a", '"', ""]), st.text(max_size=3))
ENTRIES: dict[str, dict[str, st.SearchStrategy[Any]]] = {  # as a schema would have them, and as our own kinds do
    "version": {"version": NAMES},
    "containers": {"name": NAMES},
    "ports": {"port": st.integers(0, 9), "protocol": st.sampled_from(["TCP", "UDP", None])},  # None: left out
}
BUILT_IN: MergeKeys = {"containers": {"name": None}, "containers.ports": {"port": None, "protocol": "TCP"}}
EVERYWHERE = pytest.mark.parametrize("keys", [BY_VERSION, BUILT_IN])


def entries(children: st.SearchStrategy[Any], names: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    more = st.dictionaries(KEYS, children, max_size=2)
    named = st.fixed_dictionaries(names).map(lambda entry: {k: v for k, v in entry.items() if v is not None})
    return st.lists(st.builds(lambda entry, rest: {**rest, **entry}, named, more), max_size=3)


def nodes(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = [entries(children, names) for names in ENTRIES.values()]
    return st.one_of(st.dictionaries(KEYS, children, max_size=3), st.lists(children, max_size=3), *lists)


ANY = st.recursive(SCALARS, nodes, max_leaves=12)
CONTAINERS = entries(SCALARS, {**ENTRIES["containers"], "ports": entries(SCALARS, ENTRIES["ports"])})
TREES = st.one_of(
    st.dictionaries(KEYS, ANY, max_size=4),
    st.fixed_dictionaries({"spec": st.fixed_dictionaries({"containers": CONTAINERS})}),
)


def fields_v1(tree: Any, keys: MergeKeys, place: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fieldsV1 of somebody who applied the tree, by the rules of Server-Side Apply."""
    if isinstance(tree, dict):
        return {f"f:{key}": fields_v1(value, keys, (*place, key)) for key, value in tree.items()}
    if not isinstance(tree, list) or not all(isinstance(item, dict) for item in tree):
        return {}
    endings = ["".join(f".{key}" for key in place[start:])[1:] for start in range(len(place) + 1)]
    fields = next((keys[ending] for ending in endings if ending in keys), {})
    names = [{name: item.get(name, default) for name, default in fields.items()} for item in tree]
    texts = [json.dumps(name) for name in names]
    if (
        not fields
        or len(set(texts)) < len(texts)
        or not all(isinstance(v, str | int) for n in names for v in n.values())
    ):
        return {}
    return {f"k:{text}": {".": {}, **fields_v1(item, keys, place)} for text, item in zip(texts, tree, strict=True)}


def names_an_entry(path: str, keys: MergeKeys) -> bool:
    """Whether a leaf is of what its entry is known by, which goes with the last of the entry only."""
    inside, name = above(path), path.rpartition(".")[2]
    return bool(inside) and inside[0].endswith("]") and any(name in fields for fields in keys.values())


@EVERYWHERE
@given(tree=TREES)
def test_every_leaf_has_a_path_of_its_own(keys: MergeKeys, tree: dict[str, Any]) -> None:
    found = [path for path, _ in leaves(tree, keys)]
    assert len(set(found)) == len(found)
    assert all(not path.startswith(higher + ".") for path in found for higher in found)
    for path in found:
        assert [higher for higher in above(path) if not path.startswith(higher)] == []


@EVERYWHERE
@given(tree=TREES, data=st.data())
def test_without_takes_the_given_leaves_and_no_other(
    keys: MergeKeys, tree: dict[str, Any], data: st.DataObject
) -> None:
    paths = [path for path, _ in leaves(tree, keys)]
    gone = set(data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else [])
    gone -= {path for path in gone if names_an_entry(path, keys)}
    before = json.dumps(tree)
    left = {path: value for path, value in leaves(tree, keys) if path not in gone}
    assert dict(leaves(without(tree, gone, keys), keys)) == left
    assert json.dumps(tree) == before


@EVERYWHERE
@given(tree=TREES)
def test_without_what_is_above_a_leaf_it_is_gone(keys: MergeKeys, tree: dict[str, Any]) -> None:
    for path, _ in leaves(tree, keys):
        for higher in above(path):
            assert path not in dict(leaves(without(tree, [higher], keys), keys))


@EVERYWHERE
@given(tree=TREES)
def test_without_every_leaf_nothing_is_left(keys: MergeKeys, tree: dict[str, Any]) -> None:
    assert without(tree, [path for path, _ in leaves(tree, keys)], keys) == {}
    assert without(tree, [], keys) == tree


@EVERYWHERE
@given(tree=TREES)
def test_what_was_applied_is_what_is_managed(keys: MergeKeys, tree: dict[str, Any]) -> None:
    tree.pop("metadata", None)  # its contents are named without it
    assert managed(fields_v1(tree, keys), keys) == {path for path, _ in leaves(tree, keys)}


@EVERYWHERE
@given(tree=TREES, data=st.data())
def test_a_share_is_divided_leaf_by_leaf_and_united_again(
    keys: MergeKeys, tree: dict[str, Any], data: st.DataObject
) -> None:
    share = fields_v1(tree, keys)
    paths = sorted(managed(share, keys))
    wanted = set(data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else [])
    taken, rest = divided(share, wanted.__contains__, keys)
    assert managed(taken, keys) == wanted
    assert managed(rest, keys) == managed(share, keys) - wanted
    assert united(taken, rest) == share
