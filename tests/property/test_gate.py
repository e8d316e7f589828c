"""What meets at the gate: limits, holds, approvals, freezes, suspensions, commits and restarts, in any order.

The log that a hub leaves behind is judged by a simple model of its own: no delete above the limit without an approval
of just that, no change in a freeze but one that undoes, none of what is suspended, no approval of what was never shown;
and when everything is let go, all is as Git says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.errors import ReconcilerError
from reconciler.history import events as ev
from reconciler.history.events import Entry, rfc3339
from reconciler.history.keys import Key
from reconciler.planning.declared import Declared, Object
from reconciler.planning.deliver import expand
from reconciler.planning.desired import Desired
from reconciler.planning.freeze import frozen
from reconciler.planning.reach import every
from reconciler.planning.versions import Circumstances
from tests.fleets import catalogue, edge, fleet, model_set, plain
from tests.log_events import T0
from tests.stations import EdgeStation, HubStation, settle

EDGES, NAMES = ("e1", "e2"), ("m0", "m1", "m2", "m3")
MODEL = catalogue("digits", "1 2 3")
MINUTE = 60.0

DEFAULT = st.tuples(st.just("default"), st.sampled_from("123"))
REVERT = st.tuples(st.just("revert"), st.integers(1, 2))
COMMIT = st.one_of(
    DEFAULT,
    REVERT,
    DEFAULT,
    st.tuples(st.just("pin"), st.sampled_from(EDGES), st.sampled_from(["", "1", "2", "3"])),
    st.tuples(st.just("remove"), st.sets(st.sampled_from(NAMES), min_size=1)),
    st.tuples(st.just("add"), st.sets(st.sampled_from(NAMES), min_size=1)),
    st.tuples(st.just("limit"), st.sampled_from([0, 1, 2, 9])),
    st.tuples(st.just("freeze"), st.sampled_from(["", "change", "change", "all"])),
    REVERT,
)
ACT = st.one_of(
    st.tuples(st.just("push"), st.lists(COMMIT, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("push"), st.lists(COMMIT, min_size=1, max_size=1), st.booleans()),
    st.tuples(st.just("each"), st.lists(st.one_of(DEFAULT, REVERT), min_size=2, max_size=4)),
    st.tuples(st.just("suspend"), st.sampled_from(["*", *EDGES])),
    st.tuples(st.just("resume"), st.sampled_from(["*", *EDGES])),
    st.tuples(st.just("approve"), st.sampled_from(["what is held", "what was"])),
    st.tuples(st.just("wait"), st.sampled_from([5, 61])),
    st.tuples(st.just("restart")),
    st.tuples(st.just("settle")),
)


@dataclass
class World:
    """A hub, and the trees of its commits."""

    hub: HubStation = field(default_factory=HubStation)
    trees: list[dict[str, Object]] = field(default_factory=list)
    checked: int = 0
    policy: Mapping[str, Any] = field(default_factory=dict)
    policies: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by plan, that it was judged by
    shown: dict[str, set[str]] = field(default_factory=dict)  # digest -> the keys that were held under it
    held: str = ""
    approved: set[str] = field(default_factory=set)
    ran: dict[str, list[Any]] = field(default_factory=dict)  # by key, what was ordered, the newest last
    deletes: list[str] = field(default_factory=list)
    suspended: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        models = [self.model(name) for name in NAMES]
        self.edges = [EdgeStation(name, self.hub) for name in EDGES]
        self.commit(
            {obj.name: obj for obj in (edge("e1"), edge("e2"), MODEL, fleet(2, "100%"), self.served("1"), *models)}
        )
        self.hub.turn("commit")
        self.check()

    @staticmethod
    def model(name: str) -> Object:
        return plain(name, nodeName="e1", servingPort=9000 + NAMES.index(name))

    @staticmethod
    def served(version: str) -> Object:
        return model_set("served", version, ref="digits")

    def commit(self, tree: dict[str, Object]) -> None:
        before = self.trees[-1] if self.trees else {}
        gone = [obj for name, obj in before.items() if name not in tree]
        self.hub.branch.commit(*(obj for name, obj in tree.items() if before.get(name) != obj), without=gone)
        self.trees.append(tree)

    def change(self, what: tuple[Any, ...]) -> None:
        """One commit."""
        tree = dict(self.trees[-1])
        match what:
            case ("default", version):
                tree["served"] = self.served(version)
            case ("pin", on, version):
                tree[on] = edge(on, pins=[{"model": "digits", "version": version}] if version else [])
            case ("remove", names):
                tree = {name: obj for name, obj in tree.items() if name not in names}
            case ("add", names):
                tree |= {name: self.model(name) for name in names}
            case ("limit", number):
                limits = fleet(number, "100%")
                tree["fleet"] = replace(limits, spec=tree["fleet"].spec | {"prune": limits.spec["prune"]})
            case ("freeze", scope):
                start = self.hub.clock.seconds
                window = {"from": rfc3339(start - MINUTE), "until": rfc3339(start + 30 * MINUTE), "reason": "shops"}
                windows = [window | {"scope": scope}] if scope else []
                tree["fleet"] = replace(tree["fleet"], spec=tree["fleet"].spec | {"freeze": windows})
            case ("revert", count):
                tree = dict(self.trees[max(0, len(self.trees) - 1 - count)])
        self.commit(tree)

    def act(self, what: tuple[Any, ...]) -> None:
        match what:
            case ("push", commits, is_away):
                for one in commits:
                    self.change(one)
                if is_away:
                    self.hub = self.hub.again()
                    self.hub.turn("start")
                else:
                    self.hub.turn("commit")
            case ("each", commits):
                for one in commits:
                    self.change(one)
                    self.hub.turn("commit")
            case ("suspend", scope):
                self.verb("suspend", scope=scope, reason="a visit")
            case ("resume", scope):
                self.verb("resume", scope=scope)
            case ("approve", which):
                now = self.hub.mine.held_plan
                digests = [digest for digest in self.shown if now is None or digest != now.digest]
                digest = now.digest if now is not None and which == "what is held" else (digests or ["0" * 16])[-1]
                self.verb("approve", digest=digest)
            case ("wait", minutes):
                self.hub.clock.seconds += minutes * MINUTE
                self.hub.turn("audit")
            case ("restart",):
                self.hub = self.hub.again()
                self.hub.turn("start")
            case ("settle",):
                settle(self.hub, *(one.again(self.hub) for one in self.edges))
        self.check()

    def verb(self, name: str, **fields: str) -> None:
        try:
            self.hub.asked(name, **fields)
        except ReconcilerError:
            assert name in {"approve", "resume"}  # of what is not held, or not suspended

    # ── the model ─────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Judge what was appended since."""
        for entry in self.hub.log.read(self.checked):
            self.checked = entry.seq
            if entry.origin is None:
                self.judge(entry)

    def judge(self, entry: Entry) -> None:
        event, data = entry.event, entry.event.data
        match event.type:
            case ev.REF_ADVANCED if not self.policy:
                self.policy = self.trees[0]["fleet"].spec  # the first is judged by its own
            case ev.CHANGE_PLANNED:
                self.policies[event.id] = self.policy
                if data.get("held"):
                    self.held = event.newdigest
                    self.shown[event.newdigest] = set(data["keys"])
                if "fleet" in data and (not data.get("held") or data.get("accepted")):
                    self.policy = data["fleet"]
            case ev.CHANGE_APPROVED:
                assert event.newdigest == self.held, "approved was what was shown last"
                self.approved |= self.shown[event.newdigest]
            case ev.RECONCILE_SUSPENDED:
                self.suspended.add(data["scope"])
            case ev.RECONCILE_RESUMED:
                self.suspended.discard(data["scope"])
            case ev.APPLY_INTENDED:
                self.ordered(entry)

    def ordered(self, entry: Entry) -> None:
        event, spec = entry.event, entry.event.data["spec"]
        ran = self.ran.setdefault(event.subject, [{}])
        assert not self.suspended & {"*", Key.parse(event.subject).edge}, f"{event.subject} is suspended"
        policy = self.policies.get(event.causationid, self.policy)
        window = frozen(policy, event.time)
        if window is not None and spec != ran[-1]:
            assert not frozen(policy, event.time, revert=True), f"{event.subject} in a freeze of all"
            assert spec in ran, f"{event.subject} is what it never was"
            assert self.undone(event.subject, spec), f"no commit undoes {event.subject}"
        if event.data["action"] == "delete":
            hour = datetime.fromisoformat(event.time) - timedelta(hours=1)
            lately = [time for time in self.deletes if datetime.fromisoformat(time) > hour]
            is_allowed = len(lately) < policy["prune"]["maxDeletes"]
            assert is_allowed or event.subject in self.approved, f"{event.subject} is above the limit"
            self.deletes.append(event.time)
        else:
            self.approved.discard(event.subject)
        ran.append(spec)

    def undone(self, subject: str, spec: Any) -> bool:
        """Whether a commit that goes back to an earlier one as a whole wanted this."""
        reads = [read for read, _ in self.hub.branch._history]
        return any(
            wanted(tree).get(subject, {}) == spec
            for read, tree in zip(reads, self.trees, strict=True)
            if read.facts.get("reverts")
        )

    def let_go(self) -> None:
        """Nothing stands in the way any more."""
        for scope in sorted(self.hub.state.suspended):
            self.verb("resume", scope=scope)
        self.hub.clock.seconds += 90 * MINUTE
        self.hub.turn("audit")
        for _ in range(3):
            if (held := self.hub.mine.held_plan) is not None:
                self.verb("approve", digest=held.digest)
            self.check()
        settle(self.hub, *(one.again(self.hub) for one in self.edges))


def wanted(tree: Mapping[str, Object]) -> dict[str, Any]:
    """What a tree wants of each key."""
    declared = Declared(tree.values())
    around = Circumstances(declared.fleet() or {}, {}, rfc3339(T0), {})
    found = (expand(key, declared, around) for key in every(declared))
    return {str(one.key): one.spec for one in found if isinstance(one, Desired)}


@given(st.sampled_from(["", "", "change"]), st.lists(ACT, max_size=12))
@settings(max_examples=60, deadline=None)
def test_what_meets_at_the_gate_is_judged_as_each_alone(scope: str, acts: list[tuple[Any, ...]]) -> None:
    world = World()
    world.act(("push", [("freeze", scope)], False))
    for what in acts:
        world.act(what)
    world.let_go()
    mine, state = world.hub.mine, world.hub.state
    assert {text: served.order for text, served in mine.keys.items()} == wanted(world.trees[-1])
    assert (mine.held_plan, mine.waits, mine.undoes, mine.approved) == (None, {}, {}, {})
    assert (state.ref.accepted, state.fleet) == (state.ref.commit, world.trees[-1]["fleet"].spec)
