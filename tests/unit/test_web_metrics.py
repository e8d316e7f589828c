"""/metrics in the text format, with few label values and no names of objects."""

from prometheus_client.parser import text_string_to_metric_families as parsed

from reconciler.errors import ApiUnavailable
from reconciler.web.live import LiveLog
from reconciler.web.metrics import Metrics
from reconciler.web.tally import Tally
from reconciler.wiring.vitals import Vitals
from tests.unit.cli_world import SHA, World


def samples(world: World, vitals: Vitals | None = None) -> dict[str, dict[tuple[str, ...], float]]:
    """Name -> label values, by the names of the labels -> value."""
    live = LiveLog(world.place.root)
    try:
        text = Metrics(live.past, Tally(), vitals or Vitals()).text().decode()
    finally:
        live.close()
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
