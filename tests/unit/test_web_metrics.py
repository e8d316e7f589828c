"""/metrics in the text format, with few label values and no names of objects."""

from contextlib import closing
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parsed

from reconciler.edge.paths import StateDirectory
from reconciler.engine.recorder import Recorder, StageRecorder
from reconciler.errors import ApiUnavailable
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import State
from reconciler.web.counters import Tally
from reconciler.web.live import LiveLog
from reconciler.web.metrics import Metrics
from reconciler.wiring.vitals import Vitals
from tests.log_events import StillClock
from tests.unit.cli_world import SHA, World


def samples(world: World, vitals: Vitals | None = None) -> dict[str, dict[tuple[str, ...], float]]:
    """Name -> label values, by the names of the labels -> value."""
    live = LiveLog(world.place.root)
    try:
        text = Metrics(live.past, Tally(), vitals or Vitals()).text().decode()
    finally:
        live.close()
    return parsed_samples(text)


def parsed_samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parsed(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_the_fold_of_the_log_is_told(story: World) -> None:
    found = samples(story)
    assert found["reconciler_reconcile_condition"] == {
        ("Dataset", "True", "Ready"): 1,
        ("Dataset", "Unknown", "Ready"): 1,
        ("InferenceModel", "False", "Ready"): 1,
        ("InferenceModel", "Unknown", "Ready"): 1,
        ("InferenceModel", "True", "Reconciling"): 1,
        ("InferenceModel", "True", "Stalled"): 1,
    }
    assert found["reconciler_suspend_status"] == {("*",): 0}
    assert found["reconciler_manifest_problems"] == {(): 1}
    assert found["reconciler_branch_lost"] == {(): 0}
    assert found["reconciler_log_entries"][()] > 30
    assert found["reconciler_log_size_bytes"][()] > 10_000
    assert set(found["reconciler_log_lag_seconds"]) == {("berlin-07",), ("berlin-08",)}
    assert found["reconciler_last_sync_timestamp_seconds"][()] > 1_796_047_200
    assert found["reconciler_process_resident_memory_bytes"][()] > 1 << 20


def test_what_no_log_tells_comes_from_the_process(story: World) -> None:
    vitals = Vitals(lease=lambda: True, cached=lambda: {"Model": 7})
    for status in (200, 200, 0):
        vitals.called("apply", "InferenceModel", status)
    vitals.asked_git("failed")
    found = samples(story, vitals)
    assert found["reconciler_api_calls_total"] == {
        ("InferenceModel", "200", "apply"): 2,
        ("InferenceModel", "0", "apply"): 1,
    }
    assert found["reconciler_git_request_total"] == {("failed",): 1}
    assert (found["reconciler_lease_held"], found["reconciler_watch_cache_objects"]) == ({(): 1}, {("Model",): 7})
    assert "reconciler_lease_held" not in samples(story)


def test_no_label_is_an_object_a_commit_or_a_url(story: World) -> None:
    live = LiveLog(story.place.root)
    try:
        text = Metrics(live.past, Tally(), Vitals()).text().decode()
    finally:
        live.close()
    for secret in ("defect", "example.com", *SHA.values(), story.repository.git("rev-parse", "HEAD")[:7]):
        assert secret not in text


def test_a_cluster_that_cannot_be_read_hides_nothing_else(story: World) -> None:
    def lost() -> dict[str, int]:
        raise ApiUnavailable("nothing was heard of Model")

    found = samples(story, Vitals(cached=lost))
    assert "reconciler_watch_cache_objects" not in found
    assert found["reconciler_log_entries"][()] > 30


def model(name: str) -> Key:
    return Key("InferenceModel", "default", name, "")


def ordered(record: StageRecorder, name: str) -> Event:
    data = {"spec": {"spec": {"targetVersion": "1"}}, "action": "create", "reason": "declared"}
    return record.event(ev.APPLY_INTENDED, model(name), data, operationid=f"o-{name}")


def answered(record: StageRecorder, intent: Event, type_: str = ev.APPLY_SUCCEEDED, **data: Any) -> Event:
    about = Key.parse(intent.subject)
    return record.event(type_, about, data, causationid=intent.id, operationid=intent.operationid)


def test_of_a_cluster_only_what_is_settled_is_ready(tmp_path: Path) -> None:
    place, clock = StateDirectory(tmp_path), StillClock()
    place.hub.log.parent.mkdir(parents=True)
    with closing(SqliteLog(place.hub.log, "/hub", clock)) as log:
        record = Recorder(log, clock, State(), "hub").stage(DECLARE)
        record.append([record.event(ev.LEASE_ACQUIRED, "hub", {"holder": "hub_0-0_17_ab12", "transitions": 3})])
        intents = {name: ordered(record, name) for name in ("fine", "open", "refused", "drifted", "waiting")}
        record.append(list(intents.values()))
        record.append([answered(record, intents[name], live={"uid": "u"}) for name in ("fine", "drifted", "waiting")])
        refused = {"error": "no", "code": "RX411"}
        record.append([answered(record, intents["refused"], ev.APPLY_FAILED, **refused)])
        drift = {"what": "changed", "writer": "kubectl", "policy": "report", "fields": [], "time": "t"}
        record.append([record.event(ev.DRIFT_DETECTED, model("drifted"), drift)])
        waits = {"suspended by ada: is moved": [str(model("waiting")), str(model("never"))]}
        record.append([record.event(ev.STEPS_WAITING, "waits/declare", {"waits": waits})])
    live = LiveLog(place.root)
    try:
        found = parsed_samples(Metrics(live.past, Tally(), Vitals()).text().decode())
    finally:
        live.close()
    assert found["reconciler_reconcile_condition"] == {
        ("InferenceModel", "True", "Applied"): 1,
        ("InferenceModel", "False", "Applied"): 4,
        ("InferenceModel", "Unknown", "Applied"): 1,
        ("InferenceModel", "True", "Reconciling"): 3,
        ("InferenceModel", "True", "Stalled"): 1,
    }
    assert found["reconciler_steps_waiting"] == {("InferenceModel",): 2}
    assert found["reconciler_drift_open"] == {("InferenceModel",): 1}
    assert found["reconciler_lease_holder"] == {("hub_0-0",): 1}


def test_where_no_cluster_is_kept_nothing_of_one_is_told(story: World) -> None:
    assert not {"reconciler_steps_waiting", "reconciler_drift_open", "reconciler_lease_holder"} & {*samples(story)}
