"""Thirty days of a fleet: people, faults and what must hold all the while. In: a seed.  Out: the heads of all logs."""

import sys
import tempfile
from pathlib import Path

from reconciler.history.keys import DELIVER, Key
from reconciler.planning.declared import Object
from tests.fleets import catalogue, edge, fleet, model_set
from tests.simulation.fleet import CRASHES, NAN, Edge, Fleet
from tests.simulation.store import tar_of

HOUR, DAY = 3600.0, 86400.0
FAULTS_END, END = 26 * DAY, 30 * DAY
ANSWERED_S = 6 * HOUR  # an order that nothing stands in the way of is answered by then
NAMES = ("digits", "faces", "signs")
GOOD, BAD = ("1", "2", "3", "4"), ("nan", "crash", "gone", "swapped", "empty")
OPEN = {"max_deletes": 100, "max_share": "100%"}


class Story:
    """One run."""

    def __init__(self, seed: int, root: Path) -> None:
        self.fleet = Fleet(seed, root)
        self.world, self.random = self.fleet.world, self.fleet.world.random
        self.default = dict.fromkeys(NAMES, "1")
        self.pins: dict[tuple[str, str], str] = {}
        self.declared = set(NAMES)
        self.quiet_since = dict.fromkeys(self.fleet.edges, 0.0)  # since nothing stands in an edge's way
        self.catalogues = {name: self._catalogue(name) for name in NAMES}

    # ── what Git says ─────────────────────────────────────────────────────────────────────────────────────────────

    def _catalogue(self, name: str) -> Object:
        found = catalogue(name, " ".join((*GOOD, *BAD)))
        for entry in found.spec["versions"]:
            version = entry["version"]
            content = f"{name} {version} ".encode() + {"nan": NAN, "crash": CRASHES}.get(version, b"")
            content += bytes(self.random.randrange(1000)) * 300
            archive = tar_of({} if version == "empty" else {"model.onnx": content})
            path = f"/{name}-{version}.tar.gz"
            entry |= {"downloadURL": self.fleet.web.url(path), "sha256sum": self.fleet.publish(path, archive, content)}
            entry["size"] = len(archive)
            if version == "gone":
                del self.fleet.web.files[path]
            if version == "swapped":
                self.fleet.web.files[path] = tar_of({"model.onnx": b"other bytes"})
        return found

    def _set(self, name: str) -> Object:
        port = 8000 + NAMES.index(name)
        return model_set(name, self.default[name], ref=name, servingPort=port)

    def _edge(self, name: str) -> Object:
        pins = [
            {"model": model, "version": version} for (on, model), version in sorted(self.pins.items()) if on == name
        ]
        return edge(name, pins=pins)

    def wanted(self, edge_: str, model: str) -> str:
        return self.pins.get((edge_, model), self.default[model])

    def begin(self) -> None:
        edges = [self._edge(name) for name in self.fleet.edges]
        self.fleet.branch.commit(fleet(**OPEN), *edges, *self.catalogues.values(), *map(self._set, NAMES))
        self.fleet.start()
        for one in self.fleet.edges.values():
            one.start()

    def push(self) -> None:
        """Somebody commits something."""
        name, on = self.random.choice(NAMES), self.random.choice(sorted(self.fleet.edges))
        version = self.random.choice(GOOD if self.random.random() < 0.7 else BAD)
        match self.random.choice(["default", "default", "pin", "unpin", "withdraw"]):
            case "default":
                self.default[name] = version
                self.declared.add(name)
                self.fleet.branch.commit(self._set(name))
            case "pin":
                self.pins[on, name] = version
                self.fleet.branch.commit(self._edge(on))
            case "unpin":
                self.pins.pop((on, name), None)
                self.fleet.branch.commit(self._edge(on))
            case "withdraw" if name in self.declared:
                self.declared.discard(name)
                self.fleet.branch.commit(without=[self._set(name)])

    # ── faults ────────────────────────────────────────────────────────────────────────────────────────────────────

    def for_a_while(self, mean_s: float) -> float:
        return self.random.expovariate(1 / mean_s)

    def one_fault(self) -> None:
        one = self.random.choice(list(self.fleet.edges.values()))
        match self.random.choice(
            ["hub", "agent", "agent", "runtime", "line", "web", "git", "full", "slow", "rot", "skew"]
        ):
            case "hub" if self.fleet.hub is not None:
                self._kill(self.fleet.hub)
                self.world.at(self.for_a_while(600), self.fleet.start)
            case "agent" if one.agent is not None:
                self._disturb(one)
                self._kill(one.agent)
            case "runtime" if one.machine.running:
                self._disturb(one)
                from reconciler.serving.process import End

                one.machine.end(self.random.choice(one.machine.running), End("was ended by signal 9"))
            case "line":
                self._cut(one, self.for_a_while(8 * HOUR), self.random.choice(["up", "down", "both"]))
            case "web":
                self.fleet.web.is_up = False
                self.world.at(self.for_a_while(HOUR), self._mend_web)
            case "git":
                self.fleet.branch.is_up = False
                self.world.at(self.for_a_while(HOUR), self._mend_git)
            case "full":
                self._disturb(one)
                self._fill(one, full=True)
                self.world.at(self.for_a_while(HOUR), lambda: self._fill(one, full=False))
            case "slow":
                self._disturb(one)
                one.up.is_slow = one.down.is_slow = True
                self.world.at(self.for_a_while(HOUR), lambda: self._quicken(one))
            case "rot":
                files = sorted((one.directory / "store").glob("*/files/*.onnx"))
                if files:
                    self.random.choice(files).write_bytes(b"rot")
            case "skew":
                one.skew = self.random.uniform(-HOUR, HOUR)

    def _kill(self, process: "object") -> None:
        from tests.simulation.world import Process

        assert isinstance(process, Process)
        if self.random.random() < 0.5:
            process.kill()
        else:
            process.fuse = self.random.randint(1, 30)

    def _cut(self, one: Edge, seconds: float, which: str) -> None:
        one.up.is_up, one.down.is_up = which == "down", which == "up"
        self.quiet_since[one.name] = max(self.quiet_since[one.name], self.world.seconds + seconds)
        self.world.at(seconds, lambda: self._join(one))

    def _join(self, one: Edge) -> None:
        if self.quiet_since[one.name] <= self.world.seconds + 1:
            one.up.is_up = one.down.is_up = True

    def _disturb(self, one: Edge) -> None:
        self.quiet_since[one.name] = max(self.quiet_since[one.name], self.world.seconds + HOUR)

    def _mend_web(self) -> None:
        self.fleet.web.is_up = True

    def _mend_git(self) -> None:
        self.fleet.branch.is_up = True

    def _fill(self, one: Edge, *, full: bool) -> None:
        one.is_full = full
        if one.store is not None:
            one.store.is_full = full

    def _quicken(self, one: Edge) -> None:
        one.up.is_slow = one.down.is_slow = False

    # ── people at the hub ─────────────────────────────────────────────────────────────────────────────────────────

    def say(self) -> None:
        """Somebody says something to the hub."""
        on = self.random.choice(["*", *self.fleet.edges])
        match self.random.choice(["suspend", "resume", "reconcile", "release"]):
            case "suspend":
                self.fleet.verb("suspend", scope=on, reason="a visit")
                self.world.at(self.for_a_while(6 * HOUR), lambda: self.fleet.verb("resume", scope=on))
            case "resume":
                self.fleet.verb("resume", scope=on)
            case "reconcile":
                self.fleet.verb("reconcile", scope="*")
            case "release" if on != "*":
                self.fleet.verb("release", edge=on, model=self.random.choice(NAMES))

    def watch(self) -> None:
        """Supervisors restart what has ended; somebody approves what is held."""
        self.fleet.start()
        for one in self.fleet.edges.values():
            one.start()
        held = self.fleet.state.stage(DELIVER).held_plan
        if held is not None:
            self.fleet.verb("approve", digest=held.digest)

    # ── the run ───────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> dict[str, str]:
        """The heads of all logs at the end."""
        with self.world.failpoints():
            self.begin()
            away = self.random.choice(list(self.fleet.edges.values()))
            self.world.run_until(self.random.uniform(0, DAY))
            self._cut(away, FAULTS_END - self.world.seconds, "both")
            while self.world.seconds < FAULTS_END:
                self.world.run_until(self.world.seconds + self.for_a_while(2 * HOUR))
                self.random.choice([self.push, self.one_fault, self.one_fault, self.say])()
                if self.random.random() < 0.5:
                    self.watch()
                self.check()
            self.mend()
            while self.world.seconds < END:
                self.world.run_until(self.world.seconds + 2 * HOUR)
                self.watch()
                self.check()
            self.converged()
        return {"hub": self.fleet.log.head().hash.hex()} | {
            one.name: one.log.head().hash.hex() for one in self.fleet.edges.values() if one.log is not None
        }

    def mend(self) -> None:
        """No faults from here on, and Git wants what can be had."""
        self._mend_web()
        self._mend_git()
        for one in self.fleet.edges.values():
            one.up.is_up = one.down.is_up = True
            self._quicken(one)
            self._fill(one, full=False)
            one.skew = 0.0
            if one.agent is not None:
                one.agent.fuse = 0
        if self.fleet.hub is not None:
            self.fleet.hub.fuse = 0
        self.watch()
        self.world.run_until(self.world.seconds + HOUR)
        for scope in sorted(self.fleet.state.suspended):
            self.fleet.verb("resume", scope=scope)
        for name in sorted(self.declared):
            self.default[name] = self.random.choice(GOOD)
        self.pins = {where: version for where, version in self.pins.items() if version in GOOD}
        changed = [*map(self._set, sorted(self.declared)), *map(self._edge, self.fleet.edges)]
        self.fleet.branch.commit(*changed)
        for name in self.fleet.edges:
            self.quiet_since[name] = self.world.seconds

    # ── what must hold ────────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Every order is answered in its time, where nothing stands in the way of its edge."""
        if self.fleet.hub is None:
            return
        hub_ = self.fleet.state.stage(DELIVER)
        for text, served in hub_.keys.items():
            since = self.quiet_since[Key.parse(text).edge]
            if served.open and self.world.seconds - since > ANSWERED_S and self.fleet.web.is_up:
                ordered = self.fleet.log.find(served.ordered_id)
                assert ordered is not None
                age = self.world.seconds - self._seconds(ordered.event.recordedtime)
                assert age < ANSWERED_S, f"{text} was ordered {age / HOUR:.1f} h ago: {served}"

    def _seconds(self, time: str) -> float:
        from datetime import datetime

        from tests.log_events import T0

        return datetime.fromisoformat(time).timestamp() - T0

    def converged(self) -> None:
        """All logs verify, and everything is as Git says: in fact, and as the hub tells it."""
        assert self.fleet.hub is not None
        self.fleet.log.verify()
        state = self.fleet.state.stage(DELIVER)
        for one in self.fleet.edges.values():
            assert one.log is not None
            one.log.verify()
            serving = {runtime.spec.model: runtime.serving[0] for runtime in one.machine.running}
            wanted = {name: self.wanted(one.name, name) for name in self.declared}
            assert serving == wanted, f"{one.name}: {state.keys} {state.holds}"
            told = {
                served.order["model"]: served.live["version"]
                for text, served in state.keys.items()
                if Key.parse(text).edge == one.name and served.order
            }
            assert told == wanted
        assert not any(served.open for served in state.keys.values())


def run(seed: int) -> dict[str, str]:
    """Run a story in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="simulation-") as root:
        return Story(seed, Path(root)).run()


if __name__ == "__main__":
    for text in sys.argv[1:]:
        print(text, run(int(text)))
