"""Every kind, drift rule, hand edit and commit, crossed, with the hub killed at any append: it ends where Git and the
rules say, in the same state as where nothing was killed."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.history.fold import fold
from reconciler.history.keys import DECLARE, Key
from reconciler.planning.contention import PAUSE_S
from reconciler.planning.declare import as_sent, every, expand
from reconciler.planning.declared import Object
from reconciler.planning.desired import Desired
from reconciler.planning.drift_rules import policy_for
from reconciler.planning.look import Rules
from tests.fleets import around, catalogue, dataset, edge, fleet, model_set, plain
from tests.property.test_history import FusedLog, Killed, begun
from tests.unit.test_declare import Station

FIELDS = [
    "spec.address",
    "spec.targetVersion",
    "spec.defaultVersion",
    "spec.versions",
    "spec.template",
    "spec.prune",
    "",
]
KINDS = ["InferenceModel", "InferenceModelSet", "Model", "Dataset", "Edge", "Fleet"]
POLICIES = ["correct", "report", "ignore"]

RULES = st.lists(
    st.fixed_dictionaries(
        {
            "kinds": st.lists(st.sampled_from(KINDS), max_size=2, unique=True),
            "fields": st.lists(st.sampled_from([f"spec.{field}" for field in FIELDS]), max_size=2, unique=True),
            "managers": st.sampled_from([[], ["kubectl-edit"], ["other"]]),
            "policy": st.sampled_from(POLICIES),
        }
    ),
    max_size=2,
)
N = st.integers(0, 30)
COMMANDS = st.one_of(
    st.tuples(st.just("rules"), RULES),
    st.tuples(st.just("change"), st.tuples(st.sampled_from(["edge", "model", "set", "catalogue", "dataset"]), N)),
    st.tuples(st.just("remove"), N),
    st.tuples(st.just("edit"), st.tuples(N, st.sampled_from(["change", "drop", "add", "delete", "make anew"]))),
    st.tuples(st.just("audit"), st.none()),
    st.tuples(st.just("outage"), st.booleans()),
    st.tuples(st.just("restart"), st.none()),
)
STORIES = st.lists(COMMANDS, max_size=10)
EDITOR = "kubectl-edit"


class World(Station):
    """A hub of a cluster, which may be killed, and what a story does to both sides of it."""

    def __init__(self) -> None:
        super().__init__(FusedLog)
        self.declared: dict[Any, Object] = {}
        self.edited: set[tuple[Key, str]] = set()  # (object, field), since it was made last
        self.taken: set[Key] = set()  # objects that somebody deleted, or made anew
        self.declaring(fleet(1000, "100%"), edge("e1"), edge("e2"), model_set("digits"), plain("m"))
        self.declaring(catalogue("c"), dataset("d"))

    def declaring(self, *objects: Object) -> None:
        self.declared |= {obj.identity: obj for obj in objects}
        self.push(*objects)

    def do(self, command: str, what: Any) -> None:
        match command:
            case "rules":
                policy = fleet(1000, "100%")
                self.declaring(replace(policy, spec={**policy.spec, "drift": what}))
            case "change":
                kind, n = what
                self.declaring(_changed(kind, n % 3))
            case "remove":
                gone = [one for one in self.declared.values() if one.kind != "Fleet"]
                if gone:
                    obj = self.declared.pop(gone[what % len(gone)].identity)
                    self.branch.commit(without=[obj])
                    self.turn("commit")
            case "edit":
                n, how = what
                keys = sorted(self.cluster.there)
                if keys:
                    self.by_hand(keys[n % len(keys)], how, n)
            case "outage":
                self.cluster.away = what
            case "restart":
                self.restart()
            case "audit":
                self.turn("audit")

    def by_hand(self, key: Key, how: str, n: int) -> None:
        """Somebody's edit of an object, and that the watch tells it."""
        live = self.cluster.there[key]
        names = sorted(live.spec)
        match how:
            case "delete":
                del self.cluster.there[key]
                self.taken.add(key)
            case "make anew":
                foreign = dict.fromkeys((f"spec.{name}" for name in names), EDITOR)
                self.cluster.there[key] = replace(
                    live, uid=f"{live.uid}+", version="1", foreign=foreign, ours=False, writer=EDITOR, labels={}
                )
                self.taken.add(key)
            case "add":
                self.cluster.edit(key, EDITOR, replicas=3)
                self.edited.add((key, "replicas"))
            case _ if names:
                name = names[n % len(names)]
                if how == "drop":
                    spec = {other: value for other, value in live.spec.items() if other != name}
                    self.cluster.there[key] = replace(
                        live,
                        spec=spec,
                        version=str(int(live.version) + 1),
                        generation=live.generation + 1,
                        writer=EDITOR,
                    )
                else:
                    self.cluster.edit(key, EDITOR, **{name: _other(live.spec[name])})
                self.edited.add((key, name))
        self.turn("object", str(key))

    def restart(self) -> None:
        there, away = self.cluster.there, self.cluster.away
        self.begin(there)
        self.cluster.away = away
        self.turn("start")
        self.turn("commit")

    def tell(self, story: Sequence[tuple[str, Any]]) -> "World":
        """The world after the story; a hub that is killed on the way begins again."""
        for command, what in [*story, ("outage", False), *[("rest", None)] * 2]:
            try:
                self.rest() if command == "rest" else self.do(command, what)
            except Killed:
                self.restart()
        return self

    def rest(self) -> None:
        self.clock.seconds += 2 * PAUSE_S
        for cause in ("start", "commit", "audit"):
            self.turn(cause)
        for key in [*self.cluster.there, *map(Key.parse, self.mine.keys)]:
            self.turn("object", str(key))

    def wanted(self) -> dict[Key, Mapping[str, Any]]:
        """The spec of every object that Git declares, as it is sent."""
        declared, fields = self.branch.declared, dict[Key, Mapping[str, Any]]()
        for key in set(every(declared)):
            found = expand(key, declared, around(served=self.mine.keys))
            if isinstance(found, Desired):
                fields[key] = as_sent(key.kind, dict(found.spec["spec"]))
        return fields


def _changed(kind: str, n: int) -> Object:
    version = str(n % 2 + 1)
    match kind:
        case "edge":
            return edge("e1", address=f"10.0.0.{n}")
        case "model":
            return plain("m", version, servingPort=9000 + n) if n else plain("m", version)
        case "set":
            return model_set("digits", version)
        case "catalogue":
            return catalogue("c", "1 2 3" if n else "1 2")
    return dataset("d", version)


def _other(value: Any) -> Any:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value}9"
        case list():
            return value[:-1]
        case dict():
            return {}
    return value


@settings(max_examples=60, deadline=None)
@given(STORIES)
def test_it_ends_as_git_and_the_rules_say(story: list[tuple[str, Any]]) -> None:
    world = World().tell(story)
    assert [one for one in world.record.state.all_problems if one["code"] == "RX600"] == []
    head = world.log.head()
    world.turn("audit")
    assert world.log.head() == head
    rules, wanted = world.policy(), world.wanted()
    for key, spec in wanted.items():
        said = Rules(policy_for(key.kind, rules)).policy
        live = world.cluster.there.get(key)
        if live is None or not live.ours:
            assert key in world.taken
            assert said("", "") != "correct" or live is not None
            continue
        for name, value in spec.items():
            if live.spec.get(name) != value:
                assert (key, name) in world.edited or key in world.taken
                assert said(f"spec.{name}", EDITOR) != "correct"
    assert {key for key, live in world.cluster.there.items() if live.ours} <= wanted.keys() | world.taken


@settings(max_examples=30, deadline=None)
@given(STORIES, st.integers(1, 40), st.booleans())
def test_a_hub_that_is_killed_at_any_append_ends_where_it_would_have(
    story: list[tuple[str, Any]], at: int, is_after: bool
) -> None:
    undisturbed, killed = World().tell(story), World()
    assert isinstance(killed.log, FusedLog)
    killed.log.fuse, killed.log.is_after = at, is_after
    killed.tell(story)
    assert {key: live.spec for key, live in killed.cluster.there.items()} == {
        key: live.spec for key, live in undisturbed.cluster.there.items()
    }
    orders = {text: one.order for text, one in undisturbed.mine.keys.items()}
    assert {text: one.order for text, one in killed.mine.keys.items()} == orders
    assert killed.record.state.ref.accepted == undisturbed.record.state.ref.accepted
    live, replayed = killed.record.state, fold(begun(), list(killed.log.read()))
    assert replayed.stage(DECLARE) == live.stage(DECLARE)
