"""Rollouts as a hub's log has them: orders, and what the edges' own logs say of them, copied with their own bytes.

Versions 1 and 2 take turns, so that what is live stays as large as the fleet. The first time an edge gets a version it
fetches it; afterwards it has it, as after a revert.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from reconciler.engine.recorder import Recorder
from reconciler.history import codec
from reconciler.history import events as ev
from reconciler.history.events import EMPTY, Event, Head, Origin, event_id, rfc3339
from reconciler.history.keys import DELIVER, Key, stream_of
from tests.fleets import sha
from tests.log_events import StillClock

OTHER = {"1": "2", "2": "1"}
PIECE = 500  # orders in one append, and edges whose news are copied in one


class EdgeLog:
    """As much of an edge's log as its hub copies: own events, in their own chain."""

    def __init__(self, edge: str) -> None:
        self.source = f"/edge/{edge}/{event_id('log', edge).replace('-', '')}"
        self._head: Head = EMPTY
        self._versions: dict[str, int] = defaultdict(int)

    def stamp(self, event: Event) -> tuple[Origin, bytes]:
        """The event in the form that `ports.EventLog.copy` takes."""
        seq, prev, stream = self._head.seq + 1, self._head.hash, event.partitionkey
        self._versions[stream] += 1
        version, sequence = self._versions[stream], f"{seq:020d}"
        body = codec.encode(
            msgspec.structs.replace(
                event, source=self.source, sequence=sequence, version=version, recordedtime=event.time
            )
        )
        self._head = Head(seq, codec.chain(prev, body))
        return Origin(source=self.source, position=seq, hash=self._head.hash.hex(), prev=prev.hex()), body


class Rollouts:
    """A fleet whose every model is given version after version."""

    def __init__(self, record: Recorder, clock: StillClock, edges: int, models: int) -> None:
        self._record, self._clock = record.stage(DELIVER), clock
        names = [f"edge-{n:04d}" for n in range(edges)]
        self._logs = {name: EdgeLog(name) for name in names}
        self._keys = [Key("InferenceModel", "default", f"m{m}-{name}", name) for name in names for m in range(models)]
        self._rounds = 0
        record.append([record.event(ev.EDGE_FOUND, f"edge/{name}", {"edge": name}) for name in names])

    def round(self) -> None:
        """One commit that changes the version of every model, and its way through the whole fleet."""
        self._rounds += 1
        self._clock.seconds += 1
        commit, version = f"{self._rounds:040x}", "12"[self._rounds % 2]
        facts: dict[str, Any] = {
            "commit": commit,
            "author": "Ada <ada@example.com>",
            "committed": self._now,
            "subject": "Roll out",
        }
        blob, path = sha(version)[:40], "deployments/models.yaml"
        facts |= {"files": {path: blob}, "documents": {path: [f"{blob}#0"]}}
        planned = {"counts": {"update": len(self._keys)}}
        advanced = self._record.event(ev.REF_ADVANCED, "git", facts, gitcommit=commit)
        plan = self._record.event(ev.CHANGE_PLANNED, "plan/deliver", planned, gitcommit=commit, newdigest=commit[-16:])
        self._record.append([advanced, plan])
        for start in range(0, len(self._keys), PIECE):
            keys = self._keys[start : start + PIECE]
            orders = self._record.append([self._order(key, version, plan) for key in keys])
            said = (self._answers(key, order.event) for key, order in zip(keys, orders, strict=True))
            news = [event for answers in said for event in answers]
            self._record.log.copy(news)

    @property
    def _now(self) -> str:
        return rfc3339(self._clock.now())

    def _order(self, key: Key, version: str, plan: Event) -> Event:
        model, before = key.name.partition("-")[0], OTHER[version]
        archive = sha(f"{model} {version}")
        url = f"https://models.example.com/{model}-{version}.tar.gz"
        spec = {"version": version, "url": url, "sha256": archive, "size": 5_150_000, "model": model}
        spec |= {"framework": "onnx", "address": "127.0.0.1", "port": 8080, "serving": True}
        data = {"action": "update", "spec": spec, "policy": {"allowLoopback": False, "allowFile": False}}
        data |= {"reason": f"the default version of {model}", "origin": "deployments/models.yaml:9"}
        return self._record.event(
            ev.APPLY_INTENDED,
            key,
            data | {"changes": [["version", before, version]]},
            causationid=plan.id,
            operationid=event_id("operation", str(key), self._rounds),
            gitcommit=plan.gitcommit,
            newdigest=archive,
        )

    def _answers(self, key: Key, order: Event) -> Iterator[tuple[Origin, bytes]]:
        """What the edge says of an order, from its own intent to its outcome, as it is copied."""
        spec = order.data["spec"]
        live = {"version": spec["version"], "sha256": spec["sha256"], "digest": sha(spec["sha256"]), "ready": True}
        live |= {"url": f"http://127.0.0.1:8080/v2/models/{spec['model']}"}
        yield self._said(ev.APPLY_INTENDED, key, order, {"action": "update", "spec": spec})
        if self._rounds <= 2:
            yield self._said(ev.DOWNLOAD_STARTED, key, order, {"url": spec["url"]})
            held = {"sha256": spec["sha256"], "size": spec["size"], "fetched": spec["size"]}
            yield self._said(ev.ARTIFACT_STAGED, key, order, held)
        yield self._said(ev.MODEL_ACTIVATED, key, order, {"live": live, "previous": OTHER[spec["version"]]})
        yield self._said(ev.APPLY_SUCCEEDED, key, order, {"live": live})

    def _said(self, type_: str, key: Key, order: Event, data: dict[str, object]) -> tuple[Origin, bytes]:
        event = Event(
            id=event_id(type_, order.operationid),
            type=type_,
            partitionkey=stream_of(DELIVER, key),
            subject=str(key),
            time=self._now,
            actor=f"edge/{key.edge}",
            causationid=order.id,
            operationid=order.operationid,
            data=data,
        )
        return self._logs[key.edge].stamp(event)
