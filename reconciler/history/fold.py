"""The fold of the log: the one projection behind `status`, `plan`, `state --at` and a restart. May import: history.

In: entries of one log, in order.  Out: State, moved on. The hub and every edge fold their own logs with this function.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from reconciler.history import events as ev
from reconciler.history.events import Entry, Event, rfc3339
from reconciler.history.keys import Key, stage_of
from reconciler.history.state import FAILED, HeldPlan, Leading, Served, StageState, State, Wish, fingerprint

CODE_VERSION: Final = 22  # of the fold: snapshots made by another one are dropped
INSTEAD: Final = "; what serves instead: "


def fold(state: State, entries: Iterable[Entry]) -> State:
    """`state`, moved on by `entries` in place; unknown types count as seen and change nothing else."""
    for entry in entries:
        event = entry.event
        state.seq, state.hash, state.time = entry.seq, entry.hash, event.recordedtime or event.time
        handler = HANDLERS.get(event.type)
        if entry.origin is None:
            state.source = event.source
            if event.partitionkey.startswith("plan/"):
                _mine(state, event).plans = event.version
        if event.source.startswith("/edge/") and entry.origin is not None:
            _heard(state, entry)
        elif entry.origin is not None:
            state.hub = event.source
        if handler is not None:
            handler(state, entry)
    return state


def _mine(state: State, event: Event) -> StageState:
    """The part of the stage that an event is of: its stream says so, whatever it is about."""
    return state.stage(stage_of(event.partitionkey))


def _served(state: State, event: Event) -> Served:
    """What is known of the key that an event is about."""
    return _mine(state, event).served(event.subject)


def _heard(state: State, entry: Entry) -> None:
    seen = state.edge(_writer(entry))
    seen.last_time, seen.last_sequence = entry.event.time, entry.origin.position if entry.origin else 0
    seen.source = entry.event.source


def _ref_advanced(state: State, entry: Entry) -> None:
    data, event = entry.event.data, entry.event
    unbroken = state.ref.reverts or state.ref.commit == state.ref.accepted
    state.ref.reverts = bool(data.get("reverts")) and unbroken
    state.ref.commit, state.ref.seq, state.ref.event = data["commit"], entry.seq, event.id
    state.ref.time, state.ref.author, state.ref.subject = data["committed"], data["author"], data["subject"]
    state.ref.missing = data.get("missing", "")
    if "source" in data:
        state.ref.switched = state.ref.switched or state.ref.source
        state.ref.source = data["source"]
    for path, oid in data["files"].items():
        _put(state.files, path, oid)
    for path, oids in data["documents"].items():
        _put(state.documents, path, oids)


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    """Keep what has this name now; None: nothing has it any more."""
    if value is None:
        table.pop(name, None)
    else:
        table[name] = value


def _ref_rewritten(state: State, entry: Entry) -> None:
    state.ref.rewritten_from = state.ref.rewritten_from or entry.event.data["from"]  # what was accepted, not in between


def _ref_lost(state: State, entry: Entry) -> None:
    state.ref.lost, state.ref.lost_since = entry.event.data["error"], entry.event.time


def _ref_found(state: State, entry: Entry) -> None:  # noqa: ARG001  # every handler takes both
    state.ref.lost = state.ref.lost_since = state.ref.ahead_since = ""
    state.ref.ahead = []


def _manifests_checked(state: State, entry: Entry) -> None:
    table = _mine(state, entry.event).problems if stage_of(entry.event.partitionkey) else state.problems
    for slot, problems in entry.event.data["problems"].items():
        _put(table, slot, problems or None)


def _change_planned(state: State, entry: Entry) -> None:
    data, event, mine = entry.event.data, entry.event, _mine(state, entry.event)
    begins = data.get("begins", {}) if data.get("held") else data["counts"]
    if ready := sum(n for action, n in begins.items() if action != "waiting"):
        mine.to_begin[event.id] = ready
    for name, table in (("undoes", mine.undoes), ("approved", mine.approved)):
        for key, said in data.get(name, {}).items():
            _put(table, key, said)
    if data.get("held"):
        mine.held_plan = _held(entry, mine.held_plan)
    elif data.get("releases") or event.gitcommit:
        mine.held_plan = None
    if data.get("held") and not data.get("accepted"):
        return
    if "fleet" in data:
        state.fleet = data["fleet"]
    is_older = data.get("releases") and event.gitcommit != state.ref.commit  # released beside a newer one
    if event.gitcommit and not is_older:
        state.ref.accepted, state.ref.rewritten_from, state.ref.missing = event.gitcommit, "", ""
        state.ref.switched = {}


def _held(entry: Entry, before: HeldPlan | None) -> HeldPlan:
    """What waits for a person from here on. What waited before keeps its commit and its policy, and its time if all
    of it does.
    """
    event, data = entry.event, entry.event.data
    is_known = before is not None and before.digest == event.newdigest
    last = before if before is not None and (data.get("accepted") or not event.gitcommit) else None
    return HeldPlan(
        digest=event.newdigest,
        reason=data["held"],
        keys=data["keys"] if "begins" in data or last is None else sorted({*last.keys, *data["keys"]}),
        counts=data["counts"],
        commit=last.commit if last is not None else event.gitcommit,
        fleet=last.fleet if last is not None else data.get("fleet"),
        seq=before.seq if before is not None and is_known else entry.seq,
        time=before.time if before is not None and is_known else event.time,
        wishes=(last.wishes if last is not None and "begins" not in data else {}) | dict(_wishes(data)),
    )


def _change_narrowed(state: State, entry: Entry) -> None:
    _begun(_mine(state, entry.event), entry.event.data["plan"], entry.event.data["steps"])


def _begun(mine: StageState, plan: str, steps: int) -> None:
    """So many steps of a plan are not still to be begun."""
    left = mine.to_begin.get(plan, 0) - steps
    if left > 0:
        mine.to_begin[plan] = left
    else:
        mine.to_begin.pop(plan, None)


def _apply_intended(state: State, entry: Entry) -> None:
    event, data, mine = entry.event, entry.event.data, _mine(state, entry.event)
    served = mine.served(event.subject)
    if entry.origin is None and event.source.startswith("/edge/"):  # an edge's own intent, in its own log
        served.own, served.own_spec = event.operationid, data["spec"]
        return
    if event.source.startswith("/edge/"):  # the hub's copy of it: the order itself says all
        return
    if event.causationid in mine.to_begin:
        _begun(mine, event.causationid, 1)
    is_restored = data["spec"] == served.order
    if event.subject in mine.undoes and not is_restored and mine.undoes[event.subject] != fingerprint(data["spec"]):
        del mine.undoes[event.subject]
    if served.order and not served.open and served.phase not in FAILED:
        served.before = served.order
    served.tries = served.tries if served.order == data["spec"] else 0
    served.order, served.policy, served.action = data["spec"], data.get("policy", {}), data["action"]
    served.operation, served.ordered_seq, served.ordered_id = event.operationid, entry.seq, event.id
    served.reason, served.origin, served.open = data["reason"], data.get("origin", ""), True
    served.lifted, served.anew, served.left = False, False, bool(data.get("left"))
    _phase(served, entry, "Desired")
    if data["action"] == "delete":
        mine.deletes = [*_within_hour(mine.deletes, event.time), event.time]


def _within_hour(times: list[str], now: str) -> list[str]:
    start = datetime.fromisoformat(now) - timedelta(hours=1)
    return [time for time in times if datetime.fromisoformat(time) > start]


def _not_deleted(mine: StageState, served: Served) -> None:
    """A delete that had no effect counts for no limit."""
    if served.action == "delete" and served.phase == "Desired" and served.phase_time in mine.deletes:
        mine.deletes.remove(served.phase_time)


def _phase(served: Served, entry: Entry, phase: str) -> None:
    served.phase, served.phase_seq, served.phase_time = phase, entry.seq, entry.event.time
    served.message = served.code = served.retry = ""


def _undone(served: Served, event: Event) -> None:
    """It is not so, for what reason, and when it is tried again."""
    served.message, served.code = event.data["error"], event.data.get("code", "")
    again = timedelta(milliseconds=event.data["retryMs"]) if "retryMs" in event.data else None
    served.retry = rfc3339((datetime.fromisoformat(event.time) + again).timestamp()) if again is not None else ""


def _is_current(served: Served, event: Event) -> bool:
    return not event.operationid or event.operationid == served.operation


def _answered(mine: StageState, event: Event) -> Served:
    """Whose order was answered: nothing of its own is under way there any more, and what is live was told."""
    served = mine.served(event.subject)
    served.own, served.own_spec = "", {}
    if event.data.get("live") is not None:
        served.live = event.data["live"]
    return served


def _apply_succeeded(state: State, entry: Entry) -> None:
    event, mine = entry.event, _mine(state, entry.event)
    served = _answered(mine, event)
    if not _is_current(served, event):
        served.message = _refusal(served)
        return
    served.open, served.before, served.tries = False, {}, 0
    mine.undoes.pop(event.subject, None)
    served.drift = _left_of(served.drift) if served.left else {}
    if not served.left:  # nothing of it is left to others any more
        served.fought = ""
    if served.action == "delete":
        mine.holds.pop(event.subject, None)
        _forgotten(mine, event.subject)
        return
    _phase(served, entry, "Committed")


def _left_of(drift: dict[str, Any]) -> dict[str, Any]:
    """The part of a drift that a rule lets stand, once the rest was taken back."""
    policy = drift.get("policy")
    fields = [one for one in drift.get("fields", ()) if one.get("policy", policy) != "correct"]
    return {**drift, "policy": "report", "fields": fields} if fields else {}


def _apply_failed(state: State, entry: Entry) -> None:
    event, data, mine = entry.event, entry.event.data, _mine(state, entry.event)
    served = _answered(mine, event)
    if data.get("quarantine"):
        mine.holds.setdefault(event.subject, {})[data["quarantine"]] = {
            "reason": data["error"],
            "code": data["code"],
            "seq": entry.seq,
            "time": event.time,
        }
        if _is_current(served, event) and served.order.get("version"):
            mine.holds[event.subject][data["quarantine"]]["version"] = str(served.order["version"])
    served.tries += 1
    if not _is_current(served, event):
        return
    served.open = False
    _not_deleted(mine, served)
    _phase(served, entry, data.get("phase", "Rejected"))
    _undone(served, event)


def _apply_abandoned(state: State, entry: Entry) -> None:
    event, data, mine = entry.event, entry.event.data, _mine(state, entry.event)
    served = mine.served(event.subject)
    served.own, served.own_spec = "", {}
    if not _is_current(served, event):
        return
    if data.get("settled"):  # nobody works on it any more, and it had no effect: what was ordered before stands
        _not_deleted(mine, served)
        served.open, served.order, served.before = False, served.before, {}
        served.action = "update" if served.order else served.action
    if data.get("error"):
        served.tries += 1
        _undone(served, event)


def _progressed(phase: str) -> "Handler":
    def handler(state: State, entry: Entry) -> None:
        served = _served(state, entry.event)
        if _is_current(served, entry.event):
            _phase(served, entry, phase)

    return handler


def _download_failed(state: State, entry: Entry) -> None:
    served = _served(state, entry.event)
    served.message, served.code = entry.event.data["error"], entry.event.data["code"]


def _edge_of(entry: Entry) -> str:
    key = Key.named(entry.event.subject)
    return (key.edge if key is not None else "") or entry.event.data.get("edge", "")


def _artifact_staged(state: State, entry: Entry) -> None:
    data = entry.event.data
    state.edge(_edge_of(entry)).artifacts[data["sha256"]] = data["size"]
    if data.get("trusted"):
        state.digests[data["trusted"]] = data["sha256"]
    _progressed("Staged")(state, entry)


def _artifact_evicted(state: State, entry: Entry) -> None:
    state.edge(entry.event.data["edge"]).artifacts.pop(entry.event.data["sha256"], None)


def _model_activated(state: State, entry: Entry) -> None:
    served = _served(state, entry.event)
    served.live = entry.event.data["live"]
    served.previous = entry.event.data.get("previous", served.previous)
    if not served.open:  # nobody ordered it
        _flipped(served, entry)
    served.message = _refusal(served)
    if _is_current(served, entry.event):
        _phase(served, entry, "Active" if served.open else "Committed")


def _flipped(served: Served, entry: Entry) -> None:
    served.flips = [*served.flips, entry.event.time][-5:]


def _model_rolledback(state: State, entry: Entry) -> None:
    served = _served(state, entry.event)
    served.live = entry.event.data["live"]
    _phase(served, entry, "RolledBack")
    served.message, served.code = entry.event.data["error"], entry.event.data["code"]


def _model_degraded(state: State, entry: Entry) -> None:
    served = _served(state, entry.event)
    served.live = entry.event.data["live"]
    if entry.event.data.get("began"):  # whoever ends an agent does not make what it serves unstable
        served.flips = []
    else:
        _flipped(served, entry)
    if served.phase not in FAILED:  # an order that was refused stays refused; what stands instead is `live`
        _phase(served, entry, "Degraded")
    _befell(served, entry.event.data["error"])


def _befell(served: Served, error: str) -> None:
    """What became of that which serves, beside why the order was refused where another one was."""
    if served.phase in FAILED:
        served.message = f"{_refusal(served)}{INSTEAD}{error}"
    else:
        served.message, served.code = error, ""


def _refusal(served: Served) -> str:
    """Why an order was refused, without what became of that which stands instead."""
    return served.message.partition(INSTEAD)[0]


def _state_unstable(state: State, entry: Entry) -> None:
    served, data = _served(state, entry.event), entry.event.data
    served.live, served.unstable = data["live"], entry.event.time
    _befell(served, f"it was served or lost {data['count']} times in {data['seconds'] // 60} minutes")


def _steps_waiting(state: State, entry: Entry) -> None:
    mine, data = _mine(state, entry.event), entry.event.data
    for reason, keys in data["waits"].items():
        for key in keys:
            _put(mine.waits, key, reason or None)
            _put(mine.waiting, key, (mine.waiting.get(key) or entry.event.time) if reason else None)
            mine.wishes.pop(key, None)
    mine.wishes.update(_wishes(data))


def _wishes(data: dict[str, Any]) -> Iterable[tuple[str, Wish]]:
    """What is wanted of keys that wait, by key. data: of the event that says so."""
    for one in data.get("wants", ()):
        wish = Wish(**{name: value for name, value in one.items() if name != "keys"})
        yield from ((key, wish) for key in one["keys"])


def _order_explained(state: State, entry: Entry) -> None:
    mine = _mine(state, entry.event)
    for key, why in entry.event.data["keys"].items():
        served = mine.served(key)
        served.reason, served.origin = why["reason"], why["origin"]


def _hold_lifted(state: State, entry: Entry) -> None:
    _mine(state, entry.event).holds.pop(entry.event.subject, None)
    _served(state, entry.event).lifted = True


def _retry_asked(state: State, entry: Entry) -> None:
    served = _served(state, entry.event)
    served.lifted, served.anew = True, bool(entry.event.data.get("anew"))


def _suspended(state: State, entry: Entry) -> None:
    data = entry.event.data
    _suspensions(state, data)[data["scope"]] = {k: data[k] for k in ("reason", "until", "object") if data.get(k)} | {
        "actor": entry.event.actor,
        "time": entry.event.time,
    }


def _resumed(state: State, entry: Entry) -> None:
    data = entry.event.data
    _suspensions(state, data).pop(data["scope"], None)


def _suspensions(state: State, data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those that an event is about: of verbs, or of annotations, which `resume` does not end."""
    return state.annotated if data.get("annotated") else state.suspended


def _link_refused(state: State, entry: Entry) -> None:
    data, seen = entry.event.data, state.edges.get(_writer(entry))
    if entry.origin is None:
        state.links[data["peer"]] = data["error"]
    elif seen is None and data.get("source") == state.source and "held" in data:
        state.put_back = data["held"]
    elif seen is not None and data.get("source", state.source) == state.source:  # else it was of an epoch before
        seen.refusal, seen.forked = data["error"], "source" in data


def _link_restored(state: State, entry: Entry) -> None:
    seen = state.edges.get(_writer(entry))
    if entry.origin is None:
        state.links.pop(entry.event.data["peer"], None)
    elif seen is not None:
        seen.refusal, seen.forked = "", False


def _writer(entry: Entry) -> str:
    """The edge that wrote it; "" where a hub did."""
    return entry.event.source.split("/")[2] if entry.event.source.startswith("/edge/") else ""


def _log_began(state: State, entry: Entry) -> None:
    if entry.origin is None:
        state.put_back = []
    if entry.origin is None and not _writer(entry):
        state.epoch = entry.seq
        for seen in state.edges.values():
            seen.refusal, seen.forked = "", False


def _object_adopted(state: State, entry: Entry) -> None:
    event, data = entry.event, entry.event.data
    served = _served(state, event)
    served.live = {name: data[name] for name in ("uid", "resourceVersion") if name in data}
    if data.get("ahead"):
        state.ref.ahead = [*(one for one in state.ref.ahead if one != data["ahead"]), data["ahead"]]
        state.ref.ahead_since = event.time
    if data.get("spec"):  # as it was found, so that nothing is sent for what is as wanted
        operation = event.operationid or event.id
        served.order, served.operation, served.action = data["spec"], operation, "create"
        served.before = {}
        served.ordered_seq, served.ordered_id = entry.seq, event.id
        served.reason = data.get("reason", "it was there already")
        _phase(served, entry, "Committed")


def _object_gone(state: State, entry: Entry) -> None:
    _forgotten(_mine(state, entry.event), entry.event.subject)


def _forgotten(mine: StageState, key: str) -> None:
    """A key is gone, with what was to be done with it."""
    waits: tuple[dict[str, Any], ...] = (mine.waits, mine.wishes, mine.waiting, mine.undoes, mine.approved)
    mine.keys.pop(key, None)
    for table in waits:
        table.pop(key, None)


def _drift_detected(state: State, entry: Entry) -> None:
    data = entry.event.data
    served = _served(state, entry.event)
    served.drift = {name: data[name] for name in ("what", "writer", "policy", "fields")} | {"time": entry.event.time}


def _drift_resolved(state: State, entry: Entry) -> None:
    _served(state, entry.event).drift = {}


def _drift_fought(state: State, entry: Entry) -> None:
    served = _served(state, entry.event)
    served.fought = entry.event.data["until"]
    managers = ", ".join(sorted({one["manager"] or "somebody" for one in entry.event.data["fields"]}))
    served.message, served.code = f"{managers} and reconciler fight over it", "RX412"


def _cluster_lost(state: State, entry: Entry) -> None:
    data = entry.event.data
    state.lost[data["what"]] = {"error": data["error"], "code": data.get("code", ""), "since": entry.event.time}


def _cluster_found(state: State, entry: Entry) -> None:
    state.lost.pop(entry.event.data["what"], None)


def _lease(state: State, entry: Entry) -> None:
    data, held = entry.event.data, entry.event.type == ev.LEASE_ACQUIRED
    state.cluster = data.get("cluster") or state.cluster
    state.lease = Leading(
        held=held,
        holder=data.get("holder", ""),
        transitions=data["transitions"],
        since=entry.event.time,
        install=data.get("install", state.lease.install),
    )


def _edge_found(state: State, entry: Entry) -> None:
    seen = state.edge(entry.event.data["edge"])
    seen.present, seen.since, seen.error = True, entry.event.time, ""


def _edge_lost(state: State, entry: Entry) -> None:
    seen = state.edge(entry.event.data["edge"])
    seen.present, seen.since, seen.error = False, entry.event.time, entry.event.data.get("error", "")


Handler = Callable[[State, Entry], None]

HANDLERS: Final[dict[str, Handler]] = {
    ev.REF_ADVANCED: _ref_advanced,
    ev.REF_REWRITTEN: _ref_rewritten,
    ev.REF_LOST: _ref_lost,
    ev.REF_FOUND: _ref_found,
    ev.MANIFESTS_CHECKED: _manifests_checked,
    ev.CHANGE_PLANNED: _change_planned,
    ev.CHANGE_NARROWED: _change_narrowed,
    ev.APPLY_INTENDED: _apply_intended,
    ev.APPLY_SUCCEEDED: _apply_succeeded,
    ev.APPLY_FAILED: _apply_failed,
    ev.APPLY_ABANDONED: _apply_abandoned,
    ev.DOWNLOAD_STARTED: _progressed("Downloading"),
    ev.DOWNLOAD_RESUMED: _progressed("Downloading"),
    ev.DOWNLOAD_FAILED: _download_failed,
    ev.ARTIFACT_VERIFIED: _progressed("Verified"),
    ev.ARTIFACT_STAGED: _artifact_staged,
    ev.ARTIFACT_EVICTED: _artifact_evicted,
    ev.MODEL_ACTIVATED: _model_activated,
    ev.MODEL_ROLLEDBACK: _model_rolledback,
    ev.MODEL_DEGRADED: _model_degraded,
    ev.STATE_UNSTABLE: _state_unstable,
    ev.HOLD_LIFTED: _hold_lifted,
    ev.RETRY_ASKED: _retry_asked,
    ev.STEPS_WAITING: _steps_waiting,
    ev.ORDER_EXPLAINED: _order_explained,
    ev.RECONCILE_SUSPENDED: _suspended,
    ev.RECONCILE_RESUMED: _resumed,
    ev.LOG_GENESIS: _log_began,
    ev.LINK_REFUSED: _link_refused,
    ev.LINK_RESTORED: _link_restored,
    ev.OBJECT_ADOPTED: _object_adopted,
    ev.OBJECT_GONE: _object_gone,
    ev.DRIFT_DETECTED: _drift_detected,
    ev.DRIFT_FOUGHT: _drift_fought,
    ev.DRIFT_RESOLVED: _drift_resolved,
    ev.CLUSTER_LOST: _cluster_lost,
    ev.CLUSTER_FOUND: _cluster_found,
    ev.LEASE_ACQUIRED: _lease,
    ev.LEASE_LOST: _lease,
    ev.EDGE_FOUND: _edge_found,
    ev.EDGE_LOST: _edge_lost,
}
