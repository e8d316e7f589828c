"""/metrics: what Prometheus is told. Imports prometheus_client; tally, wiring.past, wiring.vitals, history.

In: counts of the running process, the fold of the log and its files, asked when somebody asks.  Out: the text format of
Prometheus. Names follow those of the GitOps Toolkit (fluxcd.io/flux/monitoring/metrics) with our prefix. A label is a
kind, a verb, a word of ours, an edge or a hub's machine; an object, a commit, a URL or a person never is.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import reconciler
from reconciler.errors import ReconcilerError
from reconciler.eventlog.segments import sealed_files
from reconciler.history.events import rfc3339
from reconciler.history.keys import DECLARE
from reconciler.history.state import FAILED, State, ordering
from reconciler.history.status import ObjectRow, Row, Status, status, suspensions
from reconciler.web.counters import BOUNDS_S, Counts, Durations, Tally
from reconciler.wiring.vitals import Vitals

if TYPE_CHECKING:
    from reconciler.wiring.past import Past

PREFIX: Final = "reconciler_"
DAY_S: Final = 86_400.0


class Metrics:
    """Everything at one time, as text. One thread at a time."""

    def __init__(self, past: "Past", tally: Tally, vitals: Vitals) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(past, tally, vitals))
        ProcessCollector(namespace=PREFIX.rstrip("_"), registry=self._registry)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)


class _Families(Collector):
    def __init__(self, past: "Past", tally: Tally, vitals: Vitals) -> None:
        self._past, self._tally, self._vitals = past, tally, vitals

    def describe(self) -> Iterable[Metric]:
        return ()  # names do not clash: there is one collector

    def collect(self) -> Iterator[Metric]:
        now, state = time.time(), self._past.replay.at()
        counts = self._tally.counts()
        yield InfoMetricFamily(PREFIX + "build", "The release.", {"version": reconciler.__version__})
        yield from _folded(counts)
        yield from _fleet(state, counts, now)
        yield from _vital(self._vitals)
        yield from _log(self._past, state, now)


def _folded(counts: Counts) -> Iterator[Metric]:
    taken = HistogramMetricFamily(
        PREFIX + "reconcile_duration_seconds",
        "From a commit to its plan; from an intent to its outcome in the cluster (declare) or on an edge (deliver).",
        labels=["stage"],
    )
    for stage, each in counts.durations.items():
        taken.add_metric([stage], buckets=_buckets(each), sum_value=each.sum_s)
    yield taken
    applied = CounterMetricFamily(
        PREFIX + "apply_operations", "Outcomes of what was ordered.", labels=["kind", "action", "outcome"]
    )
    for operation, many in sorted(counts.operations.items()):
        applied.add_metric(list(operation), many)
    yield applied
    drift = CounterMetricFamily(
        PREFIX + "drift_detected", "Live differences that nobody declared.", labels=["kind", "policy"]
    )
    for labels, many in sorted(counts.drift.items()):
        drift.add_metric(list(labels), many)
    yield drift
    yield _counter("resource_conflicts", "Fields that another manager would not give.", counts.conflicts)
    yield _counter("resource_fights", "Fields that were taken back too often in a minute.", counts.fights)


def _fleet(state: State, counts: Counts, now: float) -> Iterator[Metric]:
    conditions = GaugeMetricFamily(
        PREFIX + "reconcile_condition",
        "Objects by condition: Applied in a cluster, Ready on an edge.",
        labels=["kind", "type", "status"],
    )
    text = rfc3339(now)
    seen, is_cluster = status(state, text), DECLARE in ordering(state)
    rows: Sequence[Row | ObjectRow] = seen.objects if is_cluster else seen.rows
    for labels, many in sorted(_conditions(rows, "Applied" if is_cluster else "Ready").items()):
        conditions.add_metric(list(labels), many)
    yield conditions
    standings = GaugeMetricFamily(
        PREFIX + "standing", "How many are as Git says, wait, or are failing.", labels=["word"]
    )
    for word, many in seen.tally.items():
        standings.add_metric([word], many)
    yield standings
    if is_cluster:
        yield from _unsettled(seen)
    suspended = GaugeMetricFamily(
        PREFIX + "suspend_status", "Whether nothing more is ordered: for everything (*), or an edge.", labels=["scope"]
    )
    standing = {one.scope for one in suspensions(state, text)}
    for scope in sorted({"*", *standing}):
        suspended.add_metric([scope], scope in standing)
    yield suspended
    yield _gauge(
        "plan_held", "Whether a plan waits for a person.", any(stage.held_plan for stage in state.stages.values())
    )
    yield _gauge("branch_lost", "Whether the branch that is followed cannot be read.", bool(state.ref.lost))
    problems = len(state.all_problems)
    yield _gauge("manifest_problems", "Problems in the files of the last commit that was read.", problems)
    lag = GaugeMetricFamily(
        PREFIX + "log_lag_seconds",
        "From an edge's newest event to its copy here; while an edge is not heard, since then.",
        labels=["edge"],
    )
    for edge, heard in sorted(state.edges.items()):
        silent = 0.0 if heard.present or not heard.since else max(0.0, now - _seconds(heard.since))
        lag.add_metric([edge], max(silent, counts.lags.get(edge, 0.0)))
    yield lag


def _unsettled(seen: Status) -> Iterator[Metric]:
    """Of what this log keeps in a cluster: by kind, 0 too; and which machine's reconciler writes there."""
    steps = GaugeMetricFamily(PREFIX + "steps_waiting", "Objects of which a planned change waits.", labels=["kind"])
    drift = GaugeMetricFamily(PREFIX + "drift_open", "Objects of which a drift stands.", labels=["kind"])
    for each in seen.counted:
        steps.add_metric([each.kind], each.pending)
        drift.add_metric([each.kind], each.drifted)
    yield steps
    yield drift
    holder = GaugeMetricFamily(PREFIX + "lease_holder", "Whose reconciler holds the Lease, by host.", labels=["host"])
    if seen.lease_holder:
        host = seen.lease_holder.rsplit("_", 2)[0]  # without its process: a label that a restart leaves as it is
        holder.add_metric([host], 1)
    yield holder


def _vital(vitals: Vitals) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        PREFIX + "api_calls", "Requests to the API server; status 0: no answer.", labels=["verb", "kind", "status"]
    )
    for labels, many in sorted(vitals.calls().items()):
        calls.add_metric(list(labels), many)
    yield calls
    git = CounterMetricFamily(PREFIX + "git_request", "Looks at the Git remote.", labels=["outcome"])
    for outcome, many in sorted(vitals.git().items()):
        git.add_metric([outcome], many)
    yield git
    lease = vitals.lease()
    if lease is not None:
        yield _gauge("lease_held", "Whether this process alone may write to the cluster.", lease)
    cached = GaugeMetricFamily(PREFIX + "watch_cache_objects", "Objects in the watch cache.", labels=["kind"])
    for kind, many in sorted(_cached(vitals).items()):
        cached.add_metric([kind], many)
    yield cached


def _cached(vitals: Vitals) -> Mapping[str, int]:
    """Nothing while the cluster cannot be read: everything else is wanted most then."""
    try:
        return vitals.cached()
    except ReconcilerError:
        return {}


def _log(past: "Past", state: State, now: float) -> Iterator[Metric]:
    bytes_ = _size(past.home.log)
    yield _gauge("log_size_bytes", "Bytes of the log on disk, sealed files too.", bytes_)
    yield _gauge("log_entries", "Entries of the log.", state.seq)
    lately = state.seq - past.log.seq_at(rfc3339(now - DAY_S))
    if lately > 0 and state.seq:
        free = shutil.disk_usage(past.home.log.parent).free
        yield _gauge(
            "log_disk_days_left",
            "Days until the disk is full, as the last day went.",
            free / (bytes_ / state.seq * lately),
        )
    read = past.log.find(state.ref.event) if state.ref.event else None
    if read is not None:
        at = _seconds(read.event.recordedtime or read.event.time)
        yield _gauge("last_sync_timestamp_seconds", "When the newest commit was read.", at)


def _conditions(rows: Iterable[Row | ObjectRow], type_: str) -> Counter[tuple[str, str, str]]:
    """(kind, type, status) -> rows: Applied or Ready is one of three; Reconciling and Stalled only where True.

    Unknown while an answer is out, or the edge is not heard; False while anything else stands against it.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    for one in rows:
        is_out = one.open if isinstance(one, ObjectRow) else bool(one.unknown_since)
        found[one.kind, type_, "Unknown" if is_out else "True" if one.settled else "False"] += 1
        if one.open or (isinstance(one, ObjectRow) and one.pending):
            found[one.kind, "Reconciling", "True"] += 1
        if one.phase in FAILED:
            found[one.kind, "Stalled", "True"] += 1
    return found


def _buckets(each: Durations) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, many in zip((*BOUNDS_S, float("inf")), each.buckets, strict=True):
        total += many
        found.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return found


def _size(log: Path) -> int:
    live = log.resolve()
    files = [live, live.with_name(live.name + "-wal"), *(file.path for file in sealed_files(log))]
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:  # sealed, or checkpointed away, just now
            continue
    return total


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, what, value=float(value))


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, what, value=float(value))


def _seconds(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()
