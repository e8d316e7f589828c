"""Statuses as projections of the log: what is said of each kind, and what moves it."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.history import events as ev
from reconciler.history.conditions import Verdict
from reconciler.history.events import Entry, Event
from reconciler.history.fold import fold
from reconciler.history.keys import DECLARE, DELIVER, Key, stream_of
from reconciler.history.object_status import Around, published
from reconciler.history.state import State
from reconciler.planning.kinds import KINDS

NOW = "2026-11-22T12:00:00.500000Z"
LATER = "2026-11-22T13:00:00.000000Z"
COMMIT = "5f29df998909602c496fc70a9eafa86ebed172f4"
PLAIN = Key("InferenceModel", "default", "faces", "")
ON_EDGE = PLAIN._replace(edge="berlin")


@dataclass(frozen=True)
class Object:
    """`published.Seen`."""

    spec: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    generation: int = 3
    annotations: dict[str, str] = field(default_factory=lambda: {"ai.kubeedge.io/commit": COMMIT})


class Log:
    """A state, made by events."""

    def __init__(self) -> None:
        self.state = State()

    def add(self, type_: str, about: Key | str, source: str = "/hub/1", **data: Any) -> None:
        seq = self.state.seq + 1
        fields = {name: data.pop(name) for name in ("gitcommit", "operationid", "newdigest", "actor") if name in data}
        subject = str(about) if isinstance(about, Key) else ""
        event = Event(
            id=str(seq),
            type=type_,
            partitionkey=about if isinstance(about, str) else stream_of(DELIVER if about.edge else DECLARE, about),
            time=f"2026-11-22T11:{seq // 60:02}:{seq % 60:02}.000000Z",
            source=source,
            subject=subject,
            data=data,
            **fields,
        )
        fold(self.state, [Entry(seq, b"", event)])

    def order(self, key: Key, spec: dict[str, Any], operation: str = "one", reason: str = "declared") -> None:
        self.add(
            ev.APPLY_INTENDED,
            key,
            action="update",
            spec=spec,
            reason=reason,
            origin="models/faces.yaml:4",
            operationid=operation,
        )

    def done(self, key: Key, operation: str = "one", **live: Any) -> None:
        self.add(ev.APPLY_SUCCEEDED, key, live=live, operationid=operation)

    def applied(self, key: Key, **labels: str) -> None:
        named = {f"ai.kubeedge.io/{name}": value for name, value in labels.items()}
        self.order(key, {"labels": named, "spec": {}})
        self.done(key, uid="u", resourceVersion="7", generation=3)

    def heard(self, edge: str = "berlin") -> None:
        self.add(ev.EDGE_FOUND, f"edge/{edge}", edge=edge)

    def serves(self, key: Key, version: str = "1", operation: str = "deliver") -> None:
        self.order(key, {"model": "faces", "version": version}, operation)
        self.done(key, operation, version=version, url=f"http://127.0.0.1:8080/v1/models/faces/{version}")


def ask(log: Log, key: Key = PLAIN, seen: Object | None = None, **around: Any) -> dict[str, Any] | None:
    """The status, checked against its schema and its size."""
    known = Around(**{"now": NOW, **around})
    status = published(KINDS[key.kind].facts, key, log.state, seen or Object(), known)
    if status is not None:
        KINDS[key.kind].declares().status.model_validate(status)
        assert len(str(status)) < 4096
        types = [one["type"] for one in status["conditions"]]
        assert types[0] == "Ready"
        assert all(one["status"] == "True" for one in status["conditions"][1:])
        assert status["observedGeneration"] == (seen or Object()).generation
    return status


def told(status: dict[str, Any] | None) -> tuple[str, str, str]:
    """(Ready, reason, the other conditions) of a status."""
    assert status is not None
    first, *others = status["conditions"]
    return first["status"], first["reason"], " ".join(one["type"] for one in others)


def words(status: dict[str, Any] | None) -> str:
    assert status is not None
    text: str = status["conditions"][0]["message"]
    return text


@pytest.fixture
def log() -> Log:
    log = Log()
    log.applied(PLAIN)
    return log


# ── one object ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mere_apply_of_a_service_is_told_by_the_object_itself(log: Log) -> None:
    assert ask(log) is None


@pytest.mark.parametrize("kind", ["Dataset", "Edge"])
def test_what_is_only_to_be_read_there_is_ready_when_it_is_as_git_says(kind: str) -> None:
    log, key = Log(), Key(kind, "default" if kind != "Edge" else "", "faces", "")
    assert ask(log, key) is None  # one made by hand, of which nothing is known
    log.order(key, {"spec": {}})
    assert ask(log, key) is None
    log.done(key, uid="u", resourceVersion="7", generation=3)
    assert told(ask(log, key)) == ("True", "Succeeded", "")
    log.order(key, {"spec": {}}, "two")
    log.add(ev.APPLY_FAILED, key, error="no", code="RX411", phase="Rejected", operationid="two")
    assert told(ask(log, key)) == ("False", "Failed", "Stalled")


def test_what_further_stages_say_stands_beside_in_conditions_of_their_own(log: Log) -> None:
    def say(key: Key, status: dict[str, Any], now: str, message: str) -> dict[str, Any]:
        around = Around(now=now, beside={"ChildrenReady": Verdict("False", "Counted", message)})
        return published(KINDS[key.kind].facts, key, log.state, Object(status=status), around) or {}

    first = say(PLAIN, {}, NOW, "0 of 1 ready")
    ready, mine = first["conditions"]
    assert (ready["type"], mine["type"], mine["message"]) == ("Ready", "ChildrenReady", "0 of 1 ready")
    _, again = say(PLAIN, first, LATER, "0 of 2 ready")["conditions"]
    assert again == {**mine, "message": "0 of 2 ready"}  # its time is that of its status
    assert "Git" not in words(say(PLAIN._replace(name="hand"), {}, NOW, ""))


def test_what_an_edge_serves_is_ready_with_its_url_and_version(log: Log) -> None:
    log.heard()
    log.serves(ON_EDGE)
    status = ask(log, members=[str(ON_EDGE)], seen=Object({"targetVersion": "1"}))
    assert told(status) == ("True", "Succeeded", "")
    assert status is not None
    assert (status["url"], status["servingVersion"], status["edge"], status["phase"]) == (
        "http://127.0.0.1:8080/v1/models/faces/1",
        "1",
        "berlin",
        "Committed",
    )
    assert status["lastAppliedRevision"] == f"main@sha1:{COMMIT}"


def test_what_is_ready_of_an_older_generation_is_not_ready(log: Log) -> None:
    log.heard()
    log.serves(ON_EDGE)
    status = ask(log, members=[str(ON_EDGE)], seen=Object({"targetVersion": "2"}))
    assert told(status) == ("False", "Progressing", "Reconciling")
    assert status is not None
    assert (status["servingVersion"], status["wantedVersion"]) == ("1", "2")


def test_an_edge_that_is_not_heard_makes_nothing_ready(log: Log) -> None:
    log.serves(ON_EDGE)
    assert told(ask(log, members=[str(ON_EDGE)])) == ("Unknown", "DependencyNotReady", "")
    log.heard()
    log.add(ev.EDGE_LOST, "edge/berlin", edge="berlin")
    status = ask(log, members=[str(ON_EDGE)])
    assert told(status)[0] == "Unknown"
    assert "unknown since 2026-11-22T11:00:06" in words(status)
    assert status is not None
    assert status["servingVersion"] == "1"  # what it said last


def test_an_order_under_way_is_being_reconciled(log: Log) -> None:
    log.heard()
    log.order(ON_EDGE, {"model": "faces", "version": "2"}, "deliver")
    assert told(ask(log, members=[str(ON_EDGE)])) == ("False", "Progressing", "Reconciling")
    log.add(ev.DOWNLOAD_FAILED, ON_EDGE, error="no route", code="RX302", operationid="deliver")
    assert told(ask(log, members=[str(ON_EDGE)])) == ("False", "ProgressingWithRetry", "Reconciling")


@pytest.mark.parametrize(("phase", "reason"), [("Rejected", "Rejected"), ("RolledBack", "RolledBack")])
def test_what_an_edge_refused_is_stalled_and_names_the_entry_of_the_log(log: Log, phase: str, reason: str) -> None:
    log.heard()
    log.serves(ON_EDGE, "1")
    log.order(ON_EDGE, {"model": "faces", "version": "2"}, "next")
    log.add(ev.APPLY_FAILED, ON_EDGE, error="expected ab, found cd", code="RX401", phase=phase, operationid="next")
    status = ask(log, members=[str(ON_EDGE)])
    assert told(status) == ("False", reason, "Stalled")
    assert "RX401: expected ab, found cd; version 1 keeps serving (log entry 7)" in words(status)


def test_what_the_api_server_refuses_is_stalled_at_its_line(log: Log) -> None:
    log.state.ref.commit, log.state.ref.seq = COMMIT, log.state.seq
    log.order(PLAIN, {"spec": {}}, "next")
    log.add(ev.APPLY_FAILED, PLAIN, error="denied by policy", code="RX411", phase="Rejected", operationid="next")
    status = ask(log)
    assert told(status) == ("False", "Failed", "Stalled")
    assert words(status) == "models/faces.yaml:4@5f29df998909: RX411: denied by policy; `reconciler explain RX411`"


def test_a_problem_of_its_document_is_told_with_place_and_help(log: Log) -> None:
    log.state.ref.commit = COMMIT
    problem = {"code": "RX213", "message": "no version 9", "path": "models/faces.yaml", "line": 7, "help": "take 1"}
    status = ask(log, problems=[problem])
    assert told(status) == ("False", "BuildFailed", "Stalled")
    assert words(status).startswith("models/faces.yaml:7@5f29df998909: RX213: no version 9; take 1")
    assert ask(log, problems=[problem | {"severity": "warning"}]) is None


def test_reported_drift_names_who_and_which_fields(log: Log) -> None:
    fields = [{"field": "spec.servingPort", "manager": "kubectl-edit", "old": 1, "new": 2}]
    log.add(ev.DRIFT_DETECTED, PLAIN, what="changed", writer="kubectl-edit", policy="report", fields=fields)
    status = ask(log)
    assert told(status) == ("False", "DriftReported", "")
    assert "spec.servingPort by kubectl-edit" in words(status)


def test_fault_028_a_fight_names_both_managers_until_it_is_looked_at_again(log: Log) -> None:
    fields = [{"field": "spec.servingPort", "manager": "autoscaler"}]
    log.add(ev.DRIFT_DETECTED, PLAIN, what="changed", writer="autoscaler", policy="correct", fields=fields)
    log.add(ev.DRIFT_FOUGHT, PLAIN, count=5, fields=fields, until=LATER)
    status = ask(log)
    assert told(status) == ("False", "Conflict", "Stalled")
    assert "autoscaler and reconciler fight over it (spec.servingPort)" in words(status)
    assert ask(log, now="2026-11-22T14:00:00.000000Z") is None


def test_what_waits_is_not_as_git_says_and_says_why(log: Log) -> None:
    log.heard()
    log.serves(ON_EDGE)
    log.add(ev.STEPS_WAITING, "waits/declare", waits={"frozen until Monday": [str(PLAIN)]})
    status = ask(log, members=[str(ON_EDGE)])
    assert told(status) == ("False", "Suspended", "Reconciling")
    assert words(status) == "a change of it waits: frozen until Monday"
    log.add(ev.STEPS_WAITING, "waits/declare", waits={"": [str(PLAIN)]})
    assert told(ask(log, members=[str(ON_EDGE)])) == ("True", "Succeeded", "")


def test_what_is_suspended_keeps_what_its_edge_said(log: Log) -> None:
    log.heard()
    log.serves(ON_EDGE)
    why = {"actor": "ada", "reason": "is measured", "until": LATER}
    status = ask(log, members=[str(ON_EDGE)], suspended=why)
    assert told(status) == ("True", "Suspended", "")
    assert status is not None
    assert status["suspended"] == why
    assert words(status).startswith("suspended by ada until 2026-11-22T13:00:00Z: is measured")


def test_what_was_said_before_does_not_stay_when_nothing_is_known_any_more(log: Log) -> None:
    status = ask(log, seen=Object(status={"conditions": []}))
    assert told(status) == ("Unknown", "Applied", "")


def test_a_request_that_was_answered_is_written_down(log: Log) -> None:
    status = ask(log, handled="today")
    assert status is not None
    assert status["lastHandledReconcileAt"] == "today"


# ── times ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_state_is_the_same_status_at_any_time(log: Log) -> None:
    log.heard()
    log.serves(ON_EDGE)
    first = ask(log, members=[str(ON_EDGE)])
    assert first is not None
    assert ask(log, members=[str(ON_EDGE)], seen=Object(status=first), now=LATER) == first


def test_the_time_of_a_condition_moves_with_its_status_alone(log: Log) -> None:
    log.heard()
    log.serves(ON_EDGE)
    first = ask(log, members=[str(ON_EDGE)])
    assert first is not None
    then = first["conditions"][0]["lastTransitionTime"]
    assert then == "2026-11-22T12:00:00Z"
    suspended = ask(log, members=[str(ON_EDGE)], seen=Object(status=first), suspended={"actor": "ada"}, now=LATER)
    assert suspended is not None
    assert suspended["conditions"][0]["lastTransitionTime"] == then  # another reason, still True
    log.add(ev.EDGE_LOST, "edge/berlin", edge="berlin")
    lost = ask(log, members=[str(ON_EDGE)], seen=Object(status=first), now=LATER)
    assert lost is not None
    assert lost["conditions"][0]["lastTransitionTime"] == "2026-11-22T13:00:00Z"


def test_a_long_message_is_cut(log: Log) -> None:
    log.order(PLAIN, {"spec": {}}, "next")
    log.add(ev.APPLY_FAILED, PLAIN, error="x" * 9000, code="RX411", phase="Rejected", operationid="next")
    assert len(words(ask(log))) == 1500


# ── those that sum up ─────────────────────────────────────────────────────────────────────────────────────────────────

SET = Key("InferenceModelSet", "default", "faces", "")


@pytest.fixture
def fleet() -> tuple[Log, list[str]]:
    """Four edges of a set: one ready, one pinned and ready, one that refused, one under way."""
    log, members = Log(), []
    for number, edge in enumerate("abcd"):
        key = Key("InferenceModel", "default", f"faces-{edge}", edge)
        members.append(str(key))
        log.order(key._replace(edge=""), {"spec": {}}, f"o{number}", f"pinned on {edge}" if edge == "b" else "default")
        log.done(key._replace(edge=""), f"o{number}", uid="u", resourceVersion="1", generation=1)
        log.heard(edge)
        if edge in "ab":
            log.serves(key, "2" if edge == "a" else "1", f"d{number}")
        else:
            log.order(key, {"model": "faces", "version": "2"}, f"d{number}")
    log.add(ev.APPLY_FAILED, Key.parse(members[2]), error="no room", code="RX405", phase="Rejected", operationid="d2")
    return log, members


def test_a_set_counts_its_edges(fleet: tuple[Log, list[str]]) -> None:
    log, members = fleet
    status = ask(log, SET, members=members)
    assert status is not None
    assert status["edges"] == {"desired": 4, "updated": 4, "ready": 2, "pinned": 1, "failed": 1}
    assert told(status) == ("False", "Failed", "Stalled")
    assert words(status) == "1 of 4 edges failed: c: RX405: no room"


def test_a_set_is_ready_when_every_edge_is(fleet: tuple[Log, list[str]]) -> None:
    log, members = fleet
    assert told(ask(log, SET, members=members[:2])) == ("True", "Succeeded", "")
    assert told(ask(log, SET, members=[members[0], members[3]])) == ("False", "Progressing", "Reconciling")


def test_a_set_of_which_no_edge_was_told_is_ready_when_what_it_makes_is_there() -> None:
    log, members = Log(), [f"InferenceModel/default/faces-{edge}@{edge}" for edge in "ab"]
    plain = [Key.parse(text)._replace(edge="") for text in members]
    log.applied(plain[0])
    assert told(ask(log, SET, members=members)) == ("False", "Progressing", "Reconciling")
    log.applied(plain[1])
    status = ask(log, SET, members=members)
    assert told(status) == ("True", "Succeeded", "")
    assert words(status) == "2 of 2 InferenceModel objects are as wanted"
    assert status is not None
    assert status["edges"]["ready"] == 0  # nothing was heard from an edge


def test_a_model_counts_what_is_served_of_it(fleet: tuple[Log, list[str]]) -> None:
    log, members = fleet
    status = ask(log, Key("Model", "default", "faces", ""), Object({"versions": [{}, {}]}), members=members)
    assert status is not None
    assert (status["versions"], status["users"], status["edges"]) == (2, 4, 2)
    assert words(status) == "2 versions, 4 users, 2 edges serve it"
    assert status["inUse"] == [{"version": "1", "edges": 1}, {"version": "2", "edges": 1}]


def test_an_edge_counts_its_models_and_says_when_it_was_heard(fleet: tuple[Log, list[str]]) -> None:
    log, members = fleet
    edge = Key("Edge", "", "a", "")
    status = ask(log, edge, members=members[:1])
    assert status is not None
    assert (status["models"], status["present"]) == ({"wanted": 1, "serving": 1}, True)
    log.add(ev.EDGE_LOST, "edge/a", edge="a", error="killed")
    lost = ask(log, edge, members=members[:1])
    assert told(lost) == ("Unknown", "DependencyNotReady", "")
    assert words(lost).endswith(": killed")
    assert lost is not None
    assert lost["models"]["serving"] == 0  # an edge that is not heard is never shown as ready


def test_data_counts_its_edges() -> None:
    log, key = Log(), Key("Dataset", "default", "faces", "")
    members = [str(key._replace(edge=edge)) for edge in "ab"]
    for edge in "ab":
        log.heard(edge)
        log.order(key._replace(edge=edge), {"version": "2026-11", "bytes": edge == "a"}, edge)
        log.done(key._replace(edge=edge), edge, version="2026-11")
    status = ask(log, key, Object({"versions": [{}]}), members=members)
    assert status is not None
    assert (status["edges"], status["servedVersion"]) == ({"bytes": 1, "metadata": 1, "ready": 2}, "2026-11")
    assert told(status) == ("True", "Succeeded", "")


@pytest.mark.parametrize("kind", ["InferenceModelSet", "Model", "Edge", "Fleet"])
def test_a_mirror_made_by_hand_is_stalled(kind: str) -> None:
    key = Key(kind, "default" if kind in {"InferenceModelSet", "Model"} else "", "mine", "")
    status = ask(Log(), key, Object(annotations={}), from_git=False)
    assert told(status) == ("False", "NotFromGit", "Stalled")
    assert f"kubectl delete {kind.lower()} mine" in words(status)


FLEET = Key("Fleet", "", "fleet", "")


def test_the_fleet_says_how_far_the_branch_is_carried_out() -> None:
    log = Log()
    log.applied(PLAIN)
    log.state.ref.commit, log.state.ref.accepted = "b" * 40, COMMIT
    status = ask(log, FLEET)
    assert status is not None
    assert status["lastAttemptedRevision"] == f"main@sha1:{'b' * 40}"
    assert status["lastAppliedRevision"] == f"main@sha1:{COMMIT}"
    assert (status["objects"], status["problems"], status["commit"]) == (1, 0, COMMIT[:12])
    assert told(status) == ("True", "Succeeded", "")
    held: dict[str, Any] = {"held": "it deletes 9 of 10", "keys": [str(PLAIN)], "counts": {"delete": 9}}
    log.add(ev.CHANGE_PLANNED, "plan/declare", newdigest="d1g357", gitcommit="b" * 40, **held)
    status = ask(log, FLEET)
    assert told(status) == ("False", "PlanHeld", "Stalled")
    assert status is not None
    assert status["heldPlan"]["digest"] == "d1g357"
    assert words(status).endswith("`reconciler approve d1g357`")


def test_fault_028_the_fleet_is_not_ready_while_a_fight_is_left_alone() -> None:
    log = Log()
    log.applied(PLAIN)
    log.state.ref.accepted = COMMIT
    log.add(ev.DRIFT_FOUGHT, PLAIN, count=5, fields=[], until=LATER)
    assert told(ask(log, FLEET)) == ("False", "Conflict", "Stalled")
    assert told(ask(log, FLEET, now="2026-11-22T14:00:00.000000Z")) == ("True", "Succeeded", "")


def test_the_fleet_says_that_the_branch_cannot_be_read() -> None:
    log = Log()
    log.add(ev.REF_LOST, "git", error="no route to host", code="RX301")
    assert told(ask(log, FLEET)) == ("False", "DependencyNotReady", "Reconciling")


def test_the_fleet_says_until_when_nothing_changes(log: Log) -> None:
    log.state.ref.accepted = COMMIT
    status = ask(log, FLEET, frozen_until=LATER, suspended={"actor": "ada"})
    assert told(status) == ("True", "Suspended", "")
    assert status is not None
    assert (status["frozenUntil"], status["suspended"]) == (LATER, {"actor": "ada"})
