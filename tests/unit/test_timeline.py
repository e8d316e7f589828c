"""Every type of event has words."""

from typing import Any

import pytest

from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DECLARE, Key, stream_of
from reconciler.history.timeline import WORDS, counted, labelled, size, subject, words

TYPES = sorted(value for name, value in vars(ev).items() if name.isupper() and str(value).endswith(".v1"))
LIVE = {"version": "2", "sha256": "ab" * 32, "url": "http://127.0.0.2:8080/v2/models/defect", "digest": "cd" * 32}
COMMIT = {
    "commit": "c" * 40,
    "author": "Ada <ada@example.com>",
    "subject": "Begin",
    "committed": "",
    "files": {"a": ""},
}
FIELDS = [{"field": f"spec.f{n}", "manager": "kubectl-edit", "old": "1", "new": "2"} for n in range(5)]
DATA: dict[str, dict[str, Any]] = {
    ev.REF_ADVANCED: COMMIT | {"documents": {}},
    ev.REF_REWRITTEN: {"from": "d" * 40, "to": "c" * 40},
    ev.REF_LOST: {"error": "it did not answer", "code": "RX301"},
    ev.REF_FOUND: {},
    ev.MANIFESTS_CHECKED: {"problems": {"a.yaml": [{"code": "RX201", "path": "a.yaml", "line": 3, "message": "no"}]}},
    ev.CHANGE_PLANNED: {"counts": {"create": 2}, "fetchBytes": 2048},
    ev.CHANGE_NARROWED: {"plan": "x", "steps": 3, "reason": "a newer plan has it"},
    ev.CHANGE_APPROVED: {"digest": "x"},
    ev.APPLY_INTENDED: {"action": "update", "spec": {"version": "2"}, "reason": "because", "origin": "a.yaml:3"},
    ev.APPLY_SUCCEEDED: {"live": LIVE},
    ev.APPLY_FAILED: {"error": "it is wrong", "code": "RX404", "phase": "RolledBack"},
    ev.APPLY_ABANDONED: {"error": "no route", "code": "RX302", "retryMs": 1500},
    ev.STEPS_WAITING: {"waits": {"frozen until night: why": ["InferenceModel/default/a"], "": ["Edge//e1"]}},
    ev.ORDER_EXPLAINED: {"keys": {"InferenceModel/default/a@e1": {"reason": "pinned on e1", "origin": "a.yaml:7"}}},
    ev.HOLD_PLACED: {"reason": "failed elsewhere"},
    ev.HOLD_LIFTED: {},
    ev.RETRY_ASKED: {},
    ev.RECONCILE_SUSPENDED: {"scope": "*", "reason": "night", "until": "2026-12-01T00:00:00Z"},
    ev.RECONCILE_RESUMED: {"scope": "berlin-07"},
    ev.EDGE_FOUND: {"edge": "berlin-07"},
    ev.EDGE_LOST: {"edge": "berlin-07"},
    ev.LINK_REFUSED: {"peer": "berlin-07", "error": "a gap", "code": "RX505"},
    ev.LINK_RESTORED: {"peer": "berlin-07"},
    ev.DOWNLOAD_STARTED: {"url": "https://x.example.com/a", "sha256": "ab", "done": 0},
    ev.DOWNLOAD_RESUMED: {"url": "https://x.example.com/a", "sha256": "ab", "done": 1024},
    ev.DOWNLOAD_FAILED: {"error": "it broke off", "code": "RX302"},
    ev.ARTIFACT_VERIFIED: {"sha256": "ab" * 32},
    ev.ARTIFACT_STAGED: {"sha256": "ab" * 32, "size": 10, "fetched": 10},
    ev.ARTIFACT_EVICTED: {"sha256": "ab" * 32, "edge": "berlin-07"},
    ev.MODEL_ACTIVATED: {"live": LIVE, "previous": "1"},
    ev.MODEL_ROLLEDBACK: {"live": LIVE, "error": "it is wrong", "code": "RX404"},
    ev.MODEL_DEGRADED: {"error": "the runtime ended", "live": {}},
    ev.DATASET_SYNCED: {"version": "7", "bytes": False},
    ev.STATE_UNSTABLE: {"count": 6, "seconds": 600, "live": {}},
    ev.APPLY_CONFLICTED: {"fields": [{"field": "spec.replicas", "manager": "kubectl-edit"}]},
    ev.DRIFT_DETECTED: {"what": "changed", "writer": "kubectl-edit", "policy": "correct", "fields": FIELDS},
    ev.DRIFT_FOUGHT: {"count": 6, "fields": FIELDS, "until": ""},
    ev.DRIFT_RESOLVED: {},
    ev.OBJECT_GONE: {},
    ev.OBJECT_ADOPTED: {"uid": "1"},
    ev.CLUSTER_LOST: {"what": "InferenceModel", "error": "no answer", "code": "RX305"},
    ev.CLUSTER_FOUND: {"what": "InferenceModel"},
    ev.LEASE_ACQUIRED: {"holder": "hub-0_1", "transitions": 3},
    ev.LEASE_LOST: {"holder": "hub-1_1", "transitions": 4},
    ev.LOG_GENESIS: {},
    ev.SEGMENT_SEALED: {"first": 1, "last": 9, "hash": "ab"},
}


def event(type_: str, **fields: Any) -> Event:
    known: dict[str, Any] = {"id": "1", "partitionkey": "p", "time": "", "actor": "ada@host", "newdigest": "0123"}
    return Event(**known | {"type": type_, "data": DATA[type_], "gitcommit": "c" * 40} | fields)


def test_there_are_types_and_each_has_words_here_and_there() -> None:
    assert len(TYPES) > 25
    assert set(TYPES) == set(WORDS) == set(DATA)


@pytest.mark.parametrize("type_", TYPES)
def test_each_type_is_one_line_of_words(type_: str) -> None:
    said = words(event(type_))
    assert said
    assert said != type_
    assert "\n" not in said


def test_words_say_what_matters() -> None:
    assert words(event(ev.REF_ADVANCED)) == "commit ccccccc by Ada <ada@example.com>: Begin (1 file)"
    assert words(event(ev.MANIFESTS_CHECKED)) == "manifests checked: RX201 at a.yaml:3: no"
    assert words(event(ev.CHANGE_PLANNED)) == "plan 0123: 2 to create, edges fetch 2.0 KiB"
    assert words(event(ev.APPLY_INTENDED)) == "ordered version 2: because (a.yaml:3)"
    assert words(event(ev.APPLY_INTENDED, source="/edge/a/1")).startswith("begins version 2")
    assert words(event(ev.APPLY_FAILED)) == "rolled back: RX404: it is wrong"
    assert words(event(ev.APPLY_ABANDONED)) == "not done: RX302: no route; again in 1.5 s"
    assert words(event(ev.RECONCILE_SUSPENDED)) == "ada@host suspended everything until 2026-12-01T00:00:00Z: night"
    assert words(event(ev.MODEL_ACTIVATED)) == "serves version 2 (before: 1)"
    unproven = {"live": LIVE | {"unproven": "no golden.json"}}
    assert words(event(ev.MODEL_ACTIVATED, data=unproven)) == "serves version 2, unproven"
    assert words(event(ev.DATASET_SYNCED)) == "has version 7 (metadata only)"
    assert words(event(ev.DOWNLOAD_RESUMED)) == "resumes https://x.example.com/a, 1.0 KiB so far"
    data = {"url": "file:///a", "done": 3_800, "total": 19_600}
    assert words(event(ev.DOWNLOAD_STARTED, data=data)) == "downloads file:///a, 3.7 KiB of 19.1 KiB so far"
    assert words(event(ev.MODEL_DEGRADED, data={"error": "as one knows", "began": True})) == (
        "its agent began anew, and serves it again"
    )


def test_a_delete_is_ordered_to_go() -> None:
    data = {"action": "delete", "spec": {}, "reason": "no longer declared"}
    assert words(event(ev.APPLY_INTENDED, data=data)) == "ordered to go: no longer declared"


def test_a_held_plan_says_why() -> None:
    data = {"counts": {"delete": 4}, "held": "it deletes 4 of 6"}
    assert words(event(ev.CHANGE_PLANNED, data=data)) == "plan 0123 is held: it deletes 4 of 6 (4 to delete)"


def test_a_type_of_a_newer_release_is_told_by_its_name() -> None:
    assert words(Event(id="1", partitionkey="p", time="", type="moon.risen.v9")) == "moon.risen.v9"


def test_what_an_event_is_about() -> None:
    about = "Dataset/default/parts@berlin-07"
    assert subject(event(ev.DATASET_SYNCED, subject=about)) == ("berlin-07", "parts (dataset)")
    about = "InferenceModel/default/defect-berlin-07@berlin-07"
    assert subject(event(ev.MODEL_ACTIVATED, subject=about)) == ("berlin-07", "defect")
    assert subject(event(ev.EDGE_LOST)) == ("berlin-07", "")
    assert subject(event(ev.LINK_REFUSED)) == ("berlin-07", "")
    assert labelled("InferenceModel", "defect") == "defect"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5150000, "4.9 MiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_for_people(count: int, said: str) -> None:
    assert size(count) == said


def test_counts_for_people() -> None:
    assert counted({}) == "nothing to do"
    assert counted({"create": 1, "delete": 0, "waiting": 2}) == "1 to create, 2 waiting"


def test_an_object_is_told_by_what_changes() -> None:
    key = Key("InferenceModel", "default", "digits-edge-1", "")
    data = {"action": "update", "spec": {"spec": {}}, "reason": "pinned", "changes": [["spec.targetVersion", "1", "2"]]}
    about = {"subject": str(key), "partitionkey": stream_of(DECLARE, key)}
    said = event(ev.APPLY_INTENDED, data=data, **about)
    assert subject(said) == ("", "digits-edge-1")
    assert words(said) == "changes spec.targetVersion 1 → 2: pinned"
    assert words(event(ev.APPLY_INTENDED, data=data | {"action": "create"}, **about)) == "creates it: pinned"


def test_drift_names_the_writer_and_at_most_three_fields() -> None:
    said = words(event(ev.DRIFT_DETECTED))
    assert said.startswith("changed by kubectl-edit, to be taken back: spec.f0 by kubectl-edit, spec.f1")
    assert said.endswith("and 2 more")
