"""The work of an edge for its keys: fetch, verify, stage, serve, take away. May import: ports, engine, planning.

In: specs, from edge.keeper.  Out: events, as triggers for the loop, which alone writes the log.

    Desired → Downloading → Verified → Staged → Active → Committed
                  │            │         │        └──► the probe fails ──► RolledBack (previous slot) + quarantine
                  └────────────┴─────────┴──► Rejected (reason), the old version keeps serving
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from reconciler.edge.activation import ServedModel
from reconciler.edge.holding import Bytes, Holding
from reconciler.edge.job import Job, Tools
from reconciler.engine.failpoints import reached
from reconciler.engine.queue import Cause, Trigger
from reconciler.errors import ReconcilerError, Retry, StorageExhausted
from reconciler.history import events as ev
from reconciler.history.keys import Key
from reconciler.planning.desired import content_digest
from reconciler.planning.kinds import KINDS
from reconciler.ports import Artifact, Cancelled, Staged, Workers
from reconciler.serving.holder import is_free
from reconciler.serving.process import End

TOLD = {"downloading": ev.DOWNLOAD_STARTED, "resuming": ev.DOWNLOAD_RESUMED, "unpacking": ev.ARTIFACT_VERIFIED}


class EdgeWork:
    """One worker a key; different keys side by side, a fixed number at a time."""

    def __init__(self, tools: Tools, needed: Callable[[], set[str]], workers: Workers) -> None:
        """needed: the digests that slots and orders name, which are never evicted."""
        self._tools, self._needed, self._workers = tools, needed, workers
        self._served = ServedModel(tools, self._stage)
        self._holdings: dict[str, Holding] = {"service": self._served, "bytes": Bytes(tools, self._stage)}
        self._jobs: dict[Key, Job] = {}
        self._anew: dict[Key, str] = {}  # the last operation for which bytes were asked

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────

    def current(self, key: Key) -> dict[str, Any] | None:
        """The spec on which the key's slot stands."""
        return self._tools.slots(key).current()

    def observe(self, key: Key) -> dict[str, Any] | None:
        """The spec that holds in fact. Where reality contradicts it, `version` and `sha256` hold what reality says."""
        spec = self.current(key)
        return None if spec is None else self._holding(key).observe(key, spec)

    def live(self, key: Key) -> dict[str, Any]:
        """What serves, by the runtime's own answer; what is there, of what no runtime serves."""
        spec = self.current(key)
        return {} if spec is None else self._holding(key).live(key, spec)

    def adopt(self, key: Key) -> None:
        """Find the runtime that an earlier agent left for this key."""
        spec = self.current(key)
        if spec is not None:
            self._holding(key).adopt(key, spec)

    def _holding(self, key: Key) -> Holding:
        return self._holdings[KINDS[key.kind].holding]

    def under_way(self, key: Key) -> dict[str, Any] | None:
        """The spec that a worker is busy with; {} for a removal."""
        job = self._jobs.get(key)
        return None if job is None else job.spec or {}

    def progress(self) -> list[dict[str, Any]]:
        """What every worker is at: key, stage, bytes done and in all."""
        jobs = list(self._jobs.values())
        return [{"key": str(job.key), "stage": job.stage, "done": job.done, "total": job.total} for job in jobs]

    # ── doing it ──────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, key: Key, spec: dict[str, Any] | None, policy: Mapping[str, Any], operation: str) -> None:
        """Start a worker for the key. The keeper sees to it that there is only one."""
        job = self._jobs[key] = Job(key, spec, policy, operation)
        self._workers.submit(partial(self._run, job))

    def may_listen(self, spec: Mapping[str, Any]) -> bool:
        """Whether the port that a spec is to be served on can be had now."""
        return is_free(spec["address"], spec["port"])

    def finish(self, key: Key) -> None:
        """The outcome of the key's worker has come through: another may begin."""
        self._jobs.pop(key, None)

    def cancel(self, key: Key) -> None:
        """Have the key's worker stop at its next step."""
        job = self._jobs.get(key)
        if job is not None:
            job.stopped = True

    def ended(self, key: Key, pid: int, end: End) -> None:
        """A runtime ended unasked. It is started again: at once, or where it cannot stay up after a while."""
        pause_s = self._served.crashed(key, end)
        error = f"the runtime (process {pid}) {end.how}" + (f"; started again in {pause_s:.1f} s" if pause_s else "")
        degraded = self._tools.event(ev.MODEL_DEGRADED, key, {"error": error, "live": {}})
        self._tools.post(Trigger(Cause.HAPPENED, "" if pause_s else str(key), (degraded,)), 0.0)
        if pause_s:
            self._tools.post(Trigger(Cause.KEYS, str(key)), pause_s)

    def close(self) -> None:
        """Have every worker stop at its next step."""
        for job in list(self._jobs.values()):
            job.stopped = True

    def _run(self, job: Job) -> None:
        """Do the job and post exactly one outcome."""
        try:
            type_, data = ev.APPLY_SUCCEEDED, self._do(job)
        except Cancelled:
            type_, data = ev.APPLY_ABANDONED, {"reason": "superseded by a newer order, or the agent ends"}
        except ReconcilerError as failure:
            type_, data = self._failed(job, failure)
        except Exception as bug:  # noqa: BLE001  # a bug in one job must not stop the others; the log tells it
            type_, data = ev.APPLY_FAILED, {"error": f"{type(bug).__name__}: {bug}", "code": "RX000"}
        outcome = self._tools.event(type_, job.key, data, operationid=job.operation)
        self._tools.post(Trigger(Cause.DONE, str(job.key), (outcome,)), 0.0)

    def _do(self, job: Job) -> dict[str, Any]:
        if job.spec is None:
            self._holding(job.key).remove(job.key)
            reached("edge.stopped")
            self._tools.slots(job.key).remove()
        else:
            self._holding(job.key).bring(job, job.spec)
        self._evict(self._tools.cap_bytes)
        return {"live": self.live(job.key)}

    def _failed(self, job: Job, failure: ReconcilerError) -> tuple[str, dict[str, Any]]:
        """The outcome of a failure: the order stays open, or what stands is kept; of content, for good."""
        said = failure.message if failure.advice == type(failure).hint else f"{failure.message}; {failure.advice}"
        data: dict[str, Any] = {"error": said, "code": failure.code, "live": self.live(job.key)}
        if failure.retryable:
            return ev.APPLY_ABANDONED, data
        if failure.retry is Retry.CONTENT and job.spec is not None:
            data["quarantine"] = content_digest(job.spec)
        return ev.APPLY_FAILED, data | {"phase": "RolledBack" if job.went_back else "Rejected"}

    def _stage(self, job: Job, spec: dict[str, Any]) -> Staged:
        """Have the artifact on disk; where there is no room, what nobody needs makes room."""
        anew = bool(job.policy.get("anew")) and self._anew.get(job.key) != job.operation
        self._anew[job.key] = job.operation  # once for each time that a person asks
        artifact = Artifact(
            sha256=spec["sha256"],
            url=spec["url"],
            size=spec.get("size"),
            allow_loopback=bool(job.policy.get("allowLoopback")),
            allow_file=bool(job.policy.get("allowFile")),
            anew=anew,
        )
        try:
            staged = self._tools.store.stage(artifact, self._watched(job, spec), lambda: job.stopped)
        except StorageExhausted:
            if not self._evict(0):
                raise
            staged = self._tools.store.stage(artifact, self._watched(job, spec), lambda: job.stopped)
        data = {"sha256": staged.sha256, "size": staged.size, "fetched": staged.fetched, "tree": staged.tree}
        data["version"] = spec["version"]
        trusted = {} if spec["sha256"] else {"trusted": f"{spec['url']} {spec['version']}"}
        self._tools.say(job, ev.ARTIFACT_STAGED, data | trusted)
        reached("edge.staged")
        return staged

    def _watched(self, job: Job, spec: dict[str, Any]) -> Callable[[str, int, int | None], None]:
        def progress(stage: str, done: int, total: int | None) -> None:
            if stage != job.stage and stage in TOLD:
                about = {"sha256": spec["sha256"], "url": spec["url"], "version": spec["version"]}
                self._tools.say(job, TOLD[stage], about | {"done": done} | ({"total": total} if total else {}))
            job.stage, job.done, job.total = stage, done, total

        return progress

    def _evict(self, cap_bytes: int) -> int:
        """Evict what nobody needs until the store holds at most `cap_bytes`; how many were evicted."""
        held = self._tools.store.held()
        needed = self._needed() | {str(job.spec["sha256"]) for job in list(self._jobs.values()) if job.spec}
        evicted = 0
        for digest in [digest for digest in held if digest not in needed]:
            if sum(held.values()) <= cap_bytes:
                break
            self._tools.store.evict(digest)
            del held[digest]
            evicted += 1
            data = {"sha256": digest, "edge": self._tools.edge}
            event = self._tools.event(ev.ARTIFACT_EVICTED, f"edge/{self._tools.edge}", data)
            self._tools.post(Trigger(Cause.HAPPENED, "", (event,)), 0.0)
        return evicted
