"""Selectors of edges by their labels, as kubectl writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import NameUnknown, UsageError
from reconciler.web.chosen import Term, selected, terms

LABELS = {
    "e1": {"site": "demo", "ring": "canary"},
    "e2": {"site": "demo", "ring": "main"},
    "e10": {"site": "lab", "gpu": "yes", "team.example.com/name": "x"},
    "bare": {},
}


@pytest.mark.parametrize(
    ("selector", "edges"),
    [
        ("site=demo", {"e1", "e2"}),
        ("site==demo,ring!=canary", {"e2"}),
        ("ring!=canary", {"e2", "e10", "bare"}),
        ("site", {"e1", "e2", "e10"}),
        ("!site", {"bare"}),
        ("site = demo , ring", {"e1", "e2"}),
        ("team.example.com/name=x", {"e10"}),
        ("site=demo,gpu", set()),
        ("never!=x,!neither", {"e1", "e2", "e10", "bare"}),
    ],
)
def test_a_selector_takes_edges_by_their_labels(selector: str, edges: set[str]) -> None:
    assert selected(selector, LABELS) == edges


@pytest.mark.parametrize("selector", ["", "site=demo,", "=x", "a b", "site=a=b", "!site=demo", "site in (a)", "ä=x"])
def test_what_is_no_selector_is_refused_with_how_one_is_written(selector: str) -> None:
    with pytest.raises(UsageError) as caught:
        selected(selector, LABELS)
    assert "site=demo,ring!=canary" in caught.value.advice


@pytest.mark.parametrize(
    ("selector", "what", "hint"),
    [
        ("site=dmeo", "no edge has site=dmeo", "is site=demo meant? site is demo, lab"),
        ("stie", "no edge has the label stie", "is site meant? they have gpu, ring, site, team.example.com/name"),
        ("zzz=1", "no edge has the label zzz", "they have gpu, ring, site, team.example.com/name"),
    ],
)
def test_a_label_that_no_edge_has_is_refused_with_what_there_is(selector: str, what: str, hint: str) -> None:
    with pytest.raises(NameUnknown) as caught:
        selected(selector, LABELS)
    assert (caught.value.message, caught.value.advice) == (what, hint)


def test_of_edges_without_labels_it_says_that_there_are_none() -> None:
    with pytest.raises(NameUnknown) as caught:
        selected("site=x", {"bare": {}})
    assert caught.value.advice == "they have none"


NAMES, VALUES = st.sampled_from(["site", "ring", "gpu"]), st.sampled_from(["demo", "lab", "x"])
TERMS = st.lists(st.tuples(NAMES, st.none() | VALUES, st.booleans()), min_size=1, max_size=4)


def spelled(name: str, value: str | None, is_not: bool) -> str:  # a drawn triple
    if value is None:
        return f"!{name}" if is_not else name
    return f"{name}{'!=' if is_not else '='}{value}"


@given(TERMS, st.dictionaries(NAMES, VALUES))
def test_every_condition_has_to_hold(drawn: list[tuple[str, str | None, bool]], labels: dict[str, str]) -> None:
    found = terms(",".join(spelled(*one) for one in drawn))
    assert found == [Term(*one) for one in drawn]
    for term, (name, value, is_not) in zip(found, drawn, strict=True):
        has = name in labels if value is None else labels.get(name) == value
        assert term.takes(labels) is ((has and not is_not) or (not has and is_not))
