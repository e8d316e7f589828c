"""The timeline: one line of words an event. May import: history. Pure.

In: events.  Out: words, to `history`, `run` and `why`. Every type in history.events has its words here; an event of a
newer release has its type.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER, Key, spoken, stage_of
from reconciler.history.state import switch
from reconciler.history.times import shown
from reconciler.model.identity import RIGHT_TO

Data = Mapping[str, Any]


def words(event: Event) -> str:
    """What happened, without when and to whom."""
    said = WORDS.get(event.type)
    return event.type if said is None else said(event)


def subject(event: Event) -> tuple[str, str]:
    """(edge, object) that an event is about; "" where it is about none. The object goes by the name that people use."""
    key = Key.named(event.subject)
    if key is not None:
        return key.edge, labelled(key.kind, named(key, event.data.get("spec") or {}))
    return str(event.data.get("edge") or event.data.get("peer") or ""), ""


def labelled(kind: str, name: str) -> str:
    """A name as it stands beside others: models are what it is all about, so only what is none says what it is."""
    return name if kind == "InferenceModel" else f"{name} ({kind.lower()})"


def named(key: Key, spec: Data) -> str:
    """What people call the object of a key: its model or dataset, else its name without the edge."""
    return str(spec.get("model") or spec.get("dataset") or key.name.removesuffix(f"-{key.edge}"))


def size(count: int) -> str:
    """Bytes for people: `19.1 KiB`; whole below a KiB."""
    amount, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if amount < 1024 or unit == units[-1]:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def content_words(version: str, digest: str) -> str:
    """`version 3`; of content of which the version is not known the beginning of its digest."""
    return f"version {version}" if version else digest[:12]


def counted(counts: Mapping[str, int]) -> str:
    """`3 to update, 1 to delete, 1 waiting`; `nothing to do` when all are zero."""
    said = [f"{n} waiting" if name == "waiting" else f"{n} to {name}" for name, n in counts.items() if n]
    return ", ".join(said) or "nothing to do"


def _version(data: Data) -> str:
    return f"version {(data.get('spec') or data.get('live') or data).get('version') or '(none)'}"


def _reason(data: Data) -> str:
    said = data.get("error") or data.get("reason")
    code = f"{data['code']}: " if data.get("code") else ""
    return f": {code}{said}" if said else ""


def _commit(event: Event) -> str:
    return f"commit {event.gitcommit[:7]}" if event.gitcommit else "commit"


def _ref_advanced(event: Event) -> str:
    data = event.data
    files = len(data.get("files", {}))
    were = (
        f", as {'they were' if files != 1 else 'it was'} in {str(data['reverts'])[:7]}" if data.get("reverts") else ""
    )
    said = f"{_commit(event)} by {data['author']}: {data['subject']} ({files} file{'s' * (files != 1)}{were})"
    odd = f"malformed, and read all the same: {', '.join(data['malformed'])}" if data.get("malformed") else ""
    empty = "nothing is declared there" if data.get("empty") else ""
    further = (odd, switch(data.get("before", {}), data.get("source", {})), data.get("missing", "") or empty)
    return "; ".join(filter(None, (said, *further)))


def _manifests_checked(event: Event) -> str:
    problems = event.data.get("problems", {})
    wrong = [problem for group in problems.values() for problem in group]
    mended = sum(not group for group in problems.values())
    said = [f"{p['code']} at {p.get('path', '')}:{p.get('line', 0)}: {p['message']}" for p in wrong[:1]]
    said += [f"{len(wrong) - 1} more"] if len(wrong) > 1 else []
    said += [f"{mended} mended"] if mended else []
    return "manifests checked: " + (", ".join(said) or "nothing is wrong")


def _planned(event: Event) -> str:
    data = event.data
    counts, digest = counted(data.get("counts", {})), event.newdigest
    if data.get("held"):
        return f"plan {digest} is held: {data['held']} ({counts})"
    fetched = f", edges fetch {size(data['fetchBytes'])}" if data.get("fetchBytes") else ""
    return f"plan {digest}{' (approved)' if data.get('releases') else ''}: {counts}{fetched}"


def _intended(event: Event) -> str:
    data = event.data
    if data["action"] == "delete":
        return f"ordered to go{_reason(data)}"
    origin = f" ({data['origin']})" if data.get("origin") else ""
    if stage_of(event.partitionkey) not in {DELIVER, ""}:
        return f"{_effect(data)}{_reason(data)}{origin}"
    verb = "begins" if event.source.startswith("/edge/") else "ordered"
    return f"{verb} {_version(data)}{_reason(data)}{origin}"


def _effect(data: Data) -> str:
    """What an intent does to an object of the API server."""
    if data["action"] == "create":
        return "creates it"
    ordered = sorted(data.get("changes", ()), key=lambda change: "[" in change[0])  # what was chosen, then its entry
    changes = [f"{field} {_short(old)} → {_short(new)}" for field, old, new in ordered]
    if not changes:
        return "changes nothing of it"
    return f"changes {', '.join(changes[:3])}" + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")


def _short(value: object) -> str:
    text = "(none)" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _succeeded(event: Event) -> str:
    live = event.data.get("live") or {}
    recovered = ", found after a restart" if event.data.get("recovered") else ""
    there = f", {_version(event.data)} is there" if live.get("version") else ""
    stays = f"; but {said}" if (said := stays_words(live)) else ""
    return f"done{there}{recovered}{stays}"


def _failed(event: Event) -> str:
    data = event.data
    return ("rolled back" if data.get("phase") == "RolledBack" else "rejected") + _reason(data) + _again(data)


def _abandoned(event: Event) -> str:
    return f"not done{_reason(event.data)}{_again(event.data)}"


def _again(data: Data) -> str:
    """`; again in 3.2 s`, `; again in 2 h`; "" where nobody says."""
    if "retryMs" not in data:
        return ""
    seconds = data["retryMs"] / 1000
    for size_s, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size_s:
            return f"; again in {seconds / size_s:.0f} {unit}"
    return f"; again in {seconds:.1f} s"


def _fields(data: Data) -> str:
    """`spec.targetVersion by kubectl-edit`; of many fields the first three."""
    named = [f"{one['field']} by {one['manager'] or 'somebody'}" for one in data.get("fields", ())]
    return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")


def lost_words(what: str) -> str:
    """What of a cluster this cannot do: `Edge cannot be read`, `the right to patch edges is missing`."""
    return f"{what} {'is missing' if _is_right(what) else 'cannot be read'}"


def _is_right(what: str) -> bool:
    return what.startswith(RIGHT_TO)


def drift_words(data: Data) -> str:
    """`changed by kubectl-edit: spec.targetVersion by kubectl-edit`; "" where there is no drift."""
    return f"{data['what']} by {data['writer'] or 'somebody'}: {_fields(data) or 'the object'}" if data else ""


class Stay(NamedTuple):
    """A field that is otherwise than it was asked for. None: it is not there.

    manager: whose it is; "" where it is ours, and the API server answered another value.
    """

    field: str
    asked: Any
    there: Any
    manager: str

    @property
    def words(self) -> str:
        """`spec.replicas stays 3, which is helm's; Git says 2`."""
        git = "" if self.asked is None else f"; Git says {_short(self.asked)}"
        if self.manager:
            return f"{self.field} stays {_short(self.there)}, which is {self.manager}'s{git}"
        return f"the API server has {self.field} {_short(self.there)}{git}"


def stays(live: Data) -> Iterator[Stay]:
    """What an outcome says of fields that are otherwise than they were asked for. live: see apply.succeeded."""
    for path, (asked, there, *whose) in sorted(live.get("mutated", {}).items()):
        yield Stay(path, asked, there, *(whose or [""]))


def stays_words(live: Data, *, declared: bool = False) -> str:
    """The same in words, of many fields the first three. declared: only those in which Git does not get its way."""
    if "mutated" not in live:
        return ""
    every = [one.words for one in stays(live) if not declared or (one.manager and one.asked is not None)]
    return "; ".join(every[:3]) + (f"; and {len(every) - 3} more" if len(every) > 3 else "")


def _waiting(event: Event) -> str:
    """`3 wait: frozen until ...; 1 waits no more`."""
    reasons = event.data["waits"]
    said = [f"{len(keys)} wait{'s' * (len(keys) == 1)}: {reason}" for reason, keys in reasons.items() if reason]
    over = len(reasons.get("", ()))
    said += [f"{over} wait{'s' * (over == 1)} no more"] if over else []
    return "; ".join(said)


def _explained(event: Event) -> str:
    """`has what Git wants, and another line says so now: …/faces@edge-7: pinned on edge-7 (edges/edge-7.yaml:7)`."""
    said = [f"{spoken(key)}: {why['reason']} ({why['origin']})" for key, why in event.data["keys"].items()]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"has what Git wants, and another line says so now: {', '.join(said[:3])}{more}"


def _drifted(event: Event) -> str:
    data = event.data
    done = {"correct": "to be taken back", "report": "reported only", "ignore": "left alone"}[data["policy"]]
    return f"{data['what']} by {data['writer'] or 'somebody'}, {done}: {_fields(data) or 'the object'}"


def _suspended(event: Event) -> str:
    data = event.data
    until = f" until {shown(data['until'])}" if data.get("until") else ""
    return f"{event.actor} suspended {_scope(data)}{until}{_reason(data)}"


def _resumed(event: Event) -> str:
    return f"{event.actor} resumed {_scope(event.data)}"


def _scope(data: Data) -> str:
    how = f" by annotation on {data['object']}" if data.get("object") else ""
    return ("everything" if data.get("scope") == "*" else str(data.get("scope"))) + how


def _download(what: str) -> Callable[[Event], str]:
    def said(event: Event) -> str:
        done, total = event.data.get("done"), event.data.get("total")
        of = f" of {size(total)}" if total else ""
        return f"{what} {event.data.get('url', '')}" + (f", {size(done)}{of} so far" if done else "")

    return said


def unproven_words(live: Data) -> str:
    """Why nobody knows that what serves answers rightly; "" where golden inputs say so."""
    return f"unproven: {live['unproven']}" if live.get("unproven") else ""


def _content(data: Data) -> str:
    return content_words(str(data.get("version", "")), str(data.get("sha256", "")))


def _staged(event: Event) -> str:
    data = event.data
    return f"staged {_content(data)}" + (f", fetched {size(data['fetched'])}" if data.get("fetched") else "")


def _activated(event: Event) -> str:
    previous = event.data.get("previous")
    unproven = ", unproven" if unproven_words(event.data.get("live") or {}) else ""
    return f"serves {_version(event.data)}{unproven}" + (f" (before: {previous})" if previous else "")


BEGAN: Final = "its agent began anew, and serves it again"


def _unstable(event: Event) -> str:
    data = event.data
    return f"unstable: served or lost {data['count']} times in {data['seconds'] // 60} minutes"


WORDS: Final[dict[str, Callable[[Event], str]]] = {
    ev.REF_ADVANCED: _ref_advanced,
    ev.REF_REWRITTEN: lambda e: f"history was rewritten: {str(e.data['from'])[:7]} is no longer in the branch",
    ev.REF_LOST: lambda e: f"the branch cannot be read{_reason(e.data)}",
    ev.REF_FOUND: lambda _: "the branch can be read again",
    ev.MANIFESTS_CHECKED: _manifests_checked,
    ev.CHANGE_PLANNED: _planned,
    ev.CHANGE_NARROWED: lambda e: f"{e.data['steps']} of the plan are not begun: {e.data['reason']}",
    ev.CHANGE_APPROVED: lambda e: f"{e.actor} approved plan {e.newdigest}",
    ev.APPLY_INTENDED: _intended,
    ev.APPLY_SUCCEEDED: _succeeded,
    ev.APPLY_FAILED: _failed,
    ev.APPLY_ABANDONED: _abandoned,
    ev.STEPS_WAITING: _waiting,
    ev.ORDER_EXPLAINED: _explained,
    ev.HOLD_PLACED: lambda e: f"held back{_reason(e.data)}",
    ev.HOLD_LIFTED: lambda e: f"{e.actor} released what was held",
    ev.RETRY_ASKED: lambda e: f"{e.actor} has it tried again",
    ev.RECONCILE_SUSPENDED: _suspended,
    ev.RECONCILE_RESUMED: _resumed,
    ev.APPLY_CONFLICTED: lambda e: f"not taken by force: {_fields(e.data)}",
    ev.DRIFT_DETECTED: _drifted,
    ev.DRIFT_FOUGHT: lambda e: f"fought over {e.data['count']} times in a minute: {_fields(e.data)}",
    ev.DRIFT_RESOLVED: lambda _: "is as declared again",
    ev.OBJECT_GONE: lambda _: "is neither declared nor there any more",
    ev.OBJECT_ADOPTED: lambda _: "was there already, kept from now on",
    ev.CLUSTER_LOST: lambda e: f"{lost_words(e.data['what'])}{_reason(e.data)}",
    ev.CLUSTER_FOUND: lambda e: f"{e.data['what']} {'is there again' if _is_right(e.data['what']) else 'can be read'}",
    ev.LEASE_ACQUIRED: lambda e: f"holds the lease (transition {e.data['transitions']})",
    ev.LEASE_LOST: lambda e: f"does not hold the lease, {e.data.get('holder') or 'nobody'} does{_reason(e.data)}",
    ev.EDGE_FOUND: lambda _: "the agent answers",
    ev.EDGE_LOST: lambda e: f"the agent is gone{_reason(e.data)}",
    ev.DOWNLOAD_STARTED: _download("downloads"),
    ev.DOWNLOAD_RESUMED: _download("resumes"),
    ev.DOWNLOAD_FAILED: lambda e: f"download failed{_reason(e.data)}",
    ev.ARTIFACT_VERIFIED: lambda e: f"verified {_content(e.data)}",
    ev.ARTIFACT_STAGED: _staged,
    ev.ARTIFACT_EVICTED: lambda e: f"removed {_content(e.data)} from its disk, as nothing there needs it",
    ev.MODEL_ACTIVATED: _activated,
    ev.MODEL_ROLLEDBACK: lambda e: f"went back to {_version(e.data)}{_reason(e.data)}",
    ev.MODEL_DEGRADED: lambda e: BEGAN if e.data.get("began") else f"degraded{_reason(e.data)}",
    ev.DATASET_SYNCED: lambda e: f"has {_version(e.data)}{'' if e.data.get('bytes') else ' (metadata only)'}",
    ev.STATE_UNSTABLE: _unstable,
    ev.LINK_REFUSED: lambda e: f"its log is not copied any more{_reason(e.data)}",
    ev.LINK_RESTORED: lambda _: "its log is copied again",
    ev.LOG_GENESIS: lambda e: (
        f"log {e.source} began" + (" as its edges know more of it" if "follows" in e.data else "")
    ),
    ev.SEGMENT_SEALED: lambda e: f"sealed entries {e.data['first']} to {e.data['last']}",
}
