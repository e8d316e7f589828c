"""Expansion, diff and plan over random fleets and random changes of them."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.planning.declared import Declared, Object
from reconciler.planning.deliver import expand
from reconciler.planning.desired import Desired, Expansion, Frozen
from reconciler.planning.diff import Observed, diff
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import make_plan
from reconciler.planning.reach import affected, every, keys_on
from tests.fleets import around, catalogue, dataset, declare, edge, model_set, plain

LABELS = st.fixed_dictionaries({}, optional={"site": st.sampled_from(["a", "b"]), "ring": st.just("canary")})
SELECTORS = st.one_of(st.none(), LABELS)
PORTS = st.sampled_from([0, 8081])
VERSIONS = st.sampled_from(["1", "2", "9"])
# Names that run into each other: `a` on `b-c` and `a-b` on `c` would both be `a-b-c`.
SETS, EDGES, MODELS = ["a", "a-b", "m"], ["c", "b-c", "e"], ["m", "a-b-c", "m-e", "p"]
PINS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"model": st.sampled_from(["m", "a"]), "version": VERSIONS}),
        st.fixed_dictionaries({"dataset": st.just("d"), "version": VERSIONS}),
    ),
    max_size=2,
    unique_by=lambda pin: (pin.get("model"), pin.get("dataset")),
)


@st.composite
def edges(draw: st.DrawFn) -> Object:
    node = draw(st.sampled_from([{}, {"nodeName": "n1"}, {"nodeName": "n2"}]))
    return edge(draw(st.sampled_from(EDGES)), draw(LABELS), draw(PINS), **node)


@st.composite
def sets(draw: st.DrawFn) -> Object:
    ref = draw(st.sampled_from(["", "m"]))
    more: dict[str, Any] = {"servingPort": draw(PORTS)}
    more |= draw(st.sampled_from([{}, {"frameworkType": "tensorflow"}, {"replicas": 0}, {"replicas": 3}]))
    return model_set(draw(st.sampled_from(SETS)), draw(VERSIONS), on=draw(LABELS), ref=ref, **more)


@st.composite
def models(draw: st.DrawFn) -> Object:
    node = draw(st.sampled_from([{}, {"nodeName": "n1"}, {"nodeName": "e"}]))
    where = node | draw(st.sampled_from([{}, {"nodeSelector": {"site": "a"}}, {"nodeSelector": {"ring": "canary"}}]))
    layer = draw(st.sampled_from(["edge", "edge", "cloud"]))
    return plain(draw(st.sampled_from(MODELS)), draw(VERSIONS), deployToLayer=layer, servingPort=draw(PORTS), **where)


OBJECTS = st.one_of(
    edges(),
    sets(),
    models(),
    st.builds(catalogue, st.just("m"), st.sampled_from(["1", "1 2"])),
    st.builds(dataset, st.just("d"), VERSIONS, to=SELECTORS, known=SELECTORS),
)
FLEETS = st.lists(OBJECTS, max_size=12, unique_by=lambda obj: obj.identity)


def expanded(declared: Declared, keys: set[Key], served: dict[str, Served] | None = None) -> dict[Key, Expansion]:
    return {key: expand(key, declared, around(served=served or {})) for key in keys}


def ordered(declared: Declared) -> dict[str, Served]:
    """As if everything that can be had was ordered."""
    found = expanded(declared, set(every(declared))).values()
    return {str(one.key): Served(order=one.spec) for one in found if isinstance(one, Desired)}


@settings(max_examples=150, deadline=None)
@given(FLEETS, FLEETS)
def test_expanding_the_affected_keys_equals_expanding_everything(old: list[Object], new: list[Object]) -> None:
    before, after = declare(*old), declare(*new)
    served = ordered(before)
    everything = set(every(before)) | set(every(after))
    identities = {obj.identity for obj in (*old, *new)}
    changed = {identity for identity in identities if before.get(identity) != after.get(identity)}

    now = expanded(before, everything, served)
    now |= expanded(after, affected(before, after, changed), served)

    assert now == expanded(after, everything, served)


@settings(max_examples=40, deadline=None)
@given(FLEETS, FLEETS)
def test_declarations_that_were_changed_equal_those_made_anew(old: list[Object], new: list[Object]) -> None:
    before, fresh = declare(*old), declare(*new)
    gone = {obj.identity: None for obj in old}
    changed = before.changed({**gone, **{obj.identity: obj for obj in new}})

    assert set(every(changed)) == set(every(fresh))
    assert expanded(changed, set(every(fresh))) == expanded(fresh, set(every(fresh)))
    assert expanded(before, set(every(before))) == expanded(declare(*old), set(every(before)))


@settings(max_examples=40, deadline=None)
@given(FLEETS.flatmap(lambda fleet: st.tuples(st.just(fleet), st.permutations(fleet))))
def test_the_order_of_documents_is_irrelevant(fleets: tuple[list[Object], list[Object]]) -> None:
    one, other = (declare(*objects) for objects in fleets)
    assert set(every(one)) == set(every(other))
    assert expanded(one, set(every(one))) == expanded(other, set(every(one)))


@settings(max_examples=40, deadline=None)
@given(FLEETS)
def test_no_two_objects_share_a_name_and_every_edge_knows_its_keys(fleet: list[Object]) -> None:
    declared = declare(*fleet)
    models = [key for key in set(every(declared)) if key.kind == "InferenceModel"]
    assert len({(key.namespace, key.name) for key in models}) == len(models)
    for one in declared.of_kind("Edge"):
        assert {key for key, _ in keys_on(declared, one)} == {
            key for key in set(every(declared)) if key.edge == one.name
        }


@settings(max_examples=40, deadline=None)
@given(FLEETS, FLEETS)
def test_a_plan_that_was_applied_leaves_nothing_to_do(old: list[Object], new: list[Object]) -> None:
    before, after = declare(*old), declare(*new)
    observed = {Key.parse(text): Observed(one.order) for text, one in ordered(before).items()}
    served = ordered(before)
    keys = set(every(before)) | set(every(after))
    wanted = list(expanded(after, keys, served).values())

    plan = make_plan(diff(wanted, observed), Judgement())
    assert plan.steps == plan.ready
    for step in plan.steps:
        if step.action == "delete":
            del observed[step.key]
        else:
            observed[step.key] = Observed(step.spec)

    assert diff(wanted, observed) == []
    assert make_plan(diff(wanted, observed), Judgement()).steps == ()
    frozen = {one.key for one in wanted if isinstance(one, Frozen)}
    assert not frozen & {step.key for step in plan.steps}
