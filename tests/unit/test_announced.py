"""What is told of changes in Events: one a change, sums of many, and the same names each time."""

from typing import Any

import pytest

from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.history.keys import DECLARE, DELIVER, Key, stream_of
from reconciler.history.kubernetes_events import FLEET, LONGEST, MOST, Announcer, Told, scope_key

COMMIT = "c" * 40
FACES = Key("InferenceModel", "default", "faces", "")


class Log:
    def __init__(self) -> None:
        self.seq = 0

    def entry(
        self, type_: str, about: Key | str = "plan/declare", cause: str = "", operation: str = "", **data: Any
    ) -> Entry:
        self.seq += 1
        commit = data.pop("gitcommit", "")
        event = Event(
            id=f"id-{self.seq}",
            type=type_,
            partitionkey=about if isinstance(about, str) else stream_of(DELIVER if about.edge else DECLARE, about),
            time="2026-11-22T11:00:00.000000Z",
            subject=str(about) if isinstance(about, Key) else "",
            actor="ada",
            causationid=cause,
            operationid=operation,
            gitcommit=commit,
            newdigest=data.pop("newdigest", ""),
            data=data,
        )
        return Entry(self.seq, b"", event)

    def change(self, key: Key, action: str = "create", commit: str = COMMIT, cause: str = "") -> list[Entry]:
        """An intent and its success."""
        operation = f"op-{self.seq}"
        intent = self.entry(
            ev.APPLY_INTENDED,
            key,
            cause,
            operation,
            gitcommit=commit,
            action=action,
            reason="declared",
            origin="a.yaml:1",
            found={"uid": "old"},
        )
        live = {} if action == "delete" else {"live": {"uid": "new"}}
        return [intent, self.entry(ev.APPLY_SUCCEEDED, key, intent.event.id, operation, gitcommit=commit, **live)]


def tell(*entries: Entry) -> list[Told]:
    announcer = Announcer()
    announcer.hear(entries)
    return announcer.take()


@pytest.mark.parametrize(("action", "reason", "uid"), [("create", "Applied", "new"), ("delete", "Deleted", "old")])
def test_a_change_is_told_once_it_was_made(action: str, reason: str, uid: str) -> None:
    log = Log()
    intent, done = log.change(FACES, action)
    assert tell(intent) == []
    (told,) = tell(intent, done)
    assert (told.about, told.reason, told.type, told.uid) == (FACES, reason, "Normal", uid)
    assert (told.commit, told.seq) == (COMMIT, 2)


def test_the_same_entries_have_the_same_names() -> None:
    first, again = (tell(*Log().change(FACES)) for _ in range(2))
    assert first == again
    log = Log()
    names = [one.name for one in tell(*log.change(FACES), *log.change(FACES))]
    assert len(set(names)) == 2
    assert all(name.startswith("faces.") for name in names)


@pytest.mark.parametrize("count", [MOST, MOST + 1, 1000])
def test_many_of_one_commit_and_kind_are_one(count: int) -> None:
    log = Log()
    entries = [entry for n in range(count) for entry in log.change(FACES._replace(name=f"m{n}"))]
    told = tell(*entries)
    if count <= MOST:
        assert [one.about.name for one in told] == [f"m{n}" for n in range(count)]
        return
    (one,) = told
    assert (one.about, one.reason, one.commit) == (FLEET, "Applied", COMMIT)
    assert one.note == f"{count} of kind InferenceModel: m0, m1, m2 and {count - 3} more"
    assert one.seq == 2 * count


def test_kinds_and_commits_are_summed_apart() -> None:
    log, announcer = Log(), Announcer()
    models = [entry for n in range(30) for entry in log.change(FACES._replace(name=f"m{n}"))]
    edges = [entry for n in range(30) for entry in log.change(Key("Edge", "", f"e{n}", ""))]
    others = [entry for n in range(3) for entry in log.change(FACES._replace(name=f"m{n}"), commit="d" * 40)]
    announcer.hear([*models, *edges, *others])
    assert [one.note.split(":")[0] for one in announcer.take()[:2]] == ["30 of kind InferenceModel", "30 of kind Edge"]
    assert announcer.take() == []


def test_what_comes_late_of_a_commit_is_summed_too() -> None:
    log, announcer = Log(), Announcer()
    for n in range(15):
        announcer.hear(log.change(FACES._replace(name=f"m{n}")))
    assert len(announcer.take()) == 15
    for n in range(15):
        announcer.hear(log.change(FACES._replace(name=f"n{n}")))
    assert len(announcer.take()) == 1


def test_what_is_taken_back_names_the_other_writer() -> None:
    log = Log()
    fields = [{"field": "spec.servingPort", "manager": "kubectl-edit"}]
    drift = log.entry(ev.DRIFT_DETECTED, FACES, what="changed", writer="kubectl-edit", policy="correct", fields=fields)
    (told,) = tell(drift, *log.change(FACES, "update", "", drift.event.id))
    assert (told.reason, told.type) == ("DriftCorrected", "Warning")
    assert told.note == "changed by kubectl-edit, to be taken back: spec.servingPort by kubectl-edit"


def test_what_is_reported_only_is_told_at_once() -> None:
    log = Log()
    (told,) = tell(log.entry(ev.DRIFT_DETECTED, FACES, what="changed", writer="x", policy="report", fields=[], uid="u"))
    assert (told.reason, told.uid) == ("DriftReported", "u")


def test_a_refusal_is_told_and_cut() -> None:
    log = Log()
    intent, _ = log.change(FACES)
    refused = log.entry(ev.APPLY_FAILED, FACES, "", intent.event.operationid, error="x" * 5000, code="RX411")
    (told,) = tell(intent, refused)
    assert (told.reason, told.type, len(told.note)) == ("ApplyFailed", "Warning", LONGEST)


def test_what_an_edge_says_is_about_its_object() -> None:
    log, key = Log(), FACES._replace(edge="berlin")
    back = log.entry(ev.MODEL_ROLLEDBACK, key, live={"version": "1"}, error="golden", code="RX404")
    (told,) = tell(back)
    assert (told.about, told.reason) == (FACES, "RolledBack")


def test_a_held_plan_and_a_suspension_are_told() -> None:
    log = Log()
    held = log.entry(ev.CHANGE_PLANNED, held="it deletes 9", counts={"delete": 9}, keys=[], newdigest="d1")
    ready = log.entry(ev.CHANGE_PLANNED, counts={}, newdigest="d2")
    paused = log.entry(ev.RECONCILE_SUSPENDED, scope=str(FACES), reason="is measured")
    whole = log.entry(ev.RECONCILE_RESUMED, scope="*")
    told = [(one.about, one.reason) for one in tell(held, ready, paused, whole)]
    assert told == [(FLEET, "PlanHeld"), (FACES, "Suspended"), (FLEET, "Resumed")]


@pytest.mark.parametrize(
    ("scope", "about"),
    [("*", FLEET), ("berlin", Key("Edge", "", "berlin", "")), ("InferenceModel/default/faces", FACES)],
)
def test_a_scope_is_an_object(scope: str, about: Key) -> None:
    assert scope_key(scope) == about


def test_what_nobody_took_back_is_not_remembered_for_ever() -> None:
    log, announcer = Log(), Announcer()
    announcer.hear(
        log.entry(ev.DRIFT_DETECTED, FACES, what="changed", writer="x", policy="correct", fields=[])
        for _ in range(5000)
    )
    assert len(announcer._drifts) == 4096
