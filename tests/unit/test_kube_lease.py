"""The Lease by a clock that tests move and an API server in memory: taking, renewing, losing, racing, releasing."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.errors import (
    ApiRefused,
    ApiUnavailable,
    FieldConflict,
    LeaseLost,
    ReconcilerError,
    RightMissing,
    SettingInvalid,
)
from reconciler.kube.client.clock import awake_or_not
from reconciler.kube.client.resources import Resource
from reconciler.kube.write.lease import Lease, new_identity

NOTHING: Callable[[], None] = lambda: None  # noqa: E731


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """One Lease with a resourceVersion. before and after run at a request's start and once it was applied."""

    def __init__(self) -> None:
        self.document: dict[str, Any] | None = None
        self.version = 10
        self.calls: list[str] = []
        self.timeouts: list[float] = []
        self.before = self.after = NOTHING

    def within(self, seconds: Callable[[], float]) -> "Server":
        self.within_s = seconds
        return self

    @property
    def spec(self) -> dict[str, Any]:
        assert self.document is not None
        found: dict[str, Any] = self.document["spec"]
        return found

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if call != "get"]

    def get(self, resource: Resource, name: str, namespace: str = "") -> bytes | None:
        self._begin("get")
        return None if self.document is None else json.dumps(self.document).encode()

    def create(self, resource: Resource, namespace: str, body: bytes) -> bytes:
        self._begin("create")
        if self.document is not None:
            raise FieldConflict("leases.coordination.k8s.io already exists")
        return self._store(json.loads(body))

    def replace(self, resource: Resource, name: str, namespace: str, body: bytes) -> bytes:
        self._begin("replace")
        document = json.loads(body)
        if self.document is None:
            raise ApiRefused("leases.coordination.k8s.io not found")
        if document["metadata"]["resourceVersion"] != self.document["metadata"]["resourceVersion"]:
            raise FieldConflict("the object has been modified")
        return self._store(document)

    def edit(self, **spec: object) -> None:
        """Somebody else's write; None takes a field away."""
        assert self.document is not None
        self._put({**self.document, "spec": {**self.document["spec"], **spec}})

    def _begin(self, verb: str) -> None:
        self.timeouts.append(self.within_s())
        self.calls.append(verb)
        self.before()

    def _store(self, document: dict[str, Any]) -> bytes:
        self._put(document)
        self.after()
        return json.dumps(document).encode()

    def _put(self, document: dict[str, Any]) -> None:
        if document != self.document:  # the API server stores nothing where nothing differs
            self.version += 1
            document["metadata"] = {**document["metadata"], "resourceVersion": str(self.version)}
        self.document = document


class World:
    def __init__(self) -> None:
        self.clock, self.server = Clock(), Server()
        self.told: dict[str, list[tuple[bool, int, str]]] = {}

    def lease(self, identity: str, may_take: Callable[[], None] = lambda: None) -> Lease:
        told = self.told.setdefault(identity, [])
        return Lease(
            self.server,
            namespace="fleet",
            name="reconciler",
            identity=identity,
            changed=lambda *state: told.append(state),
            may_take=may_take,
            clock=self.clock,
        )

    def holder(self, identity: str = "a") -> Lease:
        lease = self.lease(identity)
        lease._turn()
        assert lease.held
        return lease

    def pass_by(self, seconds: float, *leases: Lease) -> None:
        """Time, with a turn of each every second."""
        for _ in range(round(seconds)):
            self.clock.now += 1
            for lease in leases:
                lease._turn()


@pytest.fixture
def world() -> World:
    return World()


def raises(error: ReconcilerError) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


def test_nobody_may_write_before_the_lease_is_held(world: World) -> None:
    lease = world.lease("a")
    with pytest.raises(LeaseLost, match="fleet/reconciler is not held yet"):
        lease.permit()
    assert (lease.held, world.server.calls) == (False, [])


def test_it_is_asked_whether_the_lease_may_be_taken_until_that_is_answered_and_never_again(world: World) -> None:
    answers: list[ReconcilerError | None] = [None, SettingInvalid("another cluster"), ApiUnavailable("no answer")]

    def may_take() -> None:
        answer = answers.pop()
        if answer is not None:
            raise answer

    lease = world.lease("a", may_take)
    for trouble in ("no answer", "another cluster"):
        lease._turn()
        assert (lease.held, world.server.calls) == (False, [])
        with pytest.raises(LeaseLost, match=trouble):
            lease.permit()
        world.clock.now += 2
    lease._turn()
    assert (lease.held, answers) == (True, [])
    world.pass_by(30, lease)
    assert lease.held


def test_what_keeps_a_lease_from_being_had_is_said_with_its_fix(world: World) -> None:
    lease = world.lease("a")
    world.server.before = raises(ApiRefused("there is no namespace fleet", hint="`kubectl create namespace fleet`"))
    lease._turn()
    with pytest.raises(LeaseLost, match="fleet/reconciler cannot be had: there is no namespace fleet") as raised:
        lease.permit()
    assert raised.value.advice == "`kubectl create namespace fleet`"
    world.server.before = NOTHING
    lease._turn()
    assert lease.permit() > 0


def test_the_first_creates_it_and_tells_of_it_once(world: World) -> None:
    lease = world.holder()
    spec = world.server.spec
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("a", 15, 1)
    assert spec["acquireTime"] == spec["renewTime"]
    world.pass_by(30, lease)
    assert world.told["a"] == [(True, 1, "a")]
    assert (lease.held, lease.transitions, lease.holder) == (True, 1, "a")


def test_a_renewal_is_one_write_and_no_read_and_drops_nothing_of_others(world: World) -> None:
    lease = world.holder()
    world.server.edit(preferredHolder="c", strategy="OldestEmulationVersion")
    lease._turn()  # 409, reads, renews
    acquired = world.server.spec["acquireTime"]
    world.server.calls.clear()
    world.pass_by(5, lease)
    assert world.server.calls == ["replace"] * 5
    assert world.server.spec["preferredHolder"] == "c"
    assert world.server.spec["acquireTime"] == acquired


def test_a_permit_shrinks_with_time_and_ends_at_the_renew_deadline(world: World) -> None:
    lease = world.holder()
    assert lease.permit() == pytest.approx(15 * 0.99)
    world.clock.now += 9.99
    assert lease.permit() == pytest.approx(15 * 0.99 - 9.99)
    world.clock.now += 0.01
    with pytest.raises(LeaseLost, match="was not renewed in time"):
        lease.permit()
    assert not lease.held  # without any turn of the thread


def test_a_renewal_counts_from_before_its_request(world: World) -> None:
    lease = world.holder()

    def slow() -> None:
        world.clock.now += 4

    world.clock.now += 1
    world.server.before = slow
    lease._turn()
    assert lease.permit() == pytest.approx(15 * 0.99 - 4)


def test_a_renewal_answered_after_the_deadline_ends_the_term_first(world: World) -> None:
    lease = world.holder()
    world.clock.now += 9

    def stopped() -> None:
        world.clock.now += 3

    world.server.before = stopped
    lease._turn()
    assert world.told["a"] == [(True, 1, "a"), (False, 1, "a"), (True, 1, "a")]
    assert lease.permit() == pytest.approx(15 * 0.99 - 3)


def test_a_renewal_answered_after_its_own_deadline_is_none(world: World) -> None:
    lease = world.holder()

    def stopped() -> None:
        world.clock.now += 11

    world.server.after = stopped
    lease._turn()
    assert not lease.held
    assert world.told["a"][-1] == (False, 1, "a")


def test_an_unknown_outcome_is_no_renewal_and_is_looked_at_next_time(world: World) -> None:
    lease = world.holder()
    world.clock.now += 2
    world.server.after = raises(ApiUnavailable("cut", unknown=True))
    lease._turn()
    assert lease.permit() == pytest.approx(15 * 0.99 - 2)
    trouble = lease.trouble
    assert isinstance(trouble, ApiUnavailable)
    world.server.after = NOTHING
    world.server.calls.clear()
    world.pass_by(1, lease)
    assert world.server.calls == ["get", "replace"]
    assert lease.permit() == pytest.approx(15 * 0.99)
    assert (lease.trouble, lease.transitions) == (None, 1)


def test_taking_it_with_an_unknown_outcome_is_settled_by_looking(world: World) -> None:
    lease = world.lease("a")
    world.server.after = raises(ApiUnavailable("cut", unknown=True))
    lease._turn()
    assert not lease.held
    world.server.after = NOTHING
    world.pass_by(1, lease)
    assert (lease.held, lease.transitions) == (True, 1)


def test_an_answer_that_changed_nothing_is_no_renewal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.kube.write.lease._micro_time", lambda: "2026-01-01T00:00:00.000000Z")
    lease = world.holder()
    world.clock.now += 2
    lease._turn()
    assert lease.permit() == pytest.approx(15 * 0.99 - 2)  # nobody else could see it


def test_a_candidate_waits_a_whole_duration_by_its_own_clock(world: World) -> None:
    world.holder("a")
    world.server.edit(renewTime="2001-01-01T00:00:00.000000Z")  # a holder whose wall clock is wrong
    candidate = world.lease("b")
    candidate._turn()
    world.pass_by(14, candidate)
    assert not candidate.held
    with pytest.raises(LeaseLost, match="held by a"):
        candidate.permit()
    world.pass_by(1, candidate)
    assert (candidate.held, candidate.transitions) == (True, 2)
    assert world.told["b"] == [(False, 1, "a"), (True, 2, "b")]


def test_a_candidate_believes_the_holders_duration_not_its_own(world: World) -> None:
    world.holder("a")
    world.server.edit(leaseDurationSeconds=40)
    candidate = world.lease("b")
    candidate._turn()
    world.pass_by(39, candidate)
    assert not candidate.held
    world.pass_by(1, candidate)
    assert candidate.held


def test_each_renewal_makes_a_candidate_wait_again(world: World) -> None:
    holder, candidate = world.holder("a"), world.lease("b")
    world.pass_by(60, holder, candidate)
    assert (holder.held, candidate.held) == (True, False)
    assert world.told["b"] == [(False, 1, "a")]
    world.pass_by(14, candidate)
    assert not candidate.held
    world.pass_by(2, candidate)
    assert candidate.held


def test_no_moment_has_two_holders_whatever_fails(world: World) -> None:
    """Every pattern of failures over a term: never two permits at once, and never a permit past the other's start."""
    outcomes = 0
    for pattern in range(1 << 7):
        world = World()
        leases = [world.holder("a"), world.lease("b")]
        for second in range(60):
            world.clock.now += 1
            fails = pattern >> (second % 7) & 1
            world.server.before = raises(ApiUnavailable("no answer")) if fails and second < 40 else NOTHING
            leases[second % 2]._turn()
            held = [lease for lease in leases if lease.held]
            assert len(held) < 2
            outcomes += len(held)
            if held and held[0] is leases[1]:
                with pytest.raises(LeaseLost):
                    leases[0].permit()
    assert outcomes > 1000


def test_a_stopped_holder_sends_no_write_after_it_goes_on(world: World) -> None:
    holder, candidate = world.holder("a"), world.lease("b")
    candidate._turn()
    world.pass_by(15, candidate)
    assert candidate.held
    world.server.calls.clear()
    world.pass_by(5, holder)
    assert world.server.writes == []
    with pytest.raises(LeaseLost, match="held by b"):
        holder.permit()
    assert world.told["a"] == [(True, 1, "a"), (False, 1, "a"), (False, 2, "b")]


def test_a_holder_stopped_within_its_own_request_comes_too_late(world: World) -> None:
    holder, candidate = world.holder("a"), world.lease("b")
    candidate._turn()

    def stopped() -> None:
        world.server.before = NOTHING
        world.pass_by(15, candidate)
        assert candidate.held

    world.server.before = stopped
    holder._turn()
    assert (holder.held, holder.holder, candidate.held) == (False, "b", True)
    assert world.server.spec["leaseTransitions"] == 2


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_who_race_one_wins(world: World, exists: bool) -> None:
    if exists:
        world.holder("dead")
    first, second = world.lease("a"), world.lease("b")
    for lease in (first, second):
        lease._turn() if exists else None
    world.clock.now += 20
    winner: list[Lease] = []

    def other_goes_first() -> None:
        if world.server.calls[-1] != "get":
            world.server.before = NOTHING
            second._turn()
            winner.append(second)

    world.server.before = other_goes_first
    first._turn()
    assert winner == [second]
    assert (first.held, second.held, first.holder) == (False, True, "b")
    assert world.server.spec["leaseTransitions"] == 1 + exists


def test_a_restart_takes_its_own_expired_lease_as_a_change_of_holder(world: World) -> None:
    world.holder(new_identity())
    again = world.lease(new_identity())
    again._turn()
    assert not again.held
    world.pass_by(15, again)
    assert (again.held, again.transitions) == (True, 2)


def test_a_stolen_lease_ends_the_term_at_the_next_renewal(world: World) -> None:
    holder = world.holder("a")
    world.server.edit(holderIdentity="thief", leaseTransitions=7)
    world.pass_by(1, holder)
    with pytest.raises(LeaseLost, match="held by thief"):
        holder.permit()
    assert world.told["a"] == [(True, 1, "a"), (False, 7, "thief")]


def test_a_deleted_lease_is_made_again_by_its_holder_alone(world: World) -> None:
    holder, candidate = world.holder("a"), world.lease("b")
    candidate._turn()
    world.server.document = None
    world.pass_by(3, candidate)
    assert not candidate.held  # the holder does not know yet, and still writes
    world.pass_by(2, holder)
    assert (holder.held, holder.transitions, world.server.spec["holderIdentity"]) == (True, 1, "a")


def test_a_candidate_takes_a_deleted_lease_after_a_whole_duration(world: World) -> None:
    world.holder("a")
    candidate = world.lease("b")
    candidate._turn()
    world.server.document = None
    world.pass_by(15, candidate)
    assert not candidate.held
    world.pass_by(1, candidate)
    assert (candidate.held, candidate.transitions) == (True, 2)


def test_an_emptied_holder_is_a_release(world: World) -> None:
    holder = world.holder("a")
    world.server.edit(holderIdentity="")
    candidate = world.lease("b")
    candidate._turn()
    assert (candidate.held, candidate.transitions) == (True, 2)
    world.pass_by(1, holder)
    assert not holder.held


def test_jumps_of_the_clock_end_a_term_and_never_lengthen_one(world: World) -> None:
    lease = world.holder()
    world.clock.now += 3600  # the machine slept
    with pytest.raises(LeaseLost):
        lease.permit()
    lease._turn()
    assert (lease.held, lease.transitions) == (True, 1)
    assert world.told["a"] == [(True, 1, "a"), (False, 1, "a"), (True, 1, "a")]


@pytest.mark.parametrize("error", [RightMissing("grant leases"), ApiRefused("namespaces fleet not found")])
def test_what_the_api_server_refuses_is_told_once_and_tried_again(world: World, error: ReconcilerError) -> None:
    lease = world.lease("a")
    world.server.before = raises(error)
    world.pass_by(3, lease)
    assert (lease.trouble, world.told["a"], len(world.server.calls)) == (error, [(False, 0, "")], 3)
    world.server.before = NOTHING
    world.pass_by(1, lease)
    assert (lease.trouble, world.told["a"]) == (None, [(False, 0, ""), (True, 1, "a")])


def test_a_server_that_asks_to_wait_is_not_asked_before(world: World) -> None:
    lease = world.holder()
    world.server.before = raises(ApiUnavailable("429", retry_after_s=12))
    world.server.calls.clear()
    world.pass_by(12, lease)
    assert world.server.calls == ["replace"]
    assert world.told["a"][-1] == (False, 1, "a")  # told at the deadline all the same
    world.server.before = NOTHING
    world.pass_by(1, lease)
    assert lease.held


def test_pauses_are_jittered_and_end_with_the_term(world: World) -> None:
    lease = world.holder()
    pauses = {lease._turn() for _ in range(50)}
    assert len(pauses) > 40
    assert 2 * 0.8 <= min(pauses) < max(pauses) <= 2 * 1.2
    world.server.before = raises(ApiUnavailable("no answer"))
    world.clock.now += 9.5
    assert lease._turn() == pytest.approx(0.5)


def test_a_request_of_the_lease_itself_ends_with_the_term(world: World) -> None:
    lease = world.lease("a")
    assert lease._request_s() == 5
    lease._turn()
    assert lease._request_s() == 5  # not more, so that a hanging one can be tried again
    world.clock.now += 8
    assert lease._request_s() == pytest.approx(2)
    world.server.before = raises(ApiUnavailable("no answer"))
    lease._turn()
    assert world.server.timeouts[-1] == pytest.approx(2)
    world.clock.now += 2
    with pytest.raises(LeaseLost):
        lease._request_s()


def test_closing_releases_and_a_successor_starts_at_once(world: World) -> None:
    acquired = threading.Event()
    lease = Lease(
        world.server,
        namespace="fleet",
        name="reconciler",
        identity="a",
        changed=lambda held, *_: acquired.set() if held else None,
    )
    lease.start()
    assert acquired.wait(10)
    lease.close()
    lease.close()
    with pytest.raises(LeaseLost):
        lease.permit()
    assert "holderIdentity" not in world.server.spec
    assert (world.server.spec["leaseDurationSeconds"], lease.held) == (1, False)
    successor = world.lease("b")
    successor._turn()
    assert (successor.held, successor.transitions, world.server.spec["leaseDurationSeconds"]) == (True, 2, 15)


def test_closing_leaves_the_lease_of_another_alone(world: World) -> None:
    holder, candidate = world.holder("a"), world.lease("b")
    candidate._turn()
    world.server.calls.clear()
    candidate._closing.set()
    candidate._release()
    assert (world.server.calls, world.server.spec["holderIdentity"], holder.held) == ([], "a", True)


def test_closing_forbids_writes_before_it_releases(world: World) -> None:
    lease = world.holder()
    lease._closing.set()
    assert not lease.held

    def asked() -> None:
        with pytest.raises(LeaseLost):
            lease.permit()

    world.server.before = asked
    lease._release()
    assert world.server.calls[-1] == "replace"


def test_closing_past_the_deadline_sends_nothing(world: World) -> None:
    lease = world.holder()
    world.server.calls.clear()
    world.clock.now += 10
    lease._release()
    assert (world.server.calls, world.told["a"][-1]) == ([], (False, 1, "a"))


def test_closing_where_the_server_does_not_answer_raises_nothing(world: World) -> None:
    lease = world.holder()
    world.server.before = raises(ApiUnavailable("no answer"))
    lease._release()
    assert (world.told["a"][-1], world.server.spec["holderIdentity"]) == ((False, 1, "a"), "a")


def test_durations_that_cannot_be_safe_are_refused(world: World) -> None:
    for duration, renew, retry in ((10, 10, 2), (15, 14.9, 2), (15, 2, 2), (15, 10, 0)):
        with pytest.raises(ValueError, match="does not hold"):
            Lease(
                world.server,
                namespace="fleet",
                name="reconciler",
                identity="a",
                changed=lambda *_: None,
                duration_s=duration,
                renew_s=renew,
                retry_s=retry,
            )


def test_the_clock_goes_on_and_identities_differ() -> None:
    assert awake_or_not() <= awake_or_not()
    assert len({new_identity() for _ in range(10)}) == 10
