"""Switching an edge's service to a version, and back. May import: ports, serving, engine.

In: a job whose spec is to be served.  Out: slots flipped and a runtime that answers, or the version before, serving.
What stood before serves until the new version answers its golden inputs; a version that fails is left again.
"""

import contextlib
from typing import Any

from reconciler.edge.holding import Holding, Stage
from reconciler.edge.job import Job, Tools
from reconciler.edge.runtimes import runtime_spec
from reconciler.engine.failpoints import reached
from reconciler.engine.retry import retry_delay_s
from reconciler.errors import (
    PortTaken,
    PreflightRefused,
    ProbeFailed,
    ReconcilerError,
    RuntimeUnavailable,
    StorageExhausted,
)
from reconciler.history import events as ev
from reconciler.history.keys import Key
from reconciler.ports import Answer, Cancelled, Staged
from reconciler.serving.process import End, RuntimeProcess, RuntimeSpec

CRASHES, CRASH_WINDOW_S = 3, 60.0  # a runtime that ends this often in a row, each time this soon after its start
REMEMBERED = 16  # such ends
YIELD_S = 20.0  # a service that has left its endpoint waits this long for the one that it wants
SEEN_S = 1.0  # until the end of a process is seen that gave no answer


class ServedModel(Holding):
    """A model that a runtime serves."""

    def __init__(self, tools: Tools, stage: Stage) -> None:
        super().__init__(tools, stage)
        self._began: dict[Key, float] = {}  # when its runtime began to serve
        self._ends: dict[Key, list[End]] = {}  # of runtimes that did not stay up, in a row

    def crashed(self, key: Key, end: End) -> float:
        """A runtime of this key ended unasked; how many seconds later it is to be started again, longer each time.

        Only what is at fault itself is left for the version before, and only where there is one.
        """
        soon = self._tools.monotonic() - self._began.get(key, -CRASH_WINDOW_S) < CRASH_WINDOW_S
        ends = self._ends[key] = [*(self._ends.get(key, []) if soon else ()), end][-REMEMBERED:]
        if len(ends) < CRASHES or self._is_left(key):
            return 0.0
        return retry_delay_s(len(ends) - CRASHES, self._tools.sample())

    def _is_left(self, key: Key) -> bool:
        """Whether what stands gives way to the version before it."""
        faults = sum(end.at_fault for end in self._ends.get(key, []))
        return faults >= CRASHES and self._tools.slots(key).previous() is not None

    def observe(self, key: Key, spec: dict[str, Any]) -> dict[str, Any]:
        """What the runtime itself answers; that none answers, where none is to serve."""
        staged, unmet = self._tools.store.staged(spec["sha256"]), spec | {"version": ""}
        if not spec["serving"]:
            return spec if staged is not None and self._tools.runtimes.of(key) is None else unmet
        answer = self._tools.runtimes.answer(key)
        if staged is None or answer is None or answer.model != spec["model"]:
            return unmet
        return spec | {"version": answer.version, "sha256": spec["sha256"] if _is_of(answer, staged) else answer.digest}

    def live(self, key: Key, spec: dict[str, Any]) -> dict[str, Any]:
        """Version and digest from the runtime's own answer, with its URL; {} when it is silent."""
        answer = self._tools.runtimes.answer(key)
        if answer is None or not answer.version:
            return {}
        staged = self._tools.store.staged(spec["sha256"])
        known = staged is not None and _is_of(answer, staged)
        url = f"http://{spec['address']}:{spec['port']}/v2/models/{answer.model}"
        return {
            "version": answer.version,
            "sha256": spec["sha256"] if known else "",
            "digest": answer.digest,
            "url": url,
        } | ({"unproven": answer.unproven} if answer.unproven else {})

    def adopt(self, key: Key, spec: dict[str, Any]) -> None:
        """Find the runtime that an earlier agent left."""
        if spec["serving"]:
            self._tools.runtimes.adopt(key, runtime_spec(self._tools.slots(key).directory, spec))

    def remove(self, key: Key) -> None:
        """End the runtime."""
        self._tools.runtimes.drop(key)

    def bring(self, job: Job, spec: dict[str, Any]) -> None:
        """Serve `spec`. Raises what made it impossible; then the version before serves."""
        slots, runtimes = self._tools.slots(job.key), self._tools.runtimes
        standing = slots.current()
        if standing is not None and standing == spec and self._is_left(job.key):
            self._leave(job, standing)
        if standing is not None and standing != spec and standing["serving"] and runtimes.answer(job.key) is None:
            self._restore(job.key, standing)  # first what can be had without the network
        staged = self._stage(job, spec)
        spec = spec | {"sha256": staged.sha256}
        if job.stopped:
            raise Cancelled
        if standing is not None and _only_moved(standing, spec) and self._serves(job.key, spec, staged):
            slots.flip(spec)  # the same bytes from another place: nothing is loaded
        elif spec["serving"]:
            self._activate(job, spec, staged)
        else:
            runtimes.drop(job.key)
            slots.flip(spec)

    def _activate(self, job: Job, spec: dict[str, Any], staged: Staged) -> None:
        slots, running = self._tools.slots(job.key), self._tools.runtimes.of(job.key)
        standing = slots.current()
        wanted = runtime_spec(slots.directory, spec)
        if not self._tools.store.check(staged.sha256):
            self._tools.store.evict(staged.sha256)
            changed = f"version {spec['version']} changed on disk after it was verified"
            raise StorageExhausted(f"{changed}; it is fetched again")
        reused = running if running is not None and running.spec == wanted else None
        runtime = reused or self._started(job, wanted, standing)
        try:
            runtime.load(staged.path, spec["version"])
            reached("edge.loaded")
            slots.flip(spec)
            _prove(runtime.activate(), spec, staged)
        except ReconcilerError as failure:
            flipped = slots.current() != standing
            ended = isinstance(failure, RuntimeUnavailable) and runtime.exited(SEEN_S)
            innocent = ended and not runtime.end.at_fault
            if reused is None:
                runtime.stop()
            elif isinstance(failure, RuntimeUnavailable) or self._tools.runtimes.answer(job.key) is None:
                self._tools.runtimes.drop(job.key)  # it hangs, or cannot be steered: the next one is started anew
            elif flipped:
                with contextlib.suppress(RuntimeUnavailable):  # it is gone: what stands is served again by what follows
                    runtime.revert()
            if flipped:
                self._undo(job, standing, spec, None if innocent else failure)
            elif standing == spec and isinstance(failure, (ProbeFailed, PreflightRefused)):
                if slots.previous() is None:  # then it is tried again and again
                    raise RuntimeUnavailable(failure.message) from failure
                self._go_back(job)  # a crash came between its flip and its first answer, or it can serve no more
            elif standing != spec and ended and not innocent:  # the same bytes would end it again
                raise ProbeFailed(f"loading version {spec['version']}, the runtime {runtime.end.how}") from failure
            raise
        reached("edge.activated")
        if standing != spec:
            self._ends.pop(job.key, None)  # those of the version before
        self._began[job.key] = self._tools.monotonic()
        replaced = self._tools.runtimes.register(job.key, runtime)
        if replaced is not None:
            replaced.stop()
        runtime.settle()
        before = standing["version"] if standing is not None else ""
        self._tools.say(job, ev.MODEL_ACTIVATED, {"live": self.live(job.key, spec), "previous": before})

    def _started(self, job: Job, wanted: RuntimeSpec, standing: dict[str, Any] | None) -> RuntimeProcess:
        """A runtime for what is wanted. One that is to yield leaves its endpoint to who holds the one that it wants.

        Where that one does not go in time, what stood serves again, and PortTaken rises.
        """
        runtimes = self._tools.runtimes
        try:
            return runtimes.start(wanted)
        except PortTaken:
            if not job.policy.get("yields") or standing is None or runtimes.of(job.key) is None:
                raise
        runtimes.drop(job.key)
        try:
            return runtimes.start(wanted, YIELD_S)
        except PortTaken:
            self._restore(job.key, standing)
            raise

    def _serves(self, key: Key, spec: dict[str, Any], staged: Staged) -> bool:
        """Whether the key's runtime itself answers with this version, from bytes of this artifact."""
        answer = self._tools.runtimes.answer(key)
        return answer is not None and answer.version == spec["version"] and _is_of(answer, staged)

    def _undo(
        self, job: Job, standing: dict[str, Any] | None, spec: dict[str, Any], failure: ReconcilerError | None
    ) -> None:
        """Point the slots back; the runtime has gone back already. What failed is nobody's previous version.

        failure: None where somebody ended the runtime.
        """
        slots = self._tools.slots(job.key)
        if standing is not None and standing["sha256"] == spec["sha256"]:
            slots.flip(standing)
        else:
            slots.back()
        job.went_back = True
        if not isinstance(failure, (ProbeFailed, PreflightRefused, RuntimeUnavailable)):  # not the content's fault
            return
        back_to = f"version {standing['version']}" if standing is not None else "nothing"
        raise ProbeFailed(f"{failure.message}; back to {back_to}") from failure

    def _go_back(self, job: Job) -> None:
        """Stand on the previous version, and serve it."""
        job.went_back = True
        previous = self._tools.slots(job.key).back()
        if previous is not None:
            self._restore(job.key, previous)

    def _leave(self, job: Job, standing: dict[str, Any]) -> None:
        """Leave a version that cannot stay up for the one before it."""
        self._ends.pop(job.key, None)
        self._go_back(job)
        often = f"{CRASHES} times, each within {CRASH_WINDOW_S:g} s"
        raise ProbeFailed(f"the runtime of version {standing['version']} ended {often}")

    def _restore(self, key: Key, standing: dict[str, Any]) -> None:
        """Serve what the slot stands on, without the network. What cannot be restored is fetched by what follows."""
        staged = self._tools.store.staged(standing["sha256"])
        if staged is None or not self._tools.store.check(staged.sha256):
            return
        runtime: RuntimeProcess = self._tools.runtimes.start(runtime_spec(self._tools.slots(key).directory, standing))
        try:
            runtime.load(staged.path, standing["version"])
            runtime.activate()
        except ReconcilerError:
            runtime.stop()
            raise
        runtime.settle()
        self._began[key] = self._tools.monotonic()
        self._tools.runtimes.register(key, runtime)


def _is_of(answer: Answer, staged: Staged) -> bool:
    """Whether what a runtime has loaded is a file of this artifact, or all of them."""
    return bool(answer.digest) and answer.digest in {staged.tree, *staged.files.values()}


def _only_moved(standing: dict[str, Any], spec: dict[str, Any]) -> bool:
    """Whether the two differ in where the bytes come from, and in nothing that is served."""
    served = (standing.keys() | spec.keys()) - {"url", "size"}
    return bool(standing["serving"]) and all(standing.get(name) == spec.get(name) for name in served)


def _prove(answer: Answer, spec: dict[str, Any], staged: Staged) -> None:
    """Raises ProbeFailed unless the runtime itself answers with this version, from bytes of this artifact."""
    if answer.version != spec["version"] or not _is_of(answer, staged):
        said = f"version {answer.version or '(none)'} from bytes {answer.digest[:12] or '(none)'}"
        raise ProbeFailed(f"the runtime was given version {spec['version']} and answers {said}")
