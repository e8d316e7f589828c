"""Reconciling a cluster: a hub as a process, on a real etcd and kube-apiserver. The rows of reconciling's targets.

10,000 InferenceModels stand in 1,000 files of a bare repository, which the hub follows by its path: a push is noticed
by its watcher, never by polling. etcd runs without fsync, for the hub and for the limits alike; the hub's log has it.

A cold apply runs from when the first intent was recorded, which is before the first PATCH, to when the last outcome
was; so does the change of 1,000 edges. Live is when a watch of another client hears of it. The branch moved when its
file in the remote did: the time in which the hub's watcher lets a push settle is in. CPU is that of the process and its
children. Calls are the API server's own count of requests for our kinds and for Events; Leases, and watches that stay
open, are none of a pass. The limits send the same bodies in the same run to the same API server (bare_applies). The
speed of a machine drifts by more in minutes than what is compared, so a cold apply and its limit take turns, and their
means are compared.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.kube.client.resources import OURS
from tests.bench import Figure
from tests.bench.bare_applies import delete, seconds
from tests.bench.cluster_world import (
    LABELS,
    MODELS,
    SET,
    Hub,
    Watched,
    World,
    apply,
    at,
    model,
    of_type,
    sent,
    until,
)
from tests.control_plane.client import Calls
from tests.control_plane.our_objects import OurObjects
from tests.control_plane.plane import ControlPlane
from tests.control_plane.start import start

LIMIT: Final = "limit"
OTHER: Final = "somebody-else"
WRITES: Final = frozenset({"APPLY", "PATCH", "POST", "PUT", "DELETE", "DELETECOLLECTION"})
READS: Final = frozenset({"GET", "LIST"})
SETTLE_S: Final = 1.0


@dataclass(frozen=True)
class Size:
    """How much of each. turns: of a cold apply and its limit.  smaller: fleets whose memory is looked at beside."""

    models: int
    edges: int
    rounds: int
    turns: int = 1
    smaller: tuple[int, ...] = ()


FULL: Final = Size(models=10_000, edges=1_000, rounds=50, turns=3, smaller=(2_500, 5_000))
SMALL: Final = Size(models=60, edges=20, rounds=3)


def figures(small: bool) -> Iterator[Figure]:
    """Every row, on a control plane of its own."""
    with start() as plane, tempfile.TemporaryDirectory() as place:
        yield from rows(plane, Path(place), SMALL if small else FULL)


def rows(plane: ControlPlane, place: Path, size: Size) -> Iterator[Figure]:
    """Every row, on this control plane. It must hold none of our objects, and holds none afterwards."""
    ours = OurObjects(plane)
    ours.clean()
    for namespace in ("reconciler-system", "limit"):
        plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    memory = {models: _memory(plane, place / str(models), models, ours) for models in (*size.smaller, size.models)}
    world, cold, limits = World(place, size.models), list[_Deed](), list[float]()
    for turn in range(1, size.turns + 1):
        limits.append(_bare(plane, size))
        _empty(plane, ours)
        bench = _Bench(plane, size, world, Hub(place / f"hub-{turn}", place / "origin.git", plane.kubeconfig))
        with _ended(bench.hub):
            cold.append(bench.cold())
            if turn == size.turns:
                many = yield from bench.warm()
        _empty(plane, ours)
    yield from _against(cold, limits)
    updates = bench.bare_updates()
    for deed in many:
        yield from _against([deed], updates)
    yield from _resident(memory)
    _empty(plane, ours)


@contextlib.contextmanager
def _ended(hub: Hub) -> Iterator[None]:
    """Stopped in order, or killed where something failed."""
    try:
        yield
        hub.stop()
    except BaseException:
        hub.kill()
        raise


def _empty(plane: ControlPlane, ours: OurObjects) -> None:
    """None of our objects is left."""
    for kind in (MODELS, OURS["Edge"]):
        items = plane.get(kind.path())["items"]
        delete(plane, [kind.path(one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in items])
    ours.clean()


@dataclass
class _Deed:
    """Many objects changed by one push: how long it took, what was written, and what else is worth saying."""

    name: str
    seconds: float
    calls: Calls
    expected: int
    words: str


def _against(deeds: Sequence[_Deed], limits: Sequence[float]) -> Iterator[Figure]:
    """The same deed, once or more, and its limits."""
    deed, taken = deeds[-1], [one.seconds for one in deeds]
    beside = f", beside {_listed(taken)} s" if len(taken) > 1 else ""
    against = f"{LIMIT}: a bare loop of 16 connections, {_listed(limits)} s{beside}; {deed.words}"
    yield Figure(deed.name, _mean(taken), "s", "lower", against, _mean(limits), 1.25)
    writes = max(_writes(one.calls) for one in deeds)
    yield Figure(f"{deed.name}: writes", writes, "writes", "lower", _beside(deed.calls), deed.expected)


def _listed(seconds: Sequence[float]) -> str:
    return ", ".join(f"{one:.2f}" for one in seconds)


def _bare(plane: ControlPlane, size: Size) -> float:
    """Seconds in which a bare loop creates the same objects."""
    stamps = ("00000000-0000-5000-8000-000000000000", "1234", "0" * 40)
    models = [model(n) for n in range(size.models)]
    return seconds(
        plane,
        [apply(one["metadata"]["name"], "limit", {"labels": LABELS, "spec": one["spec"]}, stamps) for one in models],
    )


def _memory(plane: ControlPlane, place: Path, models: int, ours: OurObjects) -> tuple[float, float]:
    """Resident bytes of a hub that has applied so many, and of the next one."""
    World(place, models)
    hub = Hub(place / "hub", place / "origin.git", plane.kubeconfig)
    found = []
    with _ended(hub):
        hub.start()
        hub.applied(models)
        hub.turned()
        found.append(hub.resident())
        hub.stop()
        hub.start()
        hub.steady()
        found.append(hub.resident())
    _empty(plane, ours)
    return found[0], found[1]


def _resident(memory: dict[int, tuple[float, float]]) -> Iterator[Figure]:
    """After the cold apply and after a restart; and whether it grows as the fleet does."""
    sizes = sorted(memory)
    most = sizes[-1]
    for n, when in enumerate(("after the cold apply", "after a restart")):
        others = ", ".join(f"{size:,}: {memory[size][n] / 1e6:.0f} MB" for size in sizes[:-1])
        against = LIMIT + (f"; of {others}" if others else "")
        yield Figure(f"resident memory of {most:,} objects {when}", memory[most][n] / 1e6, "MB", "lower", against, 250)
        if len(sizes) == 3:
            steps = [(memory[b][n] - memory[a][n]) / (b - a) for a, b in pairwise(sizes)]
            yield Figure(
                f"bytes an object {when}, {sizes[1]:,} to {most:,} objects",
                steps[1],
                "B",
                "lower",
                f"{sizes[0]:,} to {sizes[1]:,} objects",
                steps[0],
                1.25,
            )


@dataclass
class _Bench:
    plane: ControlPlane
    size: Size
    world: World
    hub: Hub
    _updates: list[Entry] = field(default_factory=list)

    def cold(self) -> _Deed:
        """Everything for the first time."""
        models = self.size.models
        before = self._calls()
        self.hub.start()
        entries = self.hub.applied(models)
        self.hub.turned()
        calls = self._calls() - before
        intents = of_type(entries, ev.APPLY_INTENDED)
        declared = {one["metadata"]["name"]: one["spec"] for one in map(model, range(models))}
        ordered = {_name(entry): entry.event.data["spec"] for entry in intents}
        if ordered != {name: {"labels": LABELS, "spec": spec} for name, spec in declared.items()}:
            raise RuntimeError("the limit did not send what the hub sends")
        read = at(of_type(entries, ev.REF_ADVANCED)[0])
        first, last = at(intents[0]), _end(entries)
        words = f"clone and parse {read - self.hub.began:.1f} s, plan {first - read:.1f} s, before"
        return _Deed(f"cold apply of {models:,} InferenceModels", last - first, calls, models, words)

    def warm(self) -> Generator[Figure, None, list[_Deed]]:
        """Every row of a hub that has applied everything."""
        yield from self.one_line()
        yield from self.nothing()
        yield from self.drift()
        many = list(self.many())
        yield from self.restart()
        return many

    def one_line(self) -> Iterator[Figure]:
        """One line pushed, again and again."""
        moved, done, spent = [], [], []
        before = self._calls()
        with contextlib.closing(Watched(self.plane)) as watched:
            for n in self._spread():
                cpu = self.hub.cpu()
                times = self.world.turn(n, "2")
                live = watched.when(f"model-{n}", lambda one: bool(one["spec"]["targetVersion"] == "2"))
                moved.append(live - times.moved)
                done.append(live - times.done)
                self.hub.turned()
                spent.append(self.hub.cpu() - cpu)
        calls = self._calls() - before
        rounds = self.size.rounds
        told = f"{LIMIT}; after `git push` was over {median(done):.3f} s, CPU {1000 * _mean(spent):.0f} ms"
        yield Figure("one line pushed → live, p50", median(moved), "s", "lower", told, 0.3)
        yield Figure("one line pushed → live, p99", _p99(moved), "s", "lower", LIMIT, 1.0)
        yield Figure("one line pushed: writes of a pass", _writes(calls) / rounds, "writes", "lower", _beside(calls), 1)

    def nothing(self) -> Iterator[Figure]:
        """Passes that find nothing: the branch looked at, and everything looked at."""
        rounds = self.size.rounds
        self._quiet()
        before, head = self._calls(), self.hub.head()
        cpu, began = self.hub.cpu(), time.monotonic()
        for _ in range(rounds):
            self.hub.sync()
        taken, spent = time.monotonic() - began, self.hub.cpu() - cpu
        calls = self._calls() - before
        told = f"{LIMIT}; {taken / rounds:.3f} s a pass, {self.hub.head() - head} events written"
        yield Figure("a pass when nothing changed: CPU", 1000 * spent / rounds, "ms", "lower", told, 20)
        yield Figure("a pass when nothing changed: API calls", sum(calls.values()), "calls", "lower", LIMIT, 0)
        self._quiet()
        before, cpu = self._calls(), self.hub.cpu()
        audits = 3
        for _ in range(audits):
            self.hub.audit()
        spent, calls = self.hub.cpu() - cpu, self._calls() - before
        told = f"{LIMIT}; CPU {1000 * spent / audits:.0f} ms each: they stand in the watch cache"
        asked = sum(n for (_, what), n in calls.items() if what != "events")  # which tell of the verbs that ask for it
        yield Figure("every object looked at: API calls", asked, "calls", "lower", told, 0)

    def drift(self) -> Iterator[Figure]:
        """One field of one object changed by somebody else, again and again."""
        taken, spent = [], []
        rounds, head = self.size.rounds, self.hub.head()
        before = self._calls()
        with contextlib.closing(Watched(self.plane)) as watched:
            for n in self._spread():
                cpu, port = self.hub.cpu(), model(n)["spec"]["servingPort"]
                path = MODELS.path("default", f"model-{n}")
                status, document = self.plane.request(
                    "PATCH", path, {"spec": {"servingPort": 1}}, query={"fieldManager": OTHER}
                )
                drifted = time.time()
                if status != 200:
                    raise RuntimeError(f"{path}: {document}")
                generation = document["metadata"]["generation"]
                live = watched.when(f"model-{n}", _corrected(port, generation))
                taken.append(live - drifted)
                self.hub.turned()
                spent.append(self.hub.cpu() - cpu)
        calls = self._calls() - before
        told = of_type(self.hub.log(head), ev.DRIFT_DETECTED)
        named = sum(entry.event.data["writer"] == OTHER for entry in told)
        yield Figure("drift of one object → corrected, p50", median(taken), "s", "lower", LIMIT, 0.2)
        yield Figure("drift of one object → corrected, p99", _p99(taken), "s", "lower", LIMIT, 1.0)
        yield Figure("drift of one object: CPU", 1000 * _mean(spent), "ms", "lower", LIMIT, 20)
        writes = (_writes(calls) - rounds) / rounds  # without the other's own
        yield Figure("drift of one object: writes", writes, "writes", "lower", _beside(calls), 1)
        yield Figure("drifts whose event names the writer", named, "events", "higher", "drifts", rounds)

    def many(self) -> Iterator[_Deed]:
        """One default version for many edges, changed and reverted."""
        edges = self.size.edges
        head = self.hub.head()
        self.world.add_set(edges, "1")
        self.hub.applied(2 * edges + 1, head)
        self._quiet()  # each new Edge is told to be ready, which is none of what is measured
        steps: tuple[tuple[str, Callable[[], Any]], ...] = (
            (f"one default version changed for {edges:,} edges", lambda: self.world.add_set(edges, "2")),
            (f"`git revert` of that, {edges:,} edges", self.world.revert),
        )
        for name, push in steps:
            self.hub.turned()
            head, before = self.hub.head(), self._calls()
            times = push()
            entries = self.hub.applied(edges + 1, head)
            self.hub.turned()
            calls = self._calls() - before
            intents = of_type(entries, ev.APPLY_INTENDED)
            self._updates = [entry for entry in intents if _name(entry) != SET]
            words = f"{at(intents[0]) - times.moved:.2f} s from the push to the first; the set itself is one more"
            yield _Deed(name, _end(entries) - at(intents[0]), calls, edges + 1, words)

    def bare_updates(self) -> list[float]:
        """Seconds in which a bare loop makes the same updates, twice."""
        applies = [sent(entry, "limit") for entry in self._updates]
        changed = {b'"targetVersion":"1"': b'"targetVersion":"2"'}
        (old, new), *_ = changed.items()
        other = [one._replace(body=one.body.replace(old, new)) for one in applies]
        seconds(self.plane, applies)
        return [seconds(self.plane, other), seconds(self.plane, applies)]

    def restart(self) -> Iterator[Figure]:
        """Ended in order, and begun again."""
        self._quiet()
        self.hub.stop()
        self._quiet()
        before = self._calls()
        self.hub.start()
        self.hub.steady()
        taken = time.time() - self.hub.began
        calls = self._calls() - before
        lists = sum(n for (verb, _), n in calls.items() if verb == "LIST")
        told = f"{LIMIT}; {lists} LISTs of at most 500 objects"
        yield Figure("restart on a warm cluster → steady", taken, "s", "lower", told, 5)
        yield Figure("restart on a warm cluster: writes", _writes(calls), "writes", "lower", _beside(calls), 0)

    def _spread(self) -> list[int]:
        """Objects that are far from each other, each of another file where there are enough."""
        step = max(1, self.size.models // self.size.rounds)
        return [n * step for n in range(self.size.rounds)]

    def _quiet(self) -> None:
        """Returns when nothing more is told of what was: Events and statuses come a little later."""
        seen = [Calls()]

        def same() -> bool:
            seen.append(self._calls())
            return seen[-1] == seen[-2]

        until(same, look_s=SETTLE_S)

    def _calls(self) -> Calls:
        """Requests for our kinds and for Events, without watches."""
        kinds = {resource.plural for resource in OURS.values()} | {"events"}
        counted = self.plane.calls()
        return Calls(
            {
                (verb, resource): n
                for (verb, resource), n in counted.items()
                if resource.split("/")[0] in kinds and verb in WRITES | READS
            }
        )


def _corrected(port: int, generation: int) -> Callable[[dict[str, Any]], bool]:
    """Whether an object is as it was before it drifted, and later than that."""
    return lambda one: one["spec"]["servingPort"] == port and one["metadata"]["generation"] > generation


def _name(entry: Entry) -> str:
    return entry.event.subject.removesuffix("@").split("/")[-1]


def _end(entries: Sequence[Entry]) -> float:
    return at(of_type(entries, *ev.OUTCOMES)[-1])


def _writes(calls: Calls) -> int:
    """Of objects themselves."""
    return sum(n for (verb, what), n in calls.items() if verb in WRITES and what != "events" and "/" not in what)


def _beside(calls: Calls) -> str:
    """What else was written."""
    statuses = sum(n for (verb, what), n in calls.items() if verb in WRITES and what.endswith("/status"))
    events = sum(n for (verb, what), n in calls.items() if verb in WRITES and what == "events")
    return f"{LIMIT}; beside them {statuses} statuses, {events} Events"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _p99(values: Sequence[float]) -> float:
    """The nearest rank: of fewer than a hundred the largest."""
    ordered = sorted(values)
    return ordered[-(-99 * len(ordered) // 100) - 1]
