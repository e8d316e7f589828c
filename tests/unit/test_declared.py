"""The declared objects and their indexes."""

from typing import Any

from reconciler.planning.declared import Declared, matches, node_labels
from tests.fleets import catalogue, declare, edge, fleet, model_set, plain


def test_an_empty_selector_matches_everything_and_an_absent_one_nothing() -> None:
    assert matches({}, {}) is matches({"matchLabels": {}}, {"a": "b"}) is True
    assert matches(None, {"a": "b"}) is False
    assert matches({"matchLabels": {"a": "b", "c": "d"}}, {"a": "b"}) is False


def test_edges_are_found_by_all_of_their_labels_in_order_of_name() -> None:
    declared = declare(edge("b", {"site": "x"}), edge("a", {"site": "x", "ring": "canary"}), edge("c"))
    found = [one.name for one in declared.edges_matching({"matchLabels": {"site": "x"}})]
    both = [one.name for one in declared.edges_matching({"matchLabels": {"site": "x", "ring": "canary"}})]
    assert (found, both) == (["a", "b"], ["a"])
    assert [one.name for one in declared.edges_matching({})] == ["a", "b", "c"]
    assert list(declared.edges_matching(None)) == list(declared.edges_matching({"matchLabels": {"site": "y"}})) == []


def test_a_node_has_its_name_as_hostname_unless_a_label_says_otherwise() -> None:
    assert node_labels(edge("e1", nodeName="n1")) == {"kubernetes.io/hostname": "n1"}
    assert node_labels(edge("e1", {"kubernetes.io/hostname": "h"})) == {"kubernetes.io/hostname": "h"}


def test_a_model_lands_by_node_name_by_selector_by_hostname_or_nowhere() -> None:
    declared = declare(edge("e1", {"site": "x"}, nodeName="n1"), edge("e2", {"site": "x"}), edge("e3"))
    places: dict[str, dict[str, Any]] = {
        "node": {"nodeName": "n1"},
        "edge as node": {"nodeName": "e2"},
        "edge whose node has another name": {"nodeName": "e1"},
        "selector": {"nodeSelector": {"site": "x"}},
        "hostname": {"nodeSelector": {"kubernetes.io/hostname": "e3"}},
        "both": {"nodeName": "e2", "nodeSelector": {"site": "x"}},
        "mismatch": {"nodeName": "e3", "nodeSelector": {"site": "x"}},
        "neither": {},
    }
    lands = {name: declared.edge_of(plain("m", **where)) for name, where in places.items()}
    assert lands == {
        "node": "e1",
        "edge as node": "e2",
        "edge whose node has another name": None,
        "selector": "e1",
        "hostname": "e3",
        "both": "e2",
        "mismatch": None,
        "neither": None,
    }


def test_of_two_edges_on_one_node_the_least_name_counts_in_any_order() -> None:
    one, other, model = edge("a", nodeName="n"), edge("b", nodeName="n"), plain("m", nodeName="n")
    assert declare(one, other, model).edge_of(model) == declare(other, one, model).edge_of(model) == "a"


def test_a_change_leaves_the_value_before_as_it_was() -> None:
    first = declare(edge("e1", {"site": "x"}), plain("m", nodeName="e1"), model_set("s", ref="m"), catalogue("m"))
    gone = first.get(edge("e1").identity)
    second = first.changed({edge("e1").identity: None, edge("e2").identity: edge("e2", {"site": "x"})})
    assert ([one.name for one in first.edges_matching({"matchLabels": {"site": "x"}})], len(first)) == (["e1"], 4)
    assert [one.name for one in second.edges_matching({"matchLabels": {"site": "x"}})] == ["e2"]
    assert (first.edge("e1"), second.edge("e1")) == (gone, None)
    assert [one.name for one in first.bound_to(edge("e1"))] == ["m"]
    assert first.users("default", "m") == second.users("default", "m") == {model_set("s").identity}
    assert second.changed({model_set("s").identity: None}).users("default", "m") == set()


def test_of_several_fleets_the_least_name_s_is_in_force() -> None:
    one, other = fleet(1), fleet(2)
    other = type(other)(**{name: getattr(other, name) for name in other.__struct_fields__} | {"name": "a"})
    for order in ((one, other), (other, one)):
        found = declare(*order).fleet()
        assert found is not None
        assert found["prune"]["maxDeletes"] == 2
    assert Declared().fleet() is None
