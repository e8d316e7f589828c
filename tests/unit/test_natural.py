"""Names in the order of people."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.history.events import rfc3339
from reconciler.history.keys import DECLARE, DELIVER
from reconciler.history.state import EdgeSeen, Served, StageState, State
from reconciler.history.status import status
from reconciler.natural import in_order, listed, natural

EDGES = ["edge-1", "edge-2", "edge-9", "edge-10", "edge-100"]


def test_numbers_count_and_do_not_spell() -> None:
    assert in_order(["edge-10", "edge-2", "edge-1", "edge-2"]) == ["edge-1", "edge-2", "edge-10"]
    assert in_order(["v1.10.0", "v1.9.1", "v1.9"]) == ["v1.9", "v1.9.1", "v1.10.0"]
    assert in_order(["2", "b", "1", "a", ""]) == ["", "1", "2", "a", "b"]
    assert in_order(["x-01", "x-1", "x-001"]) == ["x-001", "x-01", "x-1"]


@given(st.lists(st.text(alphabet="ab-.0123456789٣²", max_size=9)))
def test_it_is_an_order_of_any_names(names: list[str]) -> None:
    once = in_order(names)
    assert in_order(reversed(once)) == once
    assert len({natural(name) for name in names}) == len(set(names))
    assert natural("9" * 5000) < natural("1" + "0" * 5000)


def test_of_many_the_first_are_listed() -> None:
    assert listed([]) == ""
    assert listed(EDGES, 5) == "edge-1, edge-2, edge-9, edge-10, edge-100"
    assert listed(EDGES, 2) == "edge-1, edge-2 and 3 more"


def test_rows_objects_and_edges_of_a_status_stand_so() -> None:
    keys = {f"InferenceModel/default/m-{edge}@{edge}": Served(operation="o") for edge in sorted(EDGES)}
    objects = {f"InferenceModel/default/m-{edge}": Served(operation="o") for edge in sorted(EDGES)}
    stages = {DELIVER: StageState(keys=keys), DECLARE: StageState(keys=objects)}
    seen = status(State(edges={edge: EdgeSeen() for edge in sorted(EDGES)}, stages=stages), rfc3339(0))
    assert [row.edge for row in seen.rows] == EDGES
    assert [one.name for one in seen.objects] == [f"m-{edge}" for edge in EDGES]
    assert [edge.name for edge in seen.edges] == EDGES
