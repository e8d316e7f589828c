"""Objects of the API server from random fleets and random changes of them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.model.identity import EDGE_LABEL
from reconciler.planning import deliver, reach
from reconciler.planning.declare import affected, every, expand, source_of
from reconciler.planning.declared import Declared, Object
from reconciler.planning.desired import Desired, Expansion, Frozen, Gone
from reconciler.planning.diff import Observed, diff
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import make_plan
from tests.fleets import around, declare
from tests.property.test_planning import FLEETS


def expanded(declared: Declared, keys: set[Key], served: dict[str, Served]) -> dict[Key, Expansion]:
    return {key: expand(key, declared, around(served=served)) for key in keys}


def ordered(declared: Declared) -> dict[str, Served]:
    found = expanded(declared, set(every(declared)), {}).values()
    return {str(one.key): Served(order=one.spec) for one in found if isinstance(one, Desired)}


@settings(max_examples=150, deadline=None)
@given(FLEETS, FLEETS)
def test_expanding_the_affected_objects_equals_expanding_everything(old: list[Object], new: list[Object]) -> None:
    before, after = declare(*old), declare(*new)
    served = ordered(before)
    everything = set(every(before)) | set(every(after))
    identities = {obj.identity for obj in (*old, *new)}
    changed = {identity for identity in identities if before.get(identity) != after.get(identity)}

    now = expanded(before, everything, served)
    now |= expanded(after, affected(before, after, changed), served)

    assert now == expanded(after, everything, served)


@settings(max_examples=60, deadline=None)
@given(FLEETS)
def test_every_object_has_one_source_and_every_other_key_none(fleet: list[Object]) -> None:
    declared = declare(*fleet)
    keys = set(every(declared))
    assert all(not key.edge for key in keys)
    assert {key for key in keys if isinstance(expand(key, declared, around()), Gone)} == set()
    for key in keys:
        source, edge = source_of(declared, key)
        assert source is not None
        assert (source.kind == "InferenceModelSet" and key.kind == "InferenceModel") == bool(edge)
    assert isinstance(expand(Key("InferenceModel", "default", "none-such", ""), declared, around()), Gone)


@settings(max_examples=60, deadline=None)
@given(FLEETS, FLEETS)
def test_objects_that_were_applied_leave_nothing_to_do(old: list[Object], new: list[Object]) -> None:
    before, after = declare(*old), declare(*new)
    served = ordered(before)
    observed = {Key.parse(text): Observed(one.order) for text, one in served.items()}
    keys = set(every(before)) | set(every(after))
    plan = make_plan(diff(expanded(after, keys, served).values(), observed), Judgement())
    for step in plan.ready:
        if step.action == "delete":
            del observed[step.key], served[str(step.key)]
        else:
            observed[step.key] = Observed(step.spec)
            served[str(step.key)] = Served(order=step.spec)
    wanted = expanded(after, keys, served)
    assert make_plan(diff(wanted.values(), observed), Judgement()).steps == ()
    frozen = {key for key, one in wanted.items() if isinstance(one, Frozen)}
    assert not frozen & {step.key for step in plan.steps}


@settings(max_examples=60, deadline=None)
@given(FLEETS, st.lists(st.sampled_from(["1", "2"]), max_size=5))
def test_an_object_of_a_set_has_the_entry_wanted_and_at_most_the_one_before_it(
    fleet: list[Object], versions: list[str]
) -> None:
    served = ordered(declare(*fleet))
    for version in versions:
        moved = [_moved(one, version) if one.kind == "InferenceModelSet" else one for one in fleet]
        for key, one in expanded(declare(*moved), set(every(declare(*moved))), served).items():
            if not isinstance(one, Desired) or EDGE_LABEL not in one.spec.get("labels", {}):
                continue
            spec, last = one.spec["spec"], served.get(str(key), Served()).order.get("spec", {})
            listed = [entry["version"] for entry in spec["manifest"]]
            assert listed[0] == spec["targetVersion"]
            assert len(listed) <= 2
            if last and last["targetVersion"] != spec["targetVersion"]:
                assert listed[1:] == [last["targetVersion"]]
            served[str(key)] = Served(order=one.spec)


def _moved(source: Object, version: str) -> Object:
    fields = {name: getattr(source, name) for name in Object.__struct_fields__}
    return Object(**fields | {"spec": {**source.spec, "defaultVersion": version}})


@settings(max_examples=60, deadline=None)
@given(FLEETS)
def test_an_order_needs_the_object_and_its_edge_and_nothing_else(fleet: list[Object]) -> None:
    """As a cluster has the object: without what Git declares beside it, and without places in files."""
    declared = declare(*fleet)
    for key in set(reach.every(declared)):
        wanted, edge = deliver.expand(key, declared, around()), declared.edge(key.edge)
        made = expand(key._replace(edge=""), declared, around())
        if isinstance(wanted, Desired) and isinstance(made, Desired):
            assert edge is not None
            obj = Object(kind=key.kind, namespace=key.namespace, name=key.name, spec=made.spec["spec"])
            alone = deliver.order(obj, edge, declare(), around())
            assert isinstance(alone, Desired)
            assert (alone.key, alone.spec, alone.policy) == (key, wanted.spec, wanted.policy)
