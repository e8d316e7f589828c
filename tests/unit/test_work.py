"""What an edge does for a key, over real slots, with a store and runtimes that a test can bend."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.edge.activation import CRASH_WINDOW_S, CRASHES
from reconciler.edge.job import Tools
from reconciler.edge.runtimes import runtime_spec
from reconciler.edge.slots import Slots
from reconciler.edge.work import EdgeWork
from reconciler.engine.queue import Cause, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.errors import (
    ArtifactUnavailable,
    DigestMismatch,
    PortTaken,
    PreflightRefused,
    ProbeFailed,
    ReconcilerError,
    RuntimeUnavailable,
    StorageExhausted,
)
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.ports import Answer, Artifact, Cancelled, Staged
from reconciler.serving.process import End
from reconciler.wiring.process import Pool
from tests.fleets import sha
from tests.log_events import StillClock

KEY = Key("InferenceModel", "default", "digits-e1", "e1")
DATA = Key("Dataset", "default", "faces", "e1")
URL = "https://models.example.com/digits-"


def spec(version: str, **more: Any) -> dict[str, Any]:
    facts = {"version": version, "url": URL + version, "sha256": sha(URL + version), "framework": "onnx"}
    return facts | {"model": "digits", "address": "127.0.0.1", "port": 8080, "serving": True} | more


class ToyStore:
    """`ports.ArtifactStore` whose archives are named by their URL."""

    def __init__(self) -> None:
        self.there: dict[str, Staged] = {}
        self.fetched: list[str] = []
        self.failures: list[Exception] = []
        self.rotten: set[str] = set()
        self.gate: threading.Event | None = None

    def stage(
        self, artifact: Artifact, progress: Callable[[str, int, int | None], None], cancelled: Callable[[], bool]
    ) -> Staged:
        digest = artifact.sha256 or sha(artifact.url)
        if self.failures:
            raise self.failures.pop(0)
        if self.gate is not None:
            progress("downloading", 1, 2)
            while not self.gate.wait(0.01):
                if cancelled():
                    raise Cancelled
        if digest not in self.there:
            progress("downloading", 0, 2)
            progress("unpacking", 2, 2)
            self.fetched.append(artifact.url)
            self.there[digest] = Staged(digest, Path("/store") / digest, "", 2, 2, {"model.onnx": f"file of {digest}"})
        return self.there[digest]._replace(fetched=0)

    def staged(self, sha256: str) -> Staged | None:
        return self.there.get(sha256)

    def check(self, sha256: str) -> bool:
        return sha256 not in self.rotten

    def held(self) -> dict[str, int]:
        return dict.fromkeys(self.there, 2)

    def evict(self, sha256: str) -> None:
        self.rotten.discard(sha256)
        self.there.pop(sha256, None)


class ToyRuntime:
    """`ports.Runtime` that serves what it is given, unless told otherwise."""

    def __init__(self, terms: Any, pid: int, world: "ToyRuntimes") -> None:
        self.spec, self.pid, self._world = terms, pid, world
        self.serving, self.standby, self.before = ("", ""), ("", ""), ("", "")
        self.ended, self.end = False, End()
        self.loads: list[str] = []

    def answer(self) -> Answer:
        if self.ended:
            raise RuntimeUnavailable("it ended")
        version, digest = self.serving
        return Answer(self.spec.model, version, digest, bool(version), self._world.unproven)

    def load(self, path: Path, version: str) -> Answer:
        self.loads.append(version)
        self._world.fail("load", version)
        self.standby = version, f"file of {path.name}"
        return Answer(self.spec.model, *self.standby, ready=True)

    def activate(self) -> Answer:
        self._world.fail("activate", self.standby[0])
        self.before, self.serving = self.serving, self.standby
        return self.answer()

    def revert(self) -> Answer:
        if self.before != ("", ""):  # else there is nothing to undo
            self.serving, self.before = self.before, ("", "")
        return self.answer()

    def settle(self) -> None:
        self.before = ("", "")

    def exited(self, wait_s: float = 0.0) -> bool:  # it ends at once
        return self.ended

    def stop(self) -> None:
        self.ended = True


class ToyRuntimes:
    """The runtime processes of an edge, in memory."""

    def __init__(self) -> None:
        self.running: dict[Key, ToyRuntime] = {}
        self.started: list[ToyRuntime] = []
        self.failures: dict[tuple[str, str], ReconcilerError] = {}
        self.unproven = ""
        self.ends: dict[tuple[str, str], End] = {}
        self.taken: dict[int, bool] = {}  # port -> whether who has it goes when it is waited for

    def fail(self, step: str, version: str) -> None:
        if (step, version) in self.failures:
            if (step, version) in self.ends:
                self.started[-1].ended, self.started[-1].end = True, self.ends[step, version]
            raise self.failures[step, version]

    def of(self, key: Key) -> ToyRuntime | None:
        return self.running.get(key)

    def answer(self, key: Key) -> Answer | None:
        runtime = self.running.get(key)
        return None if runtime is None or runtime.ended else runtime.answer()

    def start(self, terms: Any, patience_s: float = 0.0) -> ToyRuntime:
        self.fail("start", "")
        if terms.port in self.taken and not (patience_s and self.taken[terms.port]):
            raise PortTaken(f"port {terms.port} is taken")
        living = next((one for one in self.started if one.spec == terms and not one.ended), None)
        if living is None:
            living = ToyRuntime(terms, len(self.started) + 1, self)
            self.started.append(living)
        return living

    def register(self, key: Key, runtime: ToyRuntime) -> ToyRuntime | None:
        old = self.running.get(key)
        self.running[key] = runtime
        return None if old is runtime else old

    def drop(self, key: Key) -> None:
        runtime = self.running.pop(key, None)
        if runtime is not None:
            runtime.stop()


class Bench:
    """An EdgeWork with its surroundings."""

    def __init__(self, root: Path, cap_bytes: int = 1 << 30) -> None:
        self.store, self.runtimes, self.root = ToyStore(), ToyRuntimes(), root
        self.posted: queue.Queue[tuple[Trigger, float]] = queue.Queue()
        self.needed: set[str] = set()
        clock = self.clock = StillClock()
        record = Recorder(MemoryLog("/edge/e1", clock), clock, State(), "edge/e1").stage(DELIVER)
        tools = Tools(
            edge="e1",
            store=self.store,
            slots=self.slots,
            runtimes=self.runtimes,  # type: ignore[arg-type]  # the same words, without processes
            event=record.event,
            post=lambda trigger, delay_s: self.posted.put((trigger, delay_s)),
            monotonic=clock.monotonic,
            sample=lambda: 0.5,
            cap_bytes=cap_bytes,
        )
        self.pool = Pool("work", 4)
        self.work = EdgeWork(tools, lambda: self.needed, self.pool)

    def slots(self, key: Key) -> Slots:
        return Slots(self.root / "services", self.root / "store", key)

    def do(
        self, key: Key, wanted: dict[str, Any] | None, operation: str = "op", **policy: bool
    ) -> tuple[Event, list[str]]:
        """The outcome of bringing `key` to `wanted`, and the stored names of what was said on the way."""
        self.work.begin(key, wanted, policy, operation)
        return self.outcome(key)

    def outcome(self, key: Key) -> tuple[Event, list[str]]:
        said: list[str] = []
        while True:
            trigger, _ = self.posted.get(timeout=30)
            if trigger.cause == "done":
                self.work.finish(key)
                return trigger.events[0], said
            said += [event.type for event in trigger.events]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.work.close()
    found.pool.close()


def test_a_version_is_fetched_staged_served_and_reported_by_the_runtime_itself(bench: Bench) -> None:
    outcome, said = bench.do(KEY, spec("1"))
    assert said == [ev.DOWNLOAD_STARTED, ev.ARTIFACT_VERIFIED, ev.ARTIFACT_STAGED, ev.MODEL_ACTIVATED]
    assert (outcome.type, outcome.operationid) == (ev.APPLY_SUCCEEDED, "op")
    live = outcome.data["live"]
    assert (live["version"], live["sha256"]) == ("1", spec("1")["sha256"])
    assert live["url"] == "http://127.0.0.1:8080/v2/models/digits"
    assert bench.work.observe(KEY) == spec("1")


def test_a_flip_loads_into_the_running_process_and_keeps_the_version_before(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.do(KEY, spec("2"))
    assert [runtime.loads for runtime in bench.runtimes.started] == [["1", "2"]]
    assert bench.slots(KEY).previous() == spec("1")


def test_the_same_bytes_from_another_place_are_neither_fetched_nor_loaded_again(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    moved = spec("1", url="https://mirror.example.com/digits-1", size=2)
    outcome, said = bench.do(KEY, moved)
    assert (outcome.type, said) == (ev.APPLY_SUCCEEDED, [ev.ARTIFACT_STAGED])
    assert (bench.store.fetched, bench.runtimes.started[0].loads) == ([URL + "1"], ["1"])
    assert bench.work.observe(KEY) == moved


def test_another_port_starts_another_process_and_ends_the_first(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.do(KEY, spec("1", port=9000))
    assert [runtime.ended for runtime in bench.runtimes.started] == [True, False]
    assert bench.work.observe(KEY) == spec("1", port=9000)


def test_one_that_is_to_yield_leaves_its_port_to_who_has_the_one_that_it_wants(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.runtimes.taken = {9000: True}
    outcome, _ = bench.do(KEY, spec("1", port=9000))
    assert (outcome.data["code"], bench.work.observe(KEY)) == ("RX406", spec("1"))
    outcome, _ = bench.do(KEY, spec("1", port=9000), "again", yields=True)
    assert (outcome.type, bench.work.observe(KEY)) == (ev.APPLY_SUCCEEDED, spec("1", port=9000))
    assert [runtime.ended for runtime in bench.runtimes.started] == [True, False]


def test_one_that_yields_to_who_does_not_go_serves_where_it_was(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.runtimes.taken = {9000: False}
    outcome, _ = bench.do(KEY, spec("1", port=9000), "again", yields=True)
    assert (outcome.data["code"], outcome.data["live"]["version"]) == ("RX406", "1")
    assert bench.work.observe(KEY) == spec("1")


def test_no_replicas_keep_the_bytes_and_serve_nothing(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    outcome, _ = bench.do(KEY, spec("1", serving=False))
    assert (outcome.data["live"], bench.runtimes.running) == ({}, {})
    assert bench.work.observe(KEY) == spec("1", serving=False)
    assert bench.store.held() != {}


def test_a_removal_ends_the_runtime_and_forgets_the_slot(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    outcome, _ = bench.do(KEY, None)
    assert (outcome.type, bench.work.observe(KEY), bench.runtimes.started[0].ended) == (ev.APPLY_SUCCEEDED, None, True)


@pytest.mark.parametrize("step", ["load", "activate"])
def test_fault_89_a_version_that_fails_its_probe_leaves_the_one_before_serving(bench: Bench, step: str) -> None:
    bench.do(KEY, spec("1"))
    bench.runtimes.failures[step, "2"] = ProbeFailed("2 misreads what it should know")
    outcome, _ = bench.do(KEY, spec("2"))
    assert (outcome.type, outcome.data["code"]) == (ev.APPLY_FAILED, "RX404")
    assert outcome.data["phase"] == {"load": "Rejected", "activate": "RolledBack"}[step]
    assert outcome.data["quarantine"] == spec("2")["sha256"]
    assert outcome.data["live"]["version"] == "1"
    assert bench.work.observe(KEY) == spec("1")
    assert bench.slots(KEY).previous() is None or step == "load"  # no way back leads to what failed


def test_a_first_version_that_fails_leaves_nothing_standing_and_no_process(bench: Bench) -> None:
    bench.runtimes.failures["activate", "1"] = ProbeFailed("it answers nothing")
    outcome, _ = bench.do(KEY, spec("1"))
    assert (outcome.data["phase"], bench.work.observe(KEY)) == ("RolledBack", None)
    assert [runtime.ended for runtime in bench.runtimes.started] == [True]


def test_a_flip_that_a_crash_left_half_done_goes_back_when_its_version_fails(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.store.stage(Artifact(spec("2")["sha256"], URL + "2"), lambda *_: None, lambda: False)
    bench.slots(KEY).flip(spec("2"))  # and here the power went: the runtime is gone
    bench.runtimes.drop(KEY)
    bench.runtimes.failures["load", "2"] = ProbeFailed("2 misreads what it should know")
    outcome, _ = bench.do(KEY, spec("2"))
    assert (outcome.data["phase"], outcome.data["live"]["version"]) == ("RolledBack", "1")
    assert bench.work.observe(KEY) == spec("1")


def test_a_full_disk_at_the_flip_is_no_fault_of_the_version(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.do(KEY, spec("1"))

    def flip(*_: object) -> None:
        raise StorageExhausted("no room")

    monkeypatch.setattr(Slots, "flip", flip)
    outcome, _ = bench.do(KEY, spec("2", port=9000))
    assert (outcome.type, outcome.data["code"], "quarantine" in outcome.data) == (ev.APPLY_ABANDONED, "RX304", False)
    assert [runtime.ended for runtime in bench.runtimes.started] == [False, True]  # no process is left behind


def test_a_transient_failure_leaves_the_order_open_and_the_loop_says_when_it_is_tried_again(bench: Bench) -> None:
    bench.store.failures = [ArtifactUnavailable("cut")]
    outcome, _ = bench.do(KEY, spec("1"))
    assert (outcome.type, outcome.data["code"]) == (ev.APPLY_ABANDONED, "RX302")
    assert bench.posted.empty()


@pytest.mark.parametrize("failure", [DigestMismatch("other bytes"), PortTaken("8080 is somebody else's")])
def test_a_refusal_that_is_not_the_content_s_fault_places_no_quarantine(bench: Bench, failure: ReconcilerError) -> None:
    if isinstance(failure, PortTaken):
        bench.runtimes.failures["start", ""] = failure
    else:
        bench.store.failures = [failure]
    outcome, _ = bench.do(KEY, spec("1"))
    assert (outcome.type, outcome.data["code"]) == (ev.APPLY_FAILED, failure.code)
    assert "quarantine" not in outcome.data
    assert bench.posted.empty()


def test_bytes_that_rotted_are_fetched_again(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.runtimes.drop(KEY)
    bench.store.rotten.add(spec("1")["sha256"])
    outcome, _ = bench.do(KEY, spec("1"))
    assert outcome.data["code"] == "RX304"
    outcome, _ = bench.do(KEY, spec("1"))
    assert (outcome.type, bench.store.fetched) == (ev.APPLY_SUCCEEDED, [URL + "1", URL + "1"])


def test_a_runtime_that_hangs_is_replaced(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.runtimes.running[KEY].ended = True
    bench.runtimes.failures["load", "1"] = RuntimeUnavailable("no answer")
    assert bench.do(KEY, spec("1"))[0].type == ev.APPLY_ABANDONED
    assert KEY not in bench.runtimes.running
    bench.runtimes.failures.clear()
    assert bench.do(KEY, spec("1"))[0].type == ev.APPLY_SUCCEEDED
    assert len(bench.runtimes.started) == 2


FAULT, KILLED = End("ended with code 1", at_fault=True), End("was ended by signal 9")


def crash(bench: Bench, end: End = FAULT) -> float:
    """The runtime ends; how many seconds later it is to be started again."""
    bench.runtimes.running.pop(KEY).ended = True
    bench.work.ended(KEY, 7, end)
    trigger, _ = bench.posted.get(timeout=30)
    while trigger.cause != "happened" or trigger.events[0].type != ev.MODEL_DEGRADED:
        trigger, _ = bench.posted.get(timeout=30)
    if trigger.subject:  # at once
        return 0.0
    again, delay_s = bench.posted.get(timeout=30)
    assert again == Trigger(Cause.KEYS, str(KEY))
    return delay_s


def test_a_version_that_crashes_again_and_again_is_left_for_the_one_before(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.do(KEY, spec("2"))
    for _ in range(CRASHES - 1):
        crash(bench)
        assert bench.do(KEY, spec("2"))[0].type == ev.APPLY_SUCCEEDED
    crash(bench)
    outcome, _ = bench.do(KEY, spec("2"))
    assert (outcome.data["phase"], outcome.data["quarantine"]) == ("RolledBack", spec("2")["sha256"])
    assert (bench.work.observe(KEY), bench.slots(KEY).previous()) == (spec("1"), None)


@pytest.mark.parametrize("end", [FAULT, KILLED, End()])
def test_the_only_version_is_started_again_for_ever_and_later_each_time(bench: Bench, end: End) -> None:
    bench.do(KEY, spec("1"))
    delays = []
    for _ in range(40):
        delays.append(crash(bench, end))
        outcome, _ = bench.do(KEY, spec("1"))
        assert (outcome.type, outcome.data["live"]["version"]) == (ev.APPLY_SUCCEEDED, "1")
    assert delays[:5] == [0.0, 0.0, 0.5, 1.0, 2.0]
    assert (delays == sorted(delays), delays[-1]) == (True, 150.0)  # half of the longest


@pytest.mark.parametrize("end", [KILLED, End("ended with code 0"), End()])
def test_a_signal_from_outside_takes_no_version_back(bench: Bench, end: End) -> None:
    bench.do(KEY, spec("1"))
    bench.do(KEY, spec("2"))
    for _ in range(3 * CRASHES):
        crash(bench, end)
        outcome, _ = bench.do(KEY, spec("2"))
        assert (outcome.type, outcome.data["live"]["version"]) == (ev.APPLY_SUCCEEDED, "2")
    assert bench.slots(KEY).previous() == spec("1")
    for _ in range(CRASHES):  # and then it fails by itself
        assert crash(bench) == 0 or bench.slots(KEY).previous() is not None
        outcome, _ = bench.do(KEY, spec("2"))
    assert (outcome.data["phase"], outcome.data["live"]["version"]) == ("RolledBack", "1")


def test_a_version_that_stood_long_enough_is_started_again_at_once(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    for _ in range(3 * CRASHES):
        bench.clock.seconds += CRASH_WINDOW_S
        assert crash(bench, KILLED) == 0
        bench.do(KEY, spec("1"))


@pytest.mark.parametrize(("end", "type_"), [(KILLED, ev.APPLY_ABANDONED), (FAULT, ev.APPLY_FAILED)])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", ["load", "activate"])
def test_who_is_killed_while_it_is_asked_is_asked_again(
    bench: Bench, end: End, type_: str, step: str, *, before: bool
) -> None:
    """One that ends by its own fault is not: the same bytes would end it again."""
    if before:
        bench.do(KEY, spec("1"))
    bench.runtimes.failures[step, "2"] = RuntimeUnavailable("it broke off")
    bench.runtimes.ends[step, "2"] = end
    outcome, _ = bench.do(KEY, spec("2", port=9000))
    assert (outcome.type, "quarantine" in outcome.data) == (type_, type_ == ev.APPLY_FAILED)
    bench.runtimes.failures.clear()
    outcome, _ = bench.do(KEY, spec("2", port=9000))
    assert (outcome.type, bench.work.observe(KEY)) == (ev.APPLY_SUCCEEDED, spec("2", port=9000))


def test_a_version_that_ends_the_runtime_that_serves_is_refused_and_what_stood_is_had_again(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    bench.runtimes.failures["load", "2"] = RuntimeUnavailable("it broke off")
    bench.runtimes.ends["load", "2"] = FAULT
    outcome, _ = bench.do(KEY, spec("2"))
    assert (outcome.type, outcome.data["phase"]) == (ev.APPLY_FAILED, "Rejected")
    assert outcome.data["error"] == f"loading version 2, the runtime {FAULT.how}"
    assert bench.do(KEY, spec("1"))[0].data["live"]["version"] == "1"


def test_the_way_out_of_this_very_refusal_is_said_with_it(bench: Bench) -> None:
    bench.runtimes.failures["load", "1"] = PreflightRefused("it has two models", hint="pack one")
    assert bench.do(KEY, spec("1"))[0].data["error"] == "it has two models; pack one"


def test_what_the_runtime_calls_unproven_is_told_with_what_is_live(bench: Bench) -> None:
    outcome, _ = bench.do(KEY, spec("1"))
    assert "unproven" not in outcome.data["live"]
    bench.runtimes.unproven = "no golden.json in the archive"
    outcome, _ = bench.do(KEY, spec("2"))
    assert (outcome.type, outcome.data["live"]["unproven"]) == (ev.APPLY_SUCCEEDED, "no golden.json in the archive")


def test_an_artifact_whose_weights_lie_beside_the_model_is_known_by_all_its_files(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    digest = spec("1")["sha256"]
    bench.store.there[digest] = bench.store.there[digest]._replace(tree="all of them")
    bench.runtimes.running[KEY].serving = "1", "all of them"
    assert bench.work.observe(KEY) == spec("1")
    bench.runtimes.running[KEY].serving = "1", ""
    assert bench.work.observe(KEY) != spec("1")


def test_the_only_version_that_cannot_be_loaded_again_just_now_is_kept_and_tried_again(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    crash(bench, KILLED)
    bench.runtimes.failures["load", "1"] = ProbeFailed("bad allocation")
    outcome, _ = bench.do(KEY, spec("1"))
    assert (outcome.type, outcome.data["error"]) == (ev.APPLY_ABANDONED, "bad allocation")
    bench.runtimes.failures.clear()
    assert bench.do(KEY, spec("1"))[0].data["live"]["version"] == "1"


def test_crashes_of_the_version_before_do_not_count(bench: Bench) -> None:
    bench.do(KEY, spec("1"))
    for _ in range(CRASHES - 1):
        crash(bench)
        bench.do(KEY, spec("1"))
    bench.do(KEY, spec("2"))
    crash(bench)
    assert bench.do(KEY, spec("2"))[0].type == ev.APPLY_SUCCEEDED


def test_a_job_in_hand_stops_at_its_next_step_and_says_so(bench: Bench) -> None:
    bench.store.gate = threading.Event()
    bench.work.begin(KEY, spec("1"), {}, "op")
    assert bench.posted.get(timeout=30)[0].events[0].type == ev.DOWNLOAD_STARTED
    assert (bench.work.under_way(KEY), bench.work.progress()[0]["total"]) == (spec("1"), 2)
    bench.work.cancel(KEY)
    outcome, _ = bench.outcome(KEY)
    assert (outcome.type, bench.work.under_way(KEY), bench.work.observe(KEY)) == (ev.APPLY_ABANDONED, None, None)


def test_a_bug_in_one_job_is_an_outcome_and_stops_nothing_else(bench: Bench) -> None:
    bench.store.failures = [ZeroDivisionError("oops")]
    outcome, _ = bench.do(KEY, spec("1"))
    assert (outcome.type, outcome.data["code"], outcome.data["error"]) == (
        ev.APPLY_FAILED,
        "RX000",
        "ZeroDivisionError: oops",
    )
    assert bench.do(KEY, spec("1"))[0].type == ev.APPLY_SUCCEEDED


def test_a_dataset_is_held_by_its_bytes_or_known_by_its_facts(bench: Bench) -> None:
    faces = {"version": "1", "url": URL + "faces", "sha256": "", "dataset": "faces", "format": "csv", "bytes": False}
    outcome, said = bench.do(DATA, faces)
    assert (outcome.type, said, bench.store.fetched) == (ev.APPLY_SUCCEEDED, [ev.DATASET_SYNCED], [])
    assert bench.work.observe(DATA) == faces
    bench.do(DATA, faces | {"bytes": True})
    assert bench.work.observe(DATA) == faces | {"bytes": True, "sha256": sha(URL + "faces")}
    bench.store.evict(sha(URL + "faces"))
    observed = bench.work.observe(DATA)
    assert observed is not None
    assert observed["version"] == ""


def test_what_nobody_needs_goes_when_the_store_holds_too_much(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cap_bytes=2)
    bench.do(KEY, spec("1"))
    bench.needed = {spec("2")["sha256"]}
    _, said = bench.do(KEY, spec("2"))
    assert said.count(ev.ARTIFACT_EVICTED) == 1
    assert list(bench.store.held()) == [spec("2")["sha256"]]
    bench.work.close()


def test_fault_110_a_full_disk_makes_room_from_what_nobody_needs_and_from_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for version in ("1", "2", "3"):
        bench.do(KEY, spec(version))
    bench.needed = {spec("2")["sha256"], spec("3")["sha256"]}  # what stands, and what stood before
    bench.store.failures = [StorageExhausted("no room")]
    outcome, said = bench.do(KEY, spec("4"))
    assert (outcome.type, said.count(ev.ARTIFACT_EVICTED)) == (ev.APPLY_SUCCEEDED, 1)
    assert list(bench.store.held()) == [spec(version)["sha256"] for version in ("2", "3", "4")]
    bench.work.close()


def test_runtimes_of_two_endpoints_have_two_directories(tmp_path: Path) -> None:
    one, same, other = (runtime_spec(tmp_path, of) for of in (spec("1"), spec("2"), spec("1", port=9000)))
    assert (one == same, one.directory == other.directory) == (True, False)
