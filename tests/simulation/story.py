"""Thirty days of a fleet: what people do, what breaks, and what must hold. In: a seed.  Out: the heads of all logs."""

import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from reconciler.history.events import rfc3339
from reconciler.history.keys import DELIVER, Key
from reconciler.planning.declared import Object
from reconciler.serving.process import End
from tests.fleets import catalogue, dataset, edge, fleet, model_set
from tests.log_events import T0
from tests.simulation.fleet import CRASHES, NAN, Edge, Fleet
from tests.simulation.store import tar_of
from tests.simulation.world import Process

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
FAULTS_END, END = 26 * DAY, 30 * DAY
ANSWERED_S = 6 * HOUR  # an order is answered by then, where nothing stands in the way of its edge
NAMES = ("digits", "faces", "signs")
GOOD, BAD = ("1", "2", "3", "4"), ("nan", "crash", "gone", "swapped", "empty")
DATA = "labels"


class Story:
    """One run."""

    def __init__(self, seed: int, root: Path) -> None:
        self.fleet = Fleet(seed, root)
        self.world, self.random, self.edges = self.fleet.world, self.fleet.world.random, self.fleet.edges
        self.default = dict.fromkeys(NAMES, "1")
        self.pins: dict[tuple[str, str], str] = {}
        self.declared, self.rows = set(NAMES), "1"
        self.quiet_since = dict.fromkeys(self.edges, 0.0)  # since when nothing stands in an edge's way
        self.cut_until = dict.fromkeys(self.edges, 0.0)

    def run(self) -> dict[str, str]:
        """The heads of all logs at the end."""
        with self.world.failpoints():
            self._begin()
            while self.world.seconds < FAULTS_END:
                self.world.run_until(self.world.seconds + self._about(3 * HOUR))
                self.random.choice([self.push, self.break_something, self.break_something, self.say])()
                if self.random.random() < 0.7:
                    self.look_after()
                self.check()
            self._mend()
            while self.world.seconds < END:
                self.world.run_until(self.world.seconds + 4 * HOUR)
                self.look_after()
                self.check()
            self.has_converged()
        logs = {"hub": self.fleet.log} | {one.name: one.log for one in self.edges.values() if one.log is not None}
        return {name: log.head().hash.hex() for name, log in logs.items()}

    def _about(self, mean_s: float) -> float:
        return self.random.expovariate(1 / mean_s)

    def _any_edge(self) -> Edge:
        return self.random.choice(list(self.edges.values()))

    # ── what Git says ─────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        models = [self._catalogue(name) for name in NAMES]
        self._commit(fleet(2, "100%"), *map(self._edge, self.edges), *models, *map(self._set, NAMES), self._data())
        self.look_after()
        self.world.run_until(self.random.uniform(0, DAY))
        self._cut(self._any_edge(), FAULTS_END - self.world.seconds)  # a month offline

    def _commit(self, *objects: Object) -> None:
        self.fleet.branch.commit(*objects)

    def _catalogue(self, name: str) -> Object:
        found = catalogue(name, " ".join((*GOOD, *BAD)))
        for entry in found.spec["versions"]:
            version, path = entry["version"], f"/{name}-{entry['version']}.tar"
            model = f"{name} {version} ".encode() + {"nan": NAN, "crash": CRASHES}.get(version, b"") + bytes(200_000)
            archive = tar_of({} if version == "empty" else {"model.onnx": model})
            entry |= {"downloadURL": self.fleet.web.url(path), "sha256sum": self.fleet.publish(path, archive, model)}
            entry["size"] = len(archive)
            match version:
                case "gone":
                    del self.fleet.web.files[path]
                case "swapped":
                    self.fleet.web.files[path] = tar_of({"model.onnx": b"other bytes"})
        return found

    def _data(self) -> Object:
        found = dataset(DATA, self.rows, to={}, versions="1 2")
        for entry in found.spec["versions"]:
            content, path = f"rows {entry['version']}".encode(), f"/{DATA}-{entry['version']}.csv"
            entry |= {"downloadURL": self.fleet.web.url(path), "sha256sum": self.fleet.publish(path, content, b"")}
            entry["size"] = len(content)
        return found

    def _set(self, name: str) -> Object:
        return model_set(name, self.default[name], ref=name, servingPort=8000 + NAMES.index(name))

    def _edge(self, name: str) -> Object:
        pins = [{"model": model, "version": said} for (on, model), said in sorted(self.pins.items()) if on == name]
        return edge(name, pins=pins)

    def push(self) -> None:
        """Somebody commits something; what is bad is taken back after a while."""
        name, on = self.random.choice(NAMES), self._any_edge().name
        version = self.random.choice(GOOD if self.random.random() < 0.6 else BAD)
        match self.random.choice(["default", "default", "pin", "unpin", "withdraw", "data", "freeze"]):
            case "default":
                self._move(name, version)
                if version in BAD:
                    self.world.at(self._about(6 * HOUR), partial(self._move, name, self.random.choice(GOOD)))
            case "pin":
                self._pin(on, name, version)
                if version in BAD:
                    self.world.at(self._about(6 * HOUR), partial(self._pin, on, name, ""))
            case "unpin":
                self._pin(on, name, "")
            case "withdraw" if name in self.declared:
                self.declared.discard(name)
                self.fleet.branch.commit(without=[self._set(name)])
            case "data":
                self.rows = self.random.choice(["1", "2"])
                self._commit(self._data())
            case "freeze":
                start = T0 + self.world.seconds
                window = {"from": rfc3339(start), "until": rfc3339(start + self._about(12 * HOUR)), "reason": "a fair"}
                self._commit(fleet(2, "100%"), edge(on), self._edge(on))
                limits = fleet(2, "100%")
                limits.spec["freeze"] = [window]
                self._commit(limits)

    def _move(self, name: str, version: str) -> None:
        self.default[name] = version
        self.declared.add(name)
        self._commit(self._set(name))

    def _pin(self, on: str, name: str, version: str) -> None:
        self.pins.pop((on, name), None)
        if version:
            self.pins[on, name] = version
        self._commit(self._edge(on))

    # ── what people say and do at the hub ─────────────────────────────────────────────────────────────────────────

    def say(self) -> None:
        """Somebody says something to the hub."""
        on = self.random.choice(["*", *self.edges])
        match self.random.choice(["suspend", "resume", "reconcile", "release"]):
            case "suspend":
                self.fleet.verb("suspend", scope=on, reason="a visit")
                self.world.at(self._about(6 * HOUR), partial(self.fleet.verb, "resume", scope=on))
            case "resume":
                self.fleet.verb("resume", scope=on)
            case "reconcile":
                self.fleet.verb("reconcile", scope="*")
            case "release" if on != "*":
                self.fleet.verb("release", edge=on, model=self.random.choice(NAMES))

    def look_after(self) -> None:
        """What has ended is started again, what is held is approved, and now and then the log is backed up."""
        self.fleet.start()
        for one in self.edges.values():
            one.start()
        held = self.fleet.state.stage(DELIVER).held_plan
        if held is not None:
            self.fleet.verb("approve", digest=held.digest)
        if self.random.random() < 0.1:
            self.fleet.kept = self.fleet.log.backup()

    # ── what breaks ───────────────────────────────────────────────────────────────────────────────────────────────

    def break_something(self) -> None:
        """One fault, for a while where it is one that has an end."""
        one, seconds = self._any_edge(), self._about(HOUR)
        faults: list[Callable[[Edge, float], None]] = [
            *(self._kill_hub, self._kill_agent, self._kill_runtime, self._cut_for_hours, self._part, self._no_web),
            *(self._no_git, self._fill, self._slow, self._rot, self._skew, self._restore),
        ]
        self.random.choice(faults)(one, seconds)

    def _disturb(self, one: Edge, seconds: float) -> None:
        self.quiet_since[one.name] = max(self.quiet_since[one.name], self.world.seconds + seconds)

    def _kill(self, process: Process | None) -> None:
        """At once, or right after one of its next durable steps."""
        if process is not None and self.random.random() < 0.5:
            process.kill()
        elif process is not None:
            process.fuse = self.random.randint(1, 30)

    def _kill_hub(self, _: Edge, seconds: float) -> None:
        self._kill(self.fleet.hub)
        self.world.at(seconds / 6, self.fleet.start)

    def _kill_agent(self, one: Edge, seconds: float) -> None:
        self._disturb(one, 12 * HOUR)  # until somebody looks after it
        self._kill(one.agent)
        self.world.at(seconds / 6, one.start)

    def _kill_runtime(self, one: Edge, _: float) -> None:
        if one.machine.running:
            one.machine.end(self.random.choice(one.machine.running), End("was ended by signal 9"))

    def _cut_for_hours(self, one: Edge, seconds: float) -> None:
        self._cut(one, 8 * seconds)

    def _cut(self, one: Edge, seconds: float) -> None:
        one.up.is_up = one.down.is_up = False
        self._until(one, seconds)

    def _part(self, one: Edge, seconds: float) -> None:
        """One direction only."""
        self.random.choice([one.up, one.down]).is_up = False
        self._until(one, seconds)

    def _until(self, one: Edge, seconds: float) -> None:
        self._disturb(one, seconds)
        self.cut_until[one.name] = max(self.cut_until[one.name], self.world.seconds + seconds)
        self.world.at(seconds, partial(self._join, one))

    def _join(self, one: Edge) -> None:
        if self.cut_until[one.name] <= self.world.seconds:  # else another cut lasts longer
            one.up.is_up = one.down.is_up = True

    def _no_web(self, _: Edge, seconds: float) -> None:
        self.fleet.web.is_up = False
        for one in self.edges.values():
            self._disturb(one, seconds)
        self.world.at(seconds, partial(setattr, self.fleet.web, "is_up", True))

    def _no_git(self, _: Edge, seconds: float) -> None:
        self.fleet.branch.is_up = False
        self.world.at(seconds, partial(setattr, self.fleet.branch, "is_up", True))

    def _fill(self, one: Edge, seconds: float) -> None:
        one.fill(True)
        self._disturb(one, seconds)
        self.world.at(seconds, partial(one.fill, False))

    def _slow(self, one: Edge, seconds: float) -> None:
        one.up.is_slow = one.down.is_slow = True
        self._disturb(one, seconds)
        self.world.at(seconds, partial(self._quicken, one))

    def _quicken(self, one: Edge) -> None:
        one.up.is_slow = one.down.is_slow = False

    def _rot(self, one: Edge, _: float) -> None:
        files = sorted((one.directory / "store").glob("*/files/*.onnx"))
        if files:
            self.random.choice(files).write_bytes(b"rot")

    def _skew(self, one: Edge, _: float) -> None:
        one.skew = self.random.uniform(-HOUR, HOUR)

    def _restore(self, _: Edge, seconds: float) -> None:
        """The disk of the hub is lost, and an older copy of its log is put back."""
        if self.fleet.hub is not None:
            self.fleet.hub.kill()
        self.fleet.restore()
        self.world.at(seconds / 6, self.fleet.start)

    def _mend(self) -> None:
        """No faults from here on, and Git wants what can be had."""
        self.fleet.web.is_up = self.fleet.branch.is_up = True
        for one in self.edges.values():
            one.up.is_up = one.down.is_up = True
            self._quicken(one)
            one.fill(False)
            one.skew = 0.0
            if one.agent is not None:
                one.agent.fuse = 0
            self.quiet_since[one.name] = self.world.seconds
        if self.fleet.hub is not None:
            self.fleet.hub.fuse = 0
        self.look_after()
        self.world.run_until(self.world.seconds + DAY)  # what was to be taken back is
        for scope in sorted(self.fleet.state.suspended):
            self.fleet.verb("resume", scope=scope)
        for name in NAMES:
            self.default[name] = self.random.choice(GOOD)
        self.pins = {where: version for where, version in self.pins.items() if version in GOOD}
        self._commit(fleet(2, "100%"), *map(self._set, sorted(self.declared)), *map(self._edge, self.edges))

    # ── what must hold ────────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Every order is answered in its time, where nothing stands in the way of its edge."""
        for text, served in self.fleet.state.stage(DELIVER).keys.items():
            one = self.edges[Key.parse(text).edge]
            stands = served.open and served.ordered_seq >= self.fleet.state.epoch  # else it waits to be ordered anew
            if stands and self.fleet.hub is not None and one.agent is not None:
                ordered = self._time_of(served.ordered_id)
                since = max(self.quiet_since[one.name], ordered, one.since, self.fleet.since)
                late_h = (self.world.seconds - since) / HOUR
                assert late_h < ANSWERED_S / HOUR, f"{text} could be answered {late_h:.1f} h ago: {served}"

    def _time_of(self, event_id: str) -> float:
        found = self.fleet.log.find(event_id)
        return 0.0 if found is None else datetime.fromisoformat(found.event.recordedtime).timestamp() - T0

    def has_converged(self) -> None:
        """All logs verify, and everything is as Git says: in fact, and as the hub tells it."""
        self.fleet.log.verify()
        keys = self.fleet.state.stage(DELIVER).keys
        for one in self.edges.values():
            assert one.log is not None
            one.log.verify()
            wanted = {name: self.pins.get((one.name, name), self.default[name]) for name in sorted(self.declared)}
            data = Key("Dataset", "default", DATA, one.name)
            assert {runtime.spec.model: runtime.serving[0] for runtime in one.machine.running} == wanted
            assert (one.slots(data).current() or {}).get("version") == self.rows
            mine = {text: served for text, served in keys.items() if Key.parse(text).edge == one.name and served.order}
            told = {served.order.get("model", DATA): served.live.get("version") for served in mine.values()}
            assert told == wanted | {DATA: self.rows}
        assert not any(served.open for served in keys.values())


def run(seed: int) -> dict[str, str]:
    """Run a story in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="simulation-") as root:
        return Story(seed, Path(root)).run()


if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(text, run(int(text)))
