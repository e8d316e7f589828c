"""Simulated runtimes: `ports.Runtime` without a process, on machines that keep them while agents come and go."""

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

from reconciler.edge.runtimes import Runtimes
from reconciler.errors import PortTaken, PreflightRefused, ProbeFailed, RuntimeUnavailable
from reconciler.history.keys import Key
from reconciler.ports import Answer
from reconciler.serving.process import End, RuntimeProcess, RuntimeSpec

NOTHING = ("", "")
Probe = Callable[[bytes], bool]
Loaded = tuple[str, str]  # version, digest of the model file


class SimRuntime(RuntimeProcess):
    """One runtime. probe: whether a model answers its golden inputs.  served: told when it serves another version."""

    def __init__(
        self, spec: RuntimeSpec, pid: int, probe: Probe, served: "Callable[[SimRuntime], None]" = lambda _: None
    ) -> None:
        super().__init__(spec, pid, -1)
        self._probe, self._served = probe, served
        self.is_there = True
        self.serving: Loaded = NOTHING
        self._standby: Loaded | None = None
        self._before: Loaded | None = None

    def exited(self, wait_s: float = 0.0) -> bool:
        return not self.is_there

    def answer(self) -> Answer:
        self._must_be_there()
        return self._as_answer(self.serving)

    def _as_answer(self, loaded: Loaded) -> Answer:
        return Answer(self.spec.model, *loaded, ready=bool(loaded[0]))

    def _must_be_there(self) -> None:
        if not self.is_there:
            raise RuntimeUnavailable(f"the runtime of {self.spec.model} gave no answer")

    def load(self, path: Path, version: str, *, allow_signature_change: bool = False) -> Answer:
        self._must_be_there()
        self._standby = None
        models = sorted(path.rglob("*.onnx"))
        if len(models) != 1:
            raise PreflightRefused(f"one *.onnx file is needed in the artifact, found: {len(models)}")
        content = models[0].read_bytes()
        if not self._probe(content):
            raise ProbeFailed(f"version {version}: the answer is not a number")
        self._standby = version, hashlib.sha256(content).hexdigest()
        return self._as_answer(self._standby)

    def activate(self) -> Answer:
        self._must_be_there()
        if self._standby is not None:
            self._before, self.serving, self._standby = self.serving, self._standby, None
            self._served(self)
        elif self._before is None:
            raise RuntimeUnavailable("nothing is loaded")
        return self.answer()

    def revert(self) -> Answer:
        self._must_be_there()
        if self._before is not None:
            self.serving, self._before = self._before, None
            self._served(self)
        return self.answer()

    def settle(self) -> None:
        self._must_be_there()
        self._before = None

    def stop(self) -> None:
        self.is_there = False

    def close(self) -> None:
        pass


class Machine:
    """The runtimes of one edge, whoever started them."""

    def __init__(self, probe: Probe, served: Callable[[SimRuntime], None]) -> None:
        self._probe, self._served = probe, served
        self._started: list[SimRuntime] = []
        self._pids = itertools.count(1000)
        self.agent: SimRuntimes | None = None  # which is told of ends

    @property
    def running(self) -> list[SimRuntime]:
        self._started = [one for one in self._started if one.is_there]
        return list(self._started)

    def find(self, directory: Path) -> SimRuntime | None:
        return next((one for one in self.running if one.spec.directory == directory), None)

    def start(self, spec: RuntimeSpec) -> SimRuntime:
        before = self.find(spec.directory)
        if before is not None and before.spec == spec:
            return before
        for one in self.running:
            if (one.spec.address, one.spec.port) == (spec.address, spec.port):
                if one is not before and one.spec.directory.exists():
                    raise PortTaken(f"something listens on {spec.address}:{spec.port}")
                one.stop()
        if before is not None:
            before.stop()
        spec.directory.mkdir(parents=True, exist_ok=True)
        self._started.append(SimRuntime(spec, next(self._pids), self._probe, self._served))
        return self._started[-1]

    def end(self, runtime: SimRuntime, end: End) -> None:
        """The process ends by itself, or is killed; an agent that is there sees it."""
        if runtime.is_there:
            runtime.is_there, runtime.end = False, end
            if self.agent is not None:
                self.agent.saw(runtime)


class SimRuntimes(Runtimes):
    """`edge.runtimes.Runtimes` on a simulated machine: the same promises, without processes and threads."""

    def __init__(self, machine: Machine, ended: Callable[[Key, int, End], None]) -> None:
        self._machine, self._ended = machine, ended
        self._running: dict[Key, RuntimeProcess] = {}
        machine.agent = self

    def adopt(self, key: Key, wanted: RuntimeSpec) -> RuntimeProcess | None:
        found = self._machine.find(wanted.directory)
        if found is not None and found.spec == wanted:
            self.register(key, found)
            return found
        return None

    def start(self, wanted: RuntimeSpec, patience_s: float = 0.0) -> RuntimeProcess:  # waits for nothing
        return self._machine.start(wanted)

    def register(self, key: Key, runtime: RuntimeProcess) -> RuntimeProcess | None:
        old, self._running[key] = self._running.get(key), runtime
        if runtime.exited():
            self.saw(runtime)
        return None if old is runtime else old

    def drop(self, key: Key) -> None:
        runtime = self._running.pop(key, None)
        if runtime is not None:
            runtime.stop()

    def saw(self, runtime: RuntimeProcess) -> None:
        """A runtime has ended."""
        for key in [key for key, one in self._running.items() if one is runtime]:
            del self._running[key]
            self._ended(key, runtime.pid, runtime.end)
