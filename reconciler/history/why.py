"""The walk of `why`: from what an edge serves back to the line in Git that asked for it. May import: history. Pure.

In: a key, the fold of the log, and the log by event id and by stream.  Out: links, what is running first, to `why`.
A link is an event with words; each is the cause of the one before it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from reconciler.history import events as ev
from reconciler.history.events import Entry, Event
from reconciler.history.keys import DELIVER, Key, scopes_of, stream_of
from reconciler.history.state import EdgeSeen, Served, StageState, State, suspended_by
from reconciler.history.timeline import drift_words, named, unproven_words, words
from reconciler.history.times import is_over

Find = Callable[[str], Entry | None]
Stream = Callable[[str], Iterable[Entry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyLink:
    """One step of the walk.

    what: `serving`, `activation`, `outcome`, `order`, `plan`, `approval`, `commit`, `line`, `cause`, `wanted`, `today`,
    `held back`, `held`, `suspended`, `problem`, or another event's type.  seq and id: of the event in the log asked; 0
    and "" where the fold says it.  place: `path:line` in `commit`.
    """

    what: str
    text: str
    time: str = ""
    seq: int = 0
    id: str = ""
    place: str = ""
    commit: str = ""
    author: str = ""


class Asked(NamedTuple):
    """What the repository asks for now: a version, in words why, and the `path:line` that says so."""

    version: str
    reason: str
    place: str


def why(  # noqa: PLR0917  # where to look, then what to look with
    stage: str, key: Key, state: State, find: Find, stream: Stream, asked: Asked | None = None
) -> list[WhyLink]:
    """The walk for one key: what serves and who asked for it; then, where it differs, what is wanted and why it waits.

    stage: that the key is of.  find: an entry by its event id.  stream: the entries of one stream, in order.  asked:
    shown where another line than that of the order asks today, for the same version or not. Empty when nothing is known
    of the key.
    """
    mine = state.stage(stage)
    served = mine.keys.get(str(key))
    if served is None:
        return [*_held_back(key, state, mine, asked), *_problems(key, mine)]
    past = list(stream(stream_of(stage, key)))
    walk = _on_edge if stage == DELIVER else _object
    return [
        *_told(walk(served, past, find, stream), key, state),
        *_today(asked, _said(served, past), state, find, stream),
        *_held_back(key, state, mine, asked),
        *_held(key, mine),
        *_suspended(key, state, served, mine),
        *_problems(key, mine),
    ]


def _told(links: Iterable[WhyLink], key: Key, state: State) -> Iterator[WhyLink]:
    """The same; of an edge that is not heard what it answered last."""
    is_heard = state.source.startswith("/edge/") or state.edges.get(key.edge, EdgeSeen()).present
    for link in links:
        old = f"answered{link.text.removeprefix('answers')}, when it was heard last"
        yield replace(link, text=old) if link.what == "serving" and not is_heard else link


def _on_edge(served: Served, past: list[Entry], find: Find, stream: Stream) -> Iterator[WhyLink]:
    """The walk for what an edge has: by which order it serves what it serves, and what it was ordered since."""
    running = _running(served, past)
    if running is not None:
        yield _serving(served, running)
        yield from _walk(running, past, find, stream)
    if running is None or running.event.operationid != served.operation:
        yield from _wanted(served, past, find, stream)


def _object(served: Served, past: list[Entry], find: Find, stream: Stream) -> Iterator[WhyLink]:
    """The walk for an object of the API server: what was applied, by whom it was wanted, what others did to it."""
    applied = next((entry for entry in reversed(past) if entry.event.type == ev.APPLY_SUCCEEDED), None)
    drift = served.drift or {}
    if drift:
        yield WhyLink(what="drift", text=drift_words(drift), time=drift.get("time", ""))
    if applied is not None:
        live = served.live
        text = f"is as applied, {version_words(served.order)}resourceVersion {live.get('resourceVersion', '')}"
        yield WhyLink(what="applied", text=text, time=applied.event.time)
        yield from _walk(applied, past, find, stream)
        order = _order(applied.event.operationid, past)
        if order is not None and not order.event.gitcommit:  # it restored what a commit had brought about
            began = [e for e in past if e.event.type == ev.APPLY_INTENDED and e.event.gitcommit and e.seq < order.seq]
            if began:
                yield from _walk(began[-1], past, find, stream)
    if served.operation and (applied is None or applied.event.operationid != served.operation):
        yield from _wanted(served, past, find, stream)


def version_words(order: Mapping[str, Any]) -> str:
    """`version 2, ` of an object that has one."""
    version = order.get("spec", {}).get("targetVersion")
    return f"version {version}, " if version else ""


_PROOFS = {ev.MODEL_ACTIVATED, ev.MODEL_ROLLEDBACK, ev.APPLY_SUCCEEDED, ev.DATASET_SYNCED}


def _running(served: Served, past: list[Entry]) -> Entry | None:
    """The event by which the edge began to serve what it serves now."""
    version = served.live.get("version")
    if not version:
        return None
    found = None
    for entry in past:
        said = entry.event.data.get("live") or entry.event.data
        if entry.event.type not in _PROOFS or said.get("version") != version:
            continue
        if found is None or (found.event.operationid != entry.event.operationid and _began(entry.event)):
            found = entry
    return found


def _began(event: Event) -> bool:
    return event.type in {ev.MODEL_ACTIVATED, ev.MODEL_ROLLEDBACK} or not event.data.get("unchanged")


def _serving(served: Served, running: Entry) -> WhyLink:
    live = served.live
    digest = str(live.get("digest") or live.get("sha256") or "")
    where = f" at {live['url']}" if live.get("url") else ""
    text = f"answers version {live['version']}{where}" + (f", from bytes {digest[:12]}" if digest else "")
    text += f"; {unproven}" if (unproven := unproven_words(live)) else ""
    return WhyLink(what="serving", text=text, time=running.event.time)


def _walk(entry: Entry, past: list[Entry], find: Find, stream: Stream) -> Iterator[WhyLink]:
    """From an event of a key to the commit: its order by operation, from there by cause."""
    if entry.event.type != ev.APPLY_INTENDED:
        yield _link("activation" if entry.event.type == ev.MODEL_ACTIVATED else "outcome", entry)
        order = _order(entry.event.operationid, past)
        if order is None:
            return
        entry = order
    yield _link("order", entry)
    origin = str(entry.event.data.get("origin", ""))
    seen = {entry.event.id}
    while (cause := _found(entry, find)) is not None and cause.event.id not in seen:
        seen.add(cause.event.id)
        yield from _cause(cause, origin, stream)
        entry = cause
    if stands_elsewhere(entry, find):
        yield WhyLink(what="cause", text=f"event {entry.event.causationid}, which stands in the hub's log only")


def _found(entry: Entry, find: Find) -> Entry | None:
    return find(entry.event.causationid) if entry.event.causationid else None


def stands_elsewhere(entry: Entry, find: Find) -> bool:
    """Whether this is an order as an edge holds it, whose cause is in the hub's log alone: it decided for many."""
    copied = entry.origin is not None and entry.event.source.startswith("/hub/")
    return copied and bool(entry.event.causationid) and _found(entry, find) is None


def _order(operation: str, past: list[Entry]) -> Entry | None:
    mine = (entry for entry in past if entry.event.operationid == operation)
    return next((e for e in mine if e.event.type == ev.APPLY_INTENDED and e.event.source.startswith("/hub/")), None)


_NAMES = {ev.CHANGE_PLANNED: "plan", ev.CHANGE_APPROVED: "approval", ev.HOLD_LIFTED: "approval"}


def _cause(entry: Entry, origin: str, stream: Stream) -> Iterator[WhyLink]:
    event = entry.event
    if event.type != ev.REF_ADVANCED:
        yield _link(_NAMES.get(event.type, event.type), entry)
        return
    wrote = _wrote(_path(origin), entry, stream)
    if wrote.event.id != event.id:
        yield _link("commit", entry)
    yield _link("line" if origin else "commit", wrote, place=origin)


def _wrote(path: str, read: Entry, stream: Stream) -> Entry:
    """The commit that brought the file as it was when `read` was read: the newest that changed it, not after it."""
    if not path or path in read.event.data["files"]:
        return read
    found = read
    for entry in stream(read.event.partitionkey):
        if entry.seq > read.seq:
            break
        if entry.event.type == ev.REF_ADVANCED and path in entry.event.data["files"]:
            found = entry
    return found


def _link(what: str, entry: Entry, *, place: str = "") -> WhyLink:
    event = entry.event
    is_commit = event.type == ev.REF_ADVANCED
    return WhyLink(
        what=what,
        text=words(event),
        time=event.time,
        seq=entry.seq,
        id=event.id,
        place=place or str(event.data.get("origin", "")),
        commit=event.gitcommit,
        author=str(event.data["author"]) if is_commit else event.actor,
    )


def _wanted(served: Served, past: list[Entry], find: Find, stream: Stream) -> Iterator[WhyLink]:
    """The last order, which is not what serves: what became of it, and who asked."""
    mine = [entry for entry in past if entry.event.operationid == served.operation]
    order = _order(served.operation, past)
    outcome = next((entry for entry in reversed(mine) if entry.event.type != ev.APPLY_INTENDED), None)
    version = served.order.get("version")
    kept = f"version {version} is to serve" if version else f"{version_words(served.order)}it is to be as declared"
    what = kept if served.order else "it is to go"
    yield WhyLink(what="wanted", text=f"{what}: {served.phase}", time=served.phase_time)
    if outcome is not None and (order is None or outcome.seq > order.seq):
        yield _link("outcome", outcome)
    if order is not None:
        yield from _walk(order, past, find, stream)


def _said(served: Served, past: list[Entry]) -> tuple[str, str]:
    """Why it was ordered, and by which file."""
    order = _order(served.operation, past)
    if order is None:
        return served.reason, _path(served.origin)
    return order.event.data["reason"], _path(order.event.data.get("origin", ""))


def _today(asked: Asked | None, said: tuple[str, str], state: State, find: Find, stream: Stream) -> Iterator[WhyLink]:
    """Another line than the one that was ordered from: a pin on a version that served already orders nothing."""
    if asked is None or (asked.reason, _path(asked.place)) == said:
        return
    read = find(state.ref.event)
    wrote = _wrote(_path(asked.place), read, stream).event if read is not None else None
    yield WhyLink(
        what="today",
        text=f"{f'version {asked.version}' if asked.version else 'it'} is asked for: {asked.reason}",
        time=wrote.time if wrote else "",
        place=asked.place,
        commit=wrote.gitcommit if wrote else "",
        author=str(wrote.data["author"]) if wrote else "",
    )


def _path(place: str) -> str:
    return place.rpartition(":")[0]


def _held(key: Key, mine: StageState) -> Iterator[WhyLink]:
    for digest, hold in sorted(mine.holds.get(str(key), {}).items()):
        version = hold.get("version", "")
        what = f"version {version} ({digest[:12]})" if version else digest[:12]
        lets = f"`reconciler release {key.edge} {named(key, mine.known(key).order)}` lets it be tried"
        text = f"{what} is not given to {key.edge} again: {hold['code']}: {hold['reason']}; {lets}"
        yield WhyLink(what="held", text=text, time=hold["time"], seq=hold["seq"])
    plan = mine.held_plan
    if plan is not None and str(key) in plan.keys:
        text = f"plan {plan.digest} waits for a person: {plan.reason}"
        yield WhyLink(what="held", text=text, time=plan.time, seq=plan.seq, commit=plan.commit)


def _held_back(key: Key, state: State, mine: StageState, asked: Asked | None) -> Iterator[WhyLink]:
    """What Git wants of a key by now, and for what that waits."""
    why, wish = mine.waits.get(str(key)), mine.wish(key)
    if not why:
        return
    version = wish.version or (asked.version if asked is not None else "")
    git = "that it goes" if wish.action == "delete" else version or "otherwise"
    place = wish.origin or (asked.place if asked is not None else "")
    text = f"{why}; Git says {git}" + (f" ({place})" if place else "")
    yield WhyLink(what="held back", text=text, place=place, commit=state.ref.commit)


def _suspended(key: Key, state: State, served: Served, mine: StageState) -> Iterator[WhyLink]:
    """Who suspended it, whether a change waits for that or not: what waits says so itself."""
    told = mine.waits.get(str(key), "")
    for scope in scopes_of(key, served.order.get("labels", {})):
        found = state.suspensions().get(scope) or state.annotated.get(scope)
        if found is not None and not is_over(found.get("until", ""), state.time) and suspended_by(found) != told:
            yield WhyLink(what="suspended", text=suspended_by(found), time=found.get("time", ""))


def _problems(key: Key, mine: StageState) -> Iterator[WhyLink]:
    for problem in mine.problems.get(str(key), ()):
        place = f"{problem.get('path', '')}:{problem.get('line', 0)}"
        yield WhyLink(what="problem", text=f"{problem['code']}: {problem['message']}", place=place)
