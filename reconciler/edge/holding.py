"""How an edge holds what it is given: one class a holding, by the name in a kind's row (planning.kinds).

May import: ports, engine. In: a job whose spec is to be held.  Out: what is there, and what is made of it.
"""

from collections.abc import Callable
from typing import Any

from reconciler.edge.job import Job, Tools
from reconciler.history import events as ev
from reconciler.history.keys import Key
from reconciler.ports import Staged

Stage = Callable[[Job, dict[str, Any]], Staged]  # has an artifact on disk, however long that takes


class Holding:
    """One way to hold a key. `bring` and `remove` are called from that key's worker alone."""

    def __init__(self, tools: Tools, stage: Stage) -> None:
        self._tools, self._stage = tools, stage

    def observe(self, key: Key, spec: dict[str, Any]) -> dict[str, Any]:
        """What holds in fact of the spec on which the slot stands: what reality contradicts is as reality says."""
        raise NotImplementedError

    def live(self, key: Key, spec: dict[str, Any]) -> dict[str, Any]:
        """What of the spec on which the slot stands is observed, as events report it; {} when nothing is."""
        raise NotImplementedError

    def bring(self, job: Job, spec: dict[str, Any]) -> None:
        """Bring the key to `spec`. Raises what made it impossible; then what stood before stands."""
        raise NotImplementedError

    def adopt(self, key: Key, spec: dict[str, Any]) -> None:
        """Find what an earlier agent left running for it."""

    def remove(self, key: Key) -> None:
        """End what runs for it; its slot goes next."""


class Bytes(Holding):
    """Data at its place, or of what only the metadata is wanted, the knowledge of it. Nothing runs."""

    def observe(self, key: Key, spec: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002  # all take the same
        """It is there, or none is wanted."""
        is_there = not spec["bytes"] or self._tools.store.staged(spec["sha256"]) is not None
        return spec if is_there else spec | {"version": ""}

    def live(self, key: Key, spec: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """What the slot stands on."""
        return {name: spec[name] for name in ("version", "sha256", "bytes")}

    def bring(self, job: Job, spec: dict[str, Any]) -> None:
        """Fetch it, and point the slot there."""
        if spec["bytes"]:
            spec = spec | {"sha256": self._stage(job, spec).sha256}
        self._tools.slots(job.key).flip(spec)
        facts = ("dataset", "version", "sha256", "format", "bytes")
        self._tools.say(job, ev.DATASET_SYNCED, {name: spec[name] for name in facts})
