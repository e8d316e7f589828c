"""What each key should be: pins, defaults, names, places, ports, digests, and what is refused."""

from typing import Any

import pytest

from reconciler.errors import PortTaken
from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.planning.declared import Object
from reconciler.planning.deliver import exchanging, expand, unmatched_pins
from reconciler.planning.desired import Desired, Frozen, Gone
from reconciler.planning.naming import expanded_name
from reconciler.planning.reach import affected, every
from tests.fleets import around, catalogue, dataset, declare, edge, model_set, plain, sha

PIN = {"model": "digits", "version": "2"}
MODEL, DIGITS = catalogue("digits", "1 2"), model_set("digits", "1", ref="digits")


def key(name: str, on: str = "e1", kind: str = "InferenceModel") -> Key:
    return Key(kind, "default", name, on)


def wanted(of: Key, *objects: Object, **circumstances: Any) -> Desired:
    found = expand(of, declare(*objects), around(**circumstances))
    assert isinstance(found, Desired), found
    return found


def refused(of: Key, *objects: Object, **circumstances: Any) -> str:
    """`code path:line severity` of why the key is frozen."""
    found = expand(of, declare(*objects), around(**circumstances))
    assert isinstance(found, Frozen), found
    assert found.problem is not None
    return f"{found.problem.code} {found.problem.path}:{found.problem.line} {found.problem.severity}"


# ── versions and pins ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_default_says_the_version_and_where_that_stands() -> None:
    found = wanted(key("digits-e1"), edge("e1"), MODEL, DIGITS)
    url = "https://models.example.com/digits-1.tar.gz"
    assert found.spec == {
        "version": "1",
        "url": url,
        "sha256": sha(url),
        "size": 100,
        "model": "digits",
        "framework": "onnx",
        "address": "127.0.0.1",
        "port": 8080,
        "serving": True,
    }
    assert (found.origin, found.because) == ("deployments/digits.yaml:7", "the default version of digits")


def test_a_pin_wins_over_the_default_on_its_edge_only() -> None:
    pinned = edge("e1", pins=[{**PIN, "reason": "1 misreads sevens"}])
    found = wanted(key("digits-e1"), pinned, edge("e2"), MODEL, DIGITS)
    assert (found.spec["version"], found.origin) == ("2", "edges/e1.yaml:7")
    assert found.because == "pinned on e1: 1 misreads sevens"
    assert wanted(key("digits-e2", "e2"), pinned, edge("e2"), MODEL, DIGITS).spec["version"] == "1"


def test_a_pin_names_the_model_name_where_there_is_no_model_ref() -> None:
    bare = model_set("s", "1", modelName="faces")
    assert wanted(key("s-e1"), edge("e1", pins=[{"model": "faces", "version": "2"}]), bare).spec["version"] == "2"
    assert wanted(key("s-e1"), edge("e1", pins=[{"model": "s", "version": "2"}]), bare).spec["version"] == "1"


def test_a_model_pin_leaves_datasets_and_plain_models_alone() -> None:
    objects = (edge("e1", pins=[{"model": "d", "version": "2"}]), dataset("d", to={}), plain("d", nodeName="e1"))
    assert wanted(key("d", kind="Dataset"), *objects).spec["version"] == "1"
    assert wanted(key("d"), *objects).spec["version"] == "1"


def test_a_dataset_pin_acts_on_its_placement() -> None:
    objects = (edge("e1", pins=[{"dataset": "d", "version": "2"}]), dataset("d", to={}))
    found = wanted(key("d", kind="Dataset"), *objects)
    assert (found.spec["version"], found.spec["bytes"], found.because) == ("2", True, "pinned on e1")


@pytest.mark.parametrize(
    ("expires", "now", "version"),
    [
        ("2027-01-15", "2027-01-15T23:59:59.999999Z", "2"),
        ("2027-01-15", "2027-01-16T00:00:00.000000Z", "1"),
        ("2027-01-15T08:00:00Z", "2027-01-15T07:59:59.000000Z", "2"),
        ("2027-01-15T08:00:00Z", "2027-01-15T08:00:00.000000Z", "1"),
        ("2027-01-15T10:00:00+02:00", "2027-01-15T08:00:00.000000Z", "1"),
    ],
)
def test_a_pin_ends_with_its_day_or_at_its_time(expires: str, now: str, version: str) -> None:
    found = wanted(key("digits-e1"), edge("e1", pins=[{**PIN, "expires": expires}]), MODEL, DIGITS, now=now)
    assert found.spec["version"] == version
    assert bool(found.until) == (version == "2")


def test_a_pin_says_until_when_it_holds() -> None:
    found = wanted(key("digits-e1"), edge("e1", pins=[{**PIN, "expires": "2027-01-15"}]), MODEL, DIGITS)
    assert found.until == "2027-01-16T00:00:00.000000Z"


def test_the_only_version_needs_no_name() -> None:
    assert wanted(key("m"), edge("e1"), plain("m", "", "7", nodeName="e1")).spec["version"] == "7"


# ── references (fault 121) ────────────────────────────────────────────────────────────────────────────────────────────


def test_fault_121_an_unknown_version_is_refused_at_the_line_that_asks() -> None:
    assert refused(key("digits-e1"), edge("e1"), MODEL, model_set("digits", "9", ref="digits")) == (
        "RX215 deployments/digits.yaml:7 error"
    )
    pinned = edge("e1", pins=[{"model": "digits", "version": "9"}])
    assert refused(key("digits-e1"), pinned, MODEL, DIGITS) == "RX215 edges/e1.yaml:7 error"
    assert refused(key("m"), edge("e1"), plain("m", "9", nodeName="e1")) == "RX215 plain/m.yaml:9 error"


def test_fault_121_a_reference_to_a_model_that_is_not_there_is_refused() -> None:
    assert refused(key("digits-e1"), edge("e1"), DIGITS) == "RX215 deployments/digits.yaml:8 error"


def test_fault_121_a_model_for_a_node_that_is_not_there_says_so_and_stays_where_it_was() -> None:
    lost = plain("m", nodeName="gone")
    assert set(every(declare(edge("e1"), lost))) == {key("m", "")}
    assert refused(key("m", ""), edge("e1"), lost) == "RX224 plain/m.yaml:10 error"
    assert expand(key("m", "e1"), declare(edge("e1"), lost), around()) == Frozen(key("m", "e1"), None)


def test_fault_47_a_node_that_the_selector_does_not_match_is_refused_in_the_plan() -> None:
    mismatch = plain("m", nodeName="e1", nodeSelector={"site": "x"})
    assert refused(key("m", ""), edge("e1"), mismatch) == "RX224 plain/m.yaml:11 error"
    nobody = plain("m", nodeSelector={"site": "x"})
    assert refused(key("m", ""), edge("e1"), nobody) == "RX224 plain/m.yaml:11 error"


def test_why_a_model_waits_is_told_anew_when_its_node_comes() -> None:
    waiting, node = plain("m", nodeName="n1", nodeSelector={"site": "a"}), edge("e1", nodeName="n1")
    before, after = declare(waiting), declare(waiting, node)
    assert affected(before, after, [node.identity]) == {key("m", "")}
    assert expand(key("m", ""), before, around()) != expand(key("m", ""), after, around())


def test_a_model_that_moves_goes_from_where_it_was() -> None:
    after = plain("m", nodeName="e2")
    before = declare(edge("e1"), edge("e2"), plain("m", nodeName="e1"))
    moved = declare(edge("e1"), edge("e2"), after)
    assert affected(before, moved, [after.identity]) >= {key("m", "e1"), key("m", "e2")}
    assert expand(key("m", "e1"), moved, around()) == Gone(key("m", "e1"))


# ── digests ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_digest_is_refused_where_the_version_stands() -> None:
    bare = catalogue("digits")
    bare.spec["versions"][0].pop("sha256sum")
    assert refused(key("digits-e1"), edge("e1"), bare, DIGITS) == "RX222 models/digits.yaml:5 error"
    own = plain("m", nodeName="e1")
    own.spec["manifest"][0].pop("sha256sum")
    assert refused(key("m"), edge("e1"), own) == "RX222 plain/m.yaml:6 error"


def test_where_policy_trusts_the_first_use_the_digest_seen_then_counts() -> None:
    bare = catalogue("digits")
    del bare.spec["versions"][0]["sha256sum"]
    url = bare.spec["versions"][0]["downloadURL"]
    policy = {"artifacts": {"requireDigest": False}}
    assert wanted(key("digits-e1"), edge("e1"), bare, DIGITS, fleet=policy).spec["sha256"] == ""
    seen = {f"{url} 1": sha("seen")}
    assert wanted(key("digits-e1"), edge("e1"), bare, DIGITS, fleet=policy, digests=seen).spec["sha256"] == sha("seen")


def test_the_policy_goes_with_the_order() -> None:
    policy = {"artifacts": {"allowLoopback": True}}
    found = wanted(key("digits-e1"), edge("e1"), MODEL, DIGITS, fleet=policy)
    assert found.policy == {"allowLoopback": True, "allowFile": False}


# ── what cannot be served here ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", [{"deployToLayer": "cloud"}, {"image": "x/y:1"}, {"frameworkType": "tensorflow"}])
def test_what_an_edge_cannot_serve_is_a_warning_and_blocks_nothing(what: dict[str, str]) -> None:
    blocked = plain("a", nodeName="e1", **what)
    objects = (edge("e1"), blocked, plain("b", nodeName="e1"))
    assert refused(key("a"), *objects) == "RX223 plain/a.yaml:1 warning"
    assert wanted(key("b"), *objects).spec["port"] == 8080  # it does not even have the port


@pytest.mark.parametrize(
    ("replicas", "serving", "remarks"), [(None, True, 0), (0, False, 0), (1, True, 0), (3, True, 1)]
)
def test_replicas_are_one_none_or_one_with_a_warning(replicas: int | None, serving: bool, remarks: int) -> None:
    more: dict[str, Any] = {} if replicas is None else {"replicas": replicas}
    found = wanted(key("m"), edge("e1"), plain("m", nodeName="e1", **more))
    assert (found.spec["serving"], len(found.remarks)) == (serving, remarks)
    assert [(one.code, one.severity, one.line) for one in found.remarks] == [("RX225", "warning", 13)] * remarks


def test_a_port_belongs_to_who_was_ordered_onto_it_then_to_the_least_name() -> None:
    objects = (edge("e1"), plain("a", nodeName="e1"), plain("b", nodeName="e1"))
    assert wanted(key("a"), *objects).spec["port"] == 8080
    assert refused(key("b"), *objects) == "RX220 plain/b.yaml:12 error"
    served = {str(key("b")): Served(order={"port": 8080}), str(key("a")): Served(order={"port": 9000})}
    assert wanted(key("b"), *objects, served=served).spec["port"] == 8080
    assert refused(key("a"), *objects, served=served) == "RX220 plain/a.yaml:12 error"


def test_a_model_that_comes_or_goes_concerns_who_else_wants_its_port() -> None:
    there, one = declare(edge("e1"), edge("e2"), plain("b", nodeName="e1")), plain("a", nodeName="e1")
    with_it, moved = there.changed({one.identity: one}), plain("a", nodeName="e2")
    assert affected(there, with_it, [one.identity]) == {key("a"), key("b")}
    gone = with_it.changed({one.identity: moved})
    assert affected(with_it, gone, [one.identity]) == {key("a"), key("a", "e2"), key("b")}
    other = plain("a", nodeName="e1", servingPort=9000)
    assert affected(there, there.changed({one.identity: other}), [one.identity]) == {key("a")}
    wider, narrow = model_set("s", servingPort=8080), model_set("s", on={"no": "where"}, servingPort=8080)
    before = there.changed({narrow.identity: narrow})
    assert affected(before, there.changed({wider.identity: wider}), [wider.identity]) >= {key("b"), key("s-e1")}


def test_a_version_that_changes_concerns_its_own_keys_only() -> None:
    before = declare(edge("e1"), MODEL, DIGITS, plain("b", nodeName="e1"))
    newer = model_set("digits", "2", ref="digits")
    assert affected(before, before.changed({newer.identity: newer}), [newer.identity]) == {key("digits-e1")}
    assert affected(before, before.changed({MODEL.identity: MODEL}), [MODEL.identity]) == {key("digits-e1")}
    pinned = edge("e1", pins=[PIN])
    assert affected(before, before.changed({pinned.identity: pinned}), [pinned.identity]) == {key("digits-e1")}


def test_two_edges_have_the_same_port_each() -> None:
    objects = (edge("e1"), edge("e2"), plain("a", nodeName="e1"), plain("b", nodeName="e2"))
    assert wanted(key("a"), *objects).spec["port"] == wanted(key("b", "e2"), *objects).spec["port"]


# ── datasets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bytes_go_where_they_are_asked_for_and_facts_to_the_rest() -> None:
    objects = (edge("e1", {"ring": "canary"}), edge("e2"), dataset("d", to={"ring": "canary"}, known={}))
    assert wanted(key("d", "e1", "Dataset"), *objects).spec["bytes"] is True
    assert wanted(key("d", "e2", "Dataset"), *objects).spec["bytes"] is False
    nobody = dataset("d")
    assert expand(key("d", "e2", "Dataset"), declare(edge("e2"), nobody), around()) == Gone(key("d", "e2", "Dataset"))


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_is_set_and_edge_and_where_that_is_too_long_a_hash_of_both() -> None:
    assert expanded_name("digits", "e1", taken=False) == "digits-e1"
    assert expanded_name("s" * 31, "e" * 31, taken=False) == f"{'s' * 31}-{'e' * 31}"
    long = expanded_name("s" * 32, "e" * 31, taken=False)
    assert (len(long), long[:54], long[54]) == (63, f"{'s' * 32}-{'e' * 21}", "-")
    assert long != expanded_name("s" * 32, "e" * 30 + "x", taken=False)
    assert ".-" not in expanded_name("s" * 53 + ".x", "e" * 20, taken=False)


def test_a_name_that_a_declared_model_has_is_left_to_it() -> None:
    mine = plain("digits-e1", nodeName="e1", servingPort=9000)
    declared = declare(edge("e1"), MODEL, DIGITS, mine)
    (other,) = set(every(declared)) - {key("digits-e1")}
    assert other.name == expanded_name("digits", "e1", taken=True)
    found = expand(other, declared, around())
    assert isinstance(found, Desired)
    assert affected(declare(edge("e1"), MODEL, DIGITS), declared, [mine.identity]) >= {other, key("digits-e1")}


def test_sets_whose_names_run_together_do_not_share_a_key() -> None:
    declared = declare(edge("b-c"), edge("c"), model_set("a"), model_set("a-b"))
    keys = sorted(set(every(declared)))
    alone = declare(edge("b-c"), edge("c"), model_set("a-b"))
    (other,) = [one for one in keys if one.edge == "c" and one.name.startswith("a-b-")]
    assert affected(alone, declared, [model_set("a").identity]) >= {other, key("a-b-c", "c")}
    assert len({one.name for one in keys}) == len(keys) == 4
    assert key("a-b-c", "b-c") in keys  # the shorter set name has it


# ── pins that act on nothing ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_pin_that_acts_on_nothing_is_named_at_its_line() -> None:
    pins = [PIN, {"dataset": "d", "version": "1"}, {"model": "typo", "version": "1"}]
    one = edge("e1", pins=pins)
    found = unmatched_pins(declare(one, MODEL, DIGITS), one)
    assert [(problem.code, problem.place, problem.severity) for problem in found] == [
        ("RX216", "edges/e1.yaml:8:1", "warning"),
        ("RX216", "edges/e1.yaml:9:1", "warning"),
    ]
    assert [problem.line for problem in unmatched_pins(declare(one, dataset("d", known={})), one)] == [7, 9]


# ── services that exchange their endpoints ────────────────────────────────────────────────────────────────────────────


def clashed(stands: int, wants: int) -> Served:
    """A service that answers at one port, and was refused another one."""
    live = {"url": f"http://127.0.0.2:{stands}/v2/models/m"}
    return Served(order={"address": "127.0.0.2", "port": wants}, live=live, phase="Rejected", code=PortTaken.code)


def yielding(known: dict[str, Served]) -> list[str]:
    names = {name: str(Key("InferenceModel", "default", name, "e")) for name in known}
    wanted = [Desired(Key.parse(names[name]), served.order, {"allowFile": True}) for name, served in known.items()]
    found = exchanging(wanted, {names[name]: served for name, served in known.items()})
    assert all(isinstance(one, Desired) and one.policy["allowFile"] for one in found)
    return [one.key.name for one in found if isinstance(one, Desired) and one.policy.get("yields")]


def test_of_two_that_exchange_their_ports_one_yields_and_goes_on_to_until_it_is_answered() -> None:
    known = {"a": clashed(1, 2), "b": clashed(2, 1)}
    assert yielding(known) == ["b"]
    known["b"] = Served(order=known["b"].order, live=known["b"].live, open=True, policy={"yields": True})
    known["a"] = Served(order={"address": "127.0.0.2", "port": 2}, live={"url": "http://127.0.0.2:2/v2/models/m"})
    assert yielding(known) == ["b"]


def test_of_a_circle_of_three_one_yields() -> None:
    assert yielding({"a": clashed(1, 2), "b": clashed(2, 3), "c": clashed(3, 1), "d": clashed(9, 1)}) == ["c"]


def test_nobody_yields_to_who_stays_or_waits_for_a_stranger() -> None:
    stays = Served(order={"address": "127.0.0.2", "port": 2}, live={"url": "http://127.0.0.2:2/v2/models/m"})
    assert yielding({"a": clashed(1, 2), "b": stays}) == []
    assert yielding({"a": clashed(1, 2), "b": clashed(2, 3)}) == []
